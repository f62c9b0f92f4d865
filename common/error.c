/* SPDX-License-Identifier: BSD-3-Clause */
/* What went wrong, for the program and for the person: see error.h. */
#include <config.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "error.h"
#include "text.h"

int
vdi_set_error (struct vdi_error *error, int err, const char *fs, ...)
{
  va_list args;

  va_start (args, fs);
  vsnprintf (error->message, sizeof error->message, fs, args);
  va_end (args);
  text_one_line (error->message);
  error->err = err;
  errno = err;
  return -1;
}

int
vdi_set_errno (struct vdi_error *error, int err, const char *fs, ...)
{
  va_list args;
  char text[128];
  size_t len;

  va_start (args, fs);
  vsnprintf (error->message, sizeof error->message, fs, args);
  va_end (args);
  text_one_line (error->message);
  len = strlen (error->message);
  /* The GNU version, which may return a string of its own. */
  snprintf (error->message + len, sizeof error->message - len, ": %s",
            strerror_r (err, text, sizeof text));
  error->err = err;
  errno = err;
  return -1;
}
