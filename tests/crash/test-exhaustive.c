/* SPDX-License-Identifier: BSD-3-Clause */
/* All programs of two clients, in all interleavings, with all crash images
 * at every step: see explore.h.
 *
 *   test-exhaustive [options] [SCENARIO...]
 *     --ops A+B        operations of the two clients
 *     --few            a small alphabet, those scenarios that have one
 *     --quiet-switches N
 *                      how often clients are switched where it should not
 *                      matter
 *     --max-states N   of each scenario
 *     --sample N       open images of one in N disks again
 *     --scenario NAME --replay 'PATH'
 *                      follow a path that a failure has printed
 *     --list           the scenarios
 *     --soak           run until told to stop, with longer programs at
 *                      random
 *
 * Without options it is one of the layers of the crash tests, which fail if
 * they find anything wrong, or if they looked at too little.
 */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "explore.h"
#include "test.h"

/* What is done without options, and what must come of it. */
static const struct {
  struct explore_options options;
  double images;
  uint64_t reopened;
  const char *scenarios;        /* NULL: all */
} layer = {
#if defined (LAYER_LONG)        /* test-exhaustive-long */
  { .ops = { 3, 2 }, .few = true, .sample = 50, .sample_images = 1,
    .depth = 3 }, 2e6, 30000, "base device child",
#elif defined (LAYER_NESTED)    /* test-nested */
  { .ops = { 1, 1 }, .sample = 1, .sample_images = 3, .depth = 3 },
  1e8, 150000, NULL,
#else                           /* test-exhaustive */
  { .ops = { 2, 1 }, .sample = 50, .sample_images = 2, .depth = 3 },
  5e7, 50000, NULL,
#endif
};

static double
seconds (void)
{
  struct timespec t;

  clock_gettime (CLOCK_MONOTONIC, &t);
  return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

/* Is the word one of the words? */
static bool
is_in (const char *word, const char *words)
{
  const size_t len = strlen (word);
  const char *p;

  for (p = words; (p = strstr (p, word)) != NULL; p++)
    if ((p == words || p[-1] == ' ') && (p[len] == ' ' || p[len] == '\0'))
      return true;
  return false;
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
  struct explore_options o = layer.options;
  struct explore_counts total = { .complete = true };
  const struct scenario *sc, *only = NULL;
  const char *replay = NULL;
  double start, all = seconds ();
  int i, k, first;

  for (i = 1; i < argc && argv[i][0] == '-'; i++) {
    const char *arg = i + 1 < argc ? argv[i+1] : "";

    if (strcmp (argv[i], "--ops") == 0)
      sscanf (argv[++i], "%u+%u", &o.ops[0], &o.ops[1]);
    else if (strcmp (argv[i], "--few") == 0)
      o.few = true;
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
    if (argc == 1 && layer.scenarios)
      wanted = is_in (sc->name, layer.scenarios);
    if (!wanted || (o.few && sc->few == NULL))
      continue;
    start = seconds ();
    explore (sc, &o, &c);
    print_counts (sc->name, &c, seconds () - start);
    add (&total, &c);
  }
  print_counts ("total", &total, seconds () - all);
  explore_free ();
  if (argc == 1 && (total.images < layer.images ||
                    total.reopened < layer.reopened || !total.complete)) {
    fprintf (stderr, "that is less than there should be\n");
    return 1;
  }
  return total.violations ? 1 : 0;
}
