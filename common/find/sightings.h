/* SPDX-License-Identifier: BSD-3-Clause */
/* A table of images that have been seen: what their headers say of
 * themselves and their relatives, so that no file need be read twice.
 *
 * Calling sequence: sightings_init, sightings_add any number of times, the
 * look-ups, sightings_free.  A table belongs to one thread.
 */
#ifndef VDI_FIND_SIGHTINGS_H
#define VDI_FIND_SIGHTINGS_H

#include <stddef.h>
#include <stdint.h>

#include "utils/error.h"
#include "utils/file.h"
#include "utils/uuid.h"

/* A file that turned out to be an image. */
struct sighting {
  const char *filename;         /* the table's own */
  size_t folder;                /* the directory where it was seen */
  struct file_id id;
  uint64_t length;              /* of the file, bytes */
  struct vdi_uuid uuid, mod, parent;
};

struct sightings {
  struct entry *entries;        /* in the order in which they were seen */
  size_t nr, room;
  struct bucket *buckets;       /* NULL until the first is added */
};

extern void sightings_init (struct sightings *);
extern void sightings_free (struct sightings *);

/* Add what was seen.  Returns 1, or 0 if that file is there already, under
 * whatever name.  filename is copied.
 */
extern int sightings_add (struct sightings *, const struct sighting *,
                          struct vdi_error *);

/* The images with a UUID, or with a certain parent, in the order in which
 * they were seen: after NULL comes the first, after the last NULL.
 * Nothing has the null UUID.  Valid until the next sightings_add.
 */
extern const struct sighting *
sightings_by_uuid (const struct sightings *, const struct vdi_uuid *,
                   const struct sighting *after);
extern const struct sighting *
sightings_by_parent (const struct sightings *, const struct vdi_uuid *,
                     const struct sighting *after);

/* A sighting's number, from 0 on, and the other way round. */
extern size_t sightings_number (const struct sightings *,
                                const struct sighting *);
extern const struct sighting *sightings_get (const struct sightings *,
                                             size_t number);

/* Set *error and return -1, as all that look for images do without memory. */
extern int sightings_no_memory (struct vdi_error *);

#endif /* VDI_FIND_SIGHTINGS_H */
