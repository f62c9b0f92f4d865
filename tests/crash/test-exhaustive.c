/* SPDX-License-Identifier: BSD-3-Clause */
/* All programs of two clients, in all interleavings, with all crash images
 * at every step: see explore.h.
 *
 *   test-exhaustive [options] [SCENARIO...]
 *     --ops A+B        operations of the two clients
 *     --quiet-switches N
 *                      how often clients are switched where it should not
 *                      matter
 *     --max-states N   of each scenario
 *     --sample N       open images of one in N disks again
 *     --scenario NAME --replay 'PATH'
 *                      follow a path that a failure has printed
 *     --list           the scenarios
 *     --soak           run for ever, with longer programs at random
 */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "explore.h"
#include "mutants.h"
#include "test.h"

enum vdi_mutant vdi_mutant;

static double
seconds (void)
{
  struct timespec t;

  clock_gettime (CLOCK_MONOTONIC, &t);
  return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

static void
print_counts (const char *name, const struct explore_counts *c, double time)
{
  printf ("%-14s %8.0f programs%s %9llu states %8llu disks %8.2e crash "
          "images %7llu reopened %6llu killed %7llu closed  %.1fs%s\n",
          name, c->programs, c->complete ? "" : " (not all)",
          (unsigned long long) c->states, (unsigned long long) c->disks,
          c->images, (unsigned long long) c->reopened,
          (unsigned long long) c->killed, (unsigned long long) c->closed,
          time, c->violations ? "  VIOLATED" : "");
  fflush (stdout);
}

static void
add (struct explore_counts *total, const struct explore_counts *c)
{
  total->programs += c->programs;
  total->states += c->states;
  total->steps += c->steps;
  total->disks += c->disks;
  total->images += c->images;
  total->reopened += c->reopened;
  total->killed += c->killed;
  total->closed += c->closed;
  total->violations += c->violations;
  total->complete = total->complete && c->complete;
}

static void
soak (void)
{
  struct explore_options o = {
    .ops = { 6, 5 }, .sample = 5, .sample_images = 3, .depth = 3,
  };
  struct explore_counts total = { .complete = true };
  const double start = seconds ();
  const struct scenario *sc;
  uint64_t seed;

  for (seed = (uint64_t) time (NULL); total.violations == 0; seed++) {
    for (sc = scenarios; sc->name; sc++) {
      struct explore_counts c = { .complete = true };

      explore_random (sc, &o, seed, 2000, &c);
      c.programs = 2000;
      add (&total, &c);
    }
    print_counts ("so far", &total, seconds () - start);
  }
  exit (1);
}

int
main (int argc, char *argv[])
{
  struct explore_options o = {
    .ops = { 2, 1 }, .sample = 20, .sample_images = 2, .depth = 3,
  };
  struct explore_counts total = { .complete = true };
  const struct scenario *sc, *only = NULL;
  const char *replay = NULL;
  double start, all = seconds ();
  int i, k, first;

  for (i = 1; i < argc && argv[i][0] == '-'; i++) {
    const char *arg = i + 1 < argc ? argv[i+1] : "";

    if (strcmp (argv[i], "--ops") == 0)
      sscanf (argv[++i], "%u+%u", &o.ops[0], &o.ops[1]);
    else if (strcmp (argv[i], "--quiet-switches") == 0)
      o.quiet_switches = (unsigned) atoi (argv[++i]);
    else if (strcmp (argv[i], "--max-states") == 0)
      o.max_states = strtoull (argv[++i], NULL, 10);
    else if (strcmp (argv[i], "--sample") == 0)
      o.sample = (unsigned) atoi (argv[++i]);
    else if (strcmp (argv[i], "--replay") == 0)
      replay = argv[++i];
    else if (strcmp (argv[i], "--scenario") == 0) {
      only = scenario_find (arg);
      i++;
    }
    else if (strcmp (argv[i], "--soak") == 0)
      soak ();
    else if (strcmp (argv[i], "--list") == 0) {
      for (sc = scenarios; sc->name; sc++)
        printf ("%-14s %s\n", sc->name, sc->what);
      return 0;
    }
    else {
      fprintf (stderr, "%s: unknown option\n", argv[i]);
      return 1;
    }
  }
  if (replay) {
    if (only == NULL) {
      fprintf (stderr, "--replay needs --scenario\n");
      return 1;
    }
    return explore_replay (only, replay);
  }

  first = i;
  for (sc = scenarios; sc->name; sc++) {
    struct explore_counts c = { 0 };
    bool wanted = first == argc && (only == NULL || only == sc);

    for (k = first; k < argc; k++)
      wanted |= strcmp (argv[k], sc->name) == 0;
    if (!wanted)
      continue;
    start = seconds ();
    explore (sc, &o, &c);
    print_counts (sc->name, &c, seconds () - start);
    add (&total, &c);
  }
  print_counts ("total", &total, seconds () - all);
  explore_free ();
  return total.violations ? 1 : 0;
}
