/* SPDX-License-Identifier: BSD-3-Clause */
/* Moving a block to another place in its file, which is done to fill the
 * holes that a crash left (commit.c, crash story 10).
 */
#ifndef VDI_COMMIT_MOVE_H
#define VDI_COMMIT_MOVE_H

#include <stdint.h>

#include "image/image.h"
#include "utils/error.h"

struct move {
  uint32_t block;
  uint32_t from, to;            /* indexes */
};

/* Copy all of the block, its extra area too, to an index that no entry
 * names.  Where the file has a hole the copy has one, too, if it can.  Not
 * yet durable, and the map is not changed.
 */
extern int move_copy (struct image *, const struct move *,
                      struct vdi_error *);

#endif /* VDI_COMMIT_MOVE_H */
