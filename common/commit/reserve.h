/* SPDX-License-Identifier: BSD-3-Clause */
/* The reserve: indexes that may be used at once, because the file is long
 * enough for them and the header's count covers them, both durably.
 *
 * It is made larger ahead of those who need it, by whoever calls
 * reserve_refill: the ticker, told by wake; or whoever finds
 * nothing left.  Nobody holds a lock meanwhile.
 *
 * It is small, because VirtualBox and QEMU, when they meet the image after
 * a crash, append at the count, and VirtualBox refuses an image whose
 * count is above the number of blocks n, for good (vdi-format.md, pitfall
 * 1): of what the count covers, no more than reserve_bound is not in the
 * map of the file.  So a writer that appends at the count may add all blocks
 * that are not allocated but so many.
 *
 * Calling sequence:
 *   reserve_init
 *   reserve_take           with the lock; false: without the lock, then
 *   reserve_make_room      and again; it may ask for a commit first
 *   reserve_written or reserve_return     with the lock
 *   reserve_refill, reserve_tick, reserve_give_back    without the lock
 *   reserve_free
 * Whoever changes header or length in any other way has the turn:
 * reserve_begin_turn, reserve_end_turn.
 *
 * Invariants (reserve_check_invariants, with no call under way):
 *   R1  next <= reserved <= n: an index is below the durable count before
 *       it is used.
 *   R2  What indexes.h says.
 *   R3  in_file + taken <= indexes in use, where taken is 0.
 */
#ifndef VDI_COMMIT_RESERVE_H
#define VDI_COMMIT_RESERVE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "commit/bounds.h"
#include "commit/indexes.h"
#include "commit/move.h"
#include "image/image.h"
#include "utils/error.h"

struct reserve {
  /* Constant. */
  struct image *img;
  struct bounds *bounds;        /* whoever has the turn may use it */
  bool base;                    /* what is in no block reads as zeros */

  pthread_mutex_t lock;         /* the allocation lock: protects all that
                                 * follows, and pending.h's */
  pthread_cond_t changed;       /* the turn ended, or an index was written or
                                 * returned, and somebody waits */
  struct indexes indexes;
  uint32_t reserved;            /* durable count: lower indexes may be used */
  uint32_t in_file;             /* blocks that the file's map has */
  uint32_t taken;               /* indexes between take and written */
  uint32_t step;                /* how far ahead to reserve, blocks */
  unsigned refills;             /* since the last tick */
  unsigned waiting;             /* who waits for changed */
  bool turn;                    /* somebody changes header or length */
  bool woken;                   /* wake was called, and nobody has refilled
                                 * yet */
  bool failed;                  /* the last refill: not again ahead of need
                                 * before the next tick */
  void (*wake) (void *opaque);  /* NULL: nobody refills ahead */
  void *opaque;
  bool cannot_clean;            /* holes cannot be punched here */
  uint64_t allocations;         /* in this session */
  uint64_t allocations_given_back; /* ... when all was given back */

  /* Whoever has the turn. */
  bool tail_is_zero;            /* the file reads as zeros beyond next */

  /* reserve_tick only. */
  uint64_t allocations_at_tick;
  unsigned quiet;               /* seconds */
};

/* How many indexes may the count cover beyond those in the file's map, when
 * so many blocks are not in it?
 */
extern uint32_t reserve_bound (uint32_t unallocated);

/* Before the first entry is changed.  -1 if there is no memory: reserve_free
 * it then, too.
 */
extern int reserve_init (struct reserve *, struct image *, bool base,
                         struct bounds *);
extern void reserve_free (struct reserve *);

/* Take an index that may be used, and say whether the file reads as zeros
 * there.  False if there is none.
 */
extern bool reserve_take (struct reserve *, uint32_t *index, bool *zeroed);

/* The file's map has so many blocks more; so many of them, or of those
 * whose entry waits for a commit, were taken.
 */
extern void reserve_written (struct reserve *, uint32_t in_file,
                             uint32_t taken);

/* This was taken, and no entry names it: but part of a block may be there. */
extern void reserve_return (struct reserve *, uint32_t index);

/* Wait until there is something to take, or make it; or until all blocks
 * are allocated.  *commit: there will be when entries that wait for a
 * commit are in the file.
 */
extern int reserve_make_room (struct reserve *, bool *commit,
                              struct vdi_error *);

/* Make the reserve larger if it is small, and anything has been allocated
 * since it was given back: a disk that is idle, or only written in place,
 * needs none.
 */
extern int reserve_refill (struct reserve *, struct vdi_error *);

/* Exact count and length, exact indexes; nothing is reserved then. */
extern int reserve_give_back (struct reserve *, struct vdi_error *);

/* seconds have passed since the last call: follow the rate at which blocks
 * are allocated, give back after two seconds without any.  What goes
 * wrong shows when somebody needs it.
 */
extern void reserve_tick (struct reserve *, unsigned seconds);

/* When nobody else is there any more: are there holes among the indexes in
 * use?  Which blocks have to be moved where so that there are none (or
 * fewer: no more than MAX_MOVES at a time)?  *moves (malloc) are in the
 * order of their blocks.  When they are moved, reserve_moved.
 */
#define MAX_MOVES 1024
extern bool reserve_has_holes (struct reserve *);
extern int reserve_find_moves (struct reserve *, struct move **moves,
                               size_t *nr, struct vdi_error *);
extern void reserve_moved (struct reserve *, const struct move *, size_t nr);

extern void reserve_begin_turn (struct reserve *);
extern void reserve_end_turn (struct reserve *);

extern int reserve_check_invariants (struct reserve *, struct vdi_error *);

#endif /* VDI_COMMIT_RESERVE_H */
