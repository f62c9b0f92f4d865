/* SPDX-License-Identifier: BSD-3-Clause */
/* Bringing things to stable storage: see storage-sync.h. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include "storage-sync.h"

void
sync_init (struct sync_calls *calls)
{
  *calls = (struct sync_calls) { .oldest = NULL };
  pthread_mutex_init (&calls->lock, NULL);
  pthread_cond_init (&calls->ended, NULL);
}

void
sync_destroy (struct sync_calls *calls)
{
  pthread_cond_destroy (&calls->ended);
  pthread_mutex_destroy (&calls->lock);
}

/* Where in the list a call is, or the end of the list.  As long as there
 * are threads, which are few.
 */
static struct sync_call **
find (struct sync_calls *calls, const struct sync_call *call)
{
  struct sync_call **p = &calls->oldest;

  while (*p != NULL && *p != call)
    p = &(*p)->next;
  return p;
}

void
sync_enter (struct sync_calls *calls, struct sync_call *call)
{
  pthread_mutex_lock (&calls->lock);
  call->number = ++calls->last;
  call->next = NULL;
  *find (calls, NULL) = call;
  pthread_mutex_unlock (&calls->lock);
}

int
sync_leave (struct sync_calls *calls, struct sync_call *call, bool failed)
{
  uint64_t last;
  int r;

  pthread_mutex_lock (&calls->lock);
  *find (calls, call) = call->next;
  calls->failed |= failed;
  pthread_cond_broadcast (&calls->ended);

  /* Those that begin from now on cannot have taken what was ours. */
  last = calls->last;
  while (!calls->failed &&
         calls->oldest != NULL && calls->oldest->number <= last)
    pthread_cond_wait (&calls->ended, &calls->lock);
  r = calls->failed ? -1 : 0;
  pthread_mutex_unlock (&calls->lock);
  return r;
}

int
sync_fdatasync (struct sync_calls *calls, int fd)
{
  struct sync_call call;
  int r, err;

  sync_enter (calls, &call);
  r = fdatasync (fd);
  err = errno;
  if (sync_leave (calls, &call, r == -1 && err != EINTR) == -1) {
    /* What there was to tell, somebody else was told. */
    if (r == 0 || err == EINTR)
      err = EIO;
    r = -1;
  }
  errno = err;
  return r;
}

/* An error of pwritev2 may be about writing, or about making durable what
 * was written.  Which?
 */
static int
look_closer (int err, int fd, const void *buf, size_t count, uint64_t offset,
             _Atomic bool *can, const _Atomic bool *works)
{
  switch (err) {
  case ENOSPC:
  case EDQUOT:
    /* Without space to write to, there still is none; so if there is,
     * it was not found later for what had been written.
     */
    return pwrite (fd, buf, count, offset) == -1 ? err : EIO;
  case EOPNOTSUPP:
  case ENOSYS:
    if (*works)
      return EIO;
    *can = false;
    return ENOTSUP;
  default:
    return err;
  }
}

ssize_t
sync_pwrite (int fd, const void *buf, size_t count, uint64_t offset,
             _Atomic bool *can, _Atomic bool *works)
{
  struct iovec iov = { .iov_base = (void *) buf, .iov_len = count };
  char path[64];
  int own, err = 0;
  ssize_t r;

  /* Opening it again could give a right that this one has not. */
  if ((fcntl (fd, F_GETFL) & O_ACCMODE) == O_RDONLY) {
    errno = EBADF;
    return -1;
  }
  /* Without /proc, without the right to open it once more, or with too
   * many open files, a sync does it, too.
   */
  snprintf (path, sizeof path, "/proc/self/fd/%d", fd);
  own = open (path, O_RDWR | O_CLOEXEC);
  if (own == -1) {
    errno = ENOTSUP;
    return -1;
  }
  r = pwritev2 (own, &iov, 1, offset, RWF_DSYNC);
  if (r == -1)
    err = look_closer (errno, own, buf, count, offset, can, works);
  else
    *works = true;
  close (own);
  errno = err;
  return r;
}
