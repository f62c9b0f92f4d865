/* SPDX-License-Identifier: BSD-3-Clause */
/* The header of a VDI image, as bytes and as a struct: see header.h. */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "image/header.h"
#include "image/other-format.h"
#include "utils/bytes.h"
#include "utils/checked.h"
#include "utils/error.h"
#include "utils/uuid.h"

/* The pre-header (vdi-format.md 1.1). */
#define OFF_MAGIC 0x40
#define OFF_VERSION 0x44
#define PREHEADER_SIZE 72
#define MAGIC UINT32_C (0xbeda107f)
#define TEXT "<<< Oracle VirtualBox Disk Image >>>\n"

/* Where the fields are that both kinds of header have (1.2, 1.3). */
struct layout {
  uint32_t size;                /* with the pre-header, without LCHS */
  uint32_t type, flags, comment, geometry, disk_size, block_size;
  uint32_t n_blocks, n_alloc, uuid_image, uuid_mod, uuid_parent;
};

static const struct layout layout_0 = {
  .size = PREHEADER_SIZE + 348,
  .type = 0x48,
  .flags = 0x4c,
  .comment = 0x50,
  .geometry = 0x150,
  .disk_size = 0x160,
  .block_size = 0x168,
  .n_blocks = 0x16c,
  .n_alloc = 0x170,
  .uuid_image = 0x174,
  .uuid_mod = 0x184,
  .uuid_parent = 0x194,
};

static const struct layout layout_1 = {
  .size = PREHEADER_SIZE + 0x180,
  .type = 0x4c,
  .flags = 0x50,
  .comment = 0x54,
  .geometry = 0x15c,
  .disk_size = 0x170,
  .block_size = 0x178,
  .n_blocks = 0x180,
  .n_alloc = 0x184,
  .uuid_image = 0x188,
  .uuid_mod = 0x198,
  .uuid_parent = 0x1a8,
};

/* And those that only a 1.x header has. */
#define OFF_HEADER_LEN 0x48
#define OFF_MAP_OFF 0x154
#define OFF_DATA_OFF 0x158
#define OFF_BLOCK_EXTRA 0x17c
#define OFF_UUID_PARENT_MOD 0x1b8
#define OFF_LCHS 0x1c8
#define LCHS_SIZE 16

/* The fourth word of either geometry, after cylinders, heads, sectors. */
#define GEOMETRY_SECTOR_SIZE 12

/* header_len from which on there is an LCHS geometry (1.7). */
#define HEADER_LEN_LCHS 0x190

/* QEMU makes, and reads, no others (7.1). */
#define QEMU_BLOCK_SIZE UINT32_C (0x100000)

/* A bit of flags (1.4). */
#define FLAG_DIFF (UINT32_C (1) << 9)

#define AGAIN "copy the file again, or restore it from a backup"
#define DAMAGED "; the header is damaged: " AGAIN

static const struct layout *
layout_of (const struct vdi_header *h)
{
  return h->major == 0 ? &layout_0 : &layout_1;
}

static int
check_length (size_t size, uint32_t wanted, const char *name,
              struct vdi_error *error)
{
  if (size >= wanted)
    return 0;
  return vdi_set_error (error, EINVAL,
                        "%s: the file is cut short inside the header: its"
                        " length is %zu bytes, the header's is %" PRIu32
                        ", so at least %" PRIu32 " bytes are missing: " AGAIN,
                        name, size, wanted, (uint32_t) (wanted - size));
}

static int
decode_version (const uint8_t *bytes, const char *name, struct vdi_header *h,
                struct vdi_error *error)
{
  uint32_t version = get_le32 (bytes + OFF_VERSION);

  h->major = version >> 16;
  h->minor = version & 0xffff;
  if (h->major == 1 || (h->major == 0 && h->minor == 2))
    return 0;
  return vdi_set_error (error, EINVAL,
                        "%s: the version of the VDI format is %u.%u, and only"
                        " 1.x and 0.2 are known; convert the image with"
                        " the program that wrote it (VBoxManage clonemedium),"
                        " or, if 1.1 is what it should be, " AGAIN,
                        name, h->major, h->minor);
}

static void
decode_comment (const uint8_t *bytes, char comment[VDI_COMMENT_MAX + 1])
{
  /* The text may lack its NUL, and garbage may follow it (1.7). */
  memset (comment, 0, VDI_COMMENT_MAX + 1);
  memcpy (comment, bytes, strnlen ((const char *) bytes, VDI_COMMENT_MAX));
}

/* The fields that only a 1.x header has; size has been checked for all
 * but the LCHS geometry.
 */
static int
decode_1 (const uint8_t *bytes, size_t size, const char *name,
          struct vdi_header *h, struct vdi_error *error)
{
  const uint8_t *lchs = bytes + OFF_LCHS;

  h->header_len = get_le32 (bytes + OFF_HEADER_LEN);
  h->map_off = get_le32 (bytes + OFF_MAP_OFF);
  h->data_off = get_le32 (bytes + OFF_DATA_OFF);
  h->block_extra = get_le32 (bytes + OFF_BLOCK_EXTRA);
  memcpy (h->uuid_parent_mod.bytes, bytes + OFF_UUID_PARENT_MOD, 16);

  if (h->minor != 1 || h->header_len < HEADER_LEN_LCHS)
    return 0;
  if (check_length (size, OFF_LCHS + LCHS_SIZE, name, error) == -1)
    return -1;
  h->lchs_cylinders = get_le32 (lchs);
  h->lchs_heads = get_le32 (lchs + 4);
  h->lchs_sectors = get_le32 (lchs + 8);
  h->lchs_sector_size = get_le32 (lchs + GEOMETRY_SECTOR_SIZE);
  return 0;
}

/* What is fixed where a 1.x header has a field (1.3). */
static void
decode_0 (struct vdi_header *h)
{
  h->header_len = layout_0.size - PREHEADER_SIZE;
  h->map_off = layout_0.size;
  /* May wrap around; vdi_header_validate finds the map too large then. */
  h->data_off = h->map_off + 4 * h->n_blocks;
}

bool
vdi_header_has_signature (const uint8_t *bytes, size_t size)
{
  return size < OFF_MAGIC + 4 || get_le32 (bytes + OFF_MAGIC) == MAGIC;
}

static int
no_signature (const uint8_t *bytes, size_t size, const char *name,
              struct vdi_error *error)
{
  const char *hint = other_format (bytes, size);

  if (hint == NULL)
    hint = "it is not a VDI image, or its beginning is damaged: if it is a raw"
      " disk, serve it with nbdkit file; otherwise " AGAIN;
  return vdi_set_error (error, EINVAL,
                        "%s: the signature is 0x%08" PRIx32
                        " instead of 0x%08" PRIx32 ": %s",
                        name, get_le32 (bytes + OFF_MAGIC), MAGIC, hint);
}

int
vdi_header_decode (const uint8_t *bytes, size_t size, const char *name,
                   struct vdi_header *header, struct vdi_error *error)
{
  struct vdi_header h = { .lchs_sector_size = 512 };
  const struct layout *l;

  if (size == 0)
    return vdi_set_error (error, EINVAL,
                          "%s: the file is empty (its length is 0 bytes), not"
                          " a VDI image: " AGAIN,
                          name);
  if (!vdi_header_has_signature (bytes, size))
    return no_signature (bytes, size, name, error);
  if (check_length (size, PREHEADER_SIZE, name, error) == -1 ||
      decode_version (bytes, name, &h, error) == -1)
    return -1;

  l = layout_of (&h);
  if (check_length (size, l->size, name, error) == -1)
    return -1;
  h.type = get_le32 (bytes + l->type);
  h.flags = get_le32 (bytes + l->flags);
  decode_comment (bytes + l->comment, h.comment);
  h.sector_size = get_le32 (bytes + l->geometry + GEOMETRY_SECTOR_SIZE);
  h.disk_size = get_le64 (bytes + l->disk_size);
  h.block_size = get_le32 (bytes + l->block_size);
  h.n_blocks = get_le32 (bytes + l->n_blocks);
  h.n_alloc = get_le32 (bytes + l->n_alloc);
  memcpy (h.uuid_image.bytes, bytes + l->uuid_image, 16);
  memcpy (h.uuid_mod.bytes, bytes + l->uuid_mod, 16);
  memcpy (h.uuid_parent.bytes, bytes + l->uuid_parent, 16);

  if (h.major == 0)
    decode_0 (&h);
  else if (decode_1 (bytes, size, name, &h, error) == -1)
    return -1;

  *header = h;
  return 0;
}

/* QEMU opens types that the format does not have, as bases. */
static int
validate_type (const struct vdi_header *h, const char *name,
               struct vdi_error *error)
{
  if ((h->type >= VDI_TYPE_DYNAMIC && h->type <= VDI_TYPE_DIFF) ||
      !vdi_header_is_child (h))
    return 0;
  return vdi_set_error (error, EINVAL,
                        "%s: the image type is %" PRIu32 ", but it is marked"
                        " as a differencing image, whose type must be 4"
                        DAMAGED,
                        name, h->type);
}

/* How long a file is at least that holds what this header says; not less
 * than its map.
 */
static uint64_t
least_length (const struct vdi_header *h, uint64_t map_end)
{
  if (h->n_alloc == 0 || h->n_alloc > h->n_blocks)
    return map_end;
  return vdi_length_for (h, h->n_alloc);
}

/* The checks hold 4*n below 2^32, which bounds everything computed
 * from n, also in 0.2 where data_off is 420 + 4*n.
 */
static int
validate_map (const struct vdi_header *h, const char *name,
              uint64_t file_length, struct vdi_error *error)
{
  const uint64_t map_end = h->map_off + UINT64_C (4) * h->n_blocks;

  if (h->map_off < layout_of (h)->size)
    return vdi_set_error (error, EINVAL,
                          "%s: the block map's offset is %" PRIu32
                          ", inside the header, which ends at %" PRIu32
                          DAMAGED,
                          name, h->map_off, layout_of (h)->size);
  if (h->data_off < map_end && h->major == 0)
    return vdi_set_error (error, EINVAL,
                          "%s: the number of blocks is %" PRIu32
                          ", more than a version 0.2 image can have" DAMAGED,
                          name, h->n_blocks);
  if (h->data_off < map_end)
    return vdi_set_error (error, EINVAL,
                          "%s: the data's offset is %" PRIu32
                          ", inside the block map, which ends at %" PRIu64
                          " if the number of blocks, %" PRIu32
                          ", is right; the header is damaged, or an"
                          " interrupted resize wrote the map over the first"
                          " blocks: restore the file from a backup",
                          name, h->data_off, map_end, h->n_blocks);
  if (h->n_blocks > 0 && map_end > file_length)
    return vdi_set_error (error, EINVAL,
                          "%s: the file is cut short inside the block map:"
                          " its length is %" PRIu64 " bytes, the map ends at"
                          " %" PRIu64 ", and with the data at least %" PRIu64
                          " bytes are missing: " AGAIN,
                          name, file_length, map_end,
                          least_length (h, map_end) - file_length);
  return 0;
}

int
vdi_header_validate (const struct vdi_header *h, const char *name,
                     uint64_t file_length, struct vdi_error *error)
{
  if (validate_type (h, name, error) == -1)
    return -1;
  if (!IS_POWER_OF_TWO (h->block_size) || h->block_size < 512)
    return vdi_set_error (error, EINVAL,
                          "%s: the block size is %" PRIu32
                          ", which is not a power of two from 512 on"
                          " (1048576 is usual)" DAMAGED,
                          name, h->block_size);
  if (h->block_extra != 0 &&
      (!IS_POWER_OF_TWO (h->block_extra) || h->block_extra == 1))
    return vdi_set_error (error, EINVAL,
                          "%s: the size of the extra area of blocks is"
                          " %" PRIu32 ", which is neither 0 nor a power of two"
                          " above 1 (0 is usual)" DAMAGED,
                          name, h->block_extra);
  /* Rounding up to 512 changes nothing here, as the block size is at
   * least that.  It also keeps the disk far below 2^63 bytes, the limit of
   * NBD, because validate_map bounds n: and the block that may be lacking
   * is one.
   */
  if (h->disk_size > (uint64_t) h->n_blocks * h->block_size &&
      !vdi_header_lacks_last_block (h))
    return vdi_set_error (error, EINVAL,
                          "%s: the disk size is %" PRIu64
                          " bytes, but %" PRIu32 " blocks of %" PRIu32
                          " bytes hold only %" PRIu64 DAMAGED,
                          name, h->disk_size, h->n_blocks, h->block_size,
                          (uint64_t) h->n_blocks * h->block_size);
  return validate_map (h, name, file_length, error);
}

void
vdi_header_encode (const struct vdi_header *h, uint8_t bytes[VDI_HEADER_SIZE])
{
  const struct layout *l = &layout_1;
  uint8_t *lchs = bytes + OFF_LCHS;

  memset (bytes, 0, VDI_HEADER_SIZE);
  memcpy (bytes, TEXT, sizeof TEXT - 1);
  put_le32 (bytes + OFF_MAGIC, MAGIC);
  put_le32 (bytes + OFF_VERSION, UINT32_C (0x00010001));

  put_le32 (bytes + OFF_HEADER_LEN, h->header_len);
  put_le32 (bytes + l->type, h->type);
  put_le32 (bytes + l->flags, h->flags);
  memcpy (bytes + l->comment, h->comment,
          strnlen (h->comment, VDI_COMMENT_MAX));
  put_le32 (bytes + OFF_MAP_OFF, h->map_off);
  put_le32 (bytes + OFF_DATA_OFF, h->data_off);
  put_le32 (bytes + l->geometry + GEOMETRY_SECTOR_SIZE, h->sector_size);
  put_le64 (bytes + l->disk_size, h->disk_size);
  put_le32 (bytes + l->block_size, h->block_size);
  put_le32 (bytes + OFF_BLOCK_EXTRA, h->block_extra);
  put_le32 (bytes + l->n_blocks, h->n_blocks);
  put_le32 (bytes + l->n_alloc, h->n_alloc);
  memcpy (bytes + l->uuid_image, h->uuid_image.bytes, 16);
  memcpy (bytes + l->uuid_mod, h->uuid_mod.bytes, 16);
  memcpy (bytes + l->uuid_parent, h->uuid_parent.bytes, 16);
  memcpy (bytes + OFF_UUID_PARENT_MOD, h->uuid_parent_mod.bytes, 16);

  if (h->header_len < HEADER_LEN_LCHS)
    return;
  put_le32 (lchs, h->lchs_cylinders);
  put_le32 (lchs + 4, h->lchs_heads);
  put_le32 (lchs + 8, h->lchs_sectors);
  put_le32 (lchs + GEOMETRY_SECTOR_SIZE, h->lchs_sector_size);
}

struct vdi_field_offsets
vdi_header_field_offsets (const struct vdi_header *h)
{
  const struct layout *l = layout_of (h);

  return (struct vdi_field_offsets) { .n_alloc = l->n_alloc,
                                      .uuid_mod = l->uuid_mod };
}

bool
vdi_header_is_child (const struct vdi_header *h)
{
  return h->type == VDI_TYPE_DIFF || (h->flags & FLAG_DIFF) != 0 ||
         !vdi_uuid_is_null (&h->uuid_parent);
}

bool
vdi_header_lacks_last_block (const struct vdi_header *h)
{
  return h->major == 1 && h->block_size == QEMU_BLOCK_SIZE &&
         h->n_blocks > 0 &&
         h->disk_size % 512 == 0 && h->disk_size % h->block_size != 0 &&
         h->disk_size / h->block_size == h->n_blocks &&
         !vdi_header_is_child (h);
}

bool
vdi_header_needs_old_virtualbox (const struct vdi_header *h)
{
  return h->block_size < 131072 || h->block_size > 134217728;
}

uint64_t
vdi_header_export_size (const struct vdi_header *h)
{
  return ROUND_UP (h->disk_size, 512);
}
