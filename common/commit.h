/* SPDX-License-Identifier: BSD-3-Clause */
/* Durability: the one place that decides what reaches the file of an
 * image in which order.  Everything that changes a header or a map entry
 * goes through here.  commit.c has the crash story of each step.
 *
 * Calling sequence, for an image that is written to:
 *   commit_new                     once; writes nothing
 *   commit_check                   at the start of each writing call
 *   commit_begin                   before anything in the file is changed
 *   to change a map entry:
 *     commit_enter                 before any lock is held
 *     (the caller locks the block, so that nobody else changes it)
 *     commit_take_index            where to write
 *     (write the data; see struct new_block)
 *     commit_publish  or, if that write failed,  commit_return_index
 *     (or, instead of these three, commit_publish_zero)
 *     commit_leave
 *   commit_flush                   for FLUSH, and FUA on a new block
 *   commit_tick                    now and then
 *   commit_close                   at the end; alone
 *   commit_free
 *
 * Lock order: gate, (the block's lock), lock, sync_lock.  pending_lock
 * and flush_lock are held alone and never across I/O.
 *
 * Invariants (commit_check_invariants, with no call under way):
 *   C1  next <= reserved <= n: an index is below the durable count before
 *       it is used.
 *   C2  every allocated map entry is below next.
 *   C3  every returned index is below next and in no map entry.
 *   C4  floor <= next.
 *   C5  the block of every pending entry is marked as such.
 */
#ifndef VDI_COMMIT_H
#define VDI_COMMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"
#include "image.h"

struct commit;

/* How a new block must be written before it may be published. */
struct new_block {
  uint32_t index;               /* where in the file */
  bool zeroed;                  /* the file reads as zeros there */
  bool deferred;                /* all of the block must be written, its
                                 * old content too: the entry reaches the
                                 * file only when all that is durable */
};

/* base: nothing is below this image, so a free block reads as zeros.
 * The image must outlive the commit; map and header are used.  Fails
 * (EINVAL or EIO, naming a way out) if it must not be written to.
 */
extern int commit_new (struct image *, bool base, struct commit **,
                       struct vdi_error *);
extern void commit_free (struct commit *); /* or NULL; writes nothing */

/* Say, as vdi_options.debug, when metadata reaches the file.  Before any
 * of the calls below.
 */
extern void commit_debug_to (struct commit *,
                             void (*debug) (void *opaque, const char *),
                             void *opaque);

/* Fails with EIO if the image is poisoned. */
extern int commit_check (struct commit *, struct vdi_error *);

/* The same, and the first time marks the image as changed (durably).
 * Needed before anything in the file is changed.
 */
extern int commit_begin (struct commit *, struct vdi_error *);

/* True once commit_begin has succeeded. */
extern bool commit_has_begun (struct commit *);

/* Between these the reserve is not given back, and there is room for one
 * more entry that is not durable yet (so entering may flush).
 */
extern int commit_enter (struct commit *, struct vdi_error *);
extern void commit_leave (struct commit *);

extern int commit_take_index (struct commit *, struct new_block *,
                              struct vdi_error *);
extern void commit_return_index (struct commit *, const struct new_block *);

/* The data are written: let the map say so.  If this fails the map says
 * so all the same, and the next commit will tell the file.
 */
extern int commit_publish (struct commit *, uint32_t block,
                           const struct new_block *, struct vdi_error *);

/* A free block of a child now reads as zeros (entry ZERO, deferred). */
extern void commit_publish_zero (struct commit *, uint32_t block);

/* Is the entry of this (allocated) block on stable storage? */
extern bool commit_is_durable (struct commit *, uint32_t block);

/* All that was written before this call is on stable storage after it. */
extern int commit_flush (struct commit *, struct vdi_error *);

/* A sync failed or might as well have: nothing may be believed any more.
 * Returns -1 with *error as it was.
 */
extern int commit_poison (struct commit *, struct vdi_error *);

/* seconds have passed since the last call: commit what is deferred for
 * commit_seconds (0: never), give the reserve back if nothing was
 * allocated.
 */
extern int commit_tick (struct commit *, unsigned seconds,
                        unsigned commit_seconds, struct vdi_error *);

/* Flush, exact count and length. */
extern int commit_close (struct commit *, struct vdi_error *);

extern int commit_check_invariants (struct commit *, uint32_t *limit,
                                    struct vdi_error *);

#endif /* VDI_COMMIT_H */
