/* SPDX-License-Identifier: BSD-3-Clause */
/* What is in the file at every moment of a session and when it has ended:
 * how far the count is ahead, and holes.  common/commit/commit.c, reserve.c and
 * move.c, through vdi.h.
 */
#include <config.h>

#include <errno.h>

#include "disk-in-memory.h"
#include "utils/bytes.h"
#include "utils/checked.h"

#define B 512

static struct memory m;
static struct vdi *vdi;
static uint32_t n;              /* blocks of m */

static void
make (uint32_t blocks)
{
  const struct memory_image image = { .disk_size = (uint64_t) blocks * B,
                                      .block_size = B };

  n = blocks;
  memory_make_image (&m, &image);
}

/* As vdi-format.md, pitfall 1, calls for, whatever the code calls it. */
static uint32_t
bound (uint32_t unallocated)
{
  return MAX (1, MIN (256, unallocated / 16));
}

/* What holds at every moment, were the server killed now: every entry is
 * below the count, the file long enough for that, no index is there twice,
 * and the count is not too far ahead.  How many are allocated?
 */
static uint32_t
check_file (void)
{
  const uint32_t count = memory_count (&m);
  uint8_t *used = calloc (n, 1);
  uint32_t allocated = 0, block;

  CHECK (used != NULL);
  CHECK (count <= n);
  CHECK (m.size >= get_le32 (m.bytes + 0x158) + (uint64_t) count * B);
  for (block = 0; block < n; block++) {
    const uint32_t entry = memory_entry (&m, block);

    if (!vdi_entry_is_allocated (entry))
      continue;
    CHECK (entry < count && !used[entry]);
    used[entry] = 1;
    allocated++;
  }
  free (used);
  CHECK (count - allocated <= bound (n - allocated));
  return allocated;
}

/* And when a session has ended: the indexes are 0...allocated-1. */
static void
check_closed (void)
{
  const uint32_t allocated = check_file ();

  CHECK (memory_count (&m) == allocated);
  CHECK (m.size == get_le32 (m.bytes + 0x158) + (uint64_t) allocated * B);
}

static void
close_and_check (void)
{
  close_checked (vdi);
  check_closed ();
}

static void
finish (void)
{
  close_and_check ();
  memory_free (&m);
}

/* The server was killed; what it wrote is there. */
static void
kill_server (void)
{
  struct memory left;

  memory_init (&left, m.bytes, m.size);
  /* Whatever this does is done to a file that is thrown away. */
  vdi_close (vdi, &error);
  free (m.bytes);
  m.bytes = left.bytes;
  m.size = left.size;
  left.bytes = NULL;
  memory_free (&left);
}

/*------------------------------------------------------------------*/

/* In any order, and whatever the size, the count is never too far ahead. */
static void
test_bound (uint32_t blocks)
{
  uint32_t i, nr;

  make (blocks);
  vdi = open_writable (&m);
  for (i = 0; i < n; i++) {
    write_bytes (vdi, (uint64_t) i * 7 % n * B, 1, i, 0);
    nr = check_file ();
    CHECK (nr == i + 1);
    OK (vdi_tick (vdi, 0, &error));
    check_file ();
  }
  CHECK (memory_count (&m) == n);
  finish ();
}

/* Whoever has the time makes the reserve larger before it is needed: then
 * writing does nothing but writing.
 */
static void
test_ahead (void)
{
  uint32_t i, refills = 0, before;

  make (4096);
  vdi = open_writable (&m);
  write_bytes (vdi, 0, 1, 0, 0);
  for (i = 1; i < 1000; i++) {
    memset (m.log, 0, sizeof m.log);
    write_bytes (vdi, i * B, 1, 0, 0);
    CHECK (strcmp (m.log, "ww") == 0);
    before = memory_count (&m);
    OK (vdi_tick (vdi, 0, &error));
    refills += memory_count (&m) > before;
    check_file ();
  }
  CHECK (refills > 5 && refills < 50);
  finish ();
}

/* The first write puts the count right, before anything else happens. */
static void
test_begin (uint32_t count)
{
  make (1000);
  vdi = open_writable (&m);
  for (uint32_t i = 0; i < 5; i++)
    write_bytes (vdi, i * B, B, i, 0);
  close_and_check ();
  memory_set_entry (&m, 1, VDI_ZERO);
  memory_set_count (&m, count);
  memory_append (&m, 400 * B, 0xee);

  vdi = open_writable (&m);
  m.log[0] = '\0';
  memory_fail (&m, count > 5 ? 4 : 3, EIO);     /* what comes after */
  FAILS (vdi_write (vdi, "x", 1, 0, 0, &error), EIO);
  CHECK (memory_count (&m) == 5);
  CHECK (check_file () == 4);
  write_bytes (vdi, 0, 1, 'x', 0);
  finish ();
}

/*------------------------------------------------------------------*/

/* Write to blocks, kill the server, and forget some of them: what it had
 * taken and not published.  The file is full of old bytes.
 */
static void
leave_holes (uint32_t blocks, uint32_t used, uint32_t every)
{
  uint32_t i;

  make (blocks);
  vdi = open_writable (&m);
  for (i = 0; i < used; i++)
    write_bytes (vdi, i * B, B, i, 0);
  kill_server ();
  for (i = 0; i < used; i += every)
    memory_set_entry (&m, i, VDI_FREE);
}

/* New blocks go there first, and then the last ones are moved there. */
static void
test_holes (bool no_punch)
{
  uint32_t i;

  leave_holes (1000, 100, 5);
  m.no_punch = no_punch;
  vdi = open_writable (&m);
  for (i = 0; i < 50; i += 5) {
    write_bytes (vdi, i * B + 7, 1, i + 1, 0);
    CHECK (memory_entry (&m, i) % 5 == 0 && memory_entry (&m, i) < 50);
  }
  CHECK (check_file () == 90);
  finish ();

  /* The same, and what is in them afterwards. */
  leave_holes (1000, 100, 5);
  m.no_punch = no_punch;
  vdi = open_writable (&m);
  write_bytes (vdi, 7, 1, 99, 0);
  close_and_check ();
  CHECK (memory_count (&m) == 81);
  vdi = open_writable (&m);
  check_bytes (vdi, 0, 7, 0);
  check_bytes (vdi, 7, 1, 99);
  check_bytes (vdi, 8, B - 8, 0);
  for (i = 1; i < 100; i++)
    check_bytes (vdi, i * B, B, i % 5 == 0 ? 0 : i);
  finish ();
}

/* A session that allocates nothing tidies up, too; one that only reads
 * does not.
 */
static void
test_when_holes_go (void)
{
  leave_holes (1000, 60, 3);
  vdi = open_writable (&m);
  check_bytes (vdi, B, B, 1);
  m.changes = 0;
  close_checked (vdi);
  CHECK (m.changes == 0);
  vdi = open_writable (&m);
  write_bytes (vdi, B, 1, 1, 0);
  finish ();
  CHECK (n == 1000);
}

/* Many holes take many sessions: no close takes for ever. */
static void
test_moves_are_limited (void)
{
  uint32_t i, session, first = 3000;

  make (6000);
  memory_append (&m, 5000 * B, 0xee);
  for (i = 0; i < 2000; i++)
    memory_set_entry (&m, i, 3000 + i);
  memory_set_count (&m, 5000);
  for (session = 0; session < 2; session++) {
    vdi = open_writable (&m);
    write_bytes (vdi, B, 1, session, 0);
    close_checked (vdi);
    first = 0;
    for (i = 0; i < 2000; i++)
      first += memory_entry (&m, i) < 3000;
    CHECK (first == (session == 0 ? 1024 : 2000));
  }
  check_closed ();
  vdi = open_writable (&m);
  check_bytes (vdi, B, 1, 1);
  check_bytes (vdi, B + 1, 1999 * B - 1, 0xee);
  finish ();
}

/* It is a nicety: without room for it (or with an error) nothing is lost,
 * and closing does not fail.
 */
static void
test_cannot_move (unsigned which, int err)
{
  uint32_t i;

  leave_holes (1000, 20, 4);
  m.no_punch = which > 1;
  vdi = open_writable (&m);
  write_bytes (vdi, B, 1, 1, 0);
  OK (vdi_flush (vdi, &error));
  /* The flush of vdi_close; then punch or write. */
  memory_fail (&m, 1 + which, err);
  close_checked (vdi);
  CHECK (check_file () == 15);
  CHECK (memory_count (&m) == 20);
  vdi = open_writable (&m);
  for (i = 0; i < 20; i++)
    check_bytes (vdi, i * B, B, i % 4 == 0 ? 0 : i);
  write_bytes (vdi, B, 1, 1, 0);
  close_and_check ();
  vdi = open_writable (&m);
  for (i = 0; i < 20; i++)
    check_bytes (vdi, i * B, B, i % 4 == 0 ? 0 : i);
  finish ();
}

/* Somebody else has locked the image the first time; the holes are still
 * known the second time.
 */
static void
test_writable_at_last (void)
{
  struct memory *levels[] = { &m };
  unsigned i;

  leave_holes (1000, 20, 4);
  m.busy = true;
  vdi = open_chain (levels, 1);
  for (i = 0; i < 3; i++) {
    FAILS (vdi_make_writable (vdi, &error), EBUSY);
    FAILS (vdi_write (vdi, "x", 1, 0, 0, &error), EROFS);
    OK (vdi_check_invariants (vdi, &error));
  }
  m.busy = false;
  OK (vdi_make_writable (vdi, &error));
  write_bytes (vdi, 0, 1, 1, 0);
  CHECK (memory_entry (&m, 0) == 0);
  for (i = 100; i < 900; i++)
    write_bytes (vdi, i * B, 1, 1, 0);
  finish ();
}

/*------------------------------------------------------------------*/

static const struct vdi_uuid base_uuid = { .bytes = "base" };
static struct memory base;

static void
make_child (uint32_t blocks)
{
  const struct memory_image parent = {
    .disk_size = (uint64_t) blocks * B, .block_size = B, .uuid = &base_uuid,
  };
  struct memory *levels[] = { &m, &base };
  struct memory_image image = parent;
  struct vdi_uuid mod;

  memory_make_image (&base, &parent);
  memcpy (mod.bytes, base.bytes + 0x198, 16);
  image.uuid = NULL;
  image.parent = &base_uuid;
  image.parent_mod = &mod;
  n = blocks;
  memory_make_image (&m, &image);
  vdi = open_chain (levels, 2);
  OK (vdi_make_writable (vdi, &error));
}

/* The entries of a child wait for a commit; when the bound is reached there
 * is one, though nobody flushes.
 */
static void
test_child_commits (void)
{
  uint32_t i, in_file, commits = 0, last = 0;

  make_child (1000);
  for (i = 0; i < n; i++) {
    write_bytes (vdi, i * B, 1, i, 0);
    in_file = check_file ();
    CHECK (in_file + bound (n - in_file) >= MIN (i + 1, n));
    commits += in_file != last;
    last = in_file;
  }
  /* One for so many, not one for each, but at the end. */
  CHECK (commits > 10 && commits < 200);
  CHECK (memory_count (&m) == n);
  for (i = 0; i < n; i++)
    check_bytes (vdi, i * B, 1, i);
  finish ();
  memory_free (&base);
}

/* There is no room for more, which must not keep what there is from being
 * committed.
 */
static void
test_full_child_commits (void)
{
  uint32_t i;

  make_child (10000);
  write_bytes (vdi, 0, 1, 0, 0);
  for (i = 1; i < memory_count (&m); i++)
    write_bytes (vdi, i * B, 1, i, 0);
  m.max_size = m.size;
  FAILS (vdi_write (vdi, "x", 1, i * B, 0, &error), ENOSPC);
  CHECK (check_file () == 0);
  for (unsigned seconds = 0; seconds < 5; seconds++) {
    CHECK (check_file () == 0);
    /* What has just failed is not tried again in the same second. */
    if (seconds == 0)
      OK (vdi_tick (vdi, 1, &error));
    else
      FAILS (vdi_tick (vdi, 1, &error), ENOSPC);
  }
  CHECK (check_file () == i);
  m.max_size = UINT64_MAX;
  write_bytes (vdi, i * B, 1, 0, 0);
  finish ();
  memory_free (&base);
}

/*------------------------------------------------------------------*/

static uint32_t seed;

static uint32_t
any (uint32_t below)
{
  seed = seed * 1664525 + 1013904223;
  return (seed >> 8) % below;
}

/* Kill the server after an error: what it had acknowledged it may have had
 * in memory only, whose entry could not be written.
 */
static void
start_again (uint8_t *disk)
{
  uint8_t old;

  kill_server ();
  vdi = open_writable (&m);
  for (uint32_t block = 0; block < n; block++) {
    old = disk[block];
    OK (vdi_read (vdi, &disk[block], 1, (uint64_t) block * B, &error));
    CHECK (disk[block] == old || disk[block] == 0);
  }
}

/* The first byte of any block.  What comes of it if that fails? */
static void
write_any (uint8_t *disk, bool failing)
{
  static const int errors[] = { EIO, ENOSPC, EFBIG, EDQUOT };
  const uint32_t block = any (n);
  const uint64_t offset = (uint64_t) block * B;
  const uint8_t c = any (256), old = disk[block];
  int r;

  if (failing)
    memory_fail (&m, 1 + any (4), errors[any (4)]);
  r = vdi_write (vdi, &c, 1, offset, 0, &error);
  CHECK (r == 0 || failing);
  m.fail_at = 0;
  disk[block] = c;
  if (r == 0)
    return;
  OK (vdi_read (vdi, &disk[block], 1, offset, &error));
  CHECK (disk[block] == old || disk[block] == c);
  if (vdi_flush (vdi, &error) == -1)    /* poisoned */
    start_again (disk);
}

/* Anything at all, over files of any kind; calls fail, and servers are
 * killed.
 */
static void
test_anything (uint32_t number)
{
  uint8_t *disk;
  uint32_t i, block;

  seed = number;
  make (any (2) ? 64 + any (64) : 300 + any (1000));
  disk = calloc (n, 1);
  CHECK (disk != NULL);
  m.no_durable = any (4) == 0;
  m.dense = any (4) == 0;
  vdi = open_writable (&m);
  for (i = 0; i < 400; i++) {
    m.no_punch = any (8) == 0;
    switch (any (20)) {
    case 0:
      OK (vdi_flush (vdi, &error));
      break;
    case 1:
      OK (vdi_tick (vdi, any (3), &error));
      break;
    case 2:
      write_any (disk, false);  /* who only reads leaves all as it is */
      close_and_check ();
      vdi = open_writable (&m);
      break;
    case 3:
      OK (vdi_flush (vdi, &error));
      kill_server ();
      vdi = open_writable (&m);
      break;
    default:
      write_any (disk, any (8) == 0);
    }
    check_file ();
    OK (vdi_check_invariants (vdi, &error));
    block = any (n);
    check_bytes (vdi, (uint64_t) block * B, 1, disk[block]);
    check_bytes (vdi, (uint64_t) block * B + 1, B - 1, 0);
  }
  write_any (disk, false);
  free (disk);
  finish ();
}

int
main (void)
{
  test_bound (1);
  test_bound (2);
  test_bound (33);
  test_bound (64);
  test_bound (1000);
  test_bound (5000);
  test_ahead ();
  test_begin (5);
  test_begin (3);
  test_begin (20);
  test_begin (1000);
  test_holes (false);
  test_holes (true);
  test_when_holes_go ();
  test_moves_are_limited ();
  test_cannot_move (1, EIO);
  test_cannot_move (2, ENOSPC);
  test_cannot_move (3, EIO);
  test_writable_at_last ();
  test_child_commits ();
  test_full_child_commits ();
  for (uint32_t i = 0; i < 50; i++)
    test_anything (i);
  return 0;
}
