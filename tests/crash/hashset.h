/* SPDX-License-Identifier: BSD-3-Clause */
/* A set of 64-bit hashes. */
#ifndef CRASH_HASHSET_H
#define CRASH_HASHSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct hashset {
  uint64_t *slots;              /* 0 is empty */
  size_t size, n;               /* size is a power of two */
};

static inline void
hashset_free (struct hashset *set)
{
  free (set->slots);
  memset (set, 0, sizeof *set);
}

/* True if it was not in the set. */
static inline bool
hashset_add (struct hashset *set, uint64_t h)
{
  size_t i;

  if (set->n * 2 >= set->size) {
    struct hashset bigger = { .size = set->size ? set->size * 2 : 4096 };

    bigger.slots = calloc (bigger.size, sizeof *bigger.slots);
    if (bigger.slots == NULL)
      abort ();
    for (i = 0; i < set->size; i++)
      if (set->slots[i])
        hashset_add (&bigger, set->slots[i]);
    free (set->slots);
    *set = bigger;
  }
  if (h == 0)
    h = 1;
  for (i = h & (set->size - 1); set->slots[i]; i = (i + 1) & (set->size - 1))
    if (set->slots[i] == h)
      return false;
  set->slots[i] = h;
  set->n++;
  return true;
}

static inline void
hashset_clear (struct hashset *set)
{
  if (set->slots)
    memset (set->slots, 0, set->size * sizeof *set->slots);
  set->n = 0;
}

#endif /* CRASH_HASHSET_H */
