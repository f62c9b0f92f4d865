/* SPDX-License-Identifier: BSD-3-Clause */
/* What reaches the file, and what becomes of errors: common/commit/commit.c.
 * That the order survives crashes is shown in tests/crash.
 */
#include <config.h>

#include <errno.h>

#include "disk-in-memory.h"
#include "utils/bytes.h"

#define B 4096
#define N 64

static void
make (struct memory *m)
{
  const struct memory_image image = {
    .disk_size = N * B, .block_size = B,
  };

  memory_make_image (m, &image);
}

static size_t
data_off (const struct memory *m)
{
  return get_le32 (m->bytes + 0x158);
}

static void
test_reading_changes_nothing (void)
{
  struct memory m;
  struct vdi *vdi;

  make (&m);
  vdi = open_writable (&m);
  check_bytes (vdi, 0, N * B, 0);
  OK (vdi_zero (vdi, N * B, 0, VDI_MAY_TRIM, &error));
  OK (vdi_trim (vdi, N * B, 0, 0, &error));
  OK (vdi_tick (vdi, 100, &error));
  CHECK (m.calls == 0);
  /* A server that was killed may have left something in the kernel. */
  OK (vdi_flush (vdi, &error));
  CHECK (m.calls == 1);
  close_checked (vdi);
  CHECK (m.calls == 1);
  memory_free (&m);
}

static void
test_session (void)
{
  struct memory m;
  struct vdi *vdi;
  uint8_t before[16];

  make (&m);
  memcpy (before, m.bytes + 0x198, 16);
  vdi = open_writable (&m);
  write_bytes (vdi, 5 * B + 100, 10, 0x22, 0);
  CHECK (memcmp (before, m.bytes + 0x198, 16) != 0);
  /* Acknowledged means that a killed server has lost nothing. */
  CHECK (memory_entry (&m, 5) == 0);
  CHECK (m.bytes[data_off (&m) + 100] == 0x22);
  /* The count is ahead, and the file long enough for it. */
  CHECK (memory_count (&m) > 1 && memory_count (&m) <= N);
  CHECK (m.size >= data_off (&m) + memory_count (&m) * B);
  write_bytes (vdi, 2 * B, 2 * B, 0x33, 0);
  close_checked (vdi);
  CHECK (memory_count (&m) == 3);
  CHECK (m.size == data_off (&m) + 3 * B);
  CHECK (memory_entry (&m, 2) == 1 && memory_entry (&m, 3) == 2);

  vdi = open_writable (&m);
  check_bytes (vdi, 5 * B, 100, 0);
  check_bytes (vdi, 5 * B + 100, 10, 0x22);
  check_bytes (vdi, 2 * B, 2 * B, 0x33);
  close_checked (vdi);
  memory_free (&m);
}

/* The reserve never promises more blocks than there are. */
static void
test_full (void)
{
  struct memory m;
  struct vdi *vdi;

  make (&m);
  vdi = open_writable (&m);
  for (unsigned i = 0; i < N; i++) {
    write_bytes (vdi, (N - 1 - i) * B, B, i, 0);
    CHECK (memory_count (&m) <= N);
  }
  OK (vdi_check_invariants (vdi, &error));
  close_checked (vdi);
  CHECK (memory_count (&m) == N);
  memory_free (&m);
}

/* What a killed server left is put right by the first write. */
static void
test_heals_count (void)
{
  struct memory m;
  struct vdi *vdi;

  make (&m);
  vdi = open_writable (&m);
  write_bytes (vdi, 0, 2 * B, 0x44, 0);
  close_checked (vdi);

  memory_set_count (&m, 20);
  vdi = open_writable (&m);
  write_bytes (vdi, 0, 1, 0x44, 0);     /* in place */
  CHECK (memory_count (&m) == 2);
  close_checked (vdi);

  memory_set_count (&m, 1);
  vdi = open_writable (&m);
  write_bytes (vdi, 9 * B, 1, 0x55, 0);
  CHECK (memory_entry (&m, 9) == 2);
  close_checked (vdi);
  CHECK (memory_count (&m) == 3);
  memory_free (&m);
}

/* Old bytes beyond the last block never show up in a new one. */
static void
test_tail_is_cut (void)
{
  struct memory m;
  struct vdi *vdi;
  const size_t junk = 3 * B + 77;

  make (&m);
  memory_append (&m, junk, 0xee);
  vdi = open_writable (&m);
  write_bytes (vdi, B + 1, 1, 0x66, 0);
  check_bytes (vdi, B, 1, 0);
  check_bytes (vdi, B + 2, B - 2, 0);
  close_checked (vdi);
  CHECK (m.size == data_off (&m) + B);
  memory_free (&m);
}

static void
test_idle_gives_back (void)
{
  struct memory m;
  struct vdi *vdi;

  make (&m);
  vdi = open_writable (&m);
  write_bytes (vdi, 0, 1, 1, 0);
  OK (vdi_flush (vdi, &error));
  OK (vdi_flush (vdi, &error));         /* keeps it */
  CHECK (memory_count (&m) > 1);
  OK (vdi_tick (vdi, 1, &error)); /* not quiet */
  OK (vdi_tick (vdi, 1, &error));
  CHECK (memory_count (&m) > 1);
  OK (vdi_tick (vdi, 1, &error)); /* two quiet seconds */
  CHECK (memory_count (&m) == 1 && m.size == data_off (&m) + B);
  /* And from now on nothing happens at all. */
  memory_fail (&m, 1, EIO);
  OK (vdi_tick (vdi, 0, &error));
  for (int i = 0; i < 5; i++)
    OK (vdi_tick (vdi, 1, &error));
  memory_fail (&m, 0, 0);
  write_bytes (vdi, B, 1, 1, 0);
  CHECK (memory_count (&m) > 2);
  close_checked (vdi);
  memory_free (&m);
}

/* Who only writes in place needs no reserve. */
static void
test_in_place_reserves_nothing (void)
{
  struct memory m;
  struct vdi *vdi;

  make (&m);
  vdi = open_writable (&m);
  write_bytes (vdi, 0, 1, 1, 0);
  close_checked (vdi);
  vdi = open_writable (&m);
  for (int i = 0; i < 5; i++) {
    write_bytes (vdi, 10, 1, 1, 0);
    OK (vdi_tick (vdi, 1, &error));
    CHECK (memory_count (&m) == 1 && m.size == data_off (&m) + B);
  }
  close_checked (vdi);
  memory_free (&m);
}

/* The entry is in the file before the data are: if those do not follow, the
 * block reads as zeros, as it did before.
 */
static void
test_failed_data (void)
{
  struct memory m;
  struct vdi *vdi;
  uint8_t buf[100];

  make (&m);
  vdi = open_writable (&m);
  write_bytes (vdi, 0, B, 1, 0);
  memory_fail (&m, 2, ENOSPC);
  memset (buf, 2, sizeof buf);
  FAILS (vdi_write (vdi, buf, sizeof buf, B, 0, &error), ENOSPC);
  SAYS ("disk.vdi");
  CHECK (memory_entry (&m, 1) == 1);
  check_bytes (vdi, B, B, 0);
  write_bytes (vdi, 2 * B + 5, 10, 3, 0);
  CHECK (memory_entry (&m, 2) == 2);    /* acknowledged: survives a kill */
  write_bytes (vdi, B + 5, 10, 4, 0);   /* and it can be written to */
  check_bytes (vdi, B, 5, 0);
  check_bytes (vdi, B + 5, 10, 4);
  check_bytes (vdi, B + 15, B - 15, 0);
  close_checked (vdi);
  CHECK (memory_count (&m) == 3);
  memory_free (&m);
}

/* The map entry could not be written: the block keeps its index, which the
 * file may name, and the next commit writes the entry.
 */
static void
test_failed_entry (void)
{
  struct memory m;
  struct vdi *vdi;
  uint8_t buf[100] = { 0 };

  make (&m);
  vdi = open_writable (&m);
  write_bytes (vdi, 0, B, 1, 0);
  memory_fail (&m, 1, EIO);
  FAILS (vdi_write (vdi, buf, sizeof buf, B, 0, &error), EIO);
  SAYS ("block map");
  CHECK (memory_entry (&m, 1) == VDI_FREE);
  check_bytes (vdi, B, B, 0);
  write_bytes (vdi, B, B, 2, 0);
  write_bytes (vdi, 2 * B, B, 3, 0);
  CHECK (memory_entry (&m, 2) == 2);
  CHECK (memory_entry (&m, 1) == VDI_FREE);
  /* If it fails again, it is not forgotten. */
  memory_fail (&m, 2, ENOSPC);
  FAILS (vdi_flush (vdi, &error), ENOSPC);
  CHECK (memory_entry (&m, 1) == VDI_FREE);
  OK (vdi_flush (vdi, &error));
  CHECK (memory_entry (&m, 1) == 1);
  check_bytes (vdi, B, B, 2);
  close_checked (vdi);
  CHECK (memory_count (&m) == 3);
  memory_free (&m);
}

static void
test_failed_sync_poisons (void)
{
  struct memory m;
  struct vdi *vdi;
  uint8_t buf[100] = { 0 };

  make (&m);
  vdi = open_writable (&m);
  write_bytes (vdi, 0, B, 1, 0);
  memory_fail (&m, 1, ENOSPC);
  FAILS (vdi_flush (vdi, &error), EIO);
  FAILS (vdi_flush (vdi, &error), EIO);
  FAILS (vdi_write (vdi, buf, sizeof buf, 0, 0, &error), EIO);
  FAILS (vdi_write (vdi, buf, sizeof buf, 9 * B, VDI_FUA, &error), EIO);
  FAILS (vdi_zero (vdi, 1, 50 * B, 0, &error), EIO);
  FAILS (vdi_trim (vdi, 1, 0, 0, &error), EIO);
  SAYS ("open the image again");
  check_bytes (vdi, 0, B, 1);           /* reading goes on */
  m.changes = 0;
  FAILS (vdi_close (vdi, &error), EIO);
  CHECK (m.changes == 0);
  memory_free (&m);
}

/* Somebody without locks writes too: stop before anything is lost. */
static void
test_tripwire (void)
{
  struct memory m;
  struct vdi *vdi;
  uint8_t buf[B] = { 0 };
  unsigned i;
  int r = 0;

  make (&m);
  vdi = open_writable (&m);
  write_bytes (vdi, 0, B, 1, 0);
  m.bytes[0x198] ^= 1;
  for (i = 1; i < N && r == 0; i++)
    r = vdi_write (vdi, buf, B, i * B, 0, &error);
  CHECK (r == -1 && error.err == EIO);
  SAYS ("another program");
  m.changes = 0;
  FAILS (vdi_close (vdi, &error), EIO);
  CHECK (m.changes == 0);
  memory_free (&m);

  /* The same at the moment of closing, seen in the length. */
  make (&m);
  vdi = open_writable (&m);
  write_bytes (vdi, 0, B, 1, 0);
  memory_append (&m, B, 0);
  FAILS (vdi_close (vdi, &error), EIO);
  SAYS ("long");
  memory_free (&m);
}

/* A device has old bytes everywhere: blocks are written whole, entries
 * only after a sync.
 */
static void
test_device (void)
{
  struct memory m;
  struct vdi *vdi;
  uint8_t buf[1] = { 7 };

  make (&m);
  memory_append (&m, 3 * B, 0xfd);
  m.device = true;
  vdi = open_writable (&m);
  write_bytes (vdi, 7 * B + 10, 1, 7, 0);
  CHECK (memory_entry (&m, 7) == VDI_FREE);
  check_bytes (vdi, 7 * B, 10, 0);
  check_bytes (vdi, 7 * B + 11, B - 11, 0);
  write_bytes (vdi, 0, 1, 7, VDI_FUA);
  CHECK (memory_entry (&m, 7) == 0 && memory_entry (&m, 0) == 1);
  write_bytes (vdi, B, 1, 7, 0);
  FAILS (vdi_write (vdi, buf, 1, 2 * B, 0, &error), ENOSPC);
  SAYS ("larger device");
  close_checked (vdi);
  CHECK (memory_count (&m) == 3 && memory_entry (&m, 1) == 2);
  memory_free (&m);
}

/* Holes that somebody left are used before the tail grows, and what lies
 * there never shows up.
 */
static void
test_holes_are_used_first (bool no_punch)
{
  struct memory m;
  struct vdi *vdi;
  unsigned i;

  make (&m);
  vdi = open_writable (&m);
  for (i = 0; i < N - 1; i++)
    write_bytes (vdi, i * B, B, 0xaa, 0);
  close_checked (vdi);
  memory_set_entry (&m, 3, VDI_ZERO);
  memory_set_entry (&m, 30, VDI_FREE);
  m.no_punch = no_punch;
  vdi = open_writable (&m);
  write_bytes (vdi, (N - 1) * B, 1, 1, 0);
  CHECK (memory_entry (&m, N - 1) == 3);
  check_bytes (vdi, (N - 1) * B + 1, B - 1, 0);
  write_bytes (vdi, 30 * B + 1, 1, 2, 0);
  CHECK (memory_entry (&m, 30) == 30);
  check_bytes (vdi, 30 * B, 1, 0);
  check_bytes (vdi, 30 * B + 2, B - 2, 0);
  write_bytes (vdi, 3 * B + 7, 1, 3, 0);        /* nothing left but the tail */
  CHECK (memory_entry (&m, 3) == N - 1);
  CHECK (memory_count (&m) == N);
  close_checked (vdi);
  CHECK (memory_entry (&m, 3) == N - 1 && memory_count (&m) == N);
  memory_free (&m);
}

static void
test_unaligned_map_is_refused (void)
{
  struct memory m, *levels[] = { &m };
  struct vdi *vdi;

  make (&m);
  put_le32 (m.bytes + 0x154, 513);
  put_le32 (m.bytes + 0x158, 2048);
  memory_append (&m, 2048, 0xff);
  m.size = 2048;
  vdi = open_chain (levels, 1);
  FAILS (vdi_make_writable (vdi, &error), EINVAL);
  SAYS ("513");
  OK (vdi_close (vdi, &error));
  memory_free (&m);
}

int
main (void)
{
  test_reading_changes_nothing ();
  test_session ();
  test_full ();
  test_heals_count ();
  test_tail_is_cut ();
  test_idle_gives_back ();
  test_in_place_reserves_nothing ();
  test_failed_data ();
  test_failed_entry ();
  test_failed_sync_poisons ();
  test_tripwire ();
  test_device ();
  test_holes_are_used_first (false);
  test_holes_are_used_first (true);
  test_unaligned_map_is_refused ();
  return 0;
}
