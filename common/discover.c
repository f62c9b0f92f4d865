/* SPDX-License-Identifier: BSD-3-Clause */
/* Finding images by UUID: see discover.h, and search.h for the means. */
#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "discover.h"
#include "machine-xml.h"
#include "search.h"

static int
out_of_memory (struct vdi_error *error)
{
  return vdi_set_errno (error, ENOMEM, "looking for images");
}

int
discover_header (const char *filename, struct vdi_header *header,
                 struct vdi_error *error)
{
  struct sighting s;

  if (sighting_read (filename, true, &s, error) == -1)
    return -1;
  *header = s.header;
  return 0;
}

/*------------------------------------------------------------------*/
/* Looking for an image with a certain UUID */

struct wanted {
  const struct vdi_uuid *uuid;
  char *found;                  /* NULL until then */
  char *other;                  /* a second, different file */
  dev_t dev;                    /* of found */
  ino_t ino;
};

static int
match_uuid (void *opaque, const struct sighting *seen,
            struct vdi_error *error)
{
  struct wanted *w = opaque;
  char **slot = w->found == NULL ? &w->found : &w->other;

  if (!vdi_uuid_equal (&seen->header.uuid_image, w->uuid))
    return 0;
  if (w->found != NULL && w->dev == seen->dev && w->ino == seen->ino)
    return 0;
  *slot = strdup (seen->filename);
  if (*slot == NULL)
    return out_of_memory (error);
  w->dev = seen->dev;
  w->ino = seen->ino;
  return w->other != NULL ? 1 : 0;
}

static int
parent_not_found (const char *child, const struct vdi_uuid *uuid,
                  const struct search *s, size_t nr_candidates,
                  struct vdi_error *error)
{
  char text[VDI_ERROR_MAX], u[VDI_UUID_STRING_SIZE];

  search_describe (s, text, sizeof text);
  return vdi_set_error (error, ENOENT, "%s: its parent, the image with the "
                        "UUID %s, was not found; say where it is with "
                        "parent=FILE or parent-dir=DIR (looked at: %s%s)",
                        child, vdi_uuid_print (uuid, u),
                        nr_candidates > 0 ? "the images of the machine, "
                                          : "", text);
}

int
discover_parent (const char *child, const struct vdi_uuid *uuid,
                 const struct vdi_options *options,
                 char **filename, struct vdi_error *error)
{
  const size_t nr_candidates = options ? options->nr_candidates : 0;
  const size_t nr_dirs = options ? options->nr_parent_dirs : 0;
  struct wanted w = { .uuid = uuid };
  char u[VDI_UUID_STRING_SIZE];
  struct search s;
  size_t i;
  int r = -1;

  search_init (&s, DISCOVER_MAX_FILES);
  for (i = 0; i < nr_candidates && w.found == NULL; ++i)
    if (search_look_at (&s, options->candidates[i], match_uuid, &w,
                        error) == -1)
      goto out;
  if (w.found != NULL) {
    r = 0;
    goto out;
  }

  if (search_add_usual_places (&s, child, error) == -1)
    goto out;
  for (i = 0; i < nr_dirs; ++i)
    if (search_add_place (&s, options->parent_dirs[i], error) == -1)
      goto out;
  if (search_visit (&s, match_uuid, &w, error) == -1)
    goto out;

  if (w.found == NULL)
    parent_not_found (child, uuid, &s, nr_candidates, error);
  else if (w.other != NULL)
    vdi_set_error (error, EINVAL, "%s: its parent, the image with the UUID "
                   "%s, is there twice: %s and %s; choose one with "
                   "parent=FILE", child, vdi_uuid_print (uuid, u), w.found,
                   w.other);
  else
    r = 0;

 out:
  if (r == 0) {
    *filename = w.found;
    w.found = NULL;
  }
  free (w.found);
  free (w.other);
  search_free (&s);
  return r;
}

int
discover_image (const char *const *dirs, size_t nr_dirs,
                const struct vdi_uuid *uuid, char **filename,
                struct vdi_error *error)
{
  struct wanted w = { .uuid = uuid };
  char u[VDI_UUID_STRING_SIZE];
  struct search s;
  size_t i;
  int r = -1;

  search_init (&s, DISCOVER_MAX_FILES);
  for (i = 0; i < nr_dirs; ++i)
    if (search_add_place (&s, dirs[i], error) == -1)
      goto out;
  if (search_visit (&s, match_uuid, &w, error) == -1)
    goto out;
  if (w.other != NULL)
    vdi_set_error (error, EINVAL, "two images have the UUID %s: %s and %s; "
                   "move one of them away, or name the right one with file=",
                   vdi_uuid_print (uuid, u), w.found, w.other);
  else if (w.found != NULL) {
    *filename = w.found;
    w.found = NULL;
    r = 1;
  }
  else
    r = 0;

 out:
  free (w.found);
  free (w.other);
  search_free (&s);
  return r;
}

/*------------------------------------------------------------------*/
/* Looking for children */

/* So many machines are asked about children at most. */
#define MAX_MACHINES 100

struct wanted_child {
  const struct vdi_uuid *parent;
  bool have_self;               /* the parent's own file, never its child */
  dev_t dev;
  ino_t ino;
  char *found;
};

static int
match_child (void *opaque, const struct sighting *seen,
             struct vdi_error *error)
{
  struct wanted_child *w = opaque;

  if (!vdi_uuid_equal (&seen->header.uuid_parent, w->parent))
    return 0;
  if (w->have_self && w->dev == seen->dev && w->ino == seen->ino)
    return 0;
  w->found = strdup (seen->filename);
  return w->found == NULL ? out_of_memory (error) : 1;
}

/* Does a machine file know a child?  Files that make no sense know none. */
static int
match_machine (void *opaque, const char *filename, struct vdi_error *error)
{
  struct wanted_child *w = opaque;
  struct machine *m;
  struct vdi_error ignored;
  size_t image, child = MACHINE_NONE;
  int r = 0;

  if (machine_load (filename, &m, &ignored) == -1)
    return 0;
  image = machine_image_by_uuid (m, w->parent, 0);
  if (image != MACHINE_NONE)
    child = machine_child (m, image);
  if (child != MACHINE_NONE) {
    if (asprintf (&w->found, "%s (as %s says)", m->images[child].location,
                  filename) == -1) {
      w->found = NULL;
      r = out_of_memory (error);
    }
    else
      r = 1;
  }
  machine_free (m);
  return r;
}

int
discover_child (const char *filename, const struct vdi_uuid *uuid,
                char **child, struct vdi_error *error)
{
  struct wanted_child w = { .parent = uuid };
  struct search s;
  struct stat st;
  int r;

  if (vdi_uuid_is_null (uuid))
    return 0;
  if (stat (filename, &st) == 0) {
    w.have_self = true;
    w.dev = st.st_dev;
    w.ino = st.st_ino;
  }
  search_init (&s, DISCOVER_MAX_FILES);
  r = search_add_usual_places (&s, filename, error);
  if (r == 0)
    r = search_visit (&s, match_child, &w, error);
  if (r == 0) {
    s.files_left = MAX_MACHINES;
    r = search_visit_names (&s, ".vbox", match_machine, &w, error);
  }
  if (r == 1)
    *child = w.found;
  search_free (&s);
  return r;
}
