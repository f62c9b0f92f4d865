/* SPDX-License-Identifier: BSD-3-Clause */
/* Which physical indexes are in use: common/commit/indexes.c. */
#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "commit/indexes.h"
#include "image/blockmap.h"
#include "test.h"
#include "utils/bitmap.h"
#include "utils/checked.h"

/* Fails the test with the invariant that is broken. */
static void
check (const struct indexes *ix)
{
  const char *wrong = indexes_check_invariants (ix);

  if (wrong != NULL) {
    fprintf (stderr, "%s\n", wrong);
    exit (1);
  }
}

/* It is broken, and this one. */
static void
broken (const struct indexes *ix, const char *invariant)
{
  const char *wrong = indexes_check_invariants (ix);

  CHECK (wrong != NULL);
  CHECK (strncmp (wrong, invariant, strlen (invariant)) == 0);
}

/* Those of a map whose first blocks are where they would be in a fixed
 * image, but for some holes (freed), if it is not NULL.
 */
static void
init (struct indexes *ix, uint32_t n, uint32_t high, uint64_t *holes)
{
  struct blockmap map;

  CHECK (blockmap_new (&map, n) == 0);
  for (uint32_t page = 0; page <= n / BLOCKMAP_PAGE; page++)
    map.pages[page] = BLOCKMAP_KEPT;
  for (uint32_t i = 0; i < high; i++)
    if (holes == NULL || !bitmap_get (holes, i))
      blockmap_set (&map, i, i);
  map.high = high;
  CHECK (indexes_init (ix, &map) == 0);
  check (ix);
  blockmap_free (&map);
  free (holes);
}

static uint32_t
take_unused (struct indexes *ix)
{
  uint32_t index = UINT32_MAX;

  CHECK (indexes_take_unused (ix, &index));
  check (ix);
  return index;
}

static uint32_t
take_clean (struct indexes *ix)
{
  uint32_t index = UINT32_MAX;

  CHECK (indexes_take_clean (ix, &index));
  check (ix);
  return index;
}

static void
nothing_left (struct indexes *ix)
{
  uint32_t index = 77;

  CHECK (ix->nr_unused == 0 && ix->nr_clean == 0);
  CHECK (!indexes_take_unused (ix, &index));
  CHECK (!indexes_take_clean (ix, &index));
  CHECK (index == 77);
}

/* Wherever the words end that it lies in, and next. */
static void
test_init (void)
{
  static const uint32_t edges[] = { 0, 1, 63, 64, 65, 127, 128, 129, 1000 };
  const size_t nr = sizeof edges / sizeof edges[0];
  struct indexes ix;
  uint64_t *holes;

  for (size_t i = 0; i < nr; i++)
    for (size_t j = 0; j <= i; j++) {
      const uint32_t n = edges[i], high = edges[j];

      init (&ix, n, high, NULL);
      CHECK (ix.n == n && ix.next == high && indexes_in_use (&ix) == high);
      nothing_left (&ix);
      indexes_free (&ix);

      holes = bitmap_new (n);
      CHECK (holes != NULL);
      memset (holes, 0xff, (n / 64 + 1) * sizeof *holes);
      init (&ix, n, high, holes);
      CHECK (ix.next == high && ix.nr_unused == high);
      CHECK (indexes_in_use (&ix) == 0);
      for (uint32_t index = 0; index < high; index++)
        CHECK (take_unused (&ix) == index);
      nothing_left (&ix);
      CHECK (indexes_in_use (&ix) == high);
      indexes_free (&ix);

      /* And a hole at each side of every edge. */
      holes = bitmap_new (n);
      CHECK (holes != NULL);
      bitmap_set (holes, 0);
      if (high > 0)
        bitmap_set (holes, high - 1);
      init (&ix, n, high, holes);
      CHECK (ix.nr_unused == MIN (high, 2));
      if (high > 1)
        CHECK (take_unused (&ix) == 0);
      if (high > 0)
        CHECK (take_unused (&ix) == high - 1);
      nothing_left (&ix);
      indexes_free (&ix);
    }
}

static void
test_lowest_first (void)
{
  struct indexes ix;
  uint64_t *holes = bitmap_new (1000);

  CHECK (holes != NULL);
  bitmap_set (holes, 3);
  bitmap_set (holes, 64);
  bitmap_set (holes, 700);
  init (&ix, 1000, 900, holes);
  CHECK (indexes_in_use (&ix) == 897);
  CHECK (take_unused (&ix) == 3);
  CHECK (take_unused (&ix) == 64);
  /* Returned below all that is left, and above. */
  indexes_return (&ix, 899);
  indexes_return (&ix, 0);
  check (&ix);
  CHECK (indexes_in_use (&ix) == 897);
  CHECK (take_unused (&ix) == 0);
  CHECK (take_unused (&ix) == 700);
  CHECK (take_unused (&ix) == 899);
  nothing_left (&ix);
  indexes_free (&ix);
}

static void
test_clean (void)
{
  struct indexes ix;
  uint64_t *holes = bitmap_new (1000);
  uint32_t clean[MAX_CLEAN];
  uint32_t i;

  CHECK (holes != NULL);
  for (i = 0; i < 600; i++)
    bitmap_set (holes, i);
  init (&ix, 1000, 601, holes);
  for (i = 0; i < MAX_CLEAN; i++)
    clean[i] = take_unused (&ix);
  CHECK (indexes_in_use (&ix) == 1 + MAX_CLEAN);
  indexes_add_clean (&ix, clean, MAX_CLEAN);
  check (&ix);
  /* They are not in use, and not unused either: of each kind the lowest
   * comes first.
   */
  CHECK (ix.nr_clean == MAX_CLEAN && indexes_in_use (&ix) == 1);
  CHECK (take_unused (&ix) == MAX_CLEAN);
  for (i = 0; i < MAX_CLEAN; i++)
    CHECK (take_clean (&ix) == i);
  CHECK (ix.nr_clean == 0);
  indexes_free (&ix);
}

static void
test_move (void)
{
  struct indexes ix;
  uint64_t *holes = bitmap_new (100);

  CHECK (holes != NULL);
  bitmap_set (holes, 5);
  bitmap_set (holes, 6);
  init (&ix, 100, 70, holes);
  indexes_move (&ix, 69, 5);
  check (&ix);
  CHECK (ix.next == 70 && ix.nr_unused == 2 && indexes_in_use (&ix) == 68);
  CHECK (!bitmap_get (ix.unused, 5) && bitmap_get (ix.unused, 69));
  indexes_move (&ix, 68, 6);
  check (&ix);
  indexes_shrink (&ix);
  check (&ix);
  CHECK (ix.next == 68);
  nothing_left (&ix);
  indexes_free (&ix);
}

static void
test_shrink (void)
{
  static const uint32_t edges[] = { 0, 1, 63, 64, 65, 127, 128 };
  const size_t nr = sizeof edges / sizeof edges[0];
  struct indexes ix;

  /* Down to what is in use, wherever that ends; a hole below stays. */
  for (size_t i = 0; i < nr; i++) {
    const uint32_t used = edges[i];

    init (&ix, 128, 128, NULL);
    for (uint32_t index = used; index < 128; index++)
      indexes_return (&ix, index);
    if (used > 1)
      indexes_return (&ix, 0);
    check (&ix);
    indexes_shrink (&ix);
    check (&ix);
    CHECK (ix.next == used);
    if (used > 1)
      CHECK (take_unused (&ix) == 0);
    nothing_left (&ix);
    /* And what the tail gets again is as any other. */
    ix.next = 128;
    indexes_return (&ix, 127);
    CHECK (take_unused (&ix) == 127);
    indexes_free (&ix);
  }

  /* Nothing is clean any more: somebody is going to cut the file. */
  init (&ix, 100, 10, NULL);
  indexes_add_clean (&ix, (const uint32_t []) { 2, 8, 9 }, 3);
  check (&ix);
  indexes_shrink (&ix);
  check (&ix);
  CHECK (ix.nr_clean == 0 && ix.nr_unused == 1 && ix.next == 8);
  CHECK (take_unused (&ix) == 2);
  indexes_free (&ix);
}

/* That the invariants are looked at. */
static void
test_invariants (void)
{
  struct indexes ix;

  init (&ix, 100, 50, NULL);
  ix.next = 101;
  broken (&ix, "X1");
  ix.next = 50;
  bitmap_set (ix.unused, 50);
  ix.nr_unused = 1;
  broken (&ix, "X1");
  bitmap_clear (ix.unused, 50);
  broken (&ix, "X2");
  ix.nr_unused = 0;
  check (&ix);

  indexes_return (&ix, 10);
  ix.lowest = 11;
  broken (&ix, "X2");
  ix.lowest = 10;
  check (&ix);

  indexes_add_clean (&ix, (const uint32_t []) { 10 }, 1);
  broken (&ix, "X3");
  ix.clean[0] = 50;
  broken (&ix, "X1");
  ix.clean[0] = 49;
  check (&ix);
  indexes_free (&ix);
}

int
main (void)
{
  test_init ();
  test_lowest_first ();
  test_clean ();
  test_move ();
  test_shrink ();
  test_invariants ();
  return 0;
}
