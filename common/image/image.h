/* SPDX-License-Identifier: BSD-3-Clause */
/* One image: a file with a header and a block map.  What it is in a chain
 * of parents is disk.h's business, what reaches the file in which order
 * is commit.h's.
 *
 * Internal to the core; vdi.h is its public face.
 *
 * Invariants (image_check_invariants):
 *   A1  size <= n_blocks * block_size, but for an image that lacks its
 *       last block (header.h), which is never writable.
 *   A2  Everything that M1-M4 of blockmap.h say of the map.
 */
#ifndef VDI_IMAGE_H
#define VDI_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "image/blockmap.h"
#include "image/header.h"
#include "image/known.h"
#include "storage/storage.h"
#include "utils/error.h"

struct image {
  /* Constant after image_open. */
  struct storage *st;
  const char *name;             /* st->name */
  uint64_t size;                /* of the disk, bytes, a multiple of 512 */
  unsigned block_shift;         /* block_size = 1 << block_shift */
  bool missing_zero;            /* read PLACE_MISSING as zeros */

  /* Constant until the image is written to; then its count and modification
   * UUID, and the length, are as last written or set (bounds.h), and belong
   * to whoever has the turn.
   */
  struct vdi_header header;
  uint64_t file_length;         /* bytes */

  struct blockmap map;          /* see blockmap.h */
  struct known known;           /* has its own lock */
};

/* Read and decode, but not validate, the header, and tell how long the file
 * is.  EINVAL if it is not a VDI image.
 */
extern int image_read_header (struct storage *, struct vdi_header *,
                              uint64_t *length, struct vdi_error *);

/* Read header and map.  The image takes the storage over if this
 * succeeds.  Changes nothing, takes no lock.
 */
extern int image_open (struct storage *, bool missing_zero, struct image **,
                       struct vdi_error *);

/* Frees everything, writes nothing. */
extern void image_free (struct image *); /* or NULL */

/* What is at a place of the disk, as far as this image alone knows? */
enum place {
  PLACE_FREE,                   /* not here: the parent's, or zeros */
  PLACE_ZERO,                   /* zeros */
  PLACE_DATA,                   /* in the file at *file_offset */
  PLACE_MISSING,                /* should be in the file at *file_offset, but
                                 * that is beyond its end; or in the map */
};

/* Look at the start of a range that lies in one block (in_block and
 * *length in bytes).  *length may become shorter, where what is in the
 * file ends.
 */
extern enum place image_locate (const struct image *, uint32_t block,
                                uint32_t in_block, uint64_t *length,
                                uint64_t *file_offset);

/* Is the file at offset a hole or data, and up to where, at most limit?  As
 * storage_extent, and what is data is known from then on.
 */
extern int image_extent (struct image *, uint64_t offset, uint64_t limit,
                         bool *hole, uint64_t *end, struct vdi_error *);

/* Must it not be touched, whoever else has it?  EROFS or EINVAL, and what to
 * do instead.
 */
extern int image_may_be_written (const struct image *, struct vdi_error *);

/* limit: as blockmap_check_invariants. */
extern int image_check_invariants (const struct image *, uint32_t limit,
                                   struct vdi_error *);

#endif /* VDI_IMAGE_H */
