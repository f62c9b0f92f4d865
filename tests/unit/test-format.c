/* SPDX-License-Identifier: BSD-3-Clause */
/* format.c: headers, field by field (vdi-format.md 1), every check at its
 * limits (3.1, 3.3), files cut at every byte, and the fixtures, which
 * VirtualBox wrote.
 */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "fixture.h"
#include "format.h"
#include "test.h"

#define MiB UINT32_C (0x100000)
#define NAME "some dir/disk.vdi"

/* A header made by the tables of vdi-format.md 1.2 and 1.3, every field
 * with another value.
 */
struct field {
  uint32_t offset;
  unsigned width;
  uint64_t value;
};

static const struct field fields_1[] = {
  { 0x040, 4, 0xbeda107f }, { 0x044, 4, 0x00010001 }, { 0x048, 4, 0x190 },
  { 0x04c, 4, 1 },         { 0x050, 4, 1 },          { 0x054, 4, 0x6f6c6568 },
  { 0x154, 4, MiB },       { 0x158, 4, 2 * MiB },    { 0x168, 4, 513 },
  { 0x170, 8, 3 * MiB },   { 0x178, 4, MiB },        { 0x17c, 4, 512 },
  { 0x180, 4, 3 },         { 0x184, 4, 2 },          { 0x188, 4, 0x11 },
  { 0x198, 4, 0x22 },      { 0x1b8, 4, 0x44 },       { 0x1c8, 4, 5 },
  { 0x1cc, 4, 6 },         { 0x1d0, 4, 7 },          { 0x1d4, 4, 514 },
};

static const struct field fields_0[] = {
  { 0x040, 4, 0xbeda107f }, { 0x044, 4, 0x00000002 }, { 0x048, 4, 1 },
  { 0x04c, 4, 1 },         { 0x050, 4, 0x6f6c6568 }, { 0x15c, 4, 513 },
  { 0x160, 8, 3 * MiB },   { 0x168, 4, MiB },        { 0x16c, 4, 3 },
  { 0x170, 4, 2 },         { 0x174, 4, 0x11 },       { 0x184, 4, 0x22 },
};

static void
put (uint8_t *bytes, struct field f)
{
  if (f.width == 4)
    put_le32 (bytes + f.offset, f.value);
  else if (f.width == 8)
    put_le64 (bytes + f.offset, f.value);
}

static void
make (unsigned major, uint8_t bytes[VDI_HEADER_SIZE])
{
  size_t i;

  memset (bytes, 0, VDI_HEADER_SIZE);
  if (major == 0)
    for (i = 0; i < sizeof fields_0 / sizeof fields_0[0]; ++i)
      put (bytes, fields_0[i]);
  else
    for (i = 0; i < sizeof fields_1 / sizeof fields_1[0]; ++i)
      put (bytes, fields_1[i]);
}

static int
open_header (const uint8_t *bytes, uint64_t file_length,
             struct vdi_header *h, struct vdi_error *error)
{
  memset (error, 0, sizeof *error);
  if (vdi_header_decode (bytes, VDI_HEADER_SIZE, NAME, h, error) == -1)
    return -1;
  return vdi_header_validate (h, NAME, file_length, error);
}

/* A message is for people, so it is one line that names the file, and it
 * offers a way out.
 */
static void
check_message (const struct vdi_error *error, const char *name)
{
  static const char *const ways[] = { "copy the file again", "restore", "unpack",
                                      "serve it with", "convert",
                                      "not its disk" };
  bool found = false;
  size_t i, len = strlen (name);

  CHECK (error->err == EINVAL);
  CHECK (strncmp (error->message, name, len) == 0);
  CHECK (strncmp (error->message + len, ": ", 2) == 0);
  CHECK (strchr (error->message, '\n') == NULL);
  CHECK (strlen (error->message) < VDI_ERROR_MAX - 1);
  for (i = 0; i < sizeof ways / sizeof ways[0]; ++i)
    found = found || strstr (error->message, ways[i]) != NULL;
  CHECK (found);
}

static void
test_fields_1 (void)
{
  static const struct vdi_uuid image = { { 0x11 } }, mod = { { 0x22 } },
                               parent_mod = { { 0x44 } }, null;
  uint8_t bytes[VDI_HEADER_SIZE], again[VDI_HEADER_SIZE];
  struct vdi_header h;
  struct vdi_error error;

  make (1, bytes);
  CHECK (open_header (bytes, 5 * MiB, &h, &error) == 0);
  CHECK (error.err == 0);
  CHECK (h.major == 1 && h.minor == 1 && h.header_len == 0x190);
  CHECK (h.type == 1 && h.flags == 1 && strcmp (h.comment, "helo") == 0);
  CHECK (h.map_off == MiB && h.data_off == 2 * MiB);
  CHECK (h.sector_size == 513 && h.lchs_sector_size == 514);
  CHECK (h.lchs_cylinders == 5 && h.lchs_heads == 6 && h.lchs_sectors == 7);
  CHECK (h.disk_size == 3 * MiB && h.block_size == MiB);
  CHECK (h.block_extra == 512 && h.n_blocks == 3 && h.n_alloc == 2);
  CHECK (vdi_uuid_equal (&h.uuid_image, &image));
  CHECK (vdi_uuid_equal (&h.uuid_mod, &mod));
  CHECK (vdi_uuid_equal (&h.uuid_parent, &null));
  CHECK (vdi_uuid_equal (&h.uuid_parent_mod, &parent_mod));

  CHECK (vdi_header_field_offsets (&h).n_alloc == 0x184);
  CHECK (vdi_header_field_offsets (&h).uuid_mod == 0x198);
  CHECK (vdi_header_export_size (&h) == 3 * MiB);
  CHECK (vdi_stride (&h) == MiB + 512);
  CHECK (vdi_block_offset (&h, 2) == 4 * MiB + 1024 + 512);
  CHECK (vdi_length_for (&h, 2) == 4 * MiB + 1024);
  CHECK (vdi_entry_offset (&h, 2) == MiB + 8);

  /* And back, all 512 bytes, but for the text, which says who wrote it. */
  memset (again, 0xff, sizeof again);
  vdi_header_encode (&h, again);
  CHECK (memcmp (again, "<<< Oracle VM VirtualBox Disk Image >>>\n\0\0\0\0\0"
                 "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 64) == 0);
  CHECK (memcmp (again + 64, bytes + 64, sizeof bytes - 64) == 0);

  /* Without LCHS nothing is written in its place. */
  h.header_len = 0x180;
  vdi_header_encode (&h, again);
  put_le32 (bytes + 0x48, 0x180);
  memset (bytes + 0x1c8, 0, 16);
  CHECK (memcmp (again + 64, bytes + 64, sizeof bytes - 64) == 0);
}

static void
test_fields_0 (void)
{
  uint8_t bytes[VDI_HEADER_SIZE];
  struct vdi_header h;
  struct vdi_error error;

  make (0, bytes);
  CHECK (open_header (bytes, 4 * MiB, &h, &error) == 0);
  CHECK (h.major == 0 && h.minor == 2 && h.header_len == 348);
  CHECK (h.type == 1 && h.flags == 1 && strcmp (h.comment, "helo") == 0);
  CHECK (h.map_off == 420 && h.data_off == 420 + 12 && h.block_extra == 0);
  CHECK (h.sector_size == 513 && h.lchs_sector_size == 512);
  CHECK (h.lchs_cylinders == 0 && h.lchs_heads == 0 && h.lchs_sectors == 0);
  CHECK (h.disk_size == 3 * MiB && h.block_size == MiB);
  CHECK (h.n_blocks == 3 && h.n_alloc == 2);
  CHECK (h.uuid_image.bytes[0] == 0x11 && h.uuid_mod.bytes[0] == 0x22);
  CHECK (vdi_uuid_is_null (&h.uuid_parent));
  CHECK (vdi_uuid_is_null (&h.uuid_parent_mod));
  CHECK (!vdi_header_is_child (&h));
  bytes[0x194] = 1;
  CHECK (open_header (bytes, 4 * MiB, &h, &error) == 0);
  CHECK (vdi_header_is_child (&h));
  CHECK (vdi_header_field_offsets (&h).n_alloc == 0x170);
  CHECK (vdi_header_field_offsets (&h).uuid_mod == 0x184);
}

/* Every check, at its limits.  The base is the header of fields_1 (or
 * fields_0), changed in up to four places; the file is long enough if
 * file_length is 0.
 */
struct row {
  unsigned major;
  struct field change[4];
  uint64_t file_length;
  const char *field, *value;    /* in the message; NULL: accepted */
};

#define ACCEPTED NULL, NULL

static const struct row rows[] = {
  /* 3.1 row 2, 3.3 row 3 */
  { 1, { { 0x40, 4, 0xbeda107e } }, 0, "signature", "0xbeda107e" },
  { 1, { { 0x40, 4, 0 } }, 0, "signature", "0x00000000" },
  { 0, { { 0x40, 4, 0x7f10dabe } }, 0, "signature", "0x7f10dabe" },

  /* 3.1 row 3, 3.3 row 4 */
  { 1, { { 0x44, 4, 0x00010000 } }, 0, ACCEPTED },
  { 1, { { 0x44, 4, 0x00010002 } }, 0, ACCEPTED },
  { 1, { { 0x44, 4, 0x0001ffff } }, 0, ACCEPTED },
  { 1, { { 0x44, 4, 0x00020000 } }, 0, "version", " 2.0," },
  { 1, { { 0x44, 4, 0x00020001 } }, 0, "version", " 2.1," },
  { 1, { { 0x44, 4, 0xffffffff } }, 0, "version", " 65535.65535," },
  { 0, { { 0x44, 4, 0 } }, 0, "version", " 0.0," },
  { 0, { { 0x44, 4, 1 } }, 0, "version", " 0.1," },
  { 0, { { 0x44, 4, 3 } }, 0, "version", " 0.3," },

  /* 3.1 row 5: QEMU does not care */
  { 1, { { 0x48, 4, 0 } }, 0, ACCEPTED },
  { 1, { { 0x48, 4, 0x17f } }, 0, ACCEPTED },
  { 1, { { 0x48, 4, 0x180 } }, 0, ACCEPTED },
  { 1, { { 0x48, 4, 0x18f } }, 0, ACCEPTED },
  { 1, { { 0x48, 4, 0x191 } }, 0, ACCEPTED },
  { 1, { { 0x48, 4, 0xffffffff } }, 0, ACCEPTED },

  /* 3.1 row 6, 3.3 row 5 */
  { 1, { { 0x154, 4, 0 } }, 0, "block map's offset", " 0," },
  { 1, { { 0x154, 4, 455 } }, 0, "block map's offset", " 455," },
  { 1, { { 0x154, 4, 456 } }, 0, ACCEPTED },
  { 1, { { 0x154, 4, 457 } }, 0, ACCEPTED },
  { 1, { { 0x154, 4, 0x201 } }, 0, ACCEPTED },

  /* 3.1 row 7, 3.3 row 6 */
  { 1, { { 0x154, 4, 2 * MiB - 12 } }, 0, ACCEPTED },
  { 1, { { 0x154, 4, 2 * MiB - 11 } }, 0, "data's offset", " 2097152," },
  { 1, { { 0x154, 4, 0xffffffff } }, 0, "data's offset", " 4294967307 " },
  { 1, { { 0x158, 4, MiB + 12 } }, 0, ACCEPTED },
  { 1, { { 0x158, 4, MiB + 11 } }, 0, "data's offset", " 1048587," },
  { 1, { { 0x158, 4, 0 } }, 0, "data's offset", " 0," },
  { 1, { { 0x158, 4, 0xffffffff } }, 0, ACCEPTED },

  /* 3.1 row 8: QEMU does not care, and all but 4 are bases */
  { 1, { { 0x4c, 4, 0 } }, 0, ACCEPTED },
  { 1, { { 0x4c, 4, 2 } }, 0, ACCEPTED },
  { 1, { { 0x4c, 4, 3 } }, 0, ACCEPTED },
  { 1, { { 0x4c, 4, 4 } }, 0, ACCEPTED },
  { 1, { { 0x4c, 4, 5 } }, 0, ACCEPTED },
  { 1, { { 0x4c, 4, 0xffffffff } }, 0, ACCEPTED },
  { 1, { { 0x4c, 4, 2 }, { 0x1a8, 4, 1 } }, 0, ACCEPTED },
  { 1, { { 0x4c, 4, 4 }, { 0x1a8, 4, 1 } }, 0, ACCEPTED },
  { 1, { { 0x4c, 4, 0 }, { 0x1a8, 4, 1 } }, 0, "type", " 0," },
  { 1, { { 0x4c, 4, 5 }, { 0x1a8, 4, 1 } }, 0, "type", " 5," },
  { 1, { { 0x4c, 4, 5 }, { 0x1b4, 4, 1 } }, 0, "type", " 5," },
  { 1, { { 0x4c, 4, 5 }, { 0x50, 4, 0x200 } }, 0, "type", " 5," },
  { 1, { { 0x4c, 4, 4 }, { 0x50, 4, 0x200 } }, 0, ACCEPTED },
  { 0, { { 0x48, 4, 5 }, { 0x194, 4, 1 } }, 0, "type", " 5," },

  /* 3.1 row 9: QEMU does not care */
  { 1, { { 0x50, 4, 0 } }, 0, ACCEPTED },
  { 1, { { 0x50, 4, 2 } }, 0, ACCEPTED },
  { 1, { { 0x50, 4, 0x100 } }, 0, ACCEPTED },
  { 1, { { 0x50, 4, 0xffffffff } }, 0, ACCEPTED },

  /* 3.1 row 10, 3.3 row 7: each of the two demands another one (1.5) */
  { 1, { { 0x1d4, 4, 512 } }, 0, ACCEPTED },
  { 1, { { 0x1d4, 4, 0 } }, 0, ACCEPTED },
  { 1, { { 0x168, 4, 512 } }, 0, ACCEPTED },
  { 1, { { 0x168, 4, 0 } }, 0, ACCEPTED },

  /* 3.1 row 11, 3.3 row 8: block size */
  { 1, { { 0x178, 4, 0 } }, 0, "block size", " 0," },
  { 1, { { 0x178, 4, 1 }, { 0x170, 8, 0 } }, 0, "block size", " 1," },
  { 1, { { 0x178, 4, 256 }, { 0x170, 8, 0 } }, 0, "block size", " 256," },
  { 1, { { 0x178, 4, 511 }, { 0x170, 8, 0 } }, 0, "block size", " 511," },
  { 1, { { 0x178, 4, 512 }, { 0x170, 8, 1536 } }, 0, ACCEPTED },
  { 1, { { 0x178, 4, 513 }, { 0x170, 8, 0 } }, 0, "block size", " 513," },
  { 1, { { 0x178, 4, 3 * MiB } }, 0, "block size", " 3145728," },
  { 1, { { 0x178, 4, MiB - 1 } }, 0, "block size", " 1048575," },
  { 1, { { 0x178, 4, MiB + 1 } }, 0, "block size", " 1048577," },
  { 1, { { 0x178, 4, 0x80000000 } }, 0, ACCEPTED },
  { 1, { { 0x178, 4, 0x80000001 } }, 0, "block size", " 2147483649," },
  { 1, { { 0x178, 4, 0xffffffff } }, 0, "block size", " 4294967295," },

  /* 3.1 row 11: number of blocks; QEMU opens 0 */
  { 1, { { 0x180, 4, 0 }, { 0x170, 8, 0 } }, 0, ACCEPTED },
  { 1, { { 0x180, 4, 0 }, { 0x170, 8, 0 } }, 512, ACCEPTED },
  { 1, { { 0x180, 4, 0 } }, 0, "disk size", " 3145728 " },
  { 1, { { 0x180, 4, 4 } }, 0, ACCEPTED },
  { 1, { { 0x180, 4, MiB / 4 } }, 0, ACCEPTED },
  { 1, { { 0x180, 4, MiB / 4 + 1 } }, 0, "number of blocks", " 262145," },
  { 1, { { 0x180, 4, 0x40000000 } }, 0, "number of blocks", " 1073741824," },
  { 1, { { 0x180, 4, 0xffffffff } }, 0, "number of blocks", " 4294967295," },
  /* The most that the 32 bits of the data's offset allow. */
  { 1,
    { { 0x180, 4, 0x3fffff8d }, { 0x154, 4, 456 }, { 0x158, 4, 0xffffffff } },
    0, ACCEPTED },
  { 1,
    { { 0x180, 4, 0x3fffff8e }, { 0x154, 4, 456 }, { 0x158, 4, 0xffffffff } },
    0, "data's offset", " 4294967295," },
  { 0, { { 0x16c, 4, 1073741718 } }, 0, ACCEPTED },
  { 0, { { 0x16c, 4, 1073741719 } }, 0, "number of blocks", " 1073741719," },
  { 0, { { 0x16c, 4, 0xffffffff } }, 0, "number of blocks", " 4294967295," },

  /* 3.1 row 12: QEMU does not care */
  { 1, { { 0x184, 4, 3 } }, 0, ACCEPTED },
  { 1, { { 0x184, 4, 4 } }, 0, ACCEPTED },
  { 1, { { 0x184, 4, 0xffffffff } }, 0, ACCEPTED },

  /* 3.1 row 13 */
  { 1, { { 0x17c, 4, 0 } }, 0, ACCEPTED },
  { 1, { { 0x17c, 4, 1 } }, 0, "extra area", " 1," },
  { 1, { { 0x17c, 4, 2 } }, 0, ACCEPTED },
  { 1, { { 0x17c, 4, 3 } }, 0, "extra area", " 3," },
  { 1, { { 0x17c, 4, 511 } }, 0, "extra area", " 511," },
  { 1, { { 0x17c, 4, 513 } }, 0, "extra area", " 513," },
  { 1, { { 0x17c, 4, 0x80000000 } }, 0, ACCEPTED },
  { 1, { { 0x17c, 4, 0xffffffff } }, 0, "extra area", " 4294967295," },

  /* 3.1 row 14, 3.3 rows 1, 2, 9 */
  { 1, { { 0x170, 8, 0 } }, 0, ACCEPTED },
  { 1, { { 0x170, 8, 1 } }, 0, ACCEPTED },
  { 1, { { 0x170, 8, 3 * MiB - 1 } }, 0, ACCEPTED },
  { 1, { { 0x170, 8, 3 * MiB + 1 } }, 0, "disk size", " 3145729 " },
  { 1, { { 0x180, 4, 2 } }, 0, "disk size", " 3145728 " },
  { 1, { { 0x170, 8, INT64_MAX } }, 0, "disk size", " 9223372036854775807 " },
  { 1, { { 0x170, 8, UINT64_MAX } }, 0, "disk size",
    " 18446744073709551615 " },
  { 0, { { 0x160, 8, 3 * MiB + 1 } }, 0, "disk size", " 3145729 " },

  /* 3.1 rows 15, 16: QEMU does not care; 3.3 rows 10, 11: VB does not */
  { 1, { { 0x188, 4, 0 } }, 0, ACCEPTED },
  { 1, { { 0x198, 4, 0 } }, 0, ACCEPTED },
  { 1, { { 0x1a8, 4, 1 } }, 0, ACCEPTED },

  /* 3.1 row 18: QEMU invents entries where the map is missing */
  { 1, { { 0 } }, MiB + 12, ACCEPTED },
  { 1, { { 0 } }, MiB + 11, "length is 1048587", " 1 bytes are missing" },
  { 1, { { 0 } }, MiB, "length is 1048576", " 12 bytes are missing" },
  { 1, { { 0 } }, 512, "length is 512", " 1048076 bytes are missing" },
  { 0, { { 0 } }, 432, ACCEPTED },
  { 0, { { 0 } }, 431, "length is 431", " 1 bytes are missing" },
};

/* vdi-format.md promises nothing of sums; format.h does. */
static void
check_arithmetic (const struct vdi_header *h)
{
  typedef unsigned __int128 wide;
  const uint32_t indexes[] = { 0, 1, h->n_blocks, h->n_alloc, VDI_ZERO - 1,
                               UINT32_MAX };
  const wide stride = (wide) h->block_size + h->block_extra;
  size_t i;

  CHECK (vdi_stride (h) == stride);
  for (i = 0; i < sizeof indexes / sizeof indexes[0]; ++i) {
    const wide start = h->data_off + indexes[i] * stride;

    CHECK (vdi_length_for (h, indexes[i]) == start);
    if (indexes[i] < VDI_ZERO)
      CHECK (vdi_block_offset (h, indexes[i]) == start + h->block_extra);
  }
  /* With as many blocks as the disk has, all of the file is in reach. */
  CHECK (vdi_length_for (h, h->n_blocks) <= INT64_MAX);
  CHECK (vdi_entry_offset (h, h->n_blocks) <= h->data_off);
  CHECK (vdi_header_export_size (h) <= INT64_MAX);
  CHECK (vdi_header_export_size (h) % 512 == 0);
  CHECK (vdi_header_export_size (h) - h->disk_size < 512);
  CHECK (vdi_header_export_size (h) <=
         (wide) h->n_blocks * h->block_size);
}

static void
test_row (const struct row *row)
{
  const uint64_t length = row->file_length ? row->file_length : INT64_MAX;
  uint8_t bytes[VDI_HEADER_SIZE];
  struct vdi_header h;
  struct vdi_error error;
  size_t i;
  int r;

  make (row->major, bytes);
  for (i = 0; i < 4; ++i)
    put (bytes, row->change[i]);
  r = open_header (bytes, length, &h, &error);

  if (row->field == NULL) {
    if (r == -1)
      fprintf (stderr, "row %zu: %s\n", (size_t) (row - rows), error.message);
    CHECK (r == 0);
    check_arithmetic (&h);
    return;
  }
  if (r == 0 || !strstr (error.message, row->field) ||
      !strstr (error.message, row->value))
    fprintf (stderr, "row %zu: \"%s\", \"%s\" expected in: %s\n",
             (size_t) (row - rows), row->field, row->value, error.message);
  CHECK (r == -1);
  check_message (&error, NAME);
  CHECK (strstr (error.message, row->field) != NULL);
  CHECK (strstr (error.message, row->value) != NULL);
}

/* LCHS counts only in version 1.1, and from a header_len on (1.7). */
static void
test_lchs (void)
{
  static const struct {
    uint32_t version, header_len;
    bool present;
  } cases[] = {
    { 0x00010001, 0x18f, false }, { 0x00010001, 0x190, true },
    { 0x00010001, 0x191, true },  { 0x00010000, 0x190, false },
    { 0x00010002, 0x190, false },
  };
  uint8_t bytes[VDI_HEADER_SIZE];
  struct vdi_header h;
  struct vdi_error error;
  size_t i;

  for (i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    make (1, bytes);
    put_le32 (bytes + 0x44, cases[i].version);
    put_le32 (bytes + 0x48, cases[i].header_len);
    CHECK (open_header (bytes, 5 * MiB, &h, &error) == 0);
    CHECK (h.lchs_sector_size == (cases[i].present ? 514 : 512));
    CHECK (h.lchs_cylinders == (cases[i].present ? 5 : 0));
  }
}

static void
test_child (void)
{
  static const struct {
    struct field change;
    bool child;
  } cases[] = {
    { { 0x4c, 4, 0 }, false },     { { 0x4c, 4, 1 }, false },
    { { 0x4c, 4, 2 }, false },     { { 0x4c, 4, 3 }, false },
    { { 0x4c, 4, 4 }, true },      { { 0x4c, 4, 5 }, false },
    { { 0x50, 4, 0x100 }, false }, { { 0x50, 4, 0x200 }, true },
    { { 0x50, 4, 0x400 }, false }, { { 0x1a8, 4, 1 }, true },
    { { 0x1b4, 4, 1u << 31 }, true }, { { 0x1b8, 4, 1 }, false },
  };
  uint8_t bytes[VDI_HEADER_SIZE];
  struct vdi_header h;
  struct vdi_error error;
  size_t i;

  for (i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    make (1, bytes);
    put (bytes, cases[i].change);
    CHECK (vdi_header_decode (bytes, sizeof bytes, NAME, &h, &error) == 0);
    CHECK (vdi_header_is_child (&h) == cases[i].child);
  }
}

static void
test_odd_size (void)
{
  static const uint64_t sizes[][2] = {
    { 0, 0 }, { 1, 512 }, { 511, 512 }, { 512, 512 }, { 513, 1024 },
    { 3 * MiB - 1, 3 * MiB },
  };
  uint8_t bytes[VDI_HEADER_SIZE];
  struct vdi_header h;
  struct vdi_error error;
  size_t i;

  for (i = 0; i < sizeof sizes / sizeof sizes[0]; ++i) {
    make (1, bytes);
    put_le64 (bytes + 0x170, sizes[i][0]);
    CHECK (open_header (bytes, 5 * MiB, &h, &error) == 0);
    CHECK (h.disk_size == sizes[i][0]);
    CHECK (vdi_header_export_size (&h) == sizes[i][1]);
  }
}

/* 255 bytes, no NUL, garbage behind it: what follows must not get in. */
static void
test_comment (void)
{
  uint8_t bytes[VDI_HEADER_SIZE], again[VDI_HEADER_SIZE];
  char garbage[256];
  struct vdi_header h;
  struct vdi_error error;
  size_t i;

  make (1, bytes);
  memset (bytes + 0x54, 'c', 256);
  CHECK (open_header (bytes, 5 * MiB, &h, &error) == 0);
  CHECK (strlen (h.comment) == VDI_COMMENT_MAX);
  vdi_header_encode (&h, again);
  CHECK (memcmp (again + 0x54, bytes + 0x54, 255) == 0);
  CHECK (again[0x54 + 255] == 0);

  memcpy (bytes + 0x54, "ab", 3);
  CHECK (open_header (bytes, 5 * MiB, &h, &error) == 0);
  CHECK (strcmp (h.comment, "ab") == 0);
  memset (garbage, 0, sizeof garbage);
  memcpy (garbage, "ab", 2);
  for (i = 0; i < sizeof h.comment; ++i)
    CHECK (h.comment[i] == garbage[i]);
}

/* Of a file cut at each byte, decode reads no byte that is not there
 * (found by the address sanitizer), and says how many are missing.
 */
static void
test_cut (unsigned major, uint32_t header_len, size_t needed)
{
  uint8_t bytes[VDI_HEADER_SIZE];
  size_t size;

  make (major, bytes);
  if (major == 1)
    put_le32 (bytes + 0x48, header_len);
  for (size = 0; size <= VDI_HEADER_SIZE; ++size) {
    uint8_t *copy = malloc (size ? size : 1);
    struct vdi_header h = { .type = 77 };
    struct vdi_error error = { .err = 0 };
    char length[64];
    int r;

    CHECK (copy != NULL);
    memcpy (copy, bytes, size);
    r = vdi_header_decode (copy, size, NAME, &h, &error);
    free (copy);
    if (size >= needed) {
      CHECK (r == 0 && error.err == 0 && h.type == 1);
      continue;
    }
    CHECK (r == -1 && h.type == 77);
    check_message (&error, NAME);
    snprintf (length, sizeof length, " is %zu bytes", size);
    CHECK (strstr (error.message, length) != NULL);
    if (size == 0)
      continue;
    snprintf (length, sizeof length, " %zu bytes are missing",
              (size < 72 ? 72
               : size < 456 && major == 1 ? 456 : needed) - size);
    CHECK (strstr (error.message, length) != NULL);
  }
}

/* Other things that people have on their disks. */
static void
test_others (void)
{
  static const struct {
    const char *start, *hint;
  } others[] = {
    { "QFI\xfb", "qemu-nbd -f qcow2" },
    { "KDMV", "qemu-nbd -f vmdk" },
    { "conectix", "qemu-nbd -f vpc" },
    { "vhdxfile", "qemu-nbd -f vhdx" },
    { "\xfd" "7zXZ", "xz -d" },
    { "\x1f\x8b", "gzip -d" },
    { "\x28\xb5\x2f\xfd", "zstd -d" },
    { "PK\x03\x04", "ZIP" },
    { "<?xml version", "XML" },
    { "\xeb\x63\x90", "nbdkit file" },
    { "", "nbdkit file" },
  };
  uint8_t bytes[VDI_HEADER_SIZE];
  struct vdi_header h;
  struct vdi_error error;
  size_t i;

  for (i = 0; i < sizeof others / sizeof others[0]; ++i) {
    memset (bytes, 0, sizeof bytes);
    memcpy (bytes, others[i].start, strlen (others[i].start));
    CHECK (vdi_header_decode (bytes, sizeof bytes, NAME, &h, &error) == -1);
    check_message (&error, NAME);
    CHECK (strstr (error.message, others[i].hint) != NULL);
  }
}

/* Anything at all: no crash, and what is accepted can be computed with. */
static void
test_noise (void)
{
  static const uint32_t values[] = { 0, 1, 2, 511, 512, 513, MiB - 1, MiB,
                                     MiB + 1, 0x3fffffff, 0x40000000,
                                     0x7fffffff, 0x80000000, 0xfffffffe,
                                     0xffffffff };
  const size_t nr = sizeof values / sizeof values[0];
  uint64_t state = 1;
  unsigned i, accepted = 0;

  for (i = 0; i < 200000; ++i) {
    uint8_t bytes[VDI_HEADER_SIZE];
    struct vdi_header h;
    struct vdi_error error;
    unsigned changes;

    make (i & 1, bytes);
    for (changes = i % 32; changes > 0; --changes) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      put_le32 (bytes + 0x40 + 4 * ((state >> 33) % 112),
                values[(state >> 50) % nr]);
    }
    if (open_header (bytes, i & 2 ? 5 * MiB : INT64_MAX, &h, &error) == 0) {
      accepted++;
      check_arithmetic (&h);
    }
    else
      check_message (&error, NAME);
  }
  /* Neither all nor none, else this tests nothing. */
  CHECK (accepted > 20000 && accepted < 180000);
}

static void
test_fixture (char *column[FIXTURE_COLUMNS])
{
  char *last = strrchr (column[1], ' ');
  char name[256];
  uint8_t *bytes;
  size_t size;
  uint64_t disk_size;
  struct vdi_header h;
  struct vdi_error error;

  snprintf (name, sizeof name, "%s", last ? last + 1 : column[1]);
  *strrchr (name, '.') = '\0';
  bytes = fixture_read (name, &size);
  CHECK (vdi_header_decode (bytes, VDI_HEADER_SIZE, name, &h, &error) == 0);
  CHECK (vdi_header_validate (&h, name, size, &error) == 0);
  disk_size = strtoull (column[2], NULL, 10);
  /* VirtualBox rounds down what we round up. */
  if (strcmp (name, "oddbytes") == 0) {
    CHECK (h.disk_size % 512 != 0);
    disk_size += 512;
  }
  CHECK (vdi_header_export_size (&h) == disk_size);
  CHECK (vdi_header_is_child (&h) == (last != NULL));
  CHECK (!vdi_uuid_is_null (&h.uuid_image));
  free (bytes);
}

static void
test_bad_fixture (char *column[FIXTURE_COLUMNS])
{
  /* What the header tells; the others fail, or not, by their map. */
  static const struct {
    const char *name, *field, *value;
  } refused[] = {
    { "sig", "signature", "0x" },
    { "version-2-0", "version", " 2.0," },
    { "offdata-in-map", "data's offset", " 1048580," },
    { "cbblock-3m", "block size", " 3145728," },
    { "cblocks-huge", "number of blocks", " 4294967295," },
    { "trunc-in-map", "block map", "missing" },
    { "empty-file", "length", " 0 bytes" },
  };
  char name[256];
  uint8_t *bytes;
  size_t size, i;
  struct vdi_header h;
  struct vdi_error error;
  int r;

  snprintf (name, sizeof name, "bad/%s", column[0]);
  bytes = fixture_read (name, &size);
  r = vdi_header_decode (bytes,
                         size < VDI_HEADER_SIZE ? size : VDI_HEADER_SIZE,
                         name, &h, &error);
  if (r == 0)
    r = vdi_header_validate (&h, name, size, &error);
  free (bytes);

  for (i = 0; i < sizeof refused / sizeof refused[0]; ++i)
    if (strcmp (refused[i].name, column[0]) == 0) {
      CHECK (r == -1);
      check_message (&error, name);
      CHECK (strstr (error.message, refused[i].field) != NULL);
      CHECK (strstr (error.message, refused[i].value) != NULL);
      return;
    }
  CHECK (r == 0);
}

int
main (void)
{
  size_t i;

  test_fields_1 ();
  test_fields_0 ();
  for (i = 0; i < sizeof rows / sizeof rows[0]; ++i)
    test_row (&rows[i]);
  test_lchs ();
  test_child ();
  test_odd_size ();
  test_comment ();
  test_cut (1, 0x190, 472);
  test_cut (1, 0x180, 456);
  test_cut (1, 0, 456);
  test_cut (0, 0, 420);
  test_others ();
  test_noise ();
  CHECK (fixture_each ("manifest.tsv", test_fixture) >= 29);
  CHECK (fixture_each ("bad/manifest.tsv", test_bad_fixture) >= 13);
  return 0;
}
