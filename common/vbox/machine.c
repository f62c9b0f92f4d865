/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading a .vbox file: see vbox/machine.h. */
#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "utils/checked.h"
#include "utils/cleanup.h"
#include "vbox/machine.h"
#include "vbox/xml.h"

#define MAX_PORT 65535

enum kind {
  OTHER, DOCUMENT, ROOT, MACHINE, REGISTRY, HARD_DISKS, HARD_DISK, PROPERTY,
  SNAPSHOT, SNAPSHOTS, HARDWARE, CONTROLLERS, CONTROLLER, DEVICE, IMAGE,
  ENCRYPTED
};

/* Which elements mean something, and where. */
static const struct {
  enum kind parent;
  const char *name;
  enum kind kind;
} elements[] = {
  { DOCUMENT, "VirtualBox", ROOT },
  { ROOT, "Machine", MACHINE },
  { ROOT, "MachineEncrypted", ENCRYPTED },
  { MACHINE, "MediaRegistry", REGISTRY },
  { REGISTRY, "HardDisks", HARD_DISKS },
  { HARD_DISKS, "HardDisk", HARD_DISK },
  { HARD_DISK, "HardDisk", HARD_DISK },
  { HARD_DISK, "Property", PROPERTY },
  { MACHINE, "Snapshot", SNAPSHOT },
  { SNAPSHOT, "Snapshots", SNAPSHOTS },
  { SNAPSHOTS, "Snapshot", SNAPSHOT },
  { MACHINE, "Hardware", HARDWARE },
  { SNAPSHOT, "Hardware", HARDWARE },
  { MACHINE, "StorageControllers", CONTROLLERS },
  { SNAPSHOT, "StorageControllers", CONTROLLERS },
  { HARDWARE, "StorageControllers", CONTROLLERS },
  { CONTROLLERS, "StorageController", CONTROLLER },
  { CONTROLLER, "AttachedDevice", DEVICE },
  { DEVICE, "Image", IMAGE },
};

/* An open element, and what is known inside it. */
struct element {
  enum kind kind;
  size_t image;                 /* index of the HardDisk around */
  size_t state;                 /* index of the snapshot around */
  bool is_disk;                 /* the AttachedDevice around is one... */
  unsigned port, device;        /* ...attached here */
};

struct reader {
  struct xml *xml;
  struct machine *m;
  bool seen_machine, encrypted;
  char *controller;             /* name of the last StorageController */
  struct element open[XML_MAX_DEPTH + 1]; /* by depth */
};

/* Room for one more, all zero, in an array whose size is only in powers
 * of two.
 */
static bool
grow (struct reader *r, void **array, size_t nr, size_t size)
{
  void *bigger;
  size_t bytes;

  if (nr == 0 || IS_POWER_OF_TWO (nr)) {
    if (MUL_OVERFLOW (nr ? 2 * nr : 1, size, &bytes) ||
        (bigger = realloc (*array, bytes)) == NULL) {
      xml_fail_memory (r->xml);
      return false;
    }
    *array = bigger;
  }
  memset ((char *) *array + nr * size, 0, size);
  return true;
}

/*------------------------------------------------------------------*/
/* Attributes */

static char *
get_or (struct reader *r, const char *name, const char *otherwise)
{
  char *value = xml_attribute (r->xml, name);

  if (value == NULL && !xml_failed (r->xml)) {
    value = strdup (otherwise);
    if (value == NULL)
      xml_fail_memory (r->xml);
  }
  return value;
}

static bool
get_true (struct reader *r, const char *name)
{
  CLEANUP_FREE char *value = xml_attribute (r->xml, name);

  return value != NULL && strcasecmp (value, "true") == 0;
}

static bool
get_present (struct reader *r, const char *name)
{
  CLEANUP_FREE char *value = xml_attribute (r->xml, name);

  return value != NULL && value[0] != '\0';
}

static void
get_uuid (struct reader *r, const char *element, struct vdi_uuid *uuid)
{
  CLEANUP_FREE char *value = xml_attribute (r->xml, "uuid");

  if (value == NULL)
    xml_fail (r->xml, "%s has no uuid", element);
  else if (!vdi_uuid_parse (value, uuid))
    xml_fail (r->xml, "the uuid of %s is \"%s\", which is not a UUID",
              element, value);
}

static unsigned
get_port (struct reader *r, const char *name)
{
  CLEANUP_FREE char *value = xml_attribute (r->xml, name);
  unsigned long n;
  char *end;

  if (value == NULL)
    return 0;
  errno = 0;
  n = strtoul (value, &end, 10);
  if (value[0] >= '0' && value[0] <= '9' && !*end && !errno && n <= MAX_PORT)
    return n;
  xml_fail (r->xml, "the %s of AttachedDevice is \"%s\", which is not a "
            "number from 0 to %d", name, value, MAX_PORT);
  return 0;
}

/*------------------------------------------------------------------*/
/* What to do at each kind of element */

static size_t
add_state (struct reader *r)
{
  struct machine *m = r->m;
  void *states = m->states;

  if (!grow (r, &states, m->nr_states, sizeof *m->states))
    return 0;
  m->states = states;
  return m->nr_states++;
}

static void
enter_machine (struct reader *r, struct element *element)
{
  if (r->seen_machine) {
    xml_fail (r->xml, "there is a second Machine");
    return;
  }
  r->seen_machine = true;
  r->m->name = get_or (r, "name", "without a name");
  r->m->snapshot_folder = get_or (r, "snapshotFolder", "Snapshots");
  r->m->aborted = get_true (r, "aborted");
  element->state = add_state (r);
  if (!xml_failed (r->xml))
    r->m->states[element->state].has_memory = get_present (r, "stateFile");
}

static void
enter_snapshot (struct reader *r, struct element *element)
{
  struct machine_state *state;

  element->state = add_state (r);
  if (xml_failed (r->xml))
    return;
  state = &r->m->states[element->state];
  get_uuid (r, "Snapshot", &state->uuid);
  state->name = get_or (r, "name", "");
  state->has_memory = get_present (r, "stateFile");
}

static void
enter_hard_disk (struct reader *r, struct element *element)
{
  struct machine *m = r->m;
  void *images = m->images;
  struct machine_image *image;

  if (!grow (r, &images, m->nr_images, sizeof *m->images))
    return;
  m->images = images;
  image = &m->images[m->nr_images];
  image->parent = element->image;
  element->image = m->nr_images++;
  get_uuid (r, "HardDisk", &image->uuid);
  image->location = get_or (r, "location", "");
  image->format = xml_attribute (r->xml, "format");
  image->type = xml_attribute (r->xml, "type");
}

static void
enter_property (struct reader *r, const struct element *element)
{
  CLEANUP_FREE char *name = xml_attribute (r->xml, "name");

  if (name != NULL && (strcmp (name, "CRYPT/KeyStore") == 0 ||
                       strcmp (name, "CRYPT/KeyId") == 0))
    r->m->images[element->image].encrypted = true;
}

static void
enter_device (struct reader *r, struct element *element)
{
  CLEANUP_FREE char *type = xml_attribute (r->xml, "type");

  element->is_disk = type != NULL && strcmp (type, "HardDisk") == 0;
  element->port = get_port (r, "port");
  element->device = get_port (r, "device");
}

static void
enter_image (struct reader *r, const struct element *element)
{
  struct machine_state *state = &r->m->states[element->state];
  struct machine_attachment *disk;
  void *disks = state->disks;

  if (!element->is_disk ||
      !grow (r, &disks, state->nr_disks, sizeof *state->disks))
    return;
  state->disks = disks;
  disk = &state->disks[state->nr_disks++];
  disk->port = element->port;
  disk->device = element->device;
  get_uuid (r, "Image", &disk->image);
  disk->controller = strdup (r->controller ? r->controller : "");
  if (disk->controller == NULL)
    xml_fail_memory (r->xml);
}

static void
enter (struct reader *r, struct element *element)
{
  switch (element->kind) {
  case MACHINE: enter_machine (r, element); break;
  case SNAPSHOT: enter_snapshot (r, element); break;
  case HARD_DISK: enter_hard_disk (r, element); break;
  case PROPERTY: enter_property (r, element); break;
  case CONTROLLER:
    free (r->controller);
    r->controller = get_or (r, "name", "");
    break;
  case DEVICE: enter_device (r, element); break;
  case IMAGE: enter_image (r, element); break;
  case ENCRYPTED: r->encrypted = true; break;
  default: break;
  }
}

static void
on_start (void *opaque, struct xml *x, size_t depth, const char *name)
{
  struct reader *r = opaque;
  struct element *element = &r->open[depth];
  size_t i;

  r->xml = x;
  *element = r->open[depth - 1];
  for (i = 0; i < sizeof elements / sizeof elements[0]; ++i)
    if (elements[i].parent == element->kind &&
        strcmp (elements[i].name, name) == 0)
      break;
  if (i == sizeof elements / sizeof elements[0])
    element->kind = OTHER;
  else {
    element->kind = elements[i].kind;
    enter (r, element);
  }
}

static int
load (const char *vbox, struct reader *r, struct vdi_error *error)
{
  r->m = calloc (1, sizeof *r->m);
  if (r->m == NULL)
    return vdi_set_errno (error, ENOMEM, "%s", vbox);
  r->open[0] = (struct element) { .kind = DOCUMENT, .image = MACHINE_NONE };
  if (xml_read (vbox, on_start, r, error) == -1)
    return -1;
  if (r->seen_machine)
    return 0;
  if (r->encrypted)
    return vdi_set_error (error, EINVAL, "%s: the machine is encrypted as a "
                          "whole, so that its disks are not to be seen here: "
                          "decrypt it in VirtualBox first (its disks may be "
                          "encrypted, too, and then file= gives nothing but "
                          "cipher text)", vbox);
  return vdi_set_error (error, EINVAL, "%s: there is no Machine in it: is it "
                        "the .vbox file of a VirtualBox machine?", vbox);
}

int
machine_load (const char *vbox, struct machine **m, struct vdi_error *error)
{
  CLEANUP_FREE struct reader *r = calloc (1, sizeof *r);
  int ret;

  if (r == NULL)
    return vdi_set_errno (error, ENOMEM, "%s", vbox);
  ret = load (vbox, r, error);
  free (r->controller);
  if (ret == 0)
    *m = r->m;
  else
    machine_free (r->m);
  return ret;
}

void
machine_free (struct machine *m)
{
  size_t i, j;

  if (m == NULL)
    return;
  for (i = 0; i < m->nr_images; ++i) {
    free (m->images[i].location);
    free (m->images[i].format);
    free (m->images[i].type);
  }
  free (m->images);
  for (i = 0; i < m->nr_states; ++i) {
    for (j = 0; j < m->states[i].nr_disks; ++j)
      free (m->states[i].disks[j].controller);
    free (m->states[i].disks);
    free (m->states[i].name);
  }
  free (m->states);
  free (m->name);
  free (m->snapshot_folder);
  free (m);
}

size_t
machine_image_by_uuid (const struct machine *m, const struct vdi_uuid *uuid,
                       size_t from)
{
  size_t i;

  for (i = from; i < m->nr_images; ++i)
    if (vdi_uuid_equal (&m->images[i].uuid, uuid))
      return i;
  return MACHINE_NONE;
}

size_t
machine_child (const struct machine *m, size_t image)
{
  size_t i;

  for (i = image + 1; i < m->nr_images; ++i)
    if (m->images[i].parent == image)
      return i;
  return MACHINE_NONE;
}

size_t
machine_snapshot_with (const struct machine *m, const struct vdi_uuid *uuid)
{
  size_t i, j;

  for (i = 1; i < m->nr_states; ++i)
    for (j = 0; j < m->states[i].nr_disks; ++j)
      if (vdi_uuid_equal (&m->states[i].disks[j].image, uuid))
        return i;
  return MACHINE_NONE;
}
