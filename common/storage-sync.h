/* SPDX-License-Identifier: BSD-3-Clause */
/* Bringing what was written to an open file to stable storage, so that
 * whoever it concerns is told when that fails.
 *
 * The kernel reports a failed write-back once per open file, to whichever
 * fdatasync or RWF_DSYNC write looks first; another one that was under
 * way at the same time, and whose data it was, succeeds.  So here every
 * such call on a file announces itself, and does not believe in its own
 * success before all that were under way beside it have ended, and none
 * has failed.
 *
 * Thread-safe.
 */
#ifndef VDI_STORAGE_SYNC_H
#define VDI_STORAGE_SYNC_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* One that is under way; lives on its thread's stack. */
struct sync_call {
  uint64_t number;              /* in the order in which they began */
  uint64_t failures;            /* there had been so many by then */
  struct sync_call *next;
};

/* Those of one open file. */
struct sync_calls {
  pthread_mutex_t lock;         /* protects the next four */
  pthread_cond_t ended;
  struct sync_call *oldest;     /* under way, by number */
  uint64_t last;                /* number that was given */
  uint64_t failures;

  _Atomic bool durable_works;   /* sync_pwrite has succeeded before */
};

extern void sync_init (struct sync_calls *);
extern void sync_destroy (struct sync_calls *);

/* As fdatasync. */
extern int sync_fdatasync (struct sync_calls *, int fd);

/* As pwritev2 with RWF_DSYNC.  Fails with
 *   ENOTSUP, nothing written, if the file system has no such thing;
 *   EINTR, EINVAL, EFBIG, EBADF, ENOSPC or EDQUOT, and nothing is amiss
 *     but this write;
 *   any other error, and nothing may be believed any more.
 */
extern ssize_t sync_pwrite (struct sync_calls *, int fd, const void *buf,
                            size_t count, uint64_t offset);

/* What these are made of, for tests. */
extern void sync_enter (struct sync_calls *, struct sync_call *);

/* failed: with an error that may have been about somebody else's data.
 * Returns 0, or -1 if this or another one that was under way meanwhile
 * has failed.
 */
extern int sync_leave (struct sync_calls *, struct sync_call *, bool failed);

#endif /* VDI_STORAGE_SYNC_H */
