/* SPDX-License-Identifier: BSD-3-Clause */
/* Loading the block map of an image: see blockmap.h.
 *
 * The map is read into a buffer, piece by piece, and only what cannot be
 * said in a few words is kept.  Huge pages are taken only where a whole
 * piece is kept, so memory is at most 16 times what the file holds of the
 * map, whatever its header claims.
 */
#include <config.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "image/blockmap.h"
#include "image/fingerprint.h"
#include "utils/bitmap.h"
#include "utils/bytes.h"
#include "utils/checked.h"
#include "utils/cleanup.h"
#include "utils/pages.h"
#include "utils/text.h"

/* Entries that are read at once: the processor's cache holds them until
 * they are in their place.
 */
#define PIECE (UINT32_C (32) * BLOCKMAP_PAGE)

#define PAGE_BYTES (4 * BLOCKMAP_PAGE)
#define HUGE_ENTRIES ((uint32_t) (PAGES_HUGE / 4))

/* From this many entries on, a fingerprint of the indexes is smaller than
 * a bitmap, and no slower.
 */
#define LARGE (UINT32_C (1) << 20)

static_assert (sizeof (_Atomic uint32_t) == 4, "entries are copied as bytes");
static_assert (BLOCKMAP_PAGE == FINGERPRINT_NUMBERS, "one page at a time");

struct loading {
  struct blockmap *map;
  struct storage *st;
  const struct vdi_header *h;
  uint64_t whole;               /* blocks that the file has room for */
  uint32_t limit;               /* indexes that there can be */

  struct fingerprint *print;    /* of the indexes, or NULL */
  uint64_t ask_from;            /* the file has no hole before this byte */

  uint32_t allocated;
  uint32_t nr_stored, nr_lost;  /* pages: all that are not FREE */
  uint32_t first_bad;           /* the first block that is damaged, or n */
};

/*------------------------------------------------------------------*/
/* Looking over a page of entries */

/* Are all bytes c?  (The C library compares 32 bytes at a time.) */
static bool
is_filled (const uint8_t *bytes, size_t size, uint8_t c)
{
  return bytes[0] == c && memcmp (bytes, bytes + 1, size - 1) == 0;
}

static bool
is_run (const uint8_t bytes[PAGE_BYTES])
{
  const uint32_t first = get_le32 (bytes);
  uint32_t differ = 0;

  if (get_le32 (bytes + PAGE_BYTES - 4) - first != BLOCKMAP_PAGE - 1)
    return false;
  for (uint32_t i = 0; i < BLOCKMAP_PAGE; i++) /* vectorised */
    differ |= get_le32 (bytes + 4 * i) ^ (first + i);
  return differ == 0;
}

/* What of blockmap.h's page is this?  Only whole pages are computed. */
static uint32_t
what_page (const struct loading *l, const uint8_t *bytes, size_t size)
{
  if (is_filled (bytes, size, 0xff))
    return 0;
  if (size < PAGE_BYTES)
    return BLOCKMAP_KEPT;
  if (is_filled (bytes, size, 0))
    return BLOCKMAP_LOST;
  if (is_run (bytes) &&
      get_le32 (bytes) + (uint64_t) BLOCKMAP_PAGE <= l->limit)
    return BLOCKMAP_RUN | get_le32 (bytes) << 2;
  return BLOCKMAP_KEPT;
}

static void
decode (uint32_t *restrict inverted, const uint8_t *restrict bytes)
{
  for (size_t i = 0; i < BLOCKMAP_PAGE; i++) /* vectorised */
    inverted[i] = ~get_le32 (bytes + 4 * i);
}

/* How many are allocated, what is the highest index + 1?  Inverted, FREE
 * is 0, ZERO is 1, and an index below 2^31 is negative: signed numbers are
 * what all processors compare four at a time.
 */
static uint32_t
count (const uint32_t inverted[BLOCKMAP_PAGE], uint32_t *allocated)
{
  int32_t min = 0, max = 0;
  uint32_t n = 0, high = 0;
  size_t i;

  for (i = 0; i < BLOCKMAP_PAGE; i++) { /* vectorised */
    const int32_t x = (int32_t) inverted[i];

    n += inverted[i] >> 31;
    min = MIN (min, x);
    max = MAX (max, x);
  }
  if (max <= 1) {
    *allocated += n;
    return -(uint32_t) min;
  }
  /* Indexes above are damage, and rare. */
  for (i = 0; i < BLOCKMAP_PAGE; i++)
    if (vdi_entry_is_allocated (~inverted[i])) {
      ++*allocated;
      high = MAX (high, ~inverted[i] + 1);
    }
  return high;
}

static void
find_index_too_high (struct loading *l, uint32_t block,
                     const uint32_t *inverted)
{
  while (!vdi_entry_is_allocated (~*inverted) || ~*inverted < l->limit) {
    inverted++;
    block++;
  }
  l->first_bad = MIN (l->first_bad, block);
}

/* Nobody else sees the map yet, so it need not be stored atomically. */
static void
keep_page (struct loading *l, uint32_t block, const uint8_t *bytes)
{
  const uint32_t n = MIN (BLOCKMAP_PAGE, l->map->n - block);
  uint32_t *entries = (uint32_t *) &l->map->entries[block];
  uint32_t last[BLOCKMAP_PAGE], *page = n < BLOCKMAP_PAGE ? last : entries;
  uint8_t padded[PAGE_BYTES];
  uint32_t high;

  if (n < BLOCKMAP_PAGE) {
    memset (padded, 0xff, sizeof padded); /* FREE */
    bytes = memcpy (padded, bytes, n * 4);
  }
  decode (page, bytes);
  high = count (page, &l->allocated);
  l->map->high = MAX (l->map->high, high);
  if (high > l->limit)
    find_index_too_high (l, block, page);
  if (l->print != NULL)
    fingerprint_add (l->print, page);
  if (n < BLOCKMAP_PAGE)
    memcpy (entries, page, n * 4);
}

static void
compute_page (struct loading *l, uint32_t block, uint32_t page)
{
  const uint32_t first = page >> 2;

  l->allocated += BLOCKMAP_PAGE;
  if (page == BLOCKMAP_LOST) {
    l->nr_lost++;
    l->map->high = MAX (l->map->high, 1);
    if (l->limit == 0)
      l->first_bad = MIN (l->first_bad, block);
    return;
  }
  l->nr_stored++;
  l->map->high = MAX (l->map->high, first + BLOCKMAP_PAGE);
  if (l->print != NULL)
    fingerprint_add_range (l->print, first, first + BLOCKMAP_PAGE);
}

/*------------------------------------------------------------------*/
/* Reading */

static int
no_memory (const struct loading *l, struct vdi_error *error)
{
  return vdi_set_errno (error, ENOMEM, "%s: the map of %" PRIu32 " blocks",
                        l->st->name, l->map->n);
}

/* n entries from block on. */
static void
keep_piece (struct loading *l, uint32_t block, uint32_t n,
            const uint8_t *bytes)
{
  uint32_t *pages = &l->map->pages[block / BLOCKMAP_PAGE];
  uint32_t i, kept = 0;

  for (i = 0; i < n; i += BLOCKMAP_PAGE, pages++) {
    *pages = what_page (l, bytes + 4 * i, MIN (PAGE_BYTES, 4 * (n - i)));
    if (*pages & BLOCKMAP_COMPUTED)
      compute_page (l, block + i, *pages);
    else
      kept += *pages;
  }
  l->nr_stored += kept;
  if (kept == PIECE / BLOCKMAP_PAGE)
    pages_fill (&l->map->entries[ROUND_DOWN (block, HUGE_ENTRIES)],
                PAGES_HUGE);
  pages = &l->map->pages[block / BLOCKMAP_PAGE];
  for (i = 0; i < n; i += BLOCKMAP_PAGE, pages++)
    if (*pages == BLOCKMAP_KEPT)
      keep_page (l, block + i, bytes + 4 * i);
}

/* No map has a page of zeros that is as it should be.  If it goes on like
 * that because the file has a hole here, go where that ends.
 */
static uint32_t
skip_hole (struct loading *l, uint32_t block)
{
  const uint64_t map_end = vdi_entry_offset (l->h, l->map->n);
  struct vdi_error error;
  uint64_t offset = vdi_entry_offset (l->h, block), end;
  bool hole;

  if (block >= l->map->n || block % BLOCKMAP_PAGE != 0 ||
      l->map->pages[block / BLOCKMAP_PAGE - 1] != BLOCKMAP_LOST ||
      offset < l->ask_from)
    return block;
  if (storage_extent (l->st, offset, map_end, &hole, &end, &error) == -1)
    return block;               /* then it will be read */
  if (!hole) {
    l->ask_from = end;
    return block;
  }
  for (; end - offset >= PAGE_BYTES; offset += PAGE_BYTES) {
    l->map->pages[block / BLOCKMAP_PAGE] = BLOCKMAP_LOST;
    compute_page (l, block, BLOCKMAP_LOST);
    block += BLOCKMAP_PAGE;
  }
  return block;
}

static int
read_map (struct loading *l, struct vdi_error *error)
{
  CLEANUP_FREE uint8_t *piece = malloc (4 * MIN (l->map->n, PIECE) + 1);
  uint32_t block, n;

  if (piece == NULL)
    return no_memory (l, error);
  for (block = 0; block < l->map->n; block = skip_hole (l, block + n)) {
    n = MIN (PIECE - block % PIECE, l->map->n - block);
    if (storage_read (l->st, piece, n * UINT64_C (4),
                      vdi_entry_offset (l->h, block), "block map",
                      error) == -1)
      return -1;
    keep_piece (l, block, n, piece);
  }
  return 0;
}

/*------------------------------------------------------------------*/
/* Damage */

/* Visit the blocks with indexes from first to first+n-1, up to the first
 * whose index was there before.
 */
static void
find_duplicate_in (struct loading *l, uint64_t *used, uint32_t first,
                   uint32_t n)
{
  uint32_t block;

  FOR_EACH_ON_PAGE (block, l->map, l->first_bad) {
    const uint32_t i = blockmap_get (l->map, block) - first;

    if (i >= n)
      continue;
    if (bitmap_get (used, i)) {
      l->first_bad = block;
      return;
    }
    bitmap_set (used, i);
  }
}

/* With a bitmap, in several rounds if it would need more memory than what
 * the file has of the map.
 */
static int
find_duplicate (struct loading *l)
{
  const uint32_t all = MIN (l->limit, l->map->high);
  const uint32_t step = MIN (all, MAX (UINT64_C (8) * PAGE_BYTES
                                       * l->nr_stored, UINT64_C (1) << 23));
  const uint64_t size = step / 64 * UINT64_C (8) + 8;
  uint32_t first, n;

  for (first = 0; first < all; first += n) {
    uint64_t *used = pages_new (size);

    if (used == NULL)
      return -1;
    n = MIN (step, all - first);
    pages_fill (used, size);
    find_duplicate_in (l, used, first, n);
    pages_free (used, size);
  }
  return 0;
}

/* Each block once, as it should be? */
static bool
are_all_different (const struct loading *l)
{
  return l->print != NULL && l->nr_lost == 0 &&
         l->allocated == l->map->high &&
         fingerprint_is_range (l->print, l->map->high);
}

static void
describe_damage (struct loading *l, uint64_t file_length)
{
  struct blockmap *map = l->map;
  char *const text = map->damage;
  const size_t size = sizeof map->damage;
  const uint32_t block = l->first_bad, index = blockmap_get (map, block);

  map->sound = false;
  text_append (text, size, "block %" PRIu32 " is stored at index %" PRIu32,
               block, index);
  if (index >= l->whole)
    text_append (text, size, ", beyond the end of the file, which has room "
                 "for %" PRIu64 " whole blocks", l->whole);
  else if (index >= map->n)
    text_append (text, size, ", but an image of %" PRIu32 " blocks has no "
                 "such index", map->n);
  else
    text_append (text, size, ", where another block is stored too");
  if (map->high > l->whole && map->high <= map->n)
    text_append (text, size, "; %" PRIu64 " bytes are missing at the end of "
                 "the file, so if there is a complete copy of it, use that",
                 vdi_length_for (l->h, map->high) - file_length);
}

/*------------------------------------------------------------------*/

static int
load (struct loading *l, uint64_t file_length, struct vdi_error *error)
{
  struct blockmap *map = l->map;

  if (read_map (l, error) == -1)
    return -1;
  if (!are_all_different (l) && find_duplicate (l) == -1)
    return no_memory (l, error);
  if (l->first_bad < map->n)
    describe_damage (l, file_length);
  map->n_allocated = l->allocated;
  return 0;
}

int
blockmap_load (struct blockmap *map, struct storage *st,
               const struct vdi_header *h, uint64_t file_length,
               struct vdi_error *error)
{
  struct loading l = {
    .map = map, .st = st, .h = h,
    .whole = file_length <= h->data_off
      ? 0 : (file_length - h->data_off) / vdi_stride (h),
    .first_bad = h->n_blocks,
  };
  int r;

  l.limit = MIN (l.whole, h->n_blocks);
  if (blockmap_new (map, h->n_blocks) == -1)
    return no_memory (&l, error);
  if (map->n >= LARGE) {
    l.print = malloc (sizeof *l.print);
    if (l.print != NULL && fingerprint_init (l.print) == -1) {
      free (l.print);
      l.print = NULL;
    }
  }
  r = load (&l, file_length, error);
  free (l.print);
  if (r == -1)
    blockmap_free (map);
  return r;
}
