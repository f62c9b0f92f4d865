/* SPDX-License-Identifier: BSD-3-Clause */
/* Who listens to what the core has to say beside its errors: the person who
 * opened the image (warn), and the one who debugs (debug).
 *
 * Both functions are called with one line, may be called from any thread and
 * with locks held, so that they should not take long, and must not call back
 * into the core.  NULL: nobody wants to know.  A debug
 * message begins with its topic and a colon, so that it can be asked for
 * alone: "chain: " (looking for parents), "commit: " (when metadata reaches
 * the file), "lease: " (other programs that have the image open).
 */
#ifndef VDI_LISTENER_H
#define VDI_LISTENER_H

#include "utils/text.h"

struct vdi_listener {
  void (*warn) (void *opaque, const char *message);
  void (*debug) (void *opaque, const char *message);
  void *opaque;
};

/* listener, format, ...: a listener is never NULL. */
#define vdi_warn(l, ...)  text_say ((l)->warn, (l)->opaque, __VA_ARGS__)
#define vdi_debug(l, ...) text_say ((l)->debug, (l)->opaque, __VA_ARGS__)

#endif /* VDI_LISTENER_H */
