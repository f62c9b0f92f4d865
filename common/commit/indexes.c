/* SPDX-License-Identifier: BSD-3-Clause */
/* Which physical indexes of an image are in use: see indexes.h. */
#include <config.h>

#include <stdlib.h>

#include "commit/indexes.h"
#include "utils/bitmap.h"
#include "utils/checked.h"

static void
find_unused (struct indexes *ix, const struct blockmap *map)
{
  uint32_t block, i;

  FOR_EACH_ON_PAGE (block, map, map->n) {
    const uint32_t index = blockmap_get (map, block);

    if (vdi_entry_is_allocated (index))
      bitmap_set (ix->unused, index);
  }
  for (i = 0; i <= ix->next / 64; i++)
    ix->unused[i] = ~ix->unused[i];
  ix->unused[ix->next / 64] &= (UINT64_C (1) << ix->next % 64) - 1;
}

int
indexes_init (struct indexes *ix, const struct blockmap *map)
{
  *ix = (struct indexes) {
    .n = map->n, .next = map->high,
    .unused = bitmap_new (map->n),
    .nr_unused = map->high - map->n_allocated,
  };
  if (ix->unused == NULL)
    return -1;
  if (ix->nr_unused > 0)
    find_unused (ix, map);
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
