/* SPDX-License-Identifier: BSD-3-Clause */
/* Where the images of a machine really are: the locations in a machine
 * file may be relative, of a Windows host, or out of date.
 */
#ifndef VDI_FIND_MACHINE_FILES_H
#define VDI_FIND_MACHINE_FILES_H

#include <stddef.h>

#include "find/search.h"
#include "utils/error.h"
#include "vbox/machine.h"

/* The directories of a machine, all absolute. */
struct machine_folders {
  const char *vbox;             /* the machine file, for messages */
  char *home;                   /* where the .vbox file really is */
  char *snapshots;              /* what its snapshotFolder names */
  char *usual;                  /* Snapshots in home */
  const char **dirs;            /* these three, and what was given */
  size_t nr_dirs;
  struct search *search;        /* for all that is looked for */
};

/* dirs: others to look in.  vbox and these must live as long as the
 * result.  If this fails, machine_folders_free it, too.
 */
extern int machine_folders_init (struct machine_folders *, const char *vbox,
                                 const struct machine *,
                                 const char *const *dirs, size_t nr_dirs,
                                 struct vdi_error *);
extern void machine_folders_free (struct machine_folders *);

/* The absolute name (malloc) that a location means, whatever is there.
 * NULL without memory.
 */
extern char *machine_location (const struct machine_folders *,
                               const char *location);

/* Find the file that holds an image: image is its index in the registry,
 * or MACHINE_NONE if the registry does not know the UUID.  Places:
 * location, the file name of location in the directories of the machine
 * and the others, and, by UUID, all files there.  *filename is absolute
 * (malloc).  *moved (malloc) says why it is not at its location, NULL if
 * it is.
 * ENOENT if it is nowhere, EINVAL if it is there twice.
 */
extern int machine_find_file (const struct machine_folders *,
                              const struct machine *, size_t image,
                              const struct vdi_uuid *,
                              char **filename, char **moved,
                              struct vdi_error *);

#endif /* VDI_FIND_MACHINE_FILES_H */
