/* SPDX-License-Identifier: BSD-3-Clause */
/* create.c, into memory: the values of vdi-format.md 7.1, byte for byte
 * those of images that VirtualBox made; the limits; and that whenever
 * creation is cut short nobody takes what is there for an image.
 */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "image/header.h"
#include "memory-storage.h"
#include "test.h"
#include "utils/bytes.h"
#include "vdi.h"

#define MiB UINT64_C (0x100000)
#define TiB (MiB * MiB)
#define NAME "/dir/new.vdi"

static int
create (struct memory *mem, const struct vdi_create_options *options,
        const struct vdi_header *parent, struct vdi_error *error)
{
  struct storage *st = memory_storage_open (mem, NAME);
  int r;

  memset (error, 0, sizeof *error);
  r = vdi_create_storage (st, options, parent, NULL, error);
  storage_close (st);
  return r;
}

static void
create_ok (struct memory *mem, const struct vdi_create_options *options,
           const struct vdi_header *parent)
{
  struct vdi_error error;

  memory_init (mem, NULL, 0);
  if (create (mem, options, parent, &error) == -1)
    fprintf (stderr, "%s\n", error.message);
  CHECK (error.err == 0);
}

/*------------------------------------------------------------------*/
/* The table of vdi-format.md 7.1 */

static void
test_values (enum vdi_type type, uint64_t size, uint32_t block_size)
{
  const struct vdi_create_options options = {
    .type = type, .size = size, .block_size = block_size,
  };
  const uint64_t b = block_size ? block_size : MiB;
  const uint64_t n = (size + b - 1) / b;
  const uint64_t data_off = (MiB + 4 * n + MiB - 1) / MiB * MiB;
  const uint64_t n_alloc = type == VDI_TYPE_FIXED ? n : 0;
  struct memory mem;
  uint8_t expected[VDI_HEADER_SIZE] = { 0 };
  uint64_t i;

  create_ok (&mem, &options, NULL);
  CHECK (mem.size == data_off + n_alloc * b);

  strcpy ((char *) expected, "<<< Oracle VirtualBox Disk Image >>>\n");
  put_le32 (expected + 0x40, 0xbeda107f);
  put_le32 (expected + 0x44, 0x00010001);
  put_le32 (expected + 0x48, 0x190);
  put_le32 (expected + 0x4c, type);
  put_le32 (expected + 0x154, MiB);
  put_le32 (expected + 0x158, data_off);
  put_le32 (expected + 0x168, 512);
  put_le64 (expected + 0x170, size);
  put_le32 (expected + 0x178, b);
  put_le32 (expected + 0x180, n);
  put_le32 (expected + 0x184, n_alloc);
  put_le32 (expected + 0x1d4, 512);
  /* Random, version 4, and two different ones. */
  CHECK (mem.bytes[0x188 + 7] >> 4 == 4 && mem.bytes[0x188 + 8] >> 6 == 2);
  CHECK (mem.bytes[0x198 + 7] >> 4 == 4 && mem.bytes[0x198 + 8] >> 6 == 2);
  CHECK (memcmp (mem.bytes + 0x188, mem.bytes + 0x198, 16) != 0);
  memcpy (expected + 0x188, mem.bytes + 0x188, 32);
  CHECK (memcmp (mem.bytes, expected, sizeof expected) == 0);

  for (i = 0; i < n; ++i)
    CHECK (get_le32 (mem.bytes + MiB + 4 * i) ==
           (type == VDI_TYPE_FIXED ? i : VDI_FREE));
  for (i = VDI_HEADER_SIZE; i < MiB; ++i)
    CHECK (mem.bytes[i] == 0);
  for (i = MiB + 4 * n; i < mem.size; ++i)
    CHECK (mem.bytes[i] == 0);
  memory_free (&mem);
}

static void
test_sizes (void)
{
  test_values (VDI_TYPE_DYNAMIC, 512, 0);
  test_values (VDI_TYPE_DYNAMIC, MiB - 512, 0);
  test_values (VDI_TYPE_DYNAMIC, MiB, 0);
  test_values (VDI_TYPE_DYNAMIC, MiB + 512, 0);
  test_values (VDI_TYPE_DYNAMIC, 127 * MiB, 0);
  test_values (VDI_TYPE_DYNAMIC, 128 * MiB, 0);
  test_values (VDI_TYPE_DYNAMIC, 129 * MiB, 0);
  /* A map that just fills 1 MiB, and one that just does not. */
  test_values (VDI_TYPE_DYNAMIC, 262144 * MiB, 0);
  test_values (VDI_TYPE_DYNAMIC, 262144 * MiB + 512, 0);
  test_values (VDI_TYPE_DYNAMIC, 5 * TiB, 0);
  /* Around what write_map has in memory at once. */
  test_values (VDI_TYPE_DYNAMIC, 16383 * 4096, 4096);
  test_values (VDI_TYPE_DYNAMIC, 16384 * 4096, 4096);
  test_values (VDI_TYPE_DYNAMIC, 16385 * 4096, 4096);
  test_values (VDI_TYPE_DYNAMIC, 5 * TiB, 128 * MiB);

  test_values (VDI_TYPE_FIXED, 512, 0);
  test_values (VDI_TYPE_FIXED, 3 * MiB, 0);
  test_values (VDI_TYPE_FIXED, 3 * MiB + 512, 0);
  test_values (VDI_TYPE_FIXED, 16385 * 4096, 4096);
  test_values (VDI_TYPE_FIXED, 5 * MiB, 128 * MiB);
}

/*------------------------------------------------------------------*/
/* What VirtualBox itself made */

/* Compare with a fixture: all up to the data, and the length, but for
 * the count, the entries and the length of blocks that were written.
 */
static void
test_against (const char *name, const char *parent_name, const char *comment,
              bool written_to)
{
  size_t size, parent_size;
  uint8_t *fixture = fixture_read (name, &size), *parent_bytes;
  struct vdi_header h, parent;
  struct vdi_create_options options = { .comment = comment };
  struct vdi_error error;
  struct memory mem;

  CHECK (vdi_header_decode (fixture, VDI_HEADER_SIZE, name, &h, &error) == 0);
  options.type = h.type;
  options.size = parent_name ? 0 : h.disk_size;
  options.block_size = h.block_size;
  options.uuid = &h.uuid_image;
  if (parent_name) {
    parent_bytes = fixture_read (parent_name, &parent_size);
    CHECK (vdi_header_decode (parent_bytes, VDI_HEADER_SIZE, parent_name,
                              &parent, &error) == 0);
    free (parent_bytes);
  }
  create_ok (&mem, &options, parent_name ? &parent : NULL);

  /* Its text was another one then (1.1). */
  memcpy (fixture, mem.bytes, 64);
  /* The modification UUID is random, and others write to parents. */
  memcpy (fixture + 0x198, mem.bytes + 0x198, 16);
  if (parent_name)
    memcpy (fixture + 0x1b8, mem.bytes + 0x1b8, 16);
  if (written_to && h.type != VDI_TYPE_FIXED) {
    memcpy (fixture + 0x184, mem.bytes + 0x184, 4);
    memcpy (fixture + h.map_off, mem.bytes + h.map_off, 4 * h.n_blocks);
  }
  else
    CHECK (mem.size == size);
  CHECK (mem.size >= h.data_off);
  if (memcmp (mem.bytes, fixture, h.data_off) != 0)
    fprintf (stderr, "%s differs\n", name);
  CHECK (memcmp (mem.bytes, fixture, h.data_off) == 0);

  memory_free (&mem);
  free (fixture);
}

static void
test_fixtures (void)
{
  test_against ("empty-3m", NULL, NULL, false);
  test_against ("min-1m", NULL, NULL, true);
  test_against ("scattered-3m", NULL, NULL, true);
  test_against ("odd-sectors", NULL, NULL, true);
  test_against ("fixed-3m", NULL, NULL, true);
  test_against ("block-64k", NULL, NULL, true);
  test_against ("block-2m", NULL, NULL, true);
  test_against ("chain-a-diff1", "chain-a-base", NULL, true);
  test_against ("chain-a-diff2", "chain-a-diff1", NULL, true);
  test_against ("chain-z-diff", "chain-z-base", NULL, true);
  test_against ("chain-b-diff64k", "chain-b-base", NULL, true);
}

static void
test_comment_fixture (void)
{
  size_t size;
  uint8_t *fixture = fixture_read ("comment", &size);
  struct vdi_header h;
  struct vdi_error error;

  CHECK (vdi_header_decode (fixture, VDI_HEADER_SIZE, "comment", &h,
                            &error) == 0);
  CHECK (h.comment[0] != '\0');
  free (fixture);
  test_against ("comment", NULL, h.comment, true);
}

/*------------------------------------------------------------------*/
/* Differencing images */

static void
test_diff (void)
{
  struct vdi_header parent = {
    .disk_size = 3 * MiB - 100, .lchs_cylinders = 5, .lchs_heads = 6,
    .lchs_sectors = 7, .lchs_sector_size = 0, .block_size = 65536,
    .uuid_image = { { 1 } }, .uuid_mod = { { 2 } },
  };
  struct vdi_create_options options = { .type = VDI_TYPE_DIFF };
  struct vdi_header h;
  struct vdi_error error;
  struct memory mem;

  create_ok (&mem, &options, &parent);
  CHECK (vdi_header_decode (mem.bytes, VDI_HEADER_SIZE, NAME, &h,
                            &error) == 0);
  CHECK (vdi_header_validate (&h, NAME, mem.size, &error) == 0);
  CHECK (h.type == VDI_TYPE_DIFF && vdi_header_is_child (&h));
  CHECK (vdi_uuid_equal (&h.uuid_parent, &parent.uuid_image));
  CHECK (vdi_uuid_equal (&h.uuid_parent_mod, &parent.uuid_mod));
  CHECK (h.disk_size == 3 * MiB && h.block_size == MiB && h.n_blocks == 3);
  CHECK (h.lchs_cylinders == 5 && h.lchs_heads == 6 && h.lchs_sectors == 7);
  CHECK (h.lchs_sector_size == 512);
  memory_free (&mem);

  options.size = 8 * MiB;
  create_ok (&mem, &options, &parent);
  CHECK (get_le64 (mem.bytes + 0x170) == 8 * MiB);
  memory_free (&mem);
}

/*------------------------------------------------------------------*/
/* Limits */

static void
refused (const struct vdi_create_options *options,
         const struct vdi_header *parent, int err, const char *a,
         const char *b)
{
  struct vdi_error error;
  struct memory mem;

  memory_init (&mem, NULL, 0);
  CHECK (create (&mem, options, parent, &error) == -1);
  if (error.err != err || !strstr (error.message, a) ||
      !strstr (error.message, b))
    fprintf (stderr, "\"%s\", \"%s\" expected in: %s\n", a, b,
             error.message);
  CHECK (error.err == err);
  CHECK (strncmp (error.message, NAME ": ", sizeof NAME + 1) == 0);
  CHECK (strstr (error.message, a) && strstr (error.message, b));
  CHECK (mem.calls == 0 && mem.size == 0);
  memory_free (&mem);
}

static void
test_limits (void)
{
  static const uint64_t vb_limit = (UINT64_C (1) << 52) - 3 * MiB;
  static const struct {
    uint64_t size;
    uint32_t block_size;
    const char *a, *b;
  } cases[] = {
    { 0, 0, "disk size", " 0" },
    { 1, 0, "disk size 1 ", " 512" },
    { 511, 0, "disk size 511 ", " 512 would" },
    { 513, 0, "disk size 513 ", " 1024 would" },
    { vb_limit, 128 * MiB, "disk size 4503599624224768 ",
      "less than 4503599624224768 " },
    { UINT64_MAX, 0, "disk size 18446744073709551615 ", "too large" },
    { UINT64_MAX - 511, 0, "disk size 18446744073709551104 ", "too large" },
    /* One block more than a 32-bit data offset allows. */
    { 0x3ff80000 * MiB + 512, 0, "disk size", "larger blocks" },
    { UINT64_C (0x3ff80000) * 4096 + 512, 4096, "disk size",
      "at most 4395899027456 " },
    { MiB, 1, "block size 1 ", "power of two" },
    { MiB, 2048, "block size 2048 ", "power of two" },
    { MiB, 4095, "block size 4095 ", "power of two" },
    { MiB, 4097, "block size 4097 ", "power of two" },
    { MiB, 3 * MiB, "block size 3145728 ", "power of two" },
    { MiB, 128 * MiB + 1, "block size 134217729 ", "power of two" },
    { MiB, 256 * MiB, "block size 268435456 ", "power of two" },
    { MiB, UINT32_MAX, "block size 4294967295 ", "power of two" },
  };
  struct vdi_create_options options = { .type = VDI_TYPE_DYNAMIC };
  size_t i;

  for (i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    options.size = cases[i].size;
    options.block_size = cases[i].block_size;
    refused (&options, NULL, EINVAL, cases[i].a, cases[i].b);
  }
}

/* The largest of all, of which the map is not written: the first call
 * must be to set the length.
 */
static void
test_largest (uint64_t size, uint32_t block_size, uint64_t length)
{
  const struct vdi_create_options options = {
    .type = VDI_TYPE_DYNAMIC, .size = size, .block_size = block_size,
  };
  struct vdi_error error;
  struct memory mem;
  char text[64];

  memory_init (&mem, NULL, 0);
  mem.max_size = length - 1;
  CHECK (create (&mem, &options, NULL, &error) == -1);
  CHECK (error.err == ENOSPC && mem.calls == 1);
  snprintf (text, sizeof text, " %" PRIu64 " bytes", length);
  CHECK (strstr (error.message, text) != NULL);
  memory_free (&mem);
}

static void
test_kinds (void)
{
  const struct vdi_header parent = { .disk_size = MiB,
                                     .uuid_image = { { 1 } } };
  const struct vdi_header nobody = { .disk_size = MiB };
  const struct vdi_header nothing = { .uuid_image = { { 1 } } };
  static const struct vdi_uuid null;
  struct vdi_create_options options = { .size = MiB };

  options.type = VDI_TYPE_UNDO;
  refused (&options, NULL, EINVAL, "type 3", "dynamic");
  options.type = 0;
  refused (&options, NULL, EINVAL, "type 0", "dynamic");
  options.type = 5;
  refused (&options, NULL, EINVAL, "type 5", "dynamic");
  options.type = VDI_TYPE_DYNAMIC;
  refused (&options, &parent, EINVAL, "type 1", "cannot have a parent");
  options.type = VDI_TYPE_FIXED;
  refused (&options, &parent, EINVAL, "type 2", "cannot have a parent");
  options.uuid = &null;
  refused (&options, NULL, EINVAL, "UUID 00000000-0000-", "null");
  options.uuid = NULL;
  options.type = VDI_TYPE_DIFF;
  refused (&options, NULL, EINVAL, "type 4", "needs a parent");
  refused (&options, &nobody, EINVAL, "parent", "null");
  options.uuid = &parent.uuid_image;
  refused (&options, &parent, EINVAL, "UUID 00000001-0000-", "parent's");
  options.uuid = NULL;
  options.size = 0;
  refused (&options, &nothing, EINVAL, "disk size", " 0");
}

static void
test_comments (void)
{
  static const char *const good[] = {
    "", "a\nb", "\xc3\xa9t\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x92\xbe",
    "\xf4\x8f\xbf\xbf",
  };
  static const char *const bad[] = {
    "\x80", "\xc3", "a\xff", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80",
    "\xf4\x90\x80\x80", "\xe2\x82", "caf\xe9",
  };
  struct vdi_create_options options = { .type = VDI_TYPE_DYNAMIC,
                                        .size = MiB };
  char longest[VDI_COMMENT_MAX + 2];
  struct memory mem;
  size_t i;

  for (i = 0; i < sizeof good / sizeof good[0]; ++i) {
    options.comment = good[i];
    create_ok (&mem, &options, NULL);
    CHECK (strcmp ((char *) mem.bytes + 0x54, good[i]) == 0);
    memory_free (&mem);
  }
  for (i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
    options.comment = bad[i];
    refused (&options, NULL, EINVAL, "comment", "UTF-8");
  }

  memset (longest, 'c', sizeof longest);
  longest[VDI_COMMENT_MAX] = '\0';
  options.comment = longest;
  create_ok (&mem, &options, NULL);
  CHECK (strcmp ((char *) mem.bytes + 0x54, longest) == 0);
  CHECK (get_le32 (mem.bytes + 0x154) == MiB);
  memory_free (&mem);
  longest[VDI_COMMENT_MAX] = 'c';
  longest[VDI_COMMENT_MAX + 1] = '\0';
  refused (&options, NULL, EINVAL, "comment is 256 bytes", "255");
}

/*------------------------------------------------------------------*/
/* Failures */

static bool
looks_valid (const struct memory *mem)
{
  struct vdi_header h;
  struct vdi_error error;

  return vdi_header_decode (mem->bytes,
                            mem->size < VDI_HEADER_SIZE ? mem->size
                                                        : VDI_HEADER_SIZE,
                            NAME, &h, &error) == 0;
}

/* Fail each call in turn.  Nobody may take what is there for an image
 * until all of it is on stable storage: before the last two calls, which
 * write and sync the header.
 */
static unsigned
test_failures (const struct vdi_create_options *options, const char *log,
               void (*prepare) (struct memory *))
{
  struct vdi_error error;
  struct memory mem;
  unsigned at, total;

  for (at = 1;; ++at) {
    memory_init (&mem, NULL, 0);
    prepare (&mem);
    mem.fail_at = at;
    mem.fail_errno = ENOSPC;
    if (create (&mem, options, NULL, &error) == 0)
      break;
    CHECK (error.err == ENOSPC);
    CHECK (strncmp (error.message, NAME ": ", sizeof NAME + 1) == 0);
    CHECK (mem.calls == at);
    CHECK (strncmp (mem.log, log, at - 1) == 0);
    /* On a device the first call is what ends the image before. */
    if (mem.device && at == 1)
      CHECK (looks_valid (&mem));
    else
      CHECK (looks_valid (&mem) == (at == strlen (log)));
    memory_free (&mem);
  }
  CHECK (strcmp (mem.log, log) == 0);
  CHECK (looks_valid (&mem));
  total = at - 1;
  memory_free (&mem);
  return total;
}

static void
plain (struct memory *mem)
{
  (void) mem;
}

static void
cannot_provision (struct memory *mem)
{
  mem->no_provision = true;
}

/* A device that holds an image already, and old bytes behind it. */
static void
used_device (struct memory *mem)
{
  const struct vdi_create_options old = { .type = VDI_TYPE_DYNAMIC,
                                          .size = 5 * MiB };

  memory_free (mem);
  create_ok (mem, &old, NULL);
  mem->bytes = realloc (mem->bytes, 8 * MiB);
  CHECK (mem->bytes != NULL);
  memset (mem->bytes + mem->size, 0xaa, 8 * MiB - mem->size);
  mem->size = 8 * MiB;
  mem->device = true;
  mem->calls = mem->changes = 0;
  memset (mem->log, 0, sizeof mem->log);
}

static void
used_device_without_zero (struct memory *mem)
{
  used_device (mem);
  mem->no_zero = true;
}

static void
test_all_failures (void)
{
  struct vdi_create_options options = { .type = VDI_TYPE_DYNAMIC,
                                        .size = 3 * MiB };
  char expected[128];

  CHECK (test_failures (&options, "twsws", plain) == 5);
  CHECK (test_failures (&options, "wswsws", used_device) == 6);

  options.type = VDI_TYPE_FIXED;
  CHECK (test_failures (&options, "tPwsws", plain) == 6);
  CHECK (test_failures (&options, "wszwsws", used_device) == 7);
  /* 3 MiB of zeros are written in 48 pieces. */
  memset (expected, 'w', 50);
  expected[0] = 't';
  strcpy (expected + 50, "sws");
  CHECK (test_failures (&options, expected, cannot_provision) == 53);
  memset (expected, 'w', 51);
  expected[1] = 's';
  strcpy (expected + 51, "sws");
  CHECK (test_failures (&options, expected, used_device_without_zero) == 54);
}

static void
test_device (void)
{
  const struct vdi_create_options options = { .type = VDI_TYPE_FIXED,
                                              .size = 3 * MiB };
  struct vdi_error error;
  struct memory mem;
  size_t i;

  memory_init (&mem, NULL, 0);
  used_device_without_zero (&mem);
  CHECK (create (&mem, &options, NULL, &error) == 0);
  CHECK (mem.size == 8 * MiB);
  for (i = 2 * MiB; i < 5 * MiB; ++i)
    CHECK (mem.bytes[i] == 0);
  for (; i < 8 * MiB; ++i)
    CHECK (mem.bytes[i] == 0xaa);
  memory_free (&mem);

  /* Too small by one byte: not a byte is changed. */
  memory_init (&mem, NULL, 0);
  used_device (&mem);
  mem.size = 5 * MiB - 1;
  CHECK (create (&mem, &options, NULL, &error) == -1);
  CHECK (error.err == ENOSPC && strstr (error.message, " 5242880 bytes"));
  CHECK (mem.calls == 0 && looks_valid (&mem));
  memory_free (&mem);
}

static void
test_not_empty (void)
{
  const struct vdi_create_options options = { .type = VDI_TYPE_DYNAMIC,
                                              .size = 3 * MiB };
  struct vdi_error error;
  struct memory mem;

  memory_init (&mem, "x", 1);
  CHECK (create (&mem, &options, NULL, &error) == -1);
  CHECK (error.err == EEXIST && strstr (error.message, "(1 bytes)"));
  CHECK (mem.calls == 0 && mem.size == 1 && mem.bytes[0] == 'x');
  memory_free (&mem);
}

int
main (void)
{
  test_sizes ();
  test_diff ();
  test_limits ();
  test_largest (0x3ff80000 * MiB, 0, UINT32_C (0xfff00000));
  test_largest (UINT64_C (0x3ff80000) * 4096, 4096, UINT32_C (0xfff00000));
  test_largest ((UINT64_C (1) << 52) - 3 * MiB - 512, 128 * MiB, 129 * MiB);
  test_kinds ();
  test_comments ();
  test_all_failures ();
  test_device ();
  test_not_empty ();
  test_fixtures ();
  test_comment_fixture ();
  return 0;
}
