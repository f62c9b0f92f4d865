/* SPDX-License-Identifier: BSD-3-Clause */
/* header.c: every check of a header at its limits (vdi-format.md 3.1,
 * 3.3), and that what is accepted can be computed with.
 */
#include <config.h>

#include <stdio.h>
#include <string.h>

#include "headers.h"
#include "image/header.h"
#include "test.h"
#include "utils/bytes.h"

/* Every check, at its limits.  The base is the header of
 * make_header, changed in up to four places; the file is long enough if
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

  /* 2.6: QEMU until 2011.  Not odd bytes, not more than one block, no other
   * block size, no old header and no child: QEMU made none of those.
   */
  { 1, { { 0x170, 8, 3 * MiB + 512 } }, 0, ACCEPTED },
  { 1, { { 0x170, 8, 4 * MiB - 512 } }, 0, ACCEPTED },
  { 1, { { 0x170, 8, 4 * MiB } }, 0, "disk size", " 4194304 " },
  { 1, { { 0x170, 8, 4 * MiB + 512 } }, 0, "disk size", " 4194816 " },
  { 1, { { 0x170, 8, 6 * MiB + 512 }, { 0x178, 4, 2 * MiB } }, 0,
    "disk size", " 6291968 " },
  { 1, { { 0x170, 8, 3 * MiB + 512 }, { 0x1a8, 4, 1 } }, 0,
    "disk size", " 3146240 " },
  { 1, { { 0x170, 8, 512 }, { 0x180, 4, 0 } }, 0, "disk size", " 512 " },
  { 0, { { 0x160, 8, 3 * MiB + 512 } }, 0, "disk size", " 3146240 " },

  /* 3.1 rows 15, 16: QEMU does not care; 3.3 rows 10, 11: VB does not */
  { 1, { { 0x188, 4, 0 } }, 0, ACCEPTED },
  { 1, { { 0x198, 4, 0 } }, 0, ACCEPTED },
  { 1, { { 0x1a8, 4, 1 } }, 0, ACCEPTED },

  /* 3.1 row 18: QEMU invents entries where the map is missing.  The two
   * blocks are missing, too, if their number can be believed.
   */
  { 1, { { 0 } }, MiB + 12, ACCEPTED },
  { 1, { { 0 } }, MiB + 11, "length is 1048587", " 3146741 bytes are missing" },
  { 1, { { 0 } }, MiB, "length is 1048576", " 3146752 bytes are missing" },
  { 1, { { 0 } }, 512, "length is 512", " 4194816 bytes are missing" },
  { 1, { { 0x184, 4, 0 } }, MiB + 11, "length is", " 1 bytes are missing" },
  { 1, { { 0x184, 4, 4 } }, MiB + 11, "length is", " 1 bytes are missing" },
  { 0, { { 0 } }, 432, ACCEPTED },
  { 0, { { 0 } }, 431, "length is 431", " 2097153 bytes are missing" },
};

/* vdi-format.md promises nothing of sums; header.h does. */
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
         (wide) (h->n_blocks + vdi_header_lacks_last_block (h))
         * h->block_size);
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

  make_header (row->major, bytes);
  for (i = 0; i < 4; ++i)
    put_field (bytes, row->change[i]);
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

    make_header (i & 1, bytes);
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

int
main (void)
{
  size_t i;

  for (i = 0; i < sizeof rows / sizeof rows[0]; ++i)
    test_row (&rows[i]);
  test_noise ();
  return 0;
}
