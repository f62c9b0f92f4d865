/* SPDX-License-Identifier: BSD-3-Clause */
/* sightings.c: what was added is found by all of its keys, in the order in
 * which it was added, and each file is there once.
 */
#include <config.h>

#include <string.h>

#include "find/sightings.h"
#include "image.h"

#define MANY 5000               /* more than there are buckets */

static struct vdi_error error;

/* Number n has the UUID uuid and the parent parent, and is file n. */
static int
add (struct sightings *s, unsigned n, unsigned uuid, unsigned parent)
{
  char name[20];

  snprintf (name, sizeof name, "%u.vdi", n);
  return sightings_add (s, &(struct sighting) {
      .filename = name, .id = { .dev = 1, .ino = n },
      .uuid = image_uuid (uuid), .parent = image_uuid (parent),
    }, &error);
}

static const struct sighting *
by_uuid (const struct sightings *s, unsigned n, const struct sighting *after)
{
  struct vdi_uuid uuid = image_uuid (n);

  return sightings_by_uuid (s, &uuid, after);
}

static const struct sighting *
by_parent (const struct sightings *s, unsigned n,
           const struct sighting *after)
{
  struct vdi_uuid uuid = image_uuid (n);

  return sightings_by_parent (s, &uuid, after);
}

static void
test_empty (void)
{
  struct sightings s;

  sightings_init (&s);
  CHECK (by_uuid (&s, 1, NULL) == NULL);
  CHECK (by_parent (&s, 1, NULL) == NULL);
  sightings_free (&s);
}

static void
test_many (void)
{
  struct sightings s;
  const struct sighting *seen;
  unsigned n;

  sightings_init (&s);
  for (n = 1; n <= MANY; ++n)
    CHECK (add (&s, n, n, n / 2) == 1);
  CHECK (s.nr == MANY);
  for (n = 1; n <= MANY; ++n) {
    seen = by_uuid (&s, n, NULL);
    CHECK (seen != NULL && seen->id.ino == n);
    CHECK (sightings_number (&s, seen) == n - 1);
    CHECK (sightings_get (&s, n - 1) == seen);
    CHECK (by_uuid (&s, n, seen) == NULL);
  }
  /* Two children for each, the older first; 1 has no parent, only 3. */
  for (n = 2; n <= MANY / 2 - 1; ++n) {
    seen = by_parent (&s, n, NULL);
    CHECK (seen != NULL && seen->id.ino == 2 * n);
    seen = by_parent (&s, n, seen);
    CHECK (seen != NULL && seen->id.ino == 2 * n + 1);
    CHECK (by_parent (&s, n, seen) == NULL);
  }
  CHECK (by_parent (&s, 0, NULL) == NULL);
  CHECK (by_uuid (&s, MANY + 1, NULL) == NULL);
  CHECK (strcmp (sightings_get (&s, 41)->filename, "42.vdi") == 0);
  sightings_free (&s);
}

/* A file counts once, whatever it seems to be; UUIDs may be there twice. */
static void
test_same (void)
{
  struct sightings s;
  const struct sighting *seen;

  sightings_init (&s);
  CHECK (add (&s, 1, 7, 0) == 1);
  CHECK (add (&s, 1, 7, 0) == 0);
  CHECK (add (&s, 1, 8, 7) == 0);
  CHECK (add (&s, 2, 7, 0) == 1);
  CHECK (sightings_add (&s, &(struct sighting) {
        .filename = "3.vdi", .id = { .dev = 2, .ino = 1 },
        .uuid = image_uuid (7),
      }, &error) == 1);
  seen = by_uuid (&s, 7, NULL);
  CHECK (seen->id.ino == 1 && seen->id.dev == 1);
  seen = by_uuid (&s, 7, seen);
  CHECK (seen->id.ino == 2);
  seen = by_uuid (&s, 7, seen);
  CHECK (seen->id.ino == 1 && seen->id.dev == 2);
  CHECK (by_uuid (&s, 7, seen) == NULL);
  CHECK (by_uuid (&s, 8, NULL) == NULL && by_parent (&s, 7, NULL) == NULL);

  /* Nothing has the null UUID, though these have no parent. */
  CHECK (by_parent (&s, 0, NULL) == NULL);
  CHECK (add (&s, 9, 0, 0) == 1);
  CHECK (by_uuid (&s, 0, NULL) == NULL);
  sightings_free (&s);
}

int
main (void)
{
  test_empty ();
  test_many ();
  test_same ();
  return 0;
}
