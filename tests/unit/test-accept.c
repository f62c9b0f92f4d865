/* SPDX-License-Identifier: BSD-3-Clause */
/* Whatever QEMU opens we open, and read the same from it, unless it can
 * be told that QEMU reads what was never written: the exceptions are
 * listed in qemu_is_wrong.
 *
 * Each field of a header gets values around its limits; qemu-img is
 * asked what it thinks of the result.
 */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test.h"
#include "tmpdir.h"
#include "utils/bytes.h"
#include "vdi.h"

#define MiB UINT32_C (0x100000)
#define BLOCKS 4
#define SIZE (1024 + 2 * MiB)

static char *image, *raw;
static uint8_t bytes[SIZE];
static unsigned both, only_we, only_qemu, neither;

/* Two blocks, with something in each; the disk ends in the last one. */
static void
make_image (void)
{
  static const uint32_t entries[BLOCKS] = { 1, VDI_FREE, 0, VDI_ZERO };
  const struct vdi_header h = {
    .header_len = 0x190, .type = VDI_TYPE_DYNAMIC, .map_off = 512,
    .data_off = 1024, .sector_size = 512, .lchs_sector_size = 512,
    .disk_size = BLOCKS * MiB - 512, .block_size = MiB, .n_blocks = BLOCKS,
    .n_alloc = 2, .uuid_image = { { 1 } }, .uuid_mod = { { 2 } },
  };
  unsigned i;

  memset (bytes, 0, sizeof bytes);
  vdi_header_encode (&h, bytes);
  for (i = 0; i < BLOCKS; ++i)
    put_le32 (bytes + 512 + 4 * i, entries[i]);
  for (i = 1024; i < SIZE; i += 65536 - 512)
    memset (bytes + i, 1 + i / 65536, 512);
}

static void
write_image (size_t size)
{
  FILE *fp = fopen (image, "w");

  CHECK (fp != NULL);
  CHECK (fwrite (bytes, 1, size, fp) == size);
  CHECK (fclose (fp) == 0);
}

static bool
qemu (const char *what, const char *to)
{
  char command[3 * PATH_MAX];

  snprintf (command, sizeof command, "%s %s %s %s >/dev/null 2>&1",
            QEMU_IMG, what, image, to);
  return system (command) == 0;
}

/* It opens these, but what it reads is not what the format says. */
static bool
qemu_is_wrong (size_t size)
{
  const uint64_t map_off = get_le32 (bytes + 0x154);
  const uint64_t data_off = get_le32 (bytes + 0x158);
  const uint64_t map_end = map_off + 4 * (uint64_t) get_le32 (bytes + 0x180);
  const uint32_t type = get_le32 (bytes + 0x4c);

  return map_off < 456          /* the map in the header */
         || data_off < map_end  /* the data in the map */
         || map_end > size      /* no map: entries are invented */
         || get_le32 (bytes + 0x17c) != 0 /* offsets are wrong */
         /* A differencing image of an unknown kind: whose? */
         || (get_le32 (bytes + 0x50) & 0x200 && (type == 0 || type > 4));
}

/* With missing=zero, as QEMU has it, everything must be the same. */
static void
compare (struct vdi *vdi)
{
  const uint64_t size = vdi_size (vdi);
  uint8_t *ours = malloc (size + 1), *theirs = malloc (size + 1);
  struct vdi_error error;
  FILE *fp = fopen (raw, "r");

  CHECK (ours != NULL && theirs != NULL && fp != NULL);
  CHECK (fread (theirs, 1, size + 1, fp) == size);
  CHECK (vdi_read (vdi, ours, size, 0, &error) == 0);
  CHECK (memcmp (ours, theirs, size) == 0);
  fclose (fp);
  free (ours);
  free (theirs);
}

static void
test_one (size_t size)
{
  struct vdi_options options;
  struct vdi_error error;
  struct vdi *vdi;
  bool we, they;

  write_image (size);
  they = qemu ("info -f vdi", "");
  vdi_options_init (&options);
  options.missing_zero = true;
  we = vdi_open (image, &options, &vdi, &error) == 0;
  if (!we && they && !qemu_is_wrong (size))
    fprintf (stderr, "QEMU opens what is refused: %s\n", error.message);
  CHECK (we || !they || qemu_is_wrong (size));
  if (we && they && !qemu_is_wrong (size)) {
    CHECK (qemu ("convert -f vdi -O raw", raw));
    compare (vdi);
  }
  if (we)
    CHECK (vdi_close (vdi, &error) == 0);
  ++*(we && they ? &both : we ? &only_we : they ? &only_qemu : &neither);
}

static void
test_field (uint32_t offset, const uint32_t *values, size_t nr)
{
  uint32_t was = get_le32 (bytes + offset);
  size_t i;

  for (i = 0; i < nr; ++i) {
    put_le32 (bytes + offset, values[i]);
    test_one (SIZE);
  }
  put_le32 (bytes + offset, was);
}

#define FIELD(offset, ...)                                              \
  do {                                                                  \
    static const uint32_t values[] = { __VA_ARGS__ };                   \
    test_field ((offset), values, sizeof values / sizeof values[0]);    \
  } while (0)

int
main (void)
{
  static const size_t lengths[] = {
    0, 72, 456, 472, 511, 512, 513, 527, 528, 1023, 1024, 1024 + MiB - 1,
    1024 + MiB, 1024 + MiB + 65536 + 100, SIZE - 513, SIZE - 1,
  };
  size_t i;

  if (system (QEMU_IMG " --version >/dev/null 2>&1") != 0) {
    fprintf (stderr, "skipped: there is no qemu-img\n");
    return TEST_SKIPPED;
  }
  tmpdir_make ();
  image = tmpdir_file ("image.vdi");
  raw = tmpdir_file ("image.raw");
  make_image ();
  test_one (SIZE);
  CHECK (both == 1);

  FIELD (0x00, 0, 0xffffffff);
  FIELD (0x40, 0, 0x7f10dabe);
  FIELD (0x44, 0, 2, 0x00010000, 0x00010002, 0x00020001);
  FIELD (0x48, 0, 0x17f, 0x180, 0x18f, 0x191, 0xffffffff);
  FIELD (0x4c, 0, 2, 3, 4, 5, 0xffffffff);
  FIELD (0x50, 1, 2, 0x100, 0x200, 0x400, 0xffffffff);
  FIELD (0x150, 0xffffffff);
  FIELD (0x154, 0, 1, 456, 511, 513, 1024, 0x80000000);
  FIELD (0x158, 0, 512, 527, 528, 1023, 1536, 0x200000, 0xfffffe00);
  FIELD (0x15c, 1, 0xffffffff);
  FIELD (0x160, 1, 0xffffffff);
  FIELD (0x164, 1, 0xffffffff);
  FIELD (0x168, 0, 1, 513, 4096);
  FIELD (0x16c, 1, 0xffffffff);
  FIELD (0x170, 0, 1, 511, 512, 3 * MiB, 4 * MiB - 513, 4 * MiB - 511,
         4 * MiB, 4 * MiB + 1, 4 * MiB + 512);
  FIELD (0x174, 1, 0x80000000);
  FIELD (0x178, 0, 512, 65536, MiB + 1, 2 * MiB, 0x80000000);
  FIELD (0x17c, 1, 2, 3, 512, 0x80000000);
  FIELD (0x180, 0, 3, 5, 128, 129, 0xffffffff);
  FIELD (0x184, 0, 1, 3, 4, 5, 0xffffffff);
  FIELD (0x188, 0, 0xffffffff);
  FIELD (0x198, 0, 0xffffffff);
  FIELD (0x1b8, 1);
  FIELD (0x1c8, 1, 0xffffffff);
  FIELD (0x1d4, 0, 513);
  FIELD (0x1fc, 0xffffffff);
  for (i = 512; i < 512 + 4 * BLOCKS; i += 4)
    FIELD (i, 0, 1, 2, 3, 4, 0x7ff, 0x7fffffff, 0xfffffffd, 0xfffffffe,
           0xffffffff);
  for (i = 0; i < sizeof lengths / sizeof lengths[0]; ++i)
    test_one (lengths[i]);

  /* An empty disk has no map at all. */
  put_le32 (bytes + 0x170, 0);
  put_le32 (bytes + 0x180, 0);
  put_le32 (bytes + 0x184, 0);
  test_one (512);

  printf ("opened by both %u, only by us %u, only by QEMU %u, by neither"
          " %u\n", both, only_we, only_qemu, neither);
  CHECK (both > 60 && only_we > 10 && neither > 10);
  return 0;
}
