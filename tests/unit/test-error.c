/* SPDX-License-Identifier: BSD-3-Clause */
/* error.c: messages that are too long are cut, not overrun, and errno
 * follows err.
 */
#include <config.h>

#include <errno.h>
#include <string.h>

#include "test.h"
#include "utils/error.h"

static void
test_cut (void)
{
  struct vdi_error error;
  char big[2 * VDI_ERROR_MAX];

  memset (big, 'x', sizeof big - 1);
  big[sizeof big - 1] = '\0';

  CHECK (vdi_set_error (&error, EIO, "%s", big) == -1);
  CHECK (strlen (error.message) == VDI_ERROR_MAX - 1);
  CHECK (vdi_set_errno (&error, EIO, "%s", big) == -1);
  CHECK (strlen (error.message) == VDI_ERROR_MAX - 1);

  /* One byte is left for the system's text. */
  big[VDI_ERROR_MAX - 2] = '\0';
  CHECK (vdi_set_errno (&error, EIO, "%s", big) == -1);
  CHECK (strlen (error.message) == VDI_ERROR_MAX - 1);
  CHECK (error.message[VDI_ERROR_MAX - 2] == ':');
}

static void
test_text (void)
{
  struct vdi_error error;

  errno = 0;
  CHECK (vdi_set_error (&error, EROFS, "%s: %d", "a.vdi", 7) == -1);
  CHECK (error.err == EROFS);
  CHECK (errno == EROFS);
  CHECK (strcmp (error.message, "a.vdi: 7") == 0);

  CHECK (vdi_set_errno (&error, ENOENT, "%s: open", "a.vdi") == -1);
  CHECK (error.err == ENOENT);
  CHECK (errno == ENOENT);
  CHECK (strcmp (error.message, "a.vdi: open: No such file or directory")
         == 0);
}

/* A file may be named anything, and a message is one line. */
static void
test_one_line (void)
{
  struct vdi_error error;

  vdi_set_error (&error, EIO, "%s: read", "a\nb\033[2J\177.vdi");
  CHECK (strcmp (error.message, "a?b?[2J?.vdi: read") == 0);
  vdi_set_errno (&error, ENOENT, "%s", "\xc3\xa4\r.vdi");
  CHECK (strcmp (error.message, "\xc3\xa4?.vdi: No such file or directory")
         == 0);
}

int
main (void)
{
  test_cut ();
  test_text ();
  test_one_line ();
  return 0;
}
