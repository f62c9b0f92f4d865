/* SPDX-License-Identifier: BSD-3-Clause */
/* A disk: an image over its parents (vdi-format.md 6.3).  This is what is
 * behind vdi.h's struct vdi.
 *
 *   disk.c        opening, closing, finding out
 *   parents.c     which images it stands on
 *   chain.c       what is where; reading, and copying it
 *   write.c       writing, zeroing, trimming
 *   allocate.c    the first write into a block
 *   extents.c     describing
 *   ticker.c      the thread that commits what is deferred
 *   watch.c       other programs that have the image open
 *   create.c      new images
 *
 * Level 0 is the image itself, the only one that is ever written to;
 * level l + 1 is the parent of level l.  Block sizes and disk sizes may
 * differ along the chain; beyond a smaller parent's end there are zeros.
 *
 * Locks.  One of them is only taken by those who hold none, or some of those
 * in the last column, so that no two can wait for each other:
 *
 *   lock                        protects                     taken after
 *   writable_lock               who makes the disk writable
 *   a stripe                    who changes a block's entry
 *   the turn (reserve.h)        header and length
 *   flush_lock (commit.c)       which commits are under way
 *   watch.lock                  those who wait while writes are held
 *   allocation lock (reserve.h) reserve, indexes, pending    writable_lock,
 *                                                            stripe, turn
 *   poison_lock (medium.h)      why it is poisoned           stripe, turn
 *   lock (ticker.c)             what the ticker is to do     stripe,
 *                                                            allocation lock
 *   lock (known.h)              what is known to be data     turn
 *   lock (storage/local.c)      locks on the file            writable_lock
 *   lock (storage/again.h)      how often the file is open   writable_lock,
 *                                                            stripe, turn
 *   lock (storage/sync.h)       the syncs under way          stripe, turn
 *
 * The turn is no mutex, but a flag under the allocation lock, which whoever
 * has it does not hold.  The first three, and that of local.c, are held across
 * I/O, the others for moments only.  The plugin has one more, around all of
 * these, for making the disk writable.
 *
 * Invariants (vdi_check_invariants):
 *   D1  What image.h says of each level.
 *   D2  If the disk is writable the map of level 0 is sound and does not lack
 *       its last block, and all that commit.h says is true.
 */
#ifndef VDI_DISK_H
#define VDI_DISK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "commit/commit.h"
#include "disk/range.h"
#include "disk/watch.h"
#include "image/image.h"
#include "vdi.h"

#define MAX_LINKS 300           /* of a chain, as VirtualBox (6.2) */

/* Locks for allocation of a block are striped over block numbers. */
#define NR_STRIPES 64

struct vdi {
  /* Constant. */
  struct image **levels;
  size_t depth;
  uint64_t size;                /* bytes: level 0's */
  size_t insisted;              /* the first level that is only there because
                                 * of parent_by_size; 0 if there is none */
  bool ticker_wanted;
  unsigned commit_seconds;
  struct vdi_listener listener;

  pthread_mutex_t writable_lock; /* serialises vdi_make_writable */

  /* Where level 0 is written to.  NULL until that is allowed, then constant;
   * set under writable_lock.
   */
  struct commit *_Atomic commit;

  /* Only the holder of a block's stripe changes its map entry. */
  pthread_mutex_t stripes[NR_STRIPES];

  struct ticker *ticker;        /* see ticker.h; writable_lock */
  struct watch watch;           /* see watch.h */
};

/* Write into a block that is not allocated, so that it is.  buf NULL
 * stands for zeros.  Returns 1 with nothing done if somebody else has
 * allocated it meanwhile.
 */
extern int allocate_block (struct vdi *, const struct piece *,
                           const void *buf, struct vdi_error *);

/* Make a free block of a child read as zeros.  1 as above. */
extern int allocate_zero (struct vdi *, uint32_t block, struct vdi_error *);

static inline pthread_mutex_t *
disk_stripe (struct vdi *vdi, uint32_t block)
{
  return &vdi->stripes[block % NR_STRIPES];
}

/* Open a disk over the image in a storage, which may be locked for writing
 * already, and the parents that are found for it.  The storage belongs to
 * the vdi when this succeeds, and still to the caller when it fails.
 */
extern int disk_open_over (struct storage *, const struct vdi_options *,
                           struct vdi **, struct vdi_error *);

#endif /* VDI_DISK_H */
