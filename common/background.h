/* SPDX-License-Identifier: BSD-3-Clause */
/* The thread that makes the reserve larger before somebody has to wait for
 * it, commits what is deferred, and gives the reserve back when nothing
 * happens, once something has been written; and looks for other programs that
 * open the image, as soon as something may be written.
 */
#ifndef VDI_BACKGROUND_H
#define VDI_BACKGROUND_H

#include "error.h"

struct vdi;
struct background;

/* Start it if it is wanted and not there yet.  With vdi->writable_lock. */
extern void background_want (struct vdi *);

/* Errors as pthread_create. */
extern int background_start (struct vdi *, struct background **,
                             struct vdi_error *);
/* Refill the reserve soon.  Thread-safe; opaque is the background. */
extern void background_wake (void *opaque);

/* Returns when the thread has ended.  NULL is allowed. */
extern void background_stop (struct background *);

#endif /* VDI_BACKGROUND_H */
