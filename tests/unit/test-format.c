/* SPDX-License-Identifier: BSD-3-Clause */
/* header.c: headers, field by field (vdi-format.md 1), files cut at every
 * byte, and the fixtures, which VirtualBox wrote.
 */
#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "headers.h"
#include "image/header.h"
#include "test.h"
#include "utils/bytes.h"

static void
test_fields_1 (void)
{
  static const struct vdi_uuid image = { { 0x11 } }, mod = { { 0x22 } },
                               parent_mod = { { 0x44 } }, null;
  uint8_t bytes[VDI_HEADER_SIZE], again[VDI_HEADER_SIZE];
  struct vdi_header h;
  struct vdi_error error;

  make_header (1, bytes);
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
  CHECK (memcmp (again, "<<< Oracle VirtualBox Disk Image >>>\n\0\0\0\0\0"
                 "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 64) == 0);
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

  make_header (0, bytes);
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
    make_header (1, bytes);
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
    make_header (1, bytes);
    put_field (bytes, cases[i].change);
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
    make_header (1, bytes);
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

  make_header (1, bytes);
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

  make_header (major, bytes);
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
  test_fields_1 ();
  test_fields_0 ();
  test_lchs ();
  test_child ();
  test_odd_size ();
  test_comment ();
  test_cut (1, 0x190, 472);
  test_cut (1, 0x180, 456);
  test_cut (1, 0, 456);
  test_cut (0, 0, 420);
  test_others ();
  CHECK (fixture_each ("manifest.tsv", test_fixture) >= 29);
  CHECK (fixture_each ("bad/manifest.tsv", test_bad_fixture) >= 13);
  return 0;
}
