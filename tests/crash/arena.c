/* SPDX-License-Identifier: BSD-3-Clause */
/* The memory of the core under test: see arena.h.
 *
 * First fit over chunks in the order of their addresses: slow for many
 * allocations, but the core makes few, and it is the only simple
 * allocator whose state does not depend on history.
 */
#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"

#define ALIGN 16

struct chunk {                  /* sizeof is ALIGN */
  uint32_t size;                /* bytes, with this header; 0 ends the list */
  uint32_t used;                /* is it allocated? */
  uint32_t asked;               /* bytes */
  uint32_t pad;
};

struct arena {                  /* at the start of the memory */
  uint32_t size;                /* bytes of memory */
  uint32_t end;                 /* of the used chunks, from the start */
  uint32_t live;
  uint32_t uuid;
};

static struct arena *arena;
static uint32_t malloc_uuid;

static struct chunk *
first_chunk (void)
{
  return (struct chunk *) (arena + 1);
}

static struct chunk *
next_chunk (struct chunk *c)
{
  return (struct chunk *) ((char *) c + c->size);
}

static uint32_t
distance (const void *p)
{
  return (uint32_t) ((const char *) p - (const char *) arena);
}

void
arena_init (void *memory, size_t size)
{
  arena = memory;
  if (arena == NULL)
    return;
  memset (arena, 0, sizeof *arena);
  arena->size = (uint32_t) size;
  arena->end = distance (first_chunk ());
}

size_t
arena_used (void)
{
  return arena ? arena->end : 0;
}

size_t
arena_live (void)
{
  return arena ? arena->live : 0;
}

static void *
take (struct chunk *c, size_t asked)
{
  c->used = 1;
  c->asked = (uint32_t) asked;
  arena->live++;
  return c + 1;
}

void *
arena_malloc (size_t asked)
{
  struct chunk *c;
  uint32_t need;

  if (arena == NULL)
    return malloc (asked);
  if (asked > arena->size / 2) {
    errno = ENOMEM;
    return NULL;
  }
  need = (uint32_t) ((asked + ALIGN - 1) / ALIGN * ALIGN + sizeof *c);

  for (c = first_chunk (); distance (c) < arena->end; c = next_chunk (c)) {
    if (c->used || c->size < need)
      continue;
    if (c->size >= need + 2 * sizeof *c) {
      struct chunk *rest = (struct chunk *) ((char *) c + need);

      rest->size = c->size - need;
      rest->used = 0;
      c->size = need;
    }
    return take (c, asked);
  }

  if (arena->end + need > arena->size) {
    fprintf (stderr, "arena: too small for another %zu bytes\n", asked);
    abort ();
  }
  memset (c, 0, need);
  c->size = need;
  arena->end += need;
  return take (c, asked);
}

void
arena_free (void *p)
{
  struct chunk *c, *n, *last;

  if (p == NULL)
    return;
  if (arena == NULL || (char *) p < (char *) arena ||
      (char *) p >= (char *) arena + arena->size) {
    free (p);
    return;
  }

  c = (struct chunk *) p - 1;
  if (!c->used) {
    fprintf (stderr, "arena: freed twice, or never allocated\n");
    abort ();
  }
  memset (p, 0, c->size - sizeof *c);
  c->used = c->asked = 0;
  arena->live--;

  /* Merge neighbours, and give the end back. */
  last = NULL;
  for (c = first_chunk (); distance (c) < arena->end; c = n) {
    n = next_chunk (c);
    if (!c->used && last && !last->used) {
      last->size += c->size;
      memset (c, 0, sizeof *c);
    }
    else
      last = c;
  }
  if (last && !last->used) {
    arena->end -= last->size;
    memset (last, 0, sizeof *last);
  }
}

void *
arena_calloc (size_t n, size_t size)
{
  size_t total;
  void *p;

  if (arena == NULL)
    return calloc (n, size);
  if (__builtin_mul_overflow (n, size, &total)) {
    errno = ENOMEM;
    return NULL;
  }
  p = arena_malloc (total);
  if (p)
    memset (p, 0, total);
  return p;
}

void *
arena_realloc (void *p, size_t size)
{
  size_t old;
  void *q;

  if (arena == NULL)
    return realloc (p, size);
  if (p == NULL)
    return arena_malloc (size);
  old = ((struct chunk *) p - 1)->asked;
  q = arena_malloc (size);
  if (q) {
    memcpy (q, p, old < size ? old : size);
    arena_free (p);
  }
  return q;
}

/* Alignments beyond ALIGN are only for direct I/O, which a test's disk
 * does not care about.
 */
void *
arena_aligned_alloc (size_t align, size_t size)
{
  return arena == NULL ? aligned_alloc (align, size) : arena_malloc (size);
}

int
arena_posix_memalign (void **p, size_t align, size_t size)
{
  if (arena == NULL)
    return posix_memalign (p, align, size);
  *p = arena_malloc (size);
  return *p ? 0 : ENOMEM;
}

char *
arena_strndup (const char *s, size_t n)
{
  size_t len = strnlen (s, n);
  char *p = arena_malloc (len + 1);

  if (p) {
    memcpy (p, s, len);
    p[len] = '\0';
  }
  return p;
}

char *
arena_strdup (const char *s)
{
  return arena_strndup (s, strlen (s));
}

void
arena_set_uuid (uint32_t n)
{
  *(arena ? &arena->uuid : &malloc_uuid) = n;
}

struct vdi_uuid
arena_uuid_new (void)
{
  uint32_t n = ++*(arena ? &arena->uuid : &malloc_uuid);
  struct vdi_uuid uuid = { {
    n & 0xff, n >> 8 & 0xff, n >> 16 & 0xff, n >> 24, 0x51, 0x4d, 0, 0x40,
    0x80, 0, 0, 0, 0, 0, 0, 1,
  } };

  return uuid;
}
