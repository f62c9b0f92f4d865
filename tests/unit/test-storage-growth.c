/* SPDX-License-Identifier: BSD-3-Clause */
/* How long a file may become, and what that costs: storage/local.c. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "child.h"
#include "file-checks.h"
#include "tmpdir.h"

/* The linker puts this in ftruncate's place (Makefile.am; not where that has
 * another name, on 32-bit systems).  FAT has no holes: what a file gains
 * takes room at once.
 */
extern int __real_ftruncate (int fd, off_t size);
extern int __wrap_ftruncate (int fd, off_t size);
static bool wrapped, has_holes = true;

int
__wrap_ftruncate (int fd, off_t size)
{
  struct stat sb;

  wrapped = true;
  if (has_holes)
    return __real_ftruncate (fd, size);
  CHECK (fstat (fd, &sb) == 0 && size > sb.st_size);
  return posix_fallocate (fd, sb.st_size, size - sb.st_size) == 0 ? 0 : -1;
}

/* A file in this directory that nobody else finds; NULL if none can be
 * made there.
 */
static struct storage *
new_storage (const char *directory)
{
  char name[PATH_MAX];
  struct storage *st;
  int fd;

  snprintf (name, sizeof name, "%s/nbdkit-vdi-test.XXXXXX", directory);
  fd = mkstemp (name);
  if (fd == -1)
    return NULL;
  OK (storage_open_file (name, true, &st, &error));
  OK (storage_make_writable (st, &error));
  CHECK (unlink (name) == 0 && close (fd) == 0);
  return st;
}

/* Does what the file gains take room?  Not on any file system that tests
 * run on.
 */
static void
test_growth (const char *directory)
{
  struct storage *st = new_storage (directory);

  if (st == NULL)
    return;
  CHECK (!st->grows_dense);
  for (int i = 1; i <= 2; ++i) {
    /* Data that lie there already say nothing. */
    fill (st, 0, 2 * M, 0xcc);
    OK (storage_truncate (st, (2 + 2 * i) * M, &error));
    CHECK (!st->grows_dense);
    CHECK (reads_as (st, 2 * M, 2 * i * M, 0));
  }
  /* It is known by now. */
  has_holes = false;
  OK (storage_truncate (st, 16 * M, &error));
  CHECK (!st->grows_dense);
  storage_close (st);

  /* A small growth, or none, says nothing yet. */
  st = new_storage (directory);
  OK (storage_truncate (st, 64 * K, &error));
  CHECK (!st->grows_dense);
  has_holes = true;
  OK (storage_truncate (st, 4 * K, &error));
  CHECK (!st->grows_dense);
  has_holes = false;
  OK (storage_truncate (st, 2 * M, &error));
  CHECK (st->grows_dense || !wrapped);
  has_holes = true;
  storage_close (st);
}

/* A process that may not make files longer than so much; if it does
 * nevertheless, a signal ends it.
 */
#define LIMIT (1 * M)

static void
set_limit (rlim_t limit)
{
  const struct rlimit rlimit = {
    .rlim_cur = limit, .rlim_max = RLIM_INFINITY
  };

  CHECK (setrlimit (RLIMIT_FSIZE, &rlimit) == 0);
}

static void
too_big (int r)
{
  CHECK (r == -1);
  CHECK (error.err == EFBIG);
}

static void
write_limited (struct storage *st)
{
  uint64_t size;

  /* What fits can be done, up to the last byte. */
  OK (storage_truncate (st, LIMIT - 10, &error));
  OK (storage_write (st, "0123456789", 10, LIMIT - 10, "data", &error));
  if (storage_write_durable (st, "x", 1, LIMIT - 1, "data", &error) == -1)
    CHECK (error.err == ENOTSUP);
  OK (storage_truncate (st, LIMIT, &error));
  OK (storage_size (st, &size, &error));
  CHECK (size == LIMIT);

  /* What does not is refused, all of it: in part the kernel would do it. */
  too_big (storage_truncate (st, LIMIT + 1, &error));
  too_big (storage_truncate (st, INT64_MAX, &error));
  too_big (storage_write (st, "ab", 2, LIMIT - 1, "data", &error));
  CHECK (reads_as (st, LIMIT - 2, 1, '8'));
  CHECK (!reads_as (st, LIMIT - 1, 1, 'a'));
  too_big (storage_write (st, "a", 1, LIMIT, "data", &error));
  too_big (storage_write (st, "a", 1, INT64_MAX - 1, "data", &error));
  CHECK (storage_write_durable (st, "a", 1, LIMIT, "data", &error) == -1);
  CHECK (error.err == EFBIG || error.err == ENOTSUP);
  too_big (storage_write_zeros (st, LIMIT - 1, 2, "data", &error));
  too_big (storage_provision (st, 0, LIMIT + 1, &error));
  too_big (storage_provision (st, LIMIT, 1, &error));
  OK (storage_size (st, &size, &error));
  CHECK (size == LIMIT);
  if (storage_provision (st, 0, LIMIT, &error) == -1)
    CHECK (error.err == ENOTSUP);

  /* A limit that was raised meanwhile is seen, and one that was lowered
   * when the file is to become longer.
   */
  set_limit (2 * LIMIT);
  OK (storage_write (st, "a", 1, LIMIT, "data", &error));
  OK (storage_truncate (st, 2 * LIMIT, &error));
  set_limit (LIMIT);
  too_big (storage_truncate (st, 2 * LIMIT + 1, &error));

  /* The file is longer than the limit now.  It can be read, and made
   * shorter, and written to where it may be.
   */
  CHECK (reads_as (st, LIMIT, 1, 'a'));
  too_big (storage_write (st, "b", 1, LIMIT, "data", &error));
  OK (storage_write (st, "b", 1, 0, "data", &error));
  if (storage_punch (st, LIMIT, LIMIT, &error) == -1)
    CHECK (error.err == ENOTSUP);
  OK (storage_truncate (st, LIMIT + 5, &error));
  OK (storage_sync (st, &error));
  OK (storage_truncate (st, 5, &error));
  OK (storage_truncate (st, LIMIT, &error));
  CHECK (reads_as (st, 5, LIMIT - 5, 0));
}

static void
test_size_limit (const char *directory)
{
  pid_t pid = fork ();
  struct storage *st;
  int status;

  CHECK (pid >= 0);
  if (pid == 0) {
    /* As a shell starts a process, whatever started this test. */
    CHECK (signal (SIGXFSZ, SIG_DFL) != SIG_ERR);
    set_limit (LIMIT);
    st = new_storage (directory);
    if (st != NULL)
      write_limited (st);
    storage_close (st);
    _exit (0);
  }
  CHECK (child_wait (pid, &status));
  CHECK (WIFEXITED (status) && WEXITSTATUS (status) == 0);
}

int
main (void)
{
  tmpdir_make ();
  test_growth (tmpdir);
  test_growth ("/dev/shm");
  test_size_limit (tmpdir);
  test_size_limit ("/dev/shm");
  return 0;
}
