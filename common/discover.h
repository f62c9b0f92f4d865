/* SPDX-License-Identifier: BSD-3-Clause */
/* Finding images by UUID: the parents of a child, and the children of an
 * image (design: a child stores its parent's UUID and no path,
 * vdi-format.md 6.2).
 *
 * Only headers are read, no locks are taken, nothing is changed.
 */
#ifndef VDI_DISCOVER_H
#define VDI_DISCOVER_H

#include <stdbool.h>
#include <stddef.h>

#include "error.h"
#include "format.h"
#include "vdi.h"

/* Never look at more files than this in one search. */
#define DISCOVER_MAX_FILES 10000

/* Read and decode (but not validate) the header of a file.  EINVAL if it
 * is not a VDI image.  Never blocks on a FIFO or a device without medium.
 */
extern int discover_header (const char *filename, struct vdi_header *,
                            struct vdi_error *);

/* Find the file whose image UUID is *uuid, wanted by the image child.
 * Looks, in this order, at options->candidates; the directory of child;
 * the directory above it; the directory Snapshots in child's directory;
 * each of options->parent_dirs.  Directories are not descended into; the
 * same file reached by two names counts once.  All places are looked at:
 * two different files with that UUID are an error (EINVAL) naming both,
 * except that a match among the candidates ends the search.
 * On success *filename is allocated with malloc.
 * ENOENT: the error names child, UUID, and every place looked at.
 */
extern int discover_parent (const char *child, const struct vdi_uuid *uuid,
                            const struct vdi_options *options,
                            char **filename, struct vdi_error *);

/* Find the file whose image UUID is *uuid in some directories.  Returns 1
 * with *filename (malloc), 0 if there is none, -1 on error: EINVAL and
 * both names if there are two.
 */
extern int discover_image (const char *const *dirs, size_t nr_dirs,
                           const struct vdi_uuid *uuid, char **filename,
                           struct vdi_error *);

/* Is there an image whose parent is *uuid in the directory of filename,
 * in its Snapshots directory or in the directory above, or does a .vbox
 * file beside it (or in the directory above) know a child of it?
 * Returns 1 with *child (malloc) naming it, 0 if none was found, -1 on
 * error (only ENOMEM; what cannot be read is passed over).
 */
extern int discover_child (const char *filename, const struct vdi_uuid *uuid,
                           char **child, struct vdi_error *);

#endif /* VDI_DISCOVER_H */
