/* SPDX-License-Identifier: BSD-3-Clause */
/* Seeded random numbers, the same on every machine, so that a seed in a
 * message is enough to see a failure again (splitmix64).
 */
#ifndef RNG_H
#define RNG_H

#include <stdint.h>

struct rng {
  uint64_t state;
};

static inline uint64_t
rng_next (struct rng *r)
{
  uint64_t z = r->state += UINT64_C (0x9e3779b97f4a7c15);

  z = (z ^ z >> 30) * UINT64_C (0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C (0x94d049bb133111eb);
  return z ^ z >> 31;
}

/* 0 .. n-1; n must not be 0. */
static inline uint64_t
rng_below (struct rng *r, uint64_t n)
{
  return rng_next (r) % n;
}

#endif /* RNG_H */
