/* SPDX-License-Identifier: BSD-3-Clause */
/* The fault sweep: a script of operations is run over and over, each time
 * another one of its calls of the storage fails, in another way, once.
 * The script goes on, as a guest would.  Nothing that was acknowledged
 * and flushed may be lost, errors are the storage's own, an index whose
 * write failed is not taken for fresh again; a failed sync poisons.
 * Crash images are looked at right after the fault and at the end.
 *
 *   faults             all of it
 *   faults SEED        one script, all its faults
 *   faults SEED WAY K  one fault
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coop.h"
#include "stage.h"

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define SCRIPTS 3
#else
#define SCRIPTS 90
#endif

enum way {
  WAY_EIO, WAY_ENOSPC,          /* nothing was done */
  WAY_PART_EIO, WAY_PART_ENOSPC, /* a part was */
  WAY_LATE,                     /* all was, and EIO said all the same */
  WAY_SHORT, WAY_EINTR,         /* nobody may notice these */
  WAY_ENOTSUP,                  /* for a while, there is no such thing */
  WAY_FULL,                     /* ENOSPC for a while */
  WAYS
};

static const char *const way_names[WAYS] = {
  "EIO", "ENOSPC", "part EIO", "part ENOSPC", "late EIO", "short", "EINTR",
  "ENOTSUP", "full for a while",
};

#define FULL_FOR 12             /* calls */

struct plan {
  enum way way;
  unsigned at;                  /* which call, from 1 */
  unsigned seen;
  enum disk_call call;          /* that was hit */
  bool hit;
};

static bool
applies (enum way way, enum disk_call call, uint64_t length)
{
  switch (way) {
  case WAY_EIO:
    return true;
  case WAY_ENOSPC:
    return call == DISK_PWRITE || call == DISK_TRUNCATE ||
      call == DISK_ZERO || call == DISK_PROVISION || call == DISK_SYNC;
  case WAY_PART_EIO:
  case WAY_PART_ENOSPC:
    return call == DISK_PWRITE && length > 512;
  case WAY_LATE:
    return call == DISK_PWRITE;
  case WAY_SHORT:
    return (call == DISK_PWRITE || call == DISK_PREAD) && length > 512;
  case WAY_EINTR:
    return call == DISK_PWRITE || call == DISK_PREAD ||
      call == DISK_TRUNCATE || call == DISK_PUNCH || call == DISK_ZERO;
  case WAY_ENOTSUP:
    return call == DISK_PUNCH || call == DISK_ZERO;
  case WAY_FULL:
    return call == DISK_PWRITE || call == DISK_TRUNCATE ||
      call == DISK_ZERO || call == DISK_PROVISION;
  default:
    return false;
  }
}

static void
hit (struct stage *w, enum way way, enum disk_call call, uint64_t offset,
     uint64_t length, struct disk_fault *fault)
{
  const bool part = way == WAY_PART_EIO || way == WAY_PART_ENOSPC ||
    way == WAY_SHORT;

  switch (way) {
  case WAY_EIO: case WAY_PART_EIO: case WAY_LATE:
    fault->err = EIO;
    break;
  case WAY_ENOSPC: case WAY_PART_ENOSPC: case WAY_FULL:
    fault->err = ENOSPC;
    break;
  case WAY_EINTR:
    fault->err = EINTR;
    return;
  case WAY_ENOTSUP:
    fault->err = ENOTSUP;
    return;
  default:
    break;
  }
  if (part || way == WAY_LATE) {
    /* Up to the end of some sector. */
    fault->limited = true;
    fault->count = way == WAY_LATE ? length
      : (offset + length / 2 + 511) / 512 * 512 - offset;
    if (fault->count > length)
      fault->count = length;
  }
  if (fault->err) {
    w->injected++;
    w->injected_err = fault->err;
    w->sync_failed |= call == DISK_SYNC;
  }
}

static void
on_fault (struct stage *w, enum disk_call call, uint64_t offset,
          uint64_t length, struct disk_fault *fault)
{
  struct plan *plan = w->fault_opaque;

  const unsigned last =
    plan->at + (plan->way >= WAY_ENOTSUP ? FULL_FOR - 1 : 0);

  if (!applies (plan->way, call, length) || ++plan->seen < plan->at ||
      plan->seen > last)
    return;
  plan->hit = true;
  plan->call = call;
  hit (w, plan->way, call, offset, length, fault);
}

/* Small images, so that the few operations meet each other. */
static void
choose_setup (struct stage_setup *s, uint64_t seed)
{
  struct rng rng = { seed * 7368787 };

  memset (s, 0, sizeof *s);
  s->program = "faults";
  s->seed = seed;
  s->layers = 1 + seed % 3;
  s->mode = seed / 3 % 4 == 0 ? DISK_DEVICE : seed / 3 % 4 == 1 ? DISK_STALE
    : DISK_FILE;
  for (unsigned i = 0; i < s->layers; ++i) {
    struct layout *l = &s->layout[i];

    l->child = i + 1 < s->layers;
    l->number = i + 1;
    l->parent = i + 2;
    l->block_size = 4096 << rng_below (&rng, 3);
    l->n_blocks = 4 + rng_below (&rng, 6);
    l->map_off = 512;
    l->data_off = 1024;
    l->sectors = (uint64_t) l->n_blocks * (l->block_size / 512) -
      rng_below (&rng, 3);
    l->filled = i ? 5 : rng_below (&rng, 4);
    l->zeros = l->shuffled = true;
    l->leaks = i == 0 && rng_below (&rng, 3) == 0;
  }
  s->can_punch = rng_below (&rng, 4) != 0;
  s->can_zero = rng_below (&rng, 2);
  s->can_dsync = rng_below (&rng, 2);
  s->clients = 1;
  s->ops = 16;
}

/* Opening is part of the sweep, too: it may fail with that error, and is
 * then tried again.
 */
static bool
run (const struct stage_setup *setup, enum way way, unsigned at,
     struct peer *peer, struct stage_counts *counts)
{
  struct plan plan = { .way = way, .at = at };
  struct stage *w = stage_new (setup, peer, counts);
  struct rng rng = { setup->seed };
  bool was_hit = false;

  w->fault = on_fault;
  w->fault_opaque = &plan;
  stage_open (w);
  for (unsigned i = 0; i < setup->ops; ++i) {
    stage_op (w, &rng);
    if (plan.hit && !was_hit) {
      stage_sample (w);
      stage_sample (w);
      was_hit = true;
    }
  }
  stage_flush (w);
  stage_sample (w);
  stage_finish (w);
  stage_next (w, false);

  /* Reopened by us, after a good close or a poisoned one. */
  w->no_more_faults = true;
  stage_open (w);
  stage_read_all (w);
  for (unsigned i = 0; i < 6; ++i)
    stage_op (w, &rng);
  stage_finish (w);
  stage_free (w);
  counts->faults += was_hit && way >= WAY_SHORT;
  return was_hit;
}

int
main (int argc, char *argv[])
{
  struct stage_counts counts = { 0 };
  struct peer *peer = peer_start ();
  uint64_t first = 1, last = SCRIPTS, runs = 0, faults[WAYS] = { 0 };
  struct stage_setup setup;

  if (argc > 1)
    first = last = strtoull (argv[1], NULL, 0);
  if (argc > 3) {
    choose_setup (&setup, first);
    run (&setup, atoi (argv[2]), atoi (argv[3]), peer, &counts);
    printf ("faults: %s\n", counts.faults ? "hit" : "not hit");
    return 0;
  }
  for (uint64_t seed = first; seed <= last; ++seed)
    for (int way = 0; way < WAYS; ++way)
      for (unsigned at = 1;; ++at) {
        bool was_hit;
        char replay[64];

        choose_setup (&setup, seed);
        snprintf (replay, sizeof replay, "faults %llu %d %u (%s): the script",
                  (unsigned long long) seed, way, at, way_names[way]);
        setup.program = replay;
        /* What QEMU says of such images is known from the other tests. */
        was_hit = run (&setup, way, at, runs++ % 32 ? NULL : peer, &counts);
        if (!was_hit)
          break;
        faults[way]++;
      }
  printf ("faults: %llu runs of %llu scripts, %llu crash images;",
          (unsigned long long) runs, (unsigned long long) (last - first + 1),
          (unsigned long long) counts.images);
  for (int way = 0; way < WAYS; ++way)
    printf ("%s %llu %s", way ? "," : "", (unsigned long long) faults[way],
            way_names[way]);
  printf ("\n");
  coop_exit ();
  peer_stop (peer);
  return 0;
}
