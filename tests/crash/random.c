/* SPDX-License-Identifier: BSD-3-Clause */
/* Long random workloads of several clients on disks with real block
 * sizes, bases and chains, files, stale files and block devices, with and
 * without failing storage; in the middle of it, crashes: at least
 * WANTED crash images are made, and each is looked at by our own eyes
 * (rules.h, layout.h), by the core and by qemu-img check.  Some of them
 * become the disk of the next session.
 *
 * On a machine that is so busy that this has taken ENOUGH_SECONDS, a
 * quarter of the images will do.
 *
 *   random             all of it
 *   random SEED        one stage, to see a failure again
 *   random SEED COUNT  so many of them from there on, for long nights
 */

#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "coop.h"
#include "stage.h"

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define WANTED 1000
#else
#define WANTED 10000
#endif
#define ENOUGH_SECONDS 1200     /* several times what an idle one takes */

static struct timespec began;

static void
choose_layout (struct layout *l, unsigned layer, struct rng *rng)
{
  static const uint32_t sizes[] = { 1u << 16, 4096, 1u << 21, 1u << 15 };
  const uint32_t alignments[] = { 512, 512, 4096, 1u << 20 };
  const uint32_t alignment = alignments[rng_below (rng, 4)];

  l->number = layer + 1;
  l->block_size = rng_below (rng, 8) < 5 ? 1u << 20
    : sizes[rng_below (rng, 4)];
  l->n_blocks = l->block_size >= 1u << 20 ? 3 + rng_below (rng, 6)
    : 4 + rng_below (rng, 60);
  l->sectors = (uint64_t) l->n_blocks * (l->block_size / 512);
  if (rng_below (rng, 2))
    l->sectors -= rng_below (rng, l->block_size / 512);
  l->extra = rng_below (rng, 16) == 0 ? 512 : 0;
  l->map_off = alignment;
  l->data_off = (l->map_off + 4 * l->n_blocks + alignment - 1) / alignment *
    alignment;
  l->filled = layer ? 4 : rng_below (rng, 12) ? rng_below (rng, 5) : 8;
  l->zeros = rng_below (rng, 2);
  l->leaks = layer == 0 && rng_below (rng, 4) == 0;
  l->shuffled = rng_below (rng, 2);
}

/* Few small blocks and many clients, so that they meet in each. */
static void
crowd (struct stage_setup *s, struct rng *rng)
{
  for (unsigned i = 0; i < s->layers; ++i) {
    struct layout *l = &s->layout[i];

    l->block_size = 4096;
    l->n_blocks = 3 + rng_below (rng, 4);
    l->sectors = l->n_blocks * UINT64_C (8);
    l->map_off = 512;
    l->data_off = 1024;
    l->filled = i ? 4 : 0;
  }
  s->clients = 8;
  s->ops = 16;
}

/* Everything follows from the seed. */
static void
choose_setup (struct stage_setup *s, uint64_t seed)
{
  struct rng rng = { seed * 1000003 };

  memset (s, 0, sizeof *s);
  s->program = "random";
  s->seed = seed;
  s->layers = seed % 2 ? 1 : 2 + seed / 2 % 2;
  for (unsigned i = 0; i < s->layers; ++i) {
    choose_layout (&s->layout[i], i, &rng);
    s->layout[i].child = i + 1 < s->layers;
    s->layout[i].parent = i + 2;
    if (s->layout[i].child && s->layout[i].filled == 8)
      s->layout[i].filled = 4;
  }
  /* A parent is as large as its child, or smaller; or larger. */
  s->mode = rng_below (&rng, 8) < 5 ? DISK_FILE
    : rng_below (&rng, 2) ? DISK_STALE : DISK_DEVICE;
  s->can_punch = rng_below (&rng, 8) != 0;
  s->can_zero = rng_below (&rng, 2);
  s->can_provision = rng_below (&rng, 2);
  s->can_dsync = rng_below (&rng, 2);
  s->torn = rng_below (&rng, 2);
  s->clients = 2 + rng_below (&rng, 7);
  s->ops = 4 + rng_below (&rng, 60 / s->clients);
  s->sessions = 4;
  if (rng_below (&rng, 4) == 0)
    crowd (s, &rng);
  if (rng_below (&rng, 6) == 0) {
    s->fault_sync = rng_below (&rng, 3) == 0;
    s->fault_rate = s->fault_sync ? 8 : 30;
    s->can_dsync = false;
  }
}

struct client {
  struct stage *w;
  struct rng rng;
};

static void
client (void *opaque)
{
  struct client *c = opaque;

  for (unsigned i = 0; i < c->w->setup.ops; ++i) {
    stage_op (c->w, &c->rng);
    coop_point ();
  }
}

/* Who runs next: anybody, or rather the same again, or rather the first.
 */
static int
choose (struct stage *w, const int *ids, int n, int last, unsigned strategy)
{
  for (int i = 0; strategy == 1 && i < n; ++i)
    if (ids[i] == last && rng_below (&w->rng, 8))
      return last;
  if (strategy == 2 && rng_below (&w->rng, 8))
    return ids[0];
  return ids[rng_below (&w->rng, n)];
}

static void
run_clients (struct stage *w, unsigned sample_rate)
{
  struct client clients[COOP_MAX];
  const unsigned strategy = rng_below (&w->rng, 3);
  int last = -1;

  for (unsigned i = 0; i < w->setup.clients; ++i) {
    clients[i].w = w;
    clients[i].rng.state = rng_next (&w->rng);
    coop_spawn (client, &clients[i]);
  }
  for (;;) {
    int ids[COOP_MAX], n = 0, left = 0;

    for (int i = 0; i < coop_nr (); ++i) {
      left += !coop_done (i);
      if (coop_can_run (i))
        ids[n++] = i;
    }
    if (left == 0)
      break;
    if (n == 0)
      stage_fail (w, "all clients wait for each other");
    last = choose (w, ids, n, last, strategy);
    coop_step (last);
    w->counts->steps++;
    if (rng_below (&w->rng, sample_rate) == 0)
      stage_sample (w);
  }
}

static void
run_stage (uint64_t seed, struct peer *peer, struct stage_counts *counts)
{
  struct stage_setup setup;
  struct stage *w;

  choose_setup (&setup, seed);
  w = stage_new (&setup, peer, counts);
  for (unsigned i = 0; i < setup.sessions; ++i) {
    if (i > 0)
      stage_next (w, rng_below (&w->rng, 2));
    stage_open (w);
    run_clients (w, 12);
    stage_finish (w);
  }
  stage_free (w);
}

static unsigned
wanted (void)
{
  struct timespec t;

  clock_gettime (CLOCK_MONOTONIC, &t);
  return t.tv_sec - began.tv_sec > ENOUGH_SECONDS ? WANTED / 4 : WANTED;
}

int
main (int argc, char *argv[])
{
  struct stage_counts counts = { 0 };
  struct peer *peer = peer_start ();
  uint64_t seed = argc > 1 ? strtoull (argv[1], NULL, 0) : 1;
  const uint64_t stages = argc > 2 ? strtoull (argv[2], NULL, 0) : 1;

  clock_gettime (CLOCK_MONOTONIC, &began);
  while (argc > 1 ? counts.stages < stages : counts.images < wanted ())
    run_stage (seed++, peer, &counts);
  coop_exit ();
  if (argc == 1 && counts.images < WANTED)
    printf ("random: the machine is too busy for all %u crash images\n",
            WANTED);
  printf ("random: %llu crash images (%llu of them as after a kill) of %llu "
          "sessions in %llu stages, %llu operations, %llu steps, %llu "
          "faults; %llu asked of qemu-img check, %llu read and %llu "
          "written to by QEMU%s; "
          "%llu versions forgotten\n",
          (unsigned long long) counts.images,
          (unsigned long long) counts.killed,
          (unsigned long long) counts.sessions,
          (unsigned long long) counts.stages,
          (unsigned long long) counts.ops,
          (unsigned long long) counts.steps,
          (unsigned long long) counts.faults,
          (unsigned long long) counts.qemu_checks,
          (unsigned long long) counts.qemu_reads,
          (unsigned long long) counts.qemu_writes,
          peer ? "" : " (which is not here)",
          (unsigned long long) counts.forgotten);
  peer_stop (peer);
  return 0;
}
