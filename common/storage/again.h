/* SPDX-License-Identifier: BSD-3-Clause */
/* A file that is open already, opened again for a moment, and moments in
 * which it is not.
 *
 * Whoever wants errors of his own, or to keep others' errors for them
 * (storage/sync.h), needs a file description of his own.  To ask the kernel
 * whether somebody else has the file open (storage/lease.h) there must be
 * none but the first, for we would be that somebody; and a lease would make
 * us wait for ourselves.
 *
 * Thread-safe.
 */
#ifndef VDI_STORAGE_AGAIN_H
#define VDI_STORAGE_AGAIN_H

#include <pthread.h>
#include <stdbool.h>

struct again {
  pthread_mutex_t lock;         /* protects the rest */
  pthread_cond_t changed;
  unsigned open;                /* descriptions beside the first */
  bool alone;                   /* no more of them for now */
};

extern void again_init (struct again *);
extern void again_destroy (struct again *);

/* Another file description of the file that is open as fd, closed on exec.
 * To be given back by again_close, soon.  -1 if there is no /proc, no right
 * to open it once more, or too many files are open.
 */
extern int again_open (struct again *, int fd, int flags);
extern void again_close (struct again *, int own); /* keeps errno */

/* From when this succeeds until again_end_alone the first description is
 * the only one; whoever wants another waits.  False if one is still open
 * after so many milliseconds: then there is nothing to end.  For one
 * thread at a time.
 */
extern bool again_begin_alone (struct again *, unsigned ms);
extern void again_end_alone (struct again *);

#endif /* VDI_STORAGE_AGAIN_H */
