/* SPDX-License-Identifier: BSD-3-Clause */
/* Makes the disks that the benchmark serves.
 *   create FILE MIB                  an empty image
 *   create FILE 0 PARENT             a differencing image
 *   create FILE MIB [--raw] [--random] --stride=N --stored=BYTES
 * The last: every N-th block of 1 MiB is there, in the order of the disk or
 * in a random one.  Each begins with so many bytes that are not zero and is
 * a hole behind them.
 */
#include <config.h>

#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "utils/bytes.h"
#include "vdi.h"

#define MIB (UINT64_C (1) << 20)

/* Where the format has what is written here (docs/vdi-format.md). */
#define AT_OFFSETS 0x154        /* of the map, of the data */
#define AT_ALLOCATED 0x184

static void
fail (const char *what)
{
  perror (what);
  exit (EXIT_FAILURE);
}

static void
put (int fd, const void *buf, size_t n, uint64_t offset)
{
  if (pwrite (fd, buf, n, offset) != (ssize_t) n)
    fail ("write");
}

static void
create (const char *file, uint64_t size, const char *parent)
{
  struct vdi_create_options options;
  struct vdi_error error;

  memset (&options, 0, sizeof options);
  options.type = parent ? VDI_TYPE_DIFF : VDI_TYPE_DYNAMIC;
  options.size = size;
  options.parent = parent;
  options.lock = true;
  if (vdi_create (file, &options, &error) == -1) {
    fprintf (stderr, "create: %s\n", error.message);
    exit (EXIT_FAILURE);
  }
}

/* A random order of the numbers below count, a power of two: what each step
 * does to the lower bits can be undone, so no number comes twice.
 */
static uint64_t
shuffle (uint64_t i, uint64_t count)
{
  unsigned round, half = 1;

  while (count >> (2 * half) != 0)
    ++half;
  for (round = 0; round < 3; ++round) {
    i = (i * UINT64_C (0x9e3779b97f4a7c15)) & (count - 1);
    i ^= i >> half;
  }
  return i;
}

static void
lay_out (const char *file, uint64_t nr_blocks, bool raw, bool random,
         uint64_t stride, uint64_t stored)
{
  uint64_t count = nr_blocks / stride, data = 0, i;
  uint8_t *map = NULL, *content, head[8];
  int fd = open (file, O_RDWR);

  if (fd == -1)
    fail (file);
  if (random && (count & (count - 1)) != 0) {
    fprintf (stderr, "create: not a power of two\n");
    exit (EXIT_FAILURE);
  }
  content = malloc (stored + 1);
  if (!raw)
    map = malloc (nr_blocks * 4);
  if (content == NULL || (!raw && map == NULL))
    fail ("memory");
  memset (content, 0x55, stored);
  if (!raw) {
    if (pread (fd, head, sizeof head, AT_OFFSETS) != sizeof head)
      fail ("read");
    data = get_le32 (head + 4);
    memset (map, 0xff, nr_blocks * 4);
    if (ftruncate (fd, data + count * MIB) == -1)
      fail ("ftruncate");
  }
  for (i = 0; i < count; ++i) {
    uint64_t block = (random ? shuffle (i, count) : i) * stride;

    if (!raw)
      put_le32 (map + block * 4, i);
    if (stored)
      put (fd, content, stored, data + (raw ? block : i) * MIB);
  }
  if (!raw) {
    put (fd, map, nr_blocks * 4, get_le32 (head));
    put_le32 (head, count);
    put (fd, head, 4, AT_ALLOCATED);
  }
  if (fsync (fd) == -1 || close (fd) == -1)
    fail ("fsync");
  free (content);
  free (map);
}

static void
create_raw (const char *file, uint64_t size)
{
  int fd = open (file, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

  if (fd == -1 || ftruncate (fd, size) == -1 || close (fd) == -1)
    fail (file);
}

int
main (int argc, char *argv[])
{
  static const struct option options[] = {
    { "raw", no_argument, NULL, 'r' },
    { "random", no_argument, NULL, 'R' },
    { "stride", required_argument, NULL, 's' },
    { "stored", required_argument, NULL, 'S' },
    { NULL, 0, NULL, 0 },
  };
  uint64_t nr_blocks, stride = 0, stored = 0;
  bool raw = false, random = false;
  int c;

  while ((c = getopt_long (argc, argv, "", options, NULL)) != -1) {
    switch (c) {
    case 'r': raw = true; break;
    case 'R': random = true; break;
    case 's': stride = strtoull (optarg, NULL, 0); break;
    case 'S': stored = strtoull (optarg, NULL, 0); break;
    default: return EXIT_FAILURE;
    }
  }
  argc -= optind;
  argv += optind;
  if (argc != 2 && argc != 3) {
    fprintf (stderr, "create FILE MIB [PARENT]\n");
    return EXIT_FAILURE;
  }
  nr_blocks = strtoull (argv[1], NULL, 0);
  if (raw)
    create_raw (argv[0], nr_blocks * MIB);
  else
    create (argv[0], nr_blocks * MIB, argv[2]);
  if (stride)
    lay_out (argv[0], nr_blocks, raw, random, stride, stored);
  return EXIT_SUCCESS;
}
