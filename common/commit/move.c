/* SPDX-License-Identifier: BSD-3-Clause */
/* Moving a block to another place in its file: see move.h. */
#include <config.h>

#include <errno.h>
#include <stdbool.h>

#include "commit/move.h"
#include "utils/checked.h"

/* What is at pos, and up to where?  What follows is mostly data, and is asked
 * for next: walking over all of it once is enough.
 */
static int
find_extent (struct image *img, uint64_t pos, uint64_t end, bool *hole,
             uint64_t *next, struct vdi_error *error)
{
  *hole = false;
  *next = known_data (&img->known, pos, end);
  if (*next > pos)
    return 0;
  if (image_extent (img, pos, MAX (end, img->file_length), hole, next,
                    error) == -1)
    return -1;
  *next = MIN (*next, end);
  return 0;
}

/* punched: at to there are zeros already. */
static int
copy_extents (struct image *img, uint64_t from, uint64_t to, uint64_t length,
              bool punched, struct vdi_error *error)
{
  const uint64_t end = from + length;
  uint64_t pos, next;
  bool hole;

  for (pos = from; pos < end; pos = next) {
    if (find_extent (img, pos, end, &hole, &next, error) == -1)
      return -1;
    if (!(hole && punched) &&
        storage_copy (img->st, pos, img->st, to + (pos - from), next - pos,
                      error) == -1)
      return -1;
  }
  return 0;
}

int
move_copy (struct image *img, const struct move *m,
           struct vdi_error *error)
{
  const struct vdi_header *h = &img->header;
  const uint64_t length = vdi_stride (h);
  const uint64_t to = vdi_length_for (h, m->to);
  const bool punched = storage_punch (img->st, to, length, error) == 0;

  if (!punched && error->err != ENOTSUP)
    return -1;
  return copy_extents (img, vdi_length_for (h, m->from), to, length, punched,
                       error);
}
