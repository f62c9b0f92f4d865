/* SPDX-License-Identifier: BSD-3-Clause */
/* storage/open.c and what storage/local.c makes of it: a file is opened for
 * writing only when it must be, and it stays the same file; a new file
 * is nobody else's, and nobody else's is touched.  With and without O_TMPFILE
 * and /proc.
 */
#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file-checks.h"
#include "no-tmpfile.h"
#include "tmpdir.h"

static char *name, *other, *other2;

static void
write_text (const char *filename, const char *text)
{
  FILE *fp = fopen (filename, "w");

  CHECK (fp != NULL);
  CHECK (fputs (text, fp) >= 0);
  CHECK (fclose (fp) == 0);
}

static bool
has_text (const char *filename, const char *text)
{
  char buf[64] = "";
  FILE *fp = fopen (filename, "r");

  CHECK (fp != NULL);
  CHECK (fgets (buf, sizeof buf, fp) != NULL);
  CHECK (fclose (fp) == 0);
  return strcmp (buf, text) == 0;
}

static size_t
nr_files (void)
{
  DIR *dp = opendir (tmpdir);
  size_t nr = 0;
  struct dirent *d;

  CHECK (dp != NULL);
  while ((d = readdir (dp)) != NULL)
    nr += d->d_name[0] != '.' || strlen (d->d_name) > 2;
  closedir (dp);
  return nr;
}

/*------------------------------------------------------------------*/
/* Opening */

static void
test_for_reading (void)
{
  struct storage *st;

  write_text (name, "text");
  OK (storage_open_file (name, true, &st, &error));
  CHECK (storage_write (st, "x", 1, 0, "data", &error) == -1);
  CHECK (error.err == EBADF);
  OK (storage_make_writable (st, &error));
  OK (storage_write (st, "T", 1, 0, "data", &error));
  storage_close (st);
  CHECK (has_text (name, "Text"));
  CHECK (unlink (name) == 0);
}

/* Its name is somebody else's by the time that it is to be written to. */
static void
test_replaced (void)
{
  struct storage *st;

  write_text (name, "ours");
  write_text (other, "theirs");
  OK (storage_open_file (name, true, &st, &error));
  OK (storage_writable (st, &error));
  CHECK (link (name, other2) == 0);
  CHECK (rename (other, name) == 0);
  OK (storage_writable (st, &error));
  no_proc = true;
  CHECK (storage_make_writable (st, &error) == -1);
  CHECK (error.err == ESTALE);
  no_proc = false;
  OK (storage_make_writable (st, &error));
  OK (storage_write (st, "O", 1, 0, "data", &error));
  CHECK (reads_as (st, 0, 1, 'O'));
  storage_close (st);
  CHECK (has_text (name, "theirs"));
  CHECK (has_text (other2, "Ours"));
  CHECK (unlink (name) == 0);
  CHECK (unlink (other2) == 0);
}

/* What would be written to it would be gone afterwards. */
static void
test_without_name (void)
{
  char proc[64];
  struct storage *st, *again;
  int fd;

  write_text (name, "ours");
  write_text (other, "theirs");
  OK (storage_open_file (name, true, &st, &error));
  fd = __real_open (name, O_RDWR);
  CHECK (fd >= 0);
  CHECK (rename (other, name) == 0);
  CHECK (storage_is_nameless (st));
  CHECK (storage_writable (st, &error) == -1);
  CHECK (error.err == ESTALE);
  CHECK (strstr (error.message, "another put in its place") != NULL);
  storage_close (st);

  /* Who never gave it a name knows what he does. */
  snprintf (proc, sizeof proc, "/proc/self/fd/%d", fd);
  OK (storage_open_file (proc, true, &again, &error));
  CHECK (!storage_is_nameless (again));
  OK (storage_writable (again, &error));
  OK (storage_make_writable (again, &error));
  storage_close (again);
  close (fd);
  CHECK (unlink (name) == 0);
}

static void
test_without_proc (void)
{
  no_proc = true;
  test_for_reading ();
  no_proc = false;
}

/* The locks of a reader are there all the time, and no others. */
static void
test_locks (void)
{
  struct storage *a, *b;

  write_text (name, "text");
  OK (storage_open_file (name, true, &a, &error));
  OK (storage_open_file (name, true, &b, &error));
  OK (storage_lock (a, false, &error));
  OK (storage_make_writable (a, &error));
  OK (storage_lock (b, false, &error));
  CHECK (storage_lock (b, true, &error) == -1 && error.err == EBUSY);
  CHECK (storage_lock (a, true, &error) == -1 && error.err == EBUSY);
  storage_close (b);
  OK (storage_lock (a, true, &error));
  OK (storage_open_file (name, true, &b, &error));
  CHECK (storage_lock (b, false, &error) == -1 && error.err == EBUSY);
  storage_close (a);
  OK (storage_lock (b, true, &error));
  storage_close (b);
  CHECK (unlink (name) == 0);
}

static _Atomic bool stop;

static void *
read_all_the_time (void *st)
{
  do
    CHECK (reads_as (st, 0, 4 * K, 'r'));
  while (!stop);
  return NULL;
}

static void
test_while_reading (void)
{
  pthread_t threads[4];
  struct storage *st;
  int round, i;

  OK (storage_create_file (name, true, &st, &error));
  fill (st, 0, 4 * K, 'r');
  OK (storage_finish_file (st, &error));
  storage_close (st);
  for (round = 0; round < 20; ++round) {
    OK (storage_open_file (name, true, &st, &error));
    OK (storage_lock (st, false, &error));
    stop = false;
    for (i = 0; i < 4; ++i)
      CHECK (pthread_create (&threads[i], NULL, read_all_the_time, st) == 0);
    OK (storage_make_writable (st, &error));
    fill (st, 4 * K, 4 * K, 'w');
    stop = true;
    for (i = 0; i < 4; ++i)
      CHECK (pthread_join (threads[i], NULL) == 0);
    storage_close (st);
  }
  CHECK (unlink (name) == 0);
}

/*------------------------------------------------------------------*/
/* New files */

/* Nobody meets it before it is finished, where that can be had. */
static void
test_new (void)
{
  struct storage *st;
  struct stat sb;

  OK (storage_create_file (name, true, &st, &error));
  CHECK (strcmp (st->name, name) == 0);
  CHECK (nr_files () == no_tmpfile);
  OK (storage_write (st, "new", 3, 0, "data", &error));
  OK (storage_finish_file (st, &error));
  CHECK (has_text (name, "new"));
  CHECK (stat (name, &sb) == 0 && (sb.st_mode & 07777) == 0600);
  OK (storage_write (st, "N", 1, 0, "data", &error));
  storage_close (st);
  CHECK (has_text (name, "New"));
  CHECK (unlink (name) == 0);
}

static void
test_abandoned (void)
{
  struct storage *st;

  OK (storage_create_file (name, true, &st, &error));
  vdi_set_error (&error, EIO, "the reason");
  storage_abandon_file (st, &error);
  CHECK (error.err == EIO && strcmp (error.message, "the reason") == 0);
  CHECK (nr_files () == 0);

  OK (storage_create_file (name, true, &st, &error));
  storage_close (st);
  CHECK (nr_files () == 0);
}

/* Somebody else has made a file of that name while ours was being made. */
static void
test_overtaken (void)
{
  struct storage *st;

  OK (storage_create_file (name, true, &st, &error));
  write_text (other, "precious");
  CHECK (rename (other, name) == 0);
  CHECK (storage_finish_file (st, &error) == -1);
  CHECK (error.err == EEXIST);
  vdi_set_error (&error, EIO, "the reason");
  storage_abandon_file (st, &error);
  CHECK (strcmp (error.message, "the reason") == 0);
  CHECK (nr_files () == 1 && has_text (name, "precious"));

  CHECK (storage_create_file (name, true, &st, &error) == -1);
  CHECK (error.err == EEXIST);
  CHECK (nr_files () == 1 && has_text (name, "precious"));
  CHECK (unlink (name) == 0);
}

/* A directory without a right to it, or none. */
static void
test_nowhere (void)
{
  struct storage *st;
  char *no_dir = tmpdir_file ("none/");

  CHECK (storage_create_file ("/nonexistent/x", true, &st, &error) == -1);
  CHECK (error.err == ENOENT);
  CHECK (storage_create_file (no_dir, true, &st, &error) == -1);
  CHECK (error.err == EISDIR);
  CHECK (storage_create_file ("/proc/x", true, &st, &error) == -1);
  CHECK (storage_create_file (tmpdir, true, &st, &error) == -1);
  CHECK (error.err == EEXIST);
  CHECK (nr_files () == 0);
}

int
main (void)
{
  int i;

  tmpdir_make ();
  name = tmpdir_file ("image.vdi");
  other = tmpdir_file ("other");
  other2 = tmpdir_file ("other2");

  test_for_reading ();
  test_without_proc ();
  test_replaced ();
  test_without_name ();
  test_locks ();
  test_while_reading ();
  for (i = 0; i < 2; ++i) {
    no_tmpfile = i == 1;
    test_new ();
    test_abandoned ();
    test_overtaken ();
    test_nowhere ();
  }
  return 0;
}
