/* SPDX-License-Identifier: BSD-3-Clause */
/* Bringing what was written to an open file to stable storage, so that
 * whoever it concerns is told when that fails.
 *
 * The kernel reports a failed write-back once per open file description,
 * to whichever fdatasync or RWF_DSYNC write looks first; another one that
 * was under way at the same time, and whose data it was, succeeds.  So
 *
 * - every fdatasync of a file announces itself, and does not believe in its
 *   own success before all that were under way beside it have ended; once
 *   one has failed, all fail for ever;
 * - every durable write opens the file again for itself, so that it is told
 *   of its own, and waits for nobody: neither for a sync of all that
 *   clients have written nor for the clients.
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

#include "storage/again.h"

/* One that is under way; lives on its thread's stack. */
struct sync_call {
  uint64_t number;              /* in the order in which they began */
  struct sync_call *next;
};

/* Those of one open file. */
struct sync_calls {
  pthread_mutex_t lock;         /* protects the rest */
  pthread_cond_t ended;
  struct sync_call *oldest;     /* under way, by number */
  uint64_t last;                /* number that was given */
  bool failed;                  /* one has, ever */
};

extern void sync_init (struct sync_calls *);
extern void sync_destroy (struct sync_calls *);

/* As fdatasync. */
extern int sync_fdatasync (struct sync_calls *, int fd);

/* As pwritev2 with RWF_DSYNC, through a file description of its own.  Fails
 * with
 *   ENOTSUP, nothing written, if that is not to be had, or *can is false:
 *     clears *can if it never will;
 *   EINTR, EINVAL, EFBIG, ENOSPC or EDQUOT, and nothing is amiss but this
 *     write;
 *   any other error, and nothing may be believed any more.
 * *works: it has succeeded before.  Whatever the kernel tells the second
 * description of a failed write-back, the first is told, too.
 */
extern ssize_t sync_pwrite (struct again *, int fd, const void *buf,
                            size_t count, uint64_t offset,
                            _Atomic bool *can, _Atomic bool *works);

/* What these are made of, for tests. */
extern void sync_enter (struct sync_calls *, struct sync_call *);

/* Returns 0, or -1 if this one failed or any other that began before it
 * ended.
 */
extern int sync_leave (struct sync_calls *, struct sync_call *, bool failed);

#endif /* VDI_STORAGE_SYNC_H */
