/* SPDX-License-Identifier: BSD-3-Clause */
/* What a .vbox machine file says about disks (vbox-machine.md), as
 * structs.  Reading only: what is said is not compared with any image.
 */
#ifndef VDI_VBOX_MACHINE_H
#define VDI_VBOX_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "utils/error.h"
#include "utils/uuid.h"

/* No index: the parent of a base image, an image that was not found. */
#define MACHINE_NONE SIZE_MAX

/* A HardDisk of the registry. */
struct machine_image {
  struct vdi_uuid uuid;
  char *location;               /* as written, never NULL */
  char *format;                 /* VDI, VMDK..., or NULL */
  char *type;                   /* Normal, Immutable..., or NULL */
  bool encrypted;               /* it has a CRYPT/ property */
  size_t parent;                /* index of an earlier image */
};

/* A hard disk attached to a controller. */
struct machine_attachment {
  char *controller;             /* never NULL */
  unsigned port, device;
  struct vdi_uuid image;
};

/* The current state, or a snapshot. */
struct machine_state {
  char *name;                   /* NULL for the current state */
  struct vdi_uuid uuid;         /* null for the current state */
  bool has_memory;              /* stateFile: saved, or taken while running */
  struct machine_attachment *disks; /* in the order of the file */
  size_t nr_disks;
};

struct machine {
  char *name;                   /* never NULL */
  char *snapshot_folder;        /* as written, never NULL */
  bool aborted;
  struct machine_image *images; /* parents before their children */
  size_t nr_images;
  struct machine_state *states; /* 0 is the current state */
  size_t nr_states;
};

/* EINVAL, with file and line, if it makes no sense. */
extern int machine_load (const char *vbox, struct machine **,
                         struct vdi_error *);
extern void machine_free (struct machine *); /* or NULL */

/* The first image with that UUID, from an index on. */
extern size_t machine_image_by_uuid (const struct machine *,
                                     const struct vdi_uuid *, size_t from);
/* The first child of an image. */
extern size_t machine_child (const struct machine *, size_t image);

/* The first snapshot that has an image as one of its disks. */
extern size_t machine_snapshot_with (const struct machine *,
                                     const struct vdi_uuid *);

#endif /* VDI_VBOX_MACHINE_H */
