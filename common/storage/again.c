/* SPDX-License-Identifier: BSD-3-Clause */
/* The file opened again: see storage/again.h. */
#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

#include "storage/again.h"
#include "storage/open.h"
#include "utils/cleanup.h"
#include "utils/clock.h"

void
again_init (struct again *a)
{
  *a = (struct again) { .open = 0 };
  pthread_mutex_init (&a->lock, NULL);
  clock_cond_init (&a->changed);
}

void
again_destroy (struct again *a)
{
  pthread_cond_destroy (&a->changed);
  pthread_mutex_destroy (&a->lock);
}

static void
end (struct again *a)
{
  HOLD_LOCK (&a->lock);

  if (--a->open == 0)
    pthread_cond_broadcast (&a->changed);
}

int
again_open (struct again *a, int fd, int flags)
{
  int own, err;

  pthread_mutex_lock (&a->lock);
  while (a->alone)
    pthread_cond_wait (&a->changed, &a->lock);
  a->open++;
  pthread_mutex_unlock (&a->lock);

  own = open_again (fd, flags);
  if (own == -1) {
    err = errno;
    end (a);
    errno = err;
  }
  return own;
}

void
again_close (struct again *a, int own)
{
  const int err = errno;

  close (own);
  end (a);
  errno = err;
}

/* The lock is held. */
static void
end_alone (struct again *a)
{
  a->alone = false;
  pthread_cond_broadcast (&a->changed);
}

bool
again_begin_alone (struct again *a, unsigned ms)
{
  HOLD_LOCK (&a->lock);
  const struct timespec until = clock_in_ms (ms);

  a->alone = true;
  while (a->open > 0 &&
         pthread_cond_timedwait (&a->changed, &a->lock, &until) == 0)
    ;
  if (a->open > 0)
    end_alone (a);
  return a->open == 0;
}

void
again_end_alone (struct again *a)
{
  HOLD_LOCK (&a->lock);

  end_alone (a);
}
