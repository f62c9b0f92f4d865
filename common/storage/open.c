/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening and making files: see storage/open.h. */
#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include "storage/open.h"
#include "utils/cleanup.h"
#include "utils/file.h"

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

  return file_open_waiting (proc_name (fd, path), flags | O_CLOEXEC);
}

static bool
same_file (const struct stat *a, const struct stat *b)
{
  return file_id_equal (file_id_of (a), file_id_of (b));
}

static int
open_by_name (int fd, const char *name)
{
  struct stat is, wanted;
  int own = file_open_waiting (name, O_RDWR | FILE_OPEN_FLAGS);

  if (own == -1)
    return -1;
  if (fstat (fd, &wanted) == -1 || fstat (own, &is) == -1)
    return file_give_up (own);
  if (!same_file (&is, &wanted)) {
    errno = ESTALE;
    return file_give_up (own);
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
  int own = open_again (fd, O_RDWR | FILE_OPEN_FLAGS);
  char byte;

  if (own == -1 && errno == ENOENT)
    own = open_by_name (fd, name);
  /* What was removed from an overlay cannot be copied up any more. */
  if (own == -1 && errno == EEXIST)
    errno = ESTALE;
  /* As rclone's mount, which opens it all the same. */
  if (own >= 0 && pread (own, &byte, 1, 0) == -1)
    return file_give_up (own);
  return own == -1 ? -1 : file_may_wait (own);
}

char *
real_name (const char *filename)
{
  const char *last = strrchr (filename, '/');
  char *name = realpath (filename, NULL);
  CLEANUP_FREE char *dir = NULL, *real = NULL;

  if (name != NULL)
    return name;
  dir = file_directory (filename);
  real = dir != NULL ? realpath (dir, NULL) : NULL;
  if (real == NULL)
    return strdup (filename);
  return file_join (real, last != NULL ? last + 1 : filename);
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
  CLEANUP_CLOSEDIR DIR *dir = opendir (dir_name);
  struct dirent *d;
  struct stat is;

  if (dir == NULL)
    return false;
  while ((d = readdir (dir)) != NULL)
    if (strncmp (d->d_name, hidden, sizeof hidden - 1) == 0 &&
        fstatat (dirfd (dir), d->d_name, &is, AT_SYMLINK_NOFOLLOW) == 0 &&
        same_file (&is, ours))
      return true;
  return false;
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
  return file_directory (path);
}

bool
has_lost_name (int fd)
{
  CLEANUP_FREE char *dir = NULL;
  struct stat ours;

  if (fstat (fd, &ours) == -1)
    return errno == ESTALE;     /* NFS: removed by another computer */
  if (ours.st_nlink != 1 || !in_user_space (fd))
    return ours.st_nlink == 0;
  dir = removed_from (fd);
  return dir != NULL && is_hidden_in (dir, &ours);
}

/*------------------------------------------------------------------*/
/* New files */

static int
open_unnamed (const char *filename)
{
  char *dir = file_directory (filename), path[64];
  int fd;

  if (dir == NULL)
    return -1;
  fd = open (dir, O_TMPFILE | O_RDWR | FILE_OPEN_FLAGS, 0600);
  free (dir);
  /* Only what has a name in /proc can be given another. */
  if (fd >= 0 && access (proc_name (fd, path), F_OK) == -1)
    return file_give_up (fd);
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
    fd = open (filename, O_RDWR | O_CREAT | O_EXCL | FILE_OPEN_FLAGS, 0600);
  return fd == -1 ? -1 : file_may_wait (fd);
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
  fd = open (filename, O_RDONLY | FILE_OPEN_FLAGS);
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
    return file_give_up (fd);
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
  CLEANUP_FREE char *dir = file_directory (filename);
  CLEANUP_CLOSE int fd = -1;

  if (dir == NULL)
    return -1;
  fd = open (dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd == -1)
    return -1;
  /* Some file systems cannot, and need not. */
  return fsync (fd) == -1 && errno != EINVAL ? -1 : 0;
}
