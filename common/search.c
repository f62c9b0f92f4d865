/* SPDX-License-Identifier: BSD-3-Clause */
/* Looking at the headers of many files: see search.h. */
#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "search.h"

static int
out_of_memory (struct vdi_error *error)
{
  return vdi_set_errno (error, ENOMEM, "looking for images");
}

/* Read the header of a file of a kind that can be read without waiting:
 * opening a FIFO, even without blocking, would wake up its writer.
 */
int
sighting_read (const char *filename, bool allow_device, struct sighting *out,
             struct vdi_error *error)
{
  uint8_t bytes[VDI_HEADER_SIZE];
  size_t have = 0;
  struct stat st;
  int fd;

  if (stat (filename, &st) == -1)
    return vdi_set_errno (error, errno, "%s", filename);
  if (!S_ISREG (st.st_mode) && !(allow_device && S_ISBLK (st.st_mode)))
    return vdi_set_error (error, EINVAL,
                          "%s: is neither a file nor a block device",
                          filename);
  fd = open (filename, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd == -1)
    return vdi_set_errno (error, errno, "%s", filename);
  /* It may have been replaced in between. */
  if (fstat (fd, &st) == -1 ||
      (!S_ISREG (st.st_mode) && !(allow_device && S_ISBLK (st.st_mode)))) {
    close (fd);
    return vdi_set_error (error, EINVAL, "%s: changed while it was opened",
                          filename);
  }
  while (have < sizeof bytes) {
    ssize_t r = pread (fd, bytes + have, sizeof bytes - have, have);

    if (r == -1 && errno == EINTR)
      continue;
    if (r == -1) {
      int err = errno;

      close (fd);
      return vdi_set_errno (error, err, "%s: reading its header", filename);
    }
    if (r == 0)
      break;
    have += r;
  }
  close (fd);
  out->filename = filename;
  out->dev = st.st_dev;
  out->ino = st.st_ino;
  return vdi_header_decode (bytes, have, filename, &out->header, error);
}

/*------------------------------------------------------------------*/
/* Places */

void
search_init (struct search *s, size_t max_files)
{
  memset (s, 0, sizeof *s);
  s->max_files = s->files_left = max_files;
}

void
search_free (struct search *s)
{
  size_t i;

  for (i = 0; i < s->nr_places; ++i)
    free (s->places[i].dir);
  free (s->places);
  free (s->unreadable);
}

/* Add a directory unless it is there already.  Takes dir (malloc). */
static int
add_place (struct search *s, char *dir, struct vdi_error *error)
{
  struct place p = { .dir = dir }, *places;
  struct stat st;
  size_t i;

  if (dir == NULL)
    return out_of_memory (error);
  if (stat (dir, &st) == -1)
    p.err = errno;
  else {
    p.exists = true;
    p.dev = st.st_dev;
    p.ino = st.st_ino;
  }
  for (i = 0; i < s->nr_places; ++i) {
    const struct place *q = &s->places[i];

    if (strcmp (q->dir, dir) == 0 ||
        (p.exists && q->exists && q->dev == p.dev && q->ino == p.ino)) {
      free (dir);
      return 0;
    }
  }
  places = realloc (s->places, (s->nr_places + 1) * sizeof *places);
  if (places == NULL) {
    free (dir);
    return out_of_memory (error);
  }
  places[s->nr_places++] = p;
  s->places = places;
  return 0;
}

static char *
join (const char *dir, const char *name)
{
  char *r;
  size_t len = strlen (dir);

  if (asprintf (&r, "%s%s%s", dir,
                len > 0 && dir[len - 1] == '/' ? "" : "/", name) == -1)
    return NULL;
  return r;
}

/* Without its last component: "/a/b" -> "/a", "/a" -> "/". */
static char *
without_last (const char *name)
{
  size_t len = strlen (name);

  while (len > 1 && name[len - 1] == '/')
    len--;
  while (len > 0 && name[len - 1] != '/')
    len--;
  while (len > 1 && name[len - 1] == '/')
    len--;
  return len > 0 ? strndup (name, len) : strdup (".");
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
  char *dir = without_last (filename), *r = NULL;

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
search_add_place (struct search *s, const char *dir, struct vdi_error *error)
{
  return add_place (s, strdup (dir), error);
}

/* The directory, the one above it, Snapshots in it: takes dir. */
static int
add_places_around (struct search *s, char *dir, struct vdi_error *error)
{
  char *above, *snapshots;

  if (dir == NULL)
    return out_of_memory (error);
  above = without_last (dir);
  snapshots = join (dir, "Snapshots");
  if (add_place (s, dir, error) == -1) {
    free (above);
    free (snapshots);
    return -1;
  }
  if (add_place (s, above, error) == -1) {
    free (snapshots);
    return -1;
  }
  return add_place (s, snapshots, error);
}

/* The usual places for relatives of a file.  If it is a symbolic link,
 * its relatives may lie beside the link or beside what it points to.
 */
int
search_add_usual_places (struct search *s, const char *filename,
                  struct vdi_error *error)
{
  char *real;

  if (add_places_around (s, directory_of (filename), error) == -1)
    return -1;
  real = realpath (filename, NULL);
  if (real == NULL)
    return errno == ENOMEM ? out_of_memory (error) : 0;
  if (add_places_around (s, without_last (real), error) == -1) {
    free (real);
    return -1;
  }
  free (real);
  return 0;
}

/*------------------------------------------------------------------*/
/* Visiting files */

static bool
has_suffix (const char *name, const char *suffix)
{
  size_t len = strlen (name), n = strlen (suffix);

  return len >= n && strcasecmp (name + len - n, suffix) == 0;
}

/* What looks like an image comes first, should there be too many. */
static int
compare_names (const void *a, const void *b)
{
  const char *s = *(char *const *) a, *t = *(char *const *) b;
  bool s_vdi = has_suffix (s, ".vdi"), t_vdi = has_suffix (t, ".vdi");

  if (s_vdi != t_vdi)
    return s_vdi ? -1 : 1;
  return strcmp (s, t);
}

static void
free_names (char **names, size_t from, size_t to)
{
  while (from < to)
    free (names[from++]);
}

/* The first max names (in the order of compare_names) that may be files
 * in a directory and end as wanted, in bounded memory however many there
 * are.
 */
static int
list_directory (const char *dir, const char *suffix, size_t max,
                char ***names_r, size_t *nr_r, bool *more, int *err)
{
  const size_t room = 2 * max + 1;
  char **names;
  size_t nr = 0;
  struct dirent *d;
  DIR *dp = opendir (dir);

  if (dp == NULL) {
    *err = errno;
    return -1;
  }
  names = malloc (room * sizeof *names);
  while (names != NULL && (errno = 0, d = readdir (dp)) != NULL) {
    if (d->d_type == DT_DIR || strcmp (d->d_name, ".") == 0 ||
        strcmp (d->d_name, "..") == 0 || !has_suffix (d->d_name, suffix))
      continue;
    names[nr] = strdup (d->d_name);
    if (names[nr] == NULL)
      goto fail;
    if (++nr == room) {
      qsort (names, nr, sizeof *names, compare_names);
      free_names (names, max, nr);
      nr = max;
      *more = true;
    }
  }
  if (names == NULL)
    goto fail;
  closedir (dp);
  qsort (names, nr, sizeof *names, compare_names);
  if (nr > max) {
    free_names (names, max, nr);
    nr = max;
    *more = true;
  }
  *names_r = names;
  *nr_r = nr;
  return 0;

 fail:
  *err = ENOMEM;
  free_names (names, 0, nr);
  free (names);
  closedir (dp);
  return -1;
}

static int
visit_directory (struct search *s, struct place *place, const char *suffix,
                 name_fn fn, void *opaque, struct vdi_error *error)
{
  char **names;
  size_t nr, i;
  int r = 0;

  if (place->err)
    return 0;
  if (list_directory (place->dir, suffix, s->files_left, &names, &nr,
                      &s->cut_short, &place->err) == -1)
    return place->err == ENOMEM ? out_of_memory (error) : 0;
  for (i = 0; i < nr && r == 0; ++i) {
    char *filename = join (place->dir, names[i]);

    s->files_left--;
    r = filename ? fn (opaque, filename, error) : out_of_memory (error);
    free (filename);
  }
  free_names (names, 0, nr);
  free (names);
  return r;
}

int
search_visit_names (struct search *s, const char *suffix, name_fn fn,
                    void *opaque, struct vdi_error *error)
{
  size_t i;
  int r = 0;

  for (i = 0; i < s->nr_places && r == 0; ++i)
    r = visit_directory (s, &s->places[i], suffix, fn, opaque, error);
  return r;
}

struct look {
  struct search *s;
  bool allow_device;
  sighting_fn fn;
  void *opaque;
};

static int
look_at (void *opaque, const char *filename, struct vdi_error *error)
{
  struct look *look = opaque;
  struct search *s = look->s;
  struct sighting sighting;
  struct vdi_error failure;

  if (sighting_read (filename, look->allow_device, &sighting,
                     &failure) == 0)
    return look->fn (look->opaque, &sighting, error);
  if ((failure.err == EACCES || failure.err == EPERM ||
       failure.err == EIO) && s->nr_unreadable++ == 0) {
    s->unreadable = strdup (filename);
    s->unreadable_err = failure.err;
  }
  return 0;
}

int
search_look_at (struct search *s, const char *filename, sighting_fn fn,
                void *opaque, struct vdi_error *error)
{
  struct look look = { s, true, fn, opaque };

  if (s->files_left == 0) {
    s->cut_short = true;
    return 0;
  }
  s->files_left--;
  return look_at (&look, filename, error);
}

int
search_visit (struct search *s, sighting_fn fn, void *opaque,
              struct vdi_error *error)
{
  struct look look = { s, false, fn, opaque };

  return search_visit_names (s, "", look_at, &look, error);
}

/*------------------------------------------------------------------*/
/* For messages */

void
text_append (char *text, size_t size, const char *fs, ...)
{
  size_t len = strlen (text);
  va_list args;

  va_start (args, fs);
  vsnprintf (text + len, size - len, fs, args);
  va_end (args);
}

/* strerror is not for threads. */
static const char *
why (int err, char *text, size_t size)
{
  return strerror_r (err, text, size); /* the GNU one */
}

void
search_describe (const struct search *s, char *text, size_t size)
{
  char buf[128];
  size_t i;

  text[0] = '\0';
  for (i = 0; i < s->nr_places; ++i) {
    text_append (text, size, "%s%s", i > 0 ? ", " : "", s->places[i].dir);
    if (s->places[i].err)
      text_append (text, size, " (%s)",
                   why (s->places[i].err, buf, sizeof buf));
  }
  if (s->nr_unreadable > 0)
    text_append (text, size, "; %zu file%s could not be read, such as "
                 "%s: %s", s->nr_unreadable, s->nr_unreadable == 1 ? "" : "s",
                 s->unreadable ? s->unreadable : "?",
                 why (s->unreadable_err, buf, sizeof buf));
  if (s->cut_short)
    text_append (text, size, "; no more than %zu files were looked at",
                 s->max_files);
}
