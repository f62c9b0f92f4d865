/* SPDX-License-Identifier: BSD-3-Clause */
/* storage/local.c on real files, a FIFO, a directory and, where this
 * machine lets us have one, a block device.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "child.h"
#include "file-checks.h"
#include "tmpdir.h"

static void
make_file (const char *name, size_t size)
{
  int fd = open (name, O_WRONLY | O_CREAT | O_EXCL, 0644);

  CHECK (fd >= 0);
  CHECK (ftruncate (fd, size) == 0);
  CHECK (close (fd) == 0);
}

static blkcnt_t
sectors (const char *name)
{
  struct stat sb;

  CHECK (stat (name, &sb) == 0);
  return sb.st_blocks;
}

static void
refused (const char *name, int err, const char *because)
{
  struct storage *st;

  CHECK (storage_open_file (name, true, &st, &error) == -1);
  CHECK (error.err == err);
  CHECK (strncmp (error.message, name, strlen (name)) == 0);
  CHECK (strstr (error.message, because) != NULL);
}

static void
test_what_is_opened (void)
{
  char *fifo = tmpdir_file ("fifo"), *sock = tmpdir_file ("socket");
  char *loop = tmpdir_file ("loop"), *missing = tmpdir_file ("missing");
  struct sockaddr_un addr = { .sun_family = AF_UNIX };
  int fd;

  refused (missing, ENOENT, "No such file");
  refused (tmpdir, EINVAL, "neither a regular file nor a block device");
  refused ("/dev/null", EINVAL, "neither a regular file nor a block device");

  /* Nobody is at the other end, nor ever will be. */
  CHECK (mkfifo (fifo, 0600) == 0);
  alarm (CHILD_PATIENCE);
  refused (fifo, EINVAL, "neither a regular file nor a block device");
  alarm (0);

  fd = socket (AF_UNIX, SOCK_STREAM, 0);
  CHECK (fd >= 0);
  if (strlen (sock) < sizeof addr.sun_path) {
    strcpy (addr.sun_path, sock);
    CHECK (bind (fd, (struct sockaddr *) &addr, sizeof addr) == 0);
    refused (sock, EINVAL, "neither a regular file nor a block device");
  }
  close (fd);

  CHECK (symlink ("loop", loop) == 0);
  refused (loop, ELOOP, "symbolic links");
}

static void
test_names (void)
{
  char *name = tmpdir_file ("n.vdi"), *link = tmpdir_file ("link.vdi");
  char cwd[PATH_MAX];
  struct storage *st;

  make_file (name, 10);
  CHECK (symlink ("n.vdi", link) == 0);
  CHECK (getcwd (cwd, sizeof cwd) != NULL);
  CHECK (chdir (tmpdir) == 0);
  OK (storage_open_file ("./link.vdi", true, &st, &error));
  CHECK (chdir (cwd) == 0);
  CHECK (strcmp (st->name, name) == 0);
  storage_close (st);
}

static bool
is_cloexec (const char *name)
{
  char link[64], target[PATH_MAX];
  ssize_t n;
  int fd;

  for (fd = 3; fd < 256; ++fd) {
    snprintf (link, sizeof link, "/proc/self/fd/%d", fd);
    n = readlink (link, target, sizeof target - 1);
    if (n <= 0)
      continue;
    target[n] = '\0';
    if (strcmp (target, name) == 0) {
      CHECK ((fcntl (fd, F_GETFL) & O_NONBLOCK) == 0);
      return fcntl (fd, F_GETFD) & FD_CLOEXEC;
    }
  }
  CHECK (!"the file is not open");
  return false;
}

static void
test_read_only (void)
{
  char *name = tmpdir_file ("ro.vdi");
  struct storage *st;
  uint8_t buf[4];
  struct stat before, after;
  pid_t pid;
  int status;

  make_file (name, 8 * K);
  CHECK (stat (name, &before) == 0);
  OK (storage_open_file (name, true, &st, &error));
  CHECK (is_cloexec (name));
  CHECK (reads_as (st, 0, 8 * K, 0));
  CHECK (storage_read (st, buf, 4, 8 * K - 2, "data", &error) == -1);
  CHECK (error.err == EIO);
  CHECK (strstr (error.message, "unexpected end of file, 2 bytes"));
  CHECK (storage_read (st, buf, 4, INT64_MAX - 2, "data", &error) == -1);
  CHECK (strstr (error.message, "unexpected end of file"));
  CHECK (storage_read (st, buf, 4, UINT64_MAX - 9, "data", &error) == -1);
  CHECK (strstr (error.message, "unexpected end of file"));
  CHECK (storage_write (st, "x", 1, 0, "data", &error) == -1);
  CHECK (storage_truncate (st, 0, &error) == -1);

  /* For writing, too, opening changes nothing. */
  OK (storage_make_writable (st, &error));
  OK (storage_make_writable (st, &error));
  CHECK (is_cloexec (name));
  CHECK (reads_as (st, 0, 8 * K, 0));
  CHECK (st->grows_zero);
  OK (storage_lock (st, true, &error));
  CHECK (storage_write (st, "x", 1, UINT64_MAX, "data", &error) == -1);
  CHECK (error.err == EFBIG);
  CHECK (storage_truncate (st, UINT64_MAX, &error) == -1);
  CHECK (error.err == EFBIG);
  storage_close (st);
  CHECK (stat (name, &after) == 0);
  CHECK (before.st_size == after.st_size);
  CHECK (before.st_mtim.tv_sec == after.st_mtim.tv_sec);
  CHECK (before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);

  /* Wanted, but not to be had: as somebody whom permissions bind. */
  CHECK (chmod (name, 0444) == 0);
  pid = fork ();
  CHECK (pid >= 0);
  if (pid == 0) {
    if (geteuid () == 0) {
      CHECK (chown (tmpdir, 65534, 65534) == 0);
      CHECK (chown (name, 65534, 65534) == 0);
      /* Only the files matter, not the way to them. */
      CHECK (chdir (tmpdir) == 0);
      CHECK (setresgid (65534, 65534, 65534) == 0);
      CHECK (setresuid (65534, 65534, 65534) == 0);
    }
    else
      CHECK (chdir (tmpdir) == 0);
    OK (storage_open_file ("ro.vdi", true, &st, &error));
    CHECK (storage_make_writable (st, &error) == -1);
    CHECK (error.err == EACCES);
    CHECK (reads_as (st, 0, 8 * K, 0));
    OK (storage_lock (st, false, &error));
    storage_close (st);
    CHECK (chmod ("ro.vdi", 0) == 0);
    CHECK (storage_open_file ("ro.vdi", true, &st, &error) == -1);
    CHECK (error.err == EACCES);
    _exit (0);
  }
  CHECK (child_wait (pid, &status));
  CHECK (WIFEXITED (status) && WEXITSTATUS (status) == 0);
}

/* A program that runs cannot be written to, but may be read. */
static void
test_busy_text (void)
{
  struct storage *st;

  OK (storage_open_file ("/proc/self/exe", true, &st, &error));
  CHECK (storage_make_writable (st, &error) == -1);
  CHECK (error.err == ETXTBSY || error.err == EACCES || error.err == EROFS);
  storage_close (st);
}

/* Where are the holes, and the data between them? */
static unsigned
count_extents (struct storage *st, uint64_t size, uint64_t *holes)
{
  uint64_t offset = 0, end;
  unsigned n = 0;
  bool hole, other;

  *holes = 0;
  while (offset < size) {
    uint64_t other_end;

    /* What it is taken for makes no difference. */
    hole = false;
    other = true;
    OK (storage_extent (st, offset, size, &hole, &end, &error));
    OK (storage_extent (st, offset, size, &other, &other_end, &error));
    CHECK (other == hole && other_end == end);
    CHECK (end > offset && end <= size);
    if (hole) {
      *holes += end - offset;
      CHECK (reads_as (st, offset, end - offset, 0));
    }
    offset = end;
    ++n;
  }
  return n;
}

static void
test_file (void)
{
  char *name = tmpdir_file ("f.vdi");
  struct storage *st, *st2;
  uint64_t size, end, holes;
  struct stat sb;
  bool hole = false;

  OK (storage_create_file (name, true, &st, &error));
  OK (storage_finish_file (st, &error));
  CHECK (storage_create_file (name, true, &st2, &error) == -1);
  CHECK (error.err == EEXIST);
  CHECK (stat (name, &sb) == 0);
  CHECK ((sb.st_mode & 07777) == 0600);
  OK (storage_make_writable (st, &error));
  CHECK (st->grows_zero);
  CHECK (strcmp (st->name, name) == 0);

  OK (storage_truncate (st, 8 * M, &error));
  OK (storage_size (st, &size, &error));
  CHECK (size == 8 * M);
  CHECK (sectors (name) == 0);
  CHECK (reads_as (st, 0, 8 * M, 0));
  CHECK (count_extents (st, size, &holes) == 1);
  CHECK (holes == 8 * M);

  fill (st, 1 * M, 2 * M, 0xaa);
  OK (storage_sync (st, &error));
  OK (storage_sync (st, &error));
  CHECK (sectors (name) * 512 >= 2 * M);
  CHECK (count_extents (st, size, &holes) == 3);
  CHECK (holes == 6 * M);
  OK (storage_extent (st, 0, 8 * M, &hole, &end, &error));
  CHECK (hole && end == 1 * M);
  OK (storage_extent (st, 0, 1000, &hole, &end, &error));
  CHECK (hole && end == 1000);
  OK (storage_extent (st, 1 * M + 3, 2 * M - 7, &hole, &end, &error));
  CHECK (!hole && end == 2 * M - 7);
  OK (storage_extent (st, 3 * M, 8 * M, &hole, &end, &error));
  CHECK (hole && end == 8 * M);

  /* Any range, not just whole pages; what lies beside it stays. */
  OK (storage_punch (st, 1 * M + 100, 1 * M, &error));
  CHECK (reads_as (st, 1 * M, 100, 0xaa));
  CHECK (reads_as (st, 1 * M + 100, 1 * M, 0));
  CHECK (reads_as (st, 2 * M + 100, 1 * M - 100, 0xaa));
  OK (storage_sync (st, &error));
  CHECK (sectors (name) * 512 < 1 * M + 64 * K);
  OK (storage_size (st, &size, &error));
  CHECK (size == 8 * M);

  OK (storage_zero (st, 2 * M + 200, 1 * M - 300, &error));
  CHECK (reads_as (st, 2 * M + 100, 100, 0xaa));
  CHECK (reads_as (st, 2 * M + 200, 1 * M - 300, 0));
  CHECK (reads_as (st, 3 * M - 100, 100, 0xaa));
  CHECK (sectors (name) * 512 >= 1 * M - 64 * K);

  /* The space of a hole is taken. */
  OK (storage_zero (st, 4 * M, 1 * M, &error));
  CHECK (reads_as (st, 4 * M, 1 * M, 0));
  CHECK (sectors (name) * 512 >= 2 * M - 64 * K);

  OK (storage_provision (st, 3 * M - 100, 7 * M + 100, &error));
  OK (storage_size (st, &size, &error));
  CHECK (size == 10 * M);
  CHECK (sectors (name) * 512 >= 8 * M - 64 * K);
  CHECK (reads_as (st, 3 * M - 100, 100, 0xaa));
  CHECK (reads_as (st, 3 * M, 7 * M, 0));

  /* What was cut off does not come back. */
  fill (st, 9 * M, 1 * M, 0xbb);
  OK (storage_truncate (st, 9 * M + 10, &error));
  OK (storage_truncate (st, 10 * M, &error));
  CHECK (reads_as (st, 9 * M, 10, 0xbb));
  CHECK (reads_as (st, 9 * M + 10, 1 * M - 10, 0));

  OK (storage_write_durable (st, "durable", 7, 5 * M + 1, "data", &error));
  CHECK (reads_as (st, 5 * M, 1, 0) && reads_as (st, 5 * M + 1, 1, 'd'));
  CHECK (reads_as (st, 5 * M + 7, 1, 'e') && reads_as (st, 5 * M + 8, 1, 0));

  OK (storage_write_zeros (st, 9 * M - 1, 2, "data", &error));
  CHECK (reads_as (st, 9 * M, 1, 0) && reads_as (st, 9 * M + 1, 9, 0xbb));
  OK (storage_write_zeros (st, 7 * M, 3 * M, "data", &error));
  CHECK (reads_as (st, 7 * M, 3 * M, 0));

  storage_advise (st, 0, 0, STORAGE_RANDOM);
  storage_advise (st, 4096, 4096, STORAGE_WILLNEED);
  storage_advise (st, UINT64_MAX, 4096, STORAGE_WILLNEED);
  storage_close (st);
}

/* tmpfs has no ZERO_RANGE, so this takes the other way; the second time
 * that is known from the start.
 */
static void
test_tmpfs (void)
{
  char name[] = "/dev/shm/nbdkit-vdi-test.XXXXXX";
  struct storage *st;
  int fd, i;

  fd = mkstemp (name);
  if (fd == -1)
    return;
  OK (storage_open_file (name, true, &st, &error));
  OK (storage_make_writable (st, &error));
  CHECK (unlink (name) == 0);
  OK (storage_truncate (st, 1 * M, &error));
  for (i = 0; i < 2; ++i) {
    struct stat sb;

    fill (st, 0, 1 * M, 0xcc);
    OK (storage_zero (st, 1000, 500 * K, &error));
    CHECK (reads_as (st, 0, 1000, 0xcc));
    CHECK (reads_as (st, 1000, 500 * K, 0));
    CHECK (reads_as (st, 1000 + 500 * K, 500 * K, 0xcc));
    CHECK (fstat (fd, &sb) == 0);
    CHECK (sb.st_blocks * 512 >= 1 * M);
    OK (storage_punch (st, 0, 512 * K, &error));
    CHECK (reads_as (st, 0, 512 * K, 0));
    CHECK (fstat (fd, &sb) == 0);
    CHECK (sb.st_blocks * 512 <= 512 * K);
  }
  close (fd);
  storage_close (st);
}

/* A block device made of a file, if we may. */
static int
loop_attach (const char *name, char *device, size_t len)
{
  int control, file, fd, i, n;

  control = open ("/dev/loop-control", O_RDWR | O_CLOEXEC);
  if (control == -1)
    return -1;
  file = open (name, O_RDWR | O_CLOEXEC);
  CHECK (file >= 0);
  for (i = 0; i < 10; ++i) {    /* others may want the same one */
    n = ioctl (control, LOOP_CTL_GET_FREE);
    if (n == -1)
      break;
    snprintf (device, len, "/dev/loop%d", n);
    fd = open (device, O_RDWR | O_CLOEXEC);
    if (fd == -1)
      break;
    if (ioctl (fd, LOOP_SET_FD, file) == 0) {
      close (control);
      close (file);
      return fd;
    }
    close (fd);
  }
  close (control);
  close (file);
  return -1;
}

static void
test_block_device (void)
{
  char *name = tmpdir_file ("disk");
  char device[64];
  struct storage *st;
  uint64_t size, end;
  bool hole = true;
  int fd;

  make_file (name, 4 * M);
  fd = loop_attach (name, device, sizeof device);
  if (fd == -1) {
    fprintf (stderr, "test-storage-file: no loop device: block devices are "
             "not tested\n");
    return;
  }
  OK (storage_open_file (device, true, &st, &error));
  /* The device goes when nobody has it open any more. */
  ioctl (fd, LOOP_CLR_FD);
  close (fd);

  CHECK (!st->grows_zero);
  OK (storage_make_writable (st, &error));
  OK (storage_size (st, &size, &error));
  CHECK (size == 4 * M);
  CHECK (storage_truncate (st, 2 * M, &error) == -1);
  CHECK (error.err == ENOTSUP);
  CHECK (storage_provision (st, 0, 2 * M, &error) == -1);
  CHECK (error.err == ENOTSUP);
  OK (storage_extent (st, 5, 2 * M, &hole, &end, &error));
  CHECK (!hole && end == 2 * M);

  fill (st, 0, 4 * M, 0xdd);
  OK (storage_sync (st, &error));
  /* A fragment of a sector cannot be had, which must not be held
   * against those who ask for whole ones.
   */
  CHECK (storage_punch (st, 1 * M + 1, 1 * M, &error) == -1);
  CHECK (error.err == ENOTSUP);
  OK (storage_punch (st, 1 * M, 1 * M, &error));
  CHECK (storage_zero (st, 2 * M, 1 * M + 1, &error) == -1);
  CHECK (error.err == ENOTSUP);
  OK (storage_zero (st, 2 * M, 1 * M, &error));
  CHECK (reads_as (st, 0, 1 * M, 0xdd));
  CHECK (reads_as (st, 1 * M, 2 * M, 0));
  CHECK (reads_as (st, 3 * M, 1 * M, 0xdd));
  CHECK (storage_write_durable (st, "durable", 7, 1 * M, "data",
                                &error) == -1);
  CHECK (error.err == ENOTSUP);
  OK (storage_lock (st, true, &error));
  CHECK (storage_write (st, "x", 1, 4 * M, "data", &error) == -1);
  CHECK (error.err == ENOSPC);
  CHECK (storage_read (st, device, 8, 4 * M - 4, "data", &error) == -1);
  CHECK (error.err == EIO);
  storage_close (st);
}

int
main (void)
{
  tmpdir_make ();
  test_what_is_opened ();
  test_names ();
  test_read_only ();
  test_busy_text ();
  test_file ();
  test_tmpfs ();
  test_block_device ();
  return 0;
}
