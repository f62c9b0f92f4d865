/* SPDX-License-Identifier: BSD-3-Clause */
/* What is known of an image's file: which of its blocks are data, all
 * through.
 *
 * Finding out takes a system call, and on some file systems that walks
 * page by page over all the data that follow.  That something is data may
 * be remembered, for only we make a hole of it.  A hole is never
 * remembered: at any moment somebody may write into it.
 *
 *   to learn:    when = known_when (k)
 *                (ask the file system how far there are data)
 *                known_learn (k, offset, end, when)
 *   to forget:   (punch or zero a range of the file, whether it works or not)
 *                known_forget (k, offset, length)
 *
 * So nothing stays known that is a hole.  Whoever asked after the hole was
 * made has seen it.  Whoever asked before that did call known_when before
 * known_forget began; what he learned before that is cleared by it, and
 * after it he is told to forget: it is not "when" any more.  Until
 * known_forget returns the hole may be taken for data, which is never
 * wrong, and nobody has been told yet that it is there.
 *
 * Any block of the file may be learned, used or not, but only below the
 * end of the last one in use: the file is cut behind that, and nobody
 * calls known_forget for it.
 *
 * Thread-safety: any call at any time, but known_init and known_free.
 * Looking takes no lock.  Memory: 1 bit per block, from the first that is
 * learned on.  Offsets and lengths are bytes in the file.
 */
#ifndef VDI_IMAGE_KNOWN_H
#define VDI_IMAGE_KNOWN_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "image/header.h"

struct known {
  /* Constant: where the blocks are. */
  uint32_t n;                   /* of them */
  uint64_t base;                /* where the first begins */
  uint64_t stride;              /* from one to the next */
  uint32_t block_size;

  pthread_mutex_t lock;         /* held to change bits and forgotten */

  /* A bit is set: all of the block is data.  NULL until something is
   * learned, and if there is no memory.
   */
  _Atomic uint64_t *_Atomic bits;
  _Atomic uint64_t forgotten;   /* how often something was */

  _Atomic uint32_t reach;       /* blocks; see known_start */
};

extern void known_init (struct known *, const struct vdi_header *);
extern void known_free (struct known *);

static inline uint64_t
known_when (const struct known *k)
{
  return atomic_load (&k->forgotten);
}

/* [offset, end) was data when.  Only whole blocks are remembered. */
extern void known_learn (struct known *, uint64_t offset, uint64_t end,
                         uint64_t when);
extern void known_forget (struct known *, uint64_t offset, uint64_t length);

/* Up to where, at most end, is the file known to be data?  offset if it is
 * not.  In a block; end may be in a later one only if no space is left
 * between them.
 */
extern uint64_t known_data (const struct known *, uint64_t offset,
                            uint64_t end);

/* Where to begin to ask, at a place that is not known.  Where the blocks
 * of a file are asked for in random order, asking from each would walk
 * over most of the file for many of them, and asking from the first that
 * is not known, once for all.  But that is of use only if there is no
 * hole in between.  So it goes back as far as has been of use lately, and
 * known_hit says whether it was, this time.
 */
extern uint64_t known_start (const struct known *, uint64_t offset);
extern void known_hit (struct known *, uint64_t start, uint64_t offset,
                       bool hit);

#endif /* VDI_IMAGE_KNOWN_H */
