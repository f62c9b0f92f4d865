/* SPDX-License-Identifier: BSD-3-Clause */
/* commit.c and reserve.c, and those faults that take more than a word
 * (mutants.def): they need what is private to them.
 */
#include "../../common/reserve.c"
#include "../../common/commit.c"

#include "chain.h"

bool
mutant_reserve (struct reserve *r, uint32_t next, uint32_t *count,
                struct vdi_error *error)
{
  const struct vdi_uuid uuid_mod = r->target->uuid_mod;

  if (MUTANT (A) || MUTANT (I)) {
    r->tail_is_zero = true;     /* written, not synced */
    return target_set_length (r->target,
                              vdi_length_for (&r->img->header, *count),
                              error) == 0 &&
           (!MUTANT (I) || target_sync (r->target, error) == 0) &&
           target_write_header (r->target, *count, &uuid_mod, error) == 0;
  }
  if (MUTANT (C))
    return lengthen (r, next, count, error) == 0;
  if (MUTANT (count_before_length))
    return target_set_count (r->target, *count, error) == 0 &&
           lengthen (r, next, count, error) == 0;
  return false;
}

bool
mutant_publishes_at_once (const struct commit *c)
{
  return (MUTANT (J_device) && !c->img->st->grows_zero) ||
         (MUTANT (J_child) && !c->base) ||
         (MUTANT (J_reuse) && c->base);
}

bool
mutant_forgets_entry (struct commit *c, const struct new_block *nb)
{
  if (MUTANT (failed_entry_reused))
    commit_return_index (c, nb);
  return MUTANT (failed_entry_reused) || MUTANT (failed_entry_forgotten);
}

int
mutant_before_entries (struct commit *c, struct vdi_error *error)
{
  const struct vdi_uuid uuid_mod = c->target.uuid_mod;
  int r = 0;

  if (MUTANT (C)) {
    reserve_begin_turn (&c->reserve);
    if (c->target.count < c->reserve.indexes.next)
      r = target_write_header (&c->target, c->reserve.indexes.next, &uuid_mod,
                               error);
    reserve_end_turn (&c->reserve);
  }
  if (MUTANT (D)) {
    uint8_t bytes[4 * 16];
    uint32_t i;

    for (i = 0; i < c->img->map.n; i++)
      put_le32 (bytes + 4 * i, blockmap_get (&c->img->map, i));
    r = storage_write (c->img->st, bytes, 4 * c->img->map.n,
                       vdi_entry_offset (&c->img->header, 0), "block map",
                       error);
  }
  return r;
}

uint32_t
mutant_live_count (const struct reserve *r)
{
  uint32_t count = 0, i;

  for (i = 0; i < r->img->map.n; i++) {
    const uint32_t entry = blockmap_get (&r->img->map, i);

    if (vdi_entry_is_allocated (entry))
      count = MAX (count, entry + 1);
  }
  return count;
}

bool
mutant_give_back (struct reserve *r, uint32_t count, struct vdi_error *error)
{
  const struct vdi_uuid uuid_mod = r->target->uuid_mod;

  if (count == r->target->count)
    return false;
  if (MUTANT (cut_before_lowered))
    return target_set_length (r->target,
                              vdi_length_for (&r->img->header, count),
                              error) == 0 &&
           target_set_count (r->target, count, error) == 0;
  if (MUTANT (lowered_not_synced))
    return target_write_header (r->target, count, &uuid_mod, error) == 0 &&
           target_set_length (r->target,
                              vdi_length_for (&r->img->header, count),
                              error) == 0;
  return false;
}

/*------------------------------------------------------------------*/
/* Trimming in ways that change the map. */

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

/* B: what VirtualBox does (vdi-format.md 5.1), without a barrier. */
static void
discard (struct commit *c, uint32_t block)
{
  const struct vdi_header *h = &c->img->header;
  const uint32_t index = blockmap_get (&c->img->map, block);
  const struct vdi_uuid uuid_mod = c->target.uuid_mod;
  struct vdi_error e;
  uint8_t bytes[4096], entry[4];
  uint32_t last, owner;

  if (reserve_give_back (&c->reserve, &e) == -1)
    return;
  last = c->reserve.indexes.next - 1;
  for (owner = 0; owner < c->img->map.n; owner++)
    if (blockmap_get (&c->img->map, owner) == last)
      break;
  if (last != index && owner < c->img->map.n) {
    storage_read (c->img->st, bytes, h->block_size, vdi_block_offset (h, last),
                  "data", &e);
    storage_write (c->img->st, bytes, h->block_size,
                   vdi_block_offset (h, index), "data", &e);
    put_le32 (entry, index);
    storage_write (c->img->st, entry, 4, vdi_entry_offset (h, owner), "map",
                   &e);
    pthread_mutex_lock (&c->reserve.lock);
    if (pending_promise (&c->pending))
      pending_add (&c->pending, owner, index, false);
    c->img->map.n_allocated--;
    pthread_mutex_unlock (&c->reserve.lock);
  }
  target_write_header (&c->target, last, &uuid_mod, &e);
  put_le32 (entry, VDI_ZERO);
  storage_write (c->img->st, entry, 4, vdi_entry_offset (h, block), "map", &e);
  set_zero (c, block, false);
  c->reserve.indexes.next = c->reserve.reserved = last;
  target_set_length (&c->target, vdi_length_for (h, last), &e);
}

bool
mutant_trim (struct vdi *vdi, uint64_t offset, uint64_t length)
{
  struct image *img = vdi->levels[0];
  struct commit *c = img->commit;
  const uint32_t block = (uint32_t) (offset >> img->block_shift);
  const uint32_t index = blockmap_get (&img->map, block);
  struct vdi_error e;

  if (!(MUTANT (B) || MUTANT (H) || MUTANT (J_reuse)) ||
      length < img->header.block_size || commit_begin (c, &e) == -1)
    return false;

  if (MUTANT (B))
    discard (c, block);
  else {
    set_zero (c, block, true);
    if (MUTANT (J_reuse))
      commit_flush (c, &e);
    pthread_mutex_lock (&c->reserve.lock);
    indexes_return (&c->reserve.indexes, index);
    pthread_mutex_unlock (&c->reserve.lock);
  }
  return true;
}
