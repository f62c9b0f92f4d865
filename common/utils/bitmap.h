/* SPDX-License-Identifier: BSD-3-Clause */
/* Bitmaps of 64-bit words, as few lines as will do. */
#ifndef VDI_BITMAP_H
#define VDI_BITMAP_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

/* All bits clear; NULL if there is no memory.  Never zero bytes. */
static inline uint64_t *
bitmap_new (uint32_t bits)
{
  return calloc ((uint64_t) bits / 64 + 1, sizeof (uint64_t));
}

static inline bool
bitmap_get (const uint64_t *bitmap, uint32_t bit)
{
  return bitmap[bit / 64] >> bit % 64 & 1;
}

static inline void
bitmap_set (uint64_t *bitmap, uint32_t bit)
{
  bitmap[bit / 64] |= UINT64_C (1) << bit % 64;
}

static inline void
bitmap_clear (uint64_t *bitmap, uint32_t bit)
{
  bitmap[bit / 64] &= ~(UINT64_C (1) << bit % 64);
}

#endif /* VDI_BITMAP_H */
