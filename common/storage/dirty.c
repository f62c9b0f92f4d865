/* SPDX-License-Identifier: BSD-3-Clause */
/* Writing out in pieces: see storage/dirty.h. */
#include <config.h>

#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

#include "storage/dirty.h"

static void
add (_Atomic uint32_t *counter, size_t count)
{
  atomic_fetch_add_explicit (counter, count / 512 + 1, memory_order_relaxed);
}

/* What it was; and it begins anew. */
static uint32_t
take (_Atomic uint32_t *counter)
{
  if (atomic_load_explicit (counter, memory_order_relaxed) == 0)
    return 0;
  return atomic_exchange_explicit (counter, 0, memory_order_relaxed);
}

void
dirty_add (struct dirty *d, uint64_t offset, size_t count)
{
  add (&d->total, count);
  add (&d->written[offset / DIRTY_REGION % DIRTY_COUNTERS], count);
}

/* Regions of the file: those of the counters from first up to end. */
struct piece {
  unsigned first, end;
};

static void
write_piece_of (int fd, const struct piece *p)
{
  const uint64_t stride = DIRTY_COUNTERS * DIRTY_REGION;
  struct stat sb;
  uint64_t offset;

  if (fstat (fd, &sb) == -1 || sb.st_size < 0)
    return;
  for (offset = p->first * DIRTY_REGION; offset < (uint64_t) sb.st_size;
       offset += stride)
    sync_file_range (fd, offset, (p->end - p->first) * DIRTY_REGION,
                     SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                     SYNC_FILE_RANGE_WAIT_AFTER);
}

/* An error is for the one that all this is done for, whose fdatasync tells
 * of it, and not for what is no more than a hint.  Opened for each piece, so
 * that there are moments in which it is not.
 */
static bool
write_piece (struct again *again, int fd, const struct piece *p)
{
  const int own = again_open (again, fd, O_RDONLY);

  if (own == -1)
    return false;
  write_piece_of (own, p);
  again_close (again, own);
  return true;
}

/* The next so many bytes of what was counted, from p->end on; false if
 * there is less than that.
 */
static bool
next_piece (const uint32_t written[DIRTY_COUNTERS], uint64_t bytes,
            struct piece *p)
{
  uint64_t sum = 0;
  unsigned i;

  for (i = p->end; i < DIRTY_COUNTERS; ++i) {
    if (written[i] == 0)
      continue;
    if (sum == 0)
      p->first = i;
    sum += written[i] * UINT64_C (512);
    if (sum >= bytes) {
      p->end = i + 1;
      return true;
    }
  }
  return false;
}

static uint64_t
microseconds (void)
{
  struct timespec t;

  clock_gettime (CLOCK_MONOTONIC, &t);
  return t.tv_sec * UINT64_C (1000000) + t.tv_nsec / 1000;
}

/* Where a piece takes this long, the disk is slow, or far away, and others
 * wait for it anyway: then the next is twice as large, for the sync's sake.
 */
#define SLOW_PIECE 4000         /* us */

static unsigned
write_pieces (const uint32_t written[DIRTY_COUNTERS], struct again *again,
              int fd)
{
  uint64_t bytes = DIRTY_PIECE, then = microseconds (), now;
  struct piece p = { .end = 0 };
  unsigned pieces;

  for (pieces = 0; next_piece (written, bytes, &p) &&
         write_piece (again, fd, &p); ++pieces) {
    now = microseconds ();
    if (now - then > SLOW_PIECE)
      bytes *= 2;
    then = now;
  }
  return pieces;
}

unsigned
dirty_write_out (struct dirty *d, struct again *again, int fd)
{
  uint32_t written[DIRTY_COUNTERS];
  unsigned i;

  if (take (&d->total) * UINT64_C (512) < DIRTY_PIECE)
    return 0;
  /* All at once: what is written from now on is none of this sync. */
  for (i = 0; i < DIRTY_COUNTERS; ++i)
    written[i] = take (&d->written[i]);
  return write_pieces (written, again, fd);
}
