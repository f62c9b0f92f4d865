/* SPDX-License-Identifier: BSD-3-Clause */
/* Entries that are not durable yet: common/commit/pending.c. */
#include <config.h>

#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "commit/pending.h"
#include "test.h"

/* Somebody else's, as the reserve's is. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void
make (struct pending *p, struct blockmap *map, uint32_t n)
{
  CHECK (blockmap_new (map, n) == 0);
  CHECK (pending_init (p, map, &lock) == 0);
  CHECK (p->lock == &lock);
}

static void
done_with (struct pending *p, struct blockmap *map)
{
  /* Nobody has kept it. */
  CHECK (pthread_mutex_trylock (&lock) == 0);
  pthread_mutex_unlock (&lock);
  pending_free (p);
  blockmap_free (map);
}

static bool
promise (struct pending *p)
{
  bool r;

  pthread_mutex_lock (&lock);
  r = pending_promise (p);
  pthread_mutex_unlock (&lock);
  return r;
}

static void
release (struct pending *p)
{
  pthread_mutex_lock (&lock);
  pending_release (p);
  pthread_mutex_unlock (&lock);
}

/* What was promised. */
static void
add_promised (struct pending *p, uint32_t block, uint32_t value,
              bool deferred)
{
  pthread_mutex_lock (&lock);
  pending_add (p, block, value, deferred);
  pthread_mutex_unlock (&lock);
}

static void
add (struct pending *p, uint32_t block, uint32_t value, bool deferred)
{
  CHECK (promise (p));
  add_promised (p, block, value, deferred);
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
  CHECK (p.nr_deferred == 4 && p.promised == 0);
  e = pending_sample (&p, &nr, &deferred);
  CHECK (nr == 3 && deferred == 3 && p.nr_deferred == 3);
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
  done_with (&p, &map);
}

/* What is in the file already comes behind what has to be written. */
static void
test_deferred_come_first (void)
{
  struct pending p;
  struct blockmap map;
  const struct pending_entry *e;
  size_t nr, deferred;

  make (&p, &map, 100);
  add (&p, 1, 0, false);
  add (&p, 50, 1, true);
  add (&p, 2, 2, false);
  add (&p, 40, 3, true);
  e = pending_sample (&p, &nr, &deferred);
  CHECK (nr == 4 && deferred == 2);
  CHECK (e[0].block == 40 && e[0].deferred);
  CHECK (e[1].block == 50 && e[1].deferred);
  CHECK (!e[2].deferred && !e[3].deferred);
  pending_done (&p);
  for (uint32_t i = 0; i < 100; i++)
    CHECK (!pending_is_marked (&p, i));
  done_with (&p, &map);
}

/* Neighbours in a word of marks do not disturb each other, and whoever sees
 * a new entry sees its mark, without the lock.
 */
static void
test_marks (void)
{
  static const uint32_t blocks[] = { 0, 1, 62, 63, 64, 65, 127, 128, 199 };
  const size_t n = sizeof blocks / sizeof blocks[0];
  struct pending p;
  struct blockmap map;
  size_t nr, deferred;

  make (&p, &map, 200);
  for (size_t i = 0; i < n; i++) {
    CHECK (!pending_is_marked (&p, blocks[i]));
    add (&p, blocks[i], i, i % 2);
  }
  pthread_mutex_lock (&lock);   /* which those who ask do not need */
  for (uint32_t i = 0; i < 200; i++)
    CHECK (pending_is_marked (&p, i) ==
           vdi_entry_is_allocated (blockmap_get (&map, i)));
  pthread_mutex_unlock (&lock);
  pending_sample (&p, &nr, &deferred);
  for (size_t i = 0; i < n; i++)
    CHECK (pending_is_marked (&p, blocks[i]));
  pending_done (&p);
  for (uint32_t i = 0; i < 200; i++)
    CHECK (!pending_is_marked (&p, i));
  done_with (&p, &map);
}

#define READERS 4
#define READ_BLOCKS 500

static struct pending shared;
static struct blockmap shared_map;
static atomic_bool committing;

/* No entry is ever seen that is neither marked nor was committed. */
static void *
look (void *unused)
{
  (void) unused;
  for (uint32_t i = 0; i < READ_BLOCKS; i++) {
    while (!vdi_entry_is_allocated (blockmap_get (&shared_map, i)))
      sched_yield ();
    /* Before the first commit a mark only comes. */
    CHECK (pending_is_marked (&shared, i) || committing);
  }
  return NULL;
}

static void
test_marks_are_seen_with_entries (void)
{
  pthread_t threads[READERS];
  size_t nr, deferred;

  make (&shared, &shared_map, READ_BLOCKS);
  for (unsigned i = 0; i < READERS; i++)
    CHECK (pthread_create (&threads[i], NULL, look, NULL) == 0);
  for (uint32_t i = 0; i < READ_BLOCKS - 1; i++)
    add (&shared, i, i, true);
  committing = true;
  pending_sample (&shared, &nr, &deferred);
  add (&shared, READ_BLOCKS - 1, READ_BLOCKS - 1, true);
  pending_done (&shared);
  for (unsigned i = 0; i < READERS; i++)
    CHECK (pthread_join (threads[i], NULL) == 0);
  CHECK (nr == READ_BLOCKS - 1);
  for (uint32_t i = 0; i < READ_BLOCKS; i++)
    CHECK (pending_is_marked (&shared, i) == (i == READ_BLOCKS - 1));
  done_with (&shared, &shared_map);
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
  add (&p, 2, VDI_ZERO, true);
  pending_sample (&p, &nr, &deferred);
  add (&p, 1, 5, true);
  pending_done (&p);
  CHECK (pending_is_marked (&p, 1) && !pending_is_marked (&p, 2));
  CHECK (p.nr_deferred == 1);
  e = pending_sample (&p, &nr, &deferred);
  CHECK (nr == 1 && e[0].value == 5);
  pending_done (&p);
  CHECK (!pending_is_marked (&p, 1));
  CHECK (p.nr_deferred == 0);
  done_with (&p, &map);
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
  CHECK (p.nr_deferred == 1);
  /* Again, with nothing new. */
  pending_undo (&p);
  e = pending_sample (&p, &nr, &deferred);
  CHECK (nr == 2 && deferred == 1 && e[0].value == 3);
  pending_done (&p);
  CHECK (p.nr_deferred == 0);
  CHECK (!pending_is_marked (&p, 2) && !pending_is_marked (&p, 7));
  done_with (&p, &map);
}

static void
test_promises_are_bounded (void)
{
  struct pending p;
  struct blockmap map;
  size_t nr, deferred, n = 0;

  make (&p, &map, 1);
  while (promise (&p))
    n++;
  CHECK (n >= 1000 && n < 70000);
  release (&p);
  CHECK (promise (&p));
  CHECK (!promise (&p));
  /* An entry takes the room of its promise, in a sample that may be undone,
   * too.
   */
  add_promised (&p, 0, 0, true);
  CHECK (!promise (&p));
  pending_sample (&p, &nr, &deferred);
  CHECK (!promise (&p));
  pending_undo (&p);
  CHECK (!promise (&p));
  pending_sample (&p, &nr, &deferred);
  pending_done (&p);
  CHECK (promise (&p));
  CHECK (!promise (&p));
  done_with (&p, &map);
}

/* All the room that was promised is there, in either array. */
static void
test_full (void)
{
  struct pending p;
  struct blockmap map;
  const struct pending_entry *e;
  size_t nr, deferred, n = 0;

  make (&p, &map, 3000);
  while (promise (&p))
    add_promised (&p, n++ % 3000, VDI_ZERO, true);
  CHECK (n == p.max && p.nr_deferred == n);
  pending_sample (&p, &nr, &deferred);
  CHECK (nr == 3000 && deferred == 3000);
  /* Duplicates have made room. */
  for (; n > nr; n--)
    add (&p, n % 3000, n, true);
  CHECK (!promise (&p));
  pending_undo (&p);
  CHECK (!promise (&p));
  e = pending_sample (&p, &nr, &deferred);
  CHECK (nr == 3000);
  for (uint32_t i = 0; i < 3000; i++)
    CHECK (e[i].block == i && e[i].value == blockmap_get (&map, i));
  pending_done (&p);
  CHECK (p.nr_deferred == 0);
  done_with (&p, &map);
}

int
main (void)
{
  test_sample_is_sorted_and_latest ();
  test_deferred_come_first ();
  test_marks ();
  test_marks_are_seen_with_entries ();
  test_what_was_added_meanwhile_stays ();
  test_undo_keeps_the_order ();
  test_promises_are_bounded ();
  test_full ();
  return 0;
}
