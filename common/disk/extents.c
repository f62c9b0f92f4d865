/* SPDX-License-Identifier: BSD-3-Clause */
/* Describing what is allocated: see vdi.h.
 *
 * A block that is stored may be a hole in its file all the same: fresh
 * space not written yet, or trimmed.  That is found out by asking the
 * file system what is at a place.  Where that is data, the answer usually
 * goes far beyond the block, and is remembered for all requests that
 * follow (known.h).  A hole may become a new block meanwhile, with its
 * parent's data in it: so it is only believed of a block whose map entry
 * was loaded before the file system was asked, and only this once.
 */
#include <config.h>

#include "disk/chain.h"
#include "disk/disk.h"

/* The extent under construction: neighbours of the same type are one. */
struct builder {
  vdi_extent_fn fn;
  void *opaque;
  uint64_t start, length;
  unsigned type;
  bool one, finished;
};

static int
emit (struct builder *b)
{
  if (b->length == 0)
    return 0;
  b->finished = b->one;
  return b->fn (b->opaque, b->start, b->length, b->type);
}

static int
add (struct builder *b, uint64_t pos, uint64_t length, unsigned type)
{
  if (b->length > 0 && b->type == type) {
    b->length += length;
    return 0;
  }
  if (emit (b) == -1)
    return -1;
  b->start = pos;
  b->length = length;
  b->type = type;
  return 0;
}

/* The file is at least so long, and nobody will cut it shorter: it has a
 * place for each block that was found when it was opened, and one for each
 * that there is now.  (A damaged image does not change.)
 */
static uint64_t
certain_length (const struct image *img)
{
  const uint32_t allocated =
    atomic_load_explicit (&img->map.n_allocated, memory_order_relaxed);

  if (!img->map.sound)
    return img->file_length;
  return vdi_length_for (&img->header, MAX (img->map.high, allocated));
}

/* What is at offset of the file, which is not known, and up to where?
 * That goes beyond the run only for data.
 */
static int
ask_file (struct image *img, uint64_t offset, const struct run *run,
          bool *hole, uint64_t *end, struct vdi_error *error)
{
  const uint64_t limit = MAX (certain_length (img),
                              run->file_offset + run->length);
  uint64_t start = offset;

  /* Inside a run it is known what is right before. */
  if (offset == run->file_offset)
    start = known_start (&img->known, offset);
  if (start < offset) {
    bool found;

    if (image_extent (img, start, limit, hole, end, error) == -1)
      return -1;
    found = !*hole && *end > offset;
    known_hit (&img->known, start, offset, found);
    if (found)
      return 0;
    *hole = false;
  }
  if (image_extent (img, offset, limit, hole, end, error) == -1)
    return -1;
  if (!*hole && *end - offset >= img->header.block_size)
    known_hit (&img->known, offset, offset, true);
  return 0;
}

static int
add_data (struct builder *b, struct image *img, uint64_t pos,
          const struct run *run, struct vdi_error *error)
{
  const uint64_t run_end = run->file_offset + run->length;
  uint64_t offset = run->file_offset, end;
  bool hole = false, turns;

  while (offset < run_end) {
    end = known_data (&img->known, offset, run_end);
    turns = false;
    if (end > offset)
      hole = false;
    else {
      if (ask_file (img, offset, run, &hole, &end, error) == -1)
        return -1;
      turns = end < run_end;
      end = MIN (end, run_end);
    }
    if (add (b, pos + (offset - run->file_offset), end - offset,
             hole ? VDI_EXTENT_HOLE | VDI_EXTENT_ZERO : 0) == -1)
      return -1;
    if (b->finished)
      return 0;
    /* Where this one ends the other begins: no need to ask. */
    if (b->one && turns)
      return emit (b);
    hole ^= turns;
    offset = end;
  }
  return 0;
}

int
vdi_extents (struct vdi *vdi, uint64_t count, uint64_t offset, bool one,
             vdi_extent_fn fn, void *opaque, struct vdi_error *error)
{
  struct builder b = { .fn = fn, .opaque = opaque, .one = one };
  struct run run;

  FOR_EACH_RUN (run, pos, vdi, 0, offset, count) {
    int r;

    if (chain_reads_zero (vdi, &run))
      r = add (&b, pos, run.length, VDI_EXTENT_HOLE | VDI_EXTENT_ZERO);
    else if (run.place == PLACE_MISSING)
      r = add (&b, pos, run.length, 0); /* reading will say what is wrong */
    else
      r = add_data (&b, vdi->levels[run.level], pos, &run, error);
    if (r == -1)
      return -1;
    if (b.finished)
      return 0;
  }
  return emit (&b);
}
