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
 * 1. First write of a session (commit_begin).  Header gets a new
 *    modification UUID and, where a crash left another count, the count
 *    H; sync; then data.  Both are in one sector, so a crash keeps both
 *    or neither.  Lowering N to H frees only indexes no entry names;
 *    raising it is to H, whose blocks lie in the file.
 *
 * 2. Before an index is used (reserve_more).  The file is made longer,
 *    durably; the header's count covers the new indexes, durably; only then
 *    are they taken.  The first time the file is cut to D + H*T before it
 *    is made longer, so that all beyond is known to read as zeros, even
 *    what an earlier crash left there; a sync makes that durable before
 *    any entry can name it.  After that a durable write of the file's last
 *    byte, and one of the count, are enough, and do not wait for all that
 *    clients have written.
 *
 * 3. A new block of a base image in such fresh space (commit_publish, not
 *    deferred).  Until its data land it reads as zeros, which is its old
 *    content.  So data and entry need no order on the disk; the entry is
 *    written after the data only so that a killed server, whose writes
 *    the kernel keeps in order, has lost nothing acknowledged.
 *
 * 4. Every other new block: its old content is not what the
 *    file holds there.  All of it is written, and its entry is kept in
 *    memory until a commit (commit_round): sync; write the entries sampled
 *    before that sync; sync.  A crash keeps the old entry, and so the old
 *    content, or the new one, whose block was durable before.  In a base
 *    image that is a file, such blocks are few (space that a crash or a
 *    failed write left behind), and each has a sync of its own, so that
 *    its entry can be written at once, as in 3.
 *
 * 5. Giving the reserve back (give_back_gate_held).  Header's count becomes
 *    H; sync; then the file is cut.  Never while an allocation is under way.
 *
 * 6. A failed sync poisons the image: nothing can be known any more, so
 *    nothing is promised any more (fsyncgate).  Syncs are serialised,
 *    because the kernel reports an error to one caller only.
 *
 * 7. An allocation that failed leaves map and count as they were.  Its
 *    index may hold part of the failed write, so it is never again taken
 *    for fresh.  If it was the entry's write that failed (story 3), the
 *    file may or may not name the index, so it must remain this block's:
 *    the block is allocated all the same, and its entry becomes one of
 *    those that the next commit has to write.
 *
 * 8. Opening and failing write nothing.  So a crash while recovering is
 *    the same crash again.
 */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "checked.h"
#include "commit.h"
#include "indexes.h"
#include "mutants.h"
#include "pending.h"
#include "target.h"

/* How many blocks are reserved ahead: three times as many as this session
 * has allocated, so that the syncs they cost are spread ever thinner,
 * within these bounds.  Reserved space takes no room on the disk, but for
 * file systems without holes (FAT), so it begins small.
 */
#ifndef MIN_RESERVE             /* the crash tests' are very low */
#define MIN_RESERVE 64
#define MAX_RESERVE 65536
#endif

/* The last blocks are reserved a few at a time: QEMU takes the count for
 * the next free index even if that is the number of blocks, and then
 * VirtualBox refuses the image (vdi-format.md, pitfall 1).
 */
#ifndef LAST_BLOCKS
#define LAST_BLOCKS 16
#endif

struct commit {
  /* Constant. */
  struct image *img;
  bool base;

  _Atomic bool begun;           /* set once, under lock */

  /* Held shared by allocations, exclusively by who gives back. */
  pthread_rwlock_t gate;

  pthread_mutex_t lock;         /* protects the next four, and parts
                                 * of target */
  struct indexes indexes;
  uint32_t reserved;            /* durable count: lower indexes may be used */
  bool tail_is_zero;            /* the file reads as zeros beyond next */
  uint64_t allocations;         /* in this session */

  struct target target;         /* see target.h */
  struct pending pending;       /* has its own lock */

  pthread_mutex_t flush_lock;   /* protects the rest */
  pthread_cond_t flush_done;
  uint64_t rounds_started, rounds_done;
  bool round_running;
  bool round_failed;            /* the one done last */
  struct vdi_error round_error; /* of that one */

  /* Only the round that is running and commit_tick touch these; a tick
   * that comes at the wrong moment gives back a little late.
   */
  _Atomic uint64_t allocations_at_flush;
  uint64_t allocations_at_tick; /* commit_tick only */
  unsigned deferred_age;        /* seconds; commit_tick only */
};

/*------------------------------------------------------------------*/

void
commit_debug_to (struct commit *c,
                 void (*debug) (void *opaque, const char *message),
                 void *opaque)
{
  target_debug_to (&c->target, debug, opaque);
}

int
commit_check (struct commit *c, struct vdi_error *error)
{
  return target_check (&c->target, error);
}

int
commit_poison (struct commit *c, struct vdi_error *error)
{
  return target_poison (&c->target, error);
}

/* What must hold before we touch it; each refusal says what to do. */
static int
check_may_be_written (const struct image *img, struct vdi_error *error)
{
  if (!img->map.sound)
    return vdi_set_error (error, EINVAL, "%s: the block map is damaged, so "
                          "the image cannot be written to: %s; use nbdkit -r "
                          "to read what is there and copy it to a new image",
                          img->name, img->map.damage);
  /* An entry across two sectors may be torn by a crash. */
  if (img->header.map_off % 4 != 0)
    return vdi_set_error (error, EINVAL, "%s: the block map begins at byte "
                          "%" PRIu32 ", which is no multiple of 4, so its "
                          "entries cannot be changed safely; use nbdkit -r "
                          "and copy the disk to a new image",
                          img->name, img->header.map_off);
  return 0;
}

int
commit_new (struct image *img, bool base, struct commit **commit,
            struct vdi_error *error)
{
  struct commit *c;

  if (check_may_be_written (img, error) == -1)
    return -1;
  c = calloc (1, sizeof *c);
  if (c == NULL || pending_init (&c->pending, &img->map) == -1) {
    free (c);
    return vdi_set_errno (error, ENOMEM, "%s", img->name);
  }
  c->img = img;
  c->base = base;
  target_init (&c->target, img);
  indexes_init (&c->indexes, img->header.n_blocks, img->map.high,
                img->map.holes);
  c->reserved = img->map.high;
  pthread_mutex_init (&c->lock, NULL);
  pthread_mutex_init (&c->flush_lock, NULL);
  pthread_cond_init (&c->flush_done, NULL);
  pthread_rwlock_init (&c->gate, NULL);
  *commit = c;
  return 0;
}

void
commit_free (struct commit *c)
{
  if (c == NULL)
    return;
  pending_free (&c->pending);
  indexes_free (&c->indexes);
  target_destroy (&c->target);
  pthread_mutex_destroy (&c->lock);
  pthread_mutex_destroy (&c->flush_lock);
  pthread_cond_destroy (&c->flush_done);
  pthread_rwlock_destroy (&c->gate);
  free (c);
}

/* Crash story 1. */
int
commit_begin (struct commit *c, struct vdi_error *error)
{
  struct vdi_uuid uuid_mod;
  int r = 0;

  if (commit_check (c, error) == -1)
    return -1;
  if (c->begun)
    return 0;

  pthread_mutex_lock (&c->lock);
  if (!c->begun) {
    uuid_mod = vdi_uuid_new ();
    if (MUTANT (begin_keeps_uuid))
      uuid_mod = c->target.uuid_mod;
    r = target_write_header (&c->target, MUTANT (begin_counts_entries)
                      ? c->img->map.n_allocated : c->indexes.next, &uuid_mod,
                      error);
    if (r == 0 && !MUTANT (begin_not_synced))
      r = target_sync (&c->target, error);
    if (r == 0) {
      c->target.header_durable = true;
      c->begun = true;
      target_say (&c->target, "commit: first write: new modification UUID, "
                  "count %" PRIu32, c->target.count);
    }
  }
  pthread_mutex_unlock (&c->lock);
  return r;
}

bool
commit_has_begun (struct commit *c)
{
  return c->begun;
}

/*------------------------------------------------------------------*/

int
commit_enter (struct commit *c, struct vdi_error *error)
{
  while (!pending_promise (&c->pending))
    if (commit_flush (c, error) == -1)
      return -1;
  pthread_rwlock_rdlock (&c->gate);
  return 0;
}

void
commit_leave (struct commit *c)
{
  pthread_rwlock_unlock (&c->gate);
  pending_release (&c->pending);
}

/* A device's size is what it is.  At least one more block must fit. */
static int
fit_device (struct commit *c, uint32_t *count, struct vdi_error *error)
{
  const struct vdi_header *h = &c->img->header;
  uint64_t size;

  if (storage_size (c->img->st, &size, error) == -1)
    return -1;
  if (size < vdi_length_for (h, c->indexes.next + 1))
    return vdi_set_error (error, ENOSPC, "%s: %" PRIu64 " bytes have no "
                          "room for one more block; use a larger device",
                          c->img->name, size);
  *count = MIN (*count, (size - h->data_off) / vdi_stride (h));
  return 0;
}

/* Make the file long enough for as many blocks as *count says; where it
 * cannot become as long as that (a limit, or a device's end), for fewer,
 * but one more than there are.  Called with the lock.
 */
static int
grow_file (struct commit *c, uint32_t *count, struct vdi_error *error)
{
  const struct vdi_header *h = &c->img->header;
  const uint32_t next = c->indexes.next;

  if (c->img->st->grows_zero && !c->tail_is_zero && !MUTANT (J)) {
    if (target_set_length (&c->target, vdi_length_for (h, next), error) == -1)
      return -1;
    c->tail_is_zero = true;
  }
  if (c->target.length >= vdi_length_for (h, *count) ||
      target_set_length (&c->target, vdi_length_for (h, *count), error) == 0)
    return 0;
  if (error->err == ENOTSUP)
    return fit_device (c, count, error);
  *count = next + 1;
  return target_set_length (&c->target, vdi_length_for (h, *count), error);
}

/* Make the file long enough for *count blocks, durably. */
static int
lengthen (struct commit *c, uint32_t *count, struct vdi_error *error)
{
  int r = 1;

  if (c->tail_is_zero)
    r = target_append (&c->target, vdi_length_for (&c->img->header, *count),
                       error);
  if (r != 1)
    return r;
  if (grow_file (c, count, error) == -1)
    return -1;
  return MUTANT (length_not_synced)
    ? 0 : target_sync_length (&c->target, error);
}

/* At least 1. */
static uint32_t
how_many_to_reserve (const struct commit *c)
{
  const uint32_t left = c->indexes.n - c->indexes.next;
  const uint32_t most =
    left > 2 * LAST_BLOCKS ? left - LAST_BLOCKS : (left + 1) / 2;

  return MIN (MIN (MAX (3 * c->allocations, MIN_RESERVE), MAX_RESERVE), most);
}

/* Crash story 2.  Called with the lock, when next has reached reserved. */
static int
reserve_more (struct commit *c, struct vdi_error *error)
{
  const uint32_t next = c->indexes.next;
  uint32_t count = next + how_many_to_reserve (c);

  if (MUTANT (count_above_n))
    count = next + MIN_RESERVE;
  if (mutant_reserve (c, count, error))
    return 0;
  if (lengthen (c, &count, error) == -1 ||
      target_set_count (&c->target, count, error) == -1)
    return -1;
  c->reserved = count;
  target_say (&c->target, "commit: %" PRIu32 " blocks in use, room reserved "
              "for %" PRIu32, next, count - next);
  return 0;
}

int
commit_take_index (struct commit *c, struct new_block *nb,
                   struct vdi_error *error)
{
  int r = 0;

  if (!MUTANT (indexes_not_locked))
    pthread_mutex_lock (&c->lock);
  nb->zeroed = indexes_at_tail (&c->indexes) && c->img->st->grows_zero;
  if (MUTANT (K) || (MUTANT (stale_trusted) && indexes_at_tail (&c->indexes)))
    nb->zeroed = true;
  if (indexes_at_tail (&c->indexes) && c->indexes.next == c->reserved)
    r = reserve_more (c, error);
  if (r == 0 && !indexes_take (&c->indexes, &nb->index))
    r = vdi_set_error (error, ENOSPC, "%s: all %" PRIu32 " indexes are in "
                       "use, some by writes that failed; close the image and "
                       "open it again", c->img->name, c->indexes.n);
  if (r == 0)
    c->allocations++;
  if (!MUTANT (indexes_not_locked))
    pthread_mutex_unlock (&c->lock);
  nb->deferred = !(c->base && nb->zeroed);
  return r;
}

/* Crash story 7. */
void
commit_return_index (struct commit *c, const struct new_block *nb)
{
  pthread_mutex_lock (&c->lock);
  indexes_return (&c->indexes, nb->index);
  pthread_mutex_unlock (&c->lock);
}

/* Crash stories 3, 4 and 7. */
int
commit_publish (struct commit *c, uint32_t block, const struct new_block *nb,
                struct vdi_error *error)
{
  bool deferred = nb->deferred && !mutant_publishes_at_once (c);
  uint8_t bytes[4];
  int r = 0;

  /* The space of an earlier crash, in a base image.  There is little of
   * it, and what was acknowledged is to survive a kill everywhere in the
   * disk.
   */
  if (deferred && c->base && c->img->st->grows_zero) {
    r = target_sync (&c->target, error);
    deferred = r == -1;
  }
  if (!deferred) {
    put_le32 (bytes, nb->index);
    r = storage_write (c->img->st, bytes, sizeof bytes,
                       vdi_entry_offset (&c->img->header, block),
                       "block map", error);
    deferred = r == -1;         /* crash story 7 */
    if (deferred && mutant_forgets_entry (c, nb))
      return -1;
  }
  pending_add (&c->pending, block, nb->index, deferred);
  return r;
}

void
commit_publish_zero (struct commit *c, uint32_t block)
{
  if (MUTANT (zero_in_memory_only))
    blockmap_set (&c->img->map, block, VDI_ZERO);
  else
    pending_add (&c->pending, block, VDI_ZERO, true);
}

bool
commit_is_durable (struct commit *c, uint32_t block)
{
  return MUTANT (F) || !pending_is_marked (&c->pending, block);
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
      put_le32 (bytes + 4 * n, MUTANT (entries_from_map)
                ? blockmap_get (&c->img->map, entries[i+n].block)
                : entries[i+n].value);
    if (storage_write (c->img->st, bytes, 4 * n,
                       vdi_entry_offset (&c->img->header, entries[i].block),
                       "block map", error) == -1)
      return -1;
  }
  return 0;
}

/* Crash story 4.  One at a time, see commit_flush. */
static int
commit_round (struct commit *c, struct vdi_error *error)
{
  const struct pending_entry *entries;
  size_t nr, deferred;

  entries = pending_sample (&c->pending, &nr, &deferred);
  if ((deferred > 0 &&
       ((!MUTANT (entries_before_sync) &&
         target_sync (&c->target, error) == -1) ||
        mutant_before_entries (c, error) == -1 ||
        write_entries (c, entries, deferred, error) == -1)) ||
      (!(MUTANT (entries_not_synced) && deferred > 0) &&
       target_sync (&c->target, error) == -1)) {
    if (MUTANT (failed_commit_forgotten))
      pending_done (&c->pending);
    else
      pending_undo (&c->pending);
    return -1;
  }
  target_say (&c->target, "commit: %zu entries durable, %zu of them were "
              "deferred", nr, deferred);
  pending_done (&c->pending);
  return 0;
}

/* Crash story 5.  The gate is held exclusively. */
static int
give_back_gate_held (struct commit *c, struct vdi_error *error)
{
  int r;
  uint32_t next, kept;

  pthread_mutex_lock (&c->lock);
  indexes_shrink (&c->indexes);
  next = c->indexes.next;
  if (MUTANT (PX))
    next = mutant_live_count (c);
  /* If this fails it may not be known which count is durable: whoever
   * allocates next reserves again.
   */
  kept = c->reserved;
  c->reserved = next;
  r = mutant_give_back (c, next, error) ? 0
    : target_set_count (&c->target, next, error);
  if (r == -1 && MUTANT (reserve_kept_on_failure))
    c->reserved = kept;
  if (r == 0) {
    r = target_set_length (&c->target,
                           vdi_length_for (&c->img->header, next), error);
    c->tail_is_zero = r == 0;
    if (r == -1 && error->err == ENOTSUP)
      r = 0;                    /* a device keeps its size */
  }
  pthread_mutex_unlock (&c->lock);
  return r;
}

/* Give the reserve back unless somebody is allocating, which is reason
 * enough not to.  Failing costs nothing that was promised.
 */
static void
give_back_if_idle (struct commit *c)
{
  struct vdi_error ignored;

  if (!MUTANT (PX) && pthread_rwlock_trywrlock (&c->gate) != 0)
    return;
  if (c->reserved != c->indexes.next)
    give_back_gate_held (c, &ignored);
  if (!MUTANT (PX))
    pthread_rwlock_unlock (&c->gate);
}

static uint64_t
count_allocations (struct commit *c)
{
  uint64_t r;

  pthread_mutex_lock (&c->lock);
  r = c->allocations;
  pthread_mutex_unlock (&c->lock);
  return r;
}

static int
flush_round (struct commit *c, struct vdi_error *error)
{
  const uint64_t allocations = count_allocations (c);
  const bool idle = allocations == c->allocations_at_flush;

  if (commit_round (c, error) == -1)
    return -1;
  c->allocations_at_flush = allocations;
  if (idle)
    give_back_if_idle (c);
  return 0;
}

/* Flushes that arrive while a round is running share the next one, which
 * begins after all that they have to cover.
 */
int
commit_flush (struct commit *c, struct vdi_error *error)
{
  struct vdi_error e;
  uint64_t mine;
  int r;

  if (commit_check (c, error) == -1)
    return -1;
  /* Nothing of ours, but a server that was killed may have left something
   * in the kernel that its clients, who are ours now, were told is written.
   */
  if (!c->begun)
    return MUTANT (flush_only_ours) ? 0 : target_sync (&c->target, error);
  if (MUTANT (P7))
    return flush_round (c, error);

  pthread_mutex_lock (&c->flush_lock);
  mine = c->rounds_started + 1;
  if (MUTANT (flush_joins_running_round) && c->round_running)
    mine--;
  while (c->rounds_done < mine) {
    if (c->round_running) {
      pthread_cond_wait (&c->flush_done, &c->flush_lock);
      continue;
    }
    c->round_running = true;
    c->rounds_started++;
    pthread_mutex_unlock (&c->flush_lock);
    r = flush_round (c, &e);
    pthread_mutex_lock (&c->flush_lock);
    c->round_running = false;
    c->rounds_done = c->rounds_started;
    c->round_failed = r == -1;
    if (r == -1)
      c->round_error = e;
    pthread_cond_broadcast (&c->flush_done);
  }
  /* If that was a later round than mine, it covered mine as well. */
  r = 0;
  if (c->round_failed && !MUTANT (failed_flush_succeeds)) {
    *error = c->round_error;
    r = -1;
  }
  pthread_mutex_unlock (&c->flush_lock);
  return r;
}

int
commit_tick (struct commit *c, unsigned seconds, unsigned commit_seconds,
             struct vdi_error *error)
{
  uint64_t allocations;

  if (!c->begun || c->target.poisoned)
    return 0;

  c->deferred_age = c->pending.nr_deferred > 0 ? c->deferred_age + seconds : 0;
  if (commit_seconds > 0 && c->deferred_age >= commit_seconds) {
    c->deferred_age = 0;
    if (commit_flush (c, error) == -1)
      return -1;
  }

  allocations = count_allocations (c);
  if (seconds > 0 && allocations == c->allocations_at_tick)
    give_back_if_idle (c);
  c->allocations_at_tick = allocations;
  return 0;
}

int
commit_close (struct commit *c, struct vdi_error *error)
{
  int r;

  if (!c->begun)
    return commit_check (c, error);
  if (!MUTANT (close_without_flush) && commit_flush (c, error) == -1)
    return -1;
  if (MUTANT (close_keeps_reserve))
    return 0;
  pthread_rwlock_wrlock (&c->gate);
  r = give_back_gate_held (c, error);
  pthread_rwlock_unlock (&c->gate);
  if (r == -1 || MUTANT (close_not_synced))
    return r;
  return target_sync (&c->target, error);
}

int
commit_check_invariants (struct commit *c, uint32_t *limit,
                         struct vdi_error *error)
{
  const struct indexes *ix = &c->indexes;
  const char *name = c->img->name;
  size_t i;

  *limit = ix->next;            /* C2 is for the caller, who has the map */
  if (ix->next > c->reserved || c->reserved > MAX (ix->n, ix->next) ||
      ix->next > ix->n)
    return vdi_set_error (error, EIO, "%s: C1: next %" PRIu32 ", reserved %"
                          PRIu32, name, ix->next, c->reserved);
  for (i = 0; i < ix->nr_returned; i++)
    if (ix->returned[i] >= ix->next)
      return vdi_set_error (error, EIO, "%s: C3: index %" PRIu32, name,
                            ix->returned[i]);
  if (ix->floor > ix->next)
    return vdi_set_error (error, EIO, "%s: C4: floor %" PRIu32, name,
                          ix->floor);
  for (i = 0; i < c->pending.nr; i++)
    if (!pending_is_marked (&c->pending, c->pending.entries[i].block))
      return vdi_set_error (error, EIO, "%s: C5: block %" PRIu32, name,
                            c->pending.entries[i].block);
  return 0;
}
