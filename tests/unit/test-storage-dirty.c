/* SPDX-License-Identifier: BSD-3-Clause */
/* storage/dirty.c: what is written before a sync, and that each sync of a
 * file does it.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "file-checks.h"
#include "storage/dirty.h"
#include "tmpdir.h"

/* The linker puts these in the place of the system's (Makefile.am). */
extern int __wrap_sync_file_range (int fd, off_t offset, off_t count,
                                   unsigned flags);
extern int __wrap_clock_gettime (clockid_t clock, struct timespec *);
#define MAX_CALLS 64
static struct { uint64_t offset, count; } calls[MAX_CALLS];
static unsigned nr_calls, ms, ms_a_call;
static int not_this_fd = -1;
static struct dirty dirty;
static struct again again;
static bool others_write;

int
__wrap_sync_file_range (int fd, off_t offset, off_t count, unsigned flags)
{
  /* An error is told only once, and this is not who needs to know. */
  CHECK (fd != not_this_fd);
  if (others_write)
    dirty_add (&dirty, offset + 100 * DIRTY_REGION, DIRTY_PIECE);
  CHECK (flags == (SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                   SYNC_FILE_RANGE_WAIT_AFTER));
  CHECK (nr_calls < MAX_CALLS);
  calls[nr_calls].offset = offset;
  calls[nr_calls++].count = count;
  ms += ms_a_call;
  errno = EIO;
  return -1;
}

int
__wrap_clock_gettime (clockid_t clock, struct timespec *t)
{
  CHECK (clock == CLOCK_MONOTONIC);
  *t = (struct timespec) { .tv_sec = ms / 1000,
                           .tv_nsec = ms % 1000 * 1000000 };
  return 0;
}

/* The calls of the next sync of a file. */
static unsigned
write_out (int fd)
{
  unsigned i, pieces;

  nr_calls = 0;
  not_this_fd = fd;
  pieces = dirty_write_out (&dirty, &again, fd);
  not_this_fd = -1;
  if (others_write)
    return pieces;
  CHECK (dirty.total == 0);
  for (i = 0; pieces > 0 && i < DIRTY_COUNTERS; ++i)
    CHECK (dirty.written[i] == 0);
  return pieces;
}

static bool
called (unsigned i, uint64_t offset, uint64_t count)
{
  return i < nr_calls && calls[i].offset == offset && calls[i].count == count;
}

static void
test_pieces (void)
{
  const uint64_t region = DIRTY_REGION, stride = region * DIRTY_COUNTERS;
  const int fd = open (tmpdir_file ("f"), O_RDWR | O_CREAT | O_EXCL, 0600);
  unsigned i;

  CHECK (fd >= 0 && ftruncate (fd, 2 * stride + 1) == 0);

  /* Nothing, and not enough to make others wait. */
  CHECK (write_out (fd) == 0 && nr_calls == 0);
  for (i = 0; i < 4; ++i)
    dirty_add (&dirty, i * 16 * region, DIRTY_PIECE / 8);
  CHECK (write_out (fd) == 0 && nr_calls == 0);
  /* That was synced: it does not count any more. */
  for (i = 0; i < 4; ++i)
    dirty_add (&dirty, i * 16 * region, DIRTY_PIECE / 8);
  CHECK (write_out (fd) == 0 && nr_calls == 0);
  memset (&dirty, 0, sizeof dirty);

  /* Once enough is together, all regions from the first to the last of it,
   * wherever in the file they may be.
   */
  dirty_add (&dirty, 1 * region, DIRTY_PIECE / 2);
  dirty_add (&dirty, 5 * region + stride, DIRTY_PIECE / 2);
  dirty_add (&dirty, 6 * region + 4096, DIRTY_PIECE);
  dirty_add (&dirty, 2047 * region, DIRTY_PIECE - 513);
  CHECK (write_out (fd) == 2);
  CHECK (nr_calls == 4);
  CHECK (called (0, 1 * region, 5 * region));
  CHECK (called (1, stride + 1 * region, 5 * region));
  CHECK (called (2, 6 * region, region));
  CHECK (called (3, stride + 6 * region, region));

  /* Many small ones count as what the disk has to write for them. */
  for (i = 0; i < DIRTY_PIECE / 512; ++i)
    dirty_add (&dirty, i * 4096, 1);
  CHECK (write_out (fd) == 1);

  /* What others write meanwhile is not waited for, however much it is. */
  dirty_add (&dirty, 0, DIRTY_PIECE);
  dirty_add (&dirty, 3 * region, DIRTY_PIECE);
  others_write = true;
  CHECK (write_out (fd) == 2 && nr_calls == 5);
  others_write = false;
  /* The next sync does it. */
  CHECK (write_out (fd) == 2);

  CHECK (close (fd) == 0);
  CHECK (fcntl (fd + 1, F_GETFD) == -1);
}

/* The pieces grow only where each takes long. */
static void
test_slow (void)
{
  const int fd = open (tmpdir_file ("slow"), O_RDWR | O_CREAT | O_EXCL, 0600);
  unsigned i, slow;

  CHECK (fd >= 0 && ftruncate (fd, 16 * DIRTY_REGION) == 0);
  for (slow = 0; slow < 2; slow++) {
    ms_a_call = slow ? 5 : 4;
    for (i = 0; i < 16; ++i)
      dirty_add (&dirty, i * DIRTY_REGION, DIRTY_PIECE);
    CHECK (write_out (fd) == (slow ? 4 : 16)); /* 1, 2, 4, 8 and no more */
  }
  ms_a_call = 0;
  CHECK (close (fd) == 0);
}

/* A file that cannot be opened again, or asked, is left to its sync. */
static void
test_cannot (void)
{
  int ends[2];

  nr_calls = 0;
  dirty_add (&dirty, 0, 2 * DIRTY_PIECE);
  CHECK (dirty_write_out (&dirty, &again, 1000) == 0);
  CHECK (pipe (ends) == 0);
  dirty_add (&dirty, 0, 2 * DIRTY_PIECE);
  dirty_write_out (&dirty, &again, ends[0]);
  CHECK (nr_calls == 0);
  CHECK (close (ends[0]) == 0 && close (ends[1]) == 0);
}

/* Each write of a storage is counted, and an error here is none of its
 * sync.
 */
static void
test_storage (void)
{
  struct storage *st;

  nr_calls = 0;
  OK (storage_create_file (tmpdir_file ("s"), false, &st, &error));
  fill (st, 0, 3 * M, 'a');
  OK (storage_sync (st, &error));
  CHECK (nr_calls == 0);
  fill (st, 0, 5 * M, 'b');
  fill (st, 5 * M, 5 * M, 'b');
  OK (storage_sync (st, &error));
  CHECK (nr_calls == 2 && called (0, 0, DIRTY_REGION));
  CHECK (called (1, DIRTY_REGION, DIRTY_REGION));
  OK (storage_sync (st, &error));
  CHECK (nr_calls == 2);
  storage_close (st);
}

int
main (void)
{
  tmpdir_make ();
  again_init (&again);
  test_pieces ();
  test_slow ();
  test_cannot ();
  test_storage ();
  CHECK (again.open == 0);
  again_destroy (&again);
  return 0;
}
