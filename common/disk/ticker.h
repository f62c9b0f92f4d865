/* SPDX-License-Identifier: BSD-3-Clause */
/* The thread that makes the reserve larger before somebody has to wait for
 * it, commits what is deferred, and gives the reserve back when nothing
 * happens, once something has been written; and looks for other programs that
 * open the image, as soon as something may be written.
 */
#ifndef VDI_DISK_TICKER_H
#define VDI_DISK_TICKER_H

#include "utils/error.h"

struct vdi;
struct ticker;

/* Start it if it is wanted and not there yet.  With vdi->writable_lock. */
extern void ticker_want (struct vdi *);

/* Errors as pthread_create. */
extern int ticker_start (struct vdi *, struct ticker **, struct vdi_error *);
/* Refill the reserve soon.  Thread-safe; opaque is the ticker. */
extern void ticker_wake (void *opaque);

/* Returns when the thread has ended.  NULL is allowed. */
extern void ticker_stop (struct ticker *);

#endif /* VDI_DISK_TICKER_H */
