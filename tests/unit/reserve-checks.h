/* SPDX-License-Identifier: BSD-3-Clause */
/* What tests of common/commit/reserve.c begin with: a reserve over an image in
 * memory, without a commit.
 */
#ifndef VDI_RESERVE_CHECKS_H
#define VDI_RESERVE_CHECKS_H

#include <pthread.h>

#include "commit/reserve.h"
#include "disk-in-memory.h"

#define B 512
#define N 8192                  /* of which the reserve may have 256 */

static struct memory m;
static struct image *img;
static struct medium medium;
static struct bounds bounds;
static struct reserve r;
static unsigned wakes;
static const struct vdi_listener nobody; /* listens */

static inline void
wake (void *opaque)
{
  CHECK (opaque == &wakes);
  wakes++;
}

/* Over an image that is in m already. */
static inline void
start_over (bool base)
{
  OK (image_open (memory_storage_open (&m, "disk.vdi"), false, &img,
                  &error));
  medium_init (&medium, img->st, &nobody);
  bounds_init (&bounds, img, &medium);
  bounds.header_durable = true; /* as commit_start_session leaves it */
  CHECK (reserve_init (&r, img, base, &bounds) == 0);
  r.wake = wake;
  r.opaque = &wakes;
  wakes = 0;
  m.log[0] = '\0';
}

static inline void
make_image (uint32_t n)
{
  const struct memory_image image = { .disk_size = (uint64_t) n * B,
                                      .block_size = B };

  memory_make_image (&m, &image);
}

static inline void
start (uint32_t n)
{
  make_image (n);
  start_over (true);
}

static inline void
check (void)
{
  OK (reserve_check_invariants (&r, &error));
}

static inline void
finish (void)
{
  reserve_free (&r);
  medium_destroy (&medium);
  image_free (img);
  memory_free (&m);
}

static inline uint64_t
length_for (uint32_t blocks)
{
  return vdi_length_for (&img->header, blocks);
}

/* As allocate.c uses it, but for the map: the block is in the file. */
static inline bool
take (uint32_t *index)
{
  bool zeroed, got;

  pthread_mutex_lock (&r.lock);
  got = reserve_take (&r, index, &zeroed);
  if (got)
    reserve_written (&r, 1, 1);
  pthread_mutex_unlock (&r.lock);
  /* What may be used, the file has durably, and so says its header. */
  if (got)
    CHECK (*index < memory_count (&m) && length_for (*index + 1) <= m.size);
  return got;
}

static inline uint32_t
take_one (void)
{
  uint32_t index = UINT32_MAX;

  CHECK (take (&index));
  return index;
}

static inline void
take_none (void)
{
  uint32_t index;

  CHECK (!take (&index));
}

static inline void
make_room (void)
{
  bool commit;

  OK (reserve_make_room (&r, &commit, &error));
  CHECK (!commit);
  check ();
}

static inline void
check_log (const char *expected)
{
  if (strcmp (m.log, expected) != 0) {
    fprintf (stderr, "calls were \"%s\", not \"%s\"\n", m.log, expected);
    exit (1);
  }
  memset (m.log, 0, sizeof m.log);
}

#endif /* VDI_RESERVE_CHECKS_H */
