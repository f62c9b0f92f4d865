/* SPDX-License-Identifier: BSD-3-Clause */
/* storage-sync.c: one that fails is told to all that were under way, and
 * nobody waits for what began later.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "child.h"
#include "storage-sync.h"
#include "test.h"
#include "tmpdir.h"

static struct sync_calls calls;

/* A call that ends well, as far as it knows, in a thread of its own. */
struct leaver {
  pthread_t thread;
  struct sync_call call;
  int result;
};

static void *
leave (void *opaque)
{
  struct leaver *l = opaque;

  l->result = sync_leave (&calls, &l->call, false);
  return NULL;
}

static void
start_leaving (struct leaver *l)
{
  CHECK (pthread_create (&l->thread, NULL, leave, l) == 0);
}

static int
result (struct leaver *l)
{
  CHECK (pthread_join (l->thread, NULL) == 0);
  return l->result;
}

/* Wait until it is known to everybody that the call has ended. */
static void
wait_until_left (const struct sync_call *call)
{
  bool there;

  do {
    const struct sync_call *p;

    there = false;
    pthread_mutex_lock (&calls.lock);
    for (p = calls.oldest; p != NULL; p = p->next)
      there |= p == call;
    pthread_mutex_unlock (&calls.lock);
  } while (there);
}

static void
test_alone (void)
{
  struct sync_call a;

  sync_init (&calls);
  sync_enter (&calls, &a);
  CHECK (sync_leave (&calls, &a, false) == 0);
  sync_enter (&calls, &a);
  CHECK (sync_leave (&calls, &a, true) == -1);
  /* It does not stay that way: that is for the caller to remember. */
  sync_enter (&calls, &a);
  CHECK (sync_leave (&calls, &a, false) == 0);
  sync_destroy (&calls);
}

static void
test_told (void)
{
  struct leaver early, late, after;
  struct sync_call a;

  sync_init (&calls);
  /* Both sides of a in the list, and they end before a fails. */
  sync_enter (&calls, &early.call);
  sync_enter (&calls, &a);
  sync_enter (&calls, &late.call);
  start_leaving (&early);
  start_leaving (&late);
  wait_until_left (&early.call);
  wait_until_left (&late.call);
  /* Begins while a is under way, and ends when a has failed. */
  sync_enter (&calls, &after.call);
  CHECK (sync_leave (&calls, &a, true) == -1);
  CHECK (result (&early) == -1);
  CHECK (result (&late) == -1);
  start_leaving (&after);
  CHECK (result (&after) == -1);
  CHECK (calls.oldest == NULL);
  sync_destroy (&calls);
}

static void
test_no_longer_than_needed (void)
{
  struct leaver early, a;
  struct sync_call b;

  sync_init (&calls);
  sync_enter (&calls, &early.call);
  sync_enter (&calls, &a.call);
  start_leaving (&early);
  wait_until_left (&early.call);
  sync_enter (&calls, &b);
  /* early waits for a, but not for b; a does wait for b. */
  start_leaving (&a);
  CHECK (result (&early) == 0);
  CHECK (sync_leave (&calls, &b, false) == 0);
  CHECK (result (&a) == 0);
  CHECK (calls.oldest == NULL);
  sync_destroy (&calls);
}

/* All at once, on a file. */

#define NR_THREADS 8
#define NR_ROUNDS 25

static int fd;

static void *
write_and_sync (void *opaque)
{
  const uintptr_t me = (uintptr_t) opaque;
  char buf[100];
  int i;

  for (i = 0; i < NR_ROUNDS; ++i) {
    memset (buf, 'a' + i, sizeof buf);
    if (i % 3 == 2)
      CHECK (sync_fdatasync (&calls, fd) == 0);
    else
      CHECK (sync_pwrite (&calls, fd, buf, sizeof buf,
                          me * sizeof buf) == sizeof buf);
  }
  return NULL;
}

static void
test_file (void)
{
  pthread_t threads[NR_THREADS];
  char buf[100];
  uintptr_t i;

  sync_init (&calls);
  fd = open (tmpdir_file ("f"), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  CHECK (fd >= 0);
  if (sync_pwrite (&calls, fd, "x", 1, 0) == -1) {
    CHECK (errno == ENOTSUP);   /* and nothing to see here */
    return;
  }
  for (i = 0; i < NR_THREADS; ++i)
    CHECK (pthread_create (&threads[i], NULL, write_and_sync,
                           (void *) i) == 0);
  for (i = 0; i < NR_THREADS; ++i)
    CHECK (pthread_join (threads[i], NULL) == 0);
  CHECK (calls.oldest == NULL && calls.failures == 0);
  for (i = 0; i < NR_THREADS; ++i) {
    CHECK (pread (fd, buf, sizeof buf, i * sizeof buf) == sizeof buf);
    CHECK (buf[0] == 'a' + NR_ROUNDS - 1 && buf[99] == buf[0]);
  }
  CHECK (close (fd) == 0);
  sync_destroy (&calls);
}

/* Errors that are about the call alone are no failure of others. */
static void
test_own_errors (void)
{
  const struct rlimit limit = { .rlim_cur = 4096, .rlim_max = RLIM_INFINITY };
  char *name = tmpdir_file ("g");
  struct rlimit old;
  int ends[2];

  sync_init (&calls);
  fd = open ("/dev/full", O_RDWR | O_CLOEXEC);
  CHECK (fd >= 0);
  CHECK (sync_pwrite (&calls, fd, "x", 1, 0) == -1);
  CHECK (errno == ENOSPC || errno == ENOTSUP);
  CHECK (calls.failures == 0);
  CHECK (close (fd) == 0);

  fd = open (name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  CHECK (fd >= 0);
  CHECK (getrlimit (RLIMIT_FSIZE, &old) == 0);
  CHECK (signal (SIGXFSZ, SIG_IGN) != SIG_ERR);
  CHECK (setrlimit (RLIMIT_FSIZE, &limit) == 0);
  CHECK (sync_pwrite (&calls, fd, "x", 1, 4096) == -1);
  CHECK (errno == EFBIG || errno == ENOTSUP);
  CHECK (setrlimit (RLIMIT_FSIZE, &old) == 0);
  CHECK (calls.failures == 0);
  CHECK (close (fd) == 0);

  fd = open (name, O_RDONLY | O_CLOEXEC);
  CHECK (fd >= 0);
  CHECK (sync_pwrite (&calls, fd, "x", 1, 0) == -1);
  CHECK (errno == EBADF || errno == ENOTSUP);
  CHECK (calls.failures == 0);
  CHECK (sync_fdatasync (&calls, fd) == 0);
  CHECK (close (fd) == 0);

  /* And others are: a pipe cannot be synced. */
  CHECK (pipe (ends) == 0);
  CHECK (sync_fdatasync (&calls, ends[1]) == -1);
  CHECK (calls.failures == 1);
  CHECK (close (ends[0]) == 0 && close (ends[1]) == 0);
  sync_destroy (&calls);
}

int
main (void)
{
  tmpdir_make ();
  alarm (CHILD_PATIENCE);       /* instead of waiting for ever */
  test_alone ();
  test_told ();
  test_no_longer_than_needed ();
  test_file ();
  test_own_errors ();
  return 0;
}
