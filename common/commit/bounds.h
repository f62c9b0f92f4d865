/* SPDX-License-Identifier: BSD-3-Clause */
/* How far an image goes: the count and the modification UUID in its header,
 * and the length of its file.
 *
 * commit.c decides what is done in which order; here is how each step is
 * done safely.  Nothing is changed before it has been looked at: somebody
 * without locks (VirtualBox takes none) may be writing too.
 *
 * All three are kept in struct image (header.n_alloc, header.uuid_mod,
 * file_length), as last written or set.
 *
 * Thread-safety: by whoever has the turn (reserve.h), or is alone.
 */
#ifndef VDI_COMMIT_BOUNDS_H
#define VDI_COMMIT_BOUNDS_H

#include <stdbool.h>
#include <stdint.h>

#include "commit/medium.h"
#include "image/image.h"
#include "utils/error.h"

struct bounds {
  /* Constant. */
  struct image *img;
  struct medium *medium;        /* that it is written to */
  struct vdi_field_offsets offsets;

  /* Whoever has the turn. */
  bool header_durable;          /* count and UUID are on stable storage */
  bool cut;                     /* the file is shorter, and that may not be
                                 * durable */
};

extern void bounds_init (struct bounds *, struct image *, struct medium *);

/* Change the header's count and modification UUID; not yet durable.  Only
 * what lies between the two fields is written: what we do not understand
 * is preserved.
 */
extern int bounds_write_header (struct bounds *, uint32_t count,
                                const struct vdi_uuid *uuid_mod,
                                struct vdi_error *);

/* Change the count, durably. */
extern int bounds_set_count (struct bounds *, uint32_t count,
                             struct vdi_error *);

/* Are header and length as we left them?  Poisons if not. */
extern int bounds_check (struct bounds *, struct vdi_error *);

/* Make the file longer or shorter; not yet durable.  ENOTSUP on a device. */
extern int bounds_set_length (struct bounds *, uint64_t length,
                              struct vdi_error *);

/* Make the file longer, durably, without waiting for all the data that
 * clients have written meanwhile.  1 if that cannot be had here and now:
 * then bounds_set_length and bounds_sync_length.
 */
extern int bounds_append (struct bounds *, uint64_t length,
                          struct vdi_error *);
extern int bounds_sync_length (struct bounds *, struct vdi_error *);

#endif /* VDI_COMMIT_BOUNDS_H */
