/* SPDX-License-Identifier: BSD-3-Clause */
/* Open crash images again and work on them: see nested.h. */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hashset.h"
#include "nested.h"
#include "world.h"

#define MAX_DEPTH 4

static struct hashset disks, images;

/* Of each depth: where to go back to, and the image made there. */
static struct {
  struct snapshot snapshot;
  struct disk *image;
} levels[MAX_DEPTH];

static uint64_t
rnd (void *opaque)
{
  return disk_random (opaque);
}

bool
nested_is_new_disk (uint64_t hash)
{
  return hashset_add (&disks, hash);
}

void
nested_reset (void)
{
  unsigned i;

  hashset_clear (&disks);
  hashset_clear (&images);
  for (i = 0; i < MAX_DEPTH; i++) {
    disk_free (levels[i].image);
    levels[i].image = NULL;
  }
}

void
nested_free (void)
{
  unsigned i;

  nested_reset ();
  hashset_free (&disks);
  hashset_free (&images);
  for (i = 0; i < MAX_DEPTH; i++) {
    free (levels[i].snapshot.bytes);
    memset (&levels[i].snapshot, 0, sizeof levels[i].snapshot);
  }
}

static bool
judge (struct nested_counts *n)
{
  const uint64_t h =
    judge_hash (&world_judge, world_disk, world->oracle.durable);
  const char *s;
  double nr;

  n->steps++;
  if (world_wrong[0])
    return false;
  if (world_is_stuck ()) {
    snprintf (world_wrong, sizeof world_wrong, "deadlock");
    return false;
  }
  if (!nested_is_new_disk (h))
    return true;
  n->disks++;
  s = judge_crash (&world_judge, world_disk, world->oracle.durable, &nr);
  n->images += nr;
  if (s)
    snprintf (world_wrong, sizeof world_wrong, "%s", s);
  return s == NULL;
}

/* How many operations each client does after a crash. */
static const unsigned nr_ops[NR_CLIENTS] = { 3, 1 };

/* One step of a random client.  False if there is nothing left to do. */
static bool
random_step (const struct setup *setup, unsigned depth, unsigned *done,
             uint64_t *seed)
{
  int c, can[NR_CLIENTS], n = 0;
  struct op op;

  for (c = 0; c < NR_CLIENTS; c++)
    if (world_can_step (c) || (world_is_idle (c) && done[c] < nr_ops[c]))
      can[n++] = c;
  if (n == 0)
    return false;
  c = can[disk_random (seed) % (unsigned) n];
  if (!world_is_idle (c)) {
    world_step (c, 0);
    return true;
  }
  do
    op = setup->ops[disk_random (seed) % setup->nr_ops];
  while (op.kind == OP_FOREIGN);
  /* 4 values for each of the three sessions after the first. */
  world_start (c, &op, 14 + 4 * depth + (c ? nr_ops[0] : 0) + done[c]);
  done[c]++;
  return true;
}

static void
work (const struct setup *setup, unsigned depth, unsigned left,
      uint64_t *seed, struct nested_counts *n)
{
  static const struct op close = { .kind = OP_CLOSE };
  unsigned done[NR_CLIENTS] = { 0 };

  while (random_step (setup, depth, done, seed)) {
    if (!judge (n))
      return;
    /* A session has some ten states. */
    if (left > 1 && disk_random (seed) % 12 == 0) {
      const uint64_t next_seed = disk_random (seed);
      const bool kill = disk_random (seed) % 8 == 0;

      nested_run (setup, next_seed, kill, left - 1, n);
      if (world_wrong[0])
        return;
    }
  }
  world_check_live ();
  if (disk_random (seed) % 2)
    return;
  n->closed++;
  world_start (0, &close, 0);
  while (judge (n) && world_can_step (0))
    world_step (0, 0);
}

void
nested_run (const struct setup *setup, uint64_t seed, bool kill,
            unsigned left, struct nested_counts *n)
{
  static unsigned depth;        /* how many crashes there were before */
  values allowed[MAX_GUEST];
  const struct judge saved_judge = world_judge;
  struct disk *image;
  uint64_t h, before;

  if (depth == MAX_DEPTH - 1)
    return;
  if (levels[depth].image == NULL) {
    struct disk_config config = setup->config;

    levels[depth].image = disk_new (&config);
  }
  image = levels[depth].image;
  memcpy (allowed, world->oracle.durable, sizeof allowed);
  if (kill) {
    disk_copy (world_disk, image);
    h = judge_hash (&world_judge, image, allowed);
  }
  else
    h = disk_crash (world_disk, image, rnd, &seed);
  h = disk_hash_bytes (allowed, sizeof allowed, h + depth * 2 + kill);
  if (!hashset_add (&images, h))
    return;
  if (kill)
    n->killed++;
  else
    n->reopened++;

  if (world_trace)
    fprintf (stderr, "  --- %s, reopened\n", kill ? "killed" : "crashed");
  before = world_hash ();
  world_save (&levels[depth].snapshot);
  depth++;
  world_open (image, allowed, kill, 1 + depth);
  if (world_wrong[0] == '\0' && judge (n))
    work (setup, depth - 1, left, &seed, n);
  depth--;
  world_restore (&levels[depth].snapshot);
  world_judge = saved_judge;
  if (world_hash () != before) {
    fprintf (stderr, "a state could not be restored\n");
    abort ();
  }
}
