/* SPDX-License-Identifier: BSD-3-Clause */
/* Images on simulated disks: how to make one as some other program might
 * have left it, and what a guest sees of one, found without the core
 * (only its encoder of headers is used, to make images).
 */
#ifndef LAYOUT_H
#define LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "disk.h"
#include "guest.h"
#include "peer.h"
#include "rng.h"
#include "rules.h"

struct layout {
  bool child;
  uint32_t number;              /* makes the image's UUID, > 0 */
  uint32_t parent;              /* and its parent's, if child */
  uint32_t block_size;          /* bytes */
  uint32_t extra;               /* bytes */
  uint32_t map_off, data_off;   /* bytes */
  uint64_t sectors;             /* of the guest's disk, 512 bytes each */
  uint32_t n_blocks;
  unsigned filled;              /* out of 8 blocks, so many are allocated at
                                 * first; 8 in a fixed image */
  bool zeros;                   /* some entries are ZERO */
  bool leaks;                   /* some blocks belong to nobody, and hold
                                 * somebody's old data */
  bool shuffled;                /* the map is not in order */
};

/* Bytes that the file has if all blocks are allocated. */
extern uint64_t layout_full (const struct layout *);

/* Write the image; sizes the disk unless it is a device.  The content is
 * made of new sequence numbers.  values is what a guest of the chain's
 * first image finds in each of its sectors (so many): what is below this
 * image before, with this image after.
 */
extern void layout_build (const struct layout *, struct disk *,
                          struct guest *, uint32_t *values,
                          uint64_t sectors, struct rng *);

/* What a guest finds in each sector (values, which must hold what is below
 * in the chain before: zeros in a base), by the newest content of the
 * disk.  False if the map leads out of the file; *why says where.
 */
extern bool layout_view (const struct layout *, const struct disk *,
                         const struct guest *, uint32_t *values,
                         char why[100]);

/* rules_check of a disk. */
extern void layout_rules (const struct layout *, const struct disk *,
                          struct rules_report *);

/* qemu-img check of a disk, with the block size and the parent's UUID
 * changed to something that QEMU opens: it checks the map alone.  As
 * peer_check.
 */
extern int layout_qemu_check (const struct layout *, const struct disk *,
                              struct peer *, unsigned *corruptions,
                              const char **output);

/* Only for base images of 1 MiB blocks and without extra: read all of the
 * guest's disk with QEMU.  0 if it agrees with values, else -1 and the
 * first sector that does not.
 */
extern int layout_qemu_read (const struct layout *, const struct disk *,
                             const struct guest *, struct peer *,
                             const uint32_t *values, uint64_t *sector,
                             const char **output);

/* Also only for these: QEMU writes to a block that is free, as the next
 * one who opens the image; all else must stay what it is, and no block
 * may be named twice.
 */
extern int layout_qemu_write (const struct layout *, const struct disk *,
                              const struct guest *, struct peer *,
                              const uint32_t *values, uint64_t *sector,
                              const char **output);

#endif /* LAYOUT_H */
