/* SPDX-License-Identifier: BSD-3-Clause */
/* create.c, into files: QEMU opens what was made, finds nothing wrong
 * with it and writes to it; children of every fixture read like their
 * parent and leave it alone; nothing is overwritten, and nothing is left
 * behind by a creation that failed.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "child.h"
#include "fixture.h"
#include "test.h"
#include "tmpdir.h"
#include "vdi.h"

#define MiB UINT64_C (0x100000)

/* The files that most tests use. */
static char *parent, *child;

static void
create_ok (const char *filename, const struct vdi_create_options *options)
{
  struct vdi_error error = { .err = 0 };

  if (vdi_create (filename, options, &error) == -1)
    fprintf (stderr, "%s\n", error.message);
  CHECK (error.err == 0);
}

static void
create_fails (const char *filename, const struct vdi_create_options *options,
              int err, const char *text)
{
  struct vdi_error error = { .err = 0 };

  CHECK (vdi_create (filename, options, &error) == -1);
  if (error.err != err || !strstr (error.message, text))
    fprintf (stderr, "\"%s\" expected in: %s\n", text, error.message);
  CHECK (error.err == err && strstr (error.message, text));
}

static bool
exists (const char *filename)
{
  return access (filename, F_OK) == 0;
}

/*------------------------------------------------------------------*/
/* QEMU */

static void
run (const char *fs, ...)
{
  char command[3 * PATH_MAX];
  va_list args;
  int r;

  va_start (args, fs);
  r = vsnprintf (command, sizeof command, fs, args);
  va_end (args);
  CHECK (r > 0 && (size_t) r < sizeof command);
  r = system (command);
  if (r != 0)
    fprintf (stderr, "failed: %s\n", command);
  CHECK (r == 0);
}

static void
test_qemu (enum vdi_type type, uint64_t size)
{
  const struct vdi_create_options options = {
    .type = type, .size = size, .comment = "made by a test", .lock = true,
  };
  char *filename = tmpdir_file ("qemu.vdi");
  struct stat st;

  create_ok (filename, &options);
  CHECK (stat (filename, &st) == 0);
  CHECK ((st.st_mode & 07777) == 0600);
  if (type == VDI_TYPE_FIXED)
    CHECK ((uint64_t) st.st_blocks * 512 >= size);
  else
    CHECK ((uint64_t) st.st_size < 3 * MiB + size / MiB * 4);

  run ("%s check -q -f vdi %s", QEMU_IMG, filename);
  run ("%s info -f vdi --output=json %s | grep -q "
       "'\"virtual-size\": %" PRIu64 ",'", QEMU_IMG, filename, size);
  run ("%s info -f vdi --output=json %s | grep -q "
       "'\"cluster-size\": 1048576,'", QEMU_IMG, filename);
  run ("%s -f vdi -c 'read -q -P 0 0 %" PRIu64 "' %s >/dev/null",
       QEMU_IO, size < 8 * MiB ? size : 8 * MiB, filename);
  run ("%s -f vdi -c 'write -q -P 7 %" PRIu64 " 512' "
       "-c 'read -q -P 7 %" PRIu64 " 512' %s >/dev/null",
       QEMU_IO, size - 512, size - 512, filename);
  run ("%s check -q -f vdi %s", QEMU_IMG, filename);
  CHECK (unlink (filename) == 0);
}

/*------------------------------------------------------------------*/
/* Children of every fixture */

static void
write_file (const char *filename, const uint8_t *bytes, size_t size)
{
  FILE *fp = fopen (filename, "w");

  CHECK (fp != NULL);
  CHECK (fwrite (bytes, 1, size, fp) == size);
  CHECK (fclose (fp) == 0);
}

static void
check_file (const char *filename, const uint8_t *bytes, size_t size,
            const struct stat *before)
{
  uint8_t *now = malloc (size + 1);
  FILE *fp = fopen (filename, "r");
  struct stat after;

  CHECK (now != NULL && fp != NULL);
  CHECK (fread (now, 1, size + 1, fp) == size);
  CHECK (memcmp (now, bytes, size) == 0);
  fclose (fp);
  free (now);
  CHECK (stat (filename, &after) == 0);
  CHECK (after.st_mtim.tv_sec == before->st_mtim.tv_sec);
  CHECK (after.st_mtim.tv_nsec == before->st_mtim.tv_nsec);
}

static uint8_t *
read_disk (const char *filename, uint64_t *size)
{
  struct vdi_options options;
  struct vdi_error error;
  struct vdi *vdi;
  uint8_t *data;
  int r;

  vdi_options_init (&options);
  r = vdi_open (filename, &options, &vdi, &error);
  if (r == -1)
    fprintf (stderr, "%s\n", error.message);
  CHECK (r == 0);
  *size = vdi_size (vdi);
  data = malloc (*size);
  CHECK (data != NULL);
  CHECK (vdi_read (vdi, data, *size, 0, &error) == 0);
  CHECK (vdi_close (vdi, &error) == 0);
  return data;
}

static void
test_fixture (char *column[FIXTURE_COLUMNS])
{
  struct vdi_create_options options = { .type = VDI_TYPE_DIFF,
                                        .lock = true };
  uint8_t *bytes, *wanted, *got;
  uint64_t wanted_size, got_size;
  struct stat before;
  size_t size;

  if (strchr (column[1], ' '))  /* a child itself */
    return;
  bytes = fixture_read (column[0], &size);
  write_file (parent, bytes, size);
  CHECK (stat (parent, &before) == 0);

  options.parent = parent;
  create_ok (child, &options);
  wanted = read_disk (parent, &wanted_size);
  got = read_disk (child, &got_size);
  CHECK (wanted_size == got_size);
  CHECK (memcmp (wanted, got, got_size) == 0);
  check_file (parent, bytes, size, &before);

  free (wanted);
  free (got);
  free (bytes);
  CHECK (unlink (parent) == 0 && unlink (child) == 0);
}

static void
test_bad_parents (void)
{
  static const char *const bad[][2] = {
    { "sig", "signature" }, { "version-2-0", "version" },
    { "uuid-create-0", "null" }, { "trunc-in-map", "cut short" },
    { "empty-file", "empty" }, { "cbblock-3m", "block size" },
  };
  struct vdi_create_options options = { .type = VDI_TYPE_DIFF,
                                        .lock = true };
  char name[64];
  uint8_t *bytes;
  size_t size, i;

  options.parent = parent;
  create_fails (child, &options, ENOENT, "parent.vdi");
  CHECK (!exists (child));
  for (i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
    snprintf (name, sizeof name, "bad/%s", bad[i][0]);
    bytes = fixture_read (name, &size);
    write_file (parent, bytes, size);
    free (bytes);
    create_fails (child, &options, EINVAL, bad[i][1]);
    CHECK (!exists (child));
  }
  CHECK (unlink (parent) == 0);
}

/* Somebody is writing to the parent: what would its child be of? */
static void
test_busy_parent (void)
{
  struct vdi_create_options options = { .type = VDI_TYPE_DYNAMIC,
                                        .size = MiB, .lock = true };
  struct vdi_error error;
  struct storage *st;

  create_ok (parent, &options);
  CHECK (storage_open_file (parent, true, &st, &error) == 0);
  CHECK (storage_lock (st, true, &error) == 0);
  options.type = VDI_TYPE_DIFF;
  options.parent = parent;
  create_fails (child, &options, EBUSY, "parent.vdi");
  CHECK (!exists (child));
  options.lock = false;
  create_ok (child, &options);
  storage_close (st);
  CHECK (unlink (parent) == 0 && unlink (child) == 0);
}

/*------------------------------------------------------------------*/
/* Failures */

static void
test_exists (void)
{
  struct vdi_create_options options = { .type = VDI_TYPE_DYNAMIC,
                                        .size = MiB, .lock = true };
  char *filename = tmpdir_file ("exists.vdi"), *link = tmpdir_file ("link");
  static const uint8_t precious[] = "precious";
  struct stat before;

  write_file (filename, precious, sizeof precious);
  CHECK (stat (filename, &before) == 0);
  create_fails (filename, &options, EEXIST, "exists.vdi: there is a file");
  check_file (filename, precious, sizeof precious, &before);

  /* A child of the same name as its parent. */
  options.type = VDI_TYPE_DIFF;
  options.parent = filename;
  create_fails (filename, &options, EINVAL, "exists.vdi");
  check_file (filename, precious, sizeof precious, &before);
  CHECK (unlink (filename) == 0);

  options.type = VDI_TYPE_DYNAMIC;
  options.parent = NULL;
  create_ok (filename, &options);
  options.type = VDI_TYPE_DIFF;
  options.parent = filename;
  create_fails (filename, &options, EEXIST, "exists.vdi: there is a file");
  CHECK (unlink (filename) == 0);

  /* Also through a link to nowhere, where nothing is created. */
  options.type = VDI_TYPE_DYNAMIC;
  options.parent = NULL;
  CHECK (symlink (filename, link) == 0);
  create_fails (link, &options, EEXIST, "link: there is a file");
  CHECK (!exists (filename));
  CHECK (unlink (link) == 0);

  create_fails ("/nonexistent/new.vdi", &options, ENOENT,
                "/nonexistent/new.vdi");
  options.size = 0;
  create_fails (filename, &options, EINVAL, "disk size");
  CHECK (!exists (filename));
}

/* As on a disk that is full: in a process whose files may not grow. */
static void
test_no_room (enum vdi_type type, uint64_t limit, const char *text)
{
  const struct vdi_create_options options = {
    .type = type, .size = 64 * MiB, .lock = true,
  };
  const struct rlimit rlimit = { .rlim_cur = limit, .rlim_max = limit };
  char *filename = tmpdir_file ("room.vdi");
  pid_t pid = fork ();
  int status;

  CHECK (pid != -1);
  if (pid == 0) {
    CHECK (signal (SIGXFSZ, SIG_DFL) != SIG_ERR);
    CHECK (setrlimit (RLIMIT_FSIZE, &rlimit) == 0);
    create_fails (filename, &options, EFBIG, text);
    CHECK (!exists (filename));
    _exit (0);
  }
  CHECK (child_wait (pid, &status));
  CHECK (WIFEXITED (status) && WEXITSTATUS (status) == 0);
}

int
main (void)
{
  tmpdir_make ();
  parent = tmpdir_file ("parent.vdi");
  child = tmpdir_file ("child.vdi");

  test_exists ();
  test_no_room (VDI_TYPE_DYNAMIC, MiB, "room.vdi: cannot set");
  test_no_room (VDI_TYPE_FIXED, MiB, "67108864 bytes, at once");
  test_no_room (VDI_TYPE_FIXED, 66 * MiB - 512, "67108864 bytes, at once");
  test_busy_parent ();
  CHECK (fixture_each ("manifest.tsv", test_fixture) >= 29);
  test_bad_parents ();

  if (system (QEMU_IMG " --version >/dev/null 2>&1") != 0 ||
      system (QEMU_IO " --version >/dev/null 2>&1") != 0) {
    fprintf (stderr, "skipped: there is no qemu-img or qemu-io\n");
    return TEST_SKIPPED;
  }
  test_qemu (VDI_TYPE_DYNAMIC, 512);
  test_qemu (VDI_TYPE_DYNAMIC, 3 * MiB + 512);
  test_qemu (VDI_TYPE_DYNAMIC, 129 * MiB);
  test_qemu (VDI_TYPE_DYNAMIC, 5 * MiB * MiB);
  test_qemu (VDI_TYPE_FIXED, 512);
  test_qemu (VDI_TYPE_FIXED, 3 * MiB + 512);
  test_qemu (VDI_TYPE_FIXED, 129 * MiB);
  return 0;
}
