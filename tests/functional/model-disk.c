/* SPDX-License-Identifier: BSD-3-Clause */
/* What the disk holds, and what it may hold after the server is killed.
 *
 * The present content is a raw file, mapped, that gets every
 * acknowledged operation; at the end it can be compared with the image
 * by other programs.
 *
 * Where a kill may lose what was not flushed, each sector changed since
 * the last flush keeps its versions, oldest first, each with the number
 * of the acknowledgement that made it.  Without versions a sector can
 * only read as it is now.
 */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "model.h"

struct version {
  struct version *newer;
  uint64_t ack;
  unsigned char data[SECTOR];
};

uint64_t disk_size;
const unsigned char *disk_now;

static unsigned char *now;
static struct version **versions;     /* oldest, by sector */
static uint64_t *dirty;               /* sectors that have versions */
static size_t nr_dirty;
static uint64_t nr_sectors;

static uint64_t
sector_length (uint64_t sector)
{
  const uint64_t left = disk_size - sector * SECTOR;

  return left < SECTOR ? left : SECTOR;
}

void
disk_open (const char *raw)
{
  struct stat statbuf;
  const int fd = open (raw, O_RDWR | O_CLOEXEC);

  if (fd == -1 || fstat (fd, &statbuf) == -1 || statbuf.st_size == 0)
    fail ("%s: %m", raw);
  disk_size = statbuf.st_size;
  now = mmap (NULL, disk_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (now == MAP_FAILED)
    fail ("%s: mmap: %m", raw);
  close (fd);
  disk_now = now;

  nr_sectors = (disk_size + SECTOR - 1) / SECTOR;
  versions = calloc (nr_sectors, sizeof *versions);
  dirty = calloc (nr_sectors, sizeof *dirty);
  if (versions == NULL || dirty == NULL)
    fail ("out of memory");
}

static void
add_version (uint64_t sector, uint64_t ack)
{
  struct version *v = calloc (1, sizeof *v);
  struct version **where = &versions[sector];

  if (v == NULL)
    fail ("out of memory");
  if (*where == NULL)
    dirty[nr_dirty++] = sector;
  while (*where)
    where = &(*where)->newer;
  v->ack = ack;
  memcpy (v->data, now + sector * SECTOR, sector_length (sector));
  *where = v;
}

static void
forget (uint64_t sector, uint64_t ack)
{
  struct version *v;

  /* The last version up to ack is the oldest that can be seen again. */
  while ((v = versions[sector]) != NULL && v->newer && v->newer->ack <= ack) {
    versions[sector] = v->newer;
    free (v);
  }
  if (v && v->newer == NULL) {
    versions[sector] = NULL;
    free (v);
  }
}

static void
sweep_dirty (void)
{
  size_t i, kept = 0;

  for (i = 0; i < nr_dirty; ++i)
    if (versions[dirty[i]])
      dirty[kept++] = dirty[i];
  nr_dirty = kept;
}

void
disk_apply (uint64_t offset, uint64_t count, const unsigned char *data,
            uint64_t ack, bool durable)
{
  const uint64_t first = offset / SECTOR;
  const uint64_t last = (offset + count - 1) / SECTOR;
  uint64_t sector;

  if (!params.acked)
    for (sector = first; sector <= last; ++sector)
      if (versions[sector] == NULL)
        add_version (sector, 0);

  if (data)
    memcpy (now + offset, data, count);
  else
    memset (now + offset, 0, count);

  if (!params.acked) {
    for (sector = first; sector <= last; ++sector) {
      add_version (sector, ack);
      if (durable)
        forget (sector, ack);
    }
    if (durable)
      sweep_dirty ();
  }
}

void
disk_flushed (uint64_t ack)
{
  size_t i;

  for (i = 0; i < nr_dirty; ++i)
    forget (dirty[i], ack);
  sweep_dirty ();
}

void
disk_settled (void)
{
  disk_flushed (UINT64_MAX);
}

void
disk_check (uint64_t offset, uint64_t count, const unsigned char *data,
            const char *when)
{
  uint64_t i;

  if (memcmp (now + offset, data, count) == 0)
    return;
  for (i = 0; now[offset + i] == data[i]; ++i)
    ;
  ops_history (offset + i);
  fail ("%s: the byte at offset %" PRIu64 " is 0x%02x, and must be 0x%02x",
        when, offset + i, data[i], now[offset + i]);
}

unsigned char
op_byte (const struct op *op, uint64_t offset)
{
  return op->kind == WRITE ? op->buf[offset - op->offset] : 0;
}

static bool
covers (const struct op *op, uint64_t offset)
{
  return offset >= op->offset && offset - op->offset < op->count;
}

/* Can this be what became of a version and the operations in doubt?
 * Those do not overlap each other.  The part of a sector that a request
 * writes is written or it is not, unless params.torn; a trim may give
 * back any part.
 */
static bool
explains (const unsigned char *version, const unsigned char *seen,
          uint64_t offset, uint64_t length, const struct op *in_doubt)
{
  bool covered[SECTOR] = { false };
  const struct op *op;
  uint64_t i;

  for (op = in_doubt; op; op = op->next) {
    bool is_old = true, is_new = true, mixed = true;

    if (op->kind != WRITE && op->kind != ZERO && op->kind != TRIM)
      continue;
    for (i = 0; i < length; ++i) {
      if (!covers (op, offset + i))
        continue;
      covered[i] = true;
      is_old = is_old && seen[i] == version[i];
      is_new = is_new && seen[i] == op_byte (op, offset + i);
      mixed = mixed && (seen[i] == version[i] ||
                        seen[i] == op_byte (op, offset + i));
    }
    if (!is_old && !is_new &&
        !(mixed && (op->kind == TRIM || params.torn)))
      return false;
  }
  for (i = 0; i < length; ++i)
    if (!covered[i] && seen[i] != version[i])
      return false;
  return true;
}

static void
judge_sector (uint64_t sector, const unsigned char *seen,
              const struct op *in_doubt)
{
  const uint64_t offset = sector * SECTOR;
  const uint64_t length = sector_length (sector);
  const struct version *v;
  uint64_t i;
  unsigned n = 0;

  if (explains (now + offset, seen, offset, length, in_doubt))
    return;
  for (v = versions[sector]; v; v = v->newer, ++n)
    if (explains (v->data, seen, offset, length, in_doubt))
      return;

  for (i = 0; now[offset + i] == seen[i]; ++i)
    ;
  ops_history (offset + i);
  fail ("after SIGKILL: the byte at offset %" PRIu64 " is 0x%02x; what was "
        "acknowledged last is 0x%02x, and none of %u older versions of "
        "the sector that may be back explains it", offset + i, seen[i],
        now[offset + i], n);
}

void
disk_after_kill (uint64_t offset, uint64_t count, const unsigned char *data,
                 struct op *in_doubt)
{
  uint64_t done, length;

  if (memcmp (now + offset, data, count) == 0)
    return;
  for (done = 0; done < count; done += length) {
    const uint64_t sector = (offset + done) / SECTOR;

    length = sector_length (sector);
    if (memcmp (now + offset + done, data + done, length) != 0)
      judge_sector (sector, data + done, in_doubt);
  }
  memcpy (now + offset, data, count);
}
