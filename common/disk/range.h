/* SPDX-License-Identifier: BSD-3-Clause */
/* The one place where a request is cut at block boundaries.
 *
 *   struct piece p;
 *   FOR_EACH_PIECE (p, offset, count, block_shift) { ... }
 *
 * visits the parts of [offset, offset+count) in order, one per block.
 * All of read, write, zero, trim, cache and extents go through it (or
 * through chain_next_run, which is made of it), so that no range is
 * ever cut in two different ways.
 */
#ifndef VDI_DISK_RANGE_H
#define VDI_DISK_RANGE_H

#include <stdint.h>

#include "utils/checked.h"

struct piece {
  uint64_t pos;                 /* bytes from the start of the disk */
  uint64_t length;              /* bytes, > 0, within one block */
  uint32_t block;               /* number of the block */
  uint32_t in_block;            /* bytes from the start of the block */
};

/* The part of [pos, end) that lies in pos's block; pos < end. */
static inline struct piece
piece_at (uint64_t pos, uint64_t end, unsigned block_shift)
{
  const uint64_t block_size = UINT64_C (1) << block_shift;
  struct piece p;

  p.pos = pos;
  p.block = pos >> block_shift;
  p.in_block = pos & (block_size - 1);
  p.length = MIN (block_size - p.in_block, end - pos);
  return p;
}

#define FOR_EACH_PIECE(p, offset, count, block_shift)                   \
  for (uint64_t _pos = (offset), _end = _pos + (count);                 \
       _pos < _end && ((p) = piece_at (_pos, _end, (block_shift)), 1);  \
       _pos += (p).length)

#endif /* VDI_DISK_RANGE_H */
