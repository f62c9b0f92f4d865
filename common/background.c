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

struct background {
  struct vdi *vdi;              /* constant */
  pthread_t thread;             /* constant */
  pthread_mutex_t lock;
  pthread_cond_t wake;
  bool stop, wanted;            /* lock */
};

static struct timespec
in_a_second (void)
{
  struct timespec t;

  clock_gettime (CLOCK_MONOTONIC, &t);
  t.tv_sec++;
  return t;
}

static bool
has_passed (const struct timespec *t)
{
  struct timespec now;

  clock_gettime (CLOCK_MONOTONIC, &now);
  return now.tv_sec > t->tv_sec ||
         (now.tv_sec == t->tv_sec && now.tv_nsec >= t->tv_nsec);
}

enum event { SECOND, WANTED, STOP };

/* Wait until then, at most.  A second that has passed is one even if there
 * is always something else to do.
 */
static enum event
wait_for_event (struct background *bg, const struct timespec *until)
{
  enum event event = SECOND;

  pthread_mutex_lock (&bg->lock);
  while (!bg->stop && !bg->wanted &&
         pthread_cond_timedwait (&bg->wake, &bg->lock, until) == 0)
    ;
  if (bg->stop)
    event = STOP;
  else if (bg->wanted && !has_passed (until))
    event = WANTED;
  bg->wanted = false;
  pthread_mutex_unlock (&bg->lock);
  return event;
}

static void *
background_main (void *bgv)
{
  struct background *bg = bgv;
  struct timespec next = in_a_second ();
  struct vdi_error error;
  enum event event;
  bool told = false;

  while ((event = wait_for_event (bg, &next)) != STOP) {
    const unsigned seconds = event == SECOND;

    /* Nobody waits for this; what went wrong shows at the next flush.
     * Once is enough in the log.
     */
    if (vdi_background (bg->vdi, seconds, &error) == -1 && !told) {
      chain_warn (bg->vdi, "%s", error.message);
      told = true;
    }
    if (seconds > 0)
      next = in_a_second ();
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
