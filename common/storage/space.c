/* SPDX-License-Identifier: BSD-3-Clause */
/* The space of a file: see storage/space.h. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <linux/falloc.h>
#include <linux/fs.h>

#include "storage/space.h"
#include "utils/checked.h"

/* Zeroing a range of a block device falls back, inside the kernel, on writing
 * zeros.  Does this one have a better way?
 */
static bool
device_can_zero (dev_t dev)
{
  /* The second is where a partition finds its disk's. */
  static const char *const where[] = { "", "/.." };
  char path[128];
  size_t i;

  for (i = 0; i < sizeof where / sizeof where[0]; ++i) {
    unsigned long long max = 0;
    FILE *fp;

    snprintf (path, sizeof path,
              "/sys/dev/block/%u:%u%s/queue/write_zeroes_max_bytes",
              major (dev), minor (dev), where[i]);
    fp = fopen (path, "re");
    if (fp == NULL)
      continue;
    if (fscanf (fp, "%llu", &max) != 1)
      max = 0;
    fclose (fp);
    return max > 0;
  }
  return false;
}

int
space_init (struct space *s, struct storage *st, int fd, const struct stat *sb)
{
  const bool device = S_ISBLK (sb->st_mode);
  int sector = 512;

  if (device && (ioctl (fd, BLKSSZGET, &sector) == -1 || sector <= 0))
    return -1;
  s->st = st;
  s->fd = fd;
  s->sector = device ? sector : 0;
  atomic_init (&s->can_punch, true);
  atomic_init (&s->can_zero, !device || device_can_zero (sb->st_rdev));
  atomic_init (&s->can_provision, !device);
  atomic_init (&s->can_extent, !device);
  return 0;
}

/* The many ways to say that something is not supported here, told by
 * one number.  Those that will be said of every later request, too,
 * clear *can; EINVAL may be about this one only (its alignment).
 */
static void
normalise (_Atomic bool *can)
{
  switch (errno) {
  case EOPNOTSUPP:              /* the same number as ENOTSUP */
  case ENODEV:
  case ENOSYS:
  case ENOTTY:
    atomic_store_explicit (can, false, memory_order_relaxed);
    __attribute__ ((fallthrough));
  case EINVAL:
    errno = ENOTSUP;
  }
}

static bool
may (_Atomic bool *can)
{
  if (atomic_load_explicit (can, memory_order_relaxed))
    return true;
  errno = ENOTSUP;
  return false;
}

bool
space_in_range (uint64_t offset, uint64_t length)
{
  if (offset <= INT64_MAX && length <= INT64_MAX - offset)
    return true;
  errno = EFBIG;
  return false;
}

/* fallocate, as long as it *can be done. */
static int
allocate (struct space *s, _Atomic bool *can, int mode, uint64_t offset,
          uint64_t length)
{
  struct vdi_error error;

  if (!may (can) || !space_in_range (offset, length))
    return -1;
  /* Block devices take whole sectors only. */
  if (s->sector > 0 && (offset | length) & (s->sector - 1)) {
    errno = ENOTSUP;
    return -1;
  }
  if (fallocate (s->fd, mode, offset, length) == 0)
    return 0;
  normalise (can);
  if (s->sector == 0)
    return -1;
  /* A block device that cannot do what was asked for says so too late: the
   * kernel has thrown away by then what it had cached of the range, synced
   * or not, and anything older shows.  Zeros are what was asked for.
   */
  return storage_write_zeros (s->st, offset, length, "zeros", &error);
}

int
space_punch (struct space *s, uint64_t offset, uint64_t length)
{
  return allocate (s, &s->can_punch, FALLOC_FL_PUNCH_HOLE |
                   FALLOC_FL_KEEP_SIZE, offset, length);
}

/* Take the space of a range, without growing the file. */
static int
keep_space (struct space *s, uint64_t offset, uint64_t length)
{
  return allocate (s, &s->can_provision, FALLOC_FL_KEEP_SIZE, offset,
                   length);
}

int
space_zero (struct space *s, uint64_t offset, uint64_t length)
{
  if (allocate (s, &s->can_zero, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                offset, length) == 0)
    return 0;
  if (errno != ENOTSUP || s->sector > 0)
    return -1;

  /* tmpfs, for one, knows only the two halves of it.  The first
   * allocation changes nothing; it finds out whether the last will do,
   * before anything has been zeroed.
   */
  if (keep_space (s, offset, length) == -1 ||
      space_punch (s, offset, length) == -1)
    return -1;
  return keep_space (s, offset, length);
}

int
space_provision (struct space *s, uint64_t offset, uint64_t length)
{
  return allocate (s, &s->can_provision, 0, offset, length);
}

/* No data from offset up to the end, or the file ends before it. */
static int
extent_at_end (struct space *s, uint64_t offset, uint64_t limit, bool *hole,
               uint64_t *end)
{
  uint64_t size;

  if (s->st->ops->size (s->st, &size) == -1)
    return -1;
  *hole = offset < size;
  *end = *hole ? MIN (limit, size) : limit;
  return 0;
}

/* lseek moves an offset that all threads share, but nothing here ever
 * uses that offset.  Nor can it be told where to stop: the next hole may
 * be far beyond the limit.
 */
int
space_extent (struct space *s, uint64_t offset, uint64_t limit, bool *hole,
              uint64_t *end)
{
  off_t r = -1;

  if (!space_in_range (limit, 0))
    return -1;
  if (may (&s->can_extent)) {
    /* What begins right here is not what was looked for; so it is the
     * other.  (More than twice only while others write and punch here.)
     */
    while ((r = lseek (s->fd, offset, *hole ? SEEK_DATA : SEEK_HOLE)) ==
           (off_t) offset)
      *hole = !*hole;
    if (r == -1 && errno == ENXIO)
      return extent_at_end (s, offset, limit, hole, end);
    if (r == -1) {
      if (errno == EINVAL)      /* the system does not know SEEK_DATA */
        errno = EOPNOTSUPP;
      normalise (&s->can_extent);
      if (errno != ENOTSUP)
        return -1;
    }
  }
  if (r == -1)                  /* nobody knows */
    *hole = false;
  *end = r != -1 && (uint64_t) r < limit ? (uint64_t) r : limit;
  return 0;
}
