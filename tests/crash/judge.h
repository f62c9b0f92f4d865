/* SPDX-License-Identifier: BSD-3-Clause */
/* Is every crash image that a disk could leave at this moment right?
 * (docs/crash-safety.md, I1-I6 and I9, and vdi-format.md 8.)
 *
 * All of them are checked, by factoring: a location (the header, each map
 * entry, each sector, the size) may have any of its versions
 * independently of the others, and each requirement binds two or three
 * locations.  So it is enough to try the pairs: each version of an entry
 * with each count, with each version of every other entry, with each
 * version of the sectors it names; each count with each size.
 */
#ifndef CRASH_JUDGE_H
#define CRASH_JUDGE_H

#include "oracle.h"
#include "scenario.h"

struct judge {
  const struct setup *setup;
  uint32_t start[MAX_SECTORS];  /* contents when the session began */
  bool durable_start;           /* and nothing pended then */
  uint32_t headers[16];         /* all that the header might be then */
  size_t nr_headers;
};

/* A session begins on this disk. */
extern void judge_start (struct judge *, const struct setup *,
                         const struct disk *);

/* NULL, or what is wrong (static memory).  *images: how many different
 * crash images there are.
 */
extern const char *judge_crash (const struct judge *, const struct disk *,
                                const values *allowed, double *images);

/* After closing a session that changed anything: nothing pends, the file
 * is as long as its count says; exact: the count is the number of blocks
 * in the map, which are at the indexes below it.
 */
extern const char *judge_clean (const struct judge *, const struct disk *,
                                bool exact);

/* Has the session written anything? */
extern bool judge_has_begun (const struct judge *, const struct disk *);

/* Two states of a disk have the same crash images if (with all
 * probability) this is the same.
 */
extern uint64_t judge_hash (const struct judge *, const struct disk *,
                            const values *allowed);

#endif /* CRASH_JUDGE_H */
