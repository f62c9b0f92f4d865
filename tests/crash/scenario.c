/* SPDX-License-Identifier: BSD-3-Clause */
/* What the exhaustive tests start from: see scenario.h. */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/header.h"
#include "scenario.h"
#include "utils/bytes.h"
#include "utils/checked.h"

#define IMAGE 1                 /* disk_tag.image */
#define PARENT 10               /* and following */
#define SOMEBODY_ELSE 99

/* Blocks of two sectors, so that a new block has a rest to be got right.
 * In the alphabets a number is a sector of the guest, "+n" how many.
 */
#define OPS_3 "w0 w1 w2 w1+2 f0 f1+2 F t0+2 z2+2 z4 n0"
#define FEW_3 "w0 w2 f2 F t0+2 z2+2 n0"
/* Blocks of four sectors: many more crash images of each state. */
#define OPS_4 "w0 w4 w8 w3+2 w10+6 f4 F t0+4 z4+4 z9+2 n0"
#define FEW_4 "w0 w4 w7+8 F t0+4 z4+4"
#define OPS_3_ALLOCATING "w0 w2 w4 f0 f4 F b n0+2"

const struct scenario scenarios[] = {
  { .name = "base", .what = "an empty image on a file system",
    .block_sectors = 2, .n = 3, .map = "...", .ops = OPS_3, .few = FEW_3 },
  { .name = "base-two", .what = "two blocks of three are allocated",
    .block_sectors = 2, .n = 3, .map = "10.", .count = 2, .file_blocks = 2,
    .ops = OPS_3 },
  { .name = "base-tail", .what = "an earlier crash left a reserve and data "
    "in it", .block_sectors = 2, .n = 3, .map = "0..", .count = 3,
    .file_blocks = 3, .ops = OPS_3 },
  { .name = "base-hole", .what = "an index is unused, others' data in it",
    .block_sectors = 2, .n = 3, .map = ".1.", .count = 2, .file_blocks = 2,
    .ops = OPS_3 },
  { .name = "base-holes", .what = "only unused indexes are left",
    .block_sectors = 2, .n = 3, .map = "..2", .count = 3, .file_blocks = 3,
    .ops = OPS_3 },
  { .name = "base-tick", .what = "the ticker is at work, too",
    .block_sectors = 2, .n = 4, .map = "0...", .count = 1, .file_blocks = 1,
    .ops = OPS_3_ALLOCATING " w6 R" },
  { .name = "extra", .what = "blocks begin with an extra area; no hole "
    "punching, no durable writes", .no_punch = true, .no_dsync = true,
    .block_sectors = 2, .extra_sectors = 1, .n = 3, .map = "z0.",
    .count = 1, .file_blocks = 1, .ops = OPS_3 },
  { .name = "stale", .what = "a file that does not grow with zeros",
    .mode = DISK_STALE, .block_sectors = 2, .n = 3, .map = "0..",
    .count = 1, .file_blocks = 1, .ops = OPS_3 },
  { .name = "device", .what = "a block device with old data",
    .mode = DISK_DEVICE, .block_sectors = 2, .n = 3, .map = "...",
    .ops = OPS_3, .few = FEW_3 },
  { .name = "device-two", .what = "a block device, two blocks allocated, "
    "nothing but writes", .mode = DISK_DEVICE, .no_punch = true,
    .no_dsync = true, .block_sectors = 2, .n = 3, .map = "10.", .count = 2,
    .ops = OPS_3 },
  { .name = "child", .what = "a child over a parent of the same block size",
    .block_sectors = 2, .n = 3, .map = "...", .nr_parents = 1,
    .parent_block_sectors = { 2 }, .parent_sectors = { 6 },
    .parent_map = { "ddz" }, .ops = OPS_3, .few = FEW_3 },
  { .name = "child-two", .what = "a child with blocks of its own, ZERO ones "
    "and a hole", .block_sectors = 2, .n = 3, .map = "1z.", .count = 2,
    .file_blocks = 2, .nr_parents = 1, .parent_block_sectors = { 2 },
    .parent_sectors = { 6 }, .parent_map = { "ddd" }, .ops = OPS_3 },
  { .name = "chain", .what = "three images, all of different block and disk "
    "sizes", .block_sectors = 2, .n = 3, .map = "0..", .count = 1,
    .file_blocks = 1, .nr_parents = 2, .parent_block_sectors = { 1, 4 },
    .parent_sectors = { 5, 6 }, .parent_map = { "d.zd.", "dd" },
    .ops = OPS_3 },
  { .name = "child-device", .what = "a child on a block device",
    .mode = DISK_DEVICE, .block_sectors = 2, .n = 3, .map = "0..",
    .count = 1, .nr_parents = 1, .parent_block_sectors = { 2 },
    .parent_sectors = { 6 }, .parent_map = { "ddd" }, .ops = OPS_3 },
  { .name = "base-wide", .what = "four blocks of four sectors",
    .block_sectors = 4, .n = 4, .map = "0...", .count = 1, .file_blocks = 1,
    .ops = OPS_4, .few = FEW_4 },
  { .name = "device-wide", .what = "the same on a block device",
    .mode = DISK_DEVICE, .block_sectors = 4, .n = 4, .map = "0...",
    .count = 1, .ops = OPS_4, .few = FEW_4 },
  { .name = "child-wide", .what = "the same over two parents",
    .block_sectors = 4, .n = 4, .map = "0..z", .count = 1, .file_blocks = 1,
    .nr_parents = 2, .parent_block_sectors = { 8, 2 },
    .parent_sectors = { 16, 12 }, .parent_map = { "d.", "ddzzdd" },
    .ops = OPS_4, .few = FEW_4 },
  { .name = "faults", .what = "any call may fail once",
    .block_sectors = 2, .n = 3, .map = "0..", .count = 1, .file_blocks = 1,
    .faults = 1, .ops = "f0 w2 w1+2 f4 F z2+2 z0 b" },
  { .name = "child-faults", .what = "any call may fail once, in a child",
    .block_sectors = 2, .n = 3, .map = "0..", .count = 1, .file_blocks = 1,
    .nr_parents = 1, .parent_block_sectors = { 2 }, .parent_sectors = { 6 },
    .parent_map = { "ddd" }, .faults = 1, .ops = "f0 w2 w1+2 f4 F z2+2 z2 b" },
  { .name = "device-faults", .what = "any call may fail once, on a device",
    .mode = DISK_DEVICE, .block_sectors = 2, .n = 3, .map = "0..",
    .count = 1, .faults = 1, .ops = "f0 w2 w1+2 f4 F z2+2 b" },
  { .name = "foreign", .what = "a program without locks writes, too",
    .block_sectors = 2, .n = 4, .map = "0...", .count = 1, .file_blocks = 1,
    .ops = "w0 w2 w4 w6 F b x" },
  { .name = "readers", .what = "one reads while the other writes",
    .block_sectors = 2, .n = 3, .map = "0..", .count = 1, .file_blocks = 1,
    .nr_parents = 1, .parent_block_sectors = { 2 }, .parent_sectors = { 6 },
    .parent_map = { "ddd" }, .ops = "r0+6 w0 w2 w2+2 z2+2 t0+2 n2 F" },
  { .name = NULL },
};

const struct scenario *
scenario_find (const char *name)
{
  const struct scenario *sc;

  for (sc = scenarios; sc->name; sc++)
    if (strcmp (sc->name, name) == 0)
      return sc;
  return NULL;
}

/*------------------------------------------------------------------*/

static void
put_tag (struct disk *d, uint64_t offset, uint32_t image, uint32_t sequence,
         uint64_t sector)
{
  struct disk_tag tag = {
    .image = image, .sequence = sequence, .sector = sector,
  };
  uint8_t bytes[DISK_SECTOR];

  disk_tag_write (bytes, &tag);
  disk_put (d, bytes, sizeof bytes, offset);
}

void
setup_write_bytes (uint8_t *bytes, unsigned guest, unsigned sequence)
{
  struct disk_tag tag = {
    .image = IMAGE, .sequence = sequence, .sector = guest,
  };

  disk_tag_write (bytes, &tag);
}

static struct vdi_uuid
uuid_of (unsigned image, bool mod)
{
  struct vdi_uuid uuid = { {
    (uint8_t) image, mod, 0, 0, 0, 0, 0, 0x40, 0x80, 0, 0, 0, 0, 0, 0, 2,
  } };

  return uuid;
}

static void
put_header (struct disk *d, unsigned image, unsigned parent,
            unsigned block_sectors, unsigned extra_sectors, unsigned n,
            uint64_t sectors, unsigned count)
{
  struct vdi_header h = {
    .major = 1, .minor = 1, .header_len = 0x190,
    .type = parent ? VDI_TYPE_DIFF : VDI_TYPE_DYNAMIC,
    .comment = "crash test", .map_off = 512, .data_off = 1024,
    .sector_size = 512, .lchs_sector_size = 512,
    .disk_size = sectors * DISK_SECTOR,
    .block_size = block_sectors * DISK_SECTOR,
    .block_extra = extra_sectors * DISK_SECTOR,
    .n_blocks = n, .n_alloc = count,
    .uuid_image = uuid_of (image, false), .uuid_mod = uuid_of (image, true),
  };
  uint8_t bytes[VDI_HEADER_SIZE];

  if (parent) {
    h.uuid_parent = uuid_of (parent, false);
    h.uuid_parent_mod = uuid_of (parent, true);
  }
  vdi_header_encode (&h, bytes);
  disk_put (d, bytes, sizeof bytes, 0);
}

/* What a parent and those below it show at a sector. */
static uint32_t
shown_at (const struct scenario *sc, unsigned level, unsigned sector)
{
  struct disk_tag tag = {
    .image = PARENT + level, .sequence = 1, .sector = sector,
  };
  uint8_t bytes[DISK_SECTOR];

  if (level == sc->nr_parents || sector >= sc->parent_sectors[level])
    return DISK_CONTENT_ZERO;
  switch (sc->parent_map[level][sector / sc->parent_block_sectors[level]]) {
  case 'z':
    return DISK_CONTENT_ZERO;
  case '.':
    return shown_at (sc, level + 1, sector);
  default:
    disk_tag_write (bytes, &tag);
    return disk_intern (bytes);
  }
}

/* Its blocks are stored in reverse order. */
static void
make_parent (struct setup *s, unsigned level)
{
  const struct scenario *sc = s->sc;
  const unsigned bs = sc->parent_block_sectors[level];
  const unsigned sectors = sc->parent_sectors[level];
  const unsigned n = (sectors + bs - 1) / bs;
  const bool has_parent = level + 1 < sc->nr_parents;
  static const char *const names[] = { "parent", "grandparent" };
  struct disk_config config = {
    .name = names[level], .size = 1024, .max_size = 1024 + n * bs * 512,
    .max_versions = 2,
  };
  struct disk *d = disk_new (&config);
  unsigned block, count = 0, i;
  uint8_t map[DISK_SECTOR];

  memset (map, 0, sizeof map);
  for (block = n; block-- > 0; ) {
    const char kind = sc->parent_map[level][block];
    uint32_t entry = kind == 'z' ? VDI_ZERO : VDI_FREE;

    if (kind == 'd') {
      entry = count++;
      for (i = 0; i < bs; i++)
        put_tag (d, 1024 + (entry * bs + i) * DISK_SECTOR, PARENT + level, 1,
                 block * bs + i);
    }
    put_le32 (map + 4 * block, entry);
  }
  disk_put (d, map, sizeof map, 512);
  put_header (d, PARENT + level, has_parent ? PARENT + level + 1 : 0, bs, 0,
              n, sectors, count);
  s->parents[level] = d;
}

void
setup_make (struct setup *s, const struct scenario *sc, bool few)
{
  const char *ops = few ? sc->few : sc->ops;
  unsigned i;

  memset (s, 0, sizeof *s);
  s->sc = sc;
  s->guest = sc->n * sc->block_sectors;
  s->stride = (uint64_t) (sc->block_sectors + sc->extra_sectors) *
              DISK_SECTOR;
  s->map_off = 512;
  s->data_off = 1024;
  /* A file may become longer than it should. */
  s->max_size = s->data_off + (sc->n + (sc->mode != DISK_DEVICE)) * s->stride;
  s->config = (struct disk_config) {
    .name = "image", .mode = sc->mode, .size = s->data_off,
    .max_size = s->max_size, .max_versions = 16,
    .can_punch = !sc->no_punch, .can_zero = !sc->no_punch,
    .can_provision = true, .can_dsync = !sc->no_dsync,
    .torn_start = 512, .torn_end = 1024,
  };
  if (sc->mode == DISK_DEVICE)
    s->config.size = s->max_size;
  if (s->guest > MAX_GUEST || s->max_size / DISK_SECTOR > MAX_SECTORS)
    abort ();
  for (i = 0; i < sc->nr_parents; i++)
    make_parent (s, i);
  for (i = 0; i < s->guest; i++)
    s->shown[i] = shown_at (sc, 0, i);
  while (*ops) {
    if (s->nr_ops == MAX_OPS || !op_parse (&ops, &s->ops[s->nr_ops++]))
      abort ();
    while (*ops == ' ')
      ops++;
  }
}

void
setup_free (struct setup *s)
{
  unsigned i;

  for (i = 0; i < s->sc->nr_parents; i++)
    disk_free (s->parents[i]);
}

void
setup_fill (const struct setup *s, struct disk *d)
{
  const struct scenario *sc = s->sc;
  bool used[MAX_BLOCKS] = { false };
  uint8_t map[DISK_SECTOR];
  unsigned block, index, i;
  uint64_t offset;

  memset (map, 0, sizeof map);
  for (block = 0; block < sc->n; block++) {
    uint32_t entry = sc->map[block] == '.' ? VDI_FREE : VDI_ZERO;

    if (sc->map[block] >= '0' && sc->map[block] <= '9') {
      entry = (uint32_t) (sc->map[block] - '0');
      used[entry] = true;
      offset = s->data_off + entry * s->stride +
               sc->extra_sectors * DISK_SECTOR;
      for (i = 0; i < sc->block_sectors; i++)
        put_tag (d, offset + i * DISK_SECTOR, IMAGE, VALUE_OLD,
                 block * sc->block_sectors + i);
    }
    put_le32 (map + 4 * block, entry);
  }
  /* Old data of this very disk, but of other places. */
  for (index = 0; index < sc->file_blocks; index++)
    for (i = 0; !used[index] && i < s->stride / DISK_SECTOR; i++)
      put_tag (d, s->data_off + index * s->stride + i * DISK_SECTOR,
               SOMEBODY_ELSE, 1, i);
  disk_put (d, map, sizeof map, s->map_off);
  put_header (d, IMAGE, sc->nr_parents ? PARENT : 0, sc->block_sectors,
              sc->extra_sectors, sc->n, s->guest, sc->count);
}

unsigned
setup_value (const struct setup *s, uint32_t content, unsigned guest)
{
  const struct disk_content *c;

  if (content == DISK_CONTENT_ZERO)
    return VALUE_ZERO;
  if (content == s->shown[guest])
    return VALUE_PARENT;
  c = disk_content (content);
  if (c->kind != DISK_KIND_TAG || c->tag.image != IMAGE ||
      c->tag.sector != guest)
    return VALUE_OTHER;
  return c->tag.sequence;
}

/*------------------------------------------------------------------*/

bool
op_parse (const char **s, struct op *op)
{
  const char *p = *s;
  char *end;

  memset (op, 0, sizeof *op);
  if (*p == '\0' || strchr ("wfFtznZrbRxc", *p) == NULL)
    return false;
  op->kind = *p++;
  if (*p >= '0' && *p <= '9') {
    op->first = (uint8_t) strtoul (p, &end, 10);
    op->count = 1;
    p = end;
    if (*p == '+') {
      op->count = (uint8_t) strtoul (p + 1, &end, 10);
      p = end;
    }
  }
  *s = p;
  return true;
}

const char *
op_print (const struct op *op, char buf[16])
{
  if (op->count == 0)
    snprintf (buf, 16, "%c", op->kind);
  else if (op->count == 1)
    snprintf (buf, 16, "%c%u", op->kind, op->first);
  else
    snprintf (buf, 16, "%c%u+%u", op->kind, op->first, op->count);
  return buf;
}
