/* SPDX-License-Identifier: BSD-3-Clause */
/* Finding images by UUID: the parents of a child, and the children of an
 * image (design: a child stores its parent's UUID and no path,
 * vdi-format.md 6.2).
 *
 * Only headers are read, no locks are taken, nothing is changed.
 *
 * All look-ups of one purpose (opening a disk, finding one of a machine)
 * share a search, from search_init to search_free: its folders are read
 * once, and only when something has to be looked up.  Look-ups add folders
 * to it, and find what was seen in those of earlier ones, too.  Directories
 * are not descended into; the same file reached by two names counts once.
 */
#ifndef VDI_FIND_DISCOVER_H
#define VDI_FIND_DISCOVER_H

#include <stddef.h>

#include "find/search.h"
#include "image/header.h"
#include "utils/error.h"
#include "vdi.h"

/* Never look at more files than this (of likely names, and as many others)
 * in one search.
 */
#define DISCOVER_MAX_FILES 10000

/* Read and decode (but not validate) the header of a file.  EINVAL if it
 * is not a VDI image.  Never blocks on a FIFO or a device without medium.
 */
extern int discover_header (const char *filename, struct vdi_header *,
                            struct vdi_error *);

/* Find the file whose image UUID the image child, with that header, names
 * as its parent's.  Looks, in this order, at options->candidates; the
 * directory of child; the directory above it; the directory Snapshots in
 * child's directory; each of options->parent_dirs.  A match among the
 * candidates ends the search.  Files with other names than images usually
 * have are looked at only if none of those with such names has the UUID
 * and the modification UUID that the child asks for.
 *
 * Of several files with that UUID the one is taken that has that
 * modification UUID, too.  If several have, and are of the same length
 * with the same header, it is the one beside the child, or else the first.
 *
 * On success *filename is allocated with malloc.  *warning is, if there is
 * something to be said about the choice, else it is NULL: free it also
 * after a failure.
 * ENOENT: the error names child, UUID, and every place looked at.
 * EINVAL: there are several, and nothing to choose one by.
 */
extern int discover_parent (struct search *, const char *child,
                            const struct vdi_header *,
                            const struct vdi_options *, char **filename,
                            char **warning, struct vdi_error *);

/* Find the file whose image UUID is *uuid in some directories.  Returns 1
 * with *filename (malloc), 0 if there is none, -1 on error: EINVAL and
 * both names if there are two.
 */
extern int discover_image (struct search *, const char *const *dirs,
                           size_t nr_dirs, const struct vdi_uuid *uuid,
                           char **filename, struct vdi_error *);

/* Is there another file than filename with its UUID in the usual places
 * of a child of it?  Returns 1 with *twin (malloc), 0 if there is none, -1
 * on error (only ENOMEM).
 */
extern int discover_twin (struct search *, const char *child,
                          const char *filename, const struct vdi_uuid *,
                          char **twin, struct vdi_error *);

/* Is there an image whose parent is *uuid in the directory of filename,
 * in its Snapshots directory or in the directory above, or does a .vbox
 * file in one of them know a child of it?
 * Returns 1 with *child (malloc) naming it, 0 if none was found, -1 on
 * error (only ENOMEM; what cannot be read is passed over).
 */
extern int discover_child (struct search *, const char *filename,
                           const struct vdi_uuid *uuid, char **child,
                           struct vdi_error *);

/* The same for readers: what is the newest state of a disk of which
 * filename is an older one?  Looks at few files, of likely names only.
 * Returns 1 with *newer (malloc) saying what filename is and which images
 * stand on top of all, 0 if none was found, -1 on error (only ENOMEM).
 */
extern int discover_newer (struct search *, const char *filename,
                           const struct vdi_uuid *uuid, char **newer,
                           struct vdi_error *);

#endif /* VDI_FIND_DISCOVER_H */
