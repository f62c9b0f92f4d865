/* SPDX-License-Identifier: BSD-3-Clause */
/* What clients do with a disk, each operation with its checks: stage.h. */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coop.h"
#include "stage.h"

#define BUF_SECTORS 8192        /* 4 MiB */

struct range {
  uint64_t sector, count;
};

static uint8_t *
buffer (struct stage *w)
{
  uint8_t **p = &w->buf[coop_self () + 1];

  if (*p == NULL && (*p = malloc (BUF_SECTORS * 512)) == NULL)
    abort ();
  return *p;
}

/* Small ones mostly, often at the same places, sometimes over the edge of
 * a block or all of one.
 */
static struct range
choose_range (const struct stage *w, struct rng *rng)
{
  const struct layout *l = &w->setup.layout[0];
  const uint64_t per_block = l->block_size / 512;
  const uint64_t block = rng_below (rng, l->n_blocks);
  struct range r;

  switch (rng_below (rng, 16)) {
  case 0:                       /* a block */
    r.sector = block * per_block;
    r.count = per_block;
    break;
  case 1: case 2:               /* over an edge */
    r.count = 2 + rng_below (rng, 16);
    r.sector = block * per_block;
    r.sector -= r.sector < r.count ? 0 : 1 + rng_below (rng, r.count - 1);
    break;
  case 3:                       /* several blocks, not all of them */
    r.sector = block * per_block + rng_below (rng, per_block);
    r.count = per_block + rng_below (rng, per_block);
    break;
  case 4: case 5: case 6: case 7: /* anywhere */
    r.sector = block * per_block + rng_below (rng, per_block);
    r.count = 1 + rng_below (rng, 32);
    break;
  default:                      /* where others are, too */
    r.sector = block * per_block + rng_below (rng, 3) * 4;
    r.count = 1 + rng_below (rng, 8);
  }
  if (r.sector >= l->sectors)
    r.sector = l->sectors - 1;
  if (r.count > l->sectors - r.sector)
    r.count = l->sectors - r.sector;
  if (r.count > BUF_SECTORS)
    r.count = BUF_SECTORS;
  return r;
}

/* Was this failure to be expected?  before: injected when the operation
 * began; known: poison_known then.
 */
static void
check_result (struct stage *w, int r, const struct vdi_error *error,
              unsigned before, bool known, const char *what)
{
  if (r == 0) {
    if (known)
      stage_fail (w, "%s succeeded on an image whose sync had failed", what);
    return;
  }
  if (error->err != EIO && error->err != ENOSPC)
    stage_fail (w, "%s: error %d: %s", what, error->err, error->message);
  if (known && error->err != EIO)
    stage_fail (w, "%s: not EIO after a failed sync: %s", what,
                error->message);
  if (w->injected != before) {
    if (w->fault && !w->sync_failed && error->err != w->injected_err)
      stage_fail (w, "%s: error %d, but the storage said %d: %s", what,
                  error->err, w->injected_err, error->message);
  }
  else if (!w->sync_failed && !w->maybe_poisoned)
    stage_fail (w, "%s failed though nothing went wrong: %s", what,
                error->message);
  else
    w->sync_failed = true;
  w->poison_known |= w->sync_failed;
}

static void
op_write (struct stage *w, struct rng *rng)
{
  const struct range range = choose_range (w, rng);
  const bool fua = rng_below (rng, 6) == 0;
  const unsigned before = w->injected;
  const bool known = w->poison_known;
  uint8_t *buf = buffer (w);
  struct vdi_error error;
  uint32_t op;
  int r;

  op = guest_begin (w->guest, GUEST_WRITE, range.sector, range.count);
  guest_fill (w->guest, op, range.sector, range.count, buf);
  r = vdi_write (w->vdi, buf, range.count * 512, range.sector * 512,
                 fua ? VDI_FUA : 0, &error);
  guest_end (w->guest, op, r == 0, fua);
  check_result (w, r, &error, before, known, "write");
}

static void
op_zero (struct stage *w, struct rng *rng)
{
  const struct range range = choose_range (w, rng);
  const bool fua = rng_below (rng, 8) == 0;
  const bool fast = rng_below (rng, 4) == 0;
  const unsigned before = w->injected;
  const bool known = w->poison_known;
  struct vdi_error error;
  uint32_t op;
  int r;

  op = guest_begin (w->guest, GUEST_CLEAR, range.sector, range.count);
  r = vdi_zero (w->vdi, range.count * 512, range.sector * 512,
                (fua ? VDI_FUA : 0) | (fast ? VDI_FAST : 0) |
                (rng_below (rng, 2) ? VDI_MAY_TRIM : 0), &error);
  guest_end (w->guest, op, r == 0, fua);
  if (r == -1 && fast && error.err == ENOTSUP)
    return;
  check_result (w, r, &error, before, known, "zero");
}

static void
op_trim (struct stage *w, struct rng *rng)
{
  const struct range range = choose_range (w, rng);
  const bool fua = rng_below (rng, 8) == 0;
  const unsigned before = w->injected;
  const bool known = w->poison_known;
  struct vdi_error error;
  uint32_t op;
  int r;

  op = guest_begin (w->guest, GUEST_TRIM, range.sector, range.count);
  r = vdi_trim (w->vdi, range.count * 512, range.sector * 512,
                fua ? VDI_FUA : 0, &error);
  guest_end (w->guest, op, r == 0, fua);
  check_result (w, r, &error, before, known, "trim");
}

/* Sectors that were read (bytes) or said to be zero (NULL). */
static void
check_now (struct stage *w, uint32_t time, uint64_t sector, uint64_t count,
           const uint8_t *bytes, const char *what)
{
  for (uint64_t i = 0; i < count; ++i) {
    const uint32_t value = bytes == NULL ? GUEST_ZERO
      : guest_value (w->guest, bytes + i * 512, sector + i);

    if (!guest_allows (w->guest, GUEST_NOW, time, sector + i, value)) {
      guest_explain (w->guest, stderr, sector + i, value);
      stage_fail (w, "%s of sectors %llu+%llu, begun at time %u, is wrong",
                  what, (unsigned long long) sector,
                  (unsigned long long) count, time);
    }
  }
}

static void
read_range (struct stage *w, struct range range)
{
  const uint32_t time = guest_read_begin (w->guest);
  const unsigned before = w->injected;
  uint8_t *buf = buffer (w);
  struct vdi_error error;

  if (vdi_read (w->vdi, buf, range.count * 512, range.sector * 512,
                &error) == 0)
    check_now (w, time, range.sector, range.count, buf, "read");
  else if (w->injected == before)
    stage_fail (w, "read failed: %s", error.message);
  guest_read_end (w->guest);
}

static void
op_read (struct stage *w, struct rng *rng)
{
  read_range (w, choose_range (w, rng));
}

void
stage_read_all (struct stage *w)
{
  const uint64_t sectors = w->setup.layout[0].sectors;
  struct range range = { 0, 0 };

  for (; range.sector < sectors; range.sector += range.count) {
    range.count = sectors - range.sector < BUF_SECTORS
      ? sectors - range.sector : BUF_SECTORS;
    read_range (w, range);
  }
}

struct extents {
  struct stage *w;
  uint32_t time;
  uint64_t next;
};

static int
one_extent (void *opaque, uint64_t offset, uint64_t length, unsigned type)
{
  struct extents *e = opaque;

  if (offset != e->next || length == 0)
    stage_fail (e->w, "extent at %llu, not %llu", (unsigned long long) offset,
                (unsigned long long) e->next);
  e->next = offset + length;
  /* Extents may end inside a sector only at the ends of the request, which
   * are whole sectors.
   */
  if (type & VDI_EXTENT_ZERO)
    check_now (e->w, e->time, (offset + 511) / 512,
               (offset + length) / 512 - (offset + 511) / 512, NULL,
               "zero extent");
  coop_point ();
  return 0;
}

static void
op_extents (struct stage *w, struct rng *rng)
{
  const struct range all = { 0, w->setup.layout[0].sectors };
  const struct range range = rng_below (rng, 2) ? choose_range (w, rng) : all;
  struct extents e = { w, guest_read_begin (w->guest), range.sector * 512 };
  const unsigned before = w->injected;
  struct vdi_error error;

  if (vdi_extents (w->vdi, range.count * 512, range.sector * 512, false,
                   one_extent, &e, &error) == -1) {
    if (w->injected == before)
      stage_fail (w, "extents failed: %s", error.message);
  }
  else if (e.next != (range.sector + range.count) * 512)
    stage_fail (w, "extents end at %llu", (unsigned long long) e.next);
  guest_read_end (w->guest);
}

void
stage_flush (struct stage *w)
{
  const uint32_t time = guest_flush_begin (w->guest);
  const unsigned before = w->injected;
  const bool known = w->poison_known;
  struct vdi_error error;
  int r;

  r = vdi_flush (w->vdi, &error);
  guest_flush_end (w->guest, time, r == 0);
  check_result (w, r, &error, before, known, "flush");
}

void
stage_tick (struct stage *w, unsigned seconds)
{
  const unsigned before = w->injected;
  struct vdi_error error;

  if (vdi_tick (w->vdi, seconds, &error) == -1) {
    if (w->sync_failed)
      w->poison_known = true;
    else if (w->injected == before)
      stage_fail (w, "a tick failed: %s", error.message);
  }
}

void
stage_op (struct stage *w, struct rng *rng)
{
  w->counts->ops++;
  switch (rng_below (rng, 24)) {
  case 0: case 1: case 2:
    stage_flush (w);
    break;
  case 3: case 4:
    op_zero (w, rng);
    break;
  case 5: case 6:
    op_trim (w, rng);
    break;
  case 7: case 8: case 9:
    op_read (w, rng);
    break;
  case 10: case 11:
    op_extents (w, rng);
    break;
  case 12:
    stage_tick (w, 1 + rng_below (rng, 6));
    break;
  default:
    op_write (w, rng);
  }
}
