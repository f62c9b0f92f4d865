/* SPDX-License-Identifier: BSD-3-Clause */
/* Indexes that may be used at once: common/commit/reserve.c.  What becomes of them
 * in a whole session is in test-commit.c, holes in test-reserve-holes.c.
 */
#include <config.h>

#include <errno.h>
#include <sched.h>

#include "reserve-checks.h"

static void
test_bound (void)
{
  CHECK (reserve_bound (0) == 1);
  CHECK (reserve_bound (1) == 1);
  CHECK (reserve_bound (31) == 1);
  CHECK (reserve_bound (32) == 2);
  CHECK (reserve_bound (4095) == 255);
  CHECK (reserve_bound (4096) == 256);
  CHECK (reserve_bound (UINT32_MAX) == 256);
}

static void
test_growth (void)
{
  start (N);
  CHECK (r.indexes.next == 0 && r.reserved == 0);
  take_none ();
  CHECK (wakes == 0);           /* whoever finds nothing asks himself */
  make_room ();
  /* Length, sync, header's count, durably. */
  check_log ("tswD");
  CHECK (r.reserved == 16 && memory_count (&m) == 16);
  for (uint32_t i = 0; i < 16; i++)
    CHECK (take_one () == i);
  take_none ();
  check_log ("");
  /* After that the length needs no sync; and it is far ahead. */
  make_room ();
  check_log ("DwD");
  CHECK (r.reserved > 16 && memory_count (&m) == r.reserved);
  CHECK (m.size == length_for (16 + 4096) && img->file_length == m.size);
  while (take (&(uint32_t) { 0 }))
    ;
  make_room ();
  check_log ("wD");
  /* There is room: nothing to do. */
  make_room ();
  check_log ("");
  finish ();
}

/* Once, when half of it is left, and again only after the refill. */
static void
test_wake (void)
{
  start (N);
  make_room ();
  for (unsigned i = 0; i < 7; i++)
    take_one ();
  CHECK (wakes == 0);
  OK (reserve_refill (&r, &error));     /* nobody needs it */
  CHECK (r.reserved == 16);
  take_one ();
  CHECK (wakes == 1);
  take_one ();
  CHECK (wakes == 1);
  OK (reserve_refill (&r, &error));
  check ();
  CHECK (r.reserved > 16);
  while (wakes == 1)
    take_one ();
  CHECK (wakes == 2);
  /* Who is not waked finds nothing left, in the end. */
  while (take (&(uint32_t) { 0 }))
    ;
  CHECK (wakes == 2);
  make_room ();
  finish ();
}

/* The more often, the further ahead; in quiet times the other way. */
static void
test_step (void)
{
  uint32_t last = 0;
  unsigned i;

  start (N);
  make_room ();
  for (i = 0; i < 10; i++) {
    CHECK (r.step >= last && r.step <= 256);
    last = r.step;
    while (take (&(uint32_t) { 0 }))
      ;
    make_room ();
    CHECK (r.reserved - r.indexes.next == r.step);
  }
  CHECK (r.step == 256);
  reserve_tick (&r, 1);
  CHECK (r.step == 256);
  take_one ();
  reserve_tick (&r, 1);
  CHECK (r.step == 128);
  for (i = 0; i < 10; i++) {
    take_one ();
    reserve_tick (&r, 1);
    check ();
  }
  CHECK (r.step == 16);
  finish ();
}

/* Never more than the bound; with few blocks left that is little, in the end
 * one.
 */
static void
test_small (void)
{
  uint32_t i;

  start (100);
  for (i = 0; i < 100; i++) {
    if (!take (&(uint32_t) { 0 })) {
      make_room ();
      CHECK (take_one () == i);
    }
    CHECK (memory_count (&m) <= 100);
    CHECK (memory_count (&m) <= i + 1 + reserve_bound (100 - i - 1));
    OK (reserve_refill (&r, &error));
    CHECK (memory_count (&m) <= i + 1 + reserve_bound (100 - i - 1));
    check ();
  }
  /* All are allocated by now: there is nothing to wait for. */
  take_none ();
  make_room ();
  take_none ();
  CHECK (m.size == length_for (100));
  finish ();
}

/* What only a commit brings into the map counts as not being there. */
static void
test_asks_for_commit (void)
{
  uint32_t index, nr;
  bool zeroed, commit = true;

  start (32);
  make_room ();
  for (nr = 0; nr < 2; nr++) {
    pthread_mutex_lock (&r.lock);
    CHECK (reserve_take (&r, &index, &zeroed));
    CHECK (zeroed);
    reserve_written (&r, 0, 1);
    pthread_mutex_unlock (&r.lock);
  }
  OK (reserve_make_room (&r, &commit, &error));
  CHECK (commit);
  check ();
  CHECK (memory_count (&m) == 2);
  pthread_mutex_lock (&r.lock);
  reserve_written (&r, 2, 0);
  pthread_mutex_unlock (&r.lock);
  make_room ();
  CHECK (take_one () == 2);
  finish ();
}

/*------------------------------------------------------------------*/

/* Where a longer file takes room: a few blocks. */
static void
test_dense (void)
{
  uint32_t before;
  unsigned i;

  m.dense = true;
  start (N);
  m.dense = true;
  make_room ();                 /* only after that it is known */
  CHECK (m.size == length_for (16));
  for (i = 0; i < 1000; i++) {
    /* What was reserved stays: somebody may be using it. */
    before = r.reserved;
    OK (reserve_refill (&r, &error));
    CHECK (r.reserved >= before && memory_count (&m) == r.reserved);
    if (!take (&(uint32_t) { 0 })) {
      make_room ();
      take_one ();
    }
    check ();
    if (i >= 16) {
      CHECK (r.reserved - r.indexes.next <= 4);
      CHECK (m.size <= length_for (r.indexes.next + 4));
    }
    if (i % 50 == 9)
      reserve_tick (&r, 1);
  }
  CHECK (m.size < length_for (1010));
  finish ();
}

static void
test_device (void)
{
  uint32_t index, i;
  bool zeroed, commit;

  make_image (N);
  memory_append (&m, 20 * B, 0xfd);
  m.device = true;
  start_over (true);
  make_room ();
  CHECK (memory_count (&m) == 16);
  pthread_mutex_lock (&r.lock);
  CHECK (reserve_take (&r, &index, &zeroed));
  CHECK (!zeroed);              /* the disk's old bytes are there */
  reserve_written (&r, 1, 1);
  pthread_mutex_unlock (&r.lock);
  for (i = 1; i < 16; i++)
    CHECK (take_one () == i);
  /* As many as fit. */
  make_room ();
  CHECK (memory_count (&m) == 20);
  OK (reserve_refill (&r, &error));
  CHECK (memory_count (&m) == 20 && r.reserved == 20);
  for (; i < 20; i++)
    CHECK (take_one () == i);
  FAILS (reserve_make_room (&r, &commit, &error), ENOSPC);
  SAYS ("larger device");
  check ();
  OK (reserve_give_back (&r, &error));
  CHECK (memory_count (&m) == 20 && m.size == length_for (20));
  finish ();
}

/* Where the file cannot become long enough for all of it, one block will
 * do; and where one does not fit, that is said, with nothing lost.
 */
static void
test_no_room (void)
{
  bool commit;

  start (N);
  m.max_size = length_for (3);
  for (uint32_t i = 0; i < 3; i++) {
    make_room ();
    CHECK (r.reserved == i + 1 && memory_count (&m) == i + 1);
    CHECK (take_one () == i);
  }
  FAILS (reserve_make_room (&r, &commit, &error), ENOSPC);
  FAILS (reserve_make_room (&r, &commit, &error), ENOSPC);
  OK (medium_check (&medium, &error));
  check ();
  m.max_size = UINT64_MAX;
  make_room ();
  CHECK (r.reserved > 4);
  CHECK (take_one () == 3);
  finish ();
}

/* It fails when there is something reserved: that stays, for somebody may
 * be using it at this moment.
 */
static void
test_no_room_ahead (void)
{
  uint32_t i;

  start (N);
  m.dense = true;               /* or the file would be long enough */
  make_room ();
  CHECK (r.reserved == 16);
  for (i = 0; i < 14; i++)
    take_one ();
  m.max_size = m.size;
  OK (reserve_refill (&r, &error));
  CHECK (r.reserved == 16 && memory_count (&m) == 16);
  check ();
  CHECK (take_one () == 14 && take_one () == 15);
  m.max_size = length_for (17);
  make_room ();
  CHECK (take_one () == 16);
  finish ();
}

static void
test_failing (void)
{
  bool commit;
  unsigned i;

  /* Each of its steps; what was done is not done again in vain. */
  for (i = 1; i <= 3; i++) {
    start (N);
    memory_fail (&m, i, EIO);
    if (i == 1)                 /* the length: a shorter one will do */
      make_room ();
    else {
      FAILS (reserve_make_room (&r, &commit, &error), EIO);
      CHECK (r.reserved == 0);
      check ();
    }
    /* A sync that failed is the end; a write is not. */
    if (i == 2)
      FAILS (reserve_make_room (&r, &commit, &error), EIO);
    else
      make_room ();
    finish ();
  }
  /* The durable write of the count: nothing is known any more. */
  start (N);
  memory_fail (&m, 4, EIO);
  FAILS (reserve_make_room (&r, &commit, &error), EIO);
  FAILS (medium_check (&medium, &error), EIO);
  finish ();

  /* Without durable writes: syncs. */
  start (N);
  m.no_durable = true;
  make_room ();
  check_log ("tsws");
  while (take (&(uint32_t) { 0 }))
    ;
  make_room ();
  check_log ("tsws");
  finish ();
}

/*------------------------------------------------------------------*/

static void
test_give_back (void)
{
  unsigned i;

  start (N);
  make_room ();
  take_one ();
  take_one ();
  /* Not while something happens. */
  reserve_tick (&r, 1);
  reserve_tick (&r, 1);
  take_one ();
  reserve_tick (&r, 1);
  reserve_tick (&r, 1);
  CHECK (r.reserved == 16);
  reserve_tick (&r, 0);         /* no time has passed */
  CHECK (r.reserved == 16);
  memset (m.log, 0, sizeof m.log);
  reserve_tick (&r, 1);
  check_log ("wDts");
  CHECK (r.reserved == 3 && memory_count (&m) == 3);
  CHECK (m.size == length_for (3));
  check ();
  /* Once. */
  for (i = 0; i < 3; i++)
    reserve_tick (&r, 1);
  check_log ("");
  /* And then it is as it was. */
  take_none ();
  make_room ();
  CHECK (take_one () == 3);
  /* A long second counts for as many. */
  reserve_tick (&r, 1);
  reserve_tick (&r, 2);
  CHECK (r.reserved == 4 && memory_count (&m) == 4);
  finish ();
}

/* It fails at each step, and goes on. */
static void
test_give_back_fails (void)
{
  for (unsigned i = 1; i <= 3; i++) {
    start (N);
    make_room ();
    take_one ();
    memory_fail (&m, i, i == 2 ? ENOSPC : EIO);
    if (i == 2) {
      /* A durable write without room: a sync does it. */
      OK (reserve_give_back (&r, &error));
      CHECK (memory_count (&m) == 1);
    }
    else
      FAILS (reserve_give_back (&r, &error), EIO);
    CHECK (r.reserved == 1);
    check ();
    take_none ();
    OK (medium_check (&medium, &error));
    make_room ();
    CHECK (memory_count (&m) == r.reserved && r.reserved > 1);
    CHECK (take_one () == 1);
    OK (reserve_give_back (&r, &error));
    CHECK (memory_count (&m) == 2 && m.size == length_for (2));
    finish ();
  }
}

/*------------------------------------------------------------------*/
/* Waiting. */

struct waiter {
  pthread_t thread;
  bool done, commit;            /* r.lock */
};

static void *
wait_for_room (void *wv)
{
  struct waiter *w = wv;
  struct vdi_error e;
  bool commit;

  CHECK (reserve_make_room (&r, &commit, &e) == 0);
  pthread_mutex_lock (&r.lock);
  w->commit = commit;
  w->done = true;
  pthread_mutex_unlock (&r.lock);
  return NULL;
}

static void
start_waiter (struct waiter *w)
{
  w->done = false;
  CHECK (pthread_create (&w->thread, NULL, wait_for_room, w) == 0);
}

/* So many threads wait, and will until something changes. */
static void
until_waiting (unsigned nr)
{
  pthread_mutex_lock (&r.lock);
  while (r.waiting < nr) {
    pthread_mutex_unlock (&r.lock);
    sched_yield ();
    pthread_mutex_lock (&r.lock);
  }
  pthread_mutex_unlock (&r.lock);
}

/* All that the count may cover is taken, and not yet in the map: whether
 * there will be more shows when one of them is written or returned.
 */
static void
test_waits_for_others (bool returned)
{
  struct waiter w;
  uint32_t a, b;
  bool zeroed;

  start (32);
  make_room ();
  pthread_mutex_lock (&r.lock);
  CHECK (reserve_take (&r, &a, &zeroed) && reserve_take (&r, &b, &zeroed));
  CHECK (!reserve_take (&r, &b, &zeroed));
  pthread_mutex_unlock (&r.lock);
  start_waiter (&w);
  until_waiting (1);
  pthread_mutex_lock (&r.lock);
  CHECK (!w.done);
  if (returned)
    reserve_return (&r, a);
  else
    reserve_written (&r, 2, 2);
  pthread_mutex_unlock (&r.lock);
  CHECK (pthread_join (w.thread, NULL) == 0);
  CHECK (!w.commit);
  if (returned) {
    pthread_mutex_lock (&r.lock);
    reserve_written (&r, 1, 1);
    pthread_mutex_unlock (&r.lock);
  }
  CHECK (take_one () == (returned ? 0 : 2));
  check ();
  finish ();
}

static void
test_waits_for_turn (void)
{
  struct waiter w[3];
  unsigned i;

  start (N);
  reserve_begin_turn (&r);
  for (i = 0; i < 3; i++)
    start_waiter (&w[i]);
  until_waiting (3);
  OK (reserve_refill (&r, &error));     /* waits for nobody */
  CHECK (m.calls == 0);
  reserve_end_turn (&r);
  for (i = 0; i < 3; i++)
    CHECK (pthread_join (w[i].thread, NULL) == 0);
  check_log ("tswD");           /* one of them did it */
  finish ();
}

int
main (void)
{
  test_bound ();
  test_growth ();
  test_wake ();
  test_step ();
  test_small ();
  test_asks_for_commit ();
  test_dense ();
  test_device ();
  test_no_room ();
  test_no_room_ahead ();
  test_failing ();
  test_give_back ();
  test_give_back_fails ();
  test_waits_for_others (false);
  test_waits_for_others (true);
  test_waits_for_turn ();
  return 0;
}
