/* SPDX-License-Identifier: BSD-3-Clause */
/* The block map of one image in memory (vdi-format.md 2.1).
 *
 * While an image is served (until it is closed) an entry changes only FREE or ZERO ->
 * allocated, or FREE -> ZERO, never back.  So readers take no lock: an
 * entry once seen allocated stays what it is.
 *
 * Invariants (blockmap_check_invariants):
 *   M1  n_allocated is the number of allocated entries.
 *   M2  Every allocated entry is below high.
 *   M3  In a sound map no index occurs twice, and high <= n.
 *   M4  holes is NULL, or says of each index below high whether it was
 *       unused when the map was loaded.
 *
 * Memory: 4 bytes per block, plus 1 bit per block while there are holes.
 */
#ifndef VDI_BLOCKMAP_H
#define VDI_BLOCKMAP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "error.h"
#include "format.h"
#include "storage.h"

struct blockmap {
  uint32_t n;                   /* entries; constant */
  _Atomic uint32_t *entries;    /* in the order of the host */
  _Atomic uint32_t n_allocated;

  /* What the one pass over the map when it was loaded found; constant. */
  uint32_t high;                /* highest index in use + 1, saturated */
  bool sound;                   /* may be written to */
  char damage[384];             /* if not sound: the first thing found */

  /* Unused indexes below high as a bitmap, or NULL if there are none.
   * The reserve takes them over.
   */
  uint64_t *holes;
};

/* Read the map of an image and look it over.  Damage is not an error.
 * The header must have been validated against file_length.
 */
extern int blockmap_load (struct blockmap *, struct storage *,
                          const struct vdi_header *, uint64_t file_length,
                          struct vdi_error *);
extern void blockmap_free (struct blockmap *);

static inline uint32_t
blockmap_get (const struct blockmap *map, uint32_t block)
{
  return atomic_load_explicit (&map->entries[block], memory_order_acquire);
}

/* The caller sees to it that only one thread changes an entry. */
static inline void
blockmap_set (struct blockmap *map, uint32_t block, uint32_t entry)
{
  if (vdi_entry_is_allocated (entry))
    atomic_fetch_add_explicit (&map->n_allocated, 1, memory_order_relaxed);
  atomic_store_explicit (&map->entries[block], entry, memory_order_release);
}

/* An allocated block lies somewhere else in the file now.  Nobody else may
 * use the map meanwhile.
 */
static inline void
blockmap_move (struct blockmap *map, uint32_t block, uint32_t entry)
{
  atomic_store_explicit (&map->entries[block], entry, memory_order_release);
}

/* For tests: nobody else may use the map meanwhile.  limit is the first
 * index that nobody has taken yet.
 */
extern int blockmap_check_invariants (const struct blockmap *, uint32_t limit,
                                      const char *name, struct vdi_error *);

#endif /* VDI_BLOCKMAP_H */
