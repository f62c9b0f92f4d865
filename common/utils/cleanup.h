/* SPDX-License-Identifier: BSD-3-Clause */
/* What is done when a scope ends, in whichever way it is left; as nbdkit has
 * it, an extension of GCC and Clang.
 */
#ifndef VDI_CLEANUP_H
#define VDI_CLEANUP_H

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

/* CLEANUP (thing_free) struct thing t; calls thing_free (&t) then. */
#define CLEANUP(function) __attribute__ ((cleanup (function)))

/* CLEANUP_FREE char *p = NULL; frees what p points to then. */
#define CLEANUP_FREE CLEANUP (cleanup_free)

static inline void
cleanup_free (const void *pointer)
{
  free (*(void *const *) pointer);
}

/* CLEANUP_CLOSE int fd = -1; closes it then, unless it is -1.  Keeps errno. */
#define CLEANUP_CLOSE CLEANUP (cleanup_close)

static inline void
cleanup_close (const int *fd)
{
  const int err = errno;

  if (*fd != -1)
    close (*fd);
  errno = err;
}

/* CLEANUP_CLOSEDIR DIR *dir = NULL; closes it then, unless it is NULL. */
#define CLEANUP_CLOSEDIR CLEANUP (cleanup_closedir)

static inline void
cleanup_closedir (DIR *const *dir)
{
  if (*dir != NULL)
    closedir (*dir);
}

/* HOLD_LOCK (&mutex); is a declaration: lock it, and unlock it then. */
#define HOLD_LOCK(mutex)                                                \
  CLEANUP (cleanup_unlock) __attribute__ ((unused)) pthread_mutex_t *_held = \
    cleanup_lock (mutex)

static inline pthread_mutex_t *
cleanup_lock (pthread_mutex_t *mutex)
{
  pthread_mutex_lock (mutex);
  return mutex;
}

static inline void
cleanup_unlock (pthread_mutex_t **mutex)
{
  pthread_mutex_unlock (*mutex);
}

#endif /* VDI_CLEANUP_H */
