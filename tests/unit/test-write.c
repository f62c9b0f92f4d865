/* SPDX-License-Identifier: BSD-3-Clause */
/* Writing, zeroing, trimming and FUA of one image: common/disk/write.c. */
#include <config.h>

#include <errno.h>

#include "disk-in-memory.h"

#define K 1024
#define B (64 * K)
#define N 32

static struct memory m;
static struct vdi *vdi;

static void
make (void)
{
  const struct memory_image image = { .disk_size = N * B, .block_size = B };

  memory_make_image (&m, &image);
  vdi = open_writable (&m);
}

static void
finish (void)
{
  close_checked (vdi);
  memory_free (&m);
}

/* What was done to the file since last asked. */
static const char *
calls (void)
{
  static char log[sizeof m.log];

  memcpy (log, m.log, sizeof log);
  memset (m.log, 0, sizeof m.log);
  return log;
}

static void
check_calls (const char *expected)
{
  const char *log = calls ();

  if (strcmp (log, expected) != 0) {
    fprintf (stderr, "calls were \"%s\", not \"%s\"\n", log, expected);
    exit (1);
  }
}

static void
test_writes_cost_what_they_write (void)
{
  make ();
  /* UUID, sync; length, sync; count, durable; entry, data. */
  write_bytes (vdi, 0, 1, 1, 0);
  check_calls ("wstswDww");
  write_bytes (vdi, B, 1, 1, 0);
  check_calls ("ww");
  write_bytes (vdi, 100, 100, 1, 0);
  check_calls ("w");
  write_bytes (vdi, B - 1, 2, 1, 0);            /* neighbours: one write */
  check_calls ("w");
  OK (vdi_flush (vdi, &error));
  check_calls ("s");
  finish ();
}

static void
test_fua (void)
{
  make ();
  write_bytes (vdi, 0, 1, 1, VDI_FUA);
  check_calls ("wstswDwws");
  write_bytes (vdi, 0, 1, 1, VDI_FUA);
  check_calls ("D");
  write_bytes (vdi, B, 1, 1, 0);
  calls ();
  write_bytes (vdi, B, 1, 1, VDI_FUA);          /* entry not durable yet */
  check_calls ("ws");
  m.no_durable = true;
  write_bytes (vdi, B, 1, 1, VDI_FUA);
  check_calls ("ws");
  OK (vdi_zero (vdi, 1, B, VDI_FUA, &error));
  check_calls ("zs");
  OK (vdi_trim (vdi, 1, B, VDI_FUA, &error));
  CHECK (strncmp (calls (), "ps", 2) == 0);
  finish ();
}

static void
test_fua_without_space_is_not_poison (void)
{
  uint8_t buf[1] = { 9 };

  make ();
  write_bytes (vdi, 0, 1, 1, VDI_FUA);
  /* Both the durable write and the plain one that finds out why. */
  memory_fail (&m, 1, EIO);
  FAILS (vdi_write (vdi, buf, 1, 0, VDI_FUA, &error), EIO);
  FAILS (vdi_flush (vdi, &error), EIO);
  FAILS (vdi_close (vdi, &error), EIO);
  memory_free (&m);
}

static void
test_zero (void)
{
  make ();
  write_bytes (vdi, 0, 3 * B, 1, 0);
  calls ();
  OK (vdi_zero (vdi, 2 * B, B / 2, VDI_MAY_TRIM, &error));
  check_calls ("p");
  OK (vdi_zero (vdi, 10, 0, 0, &error));
  check_calls ("z");
  m.no_punch = true;
  OK (vdi_zero (vdi, 10, 20, VDI_MAY_TRIM | VDI_FAST, &error));
  check_calls ("z");
  m.no_zero = true;
  FAILS (vdi_zero (vdi, 10, 40, VDI_MAY_TRIM | VDI_FAST, &error), ENOTSUP);
  check_calls ("");
  check_bytes (vdi, 30, B / 2 - 30, 1);
  OK (vdi_zero (vdi, 10, 40, VDI_MAY_TRIM, &error));
  check_calls ("w");
  OK (vdi_trim (vdi, 10, 60, 0, &error));       /* a hint that is not taken */
  check_calls ("");
  check_bytes (vdi, 0, 10, 0);
  check_bytes (vdi, 10, 10, 1);
  check_bytes (vdi, 20, 10, 0);
  check_bytes (vdi, 30, 10, 1);
  check_bytes (vdi, 40, 10, 0);
  check_bytes (vdi, 50, B / 2 - 50, 1);
  check_bytes (vdi, B / 2, 2 * B, 0);
  check_bytes (vdi, 2 * B + B / 2, B / 2, 1);
  /* All of the disk at once; what is free stays free. */
  OK (vdi_zero (vdi, N * B, 0, 0, &error));
  check_bytes (vdi, 0, N * B, 0);
  CHECK (memory_entry (&m, 3) == VDI_FREE);
  finish ();
}

static void
test_zero_error (void)
{
  make ();
  write_bytes (vdi, 0, B, 1, 0);
  memory_fail (&m, 1, EIO);
  FAILS (vdi_zero (vdi, 10, 0, 0, &error), EIO);
  memory_fail (&m, 1, EIO);
  FAILS (vdi_trim (vdi, 10, 0, 0, &error), EIO);
  finish ();
}

static void
test_not_writable (void)
{
  struct memory *levels[] = { &m };
  uint8_t buf[1] = { 0 };

  make ();
  finish ();
  {
    const struct memory_image image = { .disk_size = B, .block_size = B };

    memory_make_image (&m, &image);
  }
  vdi = open_chain (levels, 1);
  FAILS (vdi_write (vdi, buf, 1, 0, 0, &error), EROFS);
  FAILS (vdi_zero (vdi, 1, 0, 0, &error), EROFS);
  FAILS (vdi_trim (vdi, 1, 0, 0, &error), EROFS);
  OK (vdi_flush (vdi, &error));
  m.read_only = true;
  FAILS (vdi_make_writable (vdi, &error), EROFS);
  m.read_only = false;
  memory_set_count (&m, 1);             /* somebody was faster */
  FAILS (vdi_make_writable (vdi, &error), EBUSY);
  finish ();
}

int
main (void)
{
  test_writes_cost_what_they_write ();
  test_fua ();
  test_fua_without_space_is_not_poison ();
  test_zero ();
  test_zero_error ();
  test_not_writable ();
  return 0;
}
