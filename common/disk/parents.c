/* SPDX-License-Identifier: BSD-3-Clause */
/* Which images a disk stands on: see parents.h. */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "disk/parents.h"
#include "find/discover.h"
#include "utils/cleanup.h"

bool
parents_wanted (const struct vdi *vdi)
{
  const struct vdi_header *h = &vdi->levels[vdi->depth - 1]->header;

  return vdi_header_is_child (h) && !vdi_uuid_is_null (&h->uuid_parent);
}

/* Is the parent of the image at the bottom so far given by name? */
static bool
is_given (const struct vdi *vdi, const struct vdi_options *options)
{
  return vdi->depth - 1 < options->nr_parents;
}

int
parents_check_link (const struct vdi *vdi, struct vdi_error *error)
{
  const struct image *child = vdi->levels[vdi->depth - 1];
  const struct vdi_uuid *wanted = &child->header.uuid_parent;
  char uuid[VDI_UUID_STRING_SIZE];

  if (vdi->depth > MAX_LINKS)
    return vdi_set_error (error, EINVAL, "%s: more than %d images on top of "
                          "each other; merge snapshots in VirtualBox first",
                          vdi->levels[0]->name, MAX_LINKS);
  for (size_t i = 0; i < vdi->depth; i++)
    if (vdi_uuid_equal (&vdi->levels[i]->header.uuid_image, wanted))
      return vdi_set_error (error, EINVAL, "%s: its parent {%s} is %s%s, "
                            "which cannot be; this image is damaged, or its "
                            "UUID was changed: restore it from a copy",
                            child->name, vdi_uuid_print (wanted, uuid),
                            i == vdi->depth - 1
                            ? "the image itself" : "one of its own children, ",
                            i == vdi->depth - 1 ? "" : vdi->levels[i]->name);
  return 0;
}

/* Somebody insists on a parent whose UUID is another one.  What is seen
 * through it may be nonsense, so at least nothing is written on top of it.
 * Returns 1.
 */
static int
insist_on_parent (struct vdi *vdi, const struct image *parent,
                  struct vdi_error *error)
{
  const struct image *child = vdi->levels[vdi->depth - 1];

  for (size_t i = 0; i < vdi->depth; i++)
    if (vdi_uuid_equal (&vdi->levels[i]->header.uuid_image,
                        &parent->header.uuid_image))
      return vdi_set_error (error, EINVAL, "%s: cannot be the parent of %s: "
                            "it has the same UUID as %s", parent->name,
                            child->name, vdi->levels[i]->name);
  if (parent->size > child->size)
    return vdi_set_error (error, EINVAL, "%s: cannot be the parent of %s: "
                          "its disk has %" PRIu64 " bytes, and that of the "
                          "child only %" PRIu64, parent->name, child->name,
                          parent->size, child->size);
  vdi_warn (&vdi->listener, "%s: is taken for the parent of %s because of "
            "parent-check=size, although its UUID is another one%s: if it "
            "is not, the disk is nonsense wherever they meet; it can only "
            "be read", parent->name, child->name,
            vdi_uuid_equal (&parent->header.uuid_mod,
                            &child->header.uuid_parent_mod)
            ? " (its modification UUID is the right one)"
            : ", and its modification UUID, too");
  if (vdi->insisted == 0)
    vdi->insisted = vdi->depth;
  return 1;
}

/* 0 if the UUID is right, 1 if it is insisted on without. */
static int
check_uuid (struct vdi *vdi, const struct image *parent, bool by_size,
            struct vdi_error *error)
{
  const struct image *child = vdi->levels[vdi->depth - 1];
  const struct vdi_header *h = &child->header;
  char wanted[VDI_UUID_STRING_SIZE], found[VDI_UUID_STRING_SIZE];

  if (vdi_uuid_equal (&parent->header.uuid_image, &h->uuid_parent))
    return 0;
  if (by_size)
    return insist_on_parent (vdi, parent, error);
  return vdi_set_error (error, EINVAL, "%s: is not the parent of %s: its UUID "
                        "is {%s}, wanted is {%s}; give the right file with "
                        "parent=, nearest parent first; if this is the right "
                        "one and only its UUID was changed, add "
                        "parent-check=size to read the disk", parent->name,
                        child->name,
                        vdi_uuid_print (&parent->header.uuid_image, found),
                        vdi_uuid_print (&h->uuid_parent, wanted));
}

int
parents_check (struct vdi *vdi, const struct image *parent,
               const struct vdi_options *options, struct vdi_error *error)
{
  const struct image *child = vdi->levels[vdi->depth - 1];
  const struct vdi_header *h = &child->header;
  char found[VDI_UUID_STRING_SIZE];
  const bool by_size = options->parent_by_size && is_given (vdi, options);
  const int r = check_uuid (vdi, parent, by_size, error);

  if (r == -1)
    return -1;
  if (r == 0 &&
      !vdi_uuid_equal (&parent->header.uuid_mod, &h->uuid_parent_mod))
    vdi_warn (&vdi->listener, "%s: its parent %s was changed after this image "
              "was made (modification UUID {%s}); that is normal after "
              "snapshots were merged, otherwise the disk may be damaged",
              child->name, parent->name,
              vdi_uuid_print (&parent->header.uuid_mod, found));
  if (parent->size > child->size)
    vdi_warn (&vdi->listener, "%s: its parent %s is larger (%" PRIu64 " "
              "bytes), but the disk has the size of this image, %" PRIu64 "; "
              "to use the rest, delete the snapshots in VirtualBox, or clone "
              "the disk there and resize the clone", child->name, parent->name,
              parent->size, child->size);
  return 0;
}

int
parents_next (const struct vdi *vdi, const struct vdi_options *options,
              struct search *search, char **filename, struct vdi_error *error)
{
  const struct image *child = vdi->levels[vdi->depth - 1];
  CLEANUP_FREE char *warning = NULL;

  if (parents_check_link (vdi, error) == -1)
    return -1;
  if (is_given (vdi, options)) {
    *filename = strdup (options->parents[vdi->depth - 1]);
    return *filename ? 0 : vdi_set_errno (error, ENOMEM, "%s", child->name);
  }
  if (discover_parent (search, child->name, &child->header, options, filename,
                       &warning, error) == -1)
    return -1;
  if (warning != NULL)
    vdi_warn (&vdi->listener, "%s", warning);
  return 0;
}

/*------------------------------------------------------------------*/
/* What stands on the disk */

int
parents_warn_if_newer (const struct vdi *vdi, struct search *search,
                       struct vdi_error *error)
{
  const struct image *img = vdi->levels[0];
  CLEANUP_FREE char *newer = NULL;
  int r = discover_newer (search, img->name, &img->header.uuid_image, &newer,
                          error);

  if (r != 1)
    return r;
  vdi_warn (&vdi->listener, "%s", newer);
  return 0;
}

int
vdi_find_child (struct vdi *vdi, char **child, struct vdi_error *error)
{
  const struct image *img = vdi->levels[0];
  CLEANUP (search_free) struct search search;

  search_init (&search, DISCOVER_MAX_FILES);
  return discover_child (&search, img->name, &img->header.uuid_image, child,
                         error);
}

int
vdi_find_parent_twin (struct vdi *vdi, char **twin, struct vdi_error *error)
{
  const struct image *parent = vdi->levels[1];
  CLEANUP (search_free) struct search search;

  search_init (&search, DISCOVER_MAX_FILES);
  if (vdi->depth == 1)
    return 0;
  return discover_twin (&search, vdi->levels[0]->name, parent->name,
                        &parent->header.uuid_image, twin, error);
}
