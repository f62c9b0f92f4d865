/* SPDX-License-Identifier: BSD-3-Clause */
/* The map entries that have changed and are not on stable storage yet.
 *
 * Each is remembered with the value it had when it was added: a commit
 * writes what it sampled, never what the map says by then, whose data
 * may not be durable (tests/crash/mutants/D.patch).
 *
 * Bounded: room for an entry is promised before its block is written.
 *
 * The allocation lock (reserve.h) protects it; whoever calls one of the
 * functions said to be called with it holds it.
 */
#ifndef VDI_COMMIT_PENDING_H
#define VDI_COMMIT_PENDING_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/blockmap.h"

struct pending_entry {
  uint32_t block;
  uint32_t value;
  uint32_t order;               /* of being added, within one sample */
  bool deferred;                /* not written to the file yet, either */
};

struct pending {
  /* Constant. */
  struct blockmap *map;
  pthread_mutex_t *lock;        /* the allocation lock: protects the rest */
  size_t max;                   /* entries that there is room for */

  struct pending_entry *entries; /* added since the last sample */
  size_t nr;
  struct pending_entry *sampled; /* those of the commit that is running */
  size_t nr_sampled;
  size_t promised;
  size_t nr_deferred;           /* in either array */

  /* A bit per block that is in either array.  Changed with the lock, read
   * without.
   */
  _Atomic uint64_t *marked;
};

/* -1 if there is no memory: pending_free it then, too. */
extern int pending_init (struct pending *, struct blockmap *,
                         pthread_mutex_t *lock);
extern void pending_free (struct pending *);

/* With the lock: promise room for one entry; false if there is none. */
extern bool pending_promise (struct pending *);

/* With the lock: a promise that was not needed. */
extern void pending_release (struct pending *);

/* With the lock: change the map's entry and remember that it is not
 * durable.  This uses up a promise.
 */
extern void pending_add (struct pending *, uint32_t block, uint32_t value,
                         bool deferred);

extern bool pending_is_marked (const struct pending *, uint32_t block);

/* One commit at a time, without the lock: take what is there; *deferred
 * says how many of them must be written.  They stay marked.  The arrays
 * are valid until done or undone: deferred ones first, by block, each
 * block once.
 */
extern const struct pending_entry *
pending_sample (struct pending *, size_t *nr, size_t *deferred);
extern void pending_done (struct pending *);  /* they are durable */
extern void pending_undo (struct pending *);  /* they are not */

#endif /* VDI_COMMIT_PENDING_H */
