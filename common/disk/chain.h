/* SPDX-License-Identifier: BSD-3-Clause */
/* What is where in the chain of a disk's images, seen from one of its levels;
 * reading and copying it.
 *
 * Readers take no lock.  A block that somebody allocates meanwhile is seen as
 * it was or as it will be, and both are right.
 */
#ifndef VDI_DISK_CHAIN_H
#define VDI_DISK_CHAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/image.h"
#include "utils/error.h"

struct vdi;

/* A part of the disk that is in one piece: in a file, or nowhere. */
struct run {
  enum place place;             /* never PLACE_FREE */
  size_t level;                 /* DATA, MISSING: whose file */
  uint64_t file_offset;         /* DATA: where in it */
  uint64_t length;              /* bytes */
};

/* What is at pos, seen from a level, and how far does it go?  pos < end;
 * the run does not go beyond end.  Neighbouring blocks that are
 * neighbours in the file, too, are one run.
 */
extern struct run chain_next_run (const struct vdi *, size_t level,
                                  uint64_t pos, uint64_t end);

/* Visit the runs of a range in order: pos is where the run begins. */
#define FOR_EACH_RUN(run, pos, vdi, level, offset, count)               \
  for (uint64_t pos = (offset), _run_end = pos + (count);               \
       pos < _run_end &&                                                \
         ((run) = chain_next_run ((vdi), (level), pos, _run_end), 1);   \
       pos += (run).length)

/* Read what is seen from a level. */
extern int chain_read (const struct vdi *, size_t level, void *buf,
                       size_t count, uint64_t offset, struct vdi_error *);

/* Does the run read as zeros?  Those that missing=zero invents are for
 * readers only: never copy them anywhere.
 */
extern bool chain_reads_zero (const struct vdi *, const struct run *);

/* EIO: the file of this run ends too early.  way: what follows from that. */
extern int chain_missing (const struct vdi *, const struct run *,
                          uint64_t pos, const char *way, struct vdi_error *);

/* Write what is seen from a level of [from, to) into a file, in which the
 * byte for disk position 0 would be at file_base (modulo 2^64).  zeroed:
 * the file reads as zeros there already.
 */
extern int chain_copy (const struct vdi *, size_t level, uint64_t from,
                       uint64_t to, struct storage *, uint64_t file_base,
                       bool zeroed, struct vdi_error *);

#endif /* VDI_DISK_CHAIN_H */
