/* SPDX-License-Identifier: BSD-3-Clause */
/* A simulated disk with an image on it, the core over it, clients, and
 * an oracle that knows what the clients may find: everything that
 * random, faults and races have in common.
 *
 *   stage_new                      builds the images by setup and seed
 *   stage_open                     a session: vdi_open_storage
 *   stage_op                       one random operation of a client,
 *                                  checked; from any coroutine
 *   stage_sample                   look at a crash image of this moment
 *   stage_finish                   checks at rest, vdi_close, checks of
 *                                  what is left
 *   stage_next                     the crash image that was kept, or what
 *                                  the close left, becomes the disk
 *   stage_free
 *
 * Whatever is wrong ends the program, naming the seed.
 */
#ifndef STAGE_H
#define STAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "disk.h"
#include "guest.h"
#include "layout.h"
#include "peer.h"
#include "rng.h"
#include "vdi.h"

#define STAGE_LAYERS 3

struct stage_setup {
  const char *program;          /* for messages, and to replay */
  uint64_t seed;
  unsigned layers;              /* 1 for a base image */
  struct layout layout[STAGE_LAYERS]; /* the image, its parent, ... */
  enum disk_mode mode;          /* of the image; parents are files */
  bool can_punch, can_zero, can_provision, can_dsync;
  bool torn;                    /* map entries are atomic, its sectors are
                                 * not */
  unsigned clients;             /* coroutines */
  unsigned ops;                 /* of each, in each session */
  unsigned sessions;
  unsigned fault_rate;          /* one of so many calls fails; 0: none */
  bool fault_sync;              /* and those are syncs, which poisons */
};

struct stage_counts {
  uint64_t stages, sessions, ops, steps, images, killed, qemu_checks,
    qemu_reads, qemu_writes, faults, forgotten;
};

struct stage {
  struct stage_setup setup;
  struct rng rng;
  struct peer *peer;            /* NULL: QEMU is not asked */
  struct stage_counts *counts;

  struct disk *disk;            /* what the core works on */
  struct disk *crash;           /* for looking at crash images */
  struct disk *kept;            /* the one that stage_next may take */
  struct disk *parents[STAGE_LAYERS - 1];
  struct disk *parents_again[STAGE_LAYERS - 1]; /* for looking, too */
  uint32_t *below;              /* what the parents show, by sector */
  uint32_t *values, *kept_values;
  unsigned samples;             /* in this session, for keeping one fairly */
  unsigned allowed;             /* RULES_BIT of what the image is anyway */
  bool dense;                   /* no holes when the session began */
  uint32_t high;                /* highest index + 1 then */
  uint32_t header;              /* content of the first sector then */

  struct guest *guest;
  struct vdi *vdi;
  uint8_t *buf[16];             /* by coroutine + 1 */

  /* Faults.  injected counts those that a caller may notice. */
  unsigned injected;
  int injected_err;             /* the only one, if fault is set */
  bool sync_failed;             /* by us */
  bool maybe_poisoned;          /* a durable write failed */
  bool poison_known;            /* and an operation has said so */
  bool no_more_faults;
  /* Decides instead of fault_rate, if set. */
  void (*fault) (struct stage *, enum disk_call, uint64_t offset,
                 uint64_t length, struct disk_fault *);
  void *fault_opaque;
};

extern struct stage *stage_new (const struct stage_setup *, struct peer *,
                                struct stage_counts *);
extern void stage_free (struct stage *);

extern void stage_open (struct stage *);
extern void stage_op (struct stage *, struct rng *);
extern void stage_flush (struct stage *);
extern void stage_tick (struct stage *, unsigned seconds);
extern void stage_sample (struct stage *);
extern void stage_finish (struct stage *);
extern void stage_next (struct stage *, bool crash);

/* All of the disk through the core: as it may be now? */
extern void stage_read_all (struct stage *);

extern void stage_fail (const struct stage *, const char *fs, ...)
  __attribute__ ((format (printf, 2, 3), noreturn));

#endif /* STAGE_H */
