/* SPDX-License-Identifier: BSD-3-Clause */
/* Copying what a disk shows into a file: see chain.h. */
#include <config.h>

#include "chain.h"

int
chain_copy (const struct vdi *vdi, size_t level, uint64_t from, uint64_t to,
            struct storage *st, uint64_t file_base, bool zeroed,
            struct vdi_error *error)
{
  struct run run;
  int r = 0;

  FOR_EACH_RUN (run, pos, vdi, level, from, to - from) {
    switch (run.place) {
    case PLACE_ZERO:
      if (!zeroed)
        r = storage_write_zeroes (st, file_base + pos, run.length, "data",
                                  error);
      break;
    case PLACE_DATA:
      r = storage_copy (vdi->levels[run.level]->st, run.file_offset, st,
                        file_base + pos, run.length, error);
      break;
    default:
      r = chain_missing (vdi, &run, pos, "what is not there cannot be copied "
                         "into a child, so that can only be written in whole "
                         "blocks here, and not be made larger than its parent",
                         error);
    }
    if (r == -1)
      return -1;
  }
  return 0;
}
