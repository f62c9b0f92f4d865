/* SPDX-License-Identifier: BSD-3-Clause */
/* Looking at the headers of many files: the means of discover.c.
 *
 * A search is a list of places (directories) and a budget of files to
 * look at.  Files are visited in an order that depends on their names
 * only, so that the same directory always gives the same answer.
 *
 * Calling sequence: search_init, search_add_*, search_look_at and
 * search_visit in any order, search_describe, search_free.
 * A search belongs to one thread.
 */
#ifndef VDI_SEARCH_H
#define VDI_SEARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "error.h"
#include "format.h"

struct place {
  char *dir;
  bool exists;
  dev_t dev;                    /* if it exists */
  ino_t ino;
  int err;                      /* why it could not be looked at, or 0 */
};

struct search {
  struct place *places;
  size_t nr_places;
  size_t max_files, files_left;
  bool cut_short;               /* there were more */
  size_t nr_unreadable;         /* files that may be what is wanted */
  char *unreadable;             /* the first of them */
  int unreadable_err;
};

/* A file that turned out to be an image. */
struct sighting {
  const char *filename;
  dev_t dev;
  ino_t ino;
  struct vdi_header header;
};

/* Returns 0 to go on, 1 to end the search, -1 and sets *error. */
typedef int (*sighting_fn) (void *opaque, const struct sighting *,
                            struct vdi_error *);
typedef int (*name_fn) (void *opaque, const char *filename,
                        struct vdi_error *);

extern void search_init (struct search *, size_t max_files);
extern void search_free (struct search *);

/* Add a directory, unless it is there already under any name. */
extern int search_add_place (struct search *, const char *dir,
                             struct vdi_error *);

/* Add the usual places for relatives of a file: its directory, the one
 * above, and Snapshots in its directory.
 */
extern int search_add_usual_places (struct search *, const char *filename,
                                    struct vdi_error *);

/* Look at one file, which may be a block device.  Returns what fn does;
 * 0 if the file is no image.
 */
extern int search_look_at (struct search *, const char *filename,
                           sighting_fn fn, void *opaque, struct vdi_error *);

/* Look at all files in all places, or call fn for all that may be files
 * and whose names end in suffix, in upper or lower case.  Returns what fn
 * does last.
 */
extern int search_visit (struct search *, sighting_fn fn, void *opaque,
                         struct vdi_error *);
extern int search_visit_names (struct search *, const char *suffix,
                               name_fn fn, void *opaque, struct vdi_error *);

/* Where was searched, for a message:
 * "/vm, /, /vm/Snapshots (No such file or directory)".
 */
extern void search_describe (const struct search *, char *text, size_t size);

/* Read and decode the header of one file.  Never waits, as opening or
 * reading a FIFO or a terminal would.
 */
extern int sighting_read (const char *filename, bool allow_device,
                          struct sighting *, struct vdi_error *);

/* Append to a text of bounded size; what does not fit is left out. */
extern void text_append (char *text, size_t size, const char *fs, ...)
  __attribute__ ((format (printf, 3, 4)));

#endif /* VDI_SEARCH_H */
