/* SPDX-License-Identifier: BSD-3-Clause */
/* What the core has to say beside its errors: see listener.h. */
#include <config.h>

#include <stdarg.h>
#include <stdio.h>

#include "error.h"
#include "listener.h"

static void
say (void (*fn) (void *, const char *), void *opaque, const char *fs,
     va_list args)
{
  char message[VDI_ERROR_MAX + 256];

  if (fn == NULL)
    return;
  vsnprintf (message, sizeof message, fs, args);
  fn (opaque, vdi_one_line (message));
}

void
vdi_warn (const struct vdi_listener *l, const char *fs, ...)
{
  va_list args;

  va_start (args, fs);
  say (l->warn, l->opaque, fs, args);
  va_end (args);
}

void
vdi_debug (const struct vdi_listener *l, const char *fs, ...)
{
  va_list args;

  va_start (args, fs);
  say (l->debug, l->opaque, fs, args);
  va_end (args);
}
