/* SPDX-License-Identifier: BSD-3-Clause */
/* Durability: what reaches the file in which order.  See commit.h for how
 * it is called, and docs/crash-safety.md for what it promises and for the
 * requirements I1-I8 that tests/crash checks on this code.
 *
 * The crash story.  A crash may keep any subset of what was written since
 * the last sync.  N is the count in the header, H the highest index in
 * use + 1, D + N*T the length that goes with a count.  Always, in every
 * file that a crash may leave:
 *
 *   entry < N <= n, and D + N*T <= length.
 *
 * 1. First write of a session (commit_start_session).  Header gets a new
 *    modification UUID and, where a crash left another count, the count
 *    H; sync; then data.  Both are in one sector, so a crash keeps both
 *    or neither.  Lowering N to H frees only indexes no entry names; what
 *    the map says is made durable before, for whoever was killed may have
 *    moved blocks down (10).  Raising it is to H, whose blocks lie in the
 *    file.
 *
 * 2. Before an index is used (reserve.c: reserve_more).  The file is made
 *    longer, durably; the header's count covers the new indexes, durably;
 *    only then are they taken.  The first time the file is cut to D + H*T
 *    before it is made longer, so that all beyond is known to read as
 *    zeros, even what an earlier crash left there; a sync makes that
 *    durable before any entry can name it.  After that a durable write of
 *    the file's last byte, and one of the count, are enough, and do not
 *    wait for all that clients have written.  All this is done ahead, by
 *    one at a time (the turn), with nothing locked: others take what is
 *    reserved already.  The file may be longer than the count says by any
 *    number of blocks; the count may be above what the file's map has by a
 *    bound (reserve_bound), so that VirtualBox, which appends at the count
 *    after a crash, does not pass n soon.  Entries that wait for a commit
 *    are not in the file: so many of them force one.
 *
 * 3. A new block of a base image in such fresh space (commit_publish, not
 *    whole).  Until its data land it reads as zeros, which is its old
 *    content.  So data and entry need no order on the disk.  The entry is
 *    written first, and then the block is everybody's; nobody is answered
 *    whose block's entry the kernel has not got, so a killed server, whose
 *    writes the kernel keeps, has lost nothing acknowledged.  If the data
 *    cannot be written the block stays, and reads as zeros.
 *
 * 4. Every other new block: its old content is not what the
 *    file holds there.  All of it is written, and its entry is kept in
 *    memory until a commit (commit_round): sync; write the entries sampled
 *    before that sync; sync.  A crash keeps the old entry, and so the old
 *    content, or the new one, whose block was durable before.  In a base
 *    image that is a file, such blocks are few (holes that cannot be
 *    punched), and each has a sync of its own, so that its entry can be
 *    written at once.
 *
 * 5. Giving the reserve back (reserve.c: lower_count).  Indexes beyond H
 *    are not taken any more; header's count becomes H, durably; then the
 *    file is cut; sync.  Whoever has an index below H goes on meanwhile.
 *
 * 6. A failed sync poisons the image: nothing can be known any more, so
 *    nothing is promised any more (fsyncgate).  storage.h says who is told
 *    of an error; nobody needs to wait for another one's sync.
 *
 * 7. An allocation that failed leaves map and count as they were.  Its
 *    index may hold part of the failed write, so it is a hole from then on
 *    (9).  If it was the entry's write that failed (story 3), the
 *    file may or may not name the index, so it must remain this block's:
 *    the block is allocated all the same, and its entry becomes one of
 *    those that the next commit has to write.
 *
 * 8. Opening and failing write nothing.  So a crash while recovering is
 *    the same crash again.
 *
 * 9. Holes, unused indexes below H that an earlier crash or a failed write
 *    left, are used first.  In a base image they are punched, then a sync;
 *    only then can an entry name them, and what is there reads as zeros
 *    whatever happens: they are as good as fresh space (3).  Where they
 *    cannot be punched, and in a child, they are written whole (4).
 *
 * 10. Holes that are left when the image is closed (fill_holes) get the
 *    last blocks: copy them; sync; write their entries; sync.  A crash
 *    keeps the old entry or the new one, and the block is complete at both
 *    places.  The old place is given up only afterwards (5).
 *
 * 11. Another program opens the image for writing (commit_for_others, then
 *    commit_cede).  VirtualBox reads header and map when it opens, keeps
 *    them in memory, and appends at the count that it has read.  All indexes
 *    that were taken until then are below that (2), and their blocks are not
 *    touched by it.  So what is deferred is committed at once: its entries
 *    name such blocks, and are in the file when the other's session is over.
 *    But none of what is allocated, lowered or moved afterwards can be known
 *    to the other, so nothing of that is done any more, also not at the
 *    end.  It is noticed up to a second late; an index taken meanwhile is
 *    mostly from a reserve that the count covered before.  Where it is not,
 *    the other's next block will have the same one, in spite of all this: so
 *    does a block that a client has flushed in this second.  That it has not
 *    happened yet is seen in the header, which is looked at before.
 */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "commit/bounds.h"
#include "commit/commit.h"
#include "commit/move.h"
#include "commit/pending.h"
#include "commit/reserve.h"
#include "utils/bytes.h"
#include "utils/checked.h"
#include "utils/cleanup.h"

struct commit {
  /* Constant. */
  struct image *img;
  bool base;

  _Atomic bool session;         /* set once, by whoever has the turn */
  struct medium medium;         /* has its own lock */
  struct bounds bounds;         /* whoever has the turn */
  struct reserve reserve;       /* has the allocation lock, and the turn */
  struct pending pending;       /* the allocation lock */

  pthread_mutex_t flush_lock;   /* protects the rest but deferred_age */
  pthread_cond_t flush_done;
  uint64_t rounds_started, rounds_done;
  bool round_running;
  bool round_failed;            /* the one done last */
  struct vdi_error round_error; /* of that one */

  unsigned deferred_age;        /* seconds; commit_tick only */
};

/*------------------------------------------------------------------*/

int
commit_check (struct commit *c, struct vdi_error *error)
{
  return medium_check (&c->medium, error);
}

int
commit_write_durable (struct commit *c, const void *buf, size_t count,
                      uint64_t offset, struct vdi_error *error)
{
  return medium_write_durable (&c->medium, buf, count, offset, "data", error);
}

int
commit_new (struct image *img, bool base,
            const struct vdi_listener *listener, struct commit **commit,
            struct vdi_error *error)
{
  struct commit *c = calloc (1, sizeof *c);

  if (c == NULL)
    return vdi_set_errno (error, ENOMEM, "%s", img->name);
  c->img = img;
  c->base = base;
  medium_init (&c->medium, img->st, listener);
  bounds_init (&c->bounds, img, &c->medium);
  pthread_mutex_init (&c->flush_lock, NULL);
  pthread_cond_init (&c->flush_done, NULL);
  if (reserve_init (&c->reserve, img, base, &c->bounds) == -1 ||
      pending_init (&c->pending, &img->map, &c->reserve.lock) == -1) {
    commit_free (c);
    return vdi_set_errno (error, ENOMEM, "%s", img->name);
  }
  *commit = c;
  return 0;
}

void
commit_free (struct commit *c)
{
  if (c == NULL)
    return;
  pending_free (&c->pending);
  reserve_free (&c->reserve);
  medium_destroy (&c->medium);
  pthread_mutex_destroy (&c->flush_lock);
  pthread_cond_destroy (&c->flush_done);
  free (c);
}

void
commit_wake_with (struct commit *c, void (*wake) (void *opaque),
                  void *opaque)
{
  HOLD_LOCK (&c->reserve.lock);

  c->reserve.wake = wake;
  c->reserve.opaque = opaque;
}

/* Crash story 1.  With the turn. */
static int
mark_changed (struct commit *c, struct vdi_error *error)
{
  const struct vdi_uuid uuid_mod = vdi_uuid_new ();

  if (c->img->header.n_alloc > c->reserve.indexes.next &&
      medium_sync (&c->medium, error) == -1)
    return -1;
  if (bounds_write_header (&c->bounds, c->reserve.indexes.next, &uuid_mod,
                           error) == -1 ||
      medium_sync (&c->medium, error) == -1)
    return -1;
  c->bounds.header_durable = true;
  vdi_debug (c->medium.listener, "commit: first write: new modification UUID, "
             "count %" PRIu32, c->img->header.n_alloc);
  c->session = true;
  return 0;
}

int
commit_start_session (struct commit *c, struct vdi_error *error)
{
  int r = 0;

  if (commit_check (c, error) == -1)
    return -1;
  if (c->session)
    return 0;
  reserve_begin_turn (&c->reserve);
  if (!c->session)
    r = mark_changed (c, error);
  reserve_end_turn (&c->reserve);
  return r;
}

bool
commit_in_session (struct commit *c)
{
  return c->session;
}

/*------------------------------------------------------------------*/

bool
commit_take_index (struct commit *c, struct new_block *nb)
{
  HOLD_LOCK (&c->reserve.lock);

  if (!pending_promise (&c->pending))
    return false;
  if (!reserve_take (&c->reserve, &nb->index, &nb->zeroed)) {
    pending_release (&c->pending);
    return false;
  }
  nb->whole = !(c->base && nb->zeroed);
  return true;
}

static bool
is_full (struct commit *c)
{
  HOLD_LOCK (&c->reserve.lock);

  if (!pending_promise (&c->pending))
    return true;
  pending_release (&c->pending);
  return false;
}

int
commit_make_room (struct commit *c, struct vdi_error *error)
{
  bool full;

  if (commit_check (c, error) == -1)
    return -1;
  full = is_full (c);
  if (!full && reserve_make_room (&c->reserve, &full, error) == -1)
    return -1;
  return full ? commit_flush (c, error) : 0;
}

/* Crash story 7. */
void
commit_return_index (struct commit *c, const struct new_block *nb)
{
  HOLD_LOCK (&c->reserve.lock);

  reserve_return (&c->reserve, nb->index);
  pending_release (&c->pending);
}

static int
write_entry (struct commit *c, uint32_t block, uint32_t index,
             struct vdi_error *error)
{
  uint8_t bytes[4];

  put_le32 (bytes, index);
  return storage_write (c->img->st, bytes, sizeof bytes,
                        vdi_entry_offset (&c->img->header, block),
                        "block map", error);
}

static void
publish (struct commit *c, uint32_t block, uint32_t index, bool deferred)
{
  HOLD_LOCK (&c->reserve.lock);

  pending_add (&c->pending, block, index, deferred);
  reserve_written (&c->reserve, !deferred, 1);
}

/* Crash stories 3, 4 and 7. */
int
commit_publish (struct commit *c, uint32_t block, const struct new_block *nb,
                struct vdi_error *error)
{
  bool deferred = nb->whole;
  int r = 0;

  /* Holes that could not be punched, in a base image.  There are few of
   * them, and what was acknowledged is to survive a kill everywhere in
   * the disk.
   */
  if (deferred && c->base && c->img->st->grows_zero) {
    r = medium_sync (&c->medium, error);
    deferred = r == -1;
  }
  /* Not if it was poisoned since this write began (6, 11). */
  if (r == 0 && (commit_check (c, error) == -1 ||
                 (!deferred && write_entry (c, block, nb->index,
                                            error) == -1))) {
    r = -1;
    deferred = true;            /* crash story 7 */
  }
  publish (c, block, nb->index, deferred);
  return r;
}

bool
commit_publish_zero (struct commit *c, uint32_t block)
{
  HOLD_LOCK (&c->reserve.lock);

  if (!pending_promise (&c->pending))
    return false;
  pending_add (&c->pending, block, VDI_ZERO, true);
  return true;
}

bool
commit_is_durable (struct commit *c, uint32_t block)
{
  return !pending_is_marked (&c->pending, block);
}

/*------------------------------------------------------------------*/

/* Write entries sorted by block, neighbours together. */
static int
write_entries (struct commit *c, const struct pending_entry *entries,
               size_t nr, struct vdi_error *error)
{
  uint8_t bytes[4096];
  size_t i, n;

  for (i = 0; i < nr; i += n) {
    for (n = 0; n < sizeof bytes / 4 && i + n < nr &&
           entries[i+n].block == entries[i].block + n; n++)
      put_le32 (bytes + 4 * n, entries[i+n].value);
    if (storage_write (c->img->st, bytes, 4 * n,
                       vdi_entry_offset (&c->img->header, entries[i].block),
                       "block map", error) == -1)
      return -1;
  }
  return 0;
}

/* The file's map has these now. */
static void
entries_written (struct commit *c, const struct pending_entry *entries,
                 size_t nr)
{
  uint32_t allocated = 0;
  size_t i;

  for (i = 0; i < nr; i++)
    allocated += vdi_entry_is_allocated (entries[i].value);
  pthread_mutex_lock (&c->reserve.lock);
  reserve_written (&c->reserve, allocated, 0);
  pthread_mutex_unlock (&c->reserve.lock);
}

static int
write_deferred (struct commit *c, const struct pending_entry *entries,
                size_t nr, struct vdi_error *error)
{
  if (medium_sync (&c->medium, error) == -1 ||
      write_entries (c, entries, nr, error) == -1)
    return -1;
  entries_written (c, entries, nr);
  return 0;
}

/* Crash story 4.  One at a time, see commit_flush. */
static int
commit_round (struct commit *c, struct vdi_error *error)
{
  const struct pending_entry *entries;
  size_t nr, deferred;

  entries = pending_sample (&c->pending, &nr, &deferred);
  if ((deferred > 0 && write_deferred (c, entries, deferred, error) == -1) ||
      medium_sync (&c->medium, error) == -1) {
    pending_undo (&c->pending);
    return -1;
  }
  if (nr > 0)
    vdi_debug (c->medium.listener, "commit: %zu entries durable, %zu of them "
               "were deferred", nr, deferred);
  pending_done (&c->pending);
  return 0;
}

/* Flushes that arrive while a round is running share the next one, which
 * begins after all that they have to cover.
 */
static int
share_round (struct commit *c, struct vdi_error *error)
{
  HOLD_LOCK (&c->flush_lock);
  const uint64_t mine = c->rounds_started + 1;
  struct vdi_error e;
  int r;

  while (c->rounds_done < mine) {
    if (c->round_running) {
      pthread_cond_wait (&c->flush_done, &c->flush_lock);
      continue;
    }
    c->round_running = true;
    c->rounds_started++;
    pthread_mutex_unlock (&c->flush_lock);
    r = commit_round (c, &e);
    pthread_mutex_lock (&c->flush_lock);
    c->round_running = false;
    c->rounds_done = c->rounds_started;
    c->round_failed = r == -1;
    if (r == -1)
      c->round_error = e;
    pthread_cond_broadcast (&c->flush_done);
  }
  /* If that was a later round than mine, it covered mine as well. */
  if (!c->round_failed)
    return 0;
  *error = c->round_error;
  return -1;
}

int
commit_flush (struct commit *c, struct vdi_error *error)
{
  if (commit_check (c, error) == -1)
    return -1;
  /* Nothing of ours, but a server that was killed may have left something
   * in the kernel that its clients, who are ours now, were told is written.
   */
  if (!c->session)
    return medium_sync (&c->medium, error);
  return share_round (c, error);
}

/* Crash story 11. */
int
commit_for_others (struct commit *c, struct vdi_error *error)
{
  int r;

  if (!c->session)
    return commit_check (c, error);
  reserve_begin_turn (&c->reserve);
  r = bounds_check (&c->bounds, error);
  reserve_end_turn (&c->reserve);
  return r == -1 ? -1 : commit_flush (c, error);
}

void
commit_cede (struct commit *c, const struct vdi_error *why)
{
  medium_cede (&c->medium, why);
}

static bool
has_deferred (struct commit *c)
{
  HOLD_LOCK (&c->reserve.lock);

  return c->pending.nr_deferred > 0;
}

int
commit_tick (struct commit *c, unsigned seconds, unsigned commit_seconds,
             struct vdi_error *error)
{
  int r;

  if (!c->session || c->medium.poisoned)
    return 0;
  /* What is deferred must not wait until there is room for more. */
  r = reserve_refill (&c->reserve, error);
  if (seconds == 0)
    return r;

  c->deferred_age = has_deferred (c) ? c->deferred_age + seconds : 0;
  if (commit_seconds > 0 && c->deferred_age >= commit_seconds) {
    c->deferred_age = 0;
    if (commit_flush (c, error) == -1)
      return -1;
  }
  reserve_tick (&c->reserve, seconds);
  return r;
}

/* Crash story 10: move the last blocks into the holes.  Nobody else is
 * there.
 */
static int
fill_holes (struct commit *c, struct vdi_error *error)
{
  struct image *img = c->img;
  CLEANUP_FREE struct pending_entry *entries = NULL;
  CLEANUP_FREE struct move *moves = NULL;
  size_t nr, i;

  if (bounds_check (&c->bounds, error) == -1 ||
      reserve_find_moves (&c->reserve, &moves, &nr, error) == -1)
    return -1;
  entries = calloc (nr + 1, sizeof *entries);
  if (entries == NULL)
    return vdi_set_errno (error, ENOMEM, "%s: filling holes", img->name);
  for (i = 0; i < nr; i++) {
    if (move_copy (img, &moves[i], error) == -1)
      return -1;
    entries[i].block = moves[i].block;
    entries[i].value = moves[i].to;
  }
  if (medium_sync (&c->medium, error) == -1 ||
      write_entries (c, entries, nr, error) == -1 ||
      medium_sync (&c->medium, error) == -1)
    return -1;
  vdi_debug (c->medium.listener, "commit: %zu blocks moved into holes", nr);
  for (i = 0; i < nr; i++)
    blockmap_move (&img->map, moves[i].block, moves[i].to);
  reserve_moved (&c->reserve, moves, nr);
  return 0;
}

int
commit_close (struct commit *c, struct vdi_error *error)
{
  if (!c->session)
    return commit_check (c, error);
  if (commit_flush (c, error) == -1)
    return -1;
  if (reserve_has_holes (&c->reserve) && fill_holes (c, error) == -1) {
    /* Blocks that could not be moved are where they were. */
    vdi_debug (c->medium.listener, "commit: holes are left: %s",
               error->message);
    if (commit_check (c, error) == -1)
      return -1;
  }
  return reserve_give_back (&c->reserve, error);
}

int
commit_check_invariants (struct commit *c, uint32_t *limit,
                         struct vdi_error *error)
{
  size_t i;

  *limit = c->reserve.indexes.next; /* C1 is for the caller, who has the map */
  for (i = 0; i < c->pending.nr; i++)
    if (!pending_is_marked (&c->pending, c->pending.entries[i].block))
      return vdi_set_error (error, EIO, "%s: C2: block %" PRIu32,
                            c->img->name, c->pending.entries[i].block);
  return reserve_check_invariants (&c->reserve, error);
}
