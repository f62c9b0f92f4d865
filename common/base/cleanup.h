/* SPDX-License-Identifier: BSD-3-Clause */
/* What is done when a scope ends, in whichever way it is left; as nbdkit has
 * it, an extension of GCC and Clang.
 */
#ifndef VDI_CLEANUP_H
#define VDI_CLEANUP_H

#include <pthread.h>
#include <stdlib.h>

/* CLEANUP_FREE char *p = NULL; frees what p points to then. */
#define CLEANUP_FREE __attribute__ ((cleanup (cleanup_free)))

static inline void
cleanup_free (void *pointer)
{
  free (*(void **) pointer);
}

/* HOLD_LOCK (&mutex); is a declaration: lock it, and unlock it then. */
#define HOLD_LOCK(mutex)                                                \
  __attribute__ ((cleanup (cleanup_unlock), unused)) pthread_mutex_t *_held = \
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
