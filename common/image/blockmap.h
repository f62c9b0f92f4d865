/* SPDX-License-Identifier: BSD-3-Clause */
/* The block map of one image in memory (vdi-format.md 2.1).
 *
 * Until the image is closed an entry changes only FREE or ZERO ->
 * allocated, or FREE -> ZERO, never back.  So readers take no lock: an
 * entry once seen allocated stays what it is.
 *
 * Invariants (blockmap_check_invariants):
 *   M1  n_allocated is the number of allocated entries.
 *   M2  In a sound map every allocated entry is below high; or, once the image
 *       is written to, below next (indexes.h).
 *   M3  In a sound map no index occurs twice, and high <= n.
 *   M4  In a sound map no page is lost.
 *
 * Memory: 4 bytes per block at most; nothing for pages of BLOCKMAP_PAGE
 * neighbours that are all FREE, or all in order, whatever the header
 * claims.
 */
#ifndef VDI_IMAGE_BLOCKMAP_H
#define VDI_IMAGE_BLOCKMAP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "image/header.h"
#include "storage/storage.h"
#include "utils/error.h"

/* So many entries are kept, or not kept, together. */
#define BLOCKMAP_PAGE 1024

/* What there was on such a page when the map was loaded, if not only
 * FREE, which is 0:
 *   BLOCKMAP_KEPT           entries of all kinds
 *   BLOCKMAP_LOST           only zeros, mostly because the file was cut and
 *                           made longer again: all name index 0
 *   BLOCKMAP_RUN | i << 2   the indexes i, i+1, i+2...
 * Those of the last two kinds are computed, and take no memory.
 */
#define BLOCKMAP_KEPT 1
#define BLOCKMAP_LOST 2
#define BLOCKMAP_RUN  3
#define BLOCKMAP_COMPUTED 2     /* the bit that they have in common */

struct blockmap {
  uint32_t n;                   /* entries; constant */
  uint32_t *pages;              /* see above; constant but for blockmap_move */

  /* Of pages that are not computed.  In the order of the host, all bits
   * inverted: FREE is 0, and memory that nobody has touched says so.
   */
  _Atomic uint32_t *entries;
  _Atomic uint32_t n_allocated;

  /* What was found when the map was loaded; constant. */
  uint32_t high;                /* highest index in use + 1, saturated; from
                                 * the first write on indexes.h's next is */
  bool sound;                   /* may be written to */
  char damage[384];             /* if not sound: the first thing found */
};

/* A map of n entries, all FREE.  -1 if there is no memory. */
extern int blockmap_new (struct blockmap *, uint32_t n);

/* Read the map of an image and look it over (blockmap-load.c).  Damage
 * is not an error.  The header must have been validated against
 * file_length.
 */
extern int blockmap_load (struct blockmap *, struct storage *,
                          const struct vdi_header *, uint64_t file_length,
                          struct vdi_error *);
extern void blockmap_free (struct blockmap *);

/* Visit the blocks whose page was not all FREE when the map was loaded.
 * (Looking at memory that nobody has touched costs as much as touching it.)
 */
#define FOR_EACH_ON_PAGE(block, map, end)                               \
  for (block = 0; block < (end); block++)                               \
    if (block % BLOCKMAP_PAGE == 0 &&                                   \
        (map)->pages[block / BLOCKMAP_PAGE] == 0)                       \
      block += BLOCKMAP_PAGE - 1;                                       \
    else

static inline uint32_t
blockmap_get (const struct blockmap *map, uint32_t block)
{
  const uint32_t page = map->pages[block / BLOCKMAP_PAGE];

  if (page & BLOCKMAP_COMPUTED)
    return (page >> 2) + (page & 1) * (block % BLOCKMAP_PAGE);
  return ~atomic_load_explicit (&map->entries[block], memory_order_acquire);
}

/* The caller sees to it that only one thread changes an entry. */
static inline void
blockmap_set (struct blockmap *map, uint32_t block, uint32_t entry)
{
  if (vdi_entry_is_allocated (entry))
    atomic_fetch_add_explicit (&map->n_allocated, 1, memory_order_relaxed);
  atomic_store_explicit (&map->entries[block], ~entry, memory_order_release);
}

/* An allocated block lies somewhere else in the file now.  Nobody else may
 * use the map meanwhile.
 */
extern void blockmap_move (struct blockmap *, uint32_t block, uint32_t entry);

/* For tests: nobody else may use the map meanwhile.  limit is the first
 * index that nobody has taken yet.
 */
extern int blockmap_check_invariants (const struct blockmap *, uint32_t limit,
                                      const char *name, struct vdi_error *);

#endif /* VDI_IMAGE_BLOCKMAP_H */
