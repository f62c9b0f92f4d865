/* SPDX-License-Identifier: BSD-3-Clause */
/* The parameters on nbdkit's command line.
 *
 * Calling sequence: options_set for each key=value, in any order, then
 * options_complete; after that the struct is only read.  All functions
 * call nbdkit_error and return -1 on failure.  Nothing but names of files
 * is looked at on the disk, and nothing is changed there.
 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vdi.h"

/* The lines for nbdkit vdi --help. */
#define OPTIONS_HELP \
  "[file=]<FILENAME>   The VirtualBox disk image (.vdi) to serve.\n" \
  "block-size=<SIZE>   With create: size of a block (default 1M).\n" \
  "comment=<TEXT>      With create: a comment, at most 255 bytes.\n" \
  "commit=<SECONDS>    Save pending changes this often (default 5).\n" \
  "create=<KIND>       Create the image first (dynamic, fixed, diff).\n" \
  "disk=<DISK>         With machine: which disk (N, CONTROLLER:PORT).\n" \
  "fadvise=<LEVEL>     Set fadvise hint (normal, random, sequential).\n" \
  "lock=<BOOL>         Lock the image as QEMU does, and notice programs that\n" \
  "                    do not (default true).\n" \
  "machine=<FILENAME>  Serve a disk of this machine (.vbox) instead.\n" \
  "missing=<MODE>      What lost blocks read as (error, zero).\n" \
  "parent=<FILENAME>   Parent of a differencing image, nearest first.\n" \
  "parent-check=<HOW>  What parents that are given must have (uuid, size).\n" \
  "parent-dir=<DIR>    Look for parents in this directory, too.\n" \
  "size=<SIZE>         With create: size of the disk.\n" \
  "snapshot=<NAME>     With machine: the disk at this snapshot.\n" \
  "uuid=<UUID>         With create: UUID of the image (default: new).\n"

/* A list of names, owned by it. */
struct names {
  char **name;
  size_t nr;
};

struct options {
  char *file;                   /* absolute; NULL if machine is given */
  char *machine;                /* absolute; NULL if file is given */
  const char *snapshot;         /* NULL: the current state */
  const char *disk;             /* NULL: the only or first one */

  struct names parents;         /* absolute, nearest first */
  struct names parent_dirs;     /* absolute */
  bool parent_by_size;          /* take parents whose UUIDs are wrong */

  bool create;
  enum vdi_type type;           /* the rest is for create only */
  uint64_t size;                /* bytes; 0 if not given */
  uint32_t block_size;          /* bytes; 0 if not given */
  bool uuid_given;
  struct vdi_uuid uuid;
  const char *comment;          /* NULL if not given */

  bool lock;
  bool missing_zero;
  unsigned commit_seconds;
  enum storage_advice advice;

  uint32_t given;               /* bit per parameter, private to options.c */
};

extern void options_init (struct options *);
extern int options_set (struct options *, const char *key, const char *value);
extern int options_complete (const struct options *);
extern void options_free (struct options *);

#endif /* OPTIONS_H */
