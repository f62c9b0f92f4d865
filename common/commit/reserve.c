/* SPDX-License-Identifier: BSD-3-Clause */
/* Indexes that may be used at once: see reserve.h.  Why things are done in
 * this order is told in commit.c, crash stories 2 and 5.
 */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "commit/reserve.h"
#include "utils/bitmap.h"
#include "utils/checked.h"
#include "utils/cleanup.h"

/* The crash tests' bounds are very low, or small images would never reach
 * them.
 */
#ifndef MAX_RESERVE
#define MAX_RESERVE 256         /* blocks that the count may be ahead */
#define RESERVE_PART 16         /* ... and that part of those unallocated */
#define MIN_STEP 16
#define LENGTH_AHEAD 4096       /* blocks that the file may be ahead: that
                                 * harms nobody, where holes are free */
#endif
#define STEP_WITHOUT_HOLES 4    /* where they are not (FAT) */
#define UNKNOWN_GROWTH (UINT64_C (16) << 20) /* bytes: as long as it is not
                                 * known which */

uint32_t
reserve_bound (uint32_t unallocated)
{
  return MAX (MIN (unallocated / RESERVE_PART, MAX_RESERVE), 1);
}

int
reserve_init (struct reserve *r, struct image *img, bool base,
              struct bounds *bounds)
{
  memset (r, 0, sizeof *r);
  pthread_mutex_init (&r->lock, NULL);
  pthread_cond_init (&r->changed, NULL);
  if (indexes_init (&r->indexes, &img->map) == -1)
    return -1;
  r->img = img;
  r->base = base;
  r->bounds = bounds;
  r->reserved = r->indexes.next;
  r->in_file = img->map.n_allocated;
  r->step = MIN_STEP;
  return 0;
}

void
reserve_free (struct reserve *r)
{
  indexes_free (&r->indexes);
  pthread_mutex_destroy (&r->lock);
  pthread_cond_destroy (&r->changed);
}

/*------------------------------------------------------------------*/
/* The turn. */

static void
wait_for_change (struct reserve *r)
{
  r->waiting++;
  pthread_cond_wait (&r->changed, &r->lock);
  r->waiting--;
}

static void
tell_change (struct reserve *r)
{
  if (r->waiting > 0)
    pthread_cond_broadcast (&r->changed);
}

/* These two with the lock, which is not held during the turn. */
static void
begin_turn (struct reserve *r)
{
  while (r->turn)
    wait_for_change (r);
  r->turn = true;
  pthread_mutex_unlock (&r->lock);
}

static void
end_turn (struct reserve *r)
{
  pthread_mutex_lock (&r->lock);
  r->turn = false;
  tell_change (r);
}

void
reserve_begin_turn (struct reserve *r)
{
  pthread_mutex_lock (&r->lock);
  begin_turn (r);
}

void
reserve_end_turn (struct reserve *r)
{
  end_turn (r);
  pthread_mutex_unlock (&r->lock);
}

/*------------------------------------------------------------------*/
/* How much there is and may be; with the lock. */

/* Only a new block of a base image gains from reading as zeros. */
static bool
cleans (const struct reserve *r)
{
  return r->base && r->img->st->grows_zero && !r->cannot_clean;
}

/* What the count may be now. */
static uint32_t
highest_count (const struct reserve *r)
{
  const uint32_t n = r->indexes.n;

  return MIN (n, r->in_file + reserve_bound (n - r->in_file));
}

static uint32_t
step_now (const struct reserve *r)
{
  const uint64_t few =
    MAX (UNKNOWN_GROWTH / vdi_stride (&r->img->header), 1);

  if (r->img->st->grows_dense)
    return MIN (MIN (r->step, STEP_WITHOUT_HOLES), few);
  return r->allocations == 0 ? MIN (r->step, few) : r->step;
}

static uint32_t
wanted_count (const struct reserve *r)
{
  return MIN (highest_count (r), r->indexes.next + step_now (r));
}

static bool
can_refill (const struct reserve *r)
{
  if (r->indexes.nr_unused > 0 && cleans (r))
    return r->indexes.nr_clean == 0;
  return wanted_count (r) > r->reserved;
}

/* Shall it be refilled ahead? */
static bool
is_low (const struct reserve *r)
{
  const uint32_t left = r->reserved - r->indexes.next;

  if (r->failed || !can_refill (r) || r->indexes.nr_clean > 0 ||
      r->allocations == r->allocations_given_back)
    return false;
  if (r->indexes.nr_unused > 0)
    return cleans (r);
  return left <= (wanted_count (r) - r->indexes.next) / 2;
}

static bool
can_take (const struct reserve *r)
{
  if (r->indexes.nr_clean > 0)
    return true;
  if (r->indexes.nr_unused > 0)
    return !cleans (r);
  return r->indexes.next < r->reserved;
}

bool
reserve_take (struct reserve *r, uint32_t *index, bool *zeroed)
{
  if (!can_take (r))
    return false;
  *zeroed = r->img->st->grows_zero;
  if (!indexes_take_clean (&r->indexes, index)) {
    if (!cleans (r) && indexes_take_unused (&r->indexes, index))
      *zeroed = false;
    else
      *index = r->indexes.next++;
  }
  r->taken++;
  r->allocations++;
  if (is_low (r) && !r->woken && r->wake != NULL) {
    r->woken = true;
    r->wake (r->opaque);
  }
  return true;
}

void
reserve_written (struct reserve *r, uint32_t in_file, uint32_t taken)
{
  r->in_file += in_file;
  r->taken -= taken;
  tell_change (r);
}

void
reserve_return (struct reserve *r, uint32_t index)
{
  indexes_return (&r->indexes, index);
  r->taken--;
  tell_change (r);
}

/*------------------------------------------------------------------*/
/* Making it larger; whoever has the turn, without the lock. */

/* A device's size is what it is.  At least one more block must fit. */
static int
fit_device (struct reserve *r, uint32_t next, uint32_t *count,
            struct vdi_error *error)
{
  const struct vdi_header *h = &r->img->header;
  uint64_t size;

  if (storage_size (r->img->st, &size, error) == -1)
    return -1;
  if (size < vdi_length_for (h, next + 1))
    return vdi_set_error (error, ENOSPC, "%s: %" PRIu64 " bytes have no "
                          "room for one more block; use a larger device",
                          r->img->name, size);
  *count = MIN (*count, (size - h->data_off) / vdi_stride (h));
  return 0;
}

/* Make the file long enough for so many blocks, durably. */
static int
lengthen_to (struct reserve *r, uint32_t blocks, struct vdi_error *error)
{
  const uint64_t length = vdi_length_for (&r->img->header, blocks);
  int ret = 1;

  if (r->tail_is_zero && r->img->file_length >= length)
    return 0;
  if (r->tail_is_zero)
    ret = bounds_append (r->bounds, length, error);
  if (ret != 1)
    return ret;
  if (r->img->file_length < length &&
      bounds_set_length (r->bounds, length, error) == -1)
    return -1;
  return bounds_sync_length (r->bounds, error);
}

/* Make the file long enough for *count blocks, and for many more where
 * that costs nothing, as the first time has shown; where it cannot become
 * as long as that (a limit, or a device's end), for fewer, but one more
 * than there are.  Not for fewer than are reserved: those may be in use by
 * now.
 */
static int
lengthen (struct reserve *r, uint32_t next, uint32_t *count,
          struct vdi_error *error)
{
  const bool free = r->tail_is_zero && !r->img->st->grows_dense;
  const uint32_t ahead = free ? MIN (LENGTH_AHEAD, r->indexes.n - next) : 0;
  const uint32_t tries[] = {
    MAX (next + ahead, *count), *count, MAX (next + 1, r->reserved)
  };
  size_t i;
  int ret = -1;

  if (r->img->st->grows_zero && !r->tail_is_zero) {
    /* The count is not higher, unless giving back has failed. */
    if (bounds_set_count (r->bounds, next, error) == -1 ||
        bounds_set_length (r->bounds, vdi_length_for (&r->img->header, next),
                           error) == -1)
      return -1;
  }
  else if (r->tail_is_zero &&
           r->img->file_length >= vdi_length_for (&r->img->header, *count))
    return 0;
  for (i = 0; ret == -1 && i < 3; i++) {
    if (i > 0 && tries[i] == tries[i-1])
      continue;
    ret = lengthen_to (r, tries[i], error);
    if (ret == -1 && error->err == ENOTSUP)
      return fit_device (r, next, count, error);
    if (ret == 0)
      *count = MIN (*count, tries[i]);
  }
  if (ret == 0 && r->img->st->grows_zero)
    r->tail_is_zero = true;
  return ret;
}

/* Crash story 2. */
static int
raise_count (struct reserve *r, uint32_t next, uint32_t *count,
             struct vdi_error *error)
{
  if (lengthen (r, next, count, error) == -1)
    return -1;
  return bounds_set_count (r->bounds, *count, error);
}

/* Crash story 9: from the file's point of view an unused index is a hole
 * now, and stays one.
 */
static int
punch_all (struct reserve *r, const uint32_t *clean, size_t nr,
           struct vdi_error *error)
{
  const uint64_t stride = vdi_stride (&r->img->header);
  uint64_t start;
  size_t i, n;

  for (i = 0; i < nr; i += n) {
    for (n = 1; i + n < nr && clean[i+n] == clean[i] + n; n++)
      ;
    start = vdi_length_for (&r->img->header, clean[i]);
    if (storage_punch (r->img->st, start, n * stride, error) == -1)
      return -1;
    known_forget (&r->img->known, start, n * stride);
  }
  return medium_sync (r->bounds->medium, error);
}

/* Take the lowest unused indexes and clean them.  With the lock, which is
 * not held meanwhile; so is the next.
 */
static int
clean_some (struct reserve *r, struct vdi_error *error)
{
  uint32_t clean[MAX_CLEAN];
  size_t nr = 0, i;
  int ret;

  while (nr < MAX_CLEAN && nr < r->step &&
         indexes_take_unused (&r->indexes, &clean[nr]))
    nr++;
  r->taken += nr;
  begin_turn (r);
  ret = punch_all (r, clean, nr, error);
  end_turn (r);
  r->taken -= nr;
  if (ret == 0) {
    indexes_add_clean (&r->indexes, clean, nr);
    return 0;
  }
  for (i = 0; i < nr; i++)
    indexes_return (&r->indexes, clean[i]);
  if (error->err != ENOTSUP)
    return -1;
  r->cannot_clean = true;
  return 0;
}

static int
reserve_more (struct reserve *r, struct vdi_error *error)
{
  const uint32_t next = r->indexes.next;
  uint32_t count = wanted_count (r);
  int ret;

  begin_turn (r);
  ret = raise_count (r, next, &count, error);
  end_turn (r);
  if (ret == -1)
    return -1;
  r->reserved = count;
  vdi_debug (r->bounds->medium->listener, "commit: %" PRIu32 " blocks in use, "
             "room reserved for %" PRIu32, next, count - next);
  return 0;
}

/* With the lock, and nobody has the turn. */
static int
refill (struct reserve *r, struct vdi_error *error)
{
  int ret;

  if (++r->refills > 1)
    r->step = MIN (r->step * 2, MAX_RESERVE);
  r->woken = false;
  ret = r->indexes.nr_unused > 0 && cleans (r)
    ? clean_some (r, error) : reserve_more (r, error);
  r->failed = ret == -1;
  return ret;
}

int
reserve_refill (struct reserve *r, struct vdi_error *error)
{
  HOLD_LOCK (&r->lock);

  r->woken = false;
  return !r->turn && is_low (r) ? refill (r, error) : 0;
}

/* Is there anything that only a commit brings into the file's map? */
static bool
waits_for_commit (const struct reserve *r)
{
  return indexes_in_use (&r->indexes) > r->in_file + r->taken;
}

int
reserve_make_room (struct reserve *r, bool *commit, struct vdi_error *error)
{
  HOLD_LOCK (&r->lock);

  *commit = false;
  while (!can_take (r)) {
    if (r->turn)
      wait_for_change (r);
    else if (can_refill (r)) {
      if (refill (r, error) == -1)
        return -1;
    }
    else if (waits_for_commit (r)) {
      *commit = true;
      return 0;
    }
    else if (r->taken > 0)
      wait_for_change (r);
    else
      return 0;                 /* all blocks are allocated by now */
  }
  return 0;
}

/*------------------------------------------------------------------*/

/* Crash story 5.  With the turn. */
static int
lower_count (struct reserve *r, uint32_t next, struct vdi_error *error)
{
  if (bounds_set_count (r->bounds, next, error) == -1)
    return -1;
  if (bounds_set_length (r->bounds, vdi_length_for (&r->img->header, next),
                         error) == -1)
    return error->err == ENOTSUP ? 0 : -1; /* a device keeps its size */
  /* At the end of all, and so that the next one who appends need not. */
  if (r->bounds->cut && bounds_sync_length (r->bounds, error) == -1)
    return -1;
  r->tail_is_zero = r->img->st->grows_zero;
  return 0;
}

int
reserve_give_back (struct reserve *r, struct vdi_error *error)
{
  uint32_t next;
  int ret;

  pthread_mutex_lock (&r->lock);
  while (r->turn)
    wait_for_change (r);
  indexes_shrink (&r->indexes);
  next = r->indexes.next;
  /* If this fails it may not be known which count is durable: whoever
   * allocates next reserves again.
   */
  r->reserved = next;
  r->allocations_given_back = r->allocations;
  begin_turn (r);
  r->tail_is_zero = false;
  ret = lower_count (r, next, error);
  end_turn (r);
  pthread_mutex_unlock (&r->lock);
  return ret;
}

void
reserve_tick (struct reserve *r, unsigned seconds)
{
  struct vdi_error ignored;
  bool give_back;

  pthread_mutex_lock (&r->lock);
  r->quiet = r->allocations == r->allocations_at_tick
    ? r->quiet + seconds : 0;
  r->allocations_at_tick = r->allocations;
  if (r->refills == 0)
    r->step = MAX (r->step / 2, MIN_STEP);
  r->refills = 0;
  r->failed = false;
  give_back = r->quiet >= 2 &&
    (r->reserved != r->indexes.next || r->indexes.nr_clean > 0);
  pthread_mutex_unlock (&r->lock);
  if (give_back)
    reserve_give_back (r, &ignored);
}

bool
reserve_has_holes (struct reserve *r)
{
  HOLD_LOCK (&r->lock);

  indexes_shrink (&r->indexes);
  return r->indexes.nr_unused > 0;
}

/* As many blocks are beyond what is in use as there are holes below. */
int
reserve_find_moves (struct reserve *r, struct move **moves, size_t *nr,
                    struct vdi_error *error)
{
  struct indexes *ix = &r->indexes;
  const uint32_t end = indexes_in_use (ix);
  const size_t max = MIN (ix->nr_unused, MAX_MOVES);
  struct move *m = calloc (max + 1, sizeof *m);
  uint32_t block, to = 0;
  size_t i = 0;

  if (m == NULL)
    return vdi_set_errno (error, ENOMEM, "%s: filling holes", r->img->name);
  for (block = 0; block < r->img->map.n && i < max; block++) {
    const uint32_t from = blockmap_get (&r->img->map, block);

    if (!vdi_entry_is_allocated (from) || from < end)
      continue;
    while (!bitmap_get (ix->unused, to))
      to++;
    m[i++] = (struct move) { .block = block, .from = from, .to = to++ };
  }
  *moves = m;
  *nr = i;
  return 0;
}

void
reserve_moved (struct reserve *r, const struct move *moves, size_t nr)
{
  HOLD_LOCK (&r->lock);

  for (size_t i = 0; i < nr; i++)
    indexes_move (&r->indexes, moves[i].from, moves[i].to);
}

int
reserve_check_invariants (struct reserve *r, struct vdi_error *error)
{
  const struct indexes *ix = &r->indexes;
  const char *wrong = indexes_check_invariants (ix);
  const char *name = r->img->name;

  if (wrong != NULL)
    return vdi_set_error (error, EIO, "%s: %s", name, wrong);
  if (ix->next > r->reserved || r->reserved > MAX (ix->n, ix->next))
    return vdi_set_error (error, EIO, "%s: R1: next %" PRIu32 ", reserved %"
                          PRIu32, name, ix->next, r->reserved);
  if (r->taken != 0 || r->in_file > indexes_in_use (ix))
    return vdi_set_error (error, EIO, "%s: R3: %" PRIu32 " taken, %" PRIu32
                          " of %" PRIu32 " in the file", name, r->taken,
                          r->in_file, indexes_in_use (ix));
  return 0;
}
