/* SPDX-License-Identifier: BSD-3-Clause */
/* What is where in a chain: see chain.h. */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "disk/chain.h"
#include "disk/disk.h"

/* The block at pos was found to have nothing.  How far is that so, or how
 * far does the image have zeros?  Most of a large disk is like that.  The
 * first block is not looked at again: it may be allocated by now, and what
 * was seen is what the run is made of.
 */
static uint64_t
nothing_until (const struct image *img, uint64_t pos, uint64_t end)
{
  uint64_t block = (pos >> img->block_shift) + 1;
  const uint64_t last = MIN ((end - 1) >> img->block_shift,
                             img->header.n_blocks - 1);

  while (block <= last &&
         !vdi_entry_is_allocated (blockmap_get (&img->map, block)))
    block++;
  return MIN (block << img->block_shift, end);
}

/* The run at pos, within one block of the image that decides; but where
 * even the last one has nothing, as far as it goes on so.
 */
static struct run
run_in_block (const struct vdi *vdi, size_t level, uint64_t pos, uint64_t end)
{
  struct run run = { .place = PLACE_ZERO, .length = end - pos };

  for (; level < vdi->depth; level++) {
    const struct image *img = vdi->levels[level];
    const uint64_t limit = MIN (pos + run.length, img->size);
    struct piece p;

    if (pos >= img->size)       /* a parent smaller than its child */
      break;
    p = piece_at (pos, limit, img->block_shift);
    run.length = p.length;
    run.place = image_locate (img, p.block, p.in_block, &run.length,
                              &run.file_offset);
    run.level = level;
    if (run.place == PLACE_FREE && level == vdi->depth - 1)
      run.length = nothing_until (img, pos, limit) - pos;
    else if (run.place != PLACE_FREE)
      return run;
  }
  run.place = PLACE_ZERO;       /* nobody has it */
  return run;
}

static bool
continues (const struct run *a, const struct run *b)
{
  if (a->place != b->place)
    return false;
  switch (a->place) {
  case PLACE_ZERO:
    return true;
  case PLACE_DATA:
    return a->level == b->level &&
           a->file_offset + a->length == b->file_offset;
  default:
    return false;
  }
}

struct run
chain_next_run (const struct vdi *vdi, size_t level, uint64_t pos,
                uint64_t end)
{
  struct run run = run_in_block (vdi, level, pos, end);

  while (run.length < end - pos) {
    const struct run next =
      run_in_block (vdi, level, pos + run.length, end);

    if (!continues (&run, &next))
      break;
    run.length += next.length;
  }
  return run;
}

bool
chain_reads_zero (const struct vdi *vdi, const struct run *run)
{
  return run->place == PLACE_ZERO ||
         (run->place == PLACE_MISSING &&
          vdi->levels[run->level]->missing_zero);
}

int
chain_missing (const struct vdi *vdi, const struct run *run, uint64_t pos,
               const char *way, struct vdi_error *error)
{
  const struct image *img = vdi->levels[run->level];

  if (pos >> img->block_shift >= img->header.n_blocks)
    return vdi_set_error (error, EIO, "%s: block %" PRIu64 " (at byte %"
                          PRIu64 " of the disk), the last one, is not in the "
                          "image, as in those that QEMU made until 2011; %s",
                          img->name, pos >> img->block_shift, pos, way);
  return vdi_set_error (error, EIO, "%s: block %" PRIu64 " (at byte %" PRIu64
                        " of the disk) should be stored at byte %" PRIu64
                        ", but the file ends at byte %" PRIu64 "; %s",
                        img->name, pos >> img->block_shift, pos,
                        run->file_offset, img->file_length, way);
}

int
chain_read (const struct vdi *vdi, size_t level, void *buf, size_t count,
            uint64_t offset, struct vdi_error *error)
{
  struct run run;

  FOR_EACH_RUN (run, pos, vdi, level, offset, count) {
    uint8_t *p = (uint8_t *) buf + (pos - offset);

    if (chain_reads_zero (vdi, &run))
      memset (p, 0, run.length);
    else if (run.place == PLACE_MISSING)
      return chain_missing (vdi, &run, pos, "use missing=zero to read zeros "
                            "instead", error);
    else if (storage_read (vdi->levels[run.level]->st, p, run.length,
                           run.file_offset, "data", error) == -1)
      return -1;
  }
  return 0;
}

int
chain_copy (const struct vdi *vdi, size_t level, uint64_t from, uint64_t to,
            struct storage *st, uint64_t file_base, bool zeroed,
            struct vdi_error *error)
{
  struct run run;
  int r = 0;

  FOR_EACH_RUN (run, pos, vdi, level, from, to - from) {
    switch (run.place) {
    case PLACE_ZERO:
      if (!zeroed)
        r = storage_write_zeros (st, file_base + pos, run.length, "data",
                                 error);
      break;
    case PLACE_DATA:
      r = storage_copy (vdi->levels[run.level]->st, run.file_offset, st,
                        file_base + pos, run.length, error);
      break;
    default:
      r = chain_missing (vdi, &run, pos, "what is not there cannot be copied "
                         "into a child, so that can only be written in whole "
                         "blocks here, and not be made larger than its parent",
                         error);
    }
    if (r == -1)
      return -1;
  }
  return 0;
}

int
vdi_read (struct vdi *vdi, void *buf, size_t count, uint64_t offset,
          struct vdi_error *error)
{
  return chain_read (vdi, 0, buf, count, offset, error);
}

int
vdi_cache (struct vdi *vdi, uint64_t count, uint64_t offset,
           struct vdi_error *error)
{
  struct run run;

  (void) error;                 /* a hint cannot fail */
  FOR_EACH_RUN (run, pos, vdi, 0, offset, count)
    if (run.place == PLACE_DATA)
      storage_advise (vdi->levels[run.level]->st, run.file_offset,
                      run.length, STORAGE_WILLNEED);
  return 0;
}
