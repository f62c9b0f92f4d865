/* SPDX-License-Identifier: BSD-3-Clause */
/* Zeroed memory for large arrays: see pages.h. */
#include <config.h>

#include <stdint.h>
#include <stdlib.h>

#include <sys/mman.h>

#include "utils/checked.h"
#include "utils/pages.h"

/* Small ones come from malloc, where the tools that find wrong accesses
 * look after them.
 */
static uint64_t
mapped (uint64_t size)
{
  return size < PAGES_HUGE ? 0 : ROUND_UP (size, PAGES_HUGE);
}

static void
unmap (uint8_t *p, uint64_t length)
{
  if (length > 0)
    munmap (p, length);
}

void *
pages_new (uint64_t size)
{
  const uint64_t length = mapped (size);
  uint8_t *p;
  uint64_t before;

  if (length == 0)
    return calloc (1, MAX (size, 1));
  /* What is never touched need not be there. */
  p = mmap (NULL, length + PAGES_HUGE, PROT_READ | PROT_WRITE,
            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED)
    return NULL;
  before = -(uintptr_t) p % PAGES_HUGE;
  unmap (p, before);
  unmap (p + before + length, PAGES_HUGE - before);
  return p + before;
}

void
pages_free (void *p, uint64_t size)
{
  if (mapped (size) == 0)
    free (p);
  else if (p != NULL)
    munmap (p, mapped (size));
}

void
pages_fill (void *p, uint64_t length)
{
#ifdef MADV_HUGEPAGE
  const uint64_t before = -(uintptr_t) p % PAGES_HUGE;

  if (length >= before + PAGES_HUGE)
    madvise ((uint8_t *) p + before,
             ROUND_DOWN (length - before, PAGES_HUGE), MADV_HUGEPAGE);
#else
  (void) p;
  (void) length;
#endif
}
