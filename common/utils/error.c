/* SPDX-License-Identifier: BSD-3-Clause */
/* What went wrong, for the program and for the person: see error.h. */
#include <config.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "utils/error.h"
#include "utils/text.h"

static void __attribute__ ((format (printf, 3, 0)))
set (struct vdi_error *error, int err, const char *fs, va_list args)
{
  vsnprintf (error->message, sizeof error->message, fs, args);
  text_one_line (error->message);
  error->err = errno = err;
}

int
vdi_set_error (struct vdi_error *error, int err, const char *fs, ...)
{
  va_list args;

  va_start (args, fs);
  set (error, err, fs, args);
  va_end (args);
  return -1;
}

int
vdi_set_errno (struct vdi_error *error, int err, const char *fs, ...)
{
  va_list args;

  va_start (args, fs);
  set (error, err, fs, args);
  va_end (args);
  text_append (error->message, sizeof error->message, ": %m");
  errno = err;
  return -1;
}
