/* SPDX-License-Identifier: BSD-3-Clause */
/* Bringing things to stable storage: see storage/sync.h. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include "storage/sync.h"
#include "utils/cleanup.h"

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
  HOLD_LOCK (&calls->lock);

  call->number = ++calls->last;
  call->next = NULL;
  *find (calls, NULL) = call;
}

int
sync_leave (struct sync_calls *calls, struct sync_call *call, bool failed)
{
  HOLD_LOCK (&calls->lock);
  uint64_t last;

  *find (calls, call) = call->next;
  calls->failed |= failed;
  pthread_cond_broadcast (&calls->ended);

  /* Those that begin from now on cannot have taken what was ours. */
  last = calls->last;
  while (!calls->failed &&
         calls->oldest != NULL && calls->oldest->number <= last)
    pthread_cond_wait (&calls->ended, &calls->lock);
  return calls->failed ? -1 : 0;
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

/* Once more, in two steps.  Without space to write to, there still is
 * none, unless somebody has given some back meanwhile: then this may well
 * succeed.  If space was only found lacking for what had been written, that
 * is dirty again, and the sync tells.  All others' syncs are told of it
 * anyway: this is our own file description.
 */
static ssize_t
write_again (int fd, const void *buf, size_t count, uint64_t offset)
{
  const ssize_t r = pwrite (fd, buf, count, offset);
  int s;

  if (r == -1)
    return -1;
  while ((s = fdatasync (fd)) == -1 && errno == EINTR)
    ;
  if (s == 0)
    return r;
  errno = EIO;
  return -1;
}

/* An error of pwritev2 may be about writing, or about making durable what
 * was written.  Which?
 */
static ssize_t
look_closer (int fd, const void *buf, size_t count, uint64_t offset,
             _Atomic bool *can, const _Atomic bool *works)
{
  switch (errno) {
  case ENOSPC:
  case EDQUOT:
    return write_again (fd, buf, count, offset);
  case EOPNOTSUPP:
  case ENOSYS:
    if (*works)
      errno = EIO;
    else {
      *can = false;
      errno = ENOTSUP;
    }
  }
  return -1;
}

ssize_t
sync_pwrite (struct again *again, int fd, const void *buf, size_t count,
             uint64_t offset, _Atomic bool *can, _Atomic bool *works)
{
  struct iovec iov = { .iov_base = (void *) buf, .iov_len = count };
  ssize_t r;
  int own;

  if (!*can) {
    errno = ENOTSUP;
    return -1;
  }
  /* Opening it again could give a right that this one has not. */
  if ((fcntl (fd, F_GETFL) & O_ACCMODE) == O_RDONLY) {
    errno = EBADF;
    return -1;
  }
  own = again_open (again, fd, O_RDWR);
  if (own == -1) {              /* a sync does it, too */
    errno = ENOTSUP;
    return -1;
  }
  r = pwritev2 (own, &iov, 1, offset, RWF_DSYNC);
  if (r == -1)
    r = look_closer (own, buf, count, offset, can, works);
  else
    *works = true;
  again_close (again, own);
  return r;
}
