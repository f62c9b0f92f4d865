/* SPDX-License-Identifier: BSD-3-Clause */
/* The block map of one image in memory: see blockmap.h. */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "image/blockmap.h"
#include "utils/bitmap.h"
#include "utils/cleanup.h"
#include "utils/pages.h"

static uint64_t
entries_size (uint32_t n)
{
  return n * UINT64_C (4);
}

int
blockmap_new (struct blockmap *map, uint32_t n)
{
  *map = (struct blockmap) {
    .n = n, .sound = true,
    .entries = pages_new (entries_size (n)),
    .pages = calloc (n / BLOCKMAP_PAGE + 1, sizeof *map->pages),
  };
  if (map->entries != NULL && map->pages != NULL)
    return 0;
  blockmap_free (map);
  return -1;
}

void
blockmap_free (struct blockmap *map)
{
  pages_free (map->entries, entries_size (map->n));
  free (map->pages);
  map->entries = NULL;
  map->pages = NULL;
}

/* From now on the entries of this block's page are kept. */
static void
keep_entries (struct blockmap *map, uint32_t block)
{
  const uint32_t page = block / BLOCKMAP_PAGE;
  const uint32_t start = page * BLOCKMAP_PAGE;
  uint32_t i;

  if (!(map->pages[page] & BLOCKMAP_COMPUTED))
    return;
  for (i = start; i < map->n && i - start < BLOCKMAP_PAGE; i++)
    atomic_store (&map->entries[i], ~blockmap_get (map, i));
  map->pages[page] = BLOCKMAP_KEPT;
}

void
blockmap_move (struct blockmap *map, uint32_t block, uint32_t entry)
{
  keep_entries (map, block);
  atomic_store (&map->entries[block], ~entry);
}

int
blockmap_check_invariants (const struct blockmap *map, uint32_t limit,
                           const char *name, struct vdi_error *error)
{
  CLEANUP_FREE uint64_t *used = bitmap_new (map->n);
  uint32_t block, allocated = 0;

  if (used == NULL)
    return vdi_set_errno (error, ENOMEM, "%s: checking the map", name);
  for (block = 0; block < map->n; block++) {
    const uint32_t index = blockmap_get (map, block);

    if (!vdi_entry_is_allocated (index))
      continue;
    allocated++;
    if (!map->sound)
      continue;
    if (map->pages[block / BLOCKMAP_PAGE] == BLOCKMAP_LOST)
      return vdi_set_error (error, EIO, "%s: M4: block %" PRIu32, name, block);
    if (index >= limit || index >= map->n)
      return vdi_set_error (error, EIO, "%s: M2: block %" PRIu32 " at index %"
                            PRIu32 ", limit %" PRIu32, name, block, index,
                            limit);
    if (bitmap_get (used, index))
      return vdi_set_error (error, EIO, "%s: M3: index %" PRIu32 " twice",
                            name, index);
    bitmap_set (used, index);
  }
  if (allocated != map->n_allocated)
    return vdi_set_error (error, EIO, "%s: M1: %" PRIu32 " allocated, counted "
                          "%" PRIu32, name, allocated,
                          (uint32_t) map->n_allocated);
  return 0;
}
