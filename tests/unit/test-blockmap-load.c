/* SPDX-License-Identifier: BSD-3-Clause */
/* Loading block maps of every size and kind: common/image/blockmap-load.c.
 * What must be found in them is found here in the simplest way.
 */
#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/resource.h>

#include "commit/indexes.h"
#include "image/blockmap.h"
#include "map-file.h"
#include "test.h"
#include "utils/bitmap.h"

#define MiB (UINT64_C (1) << 20)

#define ARRAY_SIZE(a) (sizeof (a) / sizeof ((a)[0]))

static int
load (struct blockmap *map, struct map_file *f, struct vdi_error *error)
{
  return blockmap_load (map, &f->st, &f->h,
                        vdi_length_for (&f->h, f->blocks), error);
}

static void
load_it (struct blockmap *map, struct map_file *f)
{
  struct vdi_error error;

  if (load (map, f, &error) == -1) {
    fprintf (stderr, "%s\n", error.message);
    exit (1);
  }
}

/*------------------------------------------------------------------*/
/* All kinds of maps */

/* What there is to say of a map, found as simply as can be. */
struct findings {
  uint32_t allocated, high, first_bad;
};

/* All entries were read, too. */
static struct findings
look_over (const struct map_file *f, const struct blockmap *map)
{
  const uint32_t n = f->h.n_blocks;
  struct findings r = { .first_bad = n };
  uint8_t *used = calloc (n + 1, 1);

  CHECK (used != NULL);
  for (uint32_t block = 0; block < n; block++) {
    const uint32_t entry = map_file_entry (f, block);

    CHECK (blockmap_get (map, block) == entry);
    if (entry >= VDI_ZERO)
      continue;
    r.allocated++;
    r.high = entry >= r.high ? entry + 1 : r.high;
    if (r.first_bad == n &&
        (entry >= f->blocks || entry >= n || used[entry]))
      r.first_bad = block;
    if (entry < n)
      used[entry] = 1;
  }
  free (used);
  return r;
}

static void
check_file (struct map_file *f)
{
  struct findings wanted;
  struct blockmap map;
  struct vdi_error error;
  unsigned block, entry;

  load_it (&map, f);
  CHECK (map.n == f->h.n_blocks);
  wanted = look_over (f, &map);
  CHECK (map.n_allocated == wanted.allocated);
  CHECK (map.high == wanted.high);
  CHECK (map.sound == (wanted.first_bad == map.n));
  if (!map.sound) {
    CHECK (sscanf (map.damage, "block %u is stored at index %u", &block,
                   &entry) == 2);
    CHECK (block == wanted.first_bad && entry == map_file_entry (f, block));
    CHECK ((entry >= f->blocks) ==
           (strstr (map.damage, "beyond the end of the file") != NULL));
    CHECK ((wanted.high > f->blocks && wanted.high <= map.n) ==
           (strstr (map.damage, "bytes are missing") != NULL));
  }
  CHECK (blockmap_check_invariants (&map, map.high, "", &error) == 0);
  blockmap_free (&map);
}

static uint32_t n;              /* entries, of the map that is being made up */
static uint32_t odd_block, odd_entry; /* one entry that is different */

static uint32_t
all_free (uint32_t block)
{
  return block == odd_block ? odd_entry : VDI_FREE;
}

static uint32_t
all_zero (uint32_t block)
{
  return block == odd_block ? odd_entry : VDI_ZERO;
}

static uint32_t
all_first (uint32_t block)
{
  return block == odd_block ? odd_entry : 0;
}

static uint32_t
in_order (uint32_t block)
{
  return block == odd_block ? odd_entry : block;
}

static uint32_t
in_order_from_7 (uint32_t block)
{
  return block == odd_block ? odd_entry : (block + 7) % n;
}

static uint32_t
backwards (uint32_t block)
{
  return block == odd_block ? odd_entry : n - 1 - block;
}

/* The number is a prime, so if it does not divide n each index is once. */
static uint32_t
in_no_order (uint32_t block)
{
  return block == odd_block ? odd_entry : block * UINT64_C (2654435761) % n;
}

static uint32_t
of_all_kinds (uint32_t block)
{
  if (block == odd_block)
    return odd_entry;
  switch (block / 700 % 5) {
  case 0: return VDI_FREE;
  case 1: return block * UINT64_C (2654435761) % n;
  case 2: return block % 3 ? VDI_ZERO : VDI_FREE;
  case 3: return block % 2 ? block : VDI_FREE;
  default: return block;
  }
}

static uint32_t (*const kinds[]) (uint32_t) = {
  all_free, all_zero, all_first, in_order, in_order_from_7, backwards,
  in_no_order, of_all_kinds,
};

static void
check_kinds (uint32_t map_off, uint32_t blocks)
{
  for (size_t i = 0; i < ARRAY_SIZE (kinds); i++) {
    struct map_file f = map_file_make (n, map_off, blocks, kinds[i]);

    check_file (&f);
  }
}

/* Around all the sizes that anything is done in at once. */
static void
test_sizes (void)
{
  static const uint32_t sizes[] = {
    0, 1, 2, 7, 8, 9, 31, 32, 33, 1023, 1024, 1025, 2048, 5000, 65535, 65536,
    65537, 200000,
  };

  for (size_t i = 0; i < ARRAY_SIZE (sizes); i++) {
    n = sizes[i];
    odd_block = UINT32_MAX;
    check_kinds (512, n);
    check_kinds (457 + i, n);
    if (n > 0)
      check_kinds (513, n - 1);
    check_kinds (512, n / 2);
    check_kinds (512, 0);
    check_kinds (512, 2 * n);
    if (n > 0) {
      odd_block = n - 1;
      odd_entry = 0;
      check_kinds (513, n);
    }
  }
}

/* One entry, anywhere, is what it should not be. */
static void
test_one_wrong (void)
{
  const uint32_t entries[] = {
    0, 1, 1023, 1024, 4999, 5000, 5001, 0x3fffffff, 0x40000000, 0x7fffffff,
    0x80000000, 0x80000001, 0xfffffffd, 0xfffffffe, 0xffffffff,
  };
  static const uint32_t blocks[] = { 0, 1, 1023, 1024, 2047, 4095, 4096,
                                     4999 };

  n = 5000;
  for (size_t i = 0; i < ARRAY_SIZE (entries); i++)
    for (size_t j = 0; j < ARRAY_SIZE (blocks); j++) {
      odd_block = blocks[j];
      odd_entry = entries[i];
      check_kinds (512, n);
      check_kinds (512, n - 10);
      check_kinds (515, 2 * n);
    }
}

/* So many that it is no longer a bitmap that tells them apart. */
static void
test_many (void)
{
  static const size_t some[] = { 3, 5, 6 };
  const uint32_t entries[] = { UINT32_MAX, 0, 700000 };

  n = (1 << 20) + 77;
  for (size_t i = 0; i < ARRAY_SIZE (some); i++)
    for (size_t j = 0; j < ARRAY_SIZE (entries); j++) {
      struct map_file f = map_file_make (n, 512, n, kinds[some[i]]);

      odd_block = entries[j] == UINT32_MAX ? UINT32_MAX : 1000000;
      odd_entry = entries[j];
      check_file (&f);
    }
}

/* Few indexes, far from each other: they are looked for in rounds.  The
 * pair that comes first in the map is not the one of the first round.
 */
static uint32_t
far_apart (uint32_t block)
{
  switch (block) {
  case 10: return 12000000;
  case 2000: return 500;
  case 3000: return n - 1;
  case 900000: return odd_entry == 1 ? 12000000 : VDI_ZERO;
  case 1000000: return odd_entry == 2 ? n - 1 : VDI_ZERO;
  case 2000000: return odd_entry <= 3 && odd_entry > 0 ? 500 : VDI_ZERO;
  default: return VDI_FREE;
  }
}

static void
test_far_apart (void)
{
  n = (1 << 24) + 1;
  for (odd_entry = 0; odd_entry < 4; odd_entry++) {
    struct map_file f = map_file_make (n, 512, n, far_apart);

    check_file (&f);
  }
}

/*------------------------------------------------------------------*/
/* Maps that are not there */

/* Memory that was ever used, in bytes.  That of a sanitizer is not ours. */
static uint64_t
memory (void)
{
  struct rusage usage;

  CHECK (getrusage (RUSAGE_SELF, &usage) == 0);
#if defined (__SANITIZE_ADDRESS__) || defined (__SANITIZE_THREAD__)
  return 0;
#else
  return usage.ru_maxrss * UINT64_C (1024);
#endif
}

static void
check_lost (const struct blockmap *map)
{
  CHECK (!map->sound);
  CHECK (strncmp (map->damage, "block 1 is stored at index 0, where another"
                  " block is stored too", 63) == 0);
}

/* 1 GiB of map, and nothing in the file: no block is read, no memory used
 * for what there is not.
 */
static void
test_nothing_stored (void)
{
  const uint64_t before = memory ();
  struct blockmap map;
  struct map_file f;

  n = 1 << 28;
  f = map_file_make (n, 512, 5, all_free);
  f.nr = 1;
  f.stored[0][1] = 1;           /* something far in front */
  load_it (&map, &f);
  check_lost (&map);
  CHECK (map.n_allocated == n && map.high == 1);
  for (uint32_t block = 0; block < n; block += 12345)
    CHECK (blockmap_get (&map, block) == 0);
  CHECK (blockmap_get (&map, n - 1) == 0);
  CHECK (f.bytes_read <= MiB);
  CHECK (f.asked <= 2);
  CHECK (memory () <= before + 8 * MiB);
  blockmap_free (&map);

  f.blocks = 0;                 /* not even room for block 0 */
  load_it (&map, &f);
  CHECK (!map.sound && strstr (map.damage, "block 0 is stored at index 0,"
                               " beyond the end of the file") != NULL);
  blockmap_free (&map);
}

/* The same, where the file system does not tell: it takes time, but no
 * memory.  And where it says that these zeros are on the disk.
 */
static void
test_zeros_stored (void)
{
  const uint64_t before = memory ();
  struct blockmap map;

  n = (1 << 24) + 3;
  for (unsigned i = 0; i < 3; i++) {
    struct map_file f = map_file_make (n, 513, 5, all_first);

    odd_block = UINT32_MAX;
    f.knows_no_holes = i == 0;
    f.extent_fails = i == 1;
    load_it (&map, &f);
    check_lost (&map);
    CHECK (blockmap_get (&map, 0) == 0 && blockmap_get (&map, n - 1) == 0);
    CHECK (i == 1 || f.asked <= 1);
    CHECK (memory () <= before + 8 * MiB);
    blockmap_free (&map);
  }
}

/* All that is in order, or free, takes none either. */
static void
test_nothing_to_remember (void)
{
  const uint64_t before = memory ();
  static uint32_t (*const some[]) (uint32_t) = { all_free, in_order };

  n = 1 << 24;
  odd_block = UINT32_MAX;
  for (size_t i = 0; i < ARRAY_SIZE (some); i++) {
    struct map_file f = map_file_make (n, 512, n, some[i]);
    struct blockmap map;
    struct indexes ix;

    load_it (&map, &f);
    CHECK (map.sound);
    CHECK (blockmap_get (&map, n - 5) == some[i] (n - 5));
    CHECK (indexes_init (&ix, &map) == 0);
    CHECK (ix.nr_unused == 0);
    CHECK (f.asked == 0);
    CHECK (memory () <= before + 8 * MiB);
    indexes_free (&ix);
    blockmap_free (&map);
  }
}

/* A piece here and a piece there, each of which is read; the holes between
 * begin and end where they like.
 */
static void
test_something_stored (void)
{
  static const uint32_t map_offs[] = { 457, 512, 515, 4096 };
  static const size_t some[] = { 0, 3, 6, 7 };

  n = 1 << 20;
  odd_block = UINT32_MAX;
  for (size_t i = 0; i < ARRAY_SIZE (map_offs); i++)
    for (size_t j = 0; j < ARRAY_SIZE (some); j++) {
      struct map_file f = map_file_make (n, map_offs[i], n, kinds[some[j]]);
      static const uint64_t stored[][2] = {
        { 0, 8192 }, { MiB / 2, MiB / 2 + 4096 }, { MiB - 1, MiB + 1 },
        { 2 * MiB, 2 * MiB + 4100 }, { 3 * MiB + 8, 3 * MiB + 99999 },
        { 4 * MiB, 4 * MiB + 9 },
      };

      memcpy (f.stored, stored, sizeof stored);
      f.nr = ARRAY_SIZE (stored);
      check_file (&f);
      CHECK (f.bytes_read < 2 * MiB);
      CHECK (f.asked < 20);
    }
}

/*------------------------------------------------------------------*/

static void
test_unreadable (void)
{
  struct blockmap map;
  struct vdi_error error;

  n = 200000;
  odd_block = UINT32_MAX;
  for (uint64_t at = 512; at < 512 + 4 * n; at += 4 * n / 5) {
    struct map_file f = map_file_make (n, 512, n, in_no_order);

    f.fails_at = at;
    CHECK (load (&map, &f, &error) == -1 && error.err == EIO);
    CHECK (strstr (error.message, "disk.vdi") != NULL);
    CHECK (strstr (error.message, "block map") != NULL);
  }
}

/* Indexes that nobody uses are known to who wants to write. */
static void
check_holes (uint32_t (*kind) (uint32_t))
{
  struct map_file f = map_file_make (n, 512, n, kind);
  uint8_t *used = calloc (n + 1, 1);
  struct blockmap map;
  struct indexes ix;

  CHECK (used != NULL);
  for (uint32_t block = 0; block < n; block++)
    if (kind (block) < n)
      used[kind (block)] = 1;
  load_it (&map, &f);
  CHECK (map.sound);
  CHECK (indexes_init (&ix, &map) == 0);
  CHECK (ix.next == map.high);
  for (uint32_t i = 0; i < map.high; i++)
    CHECK (bitmap_get (ix.unused, i) == !used[i]);
  CHECK (indexes_check_invariants (&ix) == NULL);
  indexes_free (&ix);
  blockmap_free (&map);
  free (used);
}

static uint32_t
with_holes (uint32_t block)
{
  if (block < 1024)
    return block + 2000;
  if (block < 1024 + 300)
    return block % 2 ? VDI_FREE : n - 1 - block;
  return VDI_FREE;
}

static void
test_holes (void)
{
  odd_block = UINT32_MAX;
  for (n = 5000; n < 5070; n++)
    check_holes (with_holes);
  check_holes (in_no_order);
  check_holes (all_free);
}

/* What was not kept can be changed like everything else. */
static void
test_set (void)
{
  struct blockmap map;
  struct vdi_error error;
  struct map_file f;

  n = 10000;
  f = map_file_make (n, 512, n, with_holes);
  load_it (&map, &f);
  blockmap_set (&map, 1025, 0);
  blockmap_set (&map, 5000, VDI_ZERO);
  blockmap_set (&map, 5000, n - 1);
  blockmap_set (&map, n - 1, 1);
  CHECK (blockmap_get (&map, 1025) == 0);
  CHECK (blockmap_get (&map, 5000) == n - 1);
  CHECK (blockmap_get (&map, 4999) == VDI_FREE);
  CHECK (blockmap_get (&map, n - 1) == 1);
  CHECK (map.n_allocated == 1024 + 150 + 3);
  CHECK (blockmap_check_invariants (&map, n, "", &error) == 0);
  blockmap_set (&map, 4999, 2500);
  CHECK (blockmap_check_invariants (&map, n, "", &error) == -1);
  CHECK (strstr (error.message, "M3") != NULL);
  blockmap_free (&map);
}

int
main (void)
{
  test_nothing_stored ();       /* before more memory is used */
  test_zeros_stored ();
  test_nothing_to_remember ();
  test_something_stored ();
  test_sizes ();
  test_one_wrong ();
  test_many ();
  test_far_apart ();
  test_unreadable ();
  test_holes ();
  test_set ();
  return 0;
}
