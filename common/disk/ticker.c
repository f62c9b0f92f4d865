/* SPDX-License-Identifier: BSD-3-Clause */
/* The thread that works ahead and cleans up: see ticker.h. */
#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "disk/disk.h"
#include "disk/ticker.h"
#include "utils/cleanup.h"
#include "utils/clock.h"

struct ticker {
  struct vdi *vdi;              /* constant */
  pthread_t thread;             /* constant */
  pthread_mutex_t lock;
  pthread_cond_t wake;
  bool stop, wanted;            /* lock */
};

/* Wait until then, or until something is wanted; false: stop. */
static bool
wait_for_event (struct ticker *t, const struct timespec *until)
{
  HOLD_LOCK (&t->lock);

  while (!t->stop && !t->wanted &&
         pthread_cond_timedwait (&t->wake, &t->lock, until) == 0)
    ;
  t->wanted = false;
  return !t->stop;
}

#define HURRY_MS 50

static void *
ticker_main (void *tv)
{
  struct ticker *t = tv;
  struct timespec next = clock_in_ms (1000), until = next;
  struct vdi_error error;
  bool told = false;

  while (wait_for_event (t, &until)) {
    /* A second that has passed is one even if there is always something
     * else to do.
     */
    const unsigned seconds = clock_has_passed (&next);

    /* Nobody waits for this; what went wrong shows at the next flush.
     * Once is enough in the log.
     */
    if (vdi_tick (t->vdi, seconds, &error) == -1 && !told) {
      vdi_warn (&t->vdi->listener, "%s", error.message);
      told = true;
    }
    if (seconds > 0)
      next = clock_in_ms (1000);
    until = watch_hurries (t->vdi) ? clock_in_ms (HURRY_MS) : next;
  }
  return NULL;
}

void
ticker_wake (void *opaque)
{
  struct ticker *t = opaque;
  HOLD_LOCK (&t->lock);

  t->wanted = true;
  pthread_cond_signal (&t->wake);
}

int
ticker_start (struct vdi *vdi, struct ticker **ticker, struct vdi_error *error)
{
  struct ticker *t = calloc (1, sizeof *t);
  int err;

  if (t == NULL)
    return vdi_set_errno (error, ENOMEM, "starting the background thread");
  t->vdi = vdi;
  pthread_mutex_init (&t->lock, NULL);
  clock_cond_init (&t->wake);
  err = pthread_create (&t->thread, NULL, ticker_main, t);
  if (err != 0) {
    pthread_cond_destroy (&t->wake);
    pthread_mutex_destroy (&t->lock);
    free (t);
    return vdi_set_errno (error, err, "starting the background thread");
  }
  *ticker = t;
  return 0;
}

void
ticker_stop (struct ticker *t)
{
  if (t == NULL)
    return;
  pthread_mutex_lock (&t->lock);
  t->stop = true;
  pthread_cond_signal (&t->wake);
  pthread_mutex_unlock (&t->lock);
  pthread_join (t->thread, NULL);
  pthread_cond_destroy (&t->wake);
  pthread_mutex_destroy (&t->lock);
  free (t);
}

void
ticker_want (struct vdi *vdi)
{
  struct vdi_error e;

  if (!vdi->ticker_wanted || vdi->ticker != NULL)
    return;
  if (ticker_start (vdi, &vdi->ticker, &e) == -1)
    vdi_warn (&vdi->listener, "%s: %s; what is deferred is committed only when "
              "the client flushes", vdi->levels[0]->name, e.message);
  else
    commit_wake_with (vdi->commit, ticker_wake, vdi->ticker);
}
