/* SPDX-License-Identifier: BSD-3-Clause */
/* A block is copied to another place in its file: common/commit/move.c. */
#include <config.h>

#include <errno.h>

#include "commit/move.h"
#include "disk-in-memory.h"
#include "utils/bytes.h"

#define PAGE 4096               /* holes of memory storages are such */

static struct memory m;
static struct image *img;

/* An image whose blocks begin at a multiple of PAGE with their extra area;
 * blocks 0...nr-1 are at the indexes that are their numbers, and all is
 * old bytes.
 */
static void
make (uint32_t block_size, uint32_t extra, uint32_t nr)
{
  const struct memory_image image = {
    .disk_size = (uint64_t) nr * block_size, .block_size = block_size,
    .block_extra = extra,
  };
  uint32_t i;

  memory_make_image (&m, &image);
  CHECK (m.size < PAGE);
  put_le32 (m.bytes + 0x158, PAGE);     /* where data begin */
  memory_append (&m, PAGE - m.size, 0);
  for (i = 0; i < nr; i++)
    memory_set_entry (&m, i, i);
  memory_set_count (&m, nr);
  memory_append (&m, (uint64_t) nr * (block_size + extra), 0xee);
  OK (image_open (memory_storage_open (&m, "disk.vdi"), false, &img,
                  &error));
  CHECK (img->header.data_off == PAGE);
}

static void
finish (void)
{
  image_free (img);
  memory_free (&m);
}

static uint8_t *
at (uint32_t index)
{
  return m.bytes + vdi_length_for (&img->header, index);
}

static uint64_t
stride (void)
{
  return vdi_stride (&img->header);
}

/* Copy from one index to another; there it is the same afterwards, and
 * elsewhere as it was.
 */
static void
copy (uint32_t from, uint32_t to, const char *log)
{
  const struct move move = { .block = from, .from = from, .to = to };
  uint8_t *before = malloc (m.size), *expected = malloc (m.size);

  CHECK (before != NULL && expected != NULL);
  memcpy (before, m.bytes, m.size);
  memcpy (expected, m.bytes, m.size);
  memcpy (expected + (at (to) - m.bytes), at (from), stride ());
  memset (m.log, 0, sizeof m.log);
  OK (move_copy (img, &move, &error));
  CHECK (memcmp (m.bytes, expected, m.size) == 0);
  if (strcmp (m.log, log) != 0) {
    fprintf (stderr, "calls were \"%s\", not \"%s\"\n", m.log, log);
    exit (1);
  }
  memcpy (m.bytes, before, m.size);
  free (before);
  free (expected);
}

/* Both ways; the first and the last index, too. */
static void
test_data (void)
{
  make (4 * PAGE, 0, 5);
  memset (at (3), 0x11, stride ());
  copy (3, 0, "pw");
  copy (3, 4, "pw");
  copy (0, 3, "pw");
  copy (4, 1, "pw");
  finish ();
}

/* Its holes stay holes: they are not written, but what was there goes. */
static void
test_sparse (void)
{
  make (8 * PAGE, 0, 4);
  memset (at (2), 0, 8 * PAGE);
  copy (2, 1, "p");
  at (2)[3 * PAGE + 5] = 1;
  copy (2, 1, "pw");
  memset (at (2) + 5 * PAGE, 2, 2 * PAGE);
  copy (2, 1, "pww");
  at (2)[0] = 3;
  at (2)[8 * PAGE - 1] = 4;
  copy (2, 1, "pwww");
  /* Where no hole can be punched, zeros are written. */
  m.no_punch = true;
  copy (2, 1, "wwwww");
  memset (at (2), 0, 8 * PAGE);
  copy (2, 1, "w");
  finish ();
}

/* It belongs to the block, whatever is in it. */
static void
test_extra (void)
{
  make (2 * PAGE, PAGE, 4);
  memset (at (3), 0, stride ());
  memset (at (3), 0x77, 100);
  CHECK (vdi_block_offset (&img->header, 3) ==
         (uint64_t) (at (3) - m.bytes) + PAGE);
  copy (3, 0, "pw");
  memset (at (3) + PAGE, 0x88, 2 * PAGE);
  copy (3, 1, "pw");
  finish ();
  /* Smaller than a hole can be. */
  make (PAGE, 512, 6);
  memset (at (5), 0x99, stride ());
  memset (at (5), 0x77, 512);
  copy (5, 0, "pw");
  copy (5, 3, "pw");
  finish ();
}

/* In pieces, so that it needs little memory. */
static void
test_large (void)
{
  const uint32_t size = 4 << 20;

  make (size, 512, 3);
  for (uint32_t i = 0; i < stride (); i++)
    at (2)[i] = i * 7 % 251 + 1;
  copy (2, 0, "pwwwww");
  m.no_punch = true;
  copy (2, 1, "wwwww");
  finish ();
}

/* Any error but that nothing can be punched is told. */
static void
test_errors (void)
{
  const struct move move = { .block = 2, .from = 2, .to = 0 };

  make (4 * PAGE, 0, 3);
  memory_fail (&m, 1, EIO);
  FAILS (move_copy (img, &move, &error), EIO);
  SAYS ("space");
  memory_fail (&m, 2, ENOSPC);
  FAILS (move_copy (img, &move, &error), ENOSPC);
  SAYS ("data");
  /* The file is too short, which only somebody else can have done. */
  m.size -= 1;
  FAILS (move_copy (img, &move, &error), EIO);
  m.size += 1;
  copy (2, 0, "pw");
  finish ();
}

int
main (void)
{
  test_data ();
  test_sparse ();
  test_extra ();
  test_large ();
  test_errors ();
  return 0;
}
