/* SPDX-License-Identifier: BSD-3-Clause */
/* Are these numbers 0 to n-1, each once, in whatever order?  Told in one
 * pass, without remembering which have been seen: a bitmap of them is
 * random access to memory if there are many in no order, which takes ten
 * times as long.
 *
 *   fingerprint_init (&f)               -1 if there are no random numbers
 *   fingerprint_add (&f, inverted)      any number of times
 *   fingerprint_add_range (&f, 10, 20)
 *   fingerprint_is_range (&f, n)
 *
 * Each number x has a value f(x) that nobody can foresee; compared are
 * the sum of those of the numbers added, and of 0 to n-1.  They differ if
 * the numbers do, but for a chance below 2^-53, whoever chose them.
 *
 * Not thread-safe.
 */
#ifndef VDI_IMAGE_FINGERPRINT_H
#define VDI_IMAGE_FINGERPRINT_H

#include <stdbool.h>
#include <stdint.h>

/* So many are added at a time. */
#define FINGERPRINT_NUMBERS 1024

/* Numbers from here on are passed over. */
#define FINGERPRINT_LIMIT (UINT32_C (1) << 30)

struct fingerprint {
  uint64_t sum;
  uint64_t low[1024], middle[1024], high[1024]; /* by ten bits of x */
  uint64_t below[1025];         /* the sum of low[0] to low[i-1] */
};

extern int fingerprint_init (struct fingerprint *);

/* Of each number all bits are inverted here, as in a block map. */
extern void fingerprint_add (struct fingerprint *,
                             const uint32_t inverted[FINGERPRINT_NUMBERS]);

/* All numbers from start to end-1. */
extern void fingerprint_add_range (struct fingerprint *, uint32_t start,
                                   uint32_t end);

/* As many as n were added that were not passed over. */
extern bool fingerprint_is_range (const struct fingerprint *, uint32_t n);

#endif /* VDI_IMAGE_FINGERPRINT_H */
