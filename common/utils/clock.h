/* SPDX-License-Identifier: BSD-3-Clause */
/* Points in time, for waiting; the clock that nobody sets. */
#ifndef VDI_CLOCK_H
#define VDI_CLOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <time.h>

static inline struct timespec
clock_in_ms (unsigned ms)
{
  struct timespec t;

  clock_gettime (CLOCK_MONOTONIC, &t);
  t.tv_sec += ms / 1000;
  t.tv_nsec += ms % 1000 * 1000000L;
  if (t.tv_nsec >= 1000000000) {
    t.tv_sec++;
    t.tv_nsec -= 1000000000;
  }
  return t;
}

static inline long
clock_ms_since (const struct timespec *then)
{
  const struct timespec now = clock_in_ms (0);

  return (now.tv_sec - then->tv_sec) * 1000L +
    (now.tv_nsec - then->tv_nsec) / 1000000;
}

static inline bool
clock_has_passed (const struct timespec *t)
{
  const struct timespec now = clock_in_ms (0);

  return now.tv_sec > t->tv_sec ||
         (now.tv_sec == t->tv_sec && now.tv_nsec >= t->tv_nsec);
}

/* pthread_cond_timedwait waits until such a point in time. */
static inline void
clock_cond_init (pthread_cond_t *cond)
{
  pthread_condattr_t attr;

  pthread_condattr_init (&attr);
  pthread_condattr_setclock (&attr, CLOCK_MONOTONIC);
  pthread_cond_init (cond, &attr);
  pthread_condattr_destroy (&attr);
}

#endif /* VDI_CLOCK_H */
