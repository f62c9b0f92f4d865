/* SPDX-License-Identifier: BSD-3-Clause */
/* Entries that are not durable yet: common/pending.c. */
#include <config.h>

#include <string.h>

#include "pending.h"
#include "test.h"

static void
make (struct pending *p, struct blockmap *map, uint32_t n)
{
  memset (map, 0, sizeof *map);
  map->n = n;
  map->entries = malloc (n * sizeof *map->entries);
  CHECK (map->entries != NULL);
  for (uint32_t i = 0; i < n; i++)
    atomic_init (&map->entries[i], VDI_FREE);
  CHECK (pending_init (p, map) == 0);
}

static void
add (struct pending *p, uint32_t block, uint32_t value, bool deferred)
{
  CHECK (pending_promise (p));
  pending_add (p, block, value, deferred);
  pending_release (p);
}

static void
test_sample_is_sorted_and_latest (void)
{
  struct pending p;
  struct blockmap map;
  const struct pending_entry *e;
  size_t nr, deferred;

  make (&p, &map, 100);
  add (&p, 9, VDI_ZERO, true);
  add (&p, 3, 0, true);
  add (&p, 9, 1, true);
  add (&p, 4, 2, true);
  CHECK (blockmap_get (&map, 9) == 1);
  CHECK (map.n_allocated == 3);
  e = pending_sample (&p, &nr, &deferred);
  CHECK (nr == 3 && deferred == 3);
  CHECK (e[0].block == 3 && e[0].value == 0);
  CHECK (e[1].block == 4 && e[1].value == 2);
  CHECK (e[2].block == 9 && e[2].value == 1);
  CHECK (pending_is_marked (&p, 9));
  pending_done (&p);
  CHECK (!pending_is_marked (&p, 9) && !pending_is_marked (&p, 3));
  CHECK (p.nr_deferred == 0);
  e = pending_sample (&p, &nr, &deferred);
  CHECK (nr == 0 && deferred == 0);
  pending_done (&p);
  pending_free (&p);
  blockmap_free (&map);
}

static void
test_what_was_added_meanwhile_stays (void)
{
  struct pending p;
  struct blockmap map;
  const struct pending_entry *e;
  size_t nr, deferred;

  make (&p, &map, 10);
  add (&p, 1, VDI_ZERO, true);
  pending_sample (&p, &nr, &deferred);
  add (&p, 1, 5, true);
  pending_done (&p);
  CHECK (pending_is_marked (&p, 1));
  e = pending_sample (&p, &nr, &deferred);
  CHECK (nr == 1 && e[0].value == 5);
  pending_done (&p);
  CHECK (!pending_is_marked (&p, 1));
  pending_free (&p);
  blockmap_free (&map);
}

static void
test_undo_keeps_the_order (void)
{
  struct pending p;
  struct blockmap map;
  const struct pending_entry *e;
  size_t nr, deferred;

  make (&p, &map, 10);
  add (&p, 2, VDI_ZERO, true);
  add (&p, 7, 1, false);
  pending_sample (&p, &nr, &deferred);
  CHECK (nr == 2 && deferred == 1);
  add (&p, 2, 3, true);
  pending_undo (&p);
  CHECK (pending_is_marked (&p, 2) && pending_is_marked (&p, 7));
  e = pending_sample (&p, &nr, &deferred);
  CHECK (nr == 2 && deferred == 1);
  CHECK (e[0].block == 2 && e[0].value == 3);
  CHECK (e[1].block == 7 && !e[1].deferred);
  pending_done (&p);
  pending_free (&p);
  blockmap_free (&map);
}

static void
test_promises_are_bounded (void)
{
  struct pending p;
  struct blockmap map;
  size_t nr, deferred, n = 0;

  make (&p, &map, 1);
  while (pending_promise (&p))
    n++;
  CHECK (n >= 1000 && n < 70000);
  pending_release (&p);
  CHECK (pending_promise (&p));
  CHECK (!pending_promise (&p));
  /* An entry in a sample that may be undone takes room, too. */
  pending_add (&p, 0, 0, true);
  pending_release (&p);
  CHECK (!pending_promise (&p));
  pending_sample (&p, &nr, &deferred);
  CHECK (!pending_promise (&p));
  pending_done (&p);
  CHECK (pending_promise (&p));
  pending_free (&p);
  blockmap_free (&map);
}

int
main (void)
{
  test_sample_is_sorted_and_latest ();
  test_what_was_added_meanwhile_stays ();
  test_undo_keeps_the_order ();
  test_promises_are_bounded ();
  return 0;
}
