/* SPDX-License-Identifier: BSD-3-Clause */
/* The disks of a VirtualBox machine (vdi.h): which image a person means
 * who names a machine, a snapshot and a disk, and whether it may be
 * written to.
 */
#include <config.h>

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "find/discover.h"
#include "find/machine-files.h"
#include "find/search.h"
#include "utils/cleanup.h"
#include "utils/text.h"
#include "vbox/machine.h"

#define CURRENT 0               /* index of the current state */

/* More of a name or a location in a message or a description hides the
 * rest of it.
 */
#define SHOWN 200

struct finder {
  const char *vbox;
  struct machine *m;
  struct machine_folders folders;
  const struct vdi_listener *listener;
  struct vdi_error *error;
};

/*------------------------------------------------------------------*/
/* Which snapshot */

static int
no_such_snapshot (const struct finder *f, const char *snapshot)
{
  char list[VDI_ERROR_MAX] = "";
  size_t i;

  for (i = CURRENT + 1; i < f->m->nr_states; ++i)
    text_append (list, sizeof list, "%s\"%.*s\"", i > 1 ? ", " : "", SHOWN,
                 f->m->states[i].name);
  return vdi_set_error (f->error, EINVAL, "%s: there is no snapshot \"%.*s\" "
                        "(%s%s)", f->vbox, SHOWN, snapshot,
                        list[0] ? "there are " : "the machine has none",
                        list);
}

static int
find_snapshot (const struct finder *f, const char *snapshot, size_t *state)
{
  const struct machine *m = f->m;
  char list[VDI_ERROR_MAX] = "", u[VDI_UUID_STRING_SIZE];
  struct vdi_uuid uuid;
  size_t i, found = 0;

  if (vdi_uuid_parse (snapshot, &uuid))
    for (i = CURRENT + 1; i < m->nr_states; ++i)
      if (vdi_uuid_equal (&m->states[i].uuid, &uuid)) {
        *state = i;
        return 0;
      }
  for (i = CURRENT + 1; i < m->nr_states; ++i)
    if (strcmp (m->states[i].name, snapshot) == 0) {
      *state = i;
      text_append (list, sizeof list, "%s%s", found++ ? ", " : "",
                   vdi_uuid_print (&m->states[i].uuid, u));
    }
  if (found == 0)
    return no_such_snapshot (f, snapshot);
  if (found > 1)
    return vdi_set_error (f->error, EINVAL, "%s: %zu snapshots are named "
                          "\"%.*s\"; choose one by its UUID with snapshot=: "
                          "%s", f->vbox, found, SHOWN, snapshot, list);
  return 0;
}

/*------------------------------------------------------------------*/
/* Which disk */

/* '0 is "SATA:0:0", 1 is "SATA:1:0"' */
static void
list_disks (const struct machine_state *state, char *text, size_t size)
{
  size_t i;

  text[0] = '\0';
  for (i = 0; i < state->nr_disks; ++i)
    text_append (text, size, "%s%zu is \"%.*s:%u:%u\"", i ? ", " : "", i,
                 SHOWN, state->disks[i].controller, state->disks[i].port,
                 state->disks[i].device);
}

static bool
read_number (const char **p, unsigned *n)
{
  unsigned long value = 0;

  if (**p < '0' || **p > '9')
    return false;
  for (; **p >= '0' && **p <= '9'; ++*p) {
    value = 10 * value + (unsigned) (**p - '0');
    if (value > UINT32_MAX)
      return false;
  }
  *n = value;
  return true;
}

/* Is this what CONTROLLER:PORT or CONTROLLER:PORT:DEVICE means? */
static bool
is_meant (const struct machine_attachment *a, const char *disk)
{
  const size_t len = strlen (a->controller);
  const char *p = disk + len;
  unsigned port, device;

  if (strncmp (disk, a->controller, len) != 0 || *p++ != ':' ||
      !read_number (&p, &port) || port != a->port)
    return false;
  if (*p == '\0')
    return true;
  return *p++ == ':' && read_number (&p, &device) && *p == '\0' &&
         device == a->device;
}

/* Names of controllers may contain colons: the longest that fits is
 * meant.
 */
static int
find_by_address (const struct finder *f, const struct machine_state *state,
                 const char *disk, size_t *index)
{
  char list[VDI_ERROR_MAX];
  size_t i, len, longest = 0, found = 0;

  for (i = 0; i < state->nr_disks; ++i)
    if (is_meant (&state->disks[i], disk)) {
      len = strlen (state->disks[i].controller);
      if (found == 0 || len > longest) {
        *index = i;
        longest = len;
        found = 1;
      }
      else if (len == longest)
        found++;
    }
  if (found == 1)
    return 0;
  list_disks (state, list, sizeof list);
  return vdi_set_error (f->error, EINVAL, "%s: %s disk=%.*s (%s)", f->vbox,
                        found == 0 ? "there is no"
                                   : "more than one disk is meant by",
                        SHOWN, disk, list);
}

static int
find_disk (const struct finder *f, const struct machine_state *state,
           const char *disk, size_t *index)
{
  const char *p = disk;
  char list[VDI_ERROR_MAX];
  unsigned n;

  if (state->nr_disks == 0)
    return vdi_set_error (f->error, EINVAL, "%s: no hard disk is attached to "
                          "machine %.*s%s", f->vbox, SHOWN, f->m->name,
                          state->name ? " in this snapshot" : "");
  list_disks (state, list, sizeof list);
  if (disk == NULL) {
    *index = 0;
    if (state->nr_disks > 1)
      vdi_warn (f->listener, "%s: machine %.*s has %zu hard disks; serving the "
                "first, for another say which with disk= (%s)", f->vbox, SHOWN,
                f->m->name, state->nr_disks, list);
    return 0;
  }
  if (!read_number (&p, &n) || *p != '\0')
    return find_by_address (f, state, disk, index);
  if (n >= state->nr_disks)
    return vdi_set_error (f->error, EINVAL, "%s: there is no disk=%u (%s)",
                          f->vbox, n, list);
  *index = n;
  return 0;
}

/*------------------------------------------------------------------*/
/* Which image, and can it be served? */

static int
check_servable (const struct finder *f, size_t image)
{
  const struct machine_image *i;

  for (; image != MACHINE_NONE; image = i->parent) {
    i = &f->m->images[image];
    if (i->encrypted)
      return vdi_set_error (f->error, EINVAL, "%s: the disk is encrypted: "
                            "%.*s holds nothing that can be read without "
                            "VirtualBox; decrypt it there first (VBoxManage "
                            "encryptmedium)", f->vbox, SHOWN, i->location);
    if (i->format != NULL && strcasecmp (i->format, "VDI") != 0)
      return vdi_set_error (f->error, EINVAL, "%s: %.*s is in the format "
                            "%.*s, not VDI; serve it with qemu-nbd, or "
                            "convert it (VBoxManage clonemedium --format "
                            "VDI)", f->vbox, SHOWN, i->location, 20,
                            i->format);
  }
  return 0;
}

static int
find_image (const struct finder *f, const struct vdi_uuid *uuid,
            size_t *image)
{
  char u[VDI_UUID_STRING_SIZE];
  size_t again;

  *image = machine_image_by_uuid (f->m, uuid, 0);
  if (*image == MACHINE_NONE)
    return 0;
  again = machine_image_by_uuid (f->m, uuid, *image + 1);
  if (again != MACHINE_NONE)
    return vdi_set_error (f->error, EINVAL, "%s: the image with the UUID %s "
                          "is registered twice: at %.*s and at %.*s; name "
                          "the right one with file=", f->vbox,
                          vdi_uuid_print (uuid, u), SHOWN,
                          f->m->images[*image].location, SHOWN,
                          f->m->images[again].location);
  return check_servable (f, *image);
}

static int
find_file (const struct finder *f, size_t image, const struct vdi_uuid *uuid,
           char **filename)
{
  CLEANUP_FREE char *moved = NULL;

  if (machine_find_file (&f->folders, f->m, image, uuid, filename, &moved,
                         f->error) == -1)
    return -1;
  if (moved != NULL)
    vdi_warn (f->listener, "%s: an image of machine %.*s is not where the "
              "machine file says; using %s, which has its UUID (%s)", f->vbox,
              SHOWN, f->m->name, *filename, moved);
  return 0;
}

/*------------------------------------------------------------------*/
/* May it be written to? */

static bool
is_type (const struct machine_image *image, const char *type)
{
  return image->type != NULL && strcasecmp (image->type, type) == 0;
}

static void
registry_forbids (const struct finder *f, size_t state, size_t image,
                  char *why, size_t size)
{
  const struct machine *m = f->m;
  const struct machine_image *i = &m->images[image];
  const size_t child = machine_child (m, image);
  /* Snapshots leave these as they are. */
  const bool shared = is_type (i, "Writethrough") || is_type (i, "Shareable");
  const size_t snapshot =
    shared ? MACHINE_NONE : machine_snapshot_with (m, &i->uuid);

  if (child != MACHINE_NONE)
    text_append (why, size, "the image %.*s depends on it, and would be "
                 "ruined", SHOWN, m->images[child].location);
  else if (is_type (i, "Immutable") || is_type (i, "Readonly") ||
           is_type (i, "MultiAttach"))
    text_append (why, size, "its type in the machine is %s", i->type);
  else if (state == CURRENT && snapshot != MACHINE_NONE)
    text_append (why, size, "the snapshot \"%.*s\" uses it as it is", SHOWN,
                 m->states[snapshot].name);
}

/* VirtualBox writes a new file beside the old one and keeps the one before:
 * after a crash they may be all there is.
 */
static const char *const spare_suffixes[] = { ".vbox-prev", ".vbox-tmp" };
#define NR_SPARES (sizeof spare_suffixes / sizeof spare_suffixes[0])

static bool
is_spare (const char *vbox)
{
  size_t i;

  for (i = 0; i < NR_SPARES; ++i)
    if (text_has_suffix (vbox, spare_suffixes[i]))
      return true;
  return false;
}

/* *why is left NULL if it may. */
static int
find_why_read_only (const struct finder *f, size_t state, size_t image,
                    const struct vdi_machine_disk *disk, char **why)
{
  const struct machine_state *s = &f->m->states[state];
  CLEANUP_FREE char *child = NULL;
  char text[VDI_ERROR_MAX] = "";
  int r;

  if (image != MACHINE_NONE)
    registry_forbids (f, state, image, text, sizeof text);
  if (text[0] == '\0' && state != CURRENT)
    text_append (text, sizeof text, "it is the disk of the snapshot "
                 "\"%.*s\", which would change with it", SHOWN, s->name);
  if (text[0] == '\0' && s->has_memory)
    text_append (text, sizeof text, "the machine is saved, and will go on "
                 "with this disk as it is");
  if (text[0] == '\0') {
    r = discover_child (f->folders.search, disk->filename, &disk->uuid,
                        &child, f->error);
    if (r == -1)
      return -1;
    if (r == 1)
      text_append (text, sizeof text, "the image %s depends on it, and would "
                   "be ruined", child);
  }
  if (text[0] == '\0' && is_spare (f->vbox))
    text_append (text, sizeof text, "%s may be older than a snapshot or the "
                 "suspending of the machine: put it in the place of the "
                 ".vbox file to write", f->vbox);
  if (text[0] == '\0')
    return 0;
  *why = strdup (text_one_line (text));
  return *why ? 0 : vdi_set_errno (f->error, ENOMEM, "%s", f->vbox);
}

/*------------------------------------------------------------------*/
/* The answer */

static int
describe (const struct finder *f, size_t state, size_t index, char **text)
{
  const struct machine_state *s = &f->m->states[state];
  const struct machine_attachment *a = &s->disks[index];
  char t[VDI_ERROR_MAX] = "";

  text_append (t, sizeof t, "machine %.*s, ", SHOWN, f->m->name);
  if (state == CURRENT)
    text_append (t, sizeof t, "current state");
  else
    text_append (t, sizeof t, "snapshot %.*s%s", SHOWN, s->name,
                 s->has_memory ? " (taken while running)" : "");
  text_append (t, sizeof t, ", disk %.*s port %u", SHOWN, a->controller,
               a->port);
  if (a->device != 0)
    text_append (t, sizeof t, " device %u", a->device);
  *text = strdup (text_one_line (t));
  return *text ? 0 : vdi_set_errno (f->error, ENOMEM, "%s", f->vbox);
}

/* Takes name. */
static int
add_candidate (const struct finder *f, struct vdi_machine_disk *disk,
               char *name)
{
  char **more = realloc (disk->candidates,
                         (disk->nr_candidates + 1) * sizeof *more);

  if (more == NULL) {
    free (name);
    return vdi_set_errno (f->error, ENOMEM, "%s", f->vbox);
  }
  disk->candidates = more;
  disk->candidates[disk->nr_candidates++] = name;
  return 0;
}

/* First the ancestors, wherever they are now, then all other images that
 * are there.
 */
static int
find_candidates (const struct finder *f, size_t image,
                 struct vdi_machine_disk *disk)
{
  const struct machine *m = f->m;
  struct vdi_error *const error = f->error;
  struct vdi_error ignored;
  struct finder quiet = *f;
  size_t i, parent = MACHINE_NONE;
  struct stat st;
  char *name;

  quiet.error = &ignored;       /* a missing parent is not our business */
  if (image != MACHINE_NONE)
    parent = m->images[image].parent;
  for (; parent != MACHINE_NONE; parent = m->images[parent].parent)
    if (find_file (&quiet, parent, &m->images[parent].uuid, &name) == 0 &&
        add_candidate (f, disk, name) == -1)
      return -1;
  for (i = 0; i < m->nr_images && disk->nr_candidates < DISCOVER_MAX_FILES;
       ++i) {
    if (i == image || (m->images[i].format != NULL &&
                       strcasecmp (m->images[i].format, "VDI") != 0))
      continue;
    name = machine_location (&f->folders, m->images[i].location);
    if (name == NULL)
      return vdi_set_errno (error, ENOMEM, "%s", f->vbox);
    if (stat (name, &st) == -1)
      free (name);
    else if (add_candidate (f, disk, name) == -1)
      return -1;
  }
  return 0;
}

static void
warn_of_state (const struct finder *f, size_t state)
{
  if (state != CURRENT)
    return;
  if (f->m->states[state].has_memory)
    vdi_warn (f->listener, "%s: machine %.*s is saved: its disks are as they "
              "were in the middle of its work, as after a loss of power",
              f->vbox, SHOWN, f->m->name);
  else if (f->m->aborted)
    vdi_warn (f->listener, "%s: machine %.*s was aborted: its disks are as "
              "after a loss of power", f->vbox, SHOWN, f->m->name);
}

static int
find (struct finder *f, const char *snapshot, const char *which,
      struct vdi_machine_disk *disk)
{
  size_t state = CURRENT, index = 0, image;

  if (snapshot != NULL && find_snapshot (f, snapshot, &state) == -1)
    return -1;
  if (find_disk (f, &f->m->states[state], which, &index) == -1)
    return -1;
  disk->uuid = f->m->states[state].disks[index].image;
  if (find_image (f, &disk->uuid, &image) == -1 ||
      find_file (f, image, &disk->uuid, &disk->filename) == -1 ||
      find_candidates (f, image, disk) == -1 ||
      find_why_read_only (f, state, image, disk, &disk->why_read_only) == -1 ||
      describe (f, state, index, &disk->description) == -1)
    return -1;
  disk->read_only = disk->why_read_only != NULL;
  warn_of_state (f, state);
  return 0;
}

static const char *
find_spare (const char *vbox, char *name, size_t size)
{
  struct vdi_error ignored;
  struct machine *m;
  size_t i;

  for (i = 0; i < NR_SPARES; ++i) {
    /* What it adds to ".vbox". */
    snprintf (name, size, "%s%s", vbox, strchr (spare_suffixes[i], '-'));
    if (machine_load (name, &m, &ignored) == 0) {
      machine_free (m);
      return name;
    }
  }
  return NULL;
}

static int
cannot_load (struct finder *f)
{
  const struct vdi_error cause = *f->error;
  char name[PATH_MAX];
  struct vdi_error ignored;
  struct vdi_header header;

  if (cause.err != EINVAL && cause.err != ENOENT)
    return -1;
  /* An image in the place of a machine is an easy mistake. */
  if (discover_header (f->vbox, &header, &ignored) == 0)
    return vdi_set_error (f->error, EINVAL, "%s: is a VDI image, not the .vbox "
                          "file of a machine; name it with file=", f->vbox);
  if (find_spare (f->vbox, name, sizeof name) != NULL)
    return vdi_set_error (f->error, cause.err, "%s; VirtualBox has left "
                          "another, perhaps without the latest changes: "
                          "machine='%s'", cause.message, name);
  return -1;
}

int
vdi_machine_find (const struct vdi_machine_options *options,
                  struct vdi_machine_disk **out, struct vdi_error *error)
{
  struct finder f = {
    .vbox = options->vbox, .listener = &options->listener,
    .error = error
  };
  struct vdi_machine_disk *d = calloc (1, sizeof *d);
  int r = -1;

  if (d == NULL)
    vdi_set_errno (error, ENOMEM, "%s", options->vbox);
  else if (machine_load (f.vbox, &f.m, error) == -1)
    cannot_load (&f);
  else if (machine_folders_init (&f.folders, f.vbox, f.m, options->dirs,
                                 options->nr_dirs, error) == 0)
    r = find (&f, options->snapshot, options->disk, d);
  machine_folders_free (&f.folders);
  machine_free (f.m);
  if (r == 0)
    *out = d;
  else
    vdi_machine_disk_free (d);
  return r;
}

void
vdi_machine_disk_free (struct vdi_machine_disk *d)
{
  size_t i;

  if (d == NULL)
    return;
  for (i = 0; i < d->nr_candidates; ++i)
    free (d->candidates[i]);
  free (d->candidates);
  free (d->filename);
  free (d->why_read_only);
  free (d->description);
  free (d);
}
