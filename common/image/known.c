/* SPDX-License-Identifier: BSD-3-Clause */
/* What is known of an image's file: see known.h. */
#include <config.h>

#include <stddef.h>
#include <stdlib.h>

#include "image/known.h"
#include "utils/bitmap.h"
#include "utils/checked.h"
#include "utils/cleanup.h"

void
known_init (struct known *k, const struct vdi_header *h)
{
  k->n = h->n_blocks;
  k->base = vdi_block_offset (h, 0);
  k->stride = vdi_stride (h);
  k->block_size = h->block_size;
  pthread_mutex_init (&k->lock, NULL);
  atomic_init (&k->bits, NULL);
  atomic_init (&k->forgotten, 0);
  atomic_init (&k->reach, UINT32_MAX);
}

void
known_free (struct known *k)
{
  free (k->bits);
  pthread_mutex_destroy (&k->lock);
}

/* The block in which a byte lies, or the space behind it. */
static uint64_t
block_at (const struct known *k, uint64_t offset)
{
  return offset < k->base ? 0 : (offset - k->base) / k->stride;
}

static uint64_t
start_of (const struct known *k, uint64_t block)
{
  return k->base + block * k->stride;
}

static _Atomic uint64_t *
get_bits (const struct known *k)
{
  return atomic_load_explicit (&k->bits, memory_order_acquire);
}

static uint64_t
get_word (const _Atomic uint64_t *bits, uint64_t block)
{
  return atomic_load_explicit (&bits[block / 64], memory_order_relaxed);
}

/* Set or clear the bits of [first, end).  The lock is held. */
static void
change (_Atomic uint64_t *bits, uint64_t first, uint64_t end, bool set)
{
  while (first < end) {
    const unsigned n = MIN (64 - first % 64, end - first);
    const uint64_t mask = UINT64_MAX >> (64 - n) << first % 64;
    const uint64_t old = get_word (bits, first);

    atomic_store_explicit (&bits[first / 64], set ? old | mask : old & ~mask,
                           memory_order_relaxed);
    first += n;
  }
}

void
known_learn (struct known *k, uint64_t offset, uint64_t end, uint64_t when)
{
  const uint64_t first = block_at (k, MAX (offset, k->base) + k->stride - 1);
  const uint64_t last = end < k->base + k->block_size
    ? 0 : MIN (block_at (k, end - k->block_size) + 1, k->n);

  if (first >= last)
    return;

  HOLD_LOCK (&k->lock);
  if (k->bits == NULL)
    atomic_store_explicit (&k->bits, (_Atomic uint64_t *) bitmap_new (k->n),
                           memory_order_release);
  if (k->bits != NULL && when == k->forgotten)
    change (k->bits, first, last, true);
}

void
known_forget (struct known *k, uint64_t offset, uint64_t length)
{
  const uint64_t end = block_at (k, offset + length - 1) + 1;
  HOLD_LOCK (&k->lock);

  atomic_fetch_add (&k->forgotten, 1);
  if (k->bits != NULL)
    change (k->bits, block_at (k, offset), MIN (end, k->n), false);
}

uint64_t
known_data (const struct known *k, uint64_t offset, uint64_t end)
{
  const _Atomic uint64_t *bits = get_bits (k);
  const uint64_t first = block_at (k, offset);
  const uint64_t last = MIN (block_at (k, end - 1) + 1, k->n);
  uint64_t block = first;

  while (bits != NULL && block < last) {
    const uint64_t unknown = ~get_word (bits, block) >> block % 64;

    if (unknown != 0) {
      block = MIN (block + __builtin_ctzll (unknown), last);
      break;
    }
    block = MIN ((block | 63) + 1, last);
  }
  return block == first
    ? offset : MIN (start_of (k, block - 1) + k->block_size, end);
}

static uint64_t
get_reach (const struct known *k)
{
  return atomic_load_explicit (&k->reach, memory_order_relaxed);
}

/* The first of the blocks right before this one that are not known, at most
 * as many as are within reach.
 */
static uint64_t
first_unknown (const struct known *k, uint64_t block)
{
  const _Atomic uint64_t *bits = get_bits (k);
  const uint64_t stop = block - MIN (block, get_reach (k));

  while (bits != NULL && block > stop) {
    const uint64_t last = block - 1;
    const uint64_t known = get_word (bits, last) << (63 - last % 64);

    if (known != 0)
      return MAX (block - __builtin_clzll (known), stop);
    block = ROUND_DOWN (last, 64);
  }
  return stop;
}

uint64_t
known_start (const struct known *k, uint64_t offset)
{
  const uint64_t block = block_at (k, offset);
  const uint64_t first = block < k->n ? first_unknown (k, block) : block;

  return first < block ? start_of (k, first) : offset;
}

void
known_hit (struct known *k, uint64_t start, uint64_t offset, bool hit)
{
  const uint64_t back = block_at (k, offset) - block_at (k, start);
  const uint64_t reach = hit ? MAX (get_reach (k), 4 * back + 4) : back / 4;

  atomic_store_explicit (&k->reach, MIN (reach, UINT32_MAX),
                         memory_order_relaxed);
}
