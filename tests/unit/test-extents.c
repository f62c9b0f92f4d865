/* SPDX-License-Identifier: BSD-3-Clause */
/* Extents of one image, and how often the file system is asked for them:
 * common/disk/extents.c and known.c.
 */
#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>

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

static char extents[1000];
static uint64_t covered;

static int
note (void *opaque, uint64_t offset, uint64_t length, unsigned type)
{
  const size_t len = strlen (extents);

  (void) opaque;
  CHECK (offset == covered);
  covered = offset + length;
  snprintf (extents + len, sizeof extents - len, "%s%llu:%s", len ? " " : "",
            (unsigned long long) length / K,
            type == 0 ? "data" : type == 3 ? "hole" : "odd");
  return 0;
}

static void
check_extents (uint64_t offset, uint64_t count, bool one,
               const char *expected)
{
  extents[0] = '\0';
  covered = offset;
  OK (vdi_extents (vdi, count, offset, one, note, NULL, &error));
  if (strcmp (extents, expected) != 0) {
    fprintf (stderr, "extents are \"%s\", not \"%s\"\n", extents, expected);
    exit (1);
  }
}

static int
refuse (void *opaque, uint64_t offset, uint64_t length, unsigned type)
{
  (void) offset;
  (void) length;
  (void) type;
  return vdi_set_error (opaque, ENOMEM, "enough");
}

static void
test_extents (void)
{
  make ();
  check_extents (0, N * B, false, "2048:hole");
  write_bytes (vdi, 5 * B, B, 1, 0);    /* out of order: 5, 4, 6 */
  write_bytes (vdi, 4 * B, B, 1, 0);
  write_bytes (vdi, 6 * B, B, 1, 0);
  check_extents (0, N * B, false, "256:hole 192:data 1600:hole");
  check_extents (0, N * B, true, "256:hole");
  check_extents (4 * B + K, 10 * K, false, "10:data");
  check_extents (6 * B, 2 * B, true, "64:data");
  write_bytes (vdi, 9 * B, 4 * K, 1, 0);        /* the rest is not written */
  /* The storage's holes are whole pages; data begin at 1 K in one. */
  check_extents (8 * B, 3 * B, false, "64:hole 7:data 121:hole");
  OK (vdi_trim (vdi, B, 5 * B, 0, &error));
  check_extents (4 * B, 3 * B, false, "67:data 60:hole 65:data");
  FAILS (vdi_extents (vdi, B, 0, false, refuse, &error, &error), ENOMEM);
  OK (vdi_cache (vdi, N * B, 0, &error));
  finish ();
}

/* How often the storage was asked since the last time. */
static unsigned
asked (void)
{
  const unsigned n = m.asked;

  m.asked = 0;
  return n;
}

static void
write_blocks (const char *order)
{
  for (; *order; order++)
    write_bytes (vdi, (*order - 'a') * B, B, 1, 0);
}

static void
test_asked_once (void)
{
  make ();
  write_blocks ("fdgeab");
  asked ();
  check_extents (0, 8 * B, false, "128:data 64:hole 256:data 64:hole");
  CHECK (asked () == 1);
  check_extents (0, 8 * B, true, "128:data");
  check_extents (3 * B, N * B - 3 * B, false, "256:data 1600:hole");
  CHECK (asked () == 0);
  /* A new one, in the same file. */
  write_blocks ("c");
  check_extents (0, 7 * B, false, "448:data");
  CHECK (asked () == 1);
  check_extents (0, 7 * B, false, "448:data");
  check_extents (K, 3 * B, true, "192:data");
  CHECK (asked () == 0);
  finish ();
}

/* What is asked of a file with holes: once for each piece, and no more for
 * what was found to be data all through.
 */
static void
test_asked_about_holes (void)
{
  make ();
  write_blocks ("abcdef");
  OK (vdi_trim (vdi, 32 * K, B, 0, &error));            /* half of b */
  OK (vdi_trim (vdi, B, 3 * B, 0, &error));             /* d */
  asked ();
  /* The data begin at 1 K in a page; what is trimmed, too. */
  check_extents (0, 6 * B, false,
                 "67:data 28:hole 100:data 60:hole 129:data");
  CHECK (asked () == 5);
  check_extents (0, 6 * B, false,
                 "67:data 28:hole 100:data 60:hole 129:data");
  CHECK (asked () <= 5);
  /* Where the first ends the second begins: that is not asked again. */
  check_extents (B, B, true, "3:data");
  CHECK (asked () == 1);
  finish ();
}

/* Blocks in random order are asked for from the first, not one by one. */
static void
test_asked_backwards (void)
{
  make ();
  write_blocks ("hgfedcba");
  asked ();
  check_extents (0, N * B, false, "512:data 1536:hole");
  CHECK (asked () == 1);
  finish ();

  /* Unless that is of no use. */
  make ();
  write_bytes (vdi, 20 * B, 4 * K, 1, 0);
  write_blocks ("hgfedcba");
  asked ();
  /* The storage's pages begin 3 K before those of the block. */
  check_extents (0, N * B, false,
                 "512:data 768:hole 7:data 56:hole 1:data 704:hole");
  CHECK (asked () <= 8 + 3);
  finish ();
}

static void
trim_meanwhile (struct memory *mem)
{
  struct vdi_error e;

  mem->meanwhile = NULL;
  CHECK (vdi_trim (vdi, B, 2 * B, 0, &e) == 0);
}

/* What was data when the storage was asked, and is not any more when that
 * could be remembered.
 */
static void
test_forgotten (void)
{
  static const char *const now = "131:data 60:hole 65:data";

  make ();
  write_blocks ("abcd");
  m.meanwhile = trim_meanwhile;
  check_extents (0, 4 * B, false, "256:data");
  check_extents (0, 4 * B, false, now);
  check_extents (0, 4 * B, false, now);
  /* After a write it is data once more, and after zeros it is not. */
  write_blocks ("c");
  check_extents (0, 4 * B, false, "256:data");
  OK (vdi_zero (vdi, B, 2 * B, VDI_MAY_TRIM, &error));
  check_extents (0, 4 * B, false, now);
  write_blocks ("c");
  check_extents (0, 4 * B, false, "256:data");
  OK (vdi_zero (vdi, B, 2 * B, 0, &error));
  check_extents (0, 4 * B, false, now);
  finish ();
}

/* A request that goes wrong may have been done in part. */
static void
test_forgotten_after_an_error (void)
{
  make ();
  write_blocks ("ab");
  check_extents (0, 2 * B, false, "128:data");
  asked ();
  memory_fail (&m, 1, EIO);
  FAILS (vdi_trim (vdi, 4 * K, 0, 0, &error), EIO);
  check_extents (0, 2 * B, false, "128:data");
  CHECK (asked () == 1);
  memory_fail (&m, 1, EIO);
  FAILS (vdi_zero (vdi, 4 * K, 0, 0, &error), EIO);
  check_extents (0, 2 * B, false, "128:data");
  CHECK (asked () == 1);
  finish ();
}

/* What is behind the last block in use may be cut off, and is new space
 * afterwards: it is not learned together with what is before it.
 */
static void
test_cut_off (void)
{
  make ();
  write_blocks ("ab");
  close_checked (vdi);
  memory_append (&m, 3 * B, 7); /* somebody else's */
  vdi = open_writable (&m);
  check_extents (0, 2 * B, false, "128:data");
  write_bytes (vdi, 2 * B, 8 * K, 1, 0);
  /* The storage's pages begin 3 K before those of the block. */
  check_extents (0, 3 * B, false, "139:data 53:hole");
  finish ();
}

/*------------------------------------------------------------------*/
/* Some fill and trim blocks of their own, and ask.  As soon as a trim has
 * been answered it is a hole for everybody, whoever has asked meanwhile.
 */

#define THREADS 4

static int
check_type (void *opaque, uint64_t offset, uint64_t length, unsigned type)
{
  const unsigned *expected = opaque;

  (void) offset;
  (void) length;
  CHECK (expected == NULL || *expected == type);
  return 0;
}

static void *
fill_and_trim (void *opaque)
{
  static const uint8_t bytes[B] = { [0 ... B - 1] = 1 };
  const unsigned *number = opaque;
  struct vdi_error e;
  uint32_t rng = *number;

  for (unsigned i = 0; i < 1000; i++) {
    const uint64_t block =
      ((rng >> 16) % (N / THREADS) * THREADS + *number) * B;
    unsigned type = VDI_EXTENT_HOLE | VDI_EXTENT_ZERO;

    switch (rng >> 29) {
    case 0: case 1:
      CHECK (vdi_trim (vdi, B, block, 0, &e) == 0);
      break;
    case 2:
      CHECK (vdi_zero (vdi, B / 2, block, VDI_MAY_TRIM, &e) == 0);
      break;
    default:
      CHECK (vdi_write (vdi, bytes, B, block, 0, &e) == 0);
      type = 0;
    }
    CHECK (vdi_extents (vdi, N * B, 0, false, check_type, NULL, &e) == 0);
    sched_yield ();
    /* Inside, where no page is shared with a neighbour. */
    CHECK (vdi_extents (vdi, B / 4, block + B / 8, false, check_type, &type,
                        &e) == 0);
    rng = rng * 1103515245 + 12345;
  }
  return NULL;
}

static void
let_others (struct memory *mem)
{
  (void) mem;
  sched_yield ();
}

static void
test_threads (void)
{
  pthread_t threads[THREADS];
  unsigned numbers[THREADS];

  make ();
  m.meanwhile = let_others;
  for (unsigned i = 0; i < THREADS; i++) {
    numbers[i] = i;
    CHECK (pthread_create (&threads[i], NULL, fill_and_trim,
                           &numbers[i]) == 0);
  }
  for (unsigned i = 0; i < THREADS; i++)
    CHECK (pthread_join (threads[i], NULL) == 0);
  finish ();
}

int
main (void)
{
  test_extents ();
  test_asked_once ();
  test_asked_about_holes ();
  test_asked_backwards ();
  test_forgotten ();
  test_forgotten_after_an_error ();
  test_cut_off ();
  test_threads ();
  return 0;
}
