/* SPDX-License-Identifier: BSD-3-Clause */
/* A storage that has nothing but a block map, which is made up while it is
 * read, so that it may be as large as one likes.
 */
#ifndef VDI_MAP_FILE_H
#define VDI_MAP_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "image/header.h"
#include "storage/storage.h"

struct map_file {
  struct storage st;            /* first, so that one is the other */
  struct vdi_header h;
  uint32_t blocks;              /* that the file has room for */
  uint32_t (*entry) (uint32_t block);

  /* Bytes of the file that are not in a hole, nr times start and end;
   * nr 0 means all.
   */
  uint64_t stored[8][2];
  unsigned nr;
  bool knows_no_holes;          /* and so calls everything data */
  bool extent_fails;
  uint64_t fails_at;            /* reading this byte; 0: none */

  uint64_t bytes_read;
  unsigned asked;               /* for extents */
};

/* A map of n entries, in a file without holes. */
extern struct map_file map_file_make (uint32_t n, uint32_t map_off,
                                      uint32_t blocks,
                                      uint32_t (*entry) (uint32_t block));

/* What a reader of the file finds. */
extern uint32_t map_file_entry (const struct map_file *, uint32_t block);

#endif /* VDI_MAP_FILE_H */
