/* SPDX-License-Identifier: BSD-3-Clause */
/* What stands on an image, and what is a copy of it: see discover.h. */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "find/discover.h"
#include "find/search.h"
#include "utils/checked.h"
#include "utils/cleanup.h"
#include "utils/text.h"
#include "vbox/machine.h"

/* So many machines are asked about children at most, by somebody who wants
 * to write, and by somebody who only reads.
 */
#define MAX_MACHINES 100
#define READER_MAX_MACHINES 10

/* A reader has to wait for this, so here are no more than so many files. */
#define READER_MAX_FILES 2000

/* So many images are named in a message. */
#define MAX_NAMED 3

/* The file that is asked about is none of its own relatives. */
struct self {
  bool known;
  struct file_id id;
};

static struct self
self_of (const char *filename)
{
  struct stat st;

  if (stat (filename, &st) == -1)
    return (struct self) { .known = false };
  return (struct self) { true, file_id_of (&st) };
}

static bool
is_self (const struct self *self, const struct sighting *seen)
{
  return self->known && file_id_equal (self->id, seen->id);
}

int
discover_twin (struct search *s, const char *child, const char *filename,
               const struct vdi_uuid *uuid, char **twin,
               struct vdi_error *error)
{
  const struct self self = self_of (filename);
  const struct sighting *seen = NULL;
  size_t own;

  if (search_add_usual_folders (s, child, &own, error) == -1 ||
      search_read (s, LIKELY_NAMES, error) == -1)
    return -1;
  do
    seen = sightings_by_uuid (&s->seen, uuid, seen);
  while (seen != NULL && is_self (&self, seen));
  if (seen == NULL)
    return 0;
  *twin = strdup (seen->filename);
  return *twin ? 1 : sightings_no_memory (error);
}

/*------------------------------------------------------------------*/
/* What machines know */

struct known_by_machine {
  const struct vdi_uuid *uuid;  /* of the image */
  char *snapshot;               /* the name of one that it is the disk of */
  char *child;                  /* and where there is a child, NULL if none */
  char *newest;                 /* and what stands on top */
};

static void
forget (struct known_by_machine *k)
{
  free (k->snapshot);
  free (k->child);
  free (k->newest);
}

/* The image above an image on which the machine's current state stands, or
 * else any child.
 */
static size_t
newest_above (const struct machine *m, size_t image)
{
  size_t i, current, at;

  for (i = 0; i < m->states[0].nr_disks; ++i) {
    current = at = machine_image_by_uuid (m, &m->states[0].disks[i].image, 0);
    while (at != MACHINE_NONE && at != image)
      at = m->images[at].parent;
    if (at == image && current != image)
      return current;
  }
  return machine_child (m, image);
}

/* Where an image of a machine is, as that machine says; NULL without
 * memory.
 */
static char *
location_in (const struct machine *m, size_t image, const char *filename)
{
  char *r;

  if (asprintf (&r, "%s (as %s says)", m->images[image].location,
                filename) == -1)
    return NULL;
  return r;
}

/* Take over what a machine knows of an image that has a child. */
static int
learn (struct known_by_machine *k, const struct machine *m, size_t image,
       const char *filename, struct vdi_error *error)
{
  const size_t state = machine_snapshot_with (m, k->uuid);

  k->child = location_in (m, machine_child (m, image), filename);
  k->newest = location_in (m, newest_above (m, image), filename);
  if (k->child == NULL || k->newest == NULL)
    return sightings_no_memory (error);
  if (state == MACHINE_NONE)
    return 1;
  k->snapshot = strdup (m->states[state].name);
  return k->snapshot ? 1 : sightings_no_memory (error);
}

/* Files that make no sense know nothing. */
static int
ask_machine (void *opaque, const char *filename, struct vdi_error *error)
{
  struct known_by_machine *k = opaque;
  struct machine *m;
  struct vdi_error ignored;
  size_t image;
  int r = 0;

  if (machine_load (filename, &m, &ignored) == -1)
    return 0;
  image = machine_image_by_uuid (m, k->uuid, 0);
  if (image != MACHINE_NONE && machine_child (m, image) != MACHINE_NONE)
    r = learn (k, m, image, filename, error);
  machine_free (m);
  return r;
}

/*------------------------------------------------------------------*/
/* Looking for children */

/* The first child, but not the image itself. */
static const struct sighting *
next_child (const struct sightings *table, const struct vdi_uuid *uuid,
            const struct self *self, const struct sighting *after)
{
  do
    after = sightings_by_parent (table, uuid, after);
  while (after != NULL && is_self (self, after));
  return after;
}

int
discover_child (struct search *s, const char *filename,
                const struct vdi_uuid *uuid, char **child,
                struct vdi_error *error)
{
  const struct self self = self_of (filename);
  const struct sighting *seen = NULL;
  CLEANUP (forget) struct known_by_machine k = { .uuid = uuid };
  enum name_kind kind;
  size_t own;
  int r;

  if (vdi_uuid_is_null (uuid))
    return 0;
  if (search_add_usual_folders (s, filename, &own, error) == -1)
    return -1;
  for (kind = LIKELY_NAMES; kind <= OTHER_NAMES && seen == NULL; ++kind) {
    if (search_read (s, kind, error) == -1)
      return -1;
    seen = next_child (&s->seen, uuid, &self, NULL);
  }
  if (seen != NULL) {
    *child = strdup (seen->filename);
    return *child ? 1 : sightings_no_memory (error);
  }
  r = search_visit_machines (s, MAX_MACHINES, ask_machine, &k, error);
  if (r == 1) {
    *child = k.child;
    k.child = NULL;
  }
  return r;
}

/*------------------------------------------------------------------*/
/* Looking for the newest */

/* The images on top of all that stand on one, in the table. */
struct tips {
  const struct sightings *table;
  const struct self *self;
  /* While they are looked for. */
  bool *known;                  /* by number: is in queue */
  size_t *queue, nr_queue;      /* numbers of all that stand on it */

  const struct sighting *tip[MAX_NAMED]; /* the first of nr */
  size_t nr;
};

/* Queue the children of an image that are not yet there.  Has it any? */
static bool
queue_children (struct tips *t, const struct vdi_uuid *uuid)
{
  const struct sighting *seen = NULL;
  bool any = false;

  while ((seen = next_child (t->table, uuid, t->self, seen)) != NULL) {
    const size_t i = sightings_number (t->table, seen);

    any = true;
    if (!t->known[i])
      t->queue[t->nr_queue++] = i;
    t->known[i] = true;
  }
  return any;
}

static void
add_tip (struct tips *t, const struct sighting *seen)
{
  if (t->nr < MAX_NAMED)
    t->tip[t->nr] = seen;
  t->nr++;
}

/* Images that are their own ancestors have no tip: then the first counts. */
static int
find_tips (struct tips *t, const struct vdi_uuid *uuid,
           struct vdi_error *error)
{
  CLEANUP_FREE bool *known = calloc (t->table->nr + 1, sizeof *known);
  CLEANUP_FREE size_t *queue = malloc ((t->table->nr + 1) * sizeof *queue);
  size_t i;

  if (known == NULL || queue == NULL)
    return sightings_no_memory (error);
  t->known = known;
  t->queue = queue;
  queue_children (t, uuid);
  for (i = 0; i < t->nr_queue; ++i) {
    const struct sighting *seen = sightings_get (t->table, t->queue[i]);

    if (!queue_children (t, &seen->uuid))
      add_tip (t, seen);
  }
  if (t->nr == 0 && t->nr_queue > 0)
    add_tip (t, sightings_get (t->table, t->queue[0]));
  return 0;
}

static int
describe_newer (const char *filename, const struct tips *t,
                const struct known_by_machine *k, char **newer,
                struct vdi_error *error)
{
  char text[VDI_ERROR_MAX] = "";
  size_t i;

  if (k->snapshot)
    text_append (text, sizeof text, "%s: is the disk as it was at the "
                 "snapshot \"%.*s\"", filename, 200, k->snapshot);
  else
    text_append (text, sizeof text, "%s: is probably an older state of its "
                 "disk", filename);
  text_append (text, sizeof text, "; what was written later is in ");
  if (t->nr == 0)
    text_append (text, sizeof text, "%s", k->newest);
  for (i = 0; i < t->nr && i < MAX_NAMED; ++i)
    text_append (text, sizeof text, "%s%s", i == 0 ? "" : " or ",
                 t->tip[i]->filename);
  if (t->nr > MAX_NAMED)
    text_append (text, sizeof text, " or %zu more", t->nr - MAX_NAMED);
  text_append (text, sizeof text, ": serve %s for the newest state",
               t->nr > 1 ? "the right one of these" : "that file");
  *newer = strdup (text);
  return *newer ? 1 : sightings_no_memory (error);
}

int
discover_newer (struct search *s, const char *filename,
                const struct vdi_uuid *uuid, char **newer,
                struct vdi_error *error)
{
  const struct self self = self_of (filename);
  struct tips t = { .table = &s->seen, .self = &self };
  CLEANUP (forget) struct known_by_machine k = { .uuid = uuid };
  size_t own;

  if (vdi_uuid_is_null (uuid))
    return 0;
  s->files_left[LIKELY_NAMES] =
    MIN (s->files_left[LIKELY_NAMES], READER_MAX_FILES);
  if (search_add_usual_folders (s, filename, &own, error) == -1 ||
      search_read (s, LIKELY_NAMES, error) == -1 ||
      find_tips (&t, uuid, error) == -1 ||
      search_visit_machines (s, READER_MAX_MACHINES, ask_machine, &k,
                             error) == -1)
    return -1;
  if (t.nr == 0 && k.newest == NULL)
    return 0;
  return describe_newer (filename, &t, &k, newer, error);
}
