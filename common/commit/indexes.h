/* SPDX-License-Identifier: BSD-3-Clause */
/* Which physical indexes of an image are in use (vdi-format.md 2.1: there
 * is no free list; only the count, the map and the length tell).
 *
 * Plain memory, no I/O.  The allocation lock (reserve.h) protects all of
 * it.
 *
 * An index below next is in use, or it is
 *   unused   a hole that an earlier crash or a failed write left: somebody
 *            else's data may lie there;
 *   clean    the same, but the file reads as zeros there, and will after
 *            a crash.
 * Those below are taken before the tail grows, so that an image has no
 * holes for long: VirtualBox's discard is not safe with them (vdi-format.md
 * 5.1).
 *
 * Invariants (indexes_check_invariants):
 *   X1  next <= n, and no unused or clean index is as high as next.
 *   X2  nr_unused is the number of bits in unused; none is below lowest.
 *   X3  no clean index is unused, too.
 */
#ifndef VDI_COMMIT_INDEXES_H
#define VDI_COMMIT_INDEXES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/blockmap.h"

#define MAX_CLEAN 256

struct indexes {
  uint32_t n;                   /* constant: no index is as high as this */
  uint32_t next;                /* the tail: first index never used */
  uint64_t *unused;             /* a bit per index */
  uint32_t nr_unused;
  uint32_t lowest;              /* no unused index is below */
  uint32_t clean[MAX_CLEAN];    /* a stack */
  uint32_t nr_clean;
};

/* Those of a sound map, in which no entry has changed since it was loaded:
 * what it does not name below its highest is unused.  -1 if there is no
 * memory.
 */
extern int indexes_init (struct indexes *, const struct blockmap *);
extern void indexes_free (struct indexes *);

/* How many are taken? */
static inline uint32_t
indexes_in_use (const struct indexes *ix)
{
  return ix->next - ix->nr_unused - ix->nr_clean;
}

/* Take one of each kind, the lowest first.  False if there is none. */
extern bool indexes_take_clean (struct indexes *, uint32_t *index);
extern bool indexes_take_unused (struct indexes *, uint32_t *index);

/* Give one back that was taken and is in no map entry. */
extern void indexes_return (struct indexes *, uint32_t index);

/* These, in ascending order, were taken; now they are clean.  nr <=
 * MAX_CLEAN, and there are no others.
 */
extern void indexes_add_clean (struct indexes *, const uint32_t *, size_t nr);

/* What is in use at from is now at to, which was unused. */
extern void indexes_move (struct indexes *, uint32_t from, uint32_t to);

/* Let next be the highest index in use + 1, and trust no index to be
 * clean any more.
 */
extern void indexes_shrink (struct indexes *);

extern const char *indexes_check_invariants (const struct indexes *);

#endif /* VDI_COMMIT_INDEXES_H */
