/* SPDX-License-Identifier: BSD-3-Clause */
/* Writing, zeroing and trimming a disk: see vdi.h.
 *
 * What is allocated is changed in place, without a lock and however many
 * blocks it spans; what is not goes to allocate.c, block by block.
 */
#include <config.h>

#include <errno.h>
#include <inttypes.h>

#include "disk/chain.h"
#include "disk/disk.h"
#include "disk/ticker.h"

/* Before any writing call. */
static int
check_writable (struct vdi *vdi, struct vdi_error *error)
{
  if (vdi->commit == NULL)
    return vdi_set_error (error, EROFS, "%s: opened for reading only",
                          vdi->levels[0]->name);
  watch_wait (vdi);
  return commit_check (vdi->commit, error);
}

/* Before anything in the file is changed. */
static int
start_session (struct vdi *vdi, struct vdi_error *error)
{
  struct commit *c = vdi->commit;
  const bool in_session = commit_in_session (c);

  if (commit_start_session (c, error) == -1)
    return -1;
  if (in_session)
    return 0;

  pthread_mutex_lock (&vdi->writable_lock);
  ticker_want (vdi);
  pthread_mutex_unlock (&vdi->writable_lock);
  return 0;
}

static bool
is_in_place (const struct run *run)
{
  return run->place == PLACE_DATA && run->level == 0;
}

/* Is the block at pos allocated?  Then that is a run of the image's own
 * file; else what follows is for allocate.c, piece by piece.
 */
static bool
find_in_place (const struct vdi *vdi, uint64_t pos, uint64_t end,
               struct run *run, struct piece *p)
{
  const struct image *img = vdi->levels[0];

  *p = piece_at (pos, end, img->block_shift);
  if (!vdi_entry_is_allocated (blockmap_get (&img->map, p->block)))
    return false;
  *run = chain_next_run (vdi, 0, pos, end);
  return true;
}

/* Are the entries of all blocks of the range on stable storage? */
static bool
is_durable (struct vdi *vdi, uint64_t pos, uint64_t length)
{
  struct image *img = vdi->levels[0];
  struct piece p;

  FOR_EACH_PIECE (p, pos, length, img->block_shift)
    if (!commit_is_durable (vdi->commit, p.block))
      return false;
  return true;
}

/* One call for bytes and durability, where that can be had.  Otherwise
 * *flush is set for the caller to do at the end.
 */
static int
write_through (struct vdi *vdi, const struct run *run, const void *buf,
               bool *flush, struct vdi_error *error)
{
  const struct image *img = vdi->levels[0];

  if (commit_write_durable (vdi->commit, buf, run->length, run->file_offset,
                            error) == 0)
    return 0;
  if (error->err != ENOTSUP)
    return -1;
  *flush = true;
  return storage_write (img->st, buf, run->length, run->file_offset, "data",
                        error);
}

static int
write_in_place (struct vdi *vdi, const struct run *run, const void *buf,
                uint64_t pos, bool fua, bool *flush, struct vdi_error *error)
{
  if (start_session (vdi, error) == -1)
    return -1;
  if (fua && is_durable (vdi, pos, run->length))
    return write_through (vdi, run, buf, flush, error);
  *flush |= fua;
  return storage_write (vdi->levels[0]->st, buf, run->length,
                        run->file_offset, "data", error);
}

int
vdi_write (struct vdi *vdi, const void *buf, size_t count, uint64_t offset,
           unsigned flags, struct vdi_error *error)
{
  const uint64_t end = offset + count;
  const bool fua = flags & VDI_FUA;
  bool flush = false;
  uint64_t pos = offset;
  struct run run;
  struct piece p;
  int r;

  if (check_writable (vdi, error) == -1)
    return -1;
  while (pos < end) {
    const void *data = (const uint8_t *) buf + (pos - offset);

    if (find_in_place (vdi, pos, end, &run, &p)) {
      if (write_in_place (vdi, &run, data, pos, fua, &flush, error) == -1)
        return -1;
      pos += run.length;
    }
    else {
      if (start_session (vdi, error) == -1 ||
          (r = allocate_block (vdi, &p, data, error)) == -1)
        return -1;
      if (r == 0) {
        flush |= fua;
        pos += p.length;
      }
    }
  }
  return flush ? vdi_flush (vdi, error) : 0;
}

/*------------------------------------------------------------------*/

/* Punch or zero.  Even if it fails a part may have been done, and only
 * afterwards may be forgotten what was data there: see known.h.
 */
static int
make_hole (struct vdi *vdi, const struct run *run,
           int (*how) (struct storage *, uint64_t offset, uint64_t length,
                       struct vdi_error *),
           struct vdi_error *error)
{
  struct image *img = vdi->levels[0];
  const int r = how (img->st, run->file_offset, run->length, error);

  known_forget (&img->known, run->file_offset, run->length);
  return r;
}

/* Make a range of the file read as zeros. */
static int
zero_in_place (struct vdi *vdi, const struct run *run, unsigned flags,
               struct vdi_error *error)
{
  if (start_session (vdi, error) == -1)
    return -1;
  if (flags & VDI_MAY_TRIM) {
    if (make_hole (vdi, run, storage_punch, error) == 0)
      return 0;
    if (error->err != ENOTSUP)
      return -1;
  }
  if (make_hole (vdi, run, storage_zero, error) == 0)
    return 0;
  if (error->err != ENOTSUP || (flags & VDI_FAST))
    return -1;
  return storage_write_zeros (vdi->levels[0]->st, run->file_offset,
                              run->length, "data", error);
}

/* Does the piece cover all of its block that belongs to the disk? */
static bool
is_whole_block (const struct vdi *vdi, const struct piece *p)
{
  return p->in_block == 0 &&
         (p->length == vdi->levels[0]->header.block_size ||
          p->pos + p->length == vdi->size);
}

/* A piece of a block that is not allocated.  1 if it is by now. */
static int
zero_unallocated (struct vdi *vdi, const struct piece *p,
                  struct vdi_error *error)
{
  const uint32_t entry = blockmap_get (&vdi->levels[0]->map, p->block);

  if (vdi_entry_is_allocated (entry))
    return 1;
  if (entry == VDI_ZERO || vdi->depth == 1)
    return 0;                   /* zeros already */
  if (start_session (vdi, error) == -1)
    return -1;
  return is_whole_block (vdi, p) ? allocate_zero (vdi, p->block, error)
                                 : allocate_block (vdi, p, NULL, error);
}

/* A fast zero must fail before anything has changed.  What would have to
 * be copied up is seen in the map; whether the file can be zeroed without
 * writing, by zeroing the first part of the range that lies in it.
 * Returns 1 if that was all of the range.
 */
static int
check_fast (struct vdi *vdi, uint64_t count, uint64_t offset, unsigned flags,
            struct vdi_error *error)
{
  const struct image *img = vdi->levels[0];
  struct piece p;
  struct run run;

  if (vdi->depth > 1)
    FOR_EACH_PIECE (p, offset, count, img->block_shift)
      if (blockmap_get (&img->map, p.block) == VDI_FREE &&
          !is_whole_block (vdi, &p))
        return vdi_set_error (error, ENOTSUP, "%s: zeroing part of block %"
                              PRIu32 " would copy the rest from the parent",
                              img->name, p.block);
  FOR_EACH_RUN (run, pos, vdi, 0, offset, count)
    if (is_in_place (&run)) {
      if (zero_in_place (vdi, &run, flags, error) == -1)
        return -1;
      return run.length == count;
    }
  return 0;
}

int
vdi_zero (struct vdi *vdi, uint64_t count, uint64_t offset, unsigned flags,
          struct vdi_error *error)
{
  const uint64_t end = offset + count;
  uint64_t pos = offset;
  struct run run;
  struct piece p;
  int r = 0;

  if (check_writable (vdi, error) == -1 ||
      ((flags & VDI_FAST) &&
       (r = check_fast (vdi, count, offset, flags, error)) == -1))
    return -1;
  if (r == 1)
    pos = end;
  while (pos < end) {
    if (find_in_place (vdi, pos, end, &run, &p)) {
      /* That it is fast was found out; finish it in any case. */
      if (zero_in_place (vdi, &run, flags & ~VDI_FAST, error) == -1)
        return -1;
      pos += run.length;
    }
    else {
      if ((r = zero_unallocated (vdi, &p, error)) == -1)
        return -1;
      if (r == 0)
        pos += p.length;
    }
  }
  return flags & VDI_FUA ? vdi_flush (vdi, error) : 0;
}

int
vdi_trim (struct vdi *vdi, uint64_t count, uint64_t offset, unsigned flags,
          struct vdi_error *error)
{
  struct run run;

  if (check_writable (vdi, error) == -1)
    return -1;
  FOR_EACH_RUN (run, pos, vdi, 0, offset, count) {
    if (!is_in_place (&run))
      continue;
    if (start_session (vdi, error) == -1)
      return -1;
    if (make_hole (vdi, &run, storage_punch, error) == -1) {
      if (error->err != ENOTSUP)
        return -1;
      vdi_debug (&vdi->listener, "trim: %s", error->message);
      break;                    /* a hint that cannot be taken */
    }
  }
  return flags & VDI_FUA ? vdi_flush (vdi, error) : 0;
}

int
vdi_flush (struct vdi *vdi, struct vdi_error *error)
{
  if (vdi->commit == NULL)
    return 0;
  return commit_flush (vdi->commit, error);
}
