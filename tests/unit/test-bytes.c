/* SPDX-License-Identifier: BSD-3-Clause */
/* bytes.h and checked.h: little-endian at any address, as the C library
 * has it; sums and products that do not fit are noticed.
 */
#include <config.h>

#include <endian.h>
#include <stdint.h>
#include <string.h>

#include "test.h"
#include "utils/bytes.h"
#include "utils/checked.h"

static const uint64_t values[] = {
  0, 1, 0x7f, 0x80, 0xff, 0x100, 0x7fffffff, 0x80000000, 0xfffffffe,
  0xffffffff, 0x100000000, 0x0123456789abcdef, 0xfedcba9876543210,
  0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffff,
};

static void
test_at (uint64_t value, unsigned shift)
{
  const uint32_t value32 = (uint32_t) value;
  uint64_t le64 = htole64 (value);
  uint32_t le32 = htole32 (value32);
  uint8_t bytes[24], expected[24];

  memset (bytes, 0xaa, sizeof bytes);
  memcpy (expected, bytes, sizeof bytes);
  memcpy (expected + shift, &le64, 8);
  put_le64 (bytes + shift, value);
  CHECK (memcmp (bytes, expected, sizeof bytes) == 0);
  CHECK (get_le64 (bytes + shift) == value);

  memset (bytes, 0x55, sizeof bytes);
  memcpy (expected, bytes, sizeof bytes);
  memcpy (expected + shift, &le32, 4);
  put_le32 (bytes + shift, value32);
  CHECK (memcmp (bytes, expected, sizeof bytes) == 0);
  CHECK (get_le32 (bytes + shift) == value32);
}

static void
test_checked (void)
{
  uint64_t sum;
  uint32_t product;

  CHECK (!ADD_OVERFLOW (UINT64_MAX - 1, 1u, &sum) && sum == UINT64_MAX);
  CHECK (ADD_OVERFLOW (UINT64_MAX, 1u, &sum));
  CHECK (!MUL_OVERFLOW (0x10001u, 0xffffu, &product) &&
         product == UINT32_MAX);
  CHECK (MUL_OVERFLOW (0x10000u, 0x10000u, &product));

  CHECK (ROUND_DOWN (0u, 512u) == 0 && ROUND_UP (0u, 512u) == 0);
  CHECK (ROUND_DOWN (511u, 512u) == 0 && ROUND_UP (511u, 512u) == 512);
  CHECK (ROUND_DOWN (512u, 512u) == 512 && ROUND_UP (512u, 512u) == 512);
  CHECK (ROUND_DOWN (513u, 512u) == 512 && ROUND_UP (513u, 512u) == 1024);
  CHECK (ROUND_UP (UINT64_MAX - 511, UINT64_C (512)) == UINT64_MAX - 511);
  CHECK (MIN (1u, 2u) == 1 && MAX (1u, 2u) == 2);
}

int
main (void)
{
  size_t i;
  unsigned shift;

  for (i = 0; i < sizeof values / sizeof values[0]; ++i)
    for (shift = 0; shift < 16; ++shift)
      test_at (values[i], shift);
  test_checked ();
  return 0;
}
