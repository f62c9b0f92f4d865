/* SPDX-License-Identifier: BSD-3-Clause */
/* The storage that commit.c writes to: its syncs and durable writes, and
 * whether it can still be believed.
 *
 * After a sync that failed nobody knows what is there ("fsyncgate"): it is
 * poisoned, and nothing more is written.  Nor is it once it has been ceded to
 * another program.
 *
 * Thread-safe.
 */
#ifndef VDI_COMMIT_MEDIUM_H
#define VDI_COMMIT_MEDIUM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/storage.h"
#include "utils/error.h"
#include "utils/listener.h"

struct medium {
  /* Constant. */
  struct storage *st;
  const struct vdi_listener *listener;

  _Atomic bool poisoned;        /* set once, under poison_lock */
  pthread_mutex_t poison_lock;
  struct vdi_error why;         /* poison_lock; constant once poisoned */
  bool ceded;                   /* the same: nothing is lost, and why says
                                 * all */
};

/* Storage and listener must outlive it. */
extern void medium_init (struct medium *, struct storage *,
                         const struct vdi_listener *);
extern void medium_destroy (struct medium *);

/* EIO if it is poisoned. */
extern int medium_check (struct medium *, struct vdi_error *);

/* A sync failed or might as well have: nothing may be believed any more.
 * Returns -1 with *error as it was.
 */
extern int medium_poison (struct medium *, struct vdi_error *);

/* The same because the file is somebody else's now. */
extern void medium_cede (struct medium *, const struct vdi_error *);

/* Poisons if it fails. */
extern int medium_sync (struct medium *, struct vdi_error *);

/* One durable write, which does not wait for what clients have written
 * meanwhile.  1, with *error set and nothing lost, if it cannot be had
 * (ENOTSUP) or there is no room; poisons if it fails in another way.
 */
extern int medium_write_durable (struct medium *, const void *buf,
                                 size_t count, uint64_t offset,
                                 const char *what, struct vdi_error *);

#endif /* VDI_COMMIT_MEDIUM_H */
