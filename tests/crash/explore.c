/* SPDX-License-Identifier: BSD-3-Clause */
/* Go through everything that two clients can make of a scenario: see
 * explore.h.
 */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "explore.h"
#include "hashset.h"
#include "nested.h"
#include "world.h"

#define MAX_PATH 600            /* steps */

/* A step of a path: a client starts an operation, or goes on. */
struct move {
  int8_t client;
  uint8_t start;                /* op.kind is set */
  uint8_t fault;
  struct op op;
};

struct progress {               /* what is left to do, on the current path */
  uint8_t ops_left[NR_CLIENTS];
  uint8_t faults_left;
  uint8_t quiet_switches_left;
  int8_t last;                  /* client that ran */
};

static struct move path[MAX_PATH];
static unsigned path_length;
static struct snapshot snapshots[MAX_PATH];
static struct hashset states;
static const struct explore_options *opts;
static struct explore_counts *counts;
static struct setup setup;
static bool stopped;

static char *
print_path (char *buf, size_t size)
{
  size_t len = 0;
  unsigned i;
  char op[16];

  buf[0] = '\0';
  for (i = 0; i < path_length && len + 24 < size; i++) {
    const struct move *m = &path[i];

    len += (size_t) snprintf (buf + len, size - len, "%s%c", i ? " " : "",
                              'A' + m->client);
    if (m->start)
      len += (size_t) snprintf (buf + len, size - len, ":%s",
                                op_print (&m->op, op));
    if (m->fault)
      len += (size_t) snprintf (buf + len, size - len, "!%u", m->fault);
  }
  return buf;
}

static void
report (const char *after)
{
  char buf[1800];

  counts->violations++;
  if (counts->first[0] == '\0')
    snprintf (counts->first, sizeof counts->first,
              "%s: %s\n  replay: ./test-exhaustive --scenario %s --replay "
              "'%s%s'\n", setup.sc->name, world_wrong, setup.sc->name,
              print_path (buf, sizeof buf), after);
  if (!opts->quiet && counts->violations <= 5)
    fprintf (stderr, "%s: %s\n  replay: ./test-exhaustive --scenario %s "
             "--replay '%s%s'\n", setup.sc->name, world_wrong,
             setup.sc->name, print_path (buf, sizeof buf), after);
  if (opts->stop_at_first)
    stopped = true;
}

/* Some of the images of this state are opened again. */
static void
reopen_some (uint64_t hash)
{
  struct nested_counts n = { 0 };
  char after[100];
  unsigned i;

  for (i = 0; i <= opts->sample_images && !stopped; i++) {
    const uint64_t seed = hash + i;
    const bool kill = i == opts->sample_images;

    /* What a failed sync or durable write has lost, the kernel still
     * shows; nobody who comes after that can know.
     */
    if (kill && world->faulty)
      continue;

    nested_run (&setup, seed, kill, opts->depth, &n);
    if (world_wrong[0]) {
      snprintf (after, sizeof after, " %s%llx/%u", kill ? "K" : "C",
                (unsigned long long) seed, opts->depth);
      report (after);
      world_wrong[0] = '\0';
    }
  }
  counts->reopened += n.reopened;
  counts->killed += n.killed;
  counts->closed += n.closed;
  counts->disks += n.disks;
  counts->images += n.images;
  counts->steps += n.steps;
}

/* Judge the state we are in.  False if something is wrong. */
static bool
judge_state (void)
{
  uint64_t h;
  double images;
  const char *s;

  if (world_wrong[0] == '\0' && world_is_stuck ())
    snprintf (world_wrong, sizeof world_wrong, "deadlock");
  if (world_wrong[0] == '\0') {
    h = judge_hash (&world_judge, world_disk, world->oracle.durable);
    if (nested_is_new_disk (h)) {
      counts->disks++;
      s = judge_crash (&world_judge, world_disk, world->oracle.durable,
                       &images);
      counts->images += images;
      if (s)
        snprintf (world_wrong, sizeof world_wrong, "%s", s);
      else if (opts->sample && h % opts->sample == 0 && !world->closed)
        reopen_some (h);
    }
  }
  if (world_wrong[0] == '\0')
    return true;
  report ("");
  world_wrong[0] = '\0';
  return false;
}

static bool
all_idle (void)
{
  int c;

  for (c = 0; c < NR_CLIENTS; c++)
    if (!world_is_idle (c))
      return false;
  return true;
}

/* The moves that are possible in this state. */
static unsigned
list_moves (const struct progress *p, struct move *moves)
{
  const int last = p->last;
  bool stay;
  unsigned n = 0, i, faults;
  int c;

  if (world->closed)
    return 0;
  stay = last >= 0 && world_can_step (last) && world_is_quiet (last) &&
         p->quiet_switches_left == 0;
  for (c = 0; c < NR_CLIENTS; c++) {
    if (stay && c != last)
      continue;
    if (world_can_step (c)) {
      faults = p->faults_left ? world_nr_faults (c) : 0;
      moves[n++] = (struct move) { .client = (int8_t) c };
      for (i = 1; i < faults; i++)
        moves[n++] = (struct move) { .client = (int8_t) c,
                                     .fault = (uint8_t) i };
    }
    else if (world_is_idle (c) && p->ops_left[c] > 0) {
      for (i = 0; i < setup.nr_ops; i++) {
        if (setup.ops[i].kind == OP_FOREIGN && !all_idle ())
          continue;
        moves[n++] = (struct move) { .client = (int8_t) c, .start = 1,
                                     .op = setup.ops[i] };
      }
    }
  }
  if (all_idle ())
    moves[n++] = (struct move) { .start = 1, .op = { .kind = OP_CLOSE } };
  return n;
}

/* Which value does the next write of this client write? */
static unsigned
next_sequence (const struct progress *p, int client)
{
  return VALUE_FIRST + 6 * (unsigned) client + opts->ops[client] -
         p->ops_left[client];
}

static void
make_move (const struct move *m, struct progress *p)
{
  path[path_length++] = *m;
  counts->steps++;
  if (p->last >= 0 && p->last != m->client && world_can_step (p->last) &&
      world_is_quiet (p->last))
    p->quiet_switches_left--;
  p->last = m->client;
  if (!m->start) {
    p->faults_left = (uint8_t) (p->faults_left - (m->fault != 0));
    world_step (m->client, m->fault);
  }
  else if (m->op.kind == OP_CLOSE) {
    memset (p->ops_left, 0, sizeof p->ops_left);
    counts->closed++;
    world_check_live ();
    world_start (m->client, &m->op, 0);
  }
  else {
    world_start (m->client, &m->op, next_sequence (p, m->client));
    p->ops_left[m->client]--;
  }
}

static void
go (const struct progress *p)
{
  const unsigned level = path_length;
  struct move moves[2 * MAX_OPS + 16];
  struct progress canonical = *p;
  unsigned n, i;
  uint64_t h;

  n = list_moves (p, moves);
  if (level == MAX_PATH - 1) {
    fprintf (stderr, "%s: the path is too long\n", setup.sc->name);
    exit (1);
  }
  if (n == 1 && !moves[0].start) { /* nothing to decide */
    canonical = *p;
    make_move (&moves[0], &canonical);
    if (judge_state ())
      go (&canonical);
    path_length = level;
    return;
  }

  /* Who ran last matters only if switching away from it costs. */
  if (canonical.last >= 0 &&
      !(world_can_step (canonical.last) && world_is_quiet (canonical.last)))
    canonical.last = -1;
  h = disk_hash_bytes (&canonical, sizeof canonical, world_hash ());
  if (!hashset_add (&states, h))
    return;
  counts->states++;
  if (opts->max_states && counts->states >= opts->max_states) {
    counts->complete = false;
    stopped = true;
  }
  if (n > 1)
    world_save (&snapshots[level]);
  for (i = 0; i < n && !stopped; i++) {
    struct progress q = *p;

    if (i > 0)
      world_restore (&snapshots[level]);
    make_move (&moves[i], &q);
    if (judge_state ())
      go (&q);
    path_length = level;
  }
}

static void
start_scenario (const struct scenario *sc, const struct explore_options *o,
                struct explore_counts *c)
{
  opts = o;
  counts = c;
  stopped = false;
  path_length = 0;
  disk_contents_reset ();
  setup_make (&setup, sc, o->few);
  world_init (&setup);
  hashset_clear (&states);
  nested_reset ();
  world_open (NULL, NULL, false, 1);
}

static struct progress
start_progress (void)
{
  struct progress p = {
    .faults_left = (uint8_t) setup.sc->faults,
    .quiet_switches_left = (uint8_t) opts->quiet_switches, .last = -1,
  };
  int c;

  for (c = 0; c < NR_CLIENTS; c++)
    p.ops_left[c] = (uint8_t) opts->ops[c];
  return p;
}

void
explore (const struct scenario *sc, const struct explore_options *o,
         struct explore_counts *c)
{
  struct progress p;
  double a, b, programs = 0;
  unsigned i, k;

  start_scenario (sc, o, c);
  c->complete = true;
  for (a = 1, i = 0; i <= o->ops[0]; i++, a *= setup.nr_ops)
    for (b = 1, k = 0; k <= o->ops[1]; k++, b *= setup.nr_ops)
      programs += a * b;
  c->programs += programs;
  p = start_progress ();
  if (judge_state ())
    go (&p);
  setup_free (&setup);
}

/*------------------------------------------------------------------*/

int
explore_replay (const struct scenario *sc, const char *s)
{
  const struct explore_options o = { .ops = { 6, 6 }, .quiet_switches = 255,
                                     .depth = 3 };
  struct explore_counts c = { 0 };
  struct nested_counts nc = { 0 };
  struct progress p;
  char *end;

  start_scenario (sc, &o, &c);
  p = start_progress ();
  p.faults_left = 9;
  world_trace = true;
  while (*s) {
    if (*s == ' ') {
      s++;
      continue;
    }
    if (*s == 'C' || *s == 'K') {
      const bool kill = *s == 'K';
      const uint64_t seed = strtoull (s + 1, &end, 16);

      nested_run (&setup, seed, kill,
                  *end == '/' ? (unsigned) strtoul (end + 1, &end, 10) : 3,
                  &nc);
      s = end;
    }
    else if (*s >= 'A' && *s < 'A' + NR_CLIENTS) {
      struct move m = { .client = (int8_t) (*s++ - 'A') };

      if (*s == ':') {
        s++;
        m.start = 1;
        if (!op_parse (&s, &m.op))
          break;
      }
      if (*s == '!')
        m.fault = (uint8_t) strtoul (s + 1, (char **) &s, 10);
      make_move (&m, &p);
      judge_state ();
    }
    else
      break;
  }
  if (*s)
    fprintf (stderr, "cannot read the path from here: %s\n", s);
  if (world_wrong[0])
    fprintf (stderr, "%s\n", world_wrong);
  return *s || world_wrong[0] || c.violations ? 1 : 0;
}

void
explore_random (const struct scenario *sc, const struct explore_options *o,
                uint64_t seed, unsigned how_many, struct explore_counts *c)
{
  struct move moves[2 * MAX_OPS + 16];
  struct snapshot first = { 0 };
  unsigned n, walk;

  start_scenario (sc, o, c);
  world_save (&first);
  for (walk = 0; walk < how_many && !stopped; walk++) {
    struct progress p = start_progress ();

    path_length = 0;
    world_restore (&first);
    for (;;) {
      n = list_moves (&p, moves);
      /* Do not close long before the program is at its end. */
      if (n > 1 && moves[n-1].op.kind == OP_CLOSE && moves[n-1].start &&
          disk_random (&seed) % 8 != 0)
        n--;
      if (n == 0 || path_length == MAX_PATH - 1)
        break;
      make_move (&moves[disk_random (&seed) % n], &p);
      if (!judge_state ())
        break;
      if (hashset_add (&states,
                       disk_hash_bytes (&p, sizeof p, world_hash ())))
        c->states++;
    }
  }
  free (first.bytes);
  setup_free (&setup);
}

void
explore_free (void)
{
  unsigned i;

  for (i = 0; i < MAX_PATH; i++) {
    free (snapshots[i].bytes);
    memset (&snapshots[i], 0, sizeof snapshots[i]);
  }
  hashset_free (&states);
  nested_free ();
  world_exit ();
  disk_contents_reset ();
}
