/* SPDX-License-Identifier: BSD-3-Clause */
/* A storage that is a file or a block device of this machine.
 *
 * This and its parts storage/again.c, storage/dirty.c, storage/lease.c,
 * storage/lock.c, storage/open.c, storage/space.c, storage/sync.c and
 * storage/users.c are, with file.c, all of the core that calls the operating
 * system for an image.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <linux/fs.h>

#include "storage/dirty.h"
#include "storage/lease.h"
#include "storage/lock.h"
#include "storage/open.h"
#include "storage/space.h"
#include "storage/storage.h"
#include "storage/sync.h"
#include "utils/checked.h"
#include "utils/cleanup.h"
#include "utils/error.h"
#include "utils/file.h"

struct file {
  struct storage st;            /* first, so that one is the other */

  /* Set when opened, constant ever after. */
  int fd;                       /* -1 when it has been closed */
  bool block_device;
  bool use_locks;

  /* Of durable writes; any thread may set them at any time. */
  _Atomic bool can_durable;     /* learned */
  _Atomic bool durable_works;   /* has succeeded before */

  /* The process may not make files longer (RLIMIT_FSIZE), bytes; looked at
   * again whenever the file is to grow.
   */
  _Atomic uint64_t limit;

  /* Is it known what st.grows_dense is? */
  _Atomic bool growth_known;

  /* Constant once others use it: is it new and not finished yet, and did it
   * have a name when it was opened, or has been given it?  (A device is there
   * without one, too.)
   */
  bool unfinished, named;

  struct space space;           /* atomic */
  struct sync_calls syncs;      /* has its own lock */
  struct again again;           /* has its own lock */
  struct dirty dirty;           /* atomic */

  pthread_mutex_t lock;         /* protects the rest */
  struct file_locks locks;
  bool writable;                /* fd is */
};

static struct file *
to_file (struct storage *st)
{
  return (struct file *) st;
}

static void
find_limit (struct file *f)
{
  struct rlimit limit;

  if (f->block_device || getrlimit (RLIMIT_FSIZE, &limit) == -1 ||
      limit.rlim_cur == RLIM_INFINITY)
    f->limit = UINT64_MAX;
  else
    f->limit = limit.rlim_cur;
}

/* Beyond the limit the kernel would do as much as fits, and with nothing
 * left send a signal that ends the process.
 */
static bool
within_limit (struct file *f, uint64_t offset, uint64_t length)
{
  const uint64_t limit = atomic_load_explicit (&f->limit,
                                               memory_order_relaxed);

  if (length <= limit && offset <= limit - length)
    return true;
  find_limit (f);
  if (length <= f->limit && offset <= f->limit - length)
    return true;
  errno = EFBIG;
  return false;
}

static ssize_t
file_pread (struct storage *st, void *buf, size_t count, uint64_t offset)
{
  if (!space_in_range (offset, count))
    return 0;                   /* no file is that long */
  return pread (to_file (st)->fd, buf, count, offset);
}

static ssize_t
file_pwrite (struct storage *st, const void *buf, size_t count,
             uint64_t offset, bool durable)
{
  struct file *f = to_file (st);

  if (durable)                  /* it may make the file longer */
    find_limit (f);
  if (!space_in_range (offset, count) || !within_limit (f, offset, count))
    return -1;
  if (!durable) {
    dirty_add (&f->dirty, offset, count);
    return pwrite (f->fd, buf, count, offset);
  }
  return sync_pwrite (&f->again, f->fd, buf, count, offset, &f->can_durable,
                      &f->durable_works);
}

static int
file_sync (struct storage *st)
{
  struct file *f = to_file (st);

  /* Nobody waits in a device's queue for a durable write. */
  if (!f->block_device)
    dirty_write_out (&f->dirty, &f->again, f->fd);
  return sync_fdatasync (&f->syncs, f->fd);
}

static int
file_size (struct storage *st, uint64_t *size)
{
  struct file *f = to_file (st);
  struct stat sb;

  if (f->block_device)
    return ioctl (f->fd, BLKGETSIZE64, size);
  if (fstat (f->fd, &sb) == -1)
    return -1;
  *size = sb.st_size;
  return 0;
}

/* A growth as large as this tells whether it takes room on the disk: FAT
 * has no holes, and some file systems write zeros.
 */
#define TELLING_GROWTH (UINT64_C (1) << 20)

static void
look_at_growth (struct file *f, const struct stat *before)
{
  struct stat now;
  uint64_t growth, taken;

  if (fstat (f->fd, &now) == -1 || now.st_size < before->st_size)
    return;
  growth = now.st_size - before->st_size;
  taken = MAX (now.st_blocks - before->st_blocks, 0) * UINT64_C (512);
  if (growth >= TELLING_GROWTH) {
    f->st.grows_dense = taken >= growth / 2;
    f->growth_known = true;
  }
}

static int
file_truncate (struct storage *st, uint64_t size)
{
  struct file *f = to_file (st);
  struct stat before;

  if (f->block_device) {
    errno = ENOTSUP;
    return -1;
  }
  find_limit (f);
  if (!space_in_range (size, 0) || fstat (f->fd, &before) == -1 ||
      (size > (uint64_t) before.st_size && !within_limit (f, size, 0)) ||
      ftruncate (f->fd, size) == -1)
    return -1;
  if (!f->growth_known)
    look_at_growth (f, &before);
  return 0;
}

static int
file_punch (struct storage *st, uint64_t offset, uint64_t length)
{
  return space_punch (&to_file (st)->space, offset, length);
}

static int
file_zero (struct storage *st, uint64_t offset, uint64_t length)
{
  return space_zero (&to_file (st)->space, offset, length);
}

static int
file_provision (struct storage *st, uint64_t offset, uint64_t length)
{
  struct file *f = to_file (st);

  if (!f->block_device && !within_limit (f, offset, length))
    return -1;
  return space_provision (&f->space, offset, length);
}

static int
file_extent (struct storage *st, uint64_t offset, uint64_t limit, bool *hole,
             uint64_t *end)
{
  return space_extent (&to_file (st)->space, offset, limit, hole, end);
}

static int
file_advise (struct storage *st, uint64_t offset, uint64_t length,
             enum storage_advice advice)
{
  static const int advices[] = {
    [STORAGE_NORMAL] = POSIX_FADV_NORMAL,
    [STORAGE_RANDOM] = POSIX_FADV_RANDOM,
    [STORAGE_SEQUENTIAL] = POSIX_FADV_SEQUENTIAL,
    [STORAGE_WILLNEED] = POSIX_FADV_WILLNEED,
  };

  if (!space_in_range (offset, length))
    return -1;
  errno = posix_fadvise (to_file (st)->fd, offset, length, advices[advice]);
  return errno ? -1 : 0;
}

static int
file_storage_lock (struct storage *st, bool writer, struct vdi_error *error)
{
  struct file *f = to_file (st);
  HOLD_LOCK (&f->lock);

  return f->use_locks
    ? file_lock (f->fd, st->name, writer, &f->locks, error) : 0;
}

static void
file_others (struct storage *st, bool writers_only,
             struct storage_others *others)
{
  struct file *f = to_file (st);

  if (f->use_locks)
    lease_look (&f->again, f->fd, writers_only, others);
}

/* The same file for writing, in the place of the one for reading.
 *
 * Others read through f->fd all the time: dup3 puts the new one in its place
 * in one step, and they read through either.  Locks belong to what was
 * opened: the new one takes a reader's before the old one's go, so that there
 * is no moment without any.  Those are given back and not only closed, because
 * a process that nbdkit has forked (--run) has the old one open, too, and they
 * would forbid us to write.
 */
static int
open_for_writing (struct file *f)
{
  struct file_locks locks = { .reader = false };
  struct vdi_error error;       /* errno says enough */
  CLEANUP_CLOSE const int fd = open_to_write (f->fd, f->st.name);

  if (fd == -1 ||
      (f->locks.reader &&
       file_lock (fd, f->st.name, false, &locks, &error) == -1))
    return -1;
  file_unlock (f->fd, &f->locks);
  f->locks = locks;
  f->writable = true;
  while (dup3 (fd, f->fd, O_CLOEXEC) == -1 && errno == EINTR)
    ;                           /* both are open: nothing else can be */
  return 0;
}

static bool
file_is_nameless (struct storage *st)
{
  struct file *f = to_file (st);

  return f->named && has_lost_name (f->fd);
}

static int
file_writable (struct storage *st)
{
  return may_open_to_write (to_file (st)->fd);
}

static int
file_make_writable (struct storage *st)
{
  struct file *f = to_file (st);
  HOLD_LOCK (&f->lock);

  return f->writable ? 0 : open_for_writing (f);
}

/* Who has found it by its name may have something in it. */
static bool
somebody_has (struct file *f, struct storage_others *others)
{
  if (!f->named)
    return false;
  storage_others (&f->st, false, others);
  return storage_is_other (others);
}

static void
file_close (struct storage *st)
{
  struct file *f = to_file (st);
  struct storage_others others;

  /* Nothing waits to be written that close could complain of: what must
   * not be lost has been synced.
   */
  if (f->unfinished && !somebody_has (f, &others))
    (void) discard_new (f->fd, st->name, f->named);
  else if (f->fd >= 0)
    close (f->fd);
  again_destroy (&f->again);
  sync_destroy (&f->syncs);
  pthread_mutex_destroy (&f->lock);
  free (st->name);
  free (f);
}

static const struct storage_ops file_ops = {
  .pread = file_pread,
  .pwrite = file_pwrite,
  .sync = file_sync,
  .size = file_size,
  .truncate = file_truncate,
  .punch = file_punch,
  .zero = file_zero,
  .provision = file_provision,
  .extent = file_extent,
  .advise = file_advise,
  .lock = file_storage_lock,
  .others = file_others,
  .is_nameless = file_is_nameless,
  .writable = file_writable,
  .make_writable = file_make_writable,
  .close = file_close,
};

/* Make a storage of an open file.  If this fails, fd is still the caller's. */
static int
new_file (int fd, const struct stat *sb, const char *filename, bool locks,
          struct storage **ret, struct vdi_error *error)
{
  CLEANUP_FREE struct file *f = calloc (1, sizeof *f);

  if (f != NULL && space_init (&f->space, &f->st, fd, sb) == -1)
    return vdi_set_errno (error, errno, "%s: cannot find out the sector size",
                          filename);
  if (f == NULL || (f->st.name = real_name (filename)) == NULL)
    return vdi_set_errno (error, ENOMEM, "%s: cannot open", filename);
  f->st.ops = &file_ops;
  f->fd = fd;
  f->block_device = S_ISBLK (sb->st_mode);
  f->named = sb->st_nlink > 0 && !f->block_device;
  f->st.grows_zero = !f->block_device;
  f->use_locks = locks;
  sync_init (&f->syncs);
  again_init (&f->again);
  pthread_mutex_init (&f->lock, NULL);
  /* Each durable write opens and closes the file: of a device, udev would
   * be told each time.
   */
  atomic_init (&f->can_durable, !f->block_device);
  find_limit (f);
  *ret = &f->st;
  f = NULL;
  return 0;
}

int
storage_open_file (const char *filename, bool locks, struct storage **ret,
                   struct vdi_error *error)
{
  struct stat sb;
  const int fd = file_open (filename, FILE_OR_DEVICE | FILE_WAITS, &sb);

  if (fd == -1 && errno == EMEDIUMTYPE)
    return vdi_set_error (error, EINVAL, "%s: is neither a regular file nor a "
                          "block device", filename);
  if (fd == -1)
    return vdi_set_errno (error, errno, "%s: cannot open", filename);
  if (new_file (fd, &sb, filename, locks, ret, error) == -1)
    return file_give_up (fd);
  return 0;
}

int
storage_create_file (const char *filename, bool locks, struct storage **ret,
                     struct vdi_error *error)
{
  struct stat sb = { .st_mode = S_IFREG };
  struct file *f;
  bool named;
  int fd;

  fd = open_new (filename, &named);
  if (fd == -1)
    return vdi_set_errno (error, errno, "%s: cannot create", filename);
  if (new_file (fd, &sb, filename, locks, ret, error) == -1)
    return file_give_up (fd);
  f = to_file (*ret);
  f->writable = true;
  f->unfinished = true;
  f->named = named;
  return 0;
}

int
storage_finish_file (struct storage *st, struct vdi_error *error)
{
  struct file *f = to_file (st);

  if (name_new (f->fd, st->name, f->named) == -1)
    return vdi_set_errno (error, errno, "%s: cannot give the new file its "
                          "name", st->name);
  f->named = true;
  if (file_sync (st) == -1 || sync_directory (st->name) == -1)
    return vdi_set_errno (error, errno, "%s: cannot bring the new file's name "
                          "to stable storage", st->name);
  f->unfinished = false;
  return 0;
}

void
storage_abandon_file (struct storage *st, struct vdi_error *error)
{
  const struct vdi_error cause = *error;
  struct file *f = to_file (st);
  struct storage_others others;

  if (f->unfinished && somebody_has (f, &others))
    vdi_set_error (error, cause.err,
                   "%s; the unfinished file is not removed, as another program"
                   " has it open (%s)", cause.message, others.who);
  else if (f->unfinished) {
    if (discard_new (f->fd, st->name, f->named) == -1)
      vdi_set_error (error, cause.err,
                     "%s; the unfinished file could not be removed either:"
                     " remove it yourself", cause.message);
    f->fd = -1;
  }
  f->unfinished = false;
  storage_close (st);
}
