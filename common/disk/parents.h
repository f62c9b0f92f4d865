/* SPDX-License-Identifier: BSD-3-Clause */
/* Which images a disk stands on, and which stand on it (vdi-format.md 6.2):
 * the questions that disk.c asks while it puts images under each other.
 * The child is always the image at the bottom so far.
 */
#ifndef VDI_DISK_PARENTS_H
#define VDI_DISK_PARENTS_H

#include <stdbool.h>

#include "disk/disk.h"
#include "find/search.h"

/* Does the child stand on a parent? */
extern bool parents_wanted (const struct vdi *);

/* A chain may not be endless; each image has a parent or not for good. */
extern int parents_check_link (const struct vdi *, struct vdi_error *);

/* May this image be the child's parent?  Warns of what is odd. */
extern int parents_check (struct vdi *, const struct image *parent,
                          const struct vdi_options *, struct vdi_error *);

/* The file name (malloc) of the child's parent: as given, or searched for.
 */
extern int parents_next (const struct vdi *, const struct vdi_options *,
                         struct search *, char **filename,
                         struct vdi_error *);

/* Warn if the disk is not the newest state of what it is. */
extern int parents_warn_if_newer (const struct vdi *, struct search *,
                                  struct vdi_error *);

#endif /* VDI_DISK_PARENTS_H */
