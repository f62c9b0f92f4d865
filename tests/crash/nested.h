/* SPDX-License-Identifier: BSD-3-Clause */
/* Open a crash image again, check that it shows what it may, work on it,
 * crash again (docs/crash-safety.md, I7 and I8).
 */
#ifndef CRASH_NESTED_H
#define CRASH_NESTED_H

#include <stdbool.h>
#include <stdint.h>

#include "scenario.h"

struct nested_counts {
  uint64_t reopened, killed, closed, disks, steps;
  double images;
};

/* Make a crash image of the world (or, if kill, let only the program die),
 * open it, and do something that the seed decides, judging every state
 * and crashing again depth - 1 times more.  The world is afterwards as it
 * was.  On failure world_wrong is set.  An image that was met before is
 * not opened again.
 */
extern void nested_run (const struct setup *, uint64_t seed, bool kill,
                        unsigned depth, struct nested_counts *);

/* Have the crash images with this hash (judge_hash) not been judged yet? */
extern bool nested_is_new_disk (uint64_t hash);

extern void nested_reset (void);
extern void nested_free (void);

#endif /* CRASH_NESTED_H */
