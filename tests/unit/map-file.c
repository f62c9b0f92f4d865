/* SPDX-License-Identifier: BSD-3-Clause */
/* A storage that has nothing but a block map: see map-file.h. */
#include <config.h>

#include <errno.h>
#include <string.h>

#include "map-file.h"
#include "test.h"
#include "utils/checked.h"

/* Up to where is it as at offset? */
static bool
is_stored (const struct map_file *f, uint64_t offset, uint64_t *end)
{
  *end = UINT64_MAX;
  for (unsigned i = 0; i < f->nr; i++) {
    if (offset < f->stored[i][0]) {
      *end = f->stored[i][0];
      return false;
    }
    if (offset < f->stored[i][1]) {
      *end = f->stored[i][1];
      return true;
    }
  }
  return f->nr == 0;
}

/* Bytes of one entry or part of it, all stored; returns how many. */
static size_t
put_entry (const struct map_file *f, uint8_t *p, size_t count, uint64_t offset)
{
  const uint64_t in_map = offset - f->h.map_off;
  const uint32_t entry = f->entry (in_map / 4);
  const size_t first = in_map % 4;
  size_t i;

  for (i = 0; i < count && first + i < 4; i++)
    p[i] = entry >> 8 * (first + i);
  return i;
}

/* Never all that was asked for, and it may end inside an entry. */
static ssize_t
file_pread (struct storage *st, void *buf, size_t count, uint64_t offset)
{
  struct map_file *f = (struct map_file *) st;
  uint8_t *p = buf;
  uint64_t end;
  size_t done = 0, n;

  if (f->fails_at >= offset && f->fails_at < offset + count) {
    errno = EIO;
    return -1;
  }
  if (count > 5)
    count -= count / 5;
  for (; done < count; done += n) {
    const bool stored = is_stored (f, offset + done, &end);

    n = MIN (end - offset, count) - done;
    if (stored)
      n = put_entry (f, p + done, n, offset + done);
    else
      memset (p + done, 0, n);
  }
  f->bytes_read += count;
  return count;
}

static int
file_extent (struct storage *st, uint64_t offset, uint64_t limit, bool *hole,
             uint64_t *end)
{
  struct map_file *f = (struct map_file *) st;

  f->asked++;
  CHECK (offset < limit && limit <= vdi_entry_offset (&f->h, f->h.n_blocks));
  if (f->extent_fails) {
    errno = EIO;
    return -1;
  }
  *hole = !is_stored (f, offset, end) && !f->knows_no_holes;
  if (f->knows_no_holes || *end > limit)
    *end = limit;
  return 0;
}

static const struct storage_ops file_ops = {
  .pread = file_pread, .extent = file_extent,
};

struct map_file
map_file_make (uint32_t n, uint32_t map_off, uint32_t blocks,
               uint32_t (*entry) (uint32_t block))
{
  return (struct map_file) {
    .st = { .ops = &file_ops, .name = (char *) "/vm/disk.vdi" },
    .h = { .map_off = map_off, .data_off = map_off + 4 * n,
           .block_size = 512, .n_blocks = n },
    .blocks = blocks, .entry = entry,
  };
}

uint32_t
map_file_entry (const struct map_file *f, uint32_t block)
{
  const uint64_t offset = vdi_entry_offset (&f->h, block);
  uint32_t entry = 0;
  uint64_t end;

  if (is_stored (f, offset, &end) && end >= offset + 4)
    return f->entry (block);
  for (unsigned i = 0; i < 4; i++)
    if (is_stored (f, offset + i, &end))
      entry |= f->entry (block) & UINT32_C (0xff) << 8 * i;
  return entry;
}
