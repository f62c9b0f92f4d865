/* SPDX-License-Identifier: BSD-3-Clause */
/* A deterministic scheduler: coroutines on one OS thread, and the locks
 * of <pthread.h> for them.
 *
 * The copy of the core that the crash tests use is compiled with
 * coop-redirect.h in front, which turns its pthread_mutex_lock etc. into
 * the functions below.  Coroutines are switched only at points: a call of
 * coop_point (from the hooks of a disk, before every storage call) and
 * every lock operation.  Who goes on is decided by the test.
 *
 * Calling sequence:
 *   coop_init (NULL, 0);
 *   id = coop_spawn (fn, arg);         for each coroutine
 *   while (some coroutine is not done)
 *     coop_step (id);                  for one that coop_can_run
 * or coop_run, which does the loop.  If none can run and not all are
 * done, that is a deadlock.
 *
 * Misuse of a lock (unlocking what one does not hold, destroying what is
 * held, locking twice) ends in coop_misuse, which by default prints and
 * aborts.
 *
 * Outside of any coroutine points do nothing, and a lock that is not free
 * is a misuse.
 *
 * Everything the scheduler knows is in the memory given to coop_init or
 * in the locks themselves, and coroutines do not move, so that a test can
 * save a state by copying memory and go back to it: see coop_stack.
 */
#ifndef CRASH_COOP_H
#define CRASH_COOP_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define COOP_MAX 16             /* coroutines */
#define COOP_STACK (128 * 1024) /* bytes, each */

enum coop_state {
  COOP_NONE,                    /* not spawned, or done */
  COOP_READY,                   /* at a point */
  COOP_WAIT_MUTEX, COOP_WAIT_READ, COOP_WAIT_WRITE, /* for a lock */
  COOP_WAIT_COND, COOP_WAIT_COND_TIMED,
  COOP_WAIT_IDLE,               /* in coop_idle */
};

/* Start, or start again: all coroutines that there were are forgotten.
 * memory: at least coop_memory (nr) bytes, aligned to 4096, for nr
 * coroutines; NULL: malloc for COOP_MAX.
 */
extern size_t coop_memory (size_t nr);
extern void coop_init (void *memory, size_t nr);
extern void coop_exit (void);   /* frees what coop_init allocated */

/* A new coroutine, which runs at the first coop_step.  Returns its id: 0,
 * 1, ...
 */
extern int coop_spawn (void (*fn) (void *), void *arg);

extern int coop_nr (void);      /* how many were spawned */
extern enum coop_state coop_state (int id);
extern bool coop_done (int id);
extern bool coop_can_run (int id);

/* Let it run to its next point, or to its end. */
extern void coop_step (int id);

/* Which coroutine is running, -1 outside. */
extern int coop_self (void);

/* Let another one run, if the test so decides. */
extern void coop_point (void);

/* Wait until the test calls coop_wake; coop_can_run is false until then. */
extern void coop_idle (void);
extern void coop_wake (int id);

/* Run all to their ends.  choose gets the ids of those that can run, n at
 * least 1, and returns one of them; -1 stops.  NULL: round robin.
 * Returns 0, 1 if choose stopped, or -1 in a deadlock.
 */
extern int coop_run (int (*choose) (void *opaque, const int *ids, int n),
                     void *opaque);

/* Of a coroutine that is not running: the part of its stack in use.  (Not
 * all there is to it where coroutines are made with ucontext; the
 * scheduler's memory, which the first coop_fixed bytes are, has the rest.)
 */
extern void coop_stack (int id, void **start, size_t *size);
extern void *coop_fixed (size_t *size);
/* Clear the part that is not in use, so that states can be compared. */
extern void coop_clear_stack (int id, size_t size);

/* Is giving a lock back, or waking somebody, a point, too?  It need not be
 * to meet all that can happen to a program whose threads share only what
 * locks protect, and is by default.
 */
extern bool coop_unlock_points;

/* Called with what was done wrong; must not return.  */
extern void (*coop_misuse) (const char *what);

/* The locks; see coop-redirect.h. */
extern int coop_mutex_init (pthread_mutex_t *, const pthread_mutexattr_t *);
extern int coop_mutex_destroy (pthread_mutex_t *);
extern int coop_mutex_lock (pthread_mutex_t *);
extern int coop_mutex_trylock (pthread_mutex_t *);
extern int coop_mutex_unlock (pthread_mutex_t *);
extern int coop_rwlock_init (pthread_rwlock_t *,
                             const pthread_rwlockattr_t *);
extern int coop_rwlock_destroy (pthread_rwlock_t *);
extern int coop_rwlock_rdlock (pthread_rwlock_t *);
extern int coop_rwlock_wrlock (pthread_rwlock_t *);
extern int coop_rwlock_tryrdlock (pthread_rwlock_t *);
extern int coop_rwlock_trywrlock (pthread_rwlock_t *);
extern int coop_rwlock_unlock (pthread_rwlock_t *);
extern int coop_cond_init (pthread_cond_t *, const pthread_condattr_t *);
extern int coop_cond_destroy (pthread_cond_t *);
extern int coop_cond_wait (pthread_cond_t *, pthread_mutex_t *);
/* Times out whenever the test lets it run before it was signalled. */
extern int coop_cond_timedwait (pthread_cond_t *, pthread_mutex_t *,
                                const struct timespec *);
extern int coop_cond_signal (pthread_cond_t *);
extern int coop_cond_broadcast (pthread_cond_t *);

#endif /* CRASH_COOP_H */
