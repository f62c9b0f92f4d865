/* SPDX-License-Identifier: BSD-3-Clause */
/* Who has a file open: see storage/users.h. */
#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <linux/kcmp.h>

#include "storage/users.h"
#include "utils/cleanup.h"
#include "utils/file.h"

struct scan {
  int fd;
  struct file_id file;
  struct users *users;

  /* The process that is looked at. */
  pid_t pid;
  bool is_self;
  bool is_runner;               /* nbdkit --run, which is our parent */
};

/* What a name leads to; without asking a server that may be far away, or
 * dead.
 */
static bool
identify (int dirfd, const char *name, struct file_id *id)
{
  struct statx sx;

  if (statx (dirfd, name,
             AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT | AT_EMPTY_PATH,
             STATX_TYPE | STATX_INO, &sx) == -1 || !S_ISREG (sx.stx_mode))
    return false;
  *id = (struct file_id) { makedev (sx.stx_dev_major, sx.stx_dev_minor),
                           sx.stx_ino };
  return true;
}

/* A part of /proc/PID; whoever has ended meanwhile has nothing open. */
static DIR *
open_part (pid_t pid, const char *part)
{
  char path[64];

  snprintf (path, sizeof path, "/proc/%ld/%s", (long) pid, part);
  return opendir (path);
}

/* The program's name is whatever it says. */
static struct user
describe (pid_t pid)
{
  struct user u = { .pid = pid };
  CLEANUP_CLOSE int fd = -1;
  char path[64];
  ssize_t n, i;

  snprintf (path, sizeof path, "/proc/%ld/comm", (long) pid);
  fd = open (path, O_RDONLY | O_CLOEXEC);
  n = fd == -1 ? 0 : read (fd, u.name, sizeof u.name - 1);
  for (i = 0; i < n && u.name[i] != '\n'; i++)
    if (u.name[i] < ' ' || u.name[i] > '~')
      u.name[i] = '?';
  u.name[i] = '\0';
  if (u.name[0] == '\0')
    snprintf (u.name, sizeof u.name, "?");
  return u;
}

/* nbdkit --run: it has opened what we have, and lets us do the rest. */
static bool
is_runner (pid_t pid)
{
  struct file_id self, parent;
  char path[64];

  snprintf (path, sizeof path, "/proc/%ld/exe", (long) pid);
  return pid == getppid () &&
         identify (AT_FDCWD, "/proc/self/exe", &self) &&
         identify (AT_FDCWD, path, &parent) && file_id_equal (self, parent);
}

/* The very description that we have: our own, or that of a process which was
 * forked with it.  To the kernel that is open once.
 */
static bool
is_ours (const struct scan *s, int descriptor)
{
  return (s->is_self && descriptor == s->fd) ||
         (descriptor >= 0 && syscall (SYS_kcmp, getpid (), s->pid, KCMP_FILE,
                                      s->fd, descriptor) == 0);
}

/* One of the process' descriptors is one of our file. */
static void
found (struct scan *s, int descriptor, mode_t mode)
{
  struct user *u = mode & S_IWUSR ? &s->users->writer : &s->users->reader;

  if (is_ours (s, descriptor))
    return;
  if (s->is_self || s->is_runner)
    s->users->ourselves = true;
  else if (u->pid == 0)
    *u = describe (s->pid);
}

/* How the file was opened is in the mode of the link itself. */
static mode_t
link_mode (int dirfd, const char *name)
{
  struct stat sb;

  return fstatat (dirfd, name, &sb, AT_SYMLINK_NOFOLLOW) == 0
    ? sb.st_mode : S_IWUSR;
}

/* Only root may follow these links; all may read them. */
static bool
identify_mapped (int dirfd, const char *name, struct file_id *id)
{
  char path[4096];
  ssize_t n;

  if (identify (dirfd, name, id))
    return true;
  n = errno == EPERM || errno == EACCES
    ? readlinkat (dirfd, name, path, sizeof path - 1) : -1;
  if (n <= 0)
    return false;
  path[n] = '\0';
  return path[0] == '/' && identify (AT_FDCWD, path, id);
}

static void
look_at_link (struct scan *s, int dirfd, const char *name, bool mapped)
{
  struct file_id id;

  if ((mapped ? identify_mapped (dirfd, name, &id)
              : identify (dirfd, name, &id)) &&
      file_id_equal (id, s->file))
    found (s, mapped ? -1 : atoi (name), link_mode (dirfd, name));
}

/* It cannot be looked into; its name can. */
static void
cannot_look (struct scan *s)
{
  const struct user u = describe (s->pid);

  if (s->users->virtualbox.pid == 0 &&
      (strncmp (u.name, "VirtualBox", 10) == 0 ||
       strncmp (u.name, "VBox", 4) == 0))
    s->users->virtualbox = u;
}

static void
look_at_process (struct scan *s, bool mapped)
{
  CLEANUP_CLOSEDIR DIR *links =
    open_part (s->pid, mapped ? "map_files" : "fd");
  struct dirent *d;

  if (links == NULL) {
    if (errno == EACCES || errno == EPERM)
      cannot_look (s);
    return;
  }
  s->is_self = s->pid == getpid ();
  s->is_runner = is_runner (s->pid);
  while ((d = readdir (links)) != NULL)
    if (d->d_name[0] != '.')
      look_at_link (s, dirfd (links), d->d_name, mapped);
}

static void
look_at_all (struct scan *s, bool mapped)
{
  CLEANUP_CLOSEDIR DIR *processes = opendir ("/proc");
  struct dirent *d;

  if (processes == NULL)
    return;
  while ((d = readdir (processes)) != NULL) {
    s->pid = atol (d->d_name);
    if (s->pid > 0)
      look_at_process (s, mapped);
  }
}

void
users_find (int fd, struct users *users)
{
  struct scan s = { .fd = fd, .users = users };

  *users = (struct users) { .ourselves = false };
  if (!identify (fd, "", &s.file))
    return;
  look_at_all (&s, false);
  /* A file that is mapped need not be open any more. */
  if (users->writer.pid == 0 && users->reader.pid == 0 && !users->ourselves)
    look_at_all (&s, true);
}
