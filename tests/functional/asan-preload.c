/* SPDX-License-Identifier: BSD-3-Clause */
/* Preloaded into nbdkit, after the sanitizer: two things of
 * nbdkit's and of the system's that are not for the tests to stumble
 * over.
 *
 * 1. Initialise the sanitizer before anything else in the process.  It
 * would otherwise be initialised by the first malloc of another library's
 * constructor: on Debian 12 that of libp11-kit, inside of newlocale,
 * which holds glibc's lock of the locales.  The sanitizer's own
 * initialisation calls dlerror, which takes and releases that lock, too,
 * and leaves it broken: after the first %m in a message nbdkit hangs when
 * it exits.  This library is linked with -z initfirst, so its constructor
 * is the first of all.
 *
 * It is the same with the thread sanitizer.
 *
 * 2. Let connections end before nbdkit is told to quit.  From then on it
 * does not call .close any more, nor free what belongs to a connection
 * that is just ending, which would be found to leak.  Tests stop servers
 * as soon as they have closed their connections.
 */
#include <config.h>

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define MS 1000000L
#define PATIENCE 6000           /* times 10 ms, and more on a busy machine */

static void *volatile first;

static void initialise_first (void) __attribute__ ((constructor));

static void
initialise_first (void)
{
  first = malloc (1);
  free (first);
}

static void (*volatile quit) (int);

/* nbdkit runs each connection in a detached thread, and has no others that
 * are.  So the detached ones are counted.
 */
#define MAX_CONNECTIONS 256

static struct slot {
  atomic_bool taken;
  void *(*start) (void *);
  void *arg;
} slots[MAX_CONNECTIONS];
static atomic_uint connections;

static void *
run_connection (void *opaque)
{
  struct slot *slot = opaque;
  void *r = slot->start (slot->arg);

  atomic_store (&slot->taken, false);
  atomic_fetch_sub (&connections, 1);
  return r;
}

typedef int (*create_fn) (pthread_t *restrict, const pthread_attr_t *restrict,
                          void *(*) (void *), void *restrict);

int
pthread_create (pthread_t *restrict thread, const pthread_attr_t *restrict attr,
                void *(*start) (void *), void *restrict arg)
{
  create_fn next;
  int detached = PTHREAD_CREATE_JOINABLE, r;
  unsigned i;

  *(void **) &next = dlsym (RTLD_NEXT, "pthread_create");
  if (attr != NULL)
    pthread_attr_getdetachstate (attr, &detached);
  if (detached != PTHREAD_CREATE_DETACHED)
    return next (thread, attr, start, arg);
  /* No malloc: the new thread is not the sanitizer's yet. */
  for (i = 0; i < MAX_CONNECTIONS && atomic_exchange (&slots[i].taken, true);
       ++i)
    ;
  if (i == MAX_CONNECTIONS)
    return EAGAIN;
  slots[i].start = start;
  slots[i].arg = arg;
  atomic_fetch_add (&connections, 1);
  r = next (thread, attr, run_connection, &slots[i]);
  if (r != 0) {
    atomic_store (&slots[i].taken, false);
    atomic_fetch_sub (&connections, 1);
  }
  return r;
}

static void
quit_later (int sig)
{
  /* Only what a signal handler may do.  A client that stays is not waited
   * for for ever.
   */
  const struct timespec little = { 0, 10 * MS };
  unsigned i;

  /* Any thread may get it, also one that would wait for its own end. */
  if (gettid () != getpid ()) {
    tgkill (getpid (), getpid (), sig);
    return;
  }
  for (i = 0; i < PATIENCE && atomic_load (&connections) > 0; ++i)
    nanosleep (&little, NULL);
  quit (sig);
}

typedef int (*sigaction_fn) (int, const struct sigaction *restrict,
                             struct sigaction *restrict);

int
sigaction (int sig, const struct sigaction *restrict act,
           struct sigaction *restrict old)
{
  sigaction_fn next;
  struct sigaction later;

  /* The cast that dlsym needs and ISO C forbids. */
  *(void **) &next = dlsym (RTLD_NEXT, "sigaction");
  if (sig == SIGTERM && act != NULL && !(act->sa_flags & SA_SIGINFO) &&
      act->sa_handler != SIG_DFL && act->sa_handler != SIG_IGN) {
    quit = act->sa_handler;
    later = *act;
    later.sa_handler = quit_later;
    act = &later;
  }
  return next (sig, act, old);
}
