/* SPDX-License-Identifier: BSD-3-Clause */
/* The first write into a block: see disk.h.
 *
 * An allocating write costs what was written, where the file reads as
 * zeros anyway; commit.c decides where and in which order, this file what
 * has to be in the block before its entry may be published.
 */
#include <config.h>

#include "disk/chain.h"
#include "disk/disk.h"
#include "utils/cleanup.h"

/* Write a part of a new block with zeros, unless they are there. */
static int
write_zeros (struct vdi *vdi, const struct new_block *nb, uint64_t offset,
             uint64_t length, struct vdi_error *error)
{
  if (nb->zeroed || length == 0)
    return 0;
  return storage_write_zeros (vdi->levels[0]->st, offset, length, "data",
                              error);
}

/* Write the old content of [from, to) of a block. */
static int
write_old (struct vdi *vdi, const struct new_block *nb, uint32_t old_entry,
           uint32_t block, uint64_t from, uint64_t to,
           struct vdi_error *error)
{
  const struct image *img = vdi->levels[0];
  const uint64_t start = (uint64_t) block << img->block_shift;
  /* Modulo 2^64, which the additions that follow undo. */
  const uint64_t file_base =
    vdi_block_offset (&img->header, nb->index) - start;
  uint64_t shown = from;

  if (old_entry == VDI_FREE && start + from < vdi->size) {
    shown = MIN (to, vdi->size - start);
    if (chain_copy (vdi, 1, start + from, start + shown, img->st, file_base,
                    nb->zeroed, error) == -1)
      return -1;
  }
  return write_zeros (vdi, nb, file_base + start + shown, to - shown, error);
}

static uint64_t
offset_of (struct vdi *vdi, const struct new_block *nb, const struct piece *p)
{
  return vdi_block_offset (&vdi->levels[0]->header, nb->index) + p->in_block;
}

/* All of a block whose old content is not what the file holds there. */
static int
write_whole (struct vdi *vdi, const struct new_block *nb, uint32_t old_entry,
             const struct piece *p, const void *buf, struct vdi_error *error)
{
  const struct image *img = vdi->levels[0];
  const uint64_t offset = offset_of (vdi, nb, p);
  int r;

  r = buf != NULL
    ? storage_write (img->st, buf, p->length, offset, "data", error)
    : write_zeros (vdi, nb, offset, p->length, error);
  if (r == -1 ||
      write_old (vdi, nb, old_entry, p->block, 0, p->in_block, error) == -1)
    return -1;
  return write_old (vdi, nb, old_entry, p->block, p->in_block + p->length,
                    img->header.block_size, error);
}

enum outcome { FAILED = -1, ALLOCATED, ALREADY, NO_ROOM };

static enum outcome
try_to_allocate (struct vdi *vdi, const struct piece *p, const void *buf,
                 struct new_block *nb, struct vdi_error *error)
{
  HOLD_LOCK (disk_stripe (vdi, p->block));
  struct commit *c = vdi->commit;
  const uint32_t entry = blockmap_get (&vdi->levels[0]->map, p->block);

  if (vdi_entry_is_allocated (entry))
    return ALREADY;
  if (!commit_take_index (c, nb))
    return NO_ROOM;
  if (nb->whole && write_whole (vdi, nb, entry, p, buf, error) == -1) {
    commit_return_index (c, nb);
    return FAILED;
  }
  return commit_publish (c, p->block, nb, error) == -1 ? FAILED : ALLOCATED;
}

/* In fresh space of a base image the entry comes first, and then others may
 * write into the block, too: until its data are there it reads as zeros,
 * as it did before (commit.c, crash story 3).
 */
int
allocate_block (struct vdi *vdi, const struct piece *p, const void *buf,
                struct vdi_error *error)
{
  struct new_block nb;
  enum outcome outcome;

  while ((outcome = try_to_allocate (vdi, p, buf, &nb, error)) == NO_ROOM)
    if (commit_make_room (vdi->commit, error) == -1)
      return -1;
  if (outcome != ALLOCATED)
    return outcome;
  if (nb.whole || buf == NULL)
    return 0;
  return storage_write (vdi->levels[0]->st, buf, p->length,
                        offset_of (vdi, &nb, p), "data", error);
}

int
allocate_zero (struct vdi *vdi, uint32_t block, struct vdi_error *error)
{
  struct commit *c = vdi->commit;
  pthread_mutex_t *stripe = disk_stripe (vdi, block);
  bool has_room;
  uint32_t entry;

  do {
    pthread_mutex_lock (stripe);
    entry = blockmap_get (&vdi->levels[0]->map, block);
    has_room = entry != VDI_FREE || commit_publish_zero (c, block);
    pthread_mutex_unlock (stripe);
    if (!has_room && commit_flush (c, error) == -1)
      return -1;
  } while (!has_room);
  return vdi_entry_is_allocated (entry);
}
