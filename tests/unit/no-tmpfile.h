/* SPDX-License-Identifier: BSD-3-Clause */
/* A file system without O_TMPFILE, and a system without /proc: the linker
 * puts this open in the system's place (-Wl,--wrap=open in Makefile.am).
 */
#ifndef VDI_NO_TMPFILE_H
#define VDI_NO_TMPFILE_H

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

static bool no_tmpfile, no_proc;

extern int __real_open (const char *name, int flags, ...);
extern int __wrap_open (const char *name, int flags, ...);

int
__wrap_open (const char *name, int flags, ...)
{
  va_list args;
  mode_t mode = 0;

  if (no_tmpfile && (flags & O_TMPFILE) == O_TMPFILE) {
    errno = EOPNOTSUPP;
    return -1;
  }
  if (no_proc && strncmp (name, "/proc/", 6) == 0) {
    errno = ENOENT;
    return -1;
  }
  if (flags & (O_CREAT | O_TMPFILE)) {
    va_start (args, flags);
    mode = va_arg (args, mode_t);
    va_end (args);
  }
  return __real_open (name, flags, mode);
}

#endif /* VDI_NO_TMPFILE_H */
