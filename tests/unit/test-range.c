/* SPDX-License-Identifier: BSD-3-Clause */
/* Cutting requests at block boundaries: common/disk/range.h. */
#include <config.h>

#include "disk/range.h"
#include "test.h"

static void
check (uint64_t offset, uint64_t count, unsigned shift)
{
  const uint64_t size = UINT64_C (1) << shift;
  uint64_t pos = offset;
  struct piece p;

  FOR_EACH_PIECE (p, offset, count, shift) {
    CHECK (p.pos == pos);
    CHECK (p.length > 0);
    CHECK (p.block == pos / size);
    CHECK (p.in_block == pos % size);
    CHECK (p.in_block + p.length <= size);
    /* Only at the ends is a piece less than a block. */
    CHECK (p.in_block == 0 || pos == offset);
    CHECK (p.in_block + p.length == size || pos + p.length == offset + count);
    pos += p.length;
  }
  CHECK (pos == offset + count);
}

int
main (void)
{
  static const unsigned shifts[] = { 9, 12, 20, 31 };
  const uint64_t far = UINT64_C (1) << 40;

  for (size_t i = 0; i < sizeof shifts / sizeof shifts[0]; i++) {
    const uint64_t b = UINT64_C (1) << shifts[i];
    const uint64_t at[] = { 0, 1, b - 1, b, b + 1, 3 * b - 1, far, far + b };
    const uint64_t n[] = { 0, 1, 2, b - 1, b, b + 1, 2 * b, 3 * b + 1 };

    for (size_t j = 0; j < sizeof at / sizeof at[0]; j++)
      for (size_t k = 0; k < sizeof n / sizeof n[0]; k++)
        check (at[j], n[k], shifts[i]);
  }
  return 0;
}
