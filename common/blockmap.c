/* SPDX-License-Identifier: BSD-3-Clause */
/* The block map of one image in memory: see blockmap.h. */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bitmap.h"
#include "blockmap.h"
#include "bytes.h"
#include "checked.h"

/* Read the file's bytes into the array itself, in pieces, and turn each
 * into integers in place: the map is in memory only once.
 */
static int
read_entries (struct blockmap *map, struct storage *st,
              const struct vdi_header *h, struct vdi_error *error)
{
  const uint32_t step = 1 << 18;
  uint32_t i, j, n;

  for (i = 0; i < map->n; i += n) {
    uint8_t *bytes = (uint8_t *) &map->entries[i];

    n = MIN (step, map->n - i);
    if (storage_read (st, bytes, n * UINT64_C (4), vdi_entry_offset (h, i),
                      "block map", error) == -1)
      return -1;
    for (j = 0; j < n; j++)
      atomic_init (&map->entries[i + j], get_le32 (bytes + 4 * j));
  }
  return 0;
}

static void __attribute__ ((format (printf, 2, 3)))
damaged (struct blockmap *map, const char *fs, ...)
{
  va_list args;

  if (!map->sound)
    return;                     /* the first one is enough for a message */
  map->sound = false;
  va_start (args, fs);
  vsnprintf (map->damage, sizeof map->damage, fs, args);
  va_end (args);
}

static void
say_how_much_is_missing (struct blockmap *map, uint64_t bytes)
{
  const size_t len = strlen (map->damage);

  snprintf (map->damage + len, sizeof map->damage - len, "; %" PRIu64
            " bytes are missing at the end of the file, so if there is a "
            "complete copy of it, use that", bytes);
}

/* One pass: count, find the highest index, and everything that forbids
 * writing.  Which indexes are used remains in map->holes, inverted by
 * the caller.
 */
static void
look_over (struct blockmap *map, const struct vdi_header *h,
           uint64_t file_length)
{
  const uint64_t stride = vdi_stride (h);
  const uint64_t whole = file_length <= h->data_off
    ? 0 : (file_length - h->data_off) / stride;
  uint32_t block, allocated = 0;

  for (block = 0; block < map->n; block++) {
    const uint32_t index = blockmap_get (map, block);

    if (!vdi_entry_is_allocated (index))
      continue;
    allocated++;
    map->high = MAX (map->high, index + 1);
    if (index >= whole)
      damaged (map, "block %" PRIu32 " is stored at index %" PRIu32
               ", beyond the end of the file, which has room for %" PRIu64
               " whole blocks", block, index, whole);
    else if (index >= map->n)
      damaged (map, "block %" PRIu32 " is stored at index %" PRIu32
               ", but an image of %" PRIu32 " blocks has no such index",
               block, index, map->n);
    else if (bitmap_get (map->holes, index))
      damaged (map, "block %" PRIu32 " is stored at index %" PRIu32
               ", where another block is stored too", block, index);
    else
      bitmap_set (map->holes, index);
  }
  atomic_init (&map->n_allocated, allocated);
  if (!map->sound && map->high > whole && map->high <= map->n)
    say_how_much_is_missing (map, vdi_length_for (h, map->high) - file_length);
}

int
blockmap_load (struct blockmap *map, struct storage *st,
               const struct vdi_header *h, uint64_t file_length,
               struct vdi_error *error)
{
  uint32_t i;

  map->n = h->n_blocks;
  map->high = 0;
  map->sound = true;
  map->holes = bitmap_new (map->n);
  map->entries = malloc (map->n * UINT64_C (4) + 1);
  if (map->holes == NULL || map->entries == NULL) {
    vdi_set_errno (error, ENOMEM, "%s: the map of %" PRIu32 " blocks",
                   st->name, map->n);
    goto err;
  }
  if (read_entries (map, st, h, error) == -1)
    goto err;
  look_over (map, h, file_length);

  if (map->sound && map->high > map->n_allocated) {
    for (i = 0; i <= map->n / 64; i++)
      map->holes[i] = ~map->holes[i];
  }
  else {
    free (map->holes);
    map->holes = NULL;
  }
  return 0;

 err:
  blockmap_free (map);
  return -1;
}

void
blockmap_free (struct blockmap *map)
{
  free (map->holes);
  free (map->entries);
  map->holes = NULL;
  map->entries = NULL;
}

int
blockmap_check_invariants (const struct blockmap *map, uint32_t limit,
                           const char *name, struct vdi_error *error)
{
  uint64_t *used = bitmap_new (map->n);
  uint32_t block, allocated = 0;
  int r = -1;

  if (used == NULL)
    return vdi_set_errno (error, ENOMEM, "%s: checking the map", name);
  for (block = 0; block < map->n; block++) {
    const uint32_t index = blockmap_get (map, block);

    if (!vdi_entry_is_allocated (index))
      continue;
    allocated++;
    if (!map->sound)
      continue;
    if (index >= limit || index >= map->n) {
      vdi_set_error (error, EIO, "%s: M2: block %" PRIu32 " at index %" PRIu32
                     ", limit %" PRIu32, name, block, index, limit);
      goto out;
    }
    if (bitmap_get (used, index)) {
      vdi_set_error (error, EIO, "%s: M3: index %" PRIu32 " twice", name,
                     index);
      goto out;
    }
    bitmap_set (used, index);
  }
  if (allocated != map->n_allocated)
    vdi_set_error (error, EIO, "%s: M1: %" PRIu32 " allocated, counted %"
                   PRIu32, name, allocated, (uint32_t) map->n_allocated);
  else
    r = 0;
 out:
  free (used);
  return r;
}
