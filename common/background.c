/* SPDX-License-Identifier: BSD-3-Clause */
/* The thread that commits what is deferred: see background.h. */
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
  bool stop;                    /* lock */
};

/* Wait for a second; true if it is time to end. */
static bool
wait_a_second (struct background *bg)
{
  struct timespec until;
  bool stop;

  clock_gettime (CLOCK_MONOTONIC, &until);
  until.tv_sec++;
  pthread_mutex_lock (&bg->lock);
  while (!bg->stop &&
         pthread_cond_timedwait (&bg->wake, &bg->lock, &until) == 0)
    ;
  stop = bg->stop;
  pthread_mutex_unlock (&bg->lock);
  return stop;
}

static void *
background_main (void *bgv)
{
  struct background *bg = bgv;
  struct vdi_error error;
  bool told = false;

  while (!wait_a_second (bg)) {
    /* Nobody waits for this; what went wrong shows at the next flush.
     * Once is enough in the log.
     */
    if (vdi_background (bg->vdi, 1, &error) == -1 && !told) {
      chain_warn (bg->vdi, "%s", error.message);
      told = true;
    }
  }
  return NULL;
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
