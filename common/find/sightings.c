/* SPDX-License-Identifier: BSD-3-Clause */
/* A table of images that have been seen: see sightings.h.
 *
 * One array, and for each key a hash table of lists through it.
 */
#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "find/sightings.h"

#define NR_BUCKETS 1024         /* for each key; a power of two */
#define NONE SIZE_MAX

/* What can be looked up. */
enum { BY_FILE, BY_UUID, BY_PARENT, NR_KEYS };

struct entry {
  struct sighting seen;
  size_t next[NR_KEYS];         /* in the same bucket, or NONE */
};

struct bucket {
  size_t first, last;           /* or NONE */
};

void
sightings_init (struct sightings *s)
{
  memset (s, 0, sizeof *s);
}

void
sightings_free (struct sightings *s)
{
  size_t i;

  for (i = 0; i < s->nr; ++i)
    free ((char *) s->entries[i].seen.filename);
  free (s->entries);
  free (s->buckets);
}

int
sightings_no_memory (struct vdi_error *error)
{
  return vdi_set_errno (error, ENOMEM, "looking for images");
}

static struct bucket *
bucket_of (const struct sightings *s, int key, const void *bytes, size_t size)
{
  const uint8_t *p = bytes;
  uint32_t hash = 2166136261;   /* FNV-1a */
  size_t i;

  for (i = 0; i < size; ++i)
    hash = (hash ^ p[i]) * 16777619;
  return &s->buckets[key * NR_BUCKETS + hash % NR_BUCKETS];
}

static bool
is_there (const struct sightings *s, const struct sighting *seen)
{
  size_t i = bucket_of (s, BY_FILE, &seen->id.ino, sizeof seen->id.ino)->first;

  while (i != NONE && !file_id_equal (s->entries[i].seen.id, seen->id))
    i = s->entries[i].next[BY_FILE];
  return i != NONE;
}

static void
append (struct sightings *s, size_t i, int key, const void *bytes,
        size_t size)
{
  struct bucket *b = bucket_of (s, key, bytes, size);

  s->entries[i].next[key] = NONE;
  if (b->first == NONE)
    b->first = i;
  else
    s->entries[b->last].next[key] = i;
  b->last = i;
}

/* Room for one more. */
static int
make_room (struct sightings *s)
{
  const size_t room = s->room ? 2 * s->room : 64;
  struct entry *more;
  size_t i;

  if (s->buckets == NULL) {
    s->buckets = malloc (NR_KEYS * NR_BUCKETS * sizeof *s->buckets);
    if (s->buckets == NULL)
      return -1;
    for (i = 0; i < NR_KEYS * NR_BUCKETS; ++i)
      s->buckets[i].first = s->buckets[i].last = NONE;
  }
  if (s->nr < s->room)
    return 0;
  more = realloc (s->entries, room * sizeof *more);
  if (more == NULL)
    return -1;
  s->entries = more;
  s->room = room;
  return 0;
}

int
sightings_add (struct sightings *s, const struct sighting *seen,
               struct vdi_error *error)
{
  const size_t i = s->nr;
  struct sighting *new;

  if (make_room (s) == -1)
    return sightings_no_memory (error);
  if (is_there (s, seen))
    return 0;
  new = &s->entries[i].seen;
  *new = *seen;
  new->filename = strdup (seen->filename);
  if (new->filename == NULL)
    return sightings_no_memory (error);
  s->nr++;
  append (s, i, BY_FILE, &new->id.ino, sizeof new->id.ino);
  append (s, i, BY_UUID, &new->uuid, sizeof new->uuid);
  append (s, i, BY_PARENT, &new->parent, sizeof new->parent);
  return 1;
}

static const struct vdi_uuid *
key_of (const struct sighting *seen, int key)
{
  return key == BY_UUID ? &seen->uuid : &seen->parent;
}

static const struct sighting *
look_up (const struct sightings *s, int key, const struct vdi_uuid *uuid,
         const struct sighting *after)
{
  size_t i;

  if (s->nr == 0 || vdi_uuid_is_null (uuid))
    return NULL;
  i = after ? s->entries[sightings_number (s, after)].next[key]
            : bucket_of (s, key, uuid, sizeof *uuid)->first;
  while (i != NONE &&
         !vdi_uuid_equal (key_of (&s->entries[i].seen, key), uuid))
    i = s->entries[i].next[key];
  return i == NONE ? NULL : &s->entries[i].seen;
}

const struct sighting *
sightings_by_uuid (const struct sightings *s, const struct vdi_uuid *uuid,
                   const struct sighting *after)
{
  return look_up (s, BY_UUID, uuid, after);
}

const struct sighting *
sightings_by_parent (const struct sightings *s, const struct vdi_uuid *uuid,
                     const struct sighting *after)
{
  return look_up (s, BY_PARENT, uuid, after);
}

size_t
sightings_number (const struct sightings *s, const struct sighting *seen)
{
  return (const struct entry *) seen - s->entries;
}

const struct sighting *
sightings_get (const struct sightings *s, size_t number)
{
  return &s->entries[number].seen;
}
