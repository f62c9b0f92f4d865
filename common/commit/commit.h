/* SPDX-License-Identifier: BSD-3-Clause */
/* Durability: the one place that decides what reaches the file of an
 * image in which order.  Everything that changes a header or a map entry
 * goes through here.  commit.c has the crash story of each step.
 *
 * Calling sequence, for an image that is written to:
 *   commit_new                     once; writes nothing
 *   commit_check                   at the start of each writing call
 *   commit_start_session           before anything in the file is changed
 *   to change a map entry, with the block's stripe:
 *     commit_take_index            where to write; if there is no room,
 *                                  let the stripe go and commit_make_room
 *     (write the whole block if need be; see struct new_block)
 *     commit_publish  or, if that write failed,  commit_return_index
 *     (or, instead of these, commit_publish_zero)
 *   commit_flush                   for FLUSH, and FUA on a new block
 *   commit_tick                    now and then
 *   commit_close                   at the end; alone
 *   commit_free
 *
 * disk.h says which locks there are, and in which order they are taken.
 *
 * Invariants (commit_check_invariants, with no call under way):
 *   C1  every allocated map entry is below next.
 *   C2  the block of every pending entry is marked as such.
 *   C3  what reserve.h says.
 */
#ifndef VDI_COMMIT_H
#define VDI_COMMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/image.h"
#include "utils/error.h"
#include "utils/listener.h"

struct commit;

/* How a new block must be written before it may be published. */
struct new_block {
  uint32_t index;               /* where in the file */
  bool zeroed;                  /* the file reads as zeros there */
  bool whole;                   /* all of the block must be written first,
                                 * its old content too; else the entry may
                                 * be published at once, and data follow */
};

/* base: nothing is below this image, so a free block reads as zeros.
 * Image and listener must outlive the commit; map and header are used.
 * image_may_be_written has said yes.  ENOMEM only.
 */
extern int commit_new (struct image *, bool base,
                       const struct vdi_listener *, struct commit **,
                       struct vdi_error *);
extern void commit_free (struct commit *); /* or NULL; writes nothing */

/* Fails with EIO if the image is poisoned. */
extern int commit_check (struct commit *, struct vdi_error *);

/* The same, and the first time marks the image as changed (durably).
 * Needed before anything in the file is changed.
 */
extern int commit_start_session (struct commit *, struct vdi_error *);

/* True once commit_start_session has succeeded. */
extern bool commit_in_session (struct commit *);

/* Call wake when commit_tick (..., 0, ...) should be called soon by another
 * thread, so that nobody has to wait for an index.  It may be called with
 * locks held, and must not call back.
 */
extern void commit_wake_with (struct commit *, void (*wake) (void *opaque),
                              void *opaque);

/* Take an index to write a block to.  False if there is none at the moment:
 * then commit_make_room, without any lock, and again.
 */
extern bool commit_take_index (struct commit *, struct new_block *);
extern int commit_make_room (struct commit *, struct vdi_error *);
extern void commit_return_index (struct commit *, const struct new_block *);

/* Let the map say so.  If this fails the map in memory says so all the
 * same, and the next commit will tell the file.
 */
extern int commit_publish (struct commit *, uint32_t block,
                           const struct new_block *, struct vdi_error *);

/* A free block of a child now reads as zeros (entry ZERO, deferred).  False
 * if there is no room for that: then commit_flush, and again.
 */
extern bool commit_publish_zero (struct commit *, uint32_t block);

/* Is the entry of this (allocated) block on stable storage? */
extern bool commit_is_durable (struct commit *, uint32_t block);

/* All that was written before this call is on stable storage after it. */
extern int commit_flush (struct commit *, struct vdi_error *);

/* Write over what the file holds, durably, as medium_write_durable. */
extern int commit_write_durable (struct commit *, const void *buf,
                                 size_t count, uint64_t offset,
                                 struct vdi_error *);

/* Another program has opened the image: commit, unless it has changed it
 * already, which poisons.  And if it is to write to it, nothing more is
 * written here, for the reason given.  From any thread.
 */
extern int commit_for_others (struct commit *, struct vdi_error *);
extern void commit_cede (struct commit *, const struct vdi_error *why);

/* seconds have passed since the last call: make the reserve larger if it is
 * small, commit what is deferred for commit_seconds (0: never), give the
 * reserve back if nothing was allocated for two seconds.
 */
extern int commit_tick (struct commit *, unsigned seconds,
                        unsigned commit_seconds, struct vdi_error *);

/* Flush, exact count and length, no holes among the indexes in use. */
extern int commit_close (struct commit *, struct vdi_error *);

extern int commit_check_invariants (struct commit *, uint32_t *limit,
                                    struct vdi_error *);

#endif /* VDI_COMMIT_H */
