/* SPDX-License-Identifier: BSD-3-Clause */
/* Looking at the headers of many files: the means of discover.c.
 *
 * A search is a list of folders (directories), a budget of files to look
 * at, and a table of the images that were seen.  Each folder is read once,
 * when something is to be looked up, and never before.  Files are visited
 * in an order that depends on their names only, so that the same
 * directories always give the same answer.
 *
 * Names that images usually have come first, in all folders, and have a
 * budget of their own: a few thousand other files take nothing away.
 *
 * Calling sequence: search_init; search_add_*, search_read,
 * search_visit_machines and look-ups in seen in any order; search_describe;
 * search_free.  A search belongs to one thread.
 */
#ifndef VDI_FIND_SEARCH_H
#define VDI_FIND_SEARCH_H

#include <stdbool.h>
#include <stddef.h>

#include "find/sightings.h"
#include "image/header.h"
#include "utils/error.h"

enum name_kind {
  LIKELY_NAMES,                 /* *.vdi, {UUID}* and UUID*, in any case */
  OTHER_NAMES,                  /* all the rest */
  MACHINE_NAMES,                /* *.vbox */
  NR_NAMES
};

#define NO_FOLDER SIZE_MAX

struct folder {
  char *dir;
  bool exists;
  struct file_id id;            /* if it exists */
  int err;                      /* why it could not be looked at, or 0 */
  bool was_read[NR_NAMES];
};

struct search {
  struct folder *folders;
  size_t nr_folders;
  struct sightings seen;        /* folder: an index of folders, or
                                 * NO_FOLDER */
  size_t max_files, files_left[NR_NAMES];
  size_t nr_candidates_seen;    /* by discover.c, of its options' */
  bool cut_short;               /* there were more */
  size_t nr_unreadable;         /* files that may be what is wanted */
  size_t unreadable;            /* the number in seen of the first */
  int unreadable_err;
};

/* Returns 0 to go on, 1 to end the visit, -1 and sets *error. */
typedef int (*name_fn) (void *opaque, const char *filename,
                        struct vdi_error *);

/* At most max_files files of likely names, and as many others. */
extern void search_init (struct search *, size_t max_files);
extern void search_free (struct search *);

/* All of these fail only for want of memory. */

/* Add a directory, unless it is there already under any name. */
extern int search_add_folder (struct search *, const char *dir,
                              struct vdi_error *);

/* Add the usual folders for relatives of a file: its directory, the one
 * above, and Snapshots in its directory.  *own is the number of the folder
 * where the file itself is.
 */
extern int search_add_usual_folders (struct search *, const char *filename,
                                     size_t *own, struct vdi_error *);

/* Look at one file, which may be a block device. */
extern int search_add_file (struct search *, const char *filename,
                            struct vdi_error *);

/* Look at the files of likely or other names in all folders that have not
 * been read yet.
 */
extern int search_read (struct search *, enum name_kind, struct vdi_error *);

/* Call fn for up to max machine files in all folders.  Returns what fn does
 * last.
 */
extern int search_visit_machines (struct search *, size_t max, name_fn fn,
                                  void *opaque, struct vdi_error *);

/* May what was not found be there all the same: in something that could
 * not be read, or among what was too much?
 */
extern bool search_missed_something (const struct search *);

/* Where was searched, for a message:
 * "/vm, /, /vm/Snapshots (No such file or directory)".
 */
extern void search_describe (const struct search *, char *text, size_t size);

/* The start of a file, as far as its header may go. */
struct file_start {
  struct file_id id;            /* all zero if it cannot be found out */
  uint64_t length;              /* of the file, bytes; 0 of a device */
  uint8_t bytes[VDI_HEADER_SIZE];
  size_t size;                  /* how many there are */
};

/* Never waits, as opening or reading a FIFO or a terminal would, nor for who
 * has a lease on the file: EAGAIN.
 */
extern int file_start_read (const char *filename, bool allow_device,
                            struct file_start *, struct vdi_error *);

#endif /* VDI_FIND_SEARCH_H */
