/* SPDX-License-Identifier: BSD-3-Clause */
/* Is every crash image that a disk could leave at this moment right?
 * (docs/crash-safety.md, I1-I6, and vdi-format.md 8.)
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
 * is as long as its count says; exact: the count is the highest index in use + 1, and no lower index is
 * unused unless one was when the session began.
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
