/* SPDX-License-Identifier: BSD-3-Clause */
/* Which physical indexes of an image are in use: see indexes.h. */
#include <config.h>

#include <errno.h>
#include <stdlib.h>

#include "bitmap.h"
#include "checked.h"
#include "indexes.h"

/* How many bits are set below high?  What lies beyond is cleared. */
static uint32_t
count_bits (uint64_t *bitmap, uint32_t high, uint32_t n)
{
  uint32_t nr = 0, i;

  bitmap[high / 64] &= (UINT64_C (1) << high % 64) - 1;
  for (i = high / 64 + 1; i <= n / 64; i++)
    bitmap[i] = 0;
  for (i = 0; i <= high / 64; i++)
    nr += (uint32_t) __builtin_popcountll (bitmap[i]);
  return nr;
}

int
indexes_init (struct indexes *ix, uint32_t n, uint32_t high, uint64_t *holes)
{
  *ix = (struct indexes) { .n = n, .next = high, .unused = holes };
  if (holes != NULL)
    ix->nr_unused = count_bits (holes, high, n);
  else
    ix->unused = bitmap_new (n);
  if (ix->unused == NULL) {
    errno = ENOMEM;
    return -1;
  }
  return 0;
}

void
indexes_free (struct indexes *ix)
{
  free (ix->unused);
  ix->unused = NULL;
}

bool
indexes_take_clean (struct indexes *ix, uint32_t *index)
{
  if (ix->nr_clean == 0)
    return false;
  *index = ix->clean[--ix->nr_clean];
  return true;
}

bool
indexes_take_unused (struct indexes *ix, uint32_t *index)
{
  if (ix->nr_unused == 0)
    return false;
  while (ix->unused[ix->lowest / 64] >> ix->lowest % 64 == 0)
    ix->lowest = ROUND_DOWN (ix->lowest, 64) + 64;
  ix->lowest += (uint32_t)
    __builtin_ctzll (ix->unused[ix->lowest / 64] >> ix->lowest % 64);
  *index = ix->lowest;
  bitmap_clear (ix->unused, *index);
  ix->nr_unused--;
  return true;
}

void
indexes_return (struct indexes *ix, uint32_t index)
{
  bitmap_set (ix->unused, index);
  ix->nr_unused++;
  ix->lowest = MIN (ix->lowest, index);
}

void
indexes_add_clean (struct indexes *ix, const uint32_t *clean, size_t nr)
{
  while (nr > 0)
    ix->clean[ix->nr_clean++] = clean[--nr];
}

void
indexes_move (struct indexes *ix, uint32_t from, uint32_t to)
{
  bitmap_clear (ix->unused, to);
  ix->nr_unused--;
  indexes_return (ix, from);
}

void
indexes_shrink (struct indexes *ix)
{
  uint32_t index;

  while (indexes_take_clean (ix, &index))
    indexes_return (ix, index);
  while (ix->next > 0 && bitmap_get (ix->unused, ix->next - 1)) {
    bitmap_clear (ix->unused, --ix->next);
    ix->nr_unused--;
  }
}

const char *
indexes_check_invariants (const struct indexes *ix)
{
  uint32_t nr = 0, i;

  if (ix->next > ix->n)
    return "X1: next is above n";
  for (i = 0; i < ix->n; i++) {
    if (!bitmap_get (ix->unused, i))
      continue;
    if (i >= ix->next)
      return "X1: an unused index is not below next";
    if (i < ix->lowest)
      return "X2: an unused index is below the lowest";
    nr++;
  }
  if (nr != ix->nr_unused)
    return "X2: unused indexes are not counted right";
  for (i = 0; i < ix->nr_clean; i++) {
    if (ix->clean[i] >= ix->next)
      return "X1: a clean index is not below next";
    if (bitmap_get (ix->unused, ix->clean[i]))
      return "X3: a clean index is unused, too";
  }
  return NULL;
}
