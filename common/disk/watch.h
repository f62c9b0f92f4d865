/* SPDX-License-Identifier: BSD-3-Clause */
/* Other programs that have the image open, and respect no locks:
 * VirtualBox, before all.
 *
 * - When an image is opened: a warning if somebody has it, or a parent, open
 *   for writing.
 * - Before it is written to: refused if somebody has it open at all, or a
 *   parent for writing.  Whoever only passes by (file, cp, a virus scanner)
 *   is given half a second.
 * - While it may be written to, once a second.  When somebody begins to read
 *   it, all there is in memory is committed, and a warning says who it is, of
 *   each program's name once.
 *   When somebody opens it for writing, or cannot be seen, so that it has
 *   to be taken for that, all is committed, too, and nothing more is
 *   written for good, if that lasts for a second: until then writes wait.
 *   Programs that respect our locks have closed it again by then.
 *
 * None of this where the storage cannot tell (storage.h: others).
 *
 * And, if the file has lost its last name while it is written to, a warning
 * that all of this will be lost; or, if that is only seen at the end, is.
 */
#ifndef VDI_DISK_WATCH_H
#define VDI_DISK_WATCH_H

#include <pthread.h>
#include <stdbool.h>
#include <time.h>

#include "utils/error.h"

struct vdi;

#define WATCH_TOLD 8

struct watch {
  _Atomic bool on;              /* set by watch_may_write, cleared by whoever
                                 * looks, for good */

  bool said_unknown;            /* by whom it is opened, then under
                                 * vdi->writable_lock */

  /* Writes wait.  Set by whoever looks, at most for a second or so. */
  _Atomic bool held;
  pthread_mutex_t lock;         /* for waiting until it is not */
  pthread_cond_t resumed;

  /* Whoever looks: the ticker, or the caller of vdi_tick; in the end
   * vdi_close.
   */
  _Atomic bool suspicious;      /* somebody may be writing */
  struct timespec looked;       /* that was seen */
  long lasted;                  /* ms that it has been */
  unsigned rest;                /* seconds, when looking was expensive */
  bool said_nameless;
  char reader[64];              /* who was seen last, if nobody left since */
  char told[WATCH_TOLD][64];    /* who was warned of */
  unsigned nr_told;
};

extern void watch_init (struct watch *);
extern void watch_destroy (struct watch *);

/* The image has been opened. */
extern void watch_open (struct vdi *);

/* It is to be written to.  EBUSY if it must not be.  Changes nothing. */
extern int watch_may_write (struct vdi *, struct vdi_error *);

/* seconds have passed.  Every call looks while there is something suspicious,
 * for which watch_hurries asks.
 */
extern void watch_tick (struct vdi *, unsigned seconds);
extern bool watch_hurries (const struct vdi *);

/* It is to be closed, and more may be written then.  Alone. */
extern void watch_close (struct vdi *);

/* Before a write: wait while writes are held. */
extern void watch_wait (struct vdi *);

#endif /* VDI_DISK_WATCH_H */
