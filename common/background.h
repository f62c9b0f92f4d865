/* SPDX-License-Identifier: BSD-3-Clause */
/* The thread that commits what is deferred and gives the reserve back
 * after a quiet second, once something has been written.
 */
#ifndef VDI_BACKGROUND_H
#define VDI_BACKGROUND_H

#include "error.h"

struct vdi;
struct background;

/* Errors as pthread_create. */
extern int background_start (struct vdi *, struct background **,
                             struct vdi_error *);
/* Returns when the thread has ended.  NULL is allowed. */
extern void background_stop (struct background *);

#endif /* VDI_BACKGROUND_H */
