/* SPDX-License-Identifier: BSD-3-Clause */
/* file.c: what is opened, and what is left alone. */
#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/inotify.h>
#include <time.h>

#include "test.h"
#include "tmpdir.h"
#include "utils/file.h"

static char *name, *fifo;

static void
make_file (const char *text)
{
  FILE *fp = fopen (name, "w");

  CHECK (fp != NULL);
  CHECK (fputs (text, fp) >= 0);
  CHECK (fclose (fp) == 0);
}

static void
test_regular (void)
{
  struct stat sb, again;
  int fd;

  make_file ("text");
  fd = file_open (name, 0, &sb);
  CHECK (fd >= 0);
  CHECK ((fcntl (fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK)) == O_NONBLOCK);
  CHECK (close (fd) == 0);

  fd = file_open (name, FILE_WAITS, &sb);
  CHECK (fd >= 0);
  CHECK (S_ISREG (sb.st_mode) && sb.st_size == 4);
  CHECK (fcntl (fd, F_GETFD) == FD_CLOEXEC);
  CHECK ((fcntl (fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK)) == O_RDONLY);
  CHECK (close (fd) == 0);

  CHECK (stat (name, &again) == 0);
  CHECK (file_id_equal (file_id_of (&sb), file_id_of (&again)));
  CHECK (stat (tmpdir, &again) == 0);
  CHECK (!file_id_equal (file_id_of (&sb), file_id_of (&again)));
}

static void
test_others (void)
{
  char event[4096];
  struct stat sb;
  int opens, fd;

  CHECK (file_open (tmpdir_file ("none"), FILE_WAITS, &sb) == -1);
  CHECK (errno == ENOENT && sb.st_mode == 0 && sb.st_ino == 0);

  CHECK (file_open (tmpdir, FILE_OR_DEVICE, &sb) == -1);
  CHECK (errno == EMEDIUMTYPE && S_ISDIR (sb.st_mode));

  CHECK (file_open ("/dev/null", FILE_OR_DEVICE, &sb) == -1);
  CHECK (errno == EMEDIUMTYPE && S_ISCHR (sb.st_mode));

  /* Not even for a moment, in which its writer would be woken up. */
  CHECK (mkfifo (fifo, 0600) == 0);
  opens = inotify_init1 (IN_NONBLOCK | IN_CLOEXEC);
  CHECK (opens >= 0 && inotify_add_watch (opens, fifo, IN_OPEN) != -1);
  CHECK (file_open (fifo, FILE_OR_DEVICE | FILE_WAITS, &sb) == -1);
  CHECK (errno == EMEDIUMTYPE && S_ISFIFO (sb.st_mode) && sb.st_ino != 0);
  CHECK (read (opens, event, sizeof event) == -1 && errno == EAGAIN);
  fd = open (fifo, O_RDONLY | O_NONBLOCK);
  CHECK (fd >= 0 && close (fd) == 0);
  CHECK (read (opens, event, sizeof event) > 0);
  CHECK (close (opens) == 0);
}

static void
test_read (void)
{
  char buf[8] = "-------";
  struct stat sb;
  int fd;

  make_file ("text");
  fd = file_open (name, 0, &sb);
  CHECK (fd >= 0);
  CHECK (file_read (fd, buf, 3) == 3);
  CHECK (strcmp (buf, "tex----") == 0);
  CHECK (file_read (fd, buf, sizeof buf) == 4);
  CHECK (strcmp (buf, "text---") == 0);
  CHECK (file_read (fd, buf, 0) == 0);
  errno = EDOM;
  CHECK (file_give_up (fd) == -1);
  CHECK (errno == EDOM);
  CHECK (file_read (fd, buf, 1) == -1);
  CHECK (errno == EBADF);
}

static void *
gives_back (void *opaque)
{
  const struct timespec some_time = { .tv_nsec = 50000000 };

  nanosleep (&some_time, NULL);
  CHECK (fcntl (*(int *) opaque, F_SETLEASE, F_UNLCK) == 0);
  return NULL;
}

/* Not everything is worth waiting for. */
static void
test_lease (void)
{
  pthread_t thread;
  struct stat sb;
  int own, fd;

  make_file ("text");
  own = open (name, O_RDWR | O_CLOEXEC);
  CHECK (own >= 0);
  CHECK (signal (SIGIO, SIG_IGN) != SIG_ERR);
  if (fcntl (own, F_SETLEASE, F_WRLCK) == -1) {
    printf ("no leases here\n");
    close (own);
    return;
  }
  CHECK (file_open (name, 0, &sb) == -1);
  CHECK (errno == EWOULDBLOCK && S_ISREG (sb.st_mode));
  CHECK (pthread_create (&thread, NULL, gives_back, &own) == 0);
  fd = file_open (name, FILE_WAITS, &sb);
  CHECK (fd >= 0);
  CHECK (pthread_join (thread, NULL) == 0);
  CHECK (close (fd) == 0 && close (own) == 0);
}

static bool
lies_in (const char *filename, const char *wanted)
{
  char *dir = file_directory (filename);
  bool r;

  CHECK (dir != NULL);
  r = strcmp (dir, wanted) == 0;
  free (dir);
  return r;
}

static bool
joins (const char *dir, const char *last, const char *wanted)
{
  char *joined = file_join (dir, last);
  bool r;

  CHECK (joined != NULL);
  r = strcmp (joined, wanted) == 0;
  free (joined);
  return r;
}

static void
test_names (void)
{
  CHECK (lies_in ("/a/b", "/a"));
  CHECK (lies_in ("/a/b/", "/a"));
  CHECK (lies_in ("/a//b//", "/a"));
  CHECK (lies_in ("/a", "/"));
  CHECK (lies_in ("//a", "/"));
  CHECK (lies_in ("/", "/"));
  CHECK (lies_in ("a/b", "a"));
  CHECK (lies_in ("a", "."));
  CHECK (lies_in ("a/", "."));
  CHECK (lies_in ("", "."));

  CHECK (joins ("/a", "b", "/a/b"));
  CHECK (joins ("/a/", "b", "/a/b"));
  CHECK (joins ("/", "b", "/b"));
  CHECK (joins (".", "b", "./b"));
}

int
main (void)
{
  tmpdir_make ();
  name = tmpdir_file ("file");
  fifo = tmpdir_file ("fifo");
  test_regular ();
  test_others ();
  test_read ();
  test_lease ();
  test_names ();
  return 0;
}
