/* SPDX-License-Identifier: BSD-3-Clause */
/* The thread that works ahead and cleans up: common/disk/ticker.c; and
 * writes and flushes of many threads at once, for ThreadSanitizer.
 */
#include <config.h>

#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "disk-in-memory.h"
#include "disk/disk.h"
#include "disk/ticker.h"

#define B 4096
#define N 4096
#define THREADS 8

static struct memory m;
static struct vdi *vdi;

static uint32_t
count (void)
{
  uint32_t r;

  pthread_mutex_lock (&m.lock);
  r = memory_count (&m);
  pthread_mutex_unlock (&m.lock);
  return r;
}

/* Each thread has its share of the blocks, in no order. */
static void *
worker (void *number)
{
  const unsigned i = (uintptr_t) number;
  struct vdi_error e;
  uint8_t buf[B];

  memset (buf, i, sizeof buf);
  for (unsigned j = 0; j < N / THREADS; j++) {
    const uint64_t block = (uint64_t) (j * 37 % (N / THREADS)) * THREADS + i;
    const unsigned flags = j % 64 == 5 ? VDI_FUA : 0;

    CHECK (vdi_write (vdi, buf, B, block * B, flags, &e) == 0);
    if (j % 32 == 9)
      CHECK (vdi_flush (vdi, &e) == 0);
    CHECK (vdi_read (vdi, buf, B, block * B, &e) == 0);
    CHECK (buf[0] == i && buf[B-1] == i);
  }
  return NULL;
}

static void
open_image (void)
{
  const struct memory_image image = { .disk_size = N * B, .block_size = B };
  struct storage *st;
  struct vdi_options options;

  memory_make_image (&m, &image);
  vdi_options_init (&options);
  st = memory_storage_open (&m, "disk.vdi");
  OK (vdi_open_storage (&st, 1, &options, &vdi, &error));
  OK (vdi_make_writable (vdi, &error));
}

static void
close_image (void)
{
  /* Only then nobody else uses the image. */
  commit_wake_with (vdi->commit, NULL, NULL);
  ticker_stop (vdi->ticker);
  vdi->ticker = NULL;
  close_checked (vdi);
  memory_free (&m);
}

/* Wait until it is so; only what hangs is not so in the end. */
#define UNTIL(cond)                                     \
  do {                                                  \
    const time_t end = time (NULL) + 600;               \
                                                        \
    while (!(cond) && time (NULL) < end)                \
      usleep (1000);                                    \
    CHECK (cond);                                       \
  } while (0)

static void
test_many_threads (void)
{
  pthread_t threads[THREADS];
  unsigned i;

  open_image ();
  for (i = 0; i < THREADS; i++)
    CHECK (pthread_create (&threads[i], NULL, worker,
                           (void *) (uintptr_t) i) == 0);
  for (i = 0; i < THREADS; i++)
    CHECK (pthread_join (threads[i], NULL) == 0);
  for (i = 0; i < N; i++)
    check_bytes (vdi, (uint64_t) i * B, B, i % THREADS);
  CHECK (count () == N);
  close_image ();
}

/* The reserve goes back by itself after two quiet seconds. */
static void
test_gives_back (void)
{
  unsigned i = 0;

  open_image ();
  /* It may have gone before we look: then there is another one. */
  do {
    CHECK (i < N);
    write_bytes (vdi, (uint64_t) i * B, 1, 1, 0);
  }
  while (count () == ++i);
  UNTIL (count () == i);
  close_image ();
}

/*------------------------------------------------------------------*/

/* What the thread does; the linker puts this in vdi_tick's place
 * (Makefile.am).
 */
extern int __real_vdi_tick (struct vdi *, unsigned, struct vdi_error *);
extern int __wrap_vdi_tick (struct vdi *, unsigned, struct vdi_error *);
static _Atomic unsigned refills; /* without a second having passed */
static _Atomic unsigned seconds;
static struct ticker *_Atomic busy; /* is woken again each time */

int
__wrap_vdi_tick (struct vdi *v, unsigned s, struct vdi_error *e)
{
  struct ticker *const again = busy;
  const int r = __real_vdi_tick (v, s, e);

  /* After it has been done. */
  if (s == 0)
    refills++;
  seconds += s;
  if (again != NULL)
    ticker_wake (again);
  return r;
}

/* It is woken, and does what is asked of it soon, not in a second. */
static void
test_wake (void)
{
  unsigned i, had;

  open_image ();
  refills = 0;
  /* By then it was woken more than once. */
  for (i = 0; i < N / 2 && refills == 0; i++)
    write_bytes (vdi, (uint64_t) i * B, 1, 1, 0);
  UNTIL (refills > 0);
  /* And it has not forgotten the time. */
  had = seconds;
  UNTIL (seconds > had);
  close_image ();
}

static void
test_start_and_stop (void)
{
  struct ticker *t;
  unsigned i, had;

  open_image ();
  ticker_stop (NULL);
  for (i = 0; i < 100; i++) {
    OK (ticker_start (vdi, &t, &error));
    if (i % 2)
      ticker_wake (t);
    ticker_stop (t);
  }
  /* However often it is woken, it is not less awake afterwards. */
  OK (ticker_start (vdi, &t, &error));
  for (i = 0; i < 1000; i++)
    ticker_wake (t);
  had = refills;
  /* Once may be together with a second. */
  UNTIL ((ticker_wake (t), refills > had));
  ticker_stop (t);
  close_image ();
}

/* A second is one even if something else is wanted all the time. */
static void
test_time_while_busy (void)
{
  struct ticker *t;
  unsigned had;

  open_image ();
  OK (ticker_start (vdi, &t, &error));
  had = seconds;
  busy = t;
  ticker_wake (t);
  UNTIL (seconds > had);
  busy = NULL;
  ticker_stop (t);
  close_image ();
}

int
main (void)
{
  test_many_threads ();
  test_gives_back ();
  test_wake ();
  test_start_and_stop ();
  test_time_while_busy ();
  return 0;
}
