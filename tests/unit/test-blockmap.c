/* SPDX-License-Identifier: BSD-3-Clause */
/* What is found when a map is loaded: common/image/blockmap.c, and what follows
 * from it: sound images may be written, others read as far as they go.
 */
#include <config.h>

#include <errno.h>

#include "disk-in-memory.h"

#define B 4096

static void
make (struct memory *m, uint32_t blocks, uint32_t stored)
{
  const struct memory_image image = {
    .disk_size = blocks * B, .block_size = B,
  };

  memory_make_image (m, &image);
  memory_append (m, stored * B, 0x11);
  memory_set_count (m, stored);
}

static void
test_sound (void)
{
  struct memory m;
  struct vdi *vdi;
  struct vdi_info info;

  make (&m, 8, 3);
  memory_set_entry (&m, 0, 2);
  memory_set_entry (&m, 7, 0);
  memory_set_entry (&m, 4, 1);
  memory_set_entry (&m, 5, VDI_ZERO);
  vdi = open_writable (&m);
  vdi_get_info (vdi, &info);
  CHECK (info.n_allocated == 3 && info.n_blocks == 8 && !info.damaged);
  check_bytes (vdi, 7 * B, B, 0x11);
  check_bytes (vdi, 5 * B, 2 * B, 0);
  close_checked (vdi);
  CHECK (m.calls == 0);
  memory_free (&m);
}

/* The image is served for reading, refused for writing, with words. */
static void
check_damaged (struct memory *m, const char *words)
{
  struct vdi *vdi = open_chain (&m, 1);
  struct vdi_info info;

  vdi_get_info (vdi, &info);
  CHECK (info.damaged);
  /* Before the file is opened for that, which may change much (an overlay
   * copies all of it): that it cannot be is not found out.
   */
  m->read_only = true;
  FAILS (vdi_make_writable (vdi, &error), EINVAL);
  SAYS ("disk.vdi");
  SAYS (words);
  SAYS ("-r");
  OK (vdi_check_invariants (vdi, &error));
  OK (vdi_close (vdi, &error));
  CHECK (m->calls == 0);
}

static void
test_duplicate (void)
{
  struct memory m;

  make (&m, 8, 3);
  memory_set_entry (&m, 0, 1);
  memory_set_entry (&m, 3, 1);
  check_damaged (&m, "another block");
  memory_free (&m);
}

static void
test_beyond_file (void)
{
  struct memory m, *levels[] = { &m };
  struct vdi *vdi;
  uint8_t buf[B];

  make (&m, 8, 3);
  memory_set_entry (&m, 0, 1);
  memory_set_entry (&m, 6, 3);
  check_damaged (&m, "beyond the end of the file");

  vdi = open_chain (levels, 1);
  check_bytes (vdi, 0, B, 0x11);
  FAILS (vdi_read (vdi, buf, 1, 6 * B, &error), EIO);
  SAYS ("missing=zero");
  OK (vdi_close (vdi, &error));

  /* Cut inside a block: what is there is read. */
  memory_set_entry (&m, 6, 2);
  m.size -= 512;
  check_damaged (&m, "; 512 bytes are missing");
  vdi = open_chain (levels, 1);
  check_bytes (vdi, 6 * B, B - 512, 0x11);
  FAILS (vdi_read (vdi, buf, B, 6 * B, &error), EIO);
  OK (vdi_close (vdi, &error));
  check_damaged (&m, "beyond the end of the file");
  memory_free (&m);
}

static void
test_missing_zero (void)
{
  struct memory m;
  struct storage *st;
  struct vdi_options options;
  struct vdi *vdi;

  make (&m, 8, 1);
  memory_set_entry (&m, 2, 77);
  vdi_options_init (&options);
  options.missing_zero = true;
  st = memory_storage_open (&m, "disk.vdi");
  OK (vdi_open_storage (&st, 1, &options, &vdi, &error));
  check_bytes (vdi, 2 * B, B, 0);
  FAILS (vdi_make_writable (vdi, &error), EINVAL);
  OK (vdi_close (vdi, &error));
  memory_free (&m);
}

/* Inside the file, but no index that an image of this size can have. */
static void
test_beyond_n (void)
{
  struct memory m;

  make (&m, 2, 4);
  memory_set_entry (&m, 0, 2);
  check_damaged (&m, "no such index");
  memory_free (&m);
}

int
main (void)
{
  test_sound ();
  test_duplicate ();
  test_beyond_file ();
  test_missing_zero ();
  test_beyond_n ();
  return 0;
}
