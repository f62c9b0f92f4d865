/* SPDX-License-Identifier: BSD-3-Clause */
/* The disk that is served: the one image, with its parents, that all
 * connections share.  Sharing it is what makes multi-conn truthful: a
 * flush on one connection covers what all of them wrote.
 *
 * Calling sequence:
 *   disk_start           in .get_ready, alone: opens for reading
 *   disk_connect         in .open
 *   disk_vdi and so on   any number of times, from any thread
 *   disk_stop            in .cleanup, alone; may be called again
 *
 * All functions that can fail have called nbdkit_error and return -1.
 */
#ifndef DISK_H
#define DISK_H

#include <stdbool.h>

#include "options.h"
#include "vdi.h"

/* Create the image if that is asked for, and open it.  Changes no image
 * that existed before.  If it fails, no new image is left behind.
 */
extern int disk_start (const struct options *);

/* A new connection.  Returns 1 if it may write, 0 if it may not, -1 if
 * it must not be.  Gets the image ready for writing the first time that
 * somebody may want to write.
 */
extern int disk_connect (bool readonly);

/* Valid from disk_start until disk_stop. */
extern struct vdi *disk_vdi (void);

/* The machine, snapshot and disk for people, as machine= found them;
 * NULL without machine=.
 */
extern const char *disk_of_machine (void);

/* Finish what was written and close. */
extern void disk_stop (void);

#endif /* DISK_H */
