/* SPDX-License-Identifier: BSD-3-Clause */
/* storage/sync.c: one that fails is told to all that were under way and to
 * all that come, nobody waits for what began later, and durable writes
 * wait for nobody.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "child.h"
#include "storage/sync.h"
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
  /* It stays that way: nobody knows what was lost. */
  sync_enter (&calls, &a);
  CHECK (sync_leave (&calls, &a, false) == -1);
  CHECK (calls.oldest == NULL);
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

/* Whoever waits need not any more when it is known that one has failed,
 * whatever else is under way.
 */
static void
test_failure_ends_waiting (void)
{
  struct sync_call a, b;
  struct leaver l;

  sync_init (&calls);
  sync_enter (&calls, &a);
  sync_enter (&calls, &b);
  sync_enter (&calls, &l.call);
  start_leaving (&l);
  wait_until_left (&l.call);
  CHECK (sync_leave (&calls, &a, true) == -1);
  CHECK (result (&l) == -1);
  CHECK (calls.oldest == &b);
  CHECK (sync_leave (&calls, &b, false) == -1);
  sync_destroy (&calls);
}

/*------------------------------------------------------------------*/
/* On files. */

#define NR_THREADS 8
#define NR_ROUNDS 25

static int fd;
static _Atomic bool can, works;
static struct again again;

/* A durable write to fd. */
static int
write_durably (const void *buf, size_t count, uint64_t offset)
{
  const ssize_t r = sync_pwrite (&again, fd, buf, count, offset, &can,
                                 &works);

  CHECK (r == -1 || r == (ssize_t) count);
  return r == -1 ? -1 : 0;
}

static void
open_file (const char *name, int flags)
{
  fd = open (name, flags | O_CLOEXEC, 0600);
  CHECK (fd >= 0);
  can = true;
  works = false;
}

/* How many files are open? */
static unsigned
open_files (void)
{
  unsigned n = 0;

  for (int i = 0; i < 256; i++)
    n += fcntl (i, F_GETFD) != -1;
  return n;
}

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
      CHECK (write_durably (buf, sizeof buf, me * sizeof buf) == 0);
  }
  return NULL;
}

/* All at once. */
static void
test_file (void)
{
  const unsigned before = open_files ();
  pthread_t threads[NR_THREADS];
  char buf[100];
  uintptr_t i;

  sync_init (&calls);
  open_file (tmpdir_file ("f"), O_RDWR | O_CREAT | O_EXCL);
  if (write_durably ("x", 1, 0) == -1) {
    CHECK (errno == ENOTSUP);   /* and nothing to see here */
    return;
  }
  CHECK (works);
  for (i = 0; i < NR_THREADS; ++i)
    CHECK (pthread_create (&threads[i], NULL, write_and_sync,
                           (void *) i) == 0);
  for (i = 0; i < NR_THREADS; ++i)
    CHECK (pthread_join (threads[i], NULL) == 0);
  CHECK (calls.oldest == NULL && !calls.failed);
  for (i = 0; i < NR_THREADS; ++i) {
    CHECK (pread (fd, buf, sizeof buf, i * sizeof buf) == sizeof buf);
    CHECK (buf[0] == 'a' + NR_ROUNDS - 1 && buf[99] == buf[0]);
  }
  CHECK (close (fd) == 0);
  CHECK (open_files () == before);
  sync_destroy (&calls);
}

/* A sync takes as long as there is data; a durable write does not wait for
 * it.  This one would hang.
 */
static void
test_waits_for_no_sync (void)
{
  struct sync_call a;
  char buf[4];

  sync_init (&calls);
  open_file (tmpdir_file ("nowait"), O_RDWR | O_CREAT | O_EXCL);
  sync_enter (&calls, &a);
  if (write_durably ("1234", 4, 10) == 0) {
    CHECK (pread (fd, buf, 4, 10) == 4 && memcmp (buf, "1234", 4) == 0);
    CHECK (lseek (fd, 0, SEEK_END) == 14);
  }
  else
    CHECK (errno == ENOTSUP);
  CHECK (sync_leave (&calls, &a, false) == 0);

  /* Nor is it told of the failure of a sync: its own file description
   * would be, if it concerned it.
   */
  sync_enter (&calls, &a);
  CHECK (sync_leave (&calls, &a, true) == -1);
  CHECK (write_durably ("5", 1, 0) == 0 || errno == ENOTSUP);
  CHECK (close (fd) == 0);
  sync_destroy (&calls);
}

/* Its locks and its position are not ours to lose: closing the other file
 * description must not drop them (as it would those of fcntl without
 * OFD).
 */
static void
test_leaves_the_file_alone (void)
{
  struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1 };
  char *name = tmpdir_file ("alone");
  int other;

  open_file (name, O_RDWR | O_CREAT | O_EXCL);
  CHECK (fcntl (fd, F_OFD_SETLK, &fl) == 0);
  CHECK (lseek (fd, 7, SEEK_SET) == 7);
  CHECK (write_durably ("x", 1, 100) == 0 || errno == ENOTSUP);
  CHECK (lseek (fd, 0, SEEK_CUR) == 7);
  other = open (name, O_RDWR | O_CLOEXEC);
  CHECK (other >= 0);
  CHECK (fcntl (other, F_OFD_SETLK, &fl) == -1);
  CHECK (errno == EAGAIN || errno == EACCES);
  CHECK (close (other) == 0 && close (fd) == 0);
}

/* A file that has no name any more can still be opened again. */
static void
test_unlinked (void)
{
  char *name = tmpdir_file ("unlinked");
  char c;

  open_file (name, O_RDWR | O_CREAT | O_EXCL);
  CHECK (unlink (name) == 0);
  if (write_durably ("x", 1, 0) == 0)
    CHECK (pread (fd, &c, 1, 0) == 1 && c == 'x');
  else
    CHECK (errno == ENOTSUP);
  CHECK (access (name, F_OK) == -1);
  CHECK (close (fd) == 0);
}

/* Where it cannot be had, that is said, and nothing is written. */
static void
test_no_more_files (void)
{
  struct rlimit old, none;

  open_file (tmpdir_file ("no-more"), O_RDWR | O_CREAT | O_EXCL);
  CHECK (getrlimit (RLIMIT_NOFILE, &old) == 0);
  none = old;
  none.rlim_cur = fd + 1;
  while (dup (fd) < fd)         /* no number below is free, either */
    ;
  CHECK (setrlimit (RLIMIT_NOFILE, &none) == 0);
  CHECK (write_durably ("x", 1, 0) == -1);
  CHECK (errno == ENOTSUP);
  CHECK (lseek (fd, 0, SEEK_END) == 0);
  /* It may be otherwise the next time. */
  CHECK (can);
  CHECK (setrlimit (RLIMIT_NOFILE, &old) == 0);
  CHECK (write_durably ("x", 1, 0) == 0 || errno == ENOTSUP);
  CHECK (close (fd) == 0);
}

/* Errors that are about the call alone. */
static void
test_own_errors (void)
{
  char *name = tmpdir_file ("g");
  int ends[2];

  open_file ("/dev/full", O_RDWR);
  CHECK (write_durably ("x", 1, 0) == -1);
  CHECK (errno == ENOSPC || errno == ENOTSUP);
  CHECK (close (fd) == 0);

  /* It is not opened with a right that the first one has not. */
  open_file (name, O_RDONLY | O_CREAT | O_EXCL);
  CHECK (write_durably ("x", 1, 0) == -1);
  CHECK (errno == EBADF);
  CHECK (can && lseek (fd, 0, SEEK_END) == 0);
  sync_init (&calls);
  CHECK (sync_fdatasync (&calls, fd) == 0);
  CHECK (close (fd) == 0);

  open_file (name, O_WRONLY);
  CHECK (write_durably ("x", 1, 0) == 0 || errno == ENOTSUP);
  CHECK (close (fd) == 0);

  /* And what a sync tells stays: a pipe cannot be synced. */
  CHECK (pipe (ends) == 0);
  CHECK (sync_fdatasync (&calls, ends[1]) == -1);
  CHECK (errno == EINVAL && calls.failed);
  CHECK (close (ends[0]) == 0 && close (ends[1]) == 0);
  open_file (name, O_RDWR);
  CHECK (sync_fdatasync (&calls, fd) == -1);
  CHECK (errno == EIO);
  CHECK (close (fd) == 0);
  sync_destroy (&calls);
}

int
main (void)
{
  tmpdir_make ();
  again_init (&again);
  alarm (CHILD_PATIENCE);       /* instead of waiting for ever */
  test_alone ();
  test_told ();
  test_no_longer_than_needed ();
  test_failure_ends_waiting ();
  test_file ();
  test_waits_for_no_sync ();
  test_leaves_the_file_alone ();
  test_unlinked ();
  test_own_errors ();
  test_no_more_files ();
  CHECK (again.open == 0);
  again_destroy (&again);
  return 0;
}
