/* SPDX-License-Identifier: BSD-3-Clause */
/* Block status of a whole disk, as qemu asks (one extent a call) or as
 * nbdcopy does.
 */
#include <config.h>

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#include "client.h"

static uint64_t extents_end;

static int
on_extents (void *opaque, const char *metacontext, uint64_t offset,
            uint32_t *entries, size_t nr_entries, int *error)
{
  size_t i;

  (void) opaque;
  (void) metacontext;
  (void) error;
  extents_end = offset;
  for (i = 0; i < nr_entries; i += 2)
    extents_end += entries[i];
  return 0;
}

void
extents (void)
{
  double start = now (), seconds;
  uint64_t offset = 0, calls = 0;

  while (offset < opt.range) {
    uint64_t n = opt.range - offset;
    nbd_extent_callback cb = { .callback = on_extents };

    if (n > opt.size)
      n = opt.size;
    extents_end = offset;
    if (nbd_block_status (handles[0], n, offset, cb,
                          opt.one ? LIBNBD_CMD_FLAG_REQ_ONE : 0) == -1)
      fail ("block status");
    if (extents_end <= offset)
      die ("the server described nothing");
    /* Some servers describe more than they were asked for; copying
     * programs take no notice, and go on behind what was described.
     */
    if (extents_end > offset + n && !opt.one)
      extents_end = offset + n;
    offset = extents_end;
    ++calls;
  }
  seconds = now () - start;
  printf ("%" PRIu64 " %.6f %.9f\n", calls, seconds, seconds / calls);
}
