/* SPDX-License-Identifier: BSD-3-Clause */
/* Where the images of a machine really are: see machine-files.h. */
#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "find/discover.h"
#include "find/machine-files.h"
#include "utils/cleanup.h"
#include "utils/file.h"

static int
out_of_memory (const struct machine_folders *f, struct vdi_error *error)
{
  return vdi_set_errno (error, ENOMEM, "%s", f->vbox);
}

/* "C:\..." or "\\server\..." */
static bool
is_windows_absolute (const char *location)
{
  return (isalpha ((unsigned char) location[0]) && location[1] == ':' &&
          (location[2] == '\\' || location[2] == '/')) ||
         strncmp (location, "\\\\", 2) == 0;
}

/* A name in a directory, unless it is absolute. */
static char *
in_directory (const char *dir, const char *name)
{
  return name[0] == '/' ? strdup (name) : file_join (dir, name);
}

/* The last component, whatever separates them. */
static const char *
file_name (const char *location)
{
  const char *p = location + strlen (location);

  while (p > location && p[-1] != '/' && p[-1] != '\\')
    p--;
  return p;
}

/* As a Windows host would have meant a relative name. */
static char *
with_slashes (const char *location)
{
  char *r = strdup (location), *p;

  for (p = r; p != NULL && *p; ++p)
    if (*p == '\\')
      *p = '/';
  return r;
}

int
machine_folders_init (struct machine_folders *f, const char *vbox,
                      const struct machine *m, const char *const *dirs,
                      size_t nr_dirs, struct vdi_error *error)
{
  char *slash, *folder = NULL;
  struct stat st;

  *f = (struct machine_folders) { .vbox = vbox };
  /* Locations are relative to the file itself, not to a link to it. */
  f->home = realpath (vbox, NULL);
  if (f->home == NULL)
    return vdi_set_errno (error, errno, "%s", vbox);
  slash = strrchr (f->home, '/');
  slash[slash == f->home ? 1 : 0] = '\0';

  f->usual = in_directory (f->home, "Snapshots");
  f->snapshots = in_directory (f->home, m->snapshot_folder);
  /* A folder with a backslash in its name is unusual, but may be. */
  if (f->snapshots != NULL && strchr (m->snapshot_folder, '\\') != NULL &&
      stat (f->snapshots, &st) == -1) {
    folder = is_windows_absolute (m->snapshot_folder)
             ? strdup (file_name (m->snapshot_folder))
             : with_slashes (m->snapshot_folder);
    free (f->snapshots);
    f->snapshots = folder ? in_directory (f->home, folder) : NULL;
    free (folder);
  }
  f->search = malloc (sizeof *f->search);
  if (f->search != NULL)
    search_init (f->search, DISCOVER_MAX_FILES);
  f->dirs = calloc (3 + nr_dirs, sizeof *f->dirs);
  if (f->usual == NULL || f->snapshots == NULL || f->search == NULL ||
      f->dirs == NULL)
    return out_of_memory (f, error);
  f->dirs[f->nr_dirs++] = f->home;
  f->dirs[f->nr_dirs++] = f->snapshots;
  f->dirs[f->nr_dirs++] = f->usual;
  for (size_t i = 0; i < nr_dirs; ++i)
    f->dirs[f->nr_dirs++] = dirs[i];
  return 0;
}

void
machine_folders_free (struct machine_folders *f)
{
  free (f->home);
  free (f->snapshots);
  free (f->usual);
  free (f->dirs);
  if (f->search != NULL)
    search_free (f->search);
  free (f->search);
}

/* Does a file hold that image?  If not, *why says what it is. */
static bool
holds (const char *filename, const struct vdi_uuid *uuid,
       struct vdi_error *why)
{
  char u[VDI_UUID_STRING_SIZE];
  struct vdi_header header;

  if (discover_header (filename, &header, why) == -1)
    return false;
  if (vdi_uuid_equal (&header.uuid_image, uuid))
    return true;
  vdi_set_error (why, EINVAL, "%s: holds another image, with the UUID %s",
                 filename, vdi_uuid_print (&header.uuid_image, u));
  return false;
}

/* A Windows host writes relative names with backslashes; if there is no
 * file that is really named so, they are taken for slashes.
 */
char *
machine_location (const struct machine_folders *f, const char *location)
{
  char *name = in_directory (f->home, location);
  CLEANUP_FREE char *slashes = NULL;
  struct stat st;

  if (name == NULL || strchr (location, '\\') == NULL ||
      is_windows_absolute (location) || stat (name, &st) == 0)
    return name;
  free (name);
  slashes = with_slashes (location);
  return slashes ? in_directory (f->home, slashes) : NULL;
}

/* Of an absolute name of another host, or of a machine folder that was
 * moved as a whole, the last component may still be right.  Returns 1 if
 * the image was found, 0 if not, -1 without memory.
 */
static int
try_location (const struct machine_folders *f, const char *location,
              const struct vdi_uuid *uuid, char **filename, bool *as_written,
              struct vdi_error *why)
{
  struct vdi_error ignored;
  bool found = false;
  char *name = machine_location (f, location);
  size_t i;

  *as_written = found = name != NULL && holds (name, uuid, why);
  for (i = 0; name != NULL && !found && i < f->nr_dirs; ++i) {
    free (name);
    name = in_directory (f->dirs[i], file_name (location));
    found = name != NULL && holds (name, uuid, &ignored);
  }
  if (name == NULL)
    return -1;
  if (found)
    *filename = name;
  else
    free (name);
  return found;
}

static int
not_found (const struct machine_folders *f, const struct machine *m,
           const struct vdi_uuid *uuid, const char *why,
           struct vdi_error *error)
{
  char u[VDI_UUID_STRING_SIZE], text[VDI_ERROR_MAX];

  search_describe (f->search, text, sizeof text);
  return vdi_set_error (error, ENOENT, "%s: the image of machine %.100s with "
                        "the UUID %s was not found; say where it is with "
                        "parent-dir=DIR, or name it with file= (%s; and no "
                        "file that was looked at has that UUID: %s)",
                        f->vbox, m->name,
                        vdi_uuid_print (uuid, u), why, text);
}

int
machine_find_file (const struct machine_folders *f, const struct machine *m,
                   size_t image, const struct vdi_uuid *uuid,
                   char **filename, char **moved, struct vdi_error *error)
{
  const char *location =
    image == MACHINE_NONE ? NULL : m->images[image].location;
  struct vdi_error why, failure;
  bool as_written = false;
  int r = 0;

  *moved = NULL;
  vdi_set_error (&why, ENOENT, "the machine file does not say where");
  if (location != NULL) {
    r = try_location (f, location, uuid, filename, &as_written, &why);
    if (r == -1)
      return out_of_memory (f, error);
  }
  if (r == 0) {
    r = discover_image (f->search, f->dirs, f->nr_dirs, uuid, filename,
                        &failure);
    if (r == -1)
      return vdi_set_error (error, failure.err, "%s: %s", f->vbox,
                            failure.message);
    if (r == 0)
      return not_found (f, m, uuid, why.message, error);
  }
  if (!as_written && location != NULL) {
    *moved = strdup (why.message);
    if (*moved == NULL) {
      free (*filename);
      return out_of_memory (f, error);
    }
  }
  return 0;
}
