/* SPDX-License-Identifier: BSD-3-Clause */
/* The header of a VDI image: bytes to struct and back, and whether it
 * makes sense.  Pure functions over bytes, no I/O, so that they can be
 * tested and fuzzed alone.  vdi-format.md section 1 is the layout.
 *
 * Calling sequence to open an image:
 *   read up to VDI_HEADER_SIZE bytes from the start of the file
 *   vdi_header_decode (bytes, how_many, name, &header, &error)
 *   vdi_header_validate (&header, name, file_length, &error)
 * After that every sum over header fields that this file offers is
 * known not to overflow, and the map lies inside the file.
 *
 * To change an image never encode a whole header over an existing one:
 * what we do not understand is preserved, so write single fields, at
 * the offsets vdi_header_field_offsets gives.
 */
#ifndef VDI_IMAGE_HEADER_H
#define VDI_IMAGE_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "utils/error.h"
#include "utils/uuid.h"

/* The pre-header (1.1), the 1.x header (1.2) and QEMU's padding. */
#define VDI_HEADER_SIZE 512

/* Map entries (2.1). */
#define VDI_FREE UINT32_C (0xffffffff) /* base: zeros; child: ask the parent */
#define VDI_ZERO UINT32_C (0xfffffffe) /* zeros, in a child too */

static inline bool
vdi_entry_is_allocated (uint32_t entry)
{
  return entry < VDI_ZERO;
}

enum vdi_type {                 /* 6.1 */
  VDI_TYPE_DYNAMIC = 1,
  VDI_TYPE_FIXED = 2,
  VDI_TYPE_UNDO = 3,
  VDI_TYPE_DIFF = 4,
};

#define VDI_COMMENT_MAX 255     /* bytes of text, without the NUL */

struct vdi_header {
  uint16_t major, minor;        /* 1.1 nearly always, 0.2 in old images */
  uint32_t header_len;          /* 0x180, 0x190; 348 for major 0 */
  uint32_t type;                /* enum vdi_type */
  uint32_t flags;               /* 1.4 */
  char comment[VDI_COMMENT_MAX + 1];
  uint32_t map_off;             /* bytes: M */
  uint32_t data_off;            /* bytes: D */
  uint32_t sector_size;         /* of the legacy geometry: QEMU wants 512 */
  uint32_t lchs_sector_size;    /* VB wants 512; 512 if the field is absent */
  uint32_t lchs_cylinders, lchs_heads, lchs_sectors; /* 0 if absent */
  uint64_t disk_size;           /* bytes, as stored: may be odd (2.3) */
  uint32_t block_size;          /* bytes: B, a power of two >= 512 */
  uint32_t block_extra;         /* bytes: E, in front of each block's data */
  uint32_t n_blocks;            /* entries in the map: n */
  uint32_t n_alloc;             /* next physical index to use: N */
  struct vdi_uuid uuid_image;
  struct vdi_uuid uuid_mod;
  struct vdi_uuid uuid_parent;  /* null in a base */
  struct vdi_uuid uuid_parent_mod;
};

/* Decode what can be decoded, checking only that it is there: signature,
 * version, and that the file is long enough for the header.  size is
 * how many bytes of the file's start are in bytes, at most
 * VDI_HEADER_SIZE.  Errors are EINVAL.
 */
extern int vdi_header_decode (const uint8_t *bytes, size_t size,
                              const char *name, struct vdi_header *,
                              struct vdi_error *);

/* True if these are too few bytes to tell. */
extern bool vdi_header_has_signature (const uint8_t *bytes, size_t size);

/* Check all that both programs check (3.1, 3.3) as far as we cannot
 * serve images that fail it, and that header and map lie inside the
 * file.  file_length is in bytes.  Errors are EINVAL; each names file,
 * field, value and what can be done.
 */
extern int vdi_header_validate (const struct vdi_header *, const char *name,
                                uint64_t file_length, struct vdi_error *);

/* Encode a whole 1.1 header with pre-header, for new images only (7.1). */
extern void vdi_header_encode (const struct vdi_header *,
                               uint8_t bytes[VDI_HEADER_SIZE]);

/* Where the fields that we change in existing images are, in bytes from
 * the start of the file.
 */
struct vdi_field_offsets {
  uint32_t n_alloc;             /* 4 bytes */
  uint32_t uuid_mod;            /* 16 bytes */
};
extern struct vdi_field_offsets
vdi_header_field_offsets (const struct vdi_header *);

/* Is this a differencing image: type 4, flag bit 9, or a parent UUID
 * (3.1 end)?
 */
extern bool vdi_header_is_child (const struct vdi_header *);

/* Does its map end one block before its disk, as in images that QEMU made
 * until 2011 (2.6)?  They can be read as far as the map goes.
 */
extern bool vdi_header_lacks_last_block (const struct vdi_header *);

/* Is its block size one that VirtualBox from September 2026 on does not open
 * (3.1 row 19)?
 */
extern bool vdi_header_needs_old_virtualbox (const struct vdi_header *);

/* The size of the disk we serve: disk_size rounded up to 512 (2.3). */
extern uint64_t vdi_header_export_size (const struct vdi_header *);

/* Arithmetic, valid (free of overflow) after vdi_header_validate.
 * Bytes from the start of the file.
 */
static inline uint64_t          /* T, from one block to the next */
vdi_stride (const struct vdi_header *h)
{
  return (uint64_t) h->block_extra + h->block_size;
}

static inline uint64_t          /* of the data of physical block index */
vdi_block_offset (const struct vdi_header *h, uint32_t index)
{
  return h->data_off + index * vdi_stride (h) + h->block_extra;
}

static inline uint64_t          /* of a file with count blocks: D + count*T */
vdi_length_for (const struct vdi_header *h, uint32_t count)
{
  return h->data_off + count * vdi_stride (h);
}

static inline uint64_t          /* of the map entry of a block */
vdi_entry_offset (const struct vdi_header *h, uint32_t block)
{
  return h->map_off + UINT64_C (4) * block;
}

#endif /* VDI_IMAGE_HEADER_H */
