/* SPDX-License-Identifier: BSD-3-Clause */
/* The thread that works ahead and cleans up: see background.h. */
#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "background.h"
#include "chain.h"
#include "clock.h"

struct background {
  struct vdi *vdi;              /* constant */
  pthread_t thread;             /* constant */
  pthread_mutex_t lock;
  pthread_cond_t wake;
  bool stop, wanted;            /* lock */
};

/* Wait until then, or until something is wanted; false: stop. */
static bool
wait_for_event (struct background *bg, const struct timespec *until)
{
  bool stop;

  pthread_mutex_lock (&bg->lock);
  while (!bg->stop && !bg->wanted &&
         pthread_cond_timedwait (&bg->wake, &bg->lock, until) == 0)
    ;
  bg->wanted = false;
  stop = bg->stop;
  pthread_mutex_unlock (&bg->lock);
  return !stop;
}

#define HURRY_MS 50

static void *
background_main (void *bgv)
{
  struct background *bg = bgv;
  struct timespec next = clock_in_ms (1000), until = next;
  struct vdi_error error;
  bool told = false;

  while (wait_for_event (bg, &until)) {
    /* A second that has passed is one even if there is always something
     * else to do.
     */
    const unsigned seconds = clock_has_passed (&next);

    /* Nobody waits for this; what went wrong shows at the next flush.
     * Once is enough in the log.
     */
    if (vdi_background (bg->vdi, seconds, &error) == -1 && !told) {
      vdi_warn (&bg->vdi->listener, "%s", error.message);
      told = true;
    }
    if (seconds > 0)
      next = clock_in_ms (1000);
    until = watch_hurries (bg->vdi) ? clock_in_ms (HURRY_MS) : next;
  }
  return NULL;
}

void
background_wake (void *opaque)
{
  struct background *bg = opaque;

  pthread_mutex_lock (&bg->lock);
  bg->wanted = true;
  pthread_cond_signal (&bg->wake);
  pthread_mutex_unlock (&bg->lock);
}

int
background_start (struct vdi *vdi, struct background **background,
                  struct vdi_error *error)
{
  struct background *bg = calloc (1, sizeof *bg);
  pthread_condattr_t attr;
  int err;

  if (bg == NULL)
    return vdi_set_errno (error, ENOMEM, "starting the background thread");
  bg->vdi = vdi;
  pthread_mutex_init (&bg->lock, NULL);
  pthread_condattr_init (&attr);
  pthread_condattr_setclock (&attr, CLOCK_MONOTONIC);
  pthread_cond_init (&bg->wake, &attr);
  pthread_condattr_destroy (&attr);
  err = pthread_create (&bg->thread, NULL, background_main, bg);
  if (err != 0) {
    pthread_cond_destroy (&bg->wake);
    pthread_mutex_destroy (&bg->lock);
    free (bg);
    return vdi_set_errno (error, err, "starting the background thread");
  }
  *background = bg;
  return 0;
}

void
background_stop (struct background *bg)
{
  if (bg == NULL)
    return;
  pthread_mutex_lock (&bg->lock);
  bg->stop = true;
  pthread_cond_signal (&bg->wake);
  pthread_mutex_unlock (&bg->lock);
  pthread_join (bg->thread, NULL);
  pthread_cond_destroy (&bg->wake);
  pthread_mutex_destroy (&bg->lock);
  free (bg);
}

void
background_want (struct vdi *vdi)
{
  struct vdi_error e;

  if (!vdi->background_wanted || vdi->background != NULL)
    return;
  if (background_start (vdi, &vdi->background, &e) == -1)
    vdi_warn (&vdi->listener, "%s: %s; what is deferred is committed only when "
              "the client flushes", vdi->levels[0]->name, e.message);
  else
    commit_wake_with (vdi->commit, background_wake,
                      vdi->background);
}
