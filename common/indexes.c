/* SPDX-License-Identifier: BSD-3-Clause */
/* Which physical indexes of an image are in use: see indexes.h. */
#include <config.h>

#include <stdlib.h>

#include "bitmap.h"
#include "checked.h"
#include "indexes.h"
#include "mutants.h"

void
indexes_init (struct indexes *ix, uint32_t n, uint32_t high, uint64_t *holes)
{
  *ix = (struct indexes) {
    .n = n, .next = high, .holes = holes, .high = high,
  };
}

void
indexes_free (struct indexes *ix)
{
  free (ix->returned);
  ix->returned = NULL;
}

bool
indexes_at_tail (const struct indexes *ix)
{
  return (ix->nr_returned == 0 || MUTANT (returned_taken_for_fresh)) &&
         ix->next < ix->n;
}

static bool
take_hole (struct indexes *ix, uint32_t *index)
{
  if (ix->holes == NULL)
    return false;
  while (ix->hole < ix->high && !bitmap_get (ix->holes, ix->hole))
    ix->hole++;
  if (ix->hole == ix->high)
    return false;
  *index = ix->hole;
  if (!MUTANT (hole_taken_twice))
    bitmap_clear (ix->holes, ix->hole);
  return true;
}

bool
indexes_take (struct indexes *ix, uint32_t *index)
{
  if (ix->nr_returned > 0) {
    *index = ix->returned[--ix->nr_returned];
    return true;
  }
  if (ix->next < ix->n) {
    *index = ix->next++;
    return true;
  }
  return take_hole (ix, index);
}

void
indexes_return (struct indexes *ix, uint32_t index)
{
  if (ix->nr_returned == ix->max_returned) {
    const size_t max = ix->max_returned * 2 + 16;
    uint32_t *p = realloc (ix->returned, max * sizeof *p);

    if (p == NULL) {            /* cannot be remembered: do without it */
      indexes_lose (ix, index);
      return;
    }
    ix->returned = p;
    ix->max_returned = max;
  }
  ix->returned[ix->nr_returned++] = index;
}

void
indexes_lose (struct indexes *ix, uint32_t index)
{
  ix->floor = MAX (ix->floor, index + 1);
}

/* Returned indexes are few: one per allocation that failed since. */
static bool
forget (struct indexes *ix, uint32_t index)
{
  for (size_t i = 0; i < ix->nr_returned; i++) {
    if (ix->returned[i] == index) {
      ix->returned[i] = ix->returned[--ix->nr_returned];
      return true;
    }
  }
  return false;
}

void
indexes_shrink (struct indexes *ix)
{
  while (ix->next > ix->floor && forget (ix, ix->next - 1))
    ix->next--;
}
