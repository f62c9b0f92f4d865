/* SPDX-License-Identifier: BSD-3-Clause */
/* Writing out in pieces: see storage-dirty.h. */
#include <config.h>

#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include "storage-dirty.h"

static void
add (_Atomic uint32_t *counter, size_t count)
{
  atomic_fetch_add_explicit (counter, count / 512 + 1, memory_order_relaxed);
}

/* What it was; and it begins anew. */
static uint64_t
take (_Atomic uint32_t *counter)
{
  if (atomic_load_explicit (counter, memory_order_relaxed) == 0)
    return 0;
  return atomic_exchange_explicit (counter, 0, memory_order_relaxed) *
    UINT64_C (512);
}

void
dirty_add (struct dirty *d, uint64_t offset, size_t count)
{
  add (&d->total, count);
  add (&d->written[offset / DIRTY_REGION % DIRTY_COUNTERS], count);
}

/* A file description of its own: the kernel tells each once that something
 * could not be written, and the one that this is all for is to be told by
 * its fdatasync, not by what is no more than a hint.
 */
static int
open_again (int fd)
{
  char path[64];

  snprintf (path, sizeof path, "/proc/self/fd/%d", fd);
  return open (path, O_RDONLY | O_CLOEXEC);
}

/* The regions of the counters from first up to end. */
static void
write_regions (int fd, unsigned first, unsigned end)
{
  const uint64_t stride = DIRTY_COUNTERS * DIRTY_REGION;
  struct stat sb;
  uint64_t offset;

  if (fstat (fd, &sb) == -1 || sb.st_size < 0)
    return;
  for (offset = first * DIRTY_REGION; offset < (uint64_t) sb.st_size;
       offset += stride)
    sync_file_range (fd, offset, (end - first) * DIRTY_REGION,
                     SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                     SYNC_FILE_RANGE_WAIT_AFTER);
}

unsigned
dirty_write_out (struct dirty *d, int fd)
{
  unsigned i, first = 0, pieces = 0;
  uint64_t sum = 0;
  int own = -1;

  if (take (&d->total) < DIRTY_PIECE)
    return 0;
  for (i = 0; i < DIRTY_COUNTERS; ++i) {
    sum += take (&d->written[i]);
    if (sum < DIRTY_PIECE)
      continue;
    if (own == -1 && (own = open_again (fd)) == -1)
      return 0;
    write_regions (own, first, i + 1);
    first = i + 1;
    sum = 0;
    ++pieces;
  }
  if (own >= 0)
    close (own);
  return pieces;
}
