/* SPDX-License-Identifier: BSD-3-Clause */
/* One image: see image.h. */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "image/image.h"
#include "image/other-format.h"
#include "utils/checked.h"

int
image_read_header (struct storage *st, struct vdi_header *header,
                   uint64_t *length, struct vdi_error *error)
{
  uint8_t bytes[VDI_HEADER_SIZE];
  const char *hint = NULL;
  size_t size;

  if (storage_size (st, length, error) == -1)
    return -1;
  size = MIN (*length, sizeof bytes);
  if (storage_read (st, bytes, size, 0, "header", error) == -1)
    return -1;
  if (vdi_header_decode (bytes, size, st->name, header, error) == 0)
    return 0;
  if (!vdi_header_has_signature (bytes, size) &&
      other_format (bytes, size) == NULL)
    hint = other_format_elsewhere (st, *length);
  if (hint != NULL)
    vdi_set_error (error, EINVAL, "%s: is not a VDI image: %s", st->name,
                   hint);
  return -1;
}

int
image_open (struct storage *st, bool missing_zero, struct image **image,
            struct vdi_error *error)
{
  struct image *img = calloc (1, sizeof *img);

  if (img == NULL)
    return vdi_set_errno (error, ENOMEM, "%s", st->name);
  img->st = st;
  img->name = st->name;
  img->missing_zero = missing_zero;
  if (image_read_header (st, &img->header, &img->file_length, error) == -1 ||
      vdi_header_validate (&img->header, st->name, img->file_length,
                           error) == -1 ||
      blockmap_load (&img->map, st, &img->header, img->file_length,
                     error) == -1) {
    free (img);
    return -1;
  }
  img->size = vdi_header_export_size (&img->header);
  img->block_shift = __builtin_ctz (img->header.block_size);
  known_init (&img->known, &img->header);
  *image = img;
  return 0;
}

void
image_free (struct image *img)
{
  if (img == NULL)
    return;
  known_free (&img->known);
  blockmap_free (&img->map);
  storage_close (img->st);
  free (img);
}

/* Only in a map that is not sound can a block lie outside the file, and
 * such an image is never written to: file_length is still true.
 */
static enum place
clip_to_file (const struct image *img, uint64_t *length, uint64_t offset)
{
  if (offset >= img->file_length)
    return PLACE_MISSING;
  *length = MIN (*length, img->file_length - offset);
  return PLACE_DATA;
}

enum place
image_locate (const struct image *img, uint32_t block, uint32_t in_block,
              uint64_t *length, uint64_t *file_offset)
{
  uint32_t entry;

  if (block >= img->header.n_blocks) { /* the map lacks the last one */
    *file_offset = img->file_length;
    return PLACE_MISSING;
  }
  entry = blockmap_get (&img->map, block);
  if (entry == VDI_FREE)
    return PLACE_FREE;
  if (entry == VDI_ZERO)
    return PLACE_ZERO;
  /* Cannot overflow: index and stride have 32 and 33 bits. */
  *file_offset = vdi_block_offset (&img->header, entry) + in_block;
  if (!img->map.sound)
    return clip_to_file (img, length, *file_offset);
  return PLACE_DATA;
}

int
image_extent (struct image *img, uint64_t offset, uint64_t limit, bool *hole,
              uint64_t *end, struct vdi_error *error)
{
  const uint64_t when = known_when (&img->known);

  if (storage_extent (img->st, offset, limit, hole, end, error) == -1)
    return -1;
  if (!*hole)
    known_learn (&img->known, offset, *end, when);
  return 0;
}

int
image_may_be_written (const struct image *img, struct vdi_error *error)
{
  if (vdi_header_lacks_last_block (&img->header))
    return vdi_set_error (error, EROFS, "%s: there is no place for the last "
                          "block in its block map, so it cannot be written to: "
                          "copy the disk to a new image, with missing=zero",
                          img->name);
  if (!img->map.sound)
    return vdi_set_error (error, EINVAL, "%s: the block map is damaged, so "
                          "the image cannot be written to: %s; use nbdkit -r "
                          "to read what is there and copy it to a new image",
                          img->name, img->map.damage);
  /* An entry across two sectors may be torn by a crash. */
  if (img->header.map_off % 4 != 0)
    return vdi_set_error (error, EINVAL, "%s: the block map begins at byte "
                          "%" PRIu32 ", which is no multiple of 4, so its "
                          "entries cannot be changed safely; use nbdkit -r "
                          "and copy the disk to a new image",
                          img->name, img->header.map_off);
  return 0;
}

int
image_check_invariants (const struct image *img, uint32_t limit,
                        struct vdi_error *error)
{
  if ((img->size - 1) >> img->block_shift >= img->header.n_blocks &&
      img->size != 0 && !vdi_header_lacks_last_block (&img->header))
    return vdi_set_error (error, EIO, "%s: A1: %" PRIu64 " bytes in %"
                          PRIu32 " blocks", img->name, img->size,
                          img->header.n_blocks);
  return blockmap_check_invariants (&img->map, limit, img->name, error);
}
