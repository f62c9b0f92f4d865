/* SPDX-License-Identifier: BSD-3-Clause */
/* What a guest may find on its disk, see guest.h. */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "guest.h"

#define NEVER UINT32_MAX

struct op {
  uint32_t start, end;          /* times; end is NEVER while it is running */
  enum guest_kind kind;
  bool failed, durable;
  uint64_t sector, count;
};

/* What may be in a sector. */
struct cell {
  uint32_t base;                /* value at the start of the story */
  uint32_t durable;             /* the latest start of a durable write; 0 */
  uint32_t n, room;
  uint32_t *ops;                /* since the one that is durable */
};

struct guest {
  uint64_t sectors;
  uint32_t image;
  uint32_t time;
  unsigned readers;             /* reads under way */
  struct cell *cells;
  struct op *ops;               /* number 0 is not used */
  uint32_t n, room;
  uint32_t *unflushed;          /* done, but not known to be durable */
  uint32_t n_unflushed, room_unflushed;
};

static void *
more (void *p, uint32_t n, uint32_t *room, size_t size)
{
  if (n < *room)
    return p;
  *room = *room ? 2 * *room : 4;
  p = realloc (p, *room * size);
  if (p == NULL)
    abort ();
  return p;
}

struct guest *
guest_new (uint64_t sectors, uint32_t image)
{
  struct guest *o = calloc (1, sizeof *o);

  if (o == NULL || (o->cells = calloc (sectors, sizeof *o->cells)) == NULL)
    abort ();
  o->sectors = sectors;
  o->image = image;
  o->time = 1;
  o->n = 1;
  o->ops = more (NULL, 1, &o->room, sizeof *o->ops);
  return o;
}

void
guest_free (struct guest *o)
{
  if (o == NULL)
    return;
  for (uint64_t s = 0; s < o->sectors; ++s)
    free (o->cells[s].ops);
  free (o->cells);
  free (o->ops);
  free (o->unflushed);
  free (o);
}

void
guest_put (struct guest *o, uint64_t sector, uint32_t value)
{
  o->cells[sector].base = value;
}

static uint32_t
new_op (struct guest *o)
{
  o->ops = more (o->ops, o->n, &o->room, sizeof *o->ops);
  memset (&o->ops[o->n], 0, sizeof *o->ops);
  return o->n++;
}

uint32_t
guest_sequence (struct guest *o)
{
  return new_op (o);
}

static bool
is_strong (const struct op *op)
{
  return op->kind != GUEST_TRIM && !op->failed && op->end != NEVER;
}

static uint32_t
value_of (const struct guest *o, uint32_t op)
{
  return o->ops[op].kind == GUEST_WRITE ? op : GUEST_ZERO;
}

uint32_t
guest_begin (struct guest *o, enum guest_kind kind, uint64_t sector,
              uint64_t count)
{
  const uint32_t nr = new_op (o);
  struct op *op = &o->ops[nr];

  op->kind = kind;
  op->start = ++o->time;
  op->end = NEVER;
  op->sector = sector;
  op->count = count;
  for (uint64_t s = sector; s < sector + count; ++s) {
    struct cell *c = &o->cells[s];

    c->ops = more (c->ops, c->n, &c->room, sizeof *c->ops);
    c->ops[c->n++] = nr;
  }
  return nr;
}

/* Forget what can never be seen again. */
static void
prune (struct guest *o, struct cell *c)
{
  uint32_t kept = 0;

  for (uint32_t i = 0; i < c->n; ++i)
    if (o->ops[c->ops[i]].end >= c->durable)
      c->ops[kept++] = c->ops[i];
  c->n = kept;
}

static void
make_durable (struct guest *o, struct op *op)
{
  op->durable = true;
  for (uint64_t s = op->sector; s < op->sector + op->count; ++s) {
    struct cell *c = &o->cells[s];

    if (c->durable < op->start)
      c->durable = op->start;
    /* A read that is under way may still return what was there when it
     * began.
     */
    if (o->readers == 0)
      prune (o, c);
  }
}

void
guest_end (struct guest *o, uint32_t nr, bool ok, bool fua)
{
  struct op *op = &o->ops[nr];

  op->end = ++o->time;
  op->failed = !ok;
  if (!is_strong (op))
    return;
  if (fua)
    make_durable (o, op);
  else {
    o->unflushed = more (o->unflushed, o->n_unflushed, &o->room_unflushed,
                         sizeof *o->unflushed);
    o->unflushed[o->n_unflushed++] = nr;
  }
}

uint32_t
guest_flush_begin (struct guest *o)
{
  return ++o->time;
}

void
guest_flush_end (struct guest *o, uint32_t time, bool ok)
{
  uint32_t kept = 0;

  ++o->time;
  if (!ok)
    return;
  for (uint32_t i = 0; i < o->n_unflushed; ++i) {
    struct op *op = &o->ops[o->unflushed[i]];

    if (op->end < time)
      make_durable (o, op);
    else
      o->unflushed[kept++] = o->unflushed[i];
  }
  o->n_unflushed = kept;
}

uint32_t
guest_read_begin (struct guest *o)
{
  o->readers++;
  return ++o->time;
}

void
guest_read_end (struct guest *o)
{
  o->readers--;
  ++o->time;
}

/* What had returned before this time and is overwritten may not be seen:
 * the latest start of a write that overwrites.
 */
static uint32_t
horizon (const struct guest *o, const struct cell *c, enum guest_when when,
         uint32_t time)
{
  uint32_t r = when == GUEST_NOW ? 0 : c->durable;

  if (when == GUEST_AFTER_CRASH)
    return r;
  for (uint32_t i = 0; i < c->n; ++i) {
    const struct op *op = &o->ops[c->ops[i]];

    if (is_strong (op) && (when != GUEST_NOW || op->end < time) &&
        r < op->start)
      r = op->start;
  }
  return r;
}

bool
guest_allows (const struct guest *o, enum guest_when when, uint32_t time,
               uint64_t sector, uint32_t value)
{
  const struct cell *c = &o->cells[sector];
  const uint32_t h = horizon (o, c, when, time);

  if (value == c->base && h == 0)
    return true;
  for (uint32_t i = 0; i < c->n; ++i)
    if (value_of (o, c->ops[i]) == value && o->ops[c->ops[i]].end >= h)
      return true;
  return false;
}

bool
guest_may_be_torn (const struct guest *o, uint32_t time, uint64_t sector)
{
  const struct cell *c = &o->cells[sector];

  for (uint32_t i = 0; i < c->n; ++i)
    if (o->ops[c->ops[i]].end > time)
      return true;
  return false;
}

bool
guest_touched (const struct guest *o, uint64_t sector)
{
  return o->cells[sector].n > 0 || o->cells[sector].durable > 0;
}

void
guest_restart (struct guest *o, const uint32_t *values)
{
  o->n_unflushed = 0;
  o->readers = 0;
  for (uint64_t s = 0; s < o->sectors; ++s) {
    struct cell *c = &o->cells[s];

    c->base = values[s];
    c->durable = 0;
    c->n = 0;
  }
}

void
guest_fill (const struct guest *o, uint32_t op, uint64_t sector,
             uint64_t count, uint8_t *buf)
{
  struct disk_tag tag = { .image = o->image, .sequence = op };

  for (uint64_t i = 0; i < count; ++i) {
    tag.sector = sector + i;
    disk_tag_write (buf + i * DISK_SECTOR, &tag);
  }
}

static uint32_t
value_of_tag (const struct guest *o, enum disk_kind kind,
              const struct disk_tag *tag, uint64_t sector)
{
  if (kind == DISK_KIND_ZERO)
    return GUEST_ZERO;
  if (kind == DISK_KIND_TAG && tag->image == o->image &&
      tag->sector == sector)
    return tag->sequence;
  return GUEST_FOREIGN;
}

uint32_t
guest_value (const struct guest *o, const uint8_t *bytes, uint64_t sector)
{
  struct disk_tag tag;
  const enum disk_kind kind = disk_tag_read (bytes, &tag);

  return value_of_tag (o, kind, &tag, sector);
}

uint32_t
guest_value_of (const struct guest *o, const struct disk_content *c,
                 uint64_t sector)
{
  return value_of_tag (o, c->kind, &c->tag, sector);
}

void
guest_explain (const struct guest *o, FILE *fp, uint64_t sector,
                uint32_t value)
{
  static const char *const kinds[] = { "write", "zero", "trim" };
  const struct cell *c = &o->cells[sector];

  fprintf (fp, "  sector %llu: found ", (unsigned long long) sector);
  if (value == GUEST_FOREIGN)
    fprintf (fp, "what was never written there");
  else if (value == GUEST_ZERO)
    fprintf (fp, "zeros");
  else
    fprintf (fp, "write %u", value);
  fprintf (fp, "; at first %u; durable is what began at time %u; now %u\n",
           c->base, c->durable, o->time);
  for (uint32_t i = 0; i < c->n; ++i) {
    const struct op *op = &o->ops[c->ops[i]];

    fprintf (fp, "    %s %u of sectors %llu+%llu, times %u to ",
             kinds[op->kind], c->ops[i], (unsigned long long) op->sector,
             (unsigned long long) op->count, op->start);
    if (op->end == NEVER)
      fprintf (fp, "now\n");
    else
      fprintf (fp, "%u%s%s\n", op->end, op->failed ? ", failed" : "",
               op->durable ? ", durable" : "");
  }
}
