/* SPDX-License-Identifier: BSD-3-Clause */
/* storage/lock.c: QEMU's programs and we keep off each other's images,
 * and so do we among ourselves.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "child.h"
#include "storage/storage.h"
#include "test.h"
#include "tmpdir.h"
#include "utils/error.h"

static char *image;
static struct vdi_error error;

static struct storage *
open_image (void)
{
  struct storage *st;

  CHECK (storage_open_file (image, true, &st, &error) == 0);
  return st;
}

static void
ok (struct storage *st, bool writer)
{
  if (storage_lock (st, writer, &error) == -1) {
    fprintf (stderr, "%s\n", error.message);
    CHECK (!"locked");
  }
}

/* Refused, with a message that says whose fault it is and what to do. */
static void
busy (struct storage *st, bool writer, const char *who, bool try_read_only)
{
  memset (&error, 0, sizeof error);
  CHECK (storage_lock (st, writer, &error) == -1);
  CHECK (error.err == EBUSY);
  CHECK (strncmp (error.message, image, strlen (image)) == 0);
  CHECK (strstr (error.message, who) != NULL);
  CHECK (strstr (error.message, "lock=off") != NULL);
  CHECK ((strstr (error.message, "(-r)") != NULL) == try_read_only);
}

#define WRITER "is being written to by another program"
#define READER "does not let anybody write to it"

static void
test_ourselves (void)
{
  struct storage *a = open_image (), *b = open_image (), *c;

  /* Readers stand each other. */
  ok (a, false);
  ok (b, false);
  ok (a, false);
  /* A failed upgrade costs nothing that was held... */
  busy (a, true, READER, true);
  busy (b, true, READER, true);
  storage_close (b);
  /* ...and closing is enough to release. */
  ok (a, true);
  ok (a, true);
  ok (a, false);

  b = open_image ();
  busy (b, false, WRITER, false);
  busy (b, true, WRITER, false);

  /* Whoever does not want locks is not bothered. */
  CHECK (storage_open_file (image, false, &c, &error) == 0);
  ok (c, true);
  storage_close (c);
  busy (b, true, WRITER, false);

  storage_close (a);
  ok (b, true);
  storage_close (b);

  /* One that was refused has left nothing behind. */
  a = open_image ();
  b = open_image ();
  ok (a, true);
  busy (b, true, WRITER, false);
  storage_close (a);
  a = open_image ();
  ok (a, true);
  storage_close (a);
  storage_close (b);
}

/* Byte by byte, as the table in vdi-format.md 9.2 says: what we take is
 * what QEMU takes, and each byte that somebody else has taken keeps out
 * whom it should.
 */
static bool
among (int byte, const int *bytes, size_t n)
{
  size_t i;

  for (i = 0; i < n; ++i) {
    if (bytes[i] == byte)
      return true;
  }
  return false;
}

#define AMONG(byte, ...)                                                \
  among ((byte), (const int[]) { __VA_ARGS__ },                         \
         sizeof ((int[]) { __VA_ARGS__ }) / sizeof (int))

static void
test_bytes (void)
{
  struct storage *reader = open_image (), *writer = NULL;
  int fd = open (image, O_RDWR | O_CLOEXEC);
  int byte;

  CHECK (fd >= 0);
  ok (reader, false);
  for (byte = 90; byte < 220; ++byte) {
    struct flock fl = {
      .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1,
    };

    CHECK (fcntl (fd, F_OFD_GETLK, &fl) == 0);
    CHECK ((fl.l_type != F_UNLCK) == AMONG (byte, 100, 201, 203));
    CHECK (fl.l_type == F_UNLCK || fl.l_type == F_RDLCK);
  }
  ok (reader, true);
  for (byte = 90; byte < 220; ++byte) {
    struct flock fl = {
      .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1,
    };

    CHECK (fcntl (fd, F_OFD_GETLK, &fl) == 0);
    CHECK ((fl.l_type != F_UNLCK) == AMONG (byte, 100, 101, 103, 201, 203));
  }
  storage_close (reader);

  for (byte = 90; byte < 220; ++byte) {
    struct flock fl = {
      .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1,
    };

    CHECK (fcntl (fd, F_OFD_SETLK, &fl) == 0);
    reader = open_image ();
    writer = open_image ();
    CHECK ((storage_lock (reader, false, &error) == -1) ==
           AMONG (byte, 101, 103, 200));
    storage_close (reader);
    CHECK ((storage_lock (writer, true, &error) == -1) ==
           AMONG (byte, 101, 103, 200, 201, 203));
    storage_close (writer);
    fl.l_type = F_UNLCK;
    CHECK (fcntl (fd, F_OFD_SETLK, &fl) == 0);
  }
  CHECK (close (fd) == 0);
}

/* A program that speaks another language: it locks the whole file. */
static void
test_whole_file (void)
{
  struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
  struct storage *st = open_image ();
  int fd = open (image, O_RDWR | O_CLOEXEC);

  CHECK (fd >= 0);
  CHECK (fcntl (fd, F_OFD_SETLK, &fl) == 0);
  busy (st, false, WRITER, false);
  busy (st, true, WRITER, false);
  fl.l_type = F_RDLCK;          /* held, and does not mind readers */
  CHECK (fcntl (fd, F_OFD_SETLK, &fl) == 0);
  busy (st, true, WRITER, false);
  CHECK (close (fd) == 0);
  ok (st, true);
  storage_close (st);
}

/* A descriptor that can only read can only be a reader, which is enough
 * for one.
 */
static void
test_read_only (void)
{
  struct storage *st, *b = open_image ();

  CHECK (storage_open_file (image, true, &st, &error) == 0);
  ok (st, false);
  busy (b, true, READER, true);
  ok (b, false);
  storage_close (st);
  ok (b, true);
  storage_close (b);
}

/* nbdkit locks before it forks: the child has the locks, too, and until
 * the last of the two is gone.
 */
static void
test_fork (void)
{
  struct storage *a = open_image (), *b;
  int to_child[2], from_child[2];
  char c;
  pid_t pid;
  int status;

  ok (a, true);
  CHECK (pipe (to_child) == 0 && pipe (from_child) == 0);
  pid = fork ();
  CHECK (pid >= 0);
  if (pid == 0) {
    CHECK (close (to_child[1]) == 0 && close (from_child[0]) == 0);
    CHECK (write (from_child[1], "x", 1) == 1);
    CHECK (read (to_child[0], &c, 1) == 0);
    _exit (0);
  }
  CHECK (close (to_child[0]) == 0 && close (from_child[1]) == 0);
  CHECK (read (from_child[0], &c, 1) == 1);
  storage_close (a);
  b = open_image ();
  busy (b, false, WRITER, false);
  CHECK (close (to_child[1]) == 0);
  CHECK (child_wait (pid, &status));
  CHECK (WIFEXITED (status) && WEXITSTATUS (status) == 0);
  CHECK (close (from_child[0]) == 0);
  ok (b, true);

  /* Nor does the end of a child that never wanted them end them. */
  pid = fork ();
  CHECK (pid >= 0);
  if (pid == 0) {
    storage_close (b);
    _exit (0);
  }
  CHECK (child_wait (pid, &status));
  a = open_image ();
  busy (a, false, WRITER, false);
  storage_close (a);
  storage_close (b);
}

/* QEMU's programs.  True if the command succeeds, false if it fails and
 * says that the image is locked; anything else is neither.
 */
__attribute__ ((format (printf, 1, 2)))
static bool
runs (const char *fs, ...)
{
  static char command[8192], output[8192];
  va_list args;
  char *body;
  size_t n;
  FILE *fp;
  int r;

  va_start (args, fs);
  CHECK (vasprintf (&body, fs, args) != -1);
  va_end (args);
  snprintf (command, sizeof command,
            "unset LD_PRELOAD GLIBC_TUNABLES; exec 2>&1; "
            "timeout %d %s", CHILD_PATIENCE, body);
  free (body);
  fp = popen (command, "re");
  CHECK (fp != NULL);
  n = fread (output, 1, sizeof output - 1, fp);
  output[n] = '\0';
  r = pclose (fp);
  if (r == 0)
    return true;
  if (strstr (output, "Failed to get") == NULL ||
      strstr (output, "lock") == NULL) {
    fprintf (stderr, "%s\n%s", command, output);
    CHECK (!"fails only because of a lock");
  }
  return false;
}

static bool
qemu_reads (void)
{
  bool r = runs (QEMU_IMG " check -f vdi '%s'", image);

  CHECK (runs (QEMU_IO " -r -f vdi -c 'read 0 4k' '%s'", image) == r);
  CHECK (runs (QEMU_IMG " info '%s'", image) == r);
  CHECK (runs (QEMU_IMG " info -U '%s'", image));
  return r;
}

static bool
qemu_writes (void)
{
  return runs (QEMU_IO " -f vdi -c 'write 0 4k' '%s'", image);
}

static void
test_qemu_meets_us (void)
{
  struct storage *a = open_image (), *b = open_image ();

  CHECK (qemu_reads () && qemu_writes ());
  ok (a, false);
  CHECK (qemu_reads () && !qemu_writes ());
  ok (b, false);
  busy (a, true, READER, true);
  CHECK (qemu_reads () && !qemu_writes ());
  storage_close (b);
  CHECK (qemu_reads () && !qemu_writes ());
  ok (a, true);
  CHECK (!qemu_reads () && !qemu_writes ());
  storage_close (a);
  CHECK (qemu_reads () && qemu_writes ());
}

/* A server that holds the image until it is told to stop. */
static pid_t
qemu_nbd_start (bool read_only)
{
  char *sock = tmpdir_file ("s");
  pid_t pid;
  int status;

  (void) unlink (sock);
  pid = fork ();
  CHECK (pid >= 0);
  if (pid == 0) {
    /* It does not outlive this program, however that ends. */
    prctl (PR_SET_PDEATHSIG, SIGKILL);
    unsetenv ("LD_PRELOAD");
    unsetenv ("GLIBC_TUNABLES");
    /* The path of a socket must be short, and absolute for qemu-nbd. */
    CHECK (chdir (tmpdir) == 0);
    execl (QEMU_NBD, "qemu-nbd", "-t", "-k", "/proc/self/cwd/s", "-f", "vdi",
           read_only ? "-r" : "--shared=1", image, NULL);
    _exit (127);
  }
  /* It has the image's locks, and minds signals, by then. */
  CHECK (child_ready (pid, sock, &status));
  return pid;
}

static void
qemu_nbd_stop (pid_t pid)
{
  int status;

  CHECK (child_stop (pid, SIGTERM, &status));
}

static void
test_we_meet_qemu (void)
{
  struct storage *a = open_image (), *b = open_image ();
  pid_t pid;

  pid = qemu_nbd_start (false);
  busy (a, false, WRITER, false);
  busy (a, true, WRITER, false);
  qemu_nbd_stop (pid);
  /* We hold nothing now, even though the file is still open. */
  CHECK (qemu_writes ());
  ok (a, true);
  storage_close (a);

  a = open_image ();
  pid = qemu_nbd_start (true);
  busy (a, true, READER, true);
  ok (a, false);
  ok (b, false);
  busy (a, true, READER, true);
  storage_close (b);
  busy (a, true, READER, true);
  qemu_nbd_stop (pid);
  ok (a, true);
  storage_close (a);
}

/* Locking, or failing to, is not writing. */
static void
test_unchanged (void)
{
  struct storage *a, *b;
  struct stat before, after;

  CHECK (stat (image, &before) == 0);
  a = open_image ();
  b = open_image ();
  ok (a, true);
  busy (b, true, WRITER, false);
  storage_close (a);
  storage_close (b);
  CHECK (stat (image, &after) == 0);
  CHECK (before.st_size == after.st_size);
  CHECK (before.st_mtim.tv_sec == after.st_mtim.tv_sec);
  CHECK (before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
}

int
main (void)
{
  int fd;

  tmpdir_make ();
  image = tmpdir_file ("i.vdi");
  fd = open (image, O_WRONLY | O_CREAT | O_EXCL, 0600);
  CHECK (fd >= 0);
  CHECK (write (fd, "x", 1) == 1 && close (fd) == 0);

  test_ourselves ();
  test_bytes ();
  test_whole_file ();
  test_read_only ();
  test_fork ();
  test_unchanged ();

  if (QEMU_IMG[0] == '\0' || QEMU_IO[0] == '\0' || QEMU_NBD[0] == '\0') {
    fprintf (stderr, "test-lock: only we met ourselves: QEMU's "
             "programs are not here\n");
    return TEST_SKIPPED;
  }
  CHECK (runs (QEMU_IMG " create -f vdi '%s' 4M", image));
  test_qemu_meets_us ();
  test_we_meet_qemu ();
  return 0;
}
