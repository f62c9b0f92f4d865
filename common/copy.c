/* SPDX-License-Identifier: BSD-3-Clause */
/* Copying what a disk shows into a file: see chain.h. */
#include <config.h>

#include <errno.h>
#include <stdlib.h>

#include "chain.h"

#define PIECE (UINT64_C (1) << 20)

/* From where the run is to offset of the file. */
static int
copy_run (const struct vdi *vdi, const struct run *run, struct storage *st,
          uint64_t offset, struct vdi_error *error)
{
  const uint64_t piece = MIN (run->length, PIECE);
  void *buf = malloc (piece);
  uint64_t done, n;
  int r = 0;

  if (buf == NULL)
    return vdi_set_errno (error, ENOMEM, "%s: copying a block", st->name);
  for (done = 0; r == 0 && done < run->length; done += n) {
    n = MIN (piece, run->length - done);
    r = storage_read (vdi->levels[run->level]->st, buf, n,
                      run->file_offset + done, "data", error);
    if (r == 0)
      r = storage_write (st, buf, n, offset + done, "data", error);
  }
  free (buf);
  return r;
}

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
      r = copy_run (vdi, &run, st, file_base + pos, error);
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
