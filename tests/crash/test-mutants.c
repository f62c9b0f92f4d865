/* SPDX-License-Identifier: BSD-3-Clause */
/* Is each fault in mutants.def caught?  A test that does not find the
 * faults we know would not find the others either.
 *
 *   test-mutants [NAME...]
 *
 * Each mutant runs in a process of its own, with ever longer programs,
 * until something is wrong.
 */
#include <config.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "child.h"
#include "explore.h"
#include "mutants.h"
#include "test.h"

enum vdi_mutant vdi_mutant;

static const struct {
  const char *name, *what;
} mutants[] = {
  { "none", "the core as it is" },
#define DEFINE_MUTANT(name, what) { #name, what },
#include "mutants.def"
#undef DEFINE_MUTANT
};

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
  enum vdi_mutant mutant;
  const char *scenario;
  struct explore_options options;
} hints[] = {
  { MUTANT_entries_from_map, "child-device", { .ops = { 2, 1 } } },
  { MUTANT_failed_commit_forgotten, "child-faults", { .ops = { 2, 0 } } },
  { MUTANT_failed_entry_forgotten, "faults", { .ops = { 2, 0 } } },
  { MUTANT_fua_looks_at_one_block, "chain", { .ops = { 2, 0 } } },
  { MUTANT_fua_not_poisoning, "faults", { .ops = { 2, 0 } } },
  { MUTANT_metadata_not_poisoning, "faults", { .ops = { 2, 0 } } },
  { MUTANT_no_tripwire, "foreign", { .ops = { 2, 0 } } },
  { MUTANT_reserve_kept_on_failure, "device-faults", { .ops = { 4, 0 } } },
  { MUTANT_returned_taken_for_fresh, "faults", { .ops = { 2, 0 } } },
};
#define NR_HINTS (sizeof hints / sizeof hints[0])

static struct explore_counts counts;

static bool
try (const struct scenario *sc, const struct explore_options *options)
{
  struct explore_options o = *options;

  o.quiet = o.stop_at_first = true;
  memset (&counts, 0, sizeof counts);
  explore (sc, &o, &counts);
  return counts.violations > 0;
}

/* Returns how it was caught, in static memory, or NULL. */
static const char *
try_hard (void)
{
  const struct scenario *sc;
  size_t i;

  for (i = 0; i < NR_HINTS; i++)
    if (hints[i].mutant == vdi_mutant &&
        try (scenario_find (hints[i].scenario), &hints[i].options))
      return counts.first;
  for (i = 0; i < NR_EFFORTS; i++)
    for (sc = scenarios; sc->name; sc++)
      if (try (sc, &efforts[i]))
        return counts.first;
  return NULL;
}

/* In a process of its own: writes how it was caught into fd. */
static void
run_mutant (int fd)
{
  const char *how = try_hard ();
  size_t len = how ? strlen (how) : 0;

  while (len > 0) {
    const ssize_t r = write (fd, how, len);

    if (r <= 0)
      break;
    how += r;
    len -= (size_t) r;
  }
  _exit (how ? 0 : 1);
}

/* Is it caught?  how gets the words. */
static bool
is_caught (int mutant, char *how, size_t size)
{
  size_t len = 0;
  ssize_t r;
  int fds[2], status;
  pid_t pid;

  CHECK (pipe (fds) == 0);
  fflush (NULL);
  pid = fork ();
  CHECK (pid != -1);
  if (pid == 0) {
    close (fds[0]);
    vdi_mutant = (enum vdi_mutant) mutant;
    run_mutant (fds[1]);
  }
  close (fds[1]);
  while (len < size - 1 && (r = read (fds[0], how + len, size - 1 - len)) > 0)
    len += (size_t) r;
  how[len] = '\0';
  close (fds[0]);
  CHECK (child_wait (pid, &status));
  if (!WIFEXITED (status)) {
    snprintf (how, size, "dies of signal %d\n", WTERMSIG (status));
    return true;
  }
  return WEXITSTATUS (status) == 0;
}

int
main (int argc, char *argv[])
{
  unsigned total = 0, caught = 0;
  struct timespec start, end;
  char how[4096];
  int i, k;

  for (i = 1; i < MUTANT_last; i++) {
    bool wanted = argc == 1;

    for (k = 1; k < argc; k++)
      wanted |= strcmp (argv[k], mutants[i].name) == 0;
    if (!wanted)
      continue;
    clock_gettime (CLOCK_MONOTONIC, &start);
    total++;
    if (is_caught (i, how, sizeof how)) {
      caught++;
      clock_gettime (CLOCK_MONOTONIC, &end);
      how[strcspn (how, "\n")] = '\0';
      printf ("%-26s %.1fs  %s\n", mutants[i].name,
              (double) (end.tv_sec - start.tv_sec) +
              (double) (end.tv_nsec - start.tv_nsec) / 1e9, how);
    }
    else
      printf ("%-26s NOT CAUGHT: %s\n", mutants[i].name, mutants[i].what);
    fflush (stdout);
  }
  printf ("mutation score: %u of %u\n", caught, total);
  return caught == total ? 0 : 1;
}
