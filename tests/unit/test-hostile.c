/* SPDX-License-Identifier: BSD-3-Clause */
/* Images that are wrong in every way: each field of the header, each
 * entry of the map, and the length of the file are changed to what
 * lies at and around every limit, alone and several at once.  See
 * hostile.h for what must become of them.
 *
 * Memory is limited, so an allocation that believes the header fails.
 */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "hostile.h"
#include "image/header.h"
#include "test.h"
#include "utils/bytes.h"
#include "utils/checked.h"

#define BLOCK 4096u
#define BLOCKS 8u
#define SECTOR 512u

#define ARRAY_SIZE(a) (sizeof (a) / sizeof ((a)[0]))

static struct hostile_tally tally;

static uint64_t random_state = 1;

static uint32_t
random_below (uint32_t n)
{
  random_state = random_state * 6364136223846793005u + 1442695040888963407u;
  return (random_state >> 33) % n;
}

/*------------------------------------------------------------------*/
/* Images */

struct disk {
  const char *what;
  struct hostile_file level[2];         /* the image, then its parent */
  unsigned nr;
};

static struct vdi_header
header_of (const struct hostile_file *f)
{
  struct vdi_header h;
  struct vdi_error error;

  CHECK (vdi_header_decode (f->bytes, SECTOR, "base", &h, &error) == 0);
  return h;
}

/* entries: the map; every sector of every block is different. */
static struct hostile_file
make_file (const struct vdi_header *h, const uint32_t *entries)
{
  struct hostile_file f = { .size = vdi_length_for (h, h->n_alloc) };
  uint64_t i;

  f.bytes = malloc (f.size);
  CHECK (f.bytes != NULL);
  for (i = 0; i < f.size; ++i)
    f.bytes[i] = i < h->data_off ? 0 : 1 + (i / SECTOR * 7 + i) % 255;
  vdi_header_encode (h, f.bytes);
  for (i = 0; i < h->n_blocks; ++i)
    put_le32 (f.bytes + vdi_entry_offset (h, i), entries[i]);
  return f;
}

static const struct vdi_header plain = {
  .major = 1, .minor = 1,
  .header_len = 0x190, .type = VDI_TYPE_DYNAMIC, .map_off = 512,
  .data_off = 1024, .sector_size = 512, .lchs_sector_size = 512,
  .disk_size = BLOCKS * BLOCK - SECTOR, .block_size = BLOCK,
  .n_blocks = BLOCKS, .n_alloc = 5,
  .uuid_image = { { 1 } }, .uuid_mod = { { 2 } },
};

static struct disk
make_plain (void)
{
  static const uint32_t entries[] = { 3, VDI_FREE, 1, 4, 0, VDI_ZERO,
                                      VDI_FREE, 2 };

  return (struct disk) { "plain", { make_file (&plain, entries) }, 1 };
}

static struct disk
make_fixed (void)
{
  static const uint32_t entries[] = { 0, 1, 2, 3, 4, 5, 6, 7 };
  struct vdi_header h = plain;

  h.type = VDI_TYPE_FIXED;
  h.n_alloc = BLOCKS;
  h.block_extra = 512;
  return (struct disk) { "fixed", { make_file (&h, entries) }, 1 };
}

/* The old header, by vdi-format.md 1.3. */
static struct disk
make_old (void)
{
  static const uint32_t entries[] = { 3, VDI_FREE, 1, 4, 0, VDI_ZERO,
                                      VDI_FREE, 2 };
  struct vdi_header h = plain;
  struct hostile_file f;

  h.major = 0;
  h.map_off = 420;
  h.data_off = 420 + 4 * BLOCKS;
  f = make_file (&h, entries);
  memset (f.bytes + 0x44, 0, 420 - 0x44);
  put_le32 (f.bytes + 0x44, 2);
  put_le32 (f.bytes + 0x48, VDI_TYPE_DYNAMIC);
  put_le64 (f.bytes + 0x160, h.disk_size);
  put_le32 (f.bytes + 0x168, BLOCK);
  put_le32 (f.bytes + 0x16c, BLOCKS);
  put_le32 (f.bytes + 0x170, h.n_alloc);
  f.bytes[0x174] = 1;
  f.bytes[0x184] = 2;
  /* The old image is full of data where make_file put a 1.1 header. */
  memset (f.bytes + h.data_off, 0x5a, SECTOR - h.data_off);
  return (struct disk) { "0.2", { f }, 1 };
}

/* Smaller blocks than the parent's, and a larger disk. */
static struct disk
make_child (void)
{
  static const uint32_t entries[] = { VDI_FREE, 0, VDI_FREE, VDI_ZERO, 2,
                                      VDI_FREE, 1, VDI_FREE };
  struct disk d = make_plain ();
  struct vdi_header h = plain;

  h.type = VDI_TYPE_DIFF;
  h.n_alloc = 3;
  h.block_size = 2 * BLOCK;
  h.disk_size = BLOCKS * 2 * BLOCK;
  h.uuid_image.bytes[0] = 3;
  h.uuid_parent = plain.uuid_image;
  h.uuid_parent_mod = plain.uuid_mod;
  d.what = "child";
  d.level[1] = d.level[0];
  d.level[0] = make_file (&h, entries);
  d.nr = 2;
  return d;
}

static void
free_disk (struct disk *d)
{
  unsigned i;

  for (i = 0; i < d->nr; ++i)
    free (d->level[i].bytes);
}

static struct disk
copy_disk (const struct disk *d)
{
  struct disk copy = *d;
  unsigned i;

  for (i = 0; i < d->nr; ++i) {
    copy.level[i].bytes = malloc (d->level[i].size + 1);
    CHECK (copy.level[i].bytes != NULL);
    memcpy (copy.level[i].bytes, d->level[i].bytes, d->level[i].size);
  }
  return copy;
}

static void
set_length (struct hostile_file *f, uint64_t size)
{
  CHECK (size <= HOSTILE_ROOM);
  f->bytes = realloc (f->bytes, size + 1);
  CHECK (f->bytes != NULL);
  if (size > f->size)
    memset (f->bytes + f->size, 0xee, size - f->size);
  f->size = size;
}

/* Values for a word: what is around every limit there is. */
static uint32_t
hostile (unsigned i, uint32_t was)
{
  const uint32_t values[] = {
    was - 1, was + 1, was * 2, was ^ 0x80000000, 0, 1, 2, 3, 4, 0x100, 0x200,
    0x300, 0x17f, 0x180, 0x190, 455, 456, 511, 512, 513, BLOCKS - 1, BLOCKS,
    BLOCKS + 1, BLOCK - 1, BLOCK, BLOCK + 1, 0x3fffffff, 0x40000000,
    0x7fffffff, 0x80000000, 0x80000001, 0xfffffffd, 0xfffffffe, 0xffffffff,
  };

  return values[i % ARRAY_SIZE (values)];
}
#define NR_HOSTILE 34

static void
mutate (const struct disk *base, unsigned level, uint64_t offset,
        uint32_t value)
{
  struct disk d;

  if (offset + 4 > base->level[level].size)
    return;
  d = copy_disk (base);
  put_le32 (d.level[level].bytes + offset, value);
  hostile_test (d.level, d.nr, &tally);
  free_disk (&d);
}

static void
test_headers (const struct disk *base)
{
  unsigned level, offset, i;

  for (level = 0; level < base->nr; ++level)
    for (offset = 0x40; offset < 0x1d8; offset += 4) {
      if (offset == 0x60)
        offset = 0x148;         /* the comment is much the same inside */
      for (i = 0; i < NR_HOSTILE; ++i)
        mutate (base, level, offset,
                hostile (i, get_le32 (base->level[level].bytes + offset)));
    }
}

static void
test_maps (const struct disk *base)
{
  unsigned level, block, i;

  for (level = 0; level < base->nr; ++level) {
    const struct vdi_header h = header_of (&base->level[level]);

    for (block = 0; block < BLOCKS; ++block)
      for (i = 0; i < NR_HOSTILE + BLOCKS; ++i) {
        const uint64_t at = vdi_entry_offset (&h, block);
        const uint8_t *bytes = base->level[level].bytes;

        mutate (base, level, at,
                i < NR_HOSTILE
                ? hostile (i, get_le32 (bytes + at))
                : get_le32 (bytes + vdi_entry_offset (&h, i - NR_HOSTILE)));
      }
  }
}

static void
test_lengths (const struct disk *base)
{
  unsigned level, i;
  int by;

  for (level = 0; level < base->nr; ++level) {
    const struct vdi_header h = header_of (&base->level[level]);
    uint64_t edges[16 + BLOCKS] = {
      0, 64, 72, 420, 456, 472, 512, h.map_off, vdi_entry_offset (&h, 1),
      vdi_entry_offset (&h, BLOCKS), h.data_off,
    };
    unsigned nr = 11;

    for (i = 0; i <= h.n_alloc; ++i)
      edges[nr++] = vdi_length_for (&h, i);
    for (i = 0; i < nr; ++i)
      for (by = -512; by <= 512; by += by == -512 || by == 1 ? 511 : 1) {
        struct disk d;

        if (by < 0 && edges[i] < (uint64_t) -by)
          continue;
        d = copy_disk (base);
        set_length (&d.level[level], edges[i] + by);
        hostile_test (d.level, d.nr, &tally);
        free_disk (&d);
      }
  }
}

/* Several things wrong at once. */
static void
test_many (const struct disk *base, unsigned rounds)
{
  unsigned n;

  for (; rounds > 0; --rounds) {
    struct disk d = copy_disk (base);

    for (n = 1 + random_below (4); n > 0; --n) {
      struct hostile_file *f = &d.level[random_below (d.nr)];
      const uint32_t at = random_below (4)
        ? 0x140 + 4 * random_below (0x100 / 4) : 0x40 + 4 * random_below (4);

      if (random_below (8) == 0)
        set_length (f, random_below (f->size + 8192));
      else if (at + 4 <= f->size)
        put_le32 (f->bytes + at,
                  hostile (random_below (NR_HOSTILE),
                           get_le32 (f->bytes + at)));
    }
    hostile_test (d.level, d.nr, &tally);
    free_disk (&d);
  }
}

/*------------------------------------------------------------------*/
/* Maps so long that pages of them are remembered in a few words */

#define LONG 2560u              /* two pages of 1024 and a half */

/* The first page in order, the second free, the rest of all kinds. */
static struct disk
make_long (void)
{
  struct vdi_header h = plain;
  struct hostile_file f = { .size = 0 };
  uint32_t block, entry;
  uint64_t i;

  h.block_size = SECTOR;
  h.n_blocks = LONG;
  h.n_alloc = 1024 + 256;
  h.disk_size = LONG * SECTOR;
  h.data_off = h.map_off + 4 * LONG;
  f.size = vdi_length_for (&h, h.n_alloc);
  f.bytes = malloc (f.size);
  CHECK (f.bytes != NULL);
  for (i = 0; i < f.size; ++i)
    f.bytes[i] = 1 + (i / SECTOR * 7 + i) % 255;
  vdi_header_encode (&h, f.bytes);
  for (block = 0; block < LONG; ++block) {
    if (block < 1024)
      entry = block;
    else if (block < 2048 || block % 2 == 0)
      entry = VDI_FREE;
    else
      entry = 1024 + (block - 2048) / 2;
    put_le32 (f.bytes + vdi_entry_offset (&h, block), entry);
  }
  return (struct disk) { "long", { f }, 1 };
}

static void
set_page (struct disk *d, uint32_t page, uint8_t c)
{
  const struct vdi_header h = header_of (&d->level[0]);
  const uint64_t from = vdi_entry_offset (&h, 1024 * page);
  const uint64_t to = MIN (from + 4096, h.data_off);

  memset (d->level[0].bytes + from, c, to - from);
}

/* Zeros where the map was, or nothing; and one entry changed beside it. */
static void
test_long (const struct disk *base)
{
  const struct vdi_header h = header_of (&base->level[0]);
  static const uint32_t blocks[] = { 0, 1, 1023, 1024, 1025, 2047, 2048,
                                     LONG - 1 };
  static const uint8_t fill[] = { 0, 0xff, 0xfe, 0x01 };
  unsigned page, i, j;

  for (page = 0; page < 3; ++page)
    for (i = 0; i < ARRAY_SIZE (fill); ++i) {
      struct disk d = copy_disk (base);

      set_page (&d, page, fill[i]);
      hostile_test (d.level, d.nr, &tally);
      for (j = 0; j < ARRAY_SIZE (blocks); ++j)
        mutate (&d, 0, vdi_entry_offset (&h, blocks[j]),
                hostile (random_below (NR_HOSTILE), LONG));
      free_disk (&d);
    }
  for (j = 0; j < ARRAY_SIZE (blocks); ++j)
    for (i = 0; i < NR_HOSTILE; ++i)
      mutate (base, 0, vdi_entry_offset (&h, blocks[j]), hostile (i, 1024));
  for (i = 0; i <= h.n_alloc; i += 64) { /* the file cut */
    struct disk d = copy_disk (base);

    set_length (&d.level[0], vdi_length_for (&h, i));
    hostile_test (d.level, d.nr, &tally);
    free_disk (&d);
  }
}

/*------------------------------------------------------------------*/
/* The disk larger than the map, as in images that QEMU made until 2011 */

#define QEMU_BLOCK 0x100000u

static struct disk
make_lacking (uint64_t disk_size, uint32_t entry)
{
  struct vdi_header h = plain;

  h.block_size = QEMU_BLOCK;
  h.n_blocks = h.n_alloc = 1;
  h.disk_size = disk_size;
  return (struct disk) { "lacking", { make_file (&h, &entry) }, 1 };
}

/* As large as its parent could be, and larger than it is. */
static struct disk
make_child_of_lacking (uint64_t disk_size, uint32_t entry)
{
  static const uint32_t entries[] = { VDI_FREE, 0, VDI_FREE, VDI_ZERO,
                                      VDI_FREE, 1, VDI_ZERO, VDI_FREE };
  struct disk d = make_lacking (disk_size, entry);
  struct vdi_header h = plain;

  h.type = VDI_TYPE_DIFF;
  h.n_alloc = 2;
  h.block_size = QEMU_BLOCK / 4;
  h.disk_size = 2 * QEMU_BLOCK;
  h.uuid_image.bytes[0] = 3;
  h.uuid_parent = plain.uuid_image;
  d.level[1] = d.level[0];
  d.level[0] = make_file (&h, entries);
  d.nr = 2;
  return d;
}

static void
test_served (struct disk d, bool served)
{
  tally = (struct hostile_tally) { 0 };
  hostile_test (d.level, d.nr, &tally);
  CHECK (tally.served == served && tally.written == 0);
  free_disk (&d);
}

static void
test_lacking (void)
{
  static const uint32_t entries[] = { 0, VDI_FREE, VDI_ZERO, 1, 0x7fffffff };
  static const struct {
    uint64_t disk_size;
    bool served;
  } cases[] = {
    { QEMU_BLOCK + 1, false },
    { QEMU_BLOCK + SECTOR, true },
    { QEMU_BLOCK + SECTOR + 1, false },
    { QEMU_BLOCK + 7 * BLOCK, true },
    { 2 * QEMU_BLOCK - SECTOR, true },
    { 2 * QEMU_BLOCK - 1, false },
    { 2 * QEMU_BLOCK, false },
    { 2 * QEMU_BLOCK + SECTOR, false },
  };
  unsigned i, j;

  for (i = 0; i < ARRAY_SIZE (cases); ++i)
    for (j = 0; j < ARRAY_SIZE (entries); ++j) {
      struct disk d = make_lacking (cases[i].disk_size, entries[j]);

      set_length (&d.level[0], d.level[0].size - 3 * SECTOR);
      test_served (d, cases[i].served); /* the file ends early, too */
      test_served (make_lacking (cases[i].disk_size, entries[j]),
                   cases[i].served);
      test_served (make_child_of_lacking (cases[i].disk_size, entries[j]),
                   cases[i].served);
    }
}

/* The sanitizers map their memory all at once. */
static void
limit_memory (void)
{
#if !defined (__SANITIZE_ADDRESS__) && !defined (__SANITIZE_THREAD__)
  const struct rlimit limit = { .rlim_cur = 256u << 20,
                                .rlim_max = 256u << 20 };

  CHECK (setrlimit (RLIMIT_AS, &limit) == 0);
#endif
}

/* Neither all nor none of anything, else this tests nothing. */
static void
check_tally (const struct disk *d, unsigned least)
{
  printf ("%s: %u tried, %u refused, %u served, of which %u damaged, %u"
          " written to\n", d->what, tally.tried, tally.refused, tally.served,
          tally.damaged, tally.written);
  CHECK (tally.tried > least);
  CHECK (tally.refused + tally.served == tally.tried);
  CHECK (tally.damaged > tally.tried / 10);
  CHECK (tally.written > tally.tried / 20);
}

int
main (void)
{
  struct disk disks[] = { make_plain (), make_fixed (), make_old (),
                          make_child () };
  struct disk long_disk;
  size_t i;

  limit_memory ();
  for (i = 0; i < ARRAY_SIZE (disks); ++i) {
    tally = (struct hostile_tally) { 0 };
    hostile_test (disks[i].level, disks[i].nr, &tally);
    CHECK (tally.served == 1 && tally.damaged == 0 && tally.written == 1);

    test_headers (&disks[i]);
    test_maps (&disks[i]);
    test_lengths (&disks[i]);
    test_many (&disks[i], 3000);
    check_tally (&disks[i], 4000);
    CHECK (tally.refused > tally.tried / 10);
    free_disk (&disks[i]);
  }

  tally = (struct hostile_tally) { 0 };
  long_disk = make_long ();
  test_long (&long_disk);
  check_tally (&long_disk, 300);
  free_disk (&long_disk);

  test_lacking ();
  return 0;
}
