/* SPDX-License-Identifier: BSD-3-Clause */
/* A file that may be anything: see file.h. */
#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "utils/clock.h"
#include "utils/file.h"

/* How long the kernel leaves a lease to who has to give it back, and more. */
#define LEASE_MS 50000

int
file_open_waiting (const char *filename, int flags)
{
  const struct timespec pause = { .tv_nsec = 1000000 };
  const struct timespec until = clock_in_ms (LEASE_MS);
  int fd;

  while ((fd = open (filename, flags)) == -1 && errno == EWOULDBLOCK &&
         !clock_has_passed (&until))
    nanosleep (&pause, NULL);
  return fd;
}

int
file_give_up (int fd)
{
  const int err = errno;

  close (fd);
  errno = err;
  return -1;
}

int
file_may_wait (int fd)
{
  const int flags = fcntl (fd, F_GETFL);

  if (flags == -1 || fcntl (fd, F_SETFL, flags & ~O_NONBLOCK) == -1)
    return file_give_up (fd);
  return fd;
}

static bool
is_wanted (const struct stat *sb, unsigned how)
{
  if (S_ISREG (sb->st_mode) || (how & FILE_OR_DEVICE && S_ISBLK (sb->st_mode)))
    return true;
  errno = EMEDIUMTYPE;
  return false;
}

int
file_open (const char *filename, unsigned how, struct stat *sb)
{
  const int flags = O_RDONLY | FILE_OPEN_FLAGS;
  int fd;

  memset (sb, 0, sizeof *sb);
  if (stat (filename, sb) == -1 || !is_wanted (sb, how))
    return -1;
  fd = how & FILE_WAITS ? file_open_waiting (filename, flags)
                        : open (filename, flags);
  if (fd >= 0 && how & FILE_WAITS)
    fd = file_may_wait (fd);
  /* The name may stand for something else by now. */
  if (fd >= 0 && (fstat (fd, sb) == -1 || !is_wanted (sb, how)))
    return file_give_up (fd);
  return fd;
}

ssize_t
file_read (int fd, void *buf, size_t size)
{
  size_t have = 0;
  ssize_t r;

  while (have < size) {
    r = pread (fd, (char *) buf + have, size - have, have);
    if (r == 0)
      break;
    if (r > 0)
      have += r;
    else if (errno != EINTR)
      return -1;
  }
  return have;
}

char *
file_directory (const char *filename)
{
  size_t len = strlen (filename);

  while (len > 1 && filename[len-1] == '/')
    len--;
  while (len > 0 && filename[len-1] != '/')
    len--;
  while (len > 1 && filename[len-1] == '/')
    len--;
  return len > 0 ? strndup (filename, len) : strdup (".");
}

char *
file_join (const char *dir, const char *name)
{
  const size_t len = strlen (dir);
  char *r;

  if (asprintf (&r, "%s%s%s", dir,
                len > 0 && dir[len-1] == '/' ? "" : "/", name) == -1)
    return NULL;
  return r;
}
