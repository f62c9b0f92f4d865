/* SPDX-License-Identifier: BSD-3-Clause */
/* The file that commit.c writes to: its syncs, its header's count and
 * modification UUID, its length, and whether it can still be believed.
 *
 * commit.c decides what is done in which order; here is how each step is
 * done safely.  Nothing is changed before it has been looked at: somebody
 * without locks (VirtualBox takes none) may be writing too.
 *
 * Thread-safety: check, poison and sync may be called at any time; the
 * rest by whoever has the turn (reserve.h).
 */
#ifndef VDI_TARGET_H
#define VDI_TARGET_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "error.h"
#include "image.h"
#include "listener.h"

struct target {
  /* Constant. */
  struct storage *st;
  struct vdi_field_offsets offsets;
  const struct vdi_listener *listener;

  _Atomic bool poisoned;        /* set once, under poison_lock */
  pthread_mutex_t poison_lock;
  struct vdi_error why_poisoned; /* poison_lock; constant once poisoned */
  bool ceded;                   /* the same: nothing is lost, and the message
                                 * says all */

  /* Whoever has the turn. */
  uint32_t count;               /* in the header, as last written */
  struct vdi_uuid uuid_mod;     /* in the header, as last written */
  bool header_durable;          /* these two are on stable storage */
  uint64_t length;              /* of the file, as last set, bytes */
  bool cut;                     /* shorter, and that may not be durable */
};

extern void target_init (struct target *, const struct image *,
                         const struct vdi_listener *);
extern void target_destroy (struct target *);

/* EIO if the target is poisoned. */
extern int target_check (struct target *, struct vdi_error *);

/* See commit_poison. */
extern int target_poison (struct target *, struct vdi_error *);

/* The same because the file is somebody else's now. */
extern void target_cede (struct target *, const struct vdi_error *);

/* Poisons if it fails. */
extern int target_sync (struct target *, struct vdi_error *);

/* Change the header's count and modification UUID; not yet durable.  Only
 * what lies between the two fields is written: what we do not understand
 * is preserved.
 */
extern int target_write_header (struct target *, uint32_t count,
                                const struct vdi_uuid *uuid_mod,
                                struct vdi_error *);

/* Change the count, durably. */
extern int target_set_count (struct target *, uint32_t count,
                             struct vdi_error *);

/* Are header and length as we left them?  Poisons if not. */
extern int target_look (struct target *, struct vdi_error *);

/* Make the file longer or shorter; not yet durable.  ENOTSUP on a device. */
extern int target_set_length (struct target *, uint64_t length,
                              struct vdi_error *);

/* Make the file longer, durably, without waiting for all the data that
 * clients have written meanwhile.  1 if that cannot be had here and now:
 * then target_set_length and target_sync_length.
 */
extern int target_append (struct target *, uint64_t length,
                          struct vdi_error *);
extern int target_sync_length (struct target *, struct vdi_error *);

#endif /* VDI_TARGET_H */
