/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening and making files: see storage-open.h. */
#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include <linux/magic.h>

#include "clock.h"
#include "storage-open.h"

/* Opened without waiting, or a FIFO would keep us for ever. */
#define OPEN_FLAGS (O_CLOEXEC | O_NOCTTY | O_NONBLOCK)

/* Somebody has a lease on the file: a file server, which is told now that it
 * has to give it back, or one who is only asking whether the file is open
 * (storage-lease.c).  Who opens it without O_NONBLOCK waits, too; the kernel
 * ends that after 45 seconds.
 */
#define LEASE_MS 50000

static int
open_waiting (const char *name, int flags)
{
  const struct timespec pause = { .tv_nsec = 1000000 };
  const struct timespec until = clock_in_ms (LEASE_MS);
  int fd;

  while ((fd = open (name, flags)) == -1 && errno == EWOULDBLOCK &&
         !clock_has_passed (&until))
    nanosleep (&pause, NULL);
  return fd;
}

static bool
is_storage (const struct stat *sb)
{
  return S_ISREG (sb->st_mode) || S_ISBLK (sb->st_mode);
}

static int
refuse (const char *filename, struct vdi_error *error)
{
  return vdi_set_error (error, EINVAL,
                        "%s: is neither a regular file nor a block device",
                        filename);
}

/* Close it, for a reason that errno tells. */
static int
give_up (int fd)
{
  const int err = errno;

  close (fd);
  errno = err;
  return -1;
}

/* O_NONBLOCK was for opening only. */
static int
may_wait (int fd)
{
  const int flags = fcntl (fd, F_GETFL);

  if (flags == -1 || fcntl (fd, F_SETFL, flags & ~O_NONBLOCK) == -1)
    return give_up (fd);
  return fd;
}

int
open_to_read (const char *filename, struct stat *sb, struct vdi_error *error)
{
  int fd;

  /* It is looked at again when it is open; this is because opening some
   * devices is enough to make them do something.
   */
  if (stat (filename, sb) == 0 && !is_storage (sb))
    return refuse (filename, error);
  fd = open_waiting (filename, O_RDONLY | OPEN_FLAGS);
  if (fd >= 0)
    fd = may_wait (fd);
  if (fd == -1)
    return vdi_set_errno (error, errno, "%s: cannot open", filename);
  if (fstat (fd, sb) == -1) {
    vdi_set_errno (error, errno, "%s: cannot find out what it is", filename);
    return give_up (fd);
  }
  if (!is_storage (sb)) {
    refuse (filename, error);
    return give_up (fd);
  }
  return fd;
}

static const char *
proc_name (int fd, char path[64])
{
  snprintf (path, 64, "/proc/self/fd/%d", fd);
  return path;
}

int
open_again (int fd, int flags)
{
  char path[64];

  return open_waiting (proc_name (fd, path), flags | O_CLOEXEC);
}

static bool
same_file (const struct stat *a, const struct stat *b)
{
  return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static int
open_by_name (int fd, const char *name)
{
  struct stat is, wanted;
  int own = open_waiting (name, O_RDWR | OPEN_FLAGS);

  if (own == -1)
    return -1;
  if (fstat (fd, &wanted) == -1 || fstat (own, &is) == -1)
    return give_up (own);
  if (!same_file (&is, &wanted)) {
    errno = ESTALE;
    return give_up (own);
  }
  return own;
}

int
may_open_to_write (int fd)
{
  char path[64];

  /* Without /proc, opening it will tell.  EPERM is said by older container
   * programs of system calls that they do not know, such as this one.
   */
  return faccessat (AT_FDCWD, proc_name (fd, path), W_OK, AT_EACCESS) == -1 &&
         errno != ENOENT && errno != EPERM ? -1 : 0;
}

int
open_to_write (int fd, const char *name)
{
  int own = open_again (fd, O_RDWR | OPEN_FLAGS);
  char byte;

  if (own == -1 && errno == ENOENT)
    own = open_by_name (fd, name);
  /* What was removed from an overlay cannot be copied up any more. */
  if (own == -1 && errno == EEXIST)
    errno = ESTALE;
  /* As rclone's mount, which opens it all the same. */
  if (own >= 0 && pread (own, &byte, 1, 0) == -1)
    return give_up (own);
  return own == -1 ? -1 : may_wait (own);
}

bool
device_zeroes (dev_t dev)
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

/* The directory that a file lies in, to be freed. */
static char *
directory (const char *filename)
{
  char *copy = strdup (filename), *r = NULL;

  if (copy != NULL)
    r = strdup (dirname (copy));
  free (copy);
  return r;
}

char *
real_name (const char *filename)
{
  const char *last = strrchr (filename, '/');
  char *name = realpath (filename, NULL), *dir, *real;

  if (name != NULL)
    return name;
  dir = directory (filename);
  real = dir != NULL ? realpath (dir, NULL) : NULL;
  free (dir);
  if (real == NULL)
    return strdup (filename);
  if (asprintf (&name, "%s/%s", strcmp (real, "/") == 0 ? "" : real,
                last != NULL ? last + 1 : filename) == -1)
    name = NULL;
  free (real);
  return name;
}

static bool
in_user_space (int fd)
{
  struct statfs fs;

  return fstatfs (fd, &fs) == 0 && fs.f_type == FUSE_SUPER_MAGIC;
}

/* libfuse gives a file that is removed while it is open a name like
 * .fuse_hidden0000000200000001 in its directory, until it is closed.
 */
static bool
is_hidden_in (const char *dir_name, const struct stat *ours)
{
  static const char hidden[] = ".fuse_hidden";
  DIR *dir = opendir (dir_name);
  bool found = false;
  struct dirent *d;
  struct stat is;

  if (dir == NULL)
    return false;
  while (!found && (d = readdir (dir)) != NULL)
    found = strncmp (d->d_name, hidden, sizeof hidden - 1) == 0 &&
            fstatat (dirfd (dir), d->d_name, &is, AT_SYMLINK_NOFOLLOW) == 0 &&
            same_file (&is, ours);
  closedir (dir);
  return found;
}

/* Where it was, if the kernel says that it is there no more: to be freed,
 * or NULL.
 */
static char *
removed_from (int fd)
{
  static const char deleted[] = " (deleted)";
  const size_t tail = sizeof deleted - 1;
  char link[64], path[4096];
  ssize_t n = readlink (proc_name (fd, link), path, sizeof path - 1);

  if (n < (ssize_t) tail || memcmp (path + n - tail, deleted, tail) != 0)
    return NULL;
  path[n-tail] = '\0';
  return directory (path);
}

bool
has_lost_name (int fd)
{
  struct stat ours;
  char *dir;
  bool r;

  if (fstat (fd, &ours) == -1)
    return errno == ESTALE;     /* NFS: removed by another computer */
  if (ours.st_nlink != 1 || !in_user_space (fd))
    return ours.st_nlink == 0;
  dir = removed_from (fd);
  r = dir != NULL && is_hidden_in (dir, &ours);
  free (dir);
  return r;
}

/*------------------------------------------------------------------*/
/* New files */

static int
open_unnamed (const char *filename)
{
  char *dir = directory (filename), path[64];
  int fd;

  if (dir == NULL)
    return -1;
  fd = open (dir, O_TMPFILE | O_RDWR | OPEN_FLAGS, 0600);
  free (dir);
  /* Only what has a name in /proc can be given another. */
  if (fd >= 0 && access (proc_name (fd, path), F_OK) == -1)
    return give_up (fd);
  return fd;
}

int
open_new (const char *filename, bool *named)
{
  const size_t length = strlen (filename);
  struct stat sb;
  int fd;

  /* To say it before all the work instead of after it. */
  if (lstat (filename, &sb) == 0) {
    errno = EEXIST;
    return -1;
  }
  if (errno == ENAMETOOLONG)
    return -1;
  if (length > 0 && filename[length-1] == '/') {
    errno = EISDIR;
    return -1;
  }
  fd = open_unnamed (filename);
  *named = fd == -1;
  if (*named)
    fd = open (filename, O_RDWR | O_CREAT | O_EXCL | OPEN_FLAGS, 0600);
  return fd == -1 ? -1 : may_wait (fd);
}

int
name_new (int fd, const char *filename, bool named)
{
  struct stat is, ours;
  char path[64];

  if (!named)
    return linkat (AT_FDCWD, proc_name (fd, path), AT_FDCWD, filename,
                   AT_SYMLINK_FOLLOW);
  if (fstat (fd, &ours) == -1 || lstat (filename, &is) == -1)
    return -1;
  if (same_file (&is, &ours))
    return 0;
  errno = EEXIST;
  return -1;
}

static int
unlink_ours (const char *filename, const struct stat *ours)
{
  struct stat is;

  if (lstat (filename, &is) == -1)
    return errno == ENOENT ? 0 : -1;
  if (!same_file (&is, ours) || is.st_size != ours->st_size)
    return 0;
  return unlink (filename);
}

/* The kernel tells a file system of user space that a file has been closed,
 * and does not wait for it.  rclone's makes the file only then, and who opens
 * it meanwhile waits for that.
 */
static void
close_and_wait (int fd, const char *filename)
{
  close (fd);
  fd = open (filename, O_RDONLY | OPEN_FLAGS);
  if (fd >= 0)
    close (fd);
}

/* While it is open, its number is nobody else's.  But some file systems of
 * user space (rclone's) make it again when it is closed, if it was removed
 * before.
 */
int
discard_new (int fd, const char *filename, bool named)
{
  const bool close_first = named && in_user_space (fd);
  struct stat ours;
  int r = 0, err;

  if (named && fstat (fd, &ours) == -1)
    return give_up (fd);
  if (close_first)
    close_and_wait (fd, filename);
  if (named)
    r = unlink_ours (filename, &ours);
  err = errno;
  if (!close_first)
    close (fd);
  errno = err;
  return r;
}

int
sync_directory (const char *filename)
{
  char *dir = directory (filename);
  int fd, r;

  if (dir == NULL)
    return -1;
  fd = open (dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  free (dir);
  if (fd == -1)
    return -1;
  r = fsync (fd);
  /* Some file systems cannot, and need not. */
  if (r == -1 && errno == EINVAL)
    r = 0;
  give_up (fd);
  return r;
}
