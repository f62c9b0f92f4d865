/* SPDX-License-Identifier: BSD-3-Clause */
/* Indexes below the highest in use that nobody uses: how common/commit/reserve.c
 * cleans them, and which blocks are to be moved there.
 */
#include <config.h>

#include <errno.h>

#include "reserve-checks.h"
#include "utils/checked.h"

/* An image with blocks 0... at these indexes, full of old bytes. */
static void
make_holes (uint32_t n, const uint32_t *indexes, size_t nr)
{
  uint32_t i, high = 0;

  make_image (n);
  for (i = 0; i < nr; i++) {
    memory_set_entry (&m, i, indexes[i]);
    high = MAX (high, indexes[i] + 1);
  }
  memory_append (&m, (uint64_t) high * B, 0xee);
  memory_set_count (&m, high);
}

static const uint8_t *
block_bytes (uint32_t index)
{
  return m.bytes + length_for (index);
}

static void
test_cleaning (void)
{
  uint32_t index;
  bool zeroed;

  make_holes (N, (const uint32_t []) { 9, 0, 5 }, 3);
  start_over (true);
  CHECK (indexes_in_use (&r.indexes) == 3 && r.indexes.next == 10);
  take_none ();                 /* they are not clean yet */
  make_room ();
  check_log ("ppps" + 1);       /* 1-4, 6-8; then durable */
  for (index = 0; index < 10; index++)
    CHECK (block_bytes (index)[0] ==
           (index == 0 || index == 5 || index == 9 ? 0xee : 0) &&
           block_bytes (index)[B-1] == block_bytes (index)[0]);
  pthread_mutex_lock (&r.lock);
  CHECK (reserve_take (&r, &index, &zeroed));
  CHECK (index == 1 && zeroed);
  /* A write there failed: it is not clean any more. */
  reserve_return (&r, index);
  pthread_mutex_unlock (&r.lock);
  memset (m.bytes + length_for (1), 0xdd, B);
  check ();
  CHECK (take_one () == 2 && take_one () == 3 && take_one () == 4);
  CHECK (take_one () == 6 && take_one () == 7);
  CHECK (wakes == 0);
  CHECK (take_one () == 8);
  CHECK (wakes == 1);           /* there is one left to clean */
  OK (reserve_refill (&r, &error));
  CHECK (block_bytes (1)[0] == 0 && block_bytes (1)[B-1] == 0);
  CHECK (take_one () == 1);
  /* Only now the tail. */
  take_none ();
  make_room ();
  CHECK (take_one () == 10);
  finish ();
}

/* Many: a part at a time. */
static void
test_cleaning_many (void)
{
  uint32_t i;

  make_holes (N, (const uint32_t []) { 1000 }, 1);
  start_over (true);
  for (i = 0; i < 1000; i++) {
    if (!take (&(uint32_t) { 0 }))
      make_room ();
    else
      continue;
    CHECK (r.indexes.nr_clean >= 16 && r.indexes.nr_clean <= MAX_CLEAN);
    CHECK (take_one () == i);
  }
  CHECK (indexes_in_use (&r.indexes) == 1001);
  CHECK (memory_count (&m) == 1001);
  finish ();
}

static void
test_cannot_punch (void)
{
  uint32_t index;
  bool zeroed, commit;

  make_holes (N, (const uint32_t []) { 2 }, 1);
  m.no_punch = true;
  start_over (true);
  make_room ();
  check_log ("");
  pthread_mutex_lock (&r.lock);
  CHECK (reserve_take (&r, &index, &zeroed));
  CHECK (index == 0 && !zeroed);
  reserve_written (&r, 1, 1);
  pthread_mutex_unlock (&r.lock);
  CHECK (take_one () == 1);
  take_none ();
  make_room ();
  CHECK (take_one () == 3);
  finish ();

  /* Another error is told; and the next time it may work. */
  make_holes (N, (const uint32_t []) { 2 }, 1);
  start_over (true);
  memory_fail (&m, 1, EIO);
  FAILS (reserve_make_room (&r, &commit, &error), EIO);
  check ();
  CHECK (r.indexes.nr_unused == 2);
  make_room ();
  CHECK (take_one () == 0);
  check ();
  finish ();

  /* So is that of the sync. */
  make_holes (N, (const uint32_t []) { 2 }, 1);
  start_over (true);
  memory_fail (&m, 2, EIO);
  FAILS (reserve_make_room (&r, &commit, &error), EIO);
  check ();
  take_none ();
  finish ();
}

/* In a child a block is written whole anyway: nothing is cleaned. */
static void
test_holes_of_child (void)
{
  uint32_t index;
  bool zeroed;

  make_holes (N, (const uint32_t []) { 1 }, 1);
  start_over (false);
  pthread_mutex_lock (&r.lock);
  CHECK (reserve_take (&r, &index, &zeroed));
  CHECK (index == 0 && !zeroed);
  reserve_written (&r, 1, 1);
  pthread_mutex_unlock (&r.lock);
  check_log ("");
  take_none ();
  make_room ();
  CHECK (take_one () == 2);
  finish ();
}

/* What was clean may not be any more when the reserve has gone: it is cleaned
 * again.
 */
static void
test_give_back (void)
{
  make_holes (N, (const uint32_t []) { 9, 5 }, 2);
  start_over (true);
  make_room ();
  CHECK (take_one () == 0 && r.indexes.nr_clean == 7);
  reserve_tick (&r, 1);
  reserve_tick (&r, 2);
  check ();
  CHECK (r.indexes.nr_clean == 0 && r.indexes.nr_unused == 7);
  take_none ();
  make_room ();
  CHECK (take_one () == 1);
  finish ();
}

/*------------------------------------------------------------------*/
/* Who moves where. */

static void
test_moves (void)
{
  struct move *moves;
  size_t nr;

  make_holes (N, (const uint32_t []) { 9, 0, 5, 7, 2 }, 5);
  start_over (true);
  CHECK (reserve_has_holes (&r));
  OK (reserve_find_moves (&r, &moves, &nr, &error));
  /* 0...4 are to be in use: 9, 5 and 7 have to go to 1, 3 and 4. */
  CHECK (nr == 3);
  CHECK (moves[0].block == 0 && moves[0].from == 9 && moves[0].to == 1);
  CHECK (moves[1].block == 2 && moves[1].from == 5 && moves[1].to == 3);
  CHECK (moves[2].block == 3 && moves[2].from == 7 && moves[2].to == 4);
  reserve_moved (&r, moves, nr);
  free (moves);
  check ();
  CHECK (!reserve_has_holes (&r));
  CHECK (r.indexes.next == 5);
  OK (reserve_give_back (&r, &error));
  CHECK (memory_count (&m) == 5 && m.size == length_for (5));
  finish ();

  /* Those that were clean or are at the end, too. */
  make_holes (N, (const uint32_t []) { 3, 8 }, 2);
  start_over (true);
  make_room ();
  CHECK (r.indexes.nr_clean == 7);
  CHECK (reserve_has_holes (&r));
  OK (reserve_find_moves (&r, &moves, &nr, &error));
  CHECK (nr == 2 && moves[0].to == 0 && moves[1].to == 1);
  free (moves);
  finish ();

  start (N);
  make_room ();
  take_one ();
  CHECK (!reserve_has_holes (&r));
  CHECK (r.indexes.next == 1);
  finish ();
}

static void
test_moves_are_limited (void)
{
  uint32_t indexes[1500];
  struct move *moves;
  size_t nr, i;

  for (i = 0; i < 1500; i++)
    indexes[i] = 1600 + i;
  make_holes (N, indexes, 1500);
  start_over (true);
  OK (reserve_find_moves (&r, &moves, &nr, &error));
  CHECK (nr == MAX_MOVES);
  for (i = 0; i < nr; i++)
    CHECK (moves[i].block == i && moves[i].from == 1600 + i &&
           moves[i].to == i);
  for (i = 0; i < nr; i++)
    blockmap_move (&img->map, moves[i].block, moves[i].to);
  reserve_moved (&r, moves, nr);
  free (moves);
  check ();
  CHECK (reserve_has_holes (&r));
  OK (reserve_find_moves (&r, &moves, &nr, &error));
  CHECK (nr == 1500 - MAX_MOVES);
  CHECK (moves[0].block == MAX_MOVES && moves[0].to == MAX_MOVES);
  free (moves);
  finish ();
}

int
main (void)
{
  test_cleaning ();
  test_cleaning_many ();
  test_cannot_punch ();
  test_holes_of_child ();
  test_give_back ();
  test_moves ();
  test_moves_are_limited ();
  return 0;
}
