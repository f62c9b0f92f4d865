/* SPDX-License-Identifier: BSD-3-Clause */
/* Zeroed memory for large arrays: common/utils/pages.c. */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/mman.h>

#include "test.h"
#include "utils/pages.h"

/* Bytes of address space in use. */
static uint64_t
mapped (void)
{
  FILE *fp = fopen ("/proc/self/statm", "r");
  unsigned long long pages;

  CHECK (fp != NULL);
  CHECK (fscanf (fp, "%llu", &pages) == 1);
  CHECK (fclose (fp) == 0);
  return pages * 4096;
}

static void
test_size (uint64_t size)
{
  uint8_t *p = pages_new (size);
  uint64_t i;

  CHECK (p != NULL);
  if (size >= PAGES_HUGE)
    CHECK ((uintptr_t) p % PAGES_HUGE == 0);
  pages_fill (p, size);
  if (size > 0) {
    pages_fill (p + size / 2, size - size / 2);
    pages_fill (p + size - 1, 1);
  }
  for (i = 0; i < size; i++)
    CHECK (p[i] == 0);
  memset (p, 1, size);
  pages_free (p, size);
}

/* Two megabytes more are mapped to begin with, before what is returned or
 * behind it, as it happens: not one may remain.  What the system maps next
 * lies below the small mappings here.
 */
static void
test_all_is_given_back (void)
{
  const uint64_t size = (UINT64_C (1) << 30) + 1;
  uint64_t before = mapped ();

  for (int i = 0; i < 100; i++) {
    uint8_t *p = pages_new (size);

    CHECK (p != NULL);
    CHECK (mmap (NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
           != MAP_FAILED);
    p[size - 1] = 1;
    pages_free (p, size);
  }
  CHECK (mapped () <= before + (UINT64_C (64) << 20));
}

int
main (void)
{
  static const uint64_t sizes[] = {
    0, 1, 4095, 4096, 4097, PAGES_HUGE - 1, PAGES_HUGE, PAGES_HUGE + 1,
    2 * PAGES_HUGE - 1, 5 * PAGES_HUGE + 4096,
  };

  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
    test_size (sizes[i]);
  test_all_is_given_back ();
  pages_free (NULL, 1);
  pages_free (NULL, PAGES_HUGE);
  return 0;
}
