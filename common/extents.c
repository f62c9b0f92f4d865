/* SPDX-License-Identifier: BSD-3-Clause */
/* Describing what is allocated: see vdi.h.
 *
 * A block that is stored may be a hole in its file all the same: fresh
 * space not written yet, or trimmed.  That is found out by asking the
 * file system what is at a place; where that is data, the answer usually
 * goes far beyond one block, so it is kept for the runs that follow.
 */
#include <config.h>

#include <errno.h>

#include "chain.h"

/* How far ahead the file system is asked. */
#define LOOK_AHEAD (UINT64_C (1) << 30)

/* What the file system said last.  That something is data may be believed
 * as long as one likes.  A hole may become a new block meanwhile, with
 * its parent's data in it: so it is only known of a block whose map entry
 * was loaded before the file system was asked.
 */
struct look {
  const struct image *img;
  uint64_t start, end;          /* bytes of its file; start == end: nothing */
  bool hole;
};

/* The extent under construction: neighbours of the same type are one. */
struct builder {
  vdi_extent_fn fn;
  void *opaque;
  uint64_t start, length;
  unsigned type;
  bool one, finished;
  struct look look;
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

static int
look_at (struct look *look, const struct image *img, uint64_t offset,
         uint64_t length, struct vdi_error *error)
{
  uint64_t size, limit;

  if (look->img == img && look->start <= offset && offset < look->end)
    return 0;
  if (storage_size (img->st, &size, error) == -1)
    return -1;
  limit = MIN (size, offset + MAX (length, LOOK_AHEAD));
  look->img = img;
  look->start = look->end = offset;
  look->hole = false;
  if (offset >= limit)          /* beyond the end: let reading say so */
    return 0;
  if (storage_extent (img->st, offset, limit, &look->hole, &look->end,
                      error) == -1)
    return -1;
  if (look->hole)
    look->end = MIN (look->end, offset + length);
  return 0;
}

static int
add_data (struct builder *b, const struct image *img, uint64_t pos,
          const struct run *run, struct vdi_error *error)
{
  uint64_t done = 0, n;

  while (done < run->length && !b->finished) {
    const uint64_t offset = run->file_offset + done;

    if (look_at (&b->look, img, offset, run->length - done, error) == -1)
      return -1;
    n = b->look.end > offset
      ? MIN (b->look.end - offset, run->length - done) : run->length - done;
    if (add (b, pos + done, n,
             b->look.hole ? VDI_EXTENT_HOLE | VDI_EXTENT_ZERO : 0) == -1)
      return -1;
    done += n;
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
