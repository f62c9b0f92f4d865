/* SPDX-License-Identifier: BSD-3-Clause */
/* The map entries that are not on stable storage yet: see pending.h. */
#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "commit/pending.h"
#include "utils/checked.h"
#include "utils/cleanup.h"

/* 16 bytes each, twice.  When it is full a commit makes room, at the cost
 * of one sync for so many allocations.
 */
#ifndef MAX_PENDING             /* the crash tests' is very low */
#define MAX_PENDING 65536
#endif

int
pending_init (struct pending *p, struct blockmap *map, pthread_mutex_t *lock)
{
  memset (p, 0, sizeof *p);
  p->map = map;
  p->lock = lock;
  /* An entry changes twice at most, FREE -> ZERO -> allocated; the rest is
   * for promises, one per thread.
   */
  p->max = MIN ((uint64_t) MAX_PENDING, map->n * UINT64_C (2) + 4096);
  p->entries = malloc (p->max * sizeof *p->entries);
  p->sampled = malloc (p->max * sizeof *p->sampled);
  p->marked = calloc (map->n / 64 + 1, sizeof *p->marked);
  return p->entries == NULL || p->sampled == NULL || p->marked == NULL ? -1 : 0;
}

void
pending_free (struct pending *p)
{
  free (p->entries);
  free (p->sampled);
  free (p->marked);
}

/* Only the holder of the lock changes them. */
static void
mark (struct pending *p, uint32_t block)
{
  atomic_fetch_or (&p->marked[block / 64], UINT64_C (1) << block % 64);
}

static void
unmark (struct pending *p, uint32_t block)
{
  atomic_fetch_and (&p->marked[block / 64], ~(UINT64_C (1) << block % 64));
}

bool
pending_is_marked (const struct pending *p, uint32_t block)
{
  return atomic_load (&p->marked[block / 64]) >> block % 64 & 1;
}

bool
pending_promise (struct pending *p)
{
  if (p->nr + p->nr_sampled + p->promised >= p->max)
    return false;
  p->promised++;
  return true;
}

void
pending_release (struct pending *p)
{
  p->promised--;
}

void
pending_add (struct pending *p, uint32_t block, uint32_t value, bool deferred)
{
  p->promised--;
  p->entries[p->nr] = (struct pending_entry) {
    .block = block, .value = value, .order = p->nr, .deferred = deferred,
  };
  p->nr++;
  p->nr_deferred += deferred;
  /* Marked before it is visible, so that whoever sees the new entry sees
   * that it is not durable.
   */
  mark (p, block);
  blockmap_set (p->map, block, value);
}

/* Deferred ones first, by block, the latest of each block first. */
static int
compare (const void *av, const void *bv)
{
  const struct pending_entry *a = av, *b = bv;

  if (a->deferred != b->deferred)
    return a->deferred ? -1 : 1;
  if (a->block != b->block)
    return a->block < b->block ? -1 : 1;
  return a->order > b->order ? -1 : a->order < b->order;
}

const struct pending_entry *
pending_sample (struct pending *p, size_t *nr, size_t *deferred)
{
  struct pending_entry *e;
  size_t i, kept = 0, left, nr_deferred;

  pthread_mutex_lock (p->lock);
  nr_deferred = p->nr_deferred;
  e = p->entries;
  p->entries = p->sampled;
  p->sampled = e;
  p->nr_sampled = p->nr;
  p->nr = 0;
  pthread_mutex_unlock (p->lock);

  /* Only the one commit that is running touches the sample. */
  if (nr_deferred > 0)
    qsort (e, p->nr_sampled, sizeof *e, compare);
  *deferred = 0;
  for (i = 0; i < p->nr_sampled; i++) {
    if (kept > 0 && e[kept-1].block == e[i].block && e[i].deferred)
      continue;                 /* an older value of the same block */
    e[kept++] = e[i];
    *deferred += e[i].deferred;
  }
  left = p->nr_sampled - kept;
  pthread_mutex_lock (p->lock);
  p->nr_sampled = kept;
  p->nr_deferred -= left;
  pthread_mutex_unlock (p->lock);
  *nr = kept;
  return e;
}

void
pending_done (struct pending *p)
{
  HOLD_LOCK (p->lock);
  size_t i;

  for (i = 0; i < p->nr_sampled; i++) {
    const struct pending_entry *e = &p->sampled[i];

    /* Unless it has changed again since. */
    if (blockmap_get (p->map, e->block) == e->value)
      unmark (p, e->block);
    p->nr_deferred -= e->deferred;
  }
  p->nr_sampled = 0;
}

void
pending_undo (struct pending *p)
{
  HOLD_LOCK (p->lock);
  size_t i;

  memmove (&p->entries[p->nr_sampled], p->entries,
           p->nr * sizeof *p->entries);
  memcpy (p->entries, p->sampled, p->nr_sampled * sizeof *p->entries);
  p->nr += p->nr_sampled;
  p->nr_sampled = 0;
  for (i = 0; i < p->nr; i++)
    p->entries[i].order = i;
}
