/* SPDX-License-Identifier: BSD-3-Clause */
/* Which physical indexes are in use: common/indexes.c. */
#include <config.h>

#include "bitmap.h"
#include "indexes.h"
#include "test.h"

static uint32_t
take (struct indexes *ix)
{
  uint32_t index = UINT32_MAX;

  CHECK (indexes_take (ix, &index));
  return index;
}

static void
test_tail_then_nothing (void)
{
  struct indexes ix;
  uint32_t index;

  indexes_init (&ix, 3, 1, NULL);
  CHECK (indexes_at_tail (&ix));
  CHECK (take (&ix) == 1);
  CHECK (take (&ix) == 2);
  CHECK (!indexes_at_tail (&ix));
  CHECK (!indexes_take (&ix, &index));
  indexes_free (&ix);
}

static void
test_holes_come_last (void)
{
  struct indexes ix;
  uint64_t *holes = bitmap_new (100);
  uint32_t index;

  CHECK (holes != NULL);
  bitmap_set (holes, 0);
  bitmap_set (holes, 70);
  bitmap_set (holes, 98);       /* not below high: means nothing */
  indexes_init (&ix, 100, 98, holes);
  CHECK (take (&ix) == 98);
  CHECK (take (&ix) == 99);
  CHECK (take (&ix) == 0);
  CHECK (take (&ix) == 70);
  CHECK (!indexes_take (&ix, &index));
  indexes_free (&ix);
  free (holes);
}

static void
test_returned_come_first_and_are_not_tail (void)
{
  struct indexes ix;
  uint32_t i;

  indexes_init (&ix, 1000, 0, NULL);
  for (i = 0; i < 100; i++)
    CHECK (take (&ix) == i);
  for (i = 0; i < 50; i++)
    indexes_return (&ix, i);
  CHECK (!indexes_at_tail (&ix));
  for (i = 0; i < 50; i++)
    CHECK (take (&ix) < 50);
  CHECK (indexes_at_tail (&ix));
  CHECK (take (&ix) == 100);
  indexes_free (&ix);
}

static void
test_shrink_stops_at_used_and_lost (void)
{
  struct indexes ix;
  uint32_t i;

  indexes_init (&ix, 10, 2, NULL);
  for (i = 2; i < 8; i++)
    CHECK (take (&ix) == i);
  indexes_return (&ix, 6);
  indexes_return (&ix, 7);
  indexes_return (&ix, 3);
  indexes_shrink (&ix);
  CHECK (ix.next == 6);
  CHECK (take (&ix) == 3);      /* still remembered */
  CHECK (take (&ix) == 6);      /* forgotten, so at the tail again */

  indexes_return (&ix, 5);
  indexes_lose (&ix, 6);
  indexes_shrink (&ix);
  CHECK (ix.next == 7);         /* 6 may be named by something in the file */
  CHECK (take (&ix) == 5);
  CHECK (take (&ix) == 7);
  indexes_free (&ix);
}

int
main (void)
{
  test_tail_then_nothing ();
  test_holes_come_last ();
  test_returned_come_first_and_are_not_tail ();
  test_shrink_stops_at_used_and_lost ();
  return 0;
}
