/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests for a part of a block that somebody else allocates at that
 * moment: common/disk/chain.c.  One thread writes the first bytes of each block
 * in turn, while the other does something to bytes behind them, over and
 * over, until that block is there.
 */
#include <config.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "disk-in-memory.h"

#define B 4096
#define N 250
#define FIRST 512               /* what is written of each block */
#define AT 1536                 /* and what the other does */
#define COUNT 1024

static struct memory m;
static struct vdi *vdi;
static atomic_uint turn;        /* the block that is next, N at the end */
static atomic_uint seen;        /* that the other is busy with, plus 1 */

static void *
write_all (void *unused)
{
  struct vdi_error failed;
  uint8_t first[FIRST];

  (void) unused;
  memset (first, 0xaa, sizeof first);
  for (unsigned block = 0; block < N; block++) {
    atomic_store (&turn, block);
    while (atomic_load (&seen) != block + 1)
      sched_yield ();
    CHECK (vdi_write (vdi, first, FIRST, (uint64_t) block * B, 0,
                      &failed) == 0);
  }
  atomic_store (&turn, N);
  return NULL;
}

static void
do_while_blocks_are_allocated (void (*request) (uint64_t offset))
{
  const struct memory_image image = {
    .disk_size = (uint64_t) N * B, .block_size = B,
  };
  pthread_t writer;
  unsigned block;

  memory_make_image (&m, &image);
  vdi = open_writable (&m);
  atomic_store (&turn, 0);
  atomic_store (&seen, 0);
  CHECK (pthread_create (&writer, NULL, write_all, NULL) == 0);
  while ((block = atomic_load (&turn)) < N) {
    atomic_store (&seen, block + 1);
    request ((uint64_t) block * B + AT);
  }
  CHECK (pthread_join (writer, NULL) == 0);
  for (block = 0; block < N; block++) {
    check_bytes (vdi, (uint64_t) block * B, FIRST, 0xaa);
    check_bytes (vdi, (uint64_t) block * B + FIRST, B - FIRST, 0);
  }
  close_checked (vdi);
  memory_free (&m);
}

static void
read_part (uint64_t offset)
{
  static uint8_t buf[COUNT + 1];

  buf[COUNT] = 1;
  OK (vdi_read (vdi, buf, COUNT, offset, &error));
  CHECK (buf[COUNT] == 1);
}

static void
trim_part (uint64_t offset)
{
  OK (vdi_trim (vdi, COUNT, offset, 0, &error));
}

static void
zero_part_fast (uint64_t offset)
{
  OK (vdi_zero (vdi, COUNT, offset, VDI_FAST | VDI_MAY_TRIM, &error));
}

static int
note (void *opaque, uint64_t offset, uint64_t length, unsigned type)
{
  uint64_t *covered = opaque;

  (void) type;
  CHECK (offset == *covered);
  CHECK (length <= (uint64_t) N * B - offset);
  *covered += length;
  return 0;
}

static void
extents_of_part (uint64_t offset)
{
  uint64_t covered = offset;

  OK (vdi_extents (vdi, COUNT, offset, false, note, &covered, &error));
  CHECK (covered >= offset + COUNT);
}

int
main (int argc, char *argv[])
{
  static void (*const requests[]) (uint64_t offset) = {
    trim_part, zero_part_fast, extents_of_part, read_part,
  };

  for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++)
    if (argc < 2 || atoi (argv[1]) == (int) i)
      do_while_blocks_are_allocated (requests[i]);
  return 0;
}
