/* SPDX-License-Identifier: BSD-3-Clause */
/* A disk in memory that remembers what a crash could make of it: see
 * disk.h.  The contents of sectors are in content.c.
 */
#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "disk.h"
#include "utils/checked.h"

#define MAX_SYNCS 16            /* at a time */
#define MAX_SIZES 16            /* versions of the size */

struct sector {
  uint16_t n;                   /* versions, at least 1 */
  uint16_t data;                /* is it not a hole? */
};

/* A sync or durable write that has begun. */
struct running {
  uint32_t stamp;               /* everything up to this becomes durable... */
  uint32_t used;
  uint64_t start, end;          /* ...in these sectors */
  bool sizes;
  bool fails;                   /* it will fail at its end */
};

struct disk {
  struct storage storage;       /* first, so that it can be cast */
  struct disk_config config;
  uint64_t nr_sectors;          /* config.max_size, rounded up */
  uint32_t stamp;               /* of the last change */
  uint32_t lost;                /* a sync failed: no later one makes what
                                 * has a stamp up to this durable */
  bool failed;                  /* so every later sync fails */
  struct running running[MAX_SYNCS];
  size_t nr_sizes;
  struct disk_size_version sizes[MAX_SIZES];
  uint64_t forgotten;
  uint64_t calls[DISK_WAIT + 1];
  /* nr_sectors of these, then nr_sectors * max_versions versions. */
  struct sector sectors[];
};

static struct disk_version *
versions (const struct disk *d, uint64_t sector)
{
  return (struct disk_version *) (d->sectors + d->nr_sectors) +
         sector * d->config.max_versions;
}

static struct disk_version *
newest (const struct disk *d, uint64_t sector)
{
  return versions (d, sector) + d->sectors[sector].n - 1;
}

const char *
disk_call_name (enum disk_call call)
{
  static const char *const names[] = {
    "pread", "pwrite", "sync", "size", "truncate", "punch", "zero",
    "provision", "extent", "wait",
  };

  return names[call];
}

/*------------------------------------------------------------------*/
/* Making, filling and reading disks from outside */

static uint64_t
sectors_for (uint64_t size)
{
  return (size + DISK_SECTOR - 1) / DISK_SECTOR;
}

size_t
disk_memory (const struct disk_config *config)
{
  uint64_t nr = sectors_for (config->max_size);

  return sizeof (struct disk) + nr * sizeof (struct sector) +
         nr * config->max_versions * sizeof (struct disk_version);
}

static const struct storage_ops ops;

static uint32_t
fresh_content (const struct disk *d)
{
  return d->config.mode == DISK_FILE ? DISK_CONTENT_ZERO
                                     : DISK_CONTENT_GARBAGE;
}

struct disk *
disk_new (const struct disk_config *config)
{
  struct disk *d = config->memory;
  uint64_t i;

  if (d == NULL)
    d = malloc (disk_memory (config));
  if (d == NULL || config->max_versions < 2)
    abort ();
  memset (d, 0, sizeof *d);
  d->storage.ops = &ops;
  d->storage.name = (char *) config->name;
  d->storage.grows_zero = config->mode == DISK_FILE;
  d->config = *config;
  d->nr_sectors = sectors_for (config->max_size);
  d->nr_sizes = 1;
  d->sizes[0].size = config->size;
  d->sizes[0].stamp = 0;
  for (i = 0; i < d->nr_sectors; i++) {
    d->sectors[i].n = 1;
    d->sectors[i].data = config->mode == DISK_DEVICE;
    versions (d, i)[0].content = fresh_content (d);
    versions (d, i)[0].stamp = 0;
  }
  return d;
}

void
disk_free (struct disk *d)
{
  if (d && d->config.memory == NULL)
    free (d);
}

const struct disk_config *
disk_get_config (const struct disk *d)
{
  return &d->config;
}

void
disk_set_hooks (struct disk *d, const struct disk_hooks *hooks)
{
  d->config.hooks = *hooks;
}

struct storage *
disk_open (struct disk *d)
{
  return &d->storage;
}

static void
disk_close (struct storage *s)
{
  (void) s;
}

uint64_t
disk_size (const struct disk *d)
{
  return d->sizes[d->nr_sizes - 1].size;
}

static void
set_durable (struct disk *d, uint64_t sector, uint32_t content)
{
  d->sectors[sector].n = 1;
  versions (d, sector)[0].content = content;
  versions (d, sector)[0].stamp = 0;
}

void
disk_put_size (struct disk *d, uint64_t size)
{
  if (size > d->config.max_size)
    abort ();
  d->nr_sizes = 1;
  d->sizes[0].size = size;
  d->sizes[0].stamp = 0;
}

/* What there is to do for each sector of a range: sector, where in it,
 * how much, and how far into the range that is.
 */
#define FOR_EACH_SECTOR(offset, count, sector, at, len, done)            \
  for (uint64_t done = 0, sector, at, len;                              \
       done < (count) &&                                                \
       (sector = ((offset) + done) / DISK_SECTOR,                       \
        at = ((offset) + done) % DISK_SECTOR,                           \
        len = MIN (DISK_SECTOR - at, (count) - done), true);            \
       done += len)

void
disk_put (struct disk *d, const void *buf, size_t count, uint64_t offset)
{
  if (offset + count > disk_size (d))
    disk_put_size (d, offset + count);
  FOR_EACH_SECTOR (offset, count, sector, at, len, done) {
    uint8_t bytes[DISK_SECTOR];

    memcpy (bytes, disk_content (newest (d, sector)->content)->bytes,
            DISK_SECTOR);
    memcpy (bytes + at, (const uint8_t *) buf + done, len);
    set_durable (d, sector, disk_intern (bytes));
    d->sectors[sector].data = 1;
  }
}

void
disk_get (const struct disk *d, void *buf, size_t count, uint64_t offset)
{
  FOR_EACH_SECTOR (offset, count, sector, at, len, done)
    memcpy ((uint8_t *) buf + done,
            disk_content (newest (d, sector)->content)->bytes + at, len);
}

const struct disk_version *
disk_versions (const struct disk *d, uint64_t sector, size_t *n)
{
  *n = d->sectors[sector].n;
  return versions (d, sector);
}

const struct disk_size_version *
disk_size_versions (const struct disk *d, size_t *n)
{
  *n = d->nr_sizes;
  return d->sizes;
}

uint64_t
disk_forgotten (const struct disk *d)
{
  return d->forgotten;
}

uint64_t
disk_calls (const struct disk *d, enum disk_call call)
{
  return d->calls[call];
}

/*------------------------------------------------------------------*/
/* Versions */

static void
add_version (struct disk *d, uint64_t sector, uint32_t content)
{
  struct sector *s = &d->sectors[sector];
  struct disk_version *v = versions (d, sector);

  /* The same once more is no new version: but it must become durable by
   * a later sync even if an earlier one failed.
   */
  if (v[s->n - 1].content == content &&
      (s->n == 1 || v[s->n - 1].stamp > d->lost))
    return;

  if (s->n == d->config.max_versions) {
    /* Forget the oldest that is not durable. */
    memmove (v + 1, v + 2, (s->n - 2u) * sizeof *v);
    s->n--;
    d->forgotten++;
  }
  v[s->n].content = content;
  v[s->n].stamp = ++d->stamp;
  s->n++;
}

static void
add_size (struct disk *d, uint64_t size)
{
  if (d->sizes[d->nr_sizes - 1].size == size &&
      (d->nr_sizes == 1 || d->sizes[d->nr_sizes - 1].stamp > d->lost))
    return;
  if (d->nr_sizes == MAX_SIZES) {
    memmove (d->sizes + 1, d->sizes + 2,
             (d->nr_sizes - 2) * sizeof d->sizes[0]);
    d->nr_sizes--;
    d->forgotten++;
  }
  d->sizes[d->nr_sizes].size = size;
  d->sizes[d->nr_sizes].stamp = ++d->stamp;
  d->nr_sizes++;
}

static void
change (struct disk *d, const uint8_t *buf, uint8_t fill, uint64_t count,
        uint64_t offset, bool data)
{
  FOR_EACH_SECTOR (offset, count, sector, at, len, done) {
    uint8_t bytes[DISK_SECTOR];

    if (len < DISK_SECTOR)
      memcpy (bytes, disk_content (newest (d, sector)->content)->bytes,
              DISK_SECTOR);
    if (buf)
      memcpy (bytes + at, buf + done, len);
    else
      memset (bytes + at, fill, len);
    add_version (d, sector, disk_intern (bytes));
    if (data || len == DISK_SECTOR)
      d->sectors[sector].data = data;
  }
}

/* Which version is the last that a sync at stamp makes durable? */
static size_t
durable_version (const struct disk *d, const struct disk_version *v,
                 size_t n, uint32_t stamp)
{
  while (n > 1 && (v[n - 1].stamp > stamp || v[n - 1].stamp <= d->lost))
    n--;
  return n - 1;
}

static void
make_durable (struct disk *d, const struct running *r)
{
  uint64_t i;
  size_t k;

  for (i = r->start; i < r->end; i++) {
    struct sector *s = &d->sectors[i];
    struct disk_version *v = versions (d, i);

    if (s->n == 1)
      continue;
    k = durable_version (d, v, s->n, r->stamp);
    if (k > 0) {
      s->n = (uint16_t) (s->n - k);
      memmove (v, v + k, s->n * sizeof *v);
    }
  }
  if (r->sizes && d->nr_sizes > 1) {
    for (k = d->nr_sizes - 1; k > 0; k--)
      if (d->sizes[k].stamp <= r->stamp && d->sizes[k].stamp > d->lost)
        break;
    d->nr_sizes -= k;
    memmove (d->sizes, d->sizes + k, d->nr_sizes * sizeof d->sizes[0]);
  }
}

/* Whoever is under way while a sync fails is told so, too. */
static void
fail_running (struct disk *d)
{
  size_t i;

  for (i = 0; i < MAX_SYNCS; i++)
    d->running[i].fails |= d->running[i].used;
}

static int
end_running (struct disk *d, struct running *r)
{
  const bool fails = r->fails;

  if (!fails)
    make_durable (d, r);
  memset (r, 0, sizeof *r);
  if (!fails)
    return 0;
  errno = EIO;
  return -1;
}

static struct running *
start_running (struct disk *d)
{
  size_t i;

  for (i = 0; i < MAX_SYNCS; i++) {
    if (!d->running[i].used) {
      d->running[i].used = 1;
      d->running[i].stamp = d->stamp;
      return &d->running[i];
    }
  }
  fprintf (stderr, "disk %s: too many syncs at once\n", d->config.name);
  abort ();
}

/*------------------------------------------------------------------*/
/* The operations */

static void
point (struct disk *d, enum disk_call call, uint64_t offset, uint64_t length)
{
  const struct disk_hooks *hooks = &d->config.hooks;

  d->calls[call]++;
  if (hooks->point)
    hooks->point (hooks->opaque, d, call, offset, length);
}

/* Fails with -1 and errno if that is what the test wants. */
static int
begin_call (struct disk *d, enum disk_call call, uint64_t offset,
            uint64_t length, bool durable, struct disk_fault *fault)
{
  const struct disk_hooks *hooks = &d->config.hooks;

  point (d, call, offset, length);
  memset (fault, 0, sizeof *fault);
  fault->durable = durable;
  if (hooks->fault)
    hooks->fault (hooks->opaque, d, call, offset, length, fault);
  if (fault->err) {
    errno = fault->err;
    return -1;
  }
  return 0;
}

static int
begin (struct disk *d, enum disk_call call, uint64_t offset, uint64_t length,
       struct disk_fault *fault)
{
  return begin_call (d, call, offset, length, false, fault);
}

static ssize_t
disk_pread (struct storage *s, void *buf, size_t count, uint64_t offset)
{
  struct disk *d = (struct disk *) s;
  struct disk_fault fault;

  if (begin (d, DISK_PREAD, offset, count, &fault) == -1)
    return -1;
  if (fault.limited)
    count = MIN (count, fault.count);
  if (offset >= disk_size (d))
    return 0;
  count = MIN (count, disk_size (d) - offset);
  disk_get (d, buf, count, offset);
  return (ssize_t) count;
}

/* What lies between the old end of the file and the new one. */
static void
grow (struct disk *d, uint64_t size)
{
  uint64_t old = disk_size (d);
  uint64_t start = ROUND_UP (old, DISK_SECTOR);

  if (d->config.mode == DISK_STALE && old < MIN (start, size))
    change (d, NULL, DISK_GARBAGE, MIN (start, size) - old, old, true);
  add_size (d, size);
}

static ssize_t
disk_pwrite (struct storage *s, const void *buf, size_t count,
             uint64_t offset, bool durable)
{
  struct disk *d = (struct disk *) s;
  struct disk_fault fault;
  struct running *r;
  bool grows;
  int err;

  if (durable && !d->config.can_dsync) {
    errno = ENOTSUP;
    return -1;
  }
  begin_call (d, DISK_PWRITE, offset, count, durable, &fault);
  err = fault.err;
  if (fault.limited)
    count = MIN (count, fault.count);
  else if (err && !fault.late)
    count = 0;
  if (offset > d->config.max_size || count > d->config.max_size - offset) {
    count = offset < d->config.max_size ? d->config.max_size - offset : 0;
    if (count == 0)
      err = ENOSPC;
  }
  grows = offset + count > disk_size (d);
  if (count > 0) {
    if (grows)
      grow (d, offset + count);
    change (d, buf, 0, count, offset, true);
  }
  if (fault.late && durable) {
    d->lost = d->stamp;
    d->failed = true;
    fail_running (d);
  }
  if (err) {
    errno = err;
    return -1;
  }
  if (durable && count > 0) {
    r = start_running (d);
    r->start = offset / DISK_SECTOR;
    r->end = sectors_for (offset + count);
    r->sizes = grows;
    point (d, DISK_WAIT, offset, count);
    if (end_running (d, r) == -1)
      return -1;
  }
  return (ssize_t) count;
}

static int
disk_sync (struct storage *s)
{
  struct disk *d = (struct disk *) s;
  struct disk_fault fault;
  struct running *r;

  begin (d, DISK_SYNC, 0, 0, &fault);
  r = start_running (d);
  r->start = 0;
  r->end = d->nr_sectors;
  r->sizes = true;
  r->fails = d->failed;
  if (fault.err) {
    d->failed = true;
    fail_running (d);
  }
  point (d, DISK_WAIT, 0, 0);
  if (fault.err) {
    d->lost = d->stamp;
    fail_running (d);
  }
  if (end_running (d, r) == 0)
    return 0;
  errno = fault.err ? fault.err : EIO;
  return -1;
}

static int
disk_get_size (struct storage *s, uint64_t *size)
{
  struct disk *d = (struct disk *) s;
  struct disk_fault fault;

  if (begin (d, DISK_SIZE, 0, 0, &fault) == -1)
    return -1;
  *size = disk_size (d);
  return 0;
}

static int
disk_truncate (struct storage *s, uint64_t size)
{
  struct disk *d = (struct disk *) s;
  struct disk_fault fault;
  uint64_t old, i;

  if (d->config.mode == DISK_DEVICE) {
    errno = ENOTSUP;
    return -1;
  }
  if (begin (d, DISK_TRUNCATE, size, 0, &fault) == -1)
    return -1;
  if (size > d->config.max_size) {
    errno = ENOSPC;
    return -1;
  }
  old = disk_size (d);
  if (size > old)
    grow (d, size);
  else if (size < old) {
    /* What is behind the end is gone, should the file grow again. */
    if (size % DISK_SECTOR)
      change (d, NULL, fresh_content (d) ? DISK_GARBAGE : 0,
              ROUND_UP (size, DISK_SECTOR) - size, size, true);
    for (i = sectors_for (size); i < sectors_for (old); i++) {
      add_version (d, i, fresh_content (d));
      d->sectors[i].data = 0;
    }
    add_size (d, size);
  }
  return 0;
}

static int
zero_range (struct disk *d, enum disk_call call, bool can, uint64_t offset,
            uint64_t length)
{
  struct disk_fault fault;

  if (!can) {
    errno = ENOTSUP;
    return -1;
  }
  if (begin (d, call, offset, length, &fault) == -1)
    return -1;
  if (offset >= disk_size (d))
    return 0;
  length = MIN (length, disk_size (d) - offset);
  change (d, NULL, 0, length, offset, call == DISK_ZERO);
  return 0;
}

static int
disk_punch (struct storage *s, uint64_t offset, uint64_t length)
{
  struct disk *d = (struct disk *) s;

  return zero_range (d, DISK_PUNCH, d->config.can_punch, offset, length);
}

static int
disk_zero (struct storage *s, uint64_t offset, uint64_t length)
{
  struct disk *d = (struct disk *) s;

  return zero_range (d, DISK_ZERO, d->config.can_zero, offset, length);
}

static int
disk_provision (struct storage *s, uint64_t offset, uint64_t length)
{
  struct disk *d = (struct disk *) s;
  struct disk_fault fault;
  uint64_t i;

  if (!d->config.can_provision || d->config.mode == DISK_DEVICE) {
    errno = ENOTSUP;
    return -1;
  }
  if (begin (d, DISK_PROVISION, offset, length, &fault) == -1)
    return -1;
  if (offset > d->config.max_size || length > d->config.max_size - offset) {
    errno = ENOSPC;
    return -1;
  }
  if (offset + length > disk_size (d))
    grow (d, offset + length);
  for (i = offset / DISK_SECTOR; i < sectors_for (offset + length); i++)
    d->sectors[i].data = 1;
  return 0;
}

static int
disk_extent (struct storage *s, uint64_t offset, uint64_t limit, bool *hole,
             uint64_t *end)
{
  struct disk *d = (struct disk *) s;
  struct disk_fault fault;
  uint64_t i;

  if (begin (d, DISK_EXTENT, offset, limit - offset, &fault) == -1)
    return -1;
  i = offset / DISK_SECTOR;
  *hole = !d->sectors[i].data && d->config.mode == DISK_FILE;
  do
    i++;
  while (i * DISK_SECTOR < limit &&
         *hole == (!d->sectors[i].data && d->config.mode == DISK_FILE));
  *end = MIN (limit, i * DISK_SECTOR);
  return 0;
}

static int
disk_advise (struct storage *s, uint64_t offset, uint64_t length,
             enum storage_advice advice)
{
  (void) s;
  (void) offset;
  (void) length;
  (void) advice;
  return 0;
}

static int
disk_lock (struct storage *s, bool writer, struct vdi_error *error)
{
  (void) s;
  (void) writer;
  (void) error;
  return 0;
}

static int
disk_make_writable (struct storage *s)
{
  (void) s;
  return 0;
}

static const struct storage_ops ops = {
  .pread = disk_pread,
  .pwrite = disk_pwrite,
  .sync = disk_sync,
  .size = disk_get_size,
  .truncate = disk_truncate,
  .punch = disk_punch,
  .zero = disk_zero,
  .provision = disk_provision,
  .extent = disk_extent,
  .advise = disk_advise,
  .lock = disk_lock,
  .make_writable = disk_make_writable,
  .close = disk_close,
};

/*------------------------------------------------------------------*/
/* States and crashes */

static uint64_t
mix (uint64_t h, uint64_t v)
{
  h = (h ^ v) * UINT64_C (0x9fb21c651e98df25);
  return h ^ h >> 32;
}

/* Stamps depend on history; what matters is only which versions each
 * running sync would make durable, and which can never be any more.
 */
uint64_t
disk_hash (const struct disk *d)
{
  uint64_t h = 1, i;
  size_t j, k;

  for (i = 0; i < d->nr_sectors; i++) {
    const struct sector *s = &d->sectors[i];
    const struct disk_version *v = versions (d, i);

    h = mix (h, (uint64_t) s->n << 1 | s->data);
    for (j = 0; j < s->n; j++)
      h = mix (h, v[j].content);
    if (s->n == 1)
      continue;
    if (d->lost)
      for (j = 1; j < s->n; j++)
        h = mix (h, v[j].stamp <= d->lost);
    for (k = 0; k < MAX_SYNCS; k++)
      if (d->running[k].used && i >= d->running[k].start &&
          i < d->running[k].end)
        h = mix (h, k << 8 |
                 durable_version (d, v, s->n, d->running[k].stamp));
  }
  h = mix (h, d->failed);
  for (k = 0; k < MAX_SYNCS; k++)
    h = mix (h, (uint64_t) d->running[k].used << 1 | d->running[k].fails);
  for (j = 0; j < d->nr_sizes; j++)
    h = mix (h, d->sizes[j].size);
  if (d->nr_sizes > 1) {
    for (j = 1; d->lost && j < d->nr_sizes; j++)
      h = mix (h, d->sizes[j].stamp <= d->lost);
    for (k = 0; k < MAX_SYNCS; k++) {
      if (!d->running[k].used || !d->running[k].sizes)
        continue;
      for (j = d->nr_sizes - 1; j > 0; j--)
        if (d->sizes[j].stamp <= d->running[k].stamp)
          break;
      h = mix (h, k << 8 | j);
    }
  }
  return h;
}

static void
copy_unversioned (const struct disk *from, struct disk *to)
{
  uint64_t i;

  if (to->nr_sectors != from->nr_sectors ||
      to->config.max_versions < from->config.max_versions)
    abort ();
  to->stamp = to->lost = 0;
  to->failed = false;
  memset (to->running, 0, sizeof to->running);
  to->forgotten = 0;
  memset (to->calls, 0, sizeof to->calls);
  for (i = 0; i < from->nr_sectors; i++)
    to->sectors[i].data = from->sectors[i].data;
}

void
disk_copy (const struct disk *from, struct disk *to)
{
  const struct disk_hooks hooks = to->config.hooks;
  void *memory = to->config.memory;

  if (disk_memory (&from->config) != disk_memory (&to->config))
    abort ();
  memcpy (to, from, disk_memory (&from->config));
  to->config.hooks = hooks;
  to->config.memory = memory;
  to->failed = false;
  memset (to->running, 0, sizeof to->running);
}

void
disk_settle (const struct disk *from, struct disk *to)
{
  uint64_t i;

  copy_unversioned (from, to);
  for (i = 0; i < from->nr_sectors; i++)
    set_durable (to, i, newest (from, i)->content);
  disk_put_size (to, disk_size (from));
}

/* How a crash image leans: purely random choices seldom give "all is
 * there but one sector", which is how real crashes look.
 */
struct lean {
  unsigned newest, oldest;      /* out of 256; the rest is any version */
};

static size_t
choose (size_t n, const struct lean *lean, uint64_t (*rnd) (void *),
        void *opaque)
{
  uint64_t r;

  if (n == 1)
    return 0;
  r = rnd (opaque);
  if ((r & 255) < lean->newest)
    return n - 1;
  if ((r & 255) < lean->newest + lean->oldest)
    return 0;
  return (r >> 8) % n;
}

uint64_t
disk_crash (const struct disk *from, struct disk *to,
            uint64_t (*rnd) (void *opaque), void *opaque)
{
  static const struct lean leans[] = {
    { 0, 0 }, { 0, 0 }, { 240, 0 }, { 0, 240 }, { 128, 0 }, { 120, 120 },
  };
  const struct lean *lean =
    &leans[rnd (opaque) % (sizeof leans / sizeof leans[0])];
  const struct disk_version *v;
  uint64_t i, h = 2, size, size_sectors;
  size_t n, j;

  copy_unversioned (from, to);
  size = from->sizes[choose (from->nr_sizes, lean, rnd, opaque)].size;
  disk_put_size (to, size);
  size_sectors = sectors_for (size);
  h = mix (h, size);

  for (i = 0; i < from->nr_sectors; i++) {
    uint32_t content;

    n = from->sectors[i].n;
    v = versions (from, i);
    if (n > 1 && i * DISK_SECTOR >= from->config.torn_start &&
        i * DISK_SECTOR < from->config.torn_end) {
      uint8_t bytes[DISK_SECTOR];

      for (j = 0; j < DISK_SECTOR; j += 4)
        memcpy (bytes + j,
                disk_content (v[choose (n, lean, rnd, opaque)].content)
                  ->bytes + j, 4);
      content = disk_intern (bytes);
    }
    else
      content = v[choose (n, lean, rnd, opaque)].content;
    /* Behind the end of the file there is nothing. */
    if (i >= size_sectors) {
      content = fresh_content (from);
      to->sectors[i].data = from->config.mode == DISK_DEVICE;
    }
    /* A version from before it was punched is data again. */
    if (content != fresh_content (from))
      to->sectors[i].data = 1;
    set_durable (to, i, content);
    h = mix (h, content);
  }
  return h;
}
