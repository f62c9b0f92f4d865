/* SPDX-License-Identifier: BSD-3-Clause */
/* Trimming in ways that change the map: included by patches at the end of
 * commit.c, and called from write.c.  False if the range is no whole block.
 */
static void
set_zero (struct commit *c, uint32_t block, bool deferred)
{
  pthread_mutex_lock (&c->reserve.lock);
  if (pending_promise (&c->pending))
    pending_add (&c->pending, block, VDI_ZERO, deferred);
  c->img->map.n_allocated--;
  c->reserve.in_file--;
  pthread_mutex_unlock (&c->reserve.lock);
}

/* What VirtualBox does (vdi-format.md 5.1), without a barrier. */
bool
commit_discard (struct commit *c, uint64_t offset, uint64_t length)
{
  const struct vdi_header *h = &c->img->header;
  const uint32_t block = (uint32_t) (offset / h->block_size);
  const uint32_t index = blockmap_get (&c->img->map, block);
  struct vdi_error e;
  uint8_t bytes[4096];
  uint32_t last, owner;

  if (length < h->block_size || commit_start_session (c, &e) == -1 ||
      reserve_give_back (&c->reserve, &e) == -1)
    return false;
  last = c->reserve.indexes.next - 1;
  for (owner = 0; owner < c->img->map.n; owner++)
    if (blockmap_get (&c->img->map, owner) == last)
      break;
  if (last != index && owner < c->img->map.n) {
    storage_read (c->img->st, bytes, h->block_size, vdi_block_offset (h, last),
                  "data", &e);
    storage_write (c->img->st, bytes, h->block_size,
                   vdi_block_offset (h, index), "data", &e);
    write_entry (c, owner, index, &e);
    pthread_mutex_lock (&c->reserve.lock);
    if (pending_promise (&c->pending))
      pending_add (&c->pending, owner, index, false);
    c->img->map.n_allocated--;
    pthread_mutex_unlock (&c->reserve.lock);
  }
  bounds_write_header (&c->bounds, last, &c->img->header.uuid_mod, &e);
  write_entry (c, block, VDI_ZERO, &e);
  set_zero (c, block, false);
  c->reserve.indexes.next = c->reserve.reserved = last;
  bounds_set_length (&c->bounds, vdi_length_for (h, last), &e);
  return true;
}

/* Out of the map, into the reserve. */
bool
commit_reuse (struct commit *c, uint64_t offset, uint64_t length, bool flush)
{
  const uint32_t block = (uint32_t) (offset / c->img->header.block_size);
  const uint32_t index = blockmap_get (&c->img->map, block);
  struct vdi_error e;

  if (length < c->img->header.block_size || commit_start_session (c, &e) == -1)
    return false;
  set_zero (c, block, true);
  if (flush)
    commit_flush (c, &e);
  pthread_mutex_lock (&c->reserve.lock);
  indexes_return (&c->reserve.indexes, index);
  pthread_mutex_unlock (&c->reserve.lock);
  return true;
}
