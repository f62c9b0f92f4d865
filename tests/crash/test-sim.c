/* SPDX-License-Identifier: BSD-3-Clause */
/* The simulator itself: does the disk remember what it should, does a
 * crash give every image it may give and no other, and do the coroutines
 * and their locks do what threads do?
 */
#include <config.h>

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "coop.h"
#include "disk.h"
#include "test.h"

static const struct disk_config config = {
  .name = "disk", .mode = DISK_FILE, .size = 1024, .max_size = 8192,
  .max_versions = 4, .can_punch = true, .can_zero = true,
  .can_provision = true, .can_dsync = true,
  .torn_start = 512, .torn_end = 1024,
};

static uint64_t seed = 1;

static uint64_t
rnd (void *opaque)
{
  (void) opaque;
  return disk_random (&seed);
}

static size_t
nr_versions (struct disk *d, uint64_t sector)
{
  size_t n;

  disk_versions (d, sector, &n);
  return n;
}

static size_t
nr_sizes (struct disk *d)
{
  size_t n;

  disk_size_versions (d, &n);
  return n;
}

static void
fill (struct storage *s, uint64_t sector, uint8_t byte)
{
  uint8_t bytes[512];

  memset (bytes, byte, sizeof bytes);
  CHECK (s->ops->pwrite (s, bytes, 512, sector * 512, false) == 512);
}

static uint8_t
byte_at (struct disk *d, uint64_t offset)
{
  uint8_t byte;

  disk_get (d, &byte, 1, offset);
  return byte;
}

static void
test_versions (void)
{
  struct disk *d = disk_new (&config);
  struct storage *s = disk_open (d);
  uint8_t bytes[512];

  CHECK (nr_versions (d, 0) == 1 && nr_sizes (d) == 1);
  fill (s, 0, 1);
  fill (s, 0, 2);
  fill (s, 0, 2);               /* no new version */
  fill (s, 3, 7);               /* grows */
  CHECK (nr_versions (d, 0) == 3 && nr_versions (d, 1) == 1);
  CHECK (nr_versions (d, 3) == 2 && nr_sizes (d) == 2);
  CHECK (disk_size (d) == 2048);
  CHECK (s->ops->pread (s, bytes, 512, 0) == 512 && bytes[511] == 2);
  CHECK (s->ops->pread (s, bytes, 512, 2048 - 100) == 100);
  CHECK (s->ops->pread (s, bytes, 512, 4096) == 0);
  CHECK (s->ops->sync (s) == 0);
  CHECK (nr_versions (d, 0) == 1 && nr_versions (d, 3) == 1);
  CHECK (nr_sizes (d) == 1);

  /* A durable write is durable for its own range only. */
  fill (s, 0, 3);
  memset (bytes, 9, sizeof bytes);
  CHECK (s->ops->pwrite (s, bytes, 512, 512, true) == 512);
  CHECK (nr_versions (d, 0) == 2 && nr_versions (d, 1) == 1);

  /* Gone is gone, also when the file grows again. */
  CHECK (s->ops->truncate (s, 1024) == 0);
  CHECK (s->ops->truncate (s, 4096) == 0);
  CHECK (s->ops->pread (s, bytes, 512, 3 * 512) == 512 && bytes[0] == 0);
  CHECK (nr_versions (d, 3) == 2 && nr_sizes (d) == 3);

  CHECK (s->ops->punch (s, 0, 512) == 0 && byte_at (d, 0) == 0);
  s->ops->close (s);
  disk_free (d);
}

static void
test_forgotten (void)
{
  struct disk *d = disk_new (&config);
  struct storage *s = disk_open (d);
  uint8_t i;
  size_t n;

  for (i = 1; i <= 5; i++)
    fill (s, 0, i);
  CHECK (disk_forgotten (d) == 2);
  CHECK (disk_versions (d, 0, &n)[0].content == DISK_CONTENT_ZERO);
  CHECK (n == 4);
  disk_free (d);
}

static void
fail_sync (void *opaque, struct disk *d, enum disk_call call,
                uint64_t offset, uint64_t length, struct disk_fault *fault)
{
  (void) opaque;
  (void) d;
  (void) offset;
  (void) length;
  if (call == DISK_SYNC)
    fault->err = EIO;
}

static void
test_failed_sync (void)
{
  struct disk_hooks hooks = { .fault = fail_sync };
  uint8_t bytes[DISK_SECTOR];
  struct disk *d;
  struct storage *s;

  d = disk_new (&config);
  s = disk_open (d);
  fill (s, 0, 1);
  fill (s, 1, 1);
  /* What pends now is lost to all later syncs, which fail, too. */
  disk_set_hooks (d, &hooks);
  CHECK (s->ops->sync (s) == -1 && errno == EIO);
  memset (&hooks, 0, sizeof hooks);
  disk_set_hooks (d, &hooks);
  CHECK (byte_at (d, 0) == 1);
  CHECK (s->ops->sync (s) == -1 && errno == EIO);
  CHECK (nr_versions (d, 0) == 2 && nr_versions (d, 1) == 2);
  /* A durable write is its own business, even if it is the same again. */
  memset (bytes, 1, sizeof bytes);
  CHECK (s->ops->pwrite (s, bytes, sizeof bytes, 0, true) == DISK_SECTOR);
  CHECK (nr_versions (d, 0) == 1 && nr_versions (d, 1) == 2);
  disk_free (d);
}

static void
test_modes (void)
{
  struct disk_config c = config;
  struct disk *d;
  struct storage *s;
  uint8_t byte;

  c.mode = DISK_STALE;
  d = disk_new (&c);
  s = disk_open (d);
  CHECK (!s->grows_zero);
  CHECK (s->ops->truncate (s, 700) == 0);
  CHECK (s->ops->truncate (s, 2048) == 0);
  CHECK (byte_at (d, 701) == DISK_GARBAGE && byte_at (d, 1999) == DISK_GARBAGE);
  byte = 1;
  CHECK (s->ops->pwrite (s, &byte, 1, 4000, false) == 1);
  CHECK (byte_at (d, 3999) == DISK_GARBAGE && byte_at (d, 4000) == 1);
  disk_free (d);

  c.mode = DISK_DEVICE;
  c.size = c.max_size;
  c.can_dsync = c.can_punch = false;
  d = disk_new (&c);
  s = disk_open (d);
  CHECK (s->ops->truncate (s, 512) == -1 && errno == ENOTSUP);
  CHECK (s->ops->punch (s, 0, 512) == -1 && errno == ENOTSUP);
  CHECK (s->ops->pwrite (s, &byte, 1, 0, true) == -1 && errno == ENOTSUP);
  CHECK (s->ops->pwrite (s, &byte, 1, 8192, false) == -1 && errno == ENOSPC);
  CHECK (byte_at (d, 4000) == DISK_GARBAGE);
  disk_free (d);
}

/* All images of a small state, each met often enough; none else. */
static void
test_crash (void)
{
  struct disk *d = disk_new (&config), *to = disk_new (&config);
  struct storage *s = disk_open (d);
  unsigned seen[3][2][2][2] = { 0 }, i, all = 0;
  uint8_t cells[8] = { 1, 1, 1, 1, 2, 2, 2, 2 };

  fill (s, 0, 1);
  fill (s, 0, 2);
  /* Two cells of the torn sector are independent. */
  CHECK (s->ops->pwrite (s, cells, 8, 512, false) == 8);
  CHECK (s->ops->truncate (s, 2048) == 0);

  for (i = 0; i < 10000; i++) {
    uint8_t first, a, b;

    disk_crash (d, to, rnd, NULL);
    first = byte_at (to, 0);
    a = byte_at (to, 512);
    b = byte_at (to, 516);
    CHECK (first <= 2 && a <= 1 && (b == 0 || b == 2));
    CHECK (byte_at (to, 513) == a);
    CHECK (disk_size (to) == 1024 || disk_size (to) == 2048);
    CHECK (nr_versions (to, 0) == 1 && nr_sizes (to) == 1);
    seen[first][a][b / 2][disk_size (to) == 2048]++;
  }
  for (i = 0; i < 24; i++)
    all += ((unsigned *) seen)[i] > 10;
  CHECK (all == 24);

  disk_settle (d, to);
  CHECK (byte_at (to, 0) == 2 && disk_size (to) == 2048);
  CHECK (disk_hash (d) != disk_hash (to));
  CHECK (s->ops->sync (s) == 0);
  CHECK (disk_hash (d) == disk_hash (to));
  disk_free (d);
  disk_free (to);
}

static void
test_tags (void)
{
  struct disk_tag tag = { .image = 3, .sequence = 9, .sector = 77 }, got;
  uint8_t bytes[512];

  disk_tag_write (bytes, &tag);
  CHECK (disk_tag_read (bytes, &got) == DISK_KIND_TAG);
  CHECK (memcmp (&tag, &got, sizeof tag) == 0);
  CHECK (disk_content (disk_intern (bytes))->tag.sector == 77);
  CHECK (disk_intern (bytes) == disk_intern (bytes));
  bytes[300] ^= 1;
  CHECK (disk_tag_read (bytes, &got) == DISK_KIND_OTHER);
  memset (bytes, 0, sizeof bytes);
  CHECK (disk_tag_read (bytes, &got) == DISK_KIND_ZERO);
  CHECK (disk_intern (bytes) == DISK_CONTENT_ZERO);
  memset (bytes, DISK_GARBAGE, sizeof bytes);
  CHECK (disk_intern (bytes) == DISK_CONTENT_GARBAGE);
}

/*------------------------------------------------------------------*/

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER, other;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static int counter, inside;
static bool use_lock;

static void
add_one (void *opaque)
{
  int seen;

  (void) opaque;
  if (use_lock)
    coop_mutex_lock (&mutex);
  seen = counter;
  coop_point ();
  counter = seen + 1;
  if (use_lock)
    coop_mutex_unlock (&mutex);
}

static int
choose_random (void *opaque, const int *ids, int n)
{
  (void) opaque;
  return ids[disk_random (&seed) % (unsigned) n];
}

static void
test_mutex (void)
{
  int i, lost = 0;

  for (i = 0; i < 200; i++) {
    use_lock = i >= 100;
    counter = 0;
    coop_init (NULL, 0);
    coop_spawn (add_one, NULL);
    coop_spawn (add_one, NULL);
    CHECK (coop_run (choose_random, NULL) == 0);
    CHECK (counter == 2 || (!use_lock && counter == 1));
    lost += counter == 1;
  }
  CHECK (lost > 10 && lost < 90);
}

static void
reader (void *opaque)
{
  (void) opaque;
  coop_rwlock_rdlock (&rwlock);
  CHECK (inside >= 0);
  inside++;
  coop_point ();
  counter = counter < inside ? inside : counter;
  inside--;
  coop_rwlock_unlock (&rwlock);
}

static void
writer (void *opaque)
{
  (void) opaque;
  coop_rwlock_wrlock (&rwlock);
  CHECK (inside == 0);
  inside = -1;
  coop_point ();
  inside = 0;
  coop_rwlock_unlock (&rwlock);
}

static void
test_rwlock (void)
{
  int i;

  counter = 0;
  for (i = 0; i < 200; i++) {
    coop_init (NULL, 0);
    coop_spawn (reader, NULL);
    coop_spawn (writer, NULL);
    coop_spawn (reader, NULL);
    CHECK (coop_run (choose_random, NULL) == 0);
  }
  CHECK (counter == 2);         /* readers do share */
}

static void
waiter (void *opaque)
{
  (void) opaque;
  coop_mutex_lock (&mutex);
  while (counter == 0)
    coop_cond_wait (&cond, &mutex);
  counter--;
  coop_mutex_unlock (&mutex);
}

static void
waker (void *opaque)
{
  (void) opaque;
  coop_mutex_lock (&mutex);
  counter++;
  coop_cond_signal (&cond);
  coop_mutex_unlock (&mutex);
}

static void
cross_lock (void *opaque)
{
  pthread_mutex_t *first = opaque;

  coop_mutex_lock (first);
  coop_mutex_lock (first == &mutex ? &other : &mutex);
  coop_mutex_unlock (&mutex);
  coop_mutex_unlock (&other);
}

static void
test_cond_and_deadlock (void)
{
  int i, deadlocks = 0;

  for (i = 0; i < 200; i++) {
    counter = 0;
    coop_init (NULL, 0);
    coop_spawn (waiter, NULL);
    coop_spawn (waiter, NULL);
    coop_spawn (waker, NULL);
    coop_spawn (waker, NULL);
    CHECK (coop_run (choose_random, NULL) == 0);
    CHECK (counter == 0);
  }

  coop_init (NULL, 0);
  coop_spawn (waiter, NULL);
  CHECK (coop_run (NULL, NULL) == -1);
  CHECK (coop_state (0) == COOP_WAIT_COND);

  for (i = 0; i < 100; i++) {
    memset (&mutex, 0, sizeof mutex);
    memset (&other, 0, sizeof other);
    coop_init (NULL, 0);
    coop_spawn (cross_lock, &mutex);
    coop_spawn (cross_lock, &other);
    deadlocks += coop_run (choose_random, NULL) == -1;
  }
  CHECK (deadlocks > 5 && deadlocks < 95);
  memset (&mutex, 0, sizeof mutex);
}

static void
sync_it (void *opaque)
{
  struct storage *s = opaque;

  CHECK (s->ops->sync (s) == 0);
}

static void
point (void *opaque, struct disk *d, enum disk_call call, uint64_t offset,
       uint64_t length)
{
  (void) opaque;
  (void) d;
  (void) call;
  (void) offset;
  (void) length;
  coop_point ();
}

/* What is written while a sync runs is not made durable by it. */
static void
test_sync_window (void)
{
  struct disk_config c = config;
  struct disk *d;
  struct storage *s;
  uint64_t before;

  c.hooks.point = point;
  d = disk_new (&c);
  s = disk_open (d);
  coop_init (NULL, 0);
  fill (s, 0, 1);
  coop_spawn (sync_it, s);
  coop_step (0);                /* before it begins */
  fill (s, 1, 1);
  before = disk_hash (d);
  coop_step (0);                /* begun */
  CHECK (disk_hash (d) != before);
  fill (s, 0, 2);
  fill (s, 2, 1);
  CHECK (nr_versions (d, 0) == 3);
  coop_step (0);
  CHECK (coop_done (0));
  CHECK (nr_versions (d, 0) == 2 && nr_versions (d, 1) == 1);
  CHECK (nr_versions (d, 2) == 2 && nr_sizes (d) == 2);
  disk_free (d);
}

/* Going back to a saved state. */
static void
idler (void *opaque)
{
  int *n = opaque;

  for (;;) {
    coop_idle ();
    ++*n;
  }
}

static void
test_snapshot (void)
{
  static char memory[3 * COOP_STACK] __attribute__ ((aligned (4096)));
  static char arena_memory[65536] __attribute__ ((aligned (4096)));
  char saved_stack[2048], saved_fixed[4096];
  void *stack, *fixed;
  size_t stack_size, fixed_size;
  int n = 0, i;
  char *p, *q;

#if !defined (__x86_64__) || defined (__SANITIZE_ADDRESS__) || \
    defined (__SANITIZE_THREAD__)
  return;
#endif
  coop_init (memory, 1);
  coop_spawn (idler, &n);
  coop_step (0);
  CHECK (!coop_can_run (0));
  coop_wake (0);
  CHECK (coop_can_run (0));
  coop_stack (0, &stack, &stack_size);
  fixed = coop_fixed (&fixed_size);
  CHECK (stack_size < sizeof saved_stack && fixed_size < sizeof saved_fixed);
  memcpy (saved_stack, stack, stack_size);
  memcpy (saved_fixed, fixed, fixed_size);
  for (i = 1; i <= 3; i++) {
    coop_step (0);
    CHECK (n == i);
    CHECK (!coop_can_run (0));
    memcpy (stack, saved_stack, stack_size);
    memcpy (fixed, saved_fixed, fixed_size);
  }

  arena_init (arena_memory, sizeof arena_memory);
  memset (arena_memory + arena_used (), 0, 1000);
  p = arena_malloc (100);
  q = arena_malloc (100);
  memset (p, 1, 100);
  memset (q, 1, 100);
  CHECK (arena_live () == 2);
  i = (int) arena_used ();
  arena_free (p);
  CHECK (arena_malloc (90) == p && p[0] == 0);
  CHECK ((int) arena_used () == i);
  p = arena_realloc (p, 200);
  CHECK (arena_live () == 2);
  arena_free (q);
  arena_free (p);
  CHECK (arena_live () == 0 && (int) arena_used () < i - 200);
  arena_init (NULL, 0);
}

int
main (void)
{
  test_versions ();
  test_forgotten ();
  test_failed_sync ();
  test_modes ();
  test_crash ();
  test_tags ();
  test_mutex ();
  test_rwlock ();
  test_cond_and_deadlock ();
  test_sync_window ();
  test_snapshot ();
  coop_exit ();
  disk_contents_reset ();
  return 0;
}
