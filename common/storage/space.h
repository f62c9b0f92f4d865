/* SPDX-License-Identifier: BSD-3-Clause */
/* The space that ranges of a file or a block device take: giving it back,
 * taking it, and where there is none.  Part of storage/local.c, whose
 * operations of the same names (storage.h) these are.
 *
 * What the file system turns out not to support is remembered, so that it
 * is asked only once.  Thread-safe.
 */
#ifndef VDI_STORAGE_SPACE_H
#define VDI_STORAGE_SPACE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "storage/storage.h"

struct space {
  /* Constant. */
  struct storage *st;           /* whose space it is */
  int fd;
  unsigned sector;              /* bytes; 0 if it is no block device */

  /* Learned; any thread may clear one at any time. */
  _Atomic bool can_punch, can_zero, can_provision, can_extent;
};

/* -1 and errno if the sector size of a block device cannot be found out. */
extern int space_init (struct space *, struct storage *, int fd,
                       const struct stat *);

/* On a block device, too, the range reads as zeros after the first two. */
extern int space_punch (struct space *, uint64_t offset, uint64_t length);
extern int space_zero (struct space *, uint64_t offset, uint64_t length);
extern int space_provision (struct space *, uint64_t offset, uint64_t length);
extern int space_extent (struct space *, uint64_t offset, uint64_t limit,
                         bool *hole, uint64_t *end);

/* Offsets that the system has no number for cannot be asked about: EFBIG. */
extern bool space_in_range (uint64_t offset, uint64_t length);

#endif /* VDI_STORAGE_SPACE_H */
