/* SPDX-License-Identifier: BSD-3-Clause */
/* Real threads on one disk, over a storage whose calls take their time and
 * finish in any order.
 *
 * This is the race that QEMU's driver loses: blocks that are allocated at
 * the same time write header and map from what they remember, and the
 * older memory may land last.  Then the count is too low, and the next one
 * to allocate overwrites a live block.
 *
 * Each thread writes its own sectors of every block, so that all of them
 * meet in every block but never in a sector.  The storage takes no lock:
 * the thread sanitizer sees every byte that two threads touch without
 * the core's having put them in order.
 *
 *   races [SEED]       one round of each kind, to see a failure again
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "disk.h"
#include "image/header.h"
#include "rng.h"
#include "rules.h"
#include "utils/bytes.h"
#include "vdi.h"

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define ROUNDS 10
#else
#define ROUNDS 60
#endif

#define THREADS 8
#define BLOCKS 48
#define BLOCK 16384             /* bytes */
#define PER_BLOCK (BLOCK / 512) /* sectors */
#define SECTORS (BLOCKS * PER_BLOCK)
#define DATA 4096               /* where the data begin, bytes */
#define SIZE_MAX_FILE (DATA + BLOCKS * BLOCK)
#define PAGE 4096

static uint64_t seed;
static const char *kind;

static void __attribute__ ((format (printf, 1, 2), noreturn))
fail (const char *fs, ...)
{
  va_list args;

  fprintf (stderr, "races: seed %llu, %s: ", (unsigned long long) seed, kind);
  va_start (args, fs);
  vfprintf (stderr, fs, args);
  va_end (args);
  fprintf (stderr, "\n");
  exit (1);
}

/*------------------------------------------------------------------*/
/* The storage */

struct slow {
  struct storage st;
  bool hasty;                   /* does not take its time */
  /* What another thread does right after a look at an extent. */
  void (*meanwhile) (void *opaque);
  void *opaque;
  pthread_rwlock_t look;        /* write-locked: nothing changes below */
  _Atomic uint64_t size;
  _Atomic uint64_t random;
  _Atomic bool data[SIZE_MAX_FILE / PAGE + 1]; /* pages that are no hole */
  uint8_t bytes[SIZE_MAX_FILE];
};

/* Let others overtake. */
static void
take_time (struct slow *s)
{
  uint64_t r = atomic_fetch_add (&s->random, UINT64_C (0x9e3779b97f4a7c15));

  if (s->hasty)
    return;
  r = (r ^ r >> 31) * UINT64_C (0xbf58476d1ce4e5b9) >> 32;
  switch (r % 8) {
  case 0:
    usleep (r / 8 % 300);
    break;
  case 1: case 2: case 3:
    for (unsigned i = 0; i < r / 8 % 8; ++i)
      sched_yield ();
  }
}

static struct slow *
slow_of (struct storage *st)
{
  return (struct slow *) st;
}

static ssize_t
slow_pread (struct storage *st, void *buf, size_t count, uint64_t offset)
{
  struct slow *s = slow_of (st);

  take_time (s);
  if (offset >= s->size)
    return 0;
  if (count > s->size - offset)
    count = s->size - offset;
  memcpy (buf, s->bytes + offset, count);
  return count;
}

static void
mark_data (struct slow *s, uint64_t offset, uint64_t count)
{
  for (uint64_t p = offset / PAGE; p <= (offset + count - 1) / PAGE; ++p)
    s->data[p] = true;
}

static ssize_t
slow_pwrite (struct storage *st, const void *buf, size_t count,
             uint64_t offset, bool durable)
{
  struct slow *s = slow_of (st);

  take_time (s);
  pthread_rwlock_rdlock (&s->look);
  if (offset + count > s->size) {
    /* Only to make the file longer, and have that durable. */
    if (!durable || count != 1 || offset < s->size)
      fail ("a write behind the end of the file");
    if (offset + count > SIZE_MAX_FILE) {
      pthread_rwlock_unlock (&s->look);
      errno = ENOSPC;
      return -1;
    }
    s->size = offset + count;
  }
  memcpy (s->bytes + offset, buf, count);
  mark_data (s, offset, count);
  pthread_rwlock_unlock (&s->look);
  take_time (s);
  return count;
}

static int
slow_sync (struct storage *st)
{
  take_time (slow_of (st));
  take_time (slow_of (st));
  return 0;
}

static int
slow_size (struct storage *st, uint64_t *size)
{
  *size = slow_of (st)->size;
  return 0;
}

static int
slow_truncate (struct storage *st, uint64_t size)
{
  struct slow *s = slow_of (st);
  const uint64_t old = s->size;

  take_time (s);
  if (size > SIZE_MAX_FILE) {
    errno = ENOSPC;
    return -1;
  }
  pthread_rwlock_rdlock (&s->look);
  if (size < old)
    memset (s->bytes + size, 0, old - size);
  for (uint64_t p = (size + PAGE - 1) / PAGE; p * PAGE < old; ++p)
    s->data[p] = false;
  s->size = size;
  pthread_rwlock_unlock (&s->look);
  return 0;
}

static int
slow_punch (struct storage *st, uint64_t offset, uint64_t length)
{
  struct slow *s = slow_of (st);

  take_time (s);
  pthread_rwlock_rdlock (&s->look);
  memset (s->bytes + offset, 0, length);
  for (uint64_t p = (offset + PAGE - 1) / PAGE;
       (p + 1) * PAGE <= offset + length; ++p)
    s->data[p] = false;
  pthread_rwlock_unlock (&s->look);
  return 0;
}

static int
slow_none (struct storage *st, uint64_t offset, uint64_t length)
{
  (void) st;
  (void) offset;
  (void) length;
  errno = ENOTSUP;
  return -1;
}

static int
slow_extent (struct storage *st, uint64_t offset, uint64_t limit, bool *hole,
             uint64_t *end)
{
  struct slow *s = slow_of (st);
  uint64_t p = offset / PAGE;

  take_time (s);
  *hole = !s->data[p];
  do
    p++;
  while (p * PAGE < limit && s->data[p] == !*hole);
  *end = p * PAGE < limit ? p * PAGE : limit;
  if (s->meanwhile)
    s->meanwhile (s->opaque);
  return 0;
}

static int
slow_advise (struct storage *st, uint64_t offset, uint64_t length,
             enum storage_advice advice)
{
  (void) st;
  (void) offset;
  (void) length;
  (void) advice;
  return 0;
}

static int
slow_lock (struct storage *st, bool writer, struct vdi_error *error)
{
  (void) st;
  (void) writer;
  (void) error;
  return 0;
}

static int
slow_make_writable (struct storage *st)
{
  (void) st;
  return 0;
}

static void
slow_close (struct storage *st)
{
  (void) st;
}

static const struct storage_ops slow_ops = {
  .pread = slow_pread, .pwrite = slow_pwrite, .sync = slow_sync,
  .size = slow_size, .truncate = slow_truncate, .punch = slow_punch,
  .zero = slow_none, .provision = slow_none, .extent = slow_extent,
  .advise = slow_advise, .lock = slow_lock, .make_writable = slow_make_writable,
  .close = slow_close,
};

/* An image without any block, number 1 being the parent of number 2. */
static struct slow *
new_slow (uint8_t number, bool child, const char *name)
{
  struct vdi_header h = {
    .major = 1, .minor = 1, .header_len = 0x190,
    .type = child ? VDI_TYPE_DIFF : VDI_TYPE_DYNAMIC,
    .map_off = 512, .data_off = DATA,
    .sector_size = 512, .lchs_sector_size = 512,
    .disk_size = (uint64_t) BLOCKS * BLOCK, .block_size = BLOCK,
    .n_blocks = BLOCKS,
  };
  struct slow *s = calloc (1, sizeof *s);

  if (s == NULL)
    abort ();
  s->st.ops = &slow_ops;
  s->st.name = (char *) name;
  s->st.grows_zero = true;
  pthread_rwlock_init (&s->look, NULL);
  s->random = seed;
  s->size = DATA;
  h.uuid_image.bytes[0] = h.uuid_mod.bytes[0] = number;
  if (child)
    h.uuid_parent.bytes[0] = h.uuid_parent_mod.bytes[0] = number - 1;
  vdi_header_encode (&h, s->bytes);
  memset (s->bytes + 512, 0xff, 4 * BLOCKS);
  mark_data (s, 0, DATA);
  return s;
}

/*------------------------------------------------------------------*/
/* The disk.  Sequence numbers say who wrote what: 1 is the parent's, the
 * others count up; 0 is zeros.
 */

struct disk_state {
  struct vdi *vdi;
  _Atomic uint32_t sequence;
  uint32_t now[SECTORS];        /* each is one thread's */
};

static void
fill (uint8_t *buf, uint64_t sector, uint32_t sequence)
{
  const struct disk_tag tag = {
    .image = 1, .sequence = sequence, .sector = sector,
  };

  if (sequence == 0)
    memset (buf, 0, 512);
  else
    disk_tag_write (buf, &tag);
}

static void
expect (const uint8_t *buf, uint64_t sector, uint32_t sequence,
        const char *what)
{
  uint8_t want[512];

  fill (want, sector, sequence);
  if (memcmp (buf, want, 512) != 0) {
    struct disk_tag tag;
    const enum disk_kind found = disk_tag_read (buf, &tag);

    fail ("%s: sector %llu should have %u, has %s %u of sector %llu", what,
          (unsigned long long) sector, sequence,
          found == DISK_KIND_TAG ? "tag" : found == DISK_KIND_ZERO ? "zeros"
          : "something", tag.sequence, (unsigned long long) tag.sector);
  }
}

struct thread {
  pthread_t id;
  struct disk_state *d;
  struct rng rng;
  unsigned number;
};

static void
check (int r, const struct vdi_error *error, const char *what)
{
  if (r == -1)
    fail ("%s: %s", what, error->message);
}

static void
touch (struct thread *t, uint64_t sector)
{
  struct disk_state *d = t->d;
  struct vdi_error error;
  uint8_t buf[512];
  const unsigned what = rng_below (&t->rng, 10);

  if (what == 0) {
    d->now[sector] = 0;
    check (vdi_zero (d->vdi, 512, sector * 512,
                     rng_below (&t->rng, 2) ? VDI_MAY_TRIM : 0, &error),
           &error, "zero");
    return;
  }
  if (what < 3) {
    check (vdi_read (d->vdi, buf, 512, sector * 512, &error), &error, "read");
    expect (buf, sector, d->now[sector], "read");
    return;
  }
  d->now[sector] = ++d->sequence;
  fill (buf, sector, d->now[sector]);
  check (vdi_write (d->vdi, buf, 512, sector * 512,
                    what == 3 ? VDI_FUA : 0, &error), &error, "write");
}

static int
look_at_extent (void *opaque, uint64_t offset, uint64_t length, unsigned type)
{
  (void) opaque;
  (void) offset;
  (void) length;
  (void) type;
  return 0;
}

static void *
run_thread (void *opaque)
{
  struct thread *t = opaque;
  struct vdi_error error;

  for (unsigned i = 0; i < BLOCKS * 2; ++i) {
    /* Mostly all at the same place, where nothing is yet. */
    const uint64_t block = rng_below (&t->rng, 8) ? i % BLOCKS
      : rng_below (&t->rng, BLOCKS);
    const uint64_t slot = rng_below (&t->rng, PER_BLOCK / THREADS);

    touch (t, block * PER_BLOCK + slot * THREADS + t->number);
    if (rng_below (&t->rng, 16) == 0)
      check (vdi_flush (t->d->vdi, &error), &error, "flush");
    if (t->number == 0 && rng_below (&t->rng, 8) == 0)
      check (vdi_tick (t->d->vdi, 3, &error), &error, "tick");
    if (t->number == 1 && rng_below (&t->rng, 8) == 0)
      check (vdi_extents (t->d->vdi, vdi_size (t->d->vdi), 0, false,
                          look_at_extent, NULL, &error), &error, "extents");
  }
  return NULL;
}

static struct vdi *
open_chain (struct slow *image, struct slow *below)
{
  struct storage *storages[2] = { &image->st };
  struct vdi_options options;
  struct vdi_error error;
  struct vdi *vdi = NULL;

  if (below)
    storages[1] = &below->st;
  vdi_options_init (&options);
  options.lock = false;
  options.ticker = seed % 2;
  options.commit_seconds = 1;
  check (vdi_open_storage (storages, below ? 2 : 1, &options, &vdi, &error),
         &error, "open");
  check (vdi_make_writable (vdi, &error), &error, "open for writing");
  return vdi;
}

static void
read_all (struct disk_state *d, const char *what)
{
  struct vdi_error error;
  uint8_t *buf = malloc (BLOCK);

  if (buf == NULL)
    abort ();
  for (uint64_t b = 0; b < BLOCKS; ++b) {
    check (vdi_read (d->vdi, buf, BLOCK, b * BLOCK, &error), &error, what);
    for (uint64_t i = 0; i < PER_BLOCK; ++i)
      expect (buf + i * 512, b * PER_BLOCK + i, d->now[b * PER_BLOCK + i],
              what);
  }
  free (buf);
}

/* What is in the file, found by ourselves. */
static void
check_file (const struct disk_state *d, const struct slow *s, bool child,
            unsigned allowed, const char *what)
{
  struct rules_report report;
  const uint8_t *p;

  rules_check (s->bytes, DATA, s->size, child, &report);
  allowed |= RULES_BIT (QEMU_OPEN);
  if (rules_complaint (&report, allowed))
    fail ("%s: %s", what, rules_complaint (&report, allowed));
  if (!(allowed & RULES_BIT (SURPLUS)) && report.count != report.highest)
    fail ("%s: count %u, highest entry %u - 1", what, report.count,
          report.highest);
  for (uint64_t b = 0; b < BLOCKS; ++b) {
    const uint32_t entry = get_le32 (s->bytes + 512 + 4 * b);

    for (uint64_t i = 0; i < PER_BLOCK; ++i) {
      const uint64_t sector = b * PER_BLOCK + i;

      p = s->bytes + DATA + (uint64_t) entry * BLOCK + i * 512;
      if (entry < UINT32_MAX - 1)
        expect (p, sector, d->now[sector], what);
      else if (d->now[sector] != (child && entry == UINT32_MAX ? 1 : 0))
        fail ("%s: sector %llu should have %u, is nowhere", what,
              (unsigned long long) sector, d->now[sector]);
    }
  }
}

static void
run_threads (struct disk_state *d, unsigned salt)
{
  struct thread threads[THREADS];

  for (unsigned i = 0; i < THREADS; ++i) {
    threads[i].d = d;
    threads[i].number = i;
    threads[i].rng.state = seed * 100 + salt * 10 + i;
    if (pthread_create (&threads[i].id, NULL, run_thread, &threads[i]) != 0)
      fail ("no threads");
  }
  for (unsigned i = 0; i < THREADS; ++i)
    pthread_join (threads[i].id, NULL);
}

/* All blocks of it, in order. */
static void
fill_parent (struct slow *s)
{
  s->size = SIZE_MAX_FILE;
  put_le32 (s->bytes + 0x184, BLOCKS);
  for (uint64_t b = 0; b < BLOCKS; ++b)
    put_le32 (s->bytes + 512 + 4 * b, b);
  for (uint64_t i = 0; i < SECTORS; ++i)
    fill (s->bytes + DATA + i * 512, i, 1);
  mark_data (s, DATA, SIZE_MAX_FILE - DATA);
}

static void
one_round (bool child)
{
  struct slow *below = child ? new_slow (1, false, "parent") : NULL;
  struct slow *s = new_slow (2, child, "disk");
  struct disk_state *d = calloc (1, sizeof *d);
  struct vdi_error error;

  if (d == NULL)
    abort ();
  d->sequence = 1;
  if (child) {
    fill_parent (below);
    for (uint64_t i = 0; i < SECTORS; ++i)
      d->now[i] = 1;
  }

  /* Twice: the second session must not allocate what is in use. */
  for (unsigned session = 0; session < 2; ++session) {
    d->vdi = open_chain (s, below);
    run_threads (d, session);
    read_all (d, "read after the threads");
    check (vdi_flush (d->vdi, &error), &error, "flush");
    /* A quiet second may have gone by, and room is being given back. */
    pthread_rwlock_wrlock (&s->look);
    check_file (d, s, child, RULES_AFTER_CRASH, "after a flush");
    pthread_rwlock_unlock (&s->look);
    check (vdi_check_invariants (d->vdi, &error), &error, "invariants");
    check (vdi_close (d->vdi, &error), &error, "close");
    check_file (d, s, child, 0, "closed");
  }
  free (d);
  free (s);
  free (below);
}

/*------------------------------------------------------------------*/
/* Extents, while a block behind the last one is allocated: the file is a
 * hole there when it is asked, and the parent's data a moment later.
 */

struct meanwhile {
  struct vdi *vdi;
  bool written;
};

static void
write_meanwhile (void *opaque)
{
  struct meanwhile *m = opaque;
  struct vdi_error error;
  uint8_t buf[512];

  if (m->written)
    return;
  m->written = true;
  fill (buf, 2 * PER_BLOCK, 2);
  check (vdi_write (m->vdi, buf, 512, UINT64_C (2) * BLOCK, 0, &error),
         &error, "write");
}

static int
see_extent (void *opaque, uint64_t offset, uint64_t length, unsigned type)
{
  (void) opaque;
  if (type & VDI_EXTENT_ZERO && offset + length > 2 * BLOCK)
    fail ("the parent's data are said to be zeros");
  return 0;
}

static void
extents_meanwhile (void)
{
  struct slow *below = new_slow (1, false, "parent");
  struct slow *s = new_slow (2, true, "disk");
  struct meanwhile m = { .written = false };
  struct vdi_error error;

  below->hasty = s->hasty = true;
  fill_parent (below);

  /* Block 0 is the image's own and a hole, block 1 is zeros, block 2 is the
   * parent's until it is written to.
   */
  m.vdi = open_chain (s, below);
  check (vdi_zero (m.vdi, 512, 0, 0, &error), &error, "zero");
  check (vdi_trim (m.vdi, BLOCK, 0, 0, &error), &error, "trim");
  check (vdi_zero (m.vdi, BLOCK, BLOCK, 0, &error), &error, "zero");
  s->opaque = &m;
  s->meanwhile = write_meanwhile;
  check (vdi_extents (m.vdi, UINT64_C (3) * BLOCK, 0, false, see_extent, NULL,
                      &error), &error, "extents");
  if (!m.written)
    fail ("nobody looked at an extent");
  check (vdi_close (m.vdi, &error), &error, "close");
  free (s);
  free (below);
}

int
main (int argc, char *argv[])
{
  const uint64_t first = argc > 1 ? strtoull (argv[1], NULL, 0) : 1;
  const uint64_t last = argc > 1 ? first : ROUNDS;

  for (seed = first; seed <= last; ++seed) {
    kind = "base";
    one_round (false);
    kind = "child";
    one_round (true);
    kind = "extents";
    extents_meanwhile ();
  }
  printf ("races: %llu rounds of a base and a child, %u threads\n",
          (unsigned long long) (last - first + 1), THREADS);
  return 0;
}
