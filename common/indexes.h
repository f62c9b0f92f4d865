/* SPDX-License-Identifier: BSD-3-Clause */
/* Which physical indexes of an image are in use (vdi-format.md 2.1: there
 * is no free list; only the count, the map and the length tell).
 *
 * Plain memory, no I/O.  commit.c protects all of it with its lock.
 *
 * An index is taken
 *   1. from those returned: their block was being written when that
 *      failed, so part of foreign data may lie there;
 *   2. at the tail, never used before in this image;
 *   3. from the holes that the image was opened with, when the tail has
 *      reached the number of blocks.
 */
#ifndef VDI_INDEXES_H
#define VDI_INDEXES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct indexes {
  uint32_t n;                   /* constant: no index is as high as this */
  uint32_t next;                /* the tail: first index never used */
  uint32_t floor;               /* indexes below are never at the tail again */
  uint32_t *returned;           /* a stack */
  size_t nr_returned, max_returned;
  uint64_t *holes;              /* the image's blockmap's, or NULL */
  uint32_t hole;                /* no hole is below this */
  uint32_t high;                /* holes are below this */
};

extern void indexes_init (struct indexes *, uint32_t n, uint32_t high,
                          uint64_t *holes);
extern void indexes_free (struct indexes *);

/* Is the next one to be taken at the tail?  Then there is one. */
extern bool indexes_at_tail (const struct indexes *);

/* Take one.  False if all are in use. */
extern bool indexes_take (struct indexes *, uint32_t *index);

/* Give one back that was taken and is in no map entry. */
extern void indexes_return (struct indexes *, uint32_t index);

/* This index was taken and will not be used: something in the file may
 * point to it.
 */
extern void indexes_lose (struct indexes *, uint32_t index);

/* Forget returned indexes at the tail, so that next is the highest index
 * in use + 1.  To be called when none is between take and return.
 */
extern void indexes_shrink (struct indexes *);

#endif /* VDI_INDEXES_H */
