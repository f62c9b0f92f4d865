/* SPDX-License-Identifier: BSD-3-Clause */
/* create.c, while other programs are about: what they make of the name, or
 * have in the file, stays, and nothing else is left behind by a creation that
 * failed.  With and without O_TMPFILE.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "child.h"
#include "no-tmpfile.h"
#include "test.h"
#include "tmpdir.h"
#include "vdi.h"

#define MiB UINT64_C (0x100000)

static char *name, *other;

/*------------------------------------------------------------------*/
/* The system: meets_... runs when the file gets its size, which then fails
 * with size_err unless that is 0, or its name.
 */
static int size_err;
static void (*meets_size) (void), (*meets_name) (void);

extern int __real_ftruncate (int fd, off_t size);
extern int __wrap_ftruncate (int fd, off_t size);
extern int __real_linkat (int from, const char *old, int to, const char *new,
                          int flags);
extern int __wrap_linkat (int from, const char *old, int to, const char *new,
                          int flags);

int
__wrap_ftruncate (int fd, off_t size)
{
  if (meets_size != NULL)
    meets_size ();
  errno = size_err;
  return size_err != 0 ? -1 : __real_ftruncate (fd, size);
}

int
__wrap_linkat (int from, const char *old, int to, const char *new, int flags)
{
  if (meets_name != NULL)
    meets_name ();
  return __real_linkat (from, old, to, new, flags);
}

/*------------------------------------------------------------------*/
/* The other program */

static pid_t pid;
static int pipefd[2];

static void
makes_another (void)
{
  FILE *fp = fopen (other, "w");

  CHECK (fp != NULL);
  CHECK (fputs ("precious", fp) >= 0);
  CHECK (fclose (fp) == 0);
  CHECK (rename (other, name) == 0);
}

/* As a program does that knows nothing of locks. */
static void
writes_into_it (void)
{
  char c;

  CHECK (pipe (pipefd) == 0);
  pid = fork ();
  CHECK (pid != -1);
  if (pid == 0) {
    /* Not what it has inherited: only what it opens itself. */
    for (int fd = 3; fd < 64; fd++)
      if (fd != pipefd[1])
        close (fd);
    int fd = __real_open (name, O_RDWR);

    if (fd == -1 || write (fd, "precious", 8) != 8 || fsync (fd) == -1 ||
        write (pipefd[1], "x", 1) != 1)
      _exit (1);
    for (;;)
      pause ();
  }
  close (pipefd[1]);
  CHECK (read (pipefd[0], &c, 1) == 1);
  close (pipefd[0]);
}

/*------------------------------------------------------------------*/

static void
reset (void)
{
  meets_size = meets_name = NULL;
  size_err = 0;
}

static void
fails (int err, const char *text)
{
  const struct vdi_create_options options = {
    .type = VDI_TYPE_DYNAMIC, .size = MiB, .lock = true,
  };
  struct vdi *const untouched = (struct vdi *) &options;
  struct vdi *vdi = untouched;
  struct vdi_options open_options;
  struct vdi_error error = { .err = 0 };

  vdi_options_init (&open_options);
  CHECK (vdi_create_open (name, &options, &open_options, &vdi, &error) == -1);
  if (error.err != err || strstr (error.message, text) == NULL)
    fprintf (stderr, "\"%s\" expected in: %s\n", text, error.message);
  CHECK (error.err == err && strstr (error.message, text) != NULL);
  CHECK (vdi == untouched);
  reset ();
}

static bool
exists (const char *filename)
{
  struct stat sb;

  return lstat (filename, &sb) == 0;
}

static void
precious_is_there (void)
{
  char buf[16] = "";
  FILE *fp = fopen (name, "r");

  CHECK (fp != NULL);
  CHECK (fgets (buf, sizeof buf, fp) != NULL);
  fclose (fp);
  CHECK (strcmp (buf, "precious") == 0);
  CHECK (unlink (name) == 0);
}

static void
test_another (void)
{
  if (no_tmpfile)
    meets_size = makes_another;
  else
    meets_name = makes_another;
  fails (EEXIST, "image.vdi: there is a file of this name");
  precious_is_there ();

  /* And when it has failed for another reason by then. */
  meets_size = makes_another;
  size_err = ENOSPC;
  fails (ENOSPC, "image.vdi: cannot set");
  precious_is_there ();
}

static void
test_written_into (void)
{
  int status;

  meets_size = writes_into_it;
  size_err = ENOSPC;
  fails (ENOSPC, "is not removed, as another program has it open (test-");
  CHECK (kill (pid, SIGKILL) == 0);
  CHECK (child_wait (pid, &status));
  precious_is_there ();
}

static void
test_nothing_left (void)
{
  size_err = ENOSPC;
  fails (ENOSPC, "image.vdi: cannot set");
  CHECK (!exists (name));
  size_err = EPERM;
  fails (EPERM, "does not let a file grow");
  CHECK (!exists (name));
}

int
main (void)
{
  tmpdir_make ();
  name = tmpdir_file ("image.vdi");
  other = tmpdir_file ("other");

  for (int i = 0; i < 2; i++) {
    no_tmpfile = i == 1;
    test_nothing_left ();
    test_another ();
  }
  test_written_into ();
  return 0;
}
