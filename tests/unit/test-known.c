/* SPDX-License-Identifier: BSD-3-Clause */
/* What is known to be data: common/image/known.c. */
#include <config.h>

#include <pthread.h>

#include "image/known.h"
#include "test.h"

#define B 4096
#define EXTRA 512
#define BASE 8192               /* of the first block's extra */

static struct known k;

/* Blocks with a gap before each. */
static void
setup (uint32_t n, uint32_t extra)
{
  const struct vdi_header h = {
    .n_blocks = n, .data_off = BASE, .block_size = B, .block_extra = extra,
  };

  known_init (&k, &h);
}

static uint64_t
at (uint64_t block, uint32_t extra)
{
  return BASE + extra + block * (B + extra);
}

static void
learn (uint64_t offset, uint64_t end)
{
  known_learn (&k, offset, end, known_when (&k));
}

/* Which of the first blocks are known, with a gap between them or not. */
static void
check_blocks (const char *expected, uint32_t extra)
{
  for (uint64_t i = 0; expected[i]; i++) {
    const uint64_t end = known_data (&k, at (i, extra), at (i, extra) + B);

    CHECK (end == at (i, extra) + (expected[i] == '1' ? B : 0));
  }
}

/* Whole blocks only, wherever the data begin and end. */
static void
test_whole_blocks (void)
{
  for (uint32_t extra = 0; extra <= EXTRA; extra += EXTRA) {
    setup (6, extra);
    check_blocks ("000000", extra);
    learn (0, BASE);
    learn (0, at (0, extra) + B - 1);
    learn (at (1, extra) + 1, at (2, extra) + B - 1);
    learn (at (3, extra), at (3, extra));
    check_blocks ("000000", extra);
    learn (at (1, extra), at (2, extra) + B);
    check_blocks ("011000", extra);
    learn (at (2, extra) + B, at (4, extra) + B);
    check_blocks ("011110", extra);
    learn (0, UINT64_MAX / 2);
    check_blocks ("111111", extra);
    known_forget (&k, at (1, extra) + B - 1, 1);
    check_blocks ("101111", extra);
    known_forget (&k, at (3, extra) + B - 1, 2 + extra);
    check_blocks ("101001", extra);
    known_forget (&k, at (5, extra) + 7, 100 * B);
    check_blocks ("101000", extra);
    known_free (&k);
  }
}

static void
test_range (void)
{
  const uint64_t n = 1000;

  setup (n, 0);
  learn (at (10, 0), at (900, 0));
  CHECK (known_data (&k, at (9, 0), at (n, 0)) == at (9, 0));
  CHECK (known_data (&k, at (10, 0) + 5, at (n, 0)) == at (900, 0));
  CHECK (known_data (&k, at (10, 0), at (64, 0)) == at (64, 0));
  CHECK (known_data (&k, at (10, 0), at (64, 0) + 1) == at (64, 0) + 1);
  CHECK (known_data (&k, at (900, 0), at (n, 0)) == at (900, 0));
  for (uint64_t i = 100; i < 300; i++) {
    known_forget (&k, at (i, 0), 1);
    CHECK (known_data (&k, at (10, 0), at (n, 0)) == at (100, 0));
    CHECK (known_data (&k, at (i, 0), at (n, 0)) == at (i, 0));
    CHECK (known_data (&k, at (i + 1, 0), at (n, 0)) == at (900, 0));
  }
  /* Beyond the last there is nothing to be known. */
  learn (at (900, 0), at (n + 10, 0));
  CHECK (known_data (&k, at (900, 0), at (n + 10, 0)) == at (n, 0));
  CHECK (known_data (&k, at (n, 0), at (n + 1, 0)) == at (n, 0));
  CHECK (known_start (&k, at (n + 5, 0)) == at (n + 5, 0));
  known_free (&k);
}

/* What was found out before something was forgotten is not learned. */
static void
test_when (void)
{
  uint64_t when;

  setup (4, 0);
  when = known_when (&k);
  known_forget (&k, at (0, 0), B);
  known_learn (&k, at (0, 0), at (4, 0), when);
  check_blocks ("0000", 0);
  learn (at (0, 0), at (4, 0));
  check_blocks ("1111", 0);
  known_free (&k);
}

static void
test_start (void)
{
  setup (1000, 0);
  CHECK (known_start (&k, at (0, 0)) == at (0, 0));
  CHECK (known_start (&k, at (500, 0)) == at (0, 0));
  learn (at (200, 0), at (300, 0));
  for (uint64_t i = 300; i < 500; i++)
    CHECK (known_start (&k, at (i, 0) + 1) ==
           (i == 300 ? at (i, 0) + 1 : at (300, 0)));

  /* Less and less far, if that is of no use. */
  known_hit (&k, at (300, 0), at (500, 0), false);
  CHECK (known_start (&k, at (600, 0)) == at (550, 0));
  known_hit (&k, at (550, 0), at (600, 0), false);
  CHECK (known_start (&k, at (600, 0)) == at (588, 0));
  known_hit (&k, at (599, 0), at (600, 0), false);
  CHECK (known_start (&k, at (600, 0) + 1) == at (600, 0) + 1);

  /* And farther again. */
  known_hit (&k, at (600, 0), at (600, 0), true);
  CHECK (known_start (&k, at (600, 0)) == at (596, 0));
  known_hit (&k, at (596, 0), at (600, 0), true);
  CHECK (known_start (&k, at (600, 0)) == at (580, 0));
  known_free (&k);
}

/*------------------------------------------------------------------*/
/* Several ask and remember while others make holes and fill them. */

#define BLOCKS 130
#define ROUNDS 20000

static _Atomic bool is_data[BLOCKS];

static uint64_t
step (uint64_t *rng)
{
  return (*rng = *rng * UINT64_C (6364136223846793005) + 1) >> 33;
}

static void *
ask (void *seed)
{
  uint64_t rng = *(int *) seed;

  for (unsigned i = 0; i < ROUNDS; i++) {
    const uint64_t first = step (&rng) % BLOCKS;
    const uint64_t when = known_when (&k);
    uint64_t end = first;

    while (end < BLOCKS && is_data[end])
      end++;
    known_learn (&k, at (first, 0), at (end, 0), when);
  }
  return NULL;
}

/* Each block belongs to one of these. */
static void *
punch_and_write (void *seed)
{
  uint64_t rng = *(int *) seed;

  for (unsigned i = 0; i < ROUNDS; i++) {
    const uint64_t block = step (&rng) % (BLOCKS / 2) * 2 + *(int *) seed % 2;

    is_data[block] = false;
    known_forget (&k, at (block, 0), B);
    CHECK (known_data (&k, at (block, 0), at (block, 0) + B) ==
           at (block, 0));
    is_data[block] = step (&rng) % 8 != 0;
  }
  return NULL;
}

static void
test_threads (void)
{
  pthread_t threads[4];
  int seeds[4] = { 1, 2, 3, 4 };

  setup (BLOCKS, 0);
  for (int i = 0; i < 4; i++)
    CHECK (pthread_create (&threads[i], NULL, i < 2 ? ask : punch_and_write,
                           &seeds[i]) == 0);
  for (int i = 0; i < 4; i++)
    CHECK (pthread_join (threads[i], NULL) == 0);
  for (uint64_t i = 0; i < BLOCKS; i++)
    CHECK (is_data[i] ||
           known_data (&k, at (i, 0), at (i, 0) + B) == at (i, 0));
  known_free (&k);
}

int
main (void)
{
  test_whole_blocks ();
  test_range ();
  test_when ();
  test_start ();
  test_threads ();
  return 0;
}
