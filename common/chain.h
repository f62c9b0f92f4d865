/* SPDX-License-Identifier: BSD-3-Clause */
/* A disk: an image over its parents (vdi-format.md 6.3).  This is what is
 * behind vdi.h's struct vdi.
 *
 *   chain.c       opening, closing, finding out
 *   parents.c     which images it stands on
 *   read.c        what is where; reading, and copying it
 *   write.c       writing, zeroing, trimming
 *   allocate.c    the first write into a block
 *   extents.c     describing
 *   ticker.c      the thread that commits what is deferred
 *   watch.c       other programs that have the image open
 *
 * Level 0 is the image itself, the only one that is ever written to;
 * level l + 1 is the parent of level l.  Block sizes and disk sizes may
 * differ along the chain; beyond a smaller parent's end there are zeros.
 *
 * Invariants (vdi_check_invariants):
 *   D1  What image.h says of each level.
 *   D2  If the disk is writable the map of level 0 is sound and does not lack
 *       its last block, and all that commit.h says is true.
 */
#ifndef VDI_CHAIN_H
#define VDI_CHAIN_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "commit.h"
#include "image.h"
#include "range.h"
#include "vdi.h"
#include "watch.h"

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

/* A part of the disk that is in one piece: in a file, or nowhere. */
struct run {
  enum place place;             /* never PLACE_FREE */
  size_t level;                 /* DATA, MISSING: whose file */
  uint64_t file_offset;         /* DATA: where in it */
  uint64_t length;              /* bytes */
};

/* What is at pos, seen from a level, and how far does it go?  pos < end;
 * the run does not go beyond end.  Neighbouring blocks that are
 * neighbours in the file, too, are one run.
 */
extern struct run chain_next_run (const struct vdi *, size_t level,
                                  uint64_t pos, uint64_t end);

/* Visit the runs of a range in order: pos is where the run begins. */
#define FOR_EACH_RUN(run, pos, vdi, level, offset, count)               \
  for (uint64_t pos = (offset), _run_end = pos + (count);               \
       pos < _run_end &&                                                \
         ((run) = chain_next_run ((vdi), (level), pos, _run_end), 1);   \
       pos += (run).length)

/* Read what is seen from a level. */
extern int chain_read (const struct vdi *, size_t level, void *buf,
                       size_t count, uint64_t offset, struct vdi_error *);

/* Does the run read as zeros?  Those that missing=zero invents are for
 * readers only: never copy them anywhere.
 */
static inline bool
chain_reads_zero (const struct vdi *vdi, const struct run *run)
{
  return run->place == PLACE_ZERO ||
         (run->place == PLACE_MISSING &&
          vdi->levels[run->level]->missing_zero);
}

/* EIO: the file of this run ends too early.  way: what follows from that. */
extern int chain_missing (const struct vdi *, const struct run *,
                          uint64_t pos, const char *way, struct vdi_error *);

/* Write what is seen from a level of [from, to) into a file, in which the
 * byte for disk position 0 would be at file_base (modulo 2^64).  zeroed:
 * the file reads as zeros there already.
 */
extern int chain_copy (const struct vdi *, size_t level, uint64_t from,
                      uint64_t to, struct storage *, uint64_t file_base,
                      bool zeroed, struct vdi_error *);

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

#endif /* VDI_CHAIN_H */
