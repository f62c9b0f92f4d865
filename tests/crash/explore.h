/* SPDX-License-Identifier: BSD-3-Clause */
/* Go through everything that two clients can make of a scenario.
 *
 * A state is all memory of the core, both clients' stacks, the disk and
 * the oracle.  From each state every client that can go on does so, one
 * storage call or lock at a time, and every client that is idle starts
 * every operation of the alphabet; states that were met before are not
 * gone through again.  So all programs of the given lengths, in all
 * interleavings, are covered, though no program is run as such.
 *
 * In each state all crash images are judged (judge.h); some are made and
 * opened again, worked on, crashed again, to a depth of three.
 */
#ifndef CRASH_EXPLORE_H
#define CRASH_EXPLORE_H

#include <stdbool.h>
#include <stdint.h>

#include "scenario.h"

struct explore_options {
  unsigned ops[2];              /* how many operations of each client */
  unsigned quiet_switches;      /* Clients are switched at every storage call
                                 * that changes something, and at locks that
                                 * are not free.  So often, on one path, they
                                 * are switched also at locks that are free,
                                 * and at calls that only read.
                                 */
  bool few;                     /* of the scenario's small alphabet */
  uint64_t max_states;          /* stop after so many; 0: never */
  unsigned sample;              /* of so many states in which the disk is one
                                 * not met before, open one's images again; 0:
                                 * none */
  unsigned sample_images;       /* how many images of such a state */
  unsigned depth;               /* of reopening */
  bool stop_at_first;           /* violation; else it is printed, and the next
                                 * path taken */
  bool quiet;                   /* do not print violations */
};

struct explore_counts {
  double programs;              /* that the lengths and alphabet make */
  uint64_t states;              /* different ones */
  uint64_t steps;
  uint64_t disks;               /* different sets of crash images */
  double images;                /* crash images in these sets, judged */
  uint64_t reopened;            /* different crash images opened again */
  uint64_t killed;              /* states opened again as killing the program
                                 * leaves them */
  uint64_t closed;              /* clean closes */
  uint64_t violations;
  bool complete;                /* max_states was enough */
  char first[2400];             /* the first violation, for people */
};

/* Adds to counts. */
extern void explore (const struct scenario *, const struct explore_options *,
                     struct explore_counts *);

/* Follow a path as a violation prints it, telling what happens.  Returns
 * 0 if nothing is wrong.
 */
extern int explore_replay (const struct scenario *, const char *path);

/* Random paths of longer programs, from a seed. */
extern void explore_random (const struct scenario *,
                            const struct explore_options *, uint64_t seed,
                            unsigned how_many, struct explore_counts *);

extern void explore_free (void);

#endif /* CRASH_EXPLORE_H */
