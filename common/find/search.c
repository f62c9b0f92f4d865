/* SPDX-License-Identifier: BSD-3-Clause */
/* Looking at the headers of many files: see search.h. */
#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "find/search.h"
#include "utils/cleanup.h"
#include "utils/file.h"
#include "utils/text.h"

int
file_start_read (const char *filename, bool allow_device,
                 struct file_start *start, struct vdi_error *error)
{
  struct stat st;
  CLEANUP_CLOSE const int fd =
    file_open (filename, allow_device ? FILE_OR_DEVICE : 0, &st);
  ssize_t size;

  *start = (struct file_start) {
    .id = file_id_of (&st), .length = st.st_size
  };
  if (fd == -1 && errno == EMEDIUMTYPE)
    return vdi_set_error (error, EINVAL,
                          "%s: is neither a file nor a block device",
                          filename);
  if (fd == -1)
    return vdi_set_errno (error, errno, "%s", filename);
  size = file_read (fd, start->bytes, sizeof start->bytes);
  if (size == -1)
    return vdi_set_errno (error, errno, "%s: reading its header", filename);
  start->size = size;
  return 0;
}

/*------------------------------------------------------------------*/
/* Places */

void
search_init (struct search *s, size_t max_files)
{
  memset (s, 0, sizeof *s);
  s->max_files = max_files;
  s->files_left[LIKELY_NAMES] = s->files_left[OTHER_NAMES] = max_files;
  sightings_init (&s->seen);
}

void
search_free (struct search *s)
{
  size_t i;

  for (i = 0; i < s->nr_folders; ++i)
    free (s->folders[i].dir);
  free (s->folders);
  sightings_free (&s->seen);
}

static bool
is_same_folder (const struct folder *p, const struct folder *q)
{
  return strcmp (p->dir, q->dir) == 0 ||
         (p->exists && q->exists && file_id_equal (p->id, q->id));
}

/* Add a directory unless it is there already; *number is which one it is.
 * Takes dir (malloc).
 */
static int
add_folder (struct search *s, char *dir, size_t *number,
            struct vdi_error *error)
{
  CLEANUP_FREE char *taken = dir;
  struct folder p = { .dir = dir }, *folders;
  struct stat st;

  if (dir == NULL)
    return sightings_no_memory (error);
  if (stat (dir, &st) == -1)
    p.err = errno;
  else {
    p.exists = true;
    p.id = file_id_of (&st);
  }
  for (*number = 0; *number < s->nr_folders; ++*number)
    if (is_same_folder (&s->folders[*number], &p))
      return 0;
  folders = realloc (s->folders, (s->nr_folders + 1) * sizeof *folders);
  if (folders == NULL)
    return sightings_no_memory (error);
  folders[s->nr_folders++] = p;
  s->folders = folders;
  taken = NULL;
  return 0;
}

/* Does one of the components name another directory than it seems? */
static bool
has_dots (const char *name)
{
  while (*name) {
    size_t len = strcspn (name, "/");

    if ((len == 1 && name[0] == '.') ||
        (len == 2 && name[0] == '.' && name[1] == '.'))
      return true;
    name += len;
    name += strspn (name, "/");
  }
  return false;
}

/* The directory of a file as it was named, as an absolute name whose
 * last component can be taken off to get the one above.
 */
static char *
directory_of (const char *filename)
{
  char *dir = file_directory (filename), *r = NULL;

  if (dir == NULL)
    return NULL;
  if (dir[0] == '/' && !has_dots (dir))
    return dir;
  r = realpath (dir, NULL);
  if (r == NULL && errno != ENOMEM)
    return dir;
  free (dir);
  return r;
}

int
search_add_folder (struct search *s, const char *dir, struct vdi_error *error)
{
  size_t number;

  return add_folder (s, strdup (dir), &number, error);
}

/* The directory, the one above it, Snapshots in it: takes dir. */
static int
add_folders_around (struct search *s, char *dir, size_t *number,
                    struct vdi_error *error)
{
  char *above = dir != NULL ? file_directory (dir) : NULL;
  char *snapshots = dir != NULL ? file_join (dir, "Snapshots") : NULL;
  size_t other;
  int r = add_folder (s, dir, number, error);

  if (add_folder (s, above, &other, error) == -1)
    r = -1;
  if (add_folder (s, snapshots, &other, error) == -1)
    r = -1;
  return r;
}

/* If it is a symbolic link, its relatives may lie beside the link or
 * beside what it points to.
 */
int
search_add_usual_folders (struct search *s, const char *filename,
                          size_t *own, struct vdi_error *error)
{
  CLEANUP_FREE char *real = NULL;

  if (add_folders_around (s, directory_of (filename), own, error) == -1)
    return -1;
  real = realpath (filename, NULL);
  if (real == NULL)
    return errno == ENOMEM ? sightings_no_memory (error) : 0;
  return add_folders_around (s, file_directory (real), own, error);
}

/*------------------------------------------------------------------*/
/* Visiting files */

/* VirtualBox calls the images of snapshots {UUID}.vdi, and people who
 * copy them may change the end.
 */
static bool
begins_with_uuid (const char *name)
{
  char text[VDI_UUID_STRING_SIZE];
  struct vdi_uuid uuid;

  name += name[0] == '{';
  if (strlen (name) < sizeof text - 1)
    return false;
  snprintf (text, sizeof text, "%s", name);
  return vdi_uuid_parse (text, &uuid);
}

static bool
is_of_kind (const char *name, enum name_kind kind)
{
  if (kind == MACHINE_NAMES)
    return text_has_suffix (name, ".vbox");
  return (text_has_suffix (name, ".vdi") || begins_with_uuid (name)) ==
         (kind == LIKELY_NAMES);
}

static int
compare_names (const void *a, const void *b)
{
  return strcmp (*(char *const *) a, *(char *const *) b);
}

struct listing {
  char **name;
  size_t nr;
};

static void
cut_listing (struct listing *names, size_t max)
{
  while (names->nr > max)
    free (names->name[--names->nr]);
}

static void
free_listing (struct listing *names)
{
  cut_listing (names, 0);
  free (names->name);
}

/* Sort names, and keep only the first max. */
static void
keep_first (struct listing *names, size_t max, bool *more)
{
  qsort (names->name, names->nr, sizeof *names->name, compare_names);
  *more |= names->nr > max;
  cut_listing (names, max);
}

/* The first max names of a kind that may be files in a directory, in
 * bounded memory however many there are.  Returns errno.
 */
static int
list_directory (const char *dir, enum name_kind kind, size_t max,
                struct listing *names, bool *more)
{
  const size_t room = 2 * max + 1;
  CLEANUP_CLOSEDIR DIR *dp = opendir (dir);
  struct dirent *d;

  if (dp == NULL)
    return errno;
  names->name = malloc (room * sizeof *names->name);
  if (names->name == NULL)
    return ENOMEM;
  while ((d = readdir (dp)) != NULL) {
    if (d->d_type == DT_DIR || strcmp (d->d_name, ".") == 0 ||
        strcmp (d->d_name, "..") == 0 || !is_of_kind (d->d_name, kind))
      continue;
    names->name[names->nr] = strdup (d->d_name);
    if (names->name[names->nr] == NULL)
      return ENOMEM;
    if (++names->nr == room)
      keep_first (names, max, more);
  }
  keep_first (names, max, more);
  return 0;
}

/* folder is its number: s->folders may move. */
typedef int (*visit_fn) (struct search *s, size_t folder, const char *filename,
                         void *opaque, struct vdi_error *error);

static int
visit_directory (struct search *s, size_t folder, enum name_kind kind,
                 visit_fn fn, void *opaque, struct vdi_error *error)
{
  struct folder *const p = &s->folders[folder];
  CLEANUP (free_listing) struct listing names = { .nr = 0 };
  size_t i;
  int r;

  if (p->err)
    return 0;
  p->err = list_directory (p->dir, kind, s->files_left[kind], &names,
                           &s->cut_short);
  if (p->err)
    return p->err == ENOMEM ? sightings_no_memory (error) : 0;
  for (i = 0; i < names.nr; ++i) {
    CLEANUP_FREE char *filename = file_join (p->dir, names.name[i]);

    s->files_left[kind]--;
    r = filename ? fn (s, folder, filename, opaque, error)
                 : sightings_no_memory (error);
    if (r != 0)
      return r;
  }
  return 0;
}

static bool
may_be_wanted (int err)
{
  return err == EACCES || err == EPERM || err == EIO || err == EAGAIN;
}

/* Remember a file that cannot be read, as something without a UUID, so
 * that it counts once whatever its names.
 */
static int
add_unreadable (struct search *s, const char *filename,
                const struct file_start *start, int err,
                struct vdi_error *error)
{
  struct sighting seen = {
    .filename = filename, .id = start->id
  };
  int r;

  if (start->id.ino == 0)       /* nothing to tell it by: each is another */
    seen.id.ino = s->nr_unreadable + 1;
  r = sightings_add (&s->seen, &seen, error);
  if (r == 1 && s->nr_unreadable++ == 0) {
    s->unreadable = s->seen.nr - 1;
    s->unreadable_err = err;
  }
  return r == -1 ? -1 : 0;
}

/* Keep what an image says of itself. */
static int
look_at (struct search *s, size_t folder, const char *filename,
         bool allow_device, struct vdi_error *error)
{
  struct file_start start;
  struct vdi_header h;
  struct vdi_error failure;
  struct sighting seen = { .filename = filename, .folder = folder };

  if (file_start_read (filename, allow_device, &start, &failure) == -1)
    return may_be_wanted (failure.err)
           ? add_unreadable (s, filename, &start, failure.err, error) : 0;
  if (vdi_header_decode (start.bytes, start.size, filename, &h,
                         &failure) == -1)
    return 0;
  seen.id = start.id;
  seen.length = start.length;
  seen.uuid = h.uuid_image;
  seen.mod = h.uuid_mod;
  seen.parent = h.uuid_parent;
  return sightings_add (&s->seen, &seen, error) == -1 ? -1 : 0;
}

int
search_add_file (struct search *s, const char *filename,
                 struct vdi_error *error)
{
  if (s->files_left[LIKELY_NAMES] == 0) {
    s->cut_short = true;
    return 0;
  }
  s->files_left[LIKELY_NAMES]--;
  return look_at (s, NO_FOLDER, filename, true, error);
}

static int
look_at_file (struct search *s, size_t folder, const char *filename,
              void *opaque, struct vdi_error *error)
{
  (void) opaque;
  return look_at (s, folder, filename, false, error);
}

int
search_read (struct search *s, enum name_kind kind, struct vdi_error *error)
{
  size_t i;

  for (i = 0; i < s->nr_folders; ++i) {
    if (s->folders[i].was_read[kind])
      continue;
    s->folders[i].was_read[kind] = true;
    if (visit_directory (s, i, kind, look_at_file, NULL, error) == -1)
      return -1;
  }
  return 0;
}

struct machine_visit {
  name_fn fn;
  void *opaque;
};

static int
visit_machine (struct search *s, size_t folder, const char *filename,
               void *opaque, struct vdi_error *error)
{
  struct machine_visit *v = opaque;

  (void) s;
  (void) folder;
  return v->fn (v->opaque, filename, error);
}

int
search_visit_machines (struct search *s, size_t max, name_fn fn, void *opaque,
                       struct vdi_error *error)
{
  struct machine_visit v = { fn, opaque };
  size_t i;
  int r = 0;

  s->files_left[MACHINE_NAMES] = max;
  for (i = 0; i < s->nr_folders && r == 0; ++i)
    r = visit_directory (s, i, MACHINE_NAMES, visit_machine, &v, error);
  return r;
}

bool
search_missed_something (const struct search *s)
{
  bool r = s->nr_unreadable > 0 || s->cut_short;
  size_t i;

  for (i = 0; i < s->nr_folders && !r; ++i)
    r = may_be_wanted (s->folders[i].err);
  return r;
}

/*------------------------------------------------------------------*/
/* For messages */

void
search_describe (const struct search *s, char *text, size_t size)
{
  size_t i;

  text[0] = '\0';
  for (i = 0; i < s->nr_folders; ++i) {
    text_append (text, size, "%s%s", i > 0 ? ", " : "", s->folders[i].dir);
    errno = s->folders[i].err;
    if (errno != 0)
      text_append (text, size, " (%m)");
  }
  errno = s->unreadable_err;
  if (s->nr_unreadable > 0)
    text_append (text, size, "; %zu file%s could not be read, such as "
                 "%s: %m", s->nr_unreadable, s->nr_unreadable == 1 ? "" : "s",
                 sightings_get (&s->seen, s->unreadable)->filename);
  if (s->cut_short)
    text_append (text, size, "; there are more files, of which only %zu were "
                 "looked at", s->max_files);
}
