/* SPDX-License-Identifier: BSD-3-Clause */
/* Are these numbers 0 to n-1?  See fingerprint.h.
 *
 * f(x) = low[x % 2^10] * middle[x / 2^10 % 2^10] * high[x / 2^20], modulo
 * 2^64, with random values in the three arrays.
 *
 * Why that will do: let c(x) be how often x was added, less 1 if x < n,
 * and S the sum of all c(x) * f(x), which is 0 if the sums are equal.  Since
 * n numbers were added, some c(y) is -1, or all are 0.  S is high[y / 2^20]
 * times M, plus what does not depend on it; M is middle[...] times L, plus
 * the like; L is low[y % 2^10] times -1, plus the like.  So L is as random
 * as low[].  M is a multiple of 2^j with a chance of at most
 * (j+2)/2 * 2^-j, adding up how many factors of 2 may come from L and how
 * many from middle[].  In the same way S is a multiple of 2^64 with at most
 * the sum of all (j+2)/2 * 2^-64, 0 <= j <= 64: less than 2^-53.
 */
#include <config.h>

#include <errno.h>
#include <stddef.h>

#include <sys/random.h>

#include "image/fingerprint.h"
#include "utils/checked.h"

static int
fill_random (void *buf, size_t size)
{
  uint8_t *p = buf;
  ssize_t r;

  for (; size > 0; p += r, size -= r) {
    r = getrandom (p, size, 0);
    if (r == -1 && errno != EINTR)
      return -1;
    r = MAX (r, 0);
  }
  return 0;
}

int
fingerprint_init (struct fingerprint *f)
{
  f->sum = 0;
  if (fill_random (f->low, sizeof f->low) == -1 ||
      fill_random (f->middle, sizeof f->middle) == -1 ||
      fill_random (f->high, sizeof f->high) == -1)
    return -1;
  f->below[0] = 0;
  for (size_t i = 0; i < 1024; i++)
    f->below[i+1] = f->below[i] + f->low[i];
  return 0;
}

/* middle * high of all numbers with these upper bits. */
static uint64_t
upper (const struct fingerprint *f, uint32_t x)
{
  return f->middle[x >> 10 & 1023] * f->high[x >> 20];
}

/* The sum of f(x) for start <= x < end. */
static uint64_t
sum_of_range (const struct fingerprint *f, uint32_t start, uint32_t end)
{
  uint64_t sum = 0;
  uint32_t n;

  for (; start < end; start += n) {
    const uint32_t low = start & 1023;

    n = MIN (1024 - low, end - start);
    sum += (f->below[low + n] - f->below[low]) * upper (f, start);
  }
  return sum;
}

void
fingerprint_add (struct fingerprint *f,
                 const uint32_t inverted[FINGERPRINT_NUMBERS])
{
  uint64_t sum = 0;

  for (size_t i = 0; i < FINGERPRINT_NUMBERS; i++) {
    const uint32_t x = ~inverted[i];

    if (x < FINGERPRINT_LIMIT)
      sum += f->low[x & 1023] * upper (f, x);
  }
  f->sum += sum;
}

void
fingerprint_add_range (struct fingerprint *f, uint32_t start, uint32_t end)
{
  f->sum += sum_of_range (f, start, end);
}

bool
fingerprint_is_range (const struct fingerprint *f, uint32_t n)
{
  return n <= FINGERPRINT_LIMIT && f->sum == sum_of_range (f, 0, n);
}
