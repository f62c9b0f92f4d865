/* SPDX-License-Identifier: BSD-3-Clause */
/* How much has been written to a file since its last sync, and roughly
 * where, so that a sync of very much can go to the disk in pieces.
 *
 * One fdatasync gives all of it to the disk at once, and whatever comes
 * later, a read or a durable write of four bytes, waits behind it: for
 * 256 MiB a tenth of a second and more.  Piece by piece takes about as long,
 * and the others' wait is for one piece.
 *
 * This only asks for things to be written earlier than they would be; what
 * makes them durable, and finds out about errors, is the fdatasync that
 * comes after it.
 *
 * Thread-safe.
 */
#ifndef VDI_STORAGE_DIRTY_H
#define VDI_STORAGE_DIRTY_H

#include <stddef.h>
#include <stdint.h>

#include "storage/again.h"

/* The file is divided in regions, and each so many share a counter. */
#define DIRTY_REGION (UINT64_C (4) << 20)
#define DIRTY_COUNTERS 2048

/* Less than this does not keep others waiting, bytes. */
#define DIRTY_PIECE (UINT64_C (4) << 20)

/* In units of 512 bytes, written or begun.  All may be too high, or wrap
 * around: they are not for anybody to rely on.
 */
struct dirty {
  _Atomic uint32_t total;       /* since the last sync */
  /* ... and since the last sync of much, in the regions of this number
   * modulo DIRTY_COUNTERS.
   */
  _Atomic uint32_t written[DIRTY_COUNTERS];
};

/* So much has just been written there. */
extern void dirty_add (struct dirty *, uint64_t offset, size_t count);

/* A sync is about to begin: have what was written until now brought to the
 * disk, but for what is less than a piece, and wait for that.  What others
 * write meanwhile is not waited for.  Only for regular files.  Returns the
 * number of pieces.
 */
extern unsigned dirty_write_out (struct dirty *, struct again *, int fd);

#endif /* VDI_STORAGE_DIRTY_H */
