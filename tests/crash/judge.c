/* SPDX-License-Identifier: BSD-3-Clause */
/* Is every crash image right?  See judge.h. */
#include <config.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "image/header.h"
#include "judge.h"
#include "utils/bytes.h"
#include "utils/checked.h"

#define COUNT_OFFSET 388        /* vdi-format.md 1.2: n_alloc... */
#define UUID_OFFSET 408         /* ... and uuid_mod */
#define MAX_VALUES 64           /* of one location */

static char text[300];

static const char * __attribute__ ((format (printf, 1, 2)))
wrong (const char *fs, ...)
{
  va_list args;

  va_start (args, fs);
  vsnprintf (text, sizeof text, fs, args);
  va_end (args);
  return text;
}

/* The different values that a location may have. */
struct set {
  unsigned n;
  uint32_t v[MAX_VALUES];
};

static void
set_add (struct set *set, uint32_t v)
{
  unsigned i;

  for (i = 0; i < set->n; i++)
    if (set->v[i] == v)
      return;
  if (set->n < MAX_VALUES)
    set->v[set->n++] = v;
}

static void
contents_of (const struct disk *d, uint64_t sector, struct set *set)
{
  size_t n, i;
  const struct disk_version *v = disk_versions (d, sector, &n);

  set->n = 0;
  for (i = 0; i < n; i++)
    set_add (set, v[i].content);
}

/* Entries are torn from each other: each has versions of its own. */
static void
entries_of (const struct judge *j, const struct disk *d, unsigned block,
            struct set *set)
{
  const uint64_t offset = j->setup->map_off + 4 * block;
  size_t n, i;
  const struct disk_version *v = disk_versions (d, offset / DISK_SECTOR, &n);

  set->n = 0;
  for (i = 0; i < n; i++)
    set_add (set, get_le32 (disk_content (v[i].content)->bytes +
                            offset % DISK_SECTOR));
}

void
judge_start (struct judge *j, const struct setup *setup, const struct disk *d)
{
  uint64_t i;
  size_t n;
  const struct disk_version *v;

  j->setup = setup;
  v = disk_versions (d, 0, &n);
  for (j->nr_headers = 0; j->nr_headers < MIN (n, 16); j->nr_headers++)
    j->headers[j->nr_headers] = v[j->nr_headers].content;
  disk_size_versions (d, &n);
  j->durable_start = n == 1;
  for (i = 0; i * DISK_SECTOR < setup->max_size; i++) {
    v = disk_versions (d, i, &n);
    j->start[i] = v[n - 1].content;
    if (n > 1)
      j->durable_start = false;
  }
}

/*------------------------------------------------------------------*/

struct header {
  uint32_t min_count, max_count;
  bool old_uuid;                /* may it be that of the session before? */
};

static const char *
judge_header (const struct judge *j, const struct disk *d, struct header *h,
              double *images)
{
  const uint8_t *start = disk_content (j->start[0])->bytes;
  struct set set;
  unsigned i;

  contents_of (d, 0, &set);
  *images *= set.n;
  memset (h, 0, sizeof *h);
  h->min_count = UINT32_MAX;
  for (i = 0; i < set.n; i++) {
    const uint8_t *bytes = disk_content (set.v[i])->bytes;
    const uint32_t count = get_le32 (bytes + COUNT_OFFSET);

    h->min_count = MIN (h->min_count, count);
    h->max_count = MAX (h->max_count, count);
    if (memcmp (bytes + UUID_OFFSET, start + UUID_OFFSET, 16) == 0)
      h->old_uuid = true;
    if (memcmp (bytes, start, COUNT_OFFSET) != 0 ||
        memcmp (bytes + COUNT_OFFSET + 4, start + COUNT_OFFSET + 4,
                UUID_OFFSET - COUNT_OFFSET - 4) != 0 ||
        memcmp (bytes + UUID_OFFSET + 16, start + UUID_OFFSET + 16,
                DISK_SECTOR - UUID_OFFSET - 16) != 0)
      return wrong ("a byte of the header changed that is not ours");
  }
  if (h->max_count > j->setup->sc->n)
    return wrong ("I2: the count %u is above the number of blocks",
                  h->max_count);
  return NULL;
}

/* A map's entry as whoever reads the file now sees it. */
static uint32_t
newest_entry (const struct judge *j, const struct disk *d, unsigned block)
{
  const uint64_t offset = j->setup->map_off + 4 * block;
  size_t n;
  const struct disk_version *v = disk_versions (d, offset / DISK_SECTOR, &n);

  return get_le32 (disk_content (v[n - 1].content)->bytes +
                   offset % DISK_SECTOR);
}

/* Was this header left by the session before? */
static bool
is_start_header (const struct judge *j, uint32_t content)
{
  size_t i;

  for (i = 0; i < j->nr_headers; i++)
    if (j->headers[i] == content)
      return true;
  return false;
}

/* I9: VirtualBox and QEMU append at the count, and VirtualBox refuses the
 * image when that has passed the number of blocks.  So what may be appended
 * before that is not much less than what is not allocated.  What counts as
 * allocated is what had reached the kernel, though a crash may take it.
 */
static const char *
judge_room (const struct judge *j, const struct disk *d)
{
  const uint32_t n_blocks = j->setup->sc->n;
  uint32_t allocated = 0, start_high = 0, entry, bound, room, block;
  size_t n, i;
  const struct disk_version *v = disk_versions (d, 0, &n);

  if (strchr (j->setup->sc->ops, 'x') != NULL)
    return NULL;                /* others raise the count, too */
  for (block = 0; block < n_blocks; block++) {
    allocated += vdi_entry_is_allocated (newest_entry (j, d, block));
    entry = get_le32 (disk_content (j->start[j->setup->map_off / DISK_SECTOR])
                      ->bytes + j->setup->map_off % DISK_SECTOR + 4 * block);
    if (vdi_entry_is_allocated (entry))
      start_high = MAX (start_high, entry + 1);
  }
  bound = MAX (MIN ((n_blocks - allocated) / RESERVE_PART, MAX_RESERVE), 1);
  for (i = 0; i < n; i++) {
    const uint32_t count = get_le32 (disk_content (v[i].content)->bytes +
                                     COUNT_OFFSET);

    room = n_blocks - count;
    if (!is_start_header (j, v[i].content) && count > start_high &&
        room + bound < n_blocks - allocated)
      return wrong ("I9: %u of %u blocks are allocated, but a writer that "
                    "appends at the count %u may add only %u", allocated,
                    n_blocks, count, room);
  }
  return NULL;
}

static const char *
judge_size (const struct judge *j, const struct disk *d,
            const struct header *h, double *images)
{
  size_t n, i, k, different = 0;
  const struct disk_size_version *v = disk_size_versions (d, &n);

  for (i = 0; i < n; i++) {
    for (k = 0; k < i && v[k].size != v[i].size; k++)
      ;
    different += k == i;
    if (v[i].size < j->setup->data_off + h->max_count * j->setup->stride)
      return wrong ("I2: the count is %u, but the file may have only %llu "
                    "bytes", h->max_count, (unsigned long long) v[i].size);
  }
  *images *= (double) different;
  return NULL;
}

static const char *
judge_entries (const struct judge *j, const struct disk *d,
               const struct header *h, struct set *entries, double *images)
{
  unsigned block, other, i, k;

  for (block = 0; block < j->setup->sc->n; block++) {
    struct set *e = &entries[block];

    entries_of (j, d, block, e);
    *images *= e->n;
    for (i = 0; i < e->n; i++) {
      if (!vdi_entry_is_allocated (e->v[i]))
        continue;
      if (e->v[i] >= h->min_count)
        return wrong ("I3: block %u is at index %u, and the count may be %u: "
                      "the next one who allocates overwrites it", block,
                      e->v[i], h->min_count);
      for (other = 0; other < block; other++)
        for (k = 0; k < entries[other].n; k++)
          if (entries[other].v[k] == e->v[i])
            return wrong ("I1: blocks %u and %u may both be at index %u",
                          other, block, e->v[i]);
    }
  }
  return NULL;
}

static const char *
judge_value (const struct judge *j, unsigned guest, uint32_t content,
             const values *allowed)
{
  const unsigned value = setup_value (j->setup, content, guest);
  const struct disk_content *c = disk_content (content);

  if (allowed[guest] & BIT (value))
    return NULL;
  if (c->kind == DISK_KIND_GARBAGE)
    return wrong ("I6: sector %u shows what was on the medium before", guest);
  if (value == VALUE_OTHER && c->kind == DISK_KIND_TAG)
    return wrong ("I6: sector %u shows what was written to sector %u of "
                  "image %u", guest, (unsigned) c->tag.sector, c->tag.image);
  if (value == VALUE_OTHER)
    return wrong ("I6: sector %u shows what nobody wrote", guest);
  if ((allowed[guest] & (allowed[guest] - 1)) == 0)
    return wrong ("I4: sector %u shows value %u, and what was flushed (set "
                  "%#x) is lost", guest, value, allowed[guest]);
  return wrong ("I5: sector %u shows value %u, neither old nor new (set %#x)",
                guest, value, allowed[guest]);
}

/* A sector of the guest, with all that it may show. */
static const char *
judge_sector (const struct judge *j, const struct disk *d, unsigned block,
              unsigned in_block, const struct set *entries,
              const values *allowed)
{
  const struct setup *s = j->setup;
  const unsigned guest = block * s->sc->block_sectors + in_block;
  const char *r;
  unsigned i, k;

  for (i = 0; i < entries->n; i++) {
    const uint32_t entry = entries->v[i];
    struct set set = { .n = 1 };

    if (entry == VDI_FREE)
      set.v[0] = s->shown[guest];
    else if (entry == VDI_ZERO)
      set.v[0] = DISK_CONTENT_ZERO;
    else
      contents_of (d, (s->data_off + entry * s->stride) / DISK_SECTOR +
                   s->sc->extra_sectors + in_block, &set);
    for (k = 0; k < set.n; k++)
      if ((r = judge_value (j, guest, set.v[k], allowed)) != NULL)
        return r;
  }
  return NULL;
}

/* Nothing that can be seen changes while the header may still have the
 * modification UUID of the session before (vdi-format.md 4.6).
 */
static const char *
judge_uuid (const struct judge *j, const struct disk *d,
            const struct set *entries)
{
  const struct setup *s = j->setup;
  unsigned block, i, k;
  size_t n;

  for (block = 0; block < s->sc->n; block++) {
    const uint8_t *start =
      disk_content (j->start[s->map_off / DISK_SECTOR])->bytes;
    const uint32_t entry =
      get_le32 (start + s->map_off % DISK_SECTOR + 4 * block);

    if (entries[block].n > 1 || entries[block].v[0] != entry)
      return wrong ("the map may change before the modification UUID does");
    if (!vdi_entry_is_allocated (entry))
      continue;
    for (i = 0; i < s->sc->block_sectors; i++) {
      const uint64_t sector = (s->data_off + entry * s->stride) / DISK_SECTOR
                              + s->sc->extra_sectors + i;
      const struct disk_version *v = disk_versions (d, sector, &n);

      for (k = 0; k < n; k++)
        if (v[k].content != j->start[sector])
          return wrong ("data may change before the modification UUID does");
    }
  }
  return NULL;
}

const char *
judge_crash (const struct judge *j, const struct disk *d,
             const values *allowed, double *images)
{
  const struct setup *s = j->setup;
  struct set entries[MAX_BLOCKS], set;
  struct header header;
  const char *r;
  unsigned block, i;
  uint64_t sector;

  *images = 1;
  if ((r = judge_header (j, d, &header, images)) != NULL ||
      (r = judge_entries (j, d, &header, entries, images)) != NULL ||
      (r = judge_room (j, d)) != NULL ||
      (r = judge_size (j, d, &header, images)) != NULL)
    return r;
  for (block = 0; block < s->sc->n; block++)
    for (i = 0; i < s->sc->block_sectors; i++)
      if ((r = judge_sector (j, d, block, i, &entries[block],
                             allowed)) != NULL)
        return r;
  for (sector = s->data_off / DISK_SECTOR;
       sector * DISK_SECTOR < s->max_size; sector++) {
    contents_of (d, sector, &set);
    *images *= set.n;
  }
  return header.old_uuid && j->durable_start ? judge_uuid (j, d, entries) : NULL;
}

bool
judge_has_begun (const struct judge *j, const struct disk *d)
{
  size_t n;
  const struct disk_version *v = disk_versions (d, 0, &n);

  /* If the first write of the header failed, nothing else was written. */
  return v[n - 1].content != j->start[0] && v[0].content != j->start[0];
}

const char *
judge_clean (const struct judge *j, const struct disk *d, bool exact)
{
  const struct setup *s = j->setup;
  struct set entries[MAX_BLOCKS];
  uint32_t high = 0, nr = 0;
  struct header h;
  double images = 1;
  unsigned block;
  size_t n;

  if (judge_header (j, d, &h, &images) != NULL ||
      judge_entries (j, d, &h, entries, &images) != NULL)
    return text;
  if (images > 1)
    return wrong ("closed, but header or map are not durable");
  for (block = 0; block < s->sc->n; block++) {
    if (!vdi_entry_is_allocated (entries[block].v[0]))
      continue;
    high = MAX (high, entries[block].v[0] + 1);
    nr++;
  }
  if (exact && (h.max_count != high || nr != high))
    return wrong ("closed, but the count is %u, with %u blocks below %u",
                  h.max_count, nr, high);
  disk_size_versions (d, &n);
  if (n > 1)
    return wrong ("closed, but the size is not durable");
  if (s->sc->mode == DISK_FILE &&
      disk_size (d) != s->data_off + h.max_count * s->stride)
    return wrong ("closed, but the file has %llu bytes, and the count is %u",
                  (unsigned long long) disk_size (d), h.max_count);
  return NULL;
}

static uint64_t
mix (uint64_t v)
{
  v = (v ^ v >> 30) * UINT64_C (0xbf58476d1ce4e5b9);
  v = (v ^ v >> 27) * UINT64_C (0x94d049bb133111eb);
  return v ^ v >> 31;
}

/* A sum over locations and their different values, in any order. */
uint64_t
judge_hash (const struct judge *j, const struct disk *d,
            const values *allowed)
{
  const uint64_t nr = j->setup->max_size / DISK_SECTOR;
  uint64_t h = 0, i;
  struct set set;
  unsigned k;
  size_t n, m, l;
  const struct disk_size_version *v;

  for (i = 0; i < nr; i++) {
    contents_of (d, i, &set);
    for (k = 0; k < set.n; k++)
      h += mix ((i + 1) << 32 | set.v[k]);
  }
  v = disk_size_versions (d, &n);
  for (m = 0; m < n; m++) {
    for (l = 0; l < m && v[l].size != v[m].size; l++)
      ;
    if (l == m)
      h += mix (UINT64_C (1) << 56 | v[m].size);
  }
  return disk_hash_bytes (allowed, j->setup->guest * sizeof *allowed, h) ^
         j->start[0];
}
