/* SPDX-License-Identifier: BSD-3-Clause */
/* Finding images by UUID: see discover.h, and search.h for the means. */
#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "find/discover.h"
#include "find/search.h"
#include "utils/text.h"

int
discover_header (const char *filename, struct vdi_header *header,
                 struct vdi_error *error)
{
  struct file_start start;

  if (file_start_read (filename, true, &start, error) == -1)
    return -1;
  return vdi_header_decode (start.bytes, start.size, filename, header, error);
}

/*------------------------------------------------------------------*/
/* Looking for an image with a certain UUID */

struct wanted {
  const struct vdi_uuid *uuid;
  const struct vdi_uuid *mod;   /* should be this; NULL: does not matter */
  size_t near;                  /* the folder to prefer, or NO_FOLDER */
};

struct matches {
  const struct sighting *first, *second; /* with that UUID */
  const struct sighting *fit, *also; /* with that mod, too, the nearest, and
                                      * another one */
  size_t nr, nr_fit;
};

static bool
fits (const struct wanted *w, const struct sighting *seen)
{
  return w->mod == NULL ||
         (!vdi_uuid_is_null (w->mod) && vdi_uuid_equal (&seen->mod, w->mod));
}

/* What is in the table now. */
static struct matches
matches_in (const struct sightings *table, const struct wanted *w)
{
  struct matches m = { 0 };
  const struct sighting *s = NULL;

  while ((s = sightings_by_uuid (table, w->uuid, s)) != NULL) {
    if (m.nr++ == 0)
      m.first = s;
    else if (m.nr == 2)
      m.second = s;
    if (!fits (w, s))
      continue;
    if (m.nr_fit++ > 0 && (s->folder != w->near || m.fit->folder == w->near)) {
      m.also = s;
      continue;
    }
    m.also = m.fit;
    m.fit = s;
  }
  return m;
}

/* Read as little as is needed to find one that fits. */
static int
find_matches (struct search *s, const struct wanted *w, struct matches *m,
              struct vdi_error *error)
{
  enum name_kind kind;

  for (kind = LIKELY_NAMES; kind <= OTHER_NAMES; ++kind) {
    if (search_read (s, kind, error) == -1)
      return -1;
    *m = matches_in (&s->seen, w);
    if (m->nr_fit > 0)
      return 0;
  }
  return 0;
}

/*------------------------------------------------------------------*/
/* Which one is the parent? */

struct family {
  struct search *search;
  const char *child;
  const struct vdi_header *header; /* the child's */
  const struct vdi_options *options;
  struct vdi_error *error;
};

/* Do two files look the same as far as can be seen without reading all of
 * them?  The modification UUID, which changes when an image is written to,
 * is in the header.
 */
static bool
look_the_same (const struct sighting *a, const struct sighting *b)
{
  struct file_start x, y;
  struct vdi_error ignored;

  return a->length == b->length &&
         file_start_read (a->filename, true, &x, &ignored) == 0 &&
         file_start_read (b->filename, true, &y, &ignored) == 0 &&
         x.size == y.size && memcmp (x.bytes, y.bytes, x.size) == 0;
}

static bool
all_fits_look_the_same (const struct sightings *table, const struct wanted *w,
                        const struct matches *m)
{
  const struct sighting *s = NULL;

  while ((s = sightings_by_uuid (table, w->uuid, s)) != NULL)
    if (s != m->fit && fits (w, s) && !look_the_same (s, m->fit))
      return false;
  return true;
}

/* An image in the state that the child asks for, but with another UUID. */
static const struct sighting *
renamed_parent (const struct family *f)
{
  const struct vdi_uuid *mod = &f->header->uuid_parent_mod;
  const struct sightings *table = &f->search->seen;
  size_t i;

  for (i = 0; i < table->nr && !vdi_uuid_is_null (mod); ++i)
    if (vdi_uuid_equal (&sightings_get (table, i)->mod, mod))
      return sightings_get (table, i);
  return NULL;
}

static int
not_found (const struct family *f)
{
  const struct sighting *renamed = renamed_parent (f);
  char text[VDI_ERROR_MAX], hint[VDI_ERROR_MAX] = "", u[VDI_UUID_STRING_SIZE];

  search_describe (f->search, text, sizeof text);
  if (renamed != NULL)
    text_append (hint, sizeof hint, "%.*s has the modification UUID that is "
                 "wanted, so perhaps its UUID was changed: parent-check=size "
                 "takes it all the same, to read the disk; ", 300,
                 renamed->filename);
  return vdi_set_error (f->error, ENOENT, "%s: its parent, the image with the "
                        "UUID %s, was not found; %ssay where it is with "
                        "parent=FILE or parent-dir=DIR; if its UUID was "
                        "changed or it is gone for good, see \"Lost parents\" "
                        "in the manual (looked at: %s%s)", f->child,
                        vdi_uuid_print (&f->header->uuid_parent, u), hint,
                        f->options && f->options->nr_candidates > 0
                        ? "the images of the machine, " : "", text);
}

static int
not_clear (const struct family *f, const struct matches *m)
{
  char u[VDI_UUID_STRING_SIZE];
  const bool fit = m->nr_fit > 0;

  return vdi_set_error (f->error, EINVAL, "%s: its parent, the image with the "
                        "UUID %s, is there twice: %s and %s, %s; choose one "
                        "with parent=FILE", f->child,
                        vdi_uuid_print (&f->header->uuid_parent, u),
                        (fit ? m->fit : m->first)->filename,
                        (fit ? m->also : m->second)->filename,
                        fit
                        ? "both with the modification UUID that it asks for, "
                          "and yet different"
                        : "neither with the modification UUID that it asks "
                          "for");
}

/* What is to be said of a choice; an empty text if nothing. */
static void
say_twins (const struct family *f, const struct matches *m, char *text,
           size_t size)
{
  text_append (text, size, "%s: took %s for its parent", f->child,
               m->fit->filename);
  if (m->nr_fit == 1)
    text_append (text, size, ", which has the modification UUID that it asks "
                 "for, not %s",
                 (m->first == m->fit ? m->second : m->first)->filename);
  else
    text_append (text, size, ", which looks the same as %s",
                 m->also->filename);
  if (m->nr > 2)
    text_append (text, size, " and %zu more", m->nr - 2);
  text_append (text, size, "; all have the same UUID: move those that are not "
               "used away, or choose with parent=FILE");
}

/* Only an old copy may have been found, and the real one not been read. */
static void
say_unread (const struct family *f, const struct matches *m, char *text,
            size_t size)
{
  char where[VDI_ERROR_MAX];

  if (!search_missed_something (f->search))
    return;
  search_describe (f->search, where, sizeof where);
  text_append (text, size, "%s: took %s for its parent, which has the right "
               "UUID but is in another state; the right file may be one that "
               "was not read (looked at: %s)", f->child, m->first->filename,
               where);
}

static int
choose (const struct family *f, const struct wanted *w,
        const struct matches *m, char **filename, char **warning)
{
  const struct sighting *chosen = m->nr_fit > 0 ? m->fit : m->first;
  char text[VDI_ERROR_MAX] = "";

  if (m->nr == 0)
    return not_found (f);
  if (m->nr_fit == 0 && m->nr > 1)
    return not_clear (f, m);
  if (m->nr_fit > 1 && !all_fits_look_the_same (&f->search->seen, w, m))
    return not_clear (f, m);

  if (m->nr > 1)
    say_twins (f, m, text, sizeof text);
  else if (m->nr_fit == 0)
    say_unread (f, m, text, sizeof text);
  if (text[0] != '\0' && (*warning = strdup (text)) == NULL)
    return sightings_no_memory (f->error);
  *filename = strdup (chosen->filename);
  return *filename ? 0 : sightings_no_memory (f->error);
}

/* The first candidate with the UUID, looking at no more of them. */
static int
find_candidate (const struct family *f, const struct sighting **match)
{
  const struct vdi_uuid *uuid = &f->header->uuid_parent;
  struct search *s = f->search;
  const struct sighting *seen;

  for (;;) {
    seen = NULL;
    while ((seen = sightings_by_uuid (&s->seen, uuid, seen)) != NULL)
      if (seen->folder == NO_FOLDER) {
        *match = seen;
        return 1;
      }
    if (f->options == NULL ||
        s->nr_candidates_seen >= f->options->nr_candidates)
      return 0;
    if (search_add_file (s, f->options->candidates[s->nr_candidates_seen++],
                         f->error) == -1)
      return -1;
  }
}

static int
add_folders (const struct family *f, size_t *own)
{
  const size_t nr_dirs = f->options ? f->options->nr_parent_dirs : 0;
  size_t i;

  if (search_add_usual_folders (f->search, f->child, own, f->error) == -1)
    return -1;
  for (i = 0; i < nr_dirs; ++i)
    if (search_add_folder (f->search, f->options->parent_dirs[i],
                           f->error) == -1)
      return -1;
  return 0;
}

int
discover_parent (struct search *search, const char *child,
                 const struct vdi_header *header,
                 const struct vdi_options *options, char **filename,
                 char **warning, struct vdi_error *error)
{
  const struct family f = { search, child, header, options, error };
  struct wanted w = {
    .uuid = &header->uuid_parent, .mod = &header->uuid_parent_mod
  };
  struct matches m = { .nr = 1 };
  int r = find_candidate (&f, &m.first);

  *warning = NULL;
  if (r == -1)
    return -1;
  if (r == 1) {
    *filename = strdup (m.first->filename);
    return *filename ? 0 : sightings_no_memory (error);
  }
  if (add_folders (&f, &w.near) == -1 ||
      find_matches (search, &w, &m, error) == -1)
    return -1;
  return choose (&f, &w, &m, filename, warning);
}

/*------------------------------------------------------------------*/

int
discover_image (struct search *s, const char *const *dirs, size_t nr_dirs,
                const struct vdi_uuid *uuid, char **filename,
                struct vdi_error *error)
{
  const struct wanted w = { .uuid = uuid, .near = NO_FOLDER };
  char u[VDI_UUID_STRING_SIZE];
  struct matches m;
  size_t i;

  for (i = 0; i < nr_dirs; ++i)
    if (search_add_folder (s, dirs[i], error) == -1)
      return -1;
  if (find_matches (s, &w, &m, error) == -1)
    return -1;
  if (m.nr == 0)
    return 0;
  if (m.nr > 1)
    return vdi_set_error (error, EINVAL, "two images have the UUID %s: %s and "
                          "%s; move one of them away, or name the right one "
                          "with file=", vdi_uuid_print (uuid, u),
                          m.first->filename, m.second->filename);
  *filename = strdup (m.first->filename);
  return *filename ? 1 : sightings_no_memory (error);
}
