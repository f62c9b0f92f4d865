/* SPDX-License-Identifier: BSD-3-Clause */
/* Are these numbers 0 to n-1?  common/image/fingerprint.c. */
#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "image/fingerprint.h"
#include "test.h"

#define N (20 * 1024u + 300)    /* not a multiple of what is added at once */

static uint32_t numbers[N];
static struct fingerprint print;

/* Is it said that the numbers, plus base, and all below base, are a range? */
static bool
is_range (uint32_t base)
{
  uint32_t inverted[FINGERPRINT_NUMBERS], i, j;

  CHECK (fingerprint_init (&print) == 0);
  fingerprint_add_range (&print, 0, base);
  for (i = 0; i < N; i += j) {
    memset (inverted, 0, sizeof inverted); /* as FREE in a block map */
    for (j = 0; j < FINGERPRINT_NUMBERS && i + j < N; j++)
      inverted[j] = ~(base + numbers[i + j]);
    fingerprint_add (&print, inverted);
  }
  return fingerprint_is_range (&print, base + N);
}

static void
in_order (void)
{
  for (uint32_t i = 0; i < N; i++)
    numbers[i] = i;
}

static void
swap (uint32_t i, uint32_t j)
{
  const uint32_t number = numbers[i];

  numbers[i] = numbers[j];
  numbers[j] = number;
}

static void
shuffle (void)
{
  srandom (1);
  in_order ();
  for (uint32_t i = N - 1; i > 0; i--)
    swap (i, random () % (i + 1));
}

/* The last base lies across the limit of what can be added. */
static void
test_all_orders (void)
{
  static const uint32_t bases[] = { 0, 1, 1023, 1024, (1 << 20) - 5000,
                                    FINGERPRINT_LIMIT - N };

  for (size_t i = 0; i < sizeof bases / sizeof bases[0]; i++) {
    in_order ();
    CHECK (is_range (bases[i]));
    shuffle ();
    CHECK (is_range (bases[i]));
    numbers[N/2] = numbers[N/2 + 1];
    CHECK (!is_range (bases[i]));
  }
}

static void
test_ranges_are_their_numbers (void)
{
  const uint32_t bounds[] = { 0, 1, 1000, 1024, 5000, 5000, (1 << 20) - 1,
                              (1 << 20) + 1, 3 << 20 };
  const size_t nr = sizeof bounds / sizeof bounds[0];

  CHECK (fingerprint_init (&print) == 0);
  for (size_t i = nr - 1; i > 0; i--)
    fingerprint_add_range (&print, bounds[i-1], bounds[i]);
  CHECK (fingerprint_is_range (&print, 3 << 20));
  fingerprint_add_range (&print, 7, 8);
  CHECK (!fingerprint_is_range (&print, (3 << 20) + 1));
}

static void
test_one_wrong (void)
{
  for (unsigned bit = 0; bit < 30; bit++) {
    shuffle ();
    numbers[1234] ^= UINT32_C (1) << bit;
    CHECK (!is_range (0));
  }
}

/* Numbers chosen so that simpler sums are right: those of the numbers, and
 * of their squares; and of what depends on the lower and the upper bits
 * apart.
 */
static void
test_several_wrong (void)
{
  for (unsigned shift = 0; shift < 12; shift++) {
    in_order ();
    numbers[0] = 1 << shift;    /* 0 + 4 + 5 = 1 + 2 + 6 */
    numbers[4 << shift] = 2 << shift;
    numbers[5 << shift] = 6 << shift;
    CHECK (!is_range (0));
  }
  in_order ();
  numbers[3 << 10 | 5] = 3 << 10 | 6;
  numbers[4 << 10 | 6] = 4 << 10 | 5;
  CHECK (!is_range (0));
}

/* The most often that one can be there. */
static void
test_all_the_same (void)
{
  memset (numbers, 0, sizeof numbers);
  CHECK (!is_range (0));
}

int
main (void)
{
  test_all_orders ();
  test_ranges_are_their_numbers ();
  test_one_wrong ();
  test_several_wrong ();
  test_all_the_same ();
  return 0;
}
