/* SPDX-License-Identifier: BSD-3-Clause */
/* Try hard to find something wrong with the core that this is linked with.
 *
 *   mutant [NAME]
 *
 * With ever longer programs, until something is wrong: then that is printed
 * and the exit status is 0, else it is 1.  NAME is the fault's that was put
 * in (test-mutants.sh).  Without it the core is as it is, and only the
 * shortest programs are tried; test-exhaustive does the rest.
 */
#include <config.h>

#include <stdio.h>
#include <string.h>

#include "explore.h"

/* How hard to try, in this order. */
static const struct explore_options efforts[] = {
  { .ops = { 1, 0 }, .sample = 1, .sample_images = 2, .depth = 3 },
  { .ops = { 1, 1 }, .sample = 10, .sample_images = 2, .depth = 3 },
  { .ops = { 2, 0 }, .sample = 10, .sample_images = 2, .depth = 3 },
  { .ops = { 3, 0 }, .sample = 10, .sample_images = 2, .depth = 3 },
  { .ops = { 2, 1 }, .max_states = 300000 },
};
#define NR_EFFORTS (sizeof efforts / sizeof efforts[0])

/* Where those that are hard to catch are caught, to save time. */
static const struct {
  const char *name;
  const char *scenario;
  struct explore_options options;
} hints[] = {
  { "entries_from_map", "child-device", { .ops = { 2, 1 } } },
  { "failed_commit_forgotten", "child-faults", { .ops = { 2, 0 } } },
  { "failed_entry_forgotten", "faults", { .ops = { 2, 0 } } },
  { "fua_looks_at_one_block", "chain", { .ops = { 2, 0 } } },
  { "fua_not_poisoning", "faults", { .ops = { 2, 0 } } },
  { "metadata_not_poisoning", "faults", { .ops = { 2, 0 } } },
  { "no_tripwire", "foreign", { .ops = { 2, 0 } } },
  { "reserve_kept_on_failure", "device-faults", { .ops = { 4, 0 } } },
  { "returned_taken_for_fresh", "faults", { .ops = { 2, 0 } } },
};
#define NR_HINTS (sizeof hints / sizeof hints[0])

static bool
try (const struct scenario *sc, const struct explore_options *options)
{
  struct explore_options o = *options;
  struct explore_counts counts = { 0 };

  o.quiet = o.stop_at_first = true;
  explore (sc, &o, &counts);
  if (counts.violations > 0)
    puts (counts.first);
  return counts.violations > 0;
}

int
main (int argc, char *argv[])
{
  const char *name = argc > 1 ? argv[1] : "";
  const size_t nr = argc > 1 ? NR_EFFORTS : 1;
  const struct scenario *sc;
  size_t i;

  for (i = 0; i < NR_HINTS; i++)
    if (strcmp (hints[i].name, name) == 0 &&
        try (scenario_find (hints[i].scenario), &hints[i].options))
      return 0;
  for (i = 0; i < nr; i++)
    for (sc = scenarios; sc->name; sc++)
      if (try (sc, &efforts[i]))
        return 0;
  return 1;
}
