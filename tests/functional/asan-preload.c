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
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#define MS 1000000L

static void *volatile first;

static void initialise_first (void) __attribute__ ((constructor));

static void
initialise_first (void)
{
  first = malloc (1);
  free (first);
}

static void (*volatile quit) (int);

/* Each connection has a thread, and most have many more.  The main thread
 * is always there, and the plugin may have one of its own.
 */
static bool
may_have_connections (void)
{
  struct stat sb;

  return stat ("/proc/self/task", &sb) == 0 && sb.st_nlink - 2 > 2;
}

static void
quit_later (int sig)
{
  /* Only what a signal handler may do. */
  const struct timespec little = { 0, 10 * MS }, last = { 0, 100 * MS };
  unsigned i;

  for (i = 0; i < 200 && may_have_connections (); ++i)
    nanosleep (&little, NULL);
  /* With two threads the second may be that of a connection. */
  nanosleep (&last, NULL);
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
