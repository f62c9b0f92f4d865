/* SPDX-License-Identifier: BSD-3-Clause */
/* What tests of storage/local.c begin with. */
#ifndef VDI_FILE_CHECKS_H
#define VDI_FILE_CHECKS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "storage/storage.h"
#include "test.h"
#include "utils/error.h"

#define K 1024
#define M (1024 * K)

static struct vdi_error error;

/* Say what went wrong before giving up. */
#define OK(call)                                        \
  do {                                                  \
    if ((call) == -1) {                                 \
      fprintf (stderr, "%s\n", error.message);          \
      CHECK (!#call);                                   \
    }                                                   \
  } while (0)

static inline void
fill (struct storage *st, uint64_t offset, size_t size, int c)
{
  void *buf = malloc (size);

  CHECK (buf != NULL);
  memset (buf, c, size);
  OK (storage_write (st, buf, size, offset, "data", &error));
  free (buf);
}

static inline bool
reads_as (struct storage *st, uint64_t offset, size_t size, int c)
{
  uint8_t *buf = malloc (size);
  size_t i;

  CHECK (buf != NULL);
  memset (buf, ~c, size);
  OK (storage_read (st, buf, size, offset, "data", &error));
  for (i = 0; i < size && buf[i] == (uint8_t) c; ++i)
    ;
  free (buf);
  return i == size;
}

#endif /* VDI_FILE_CHECKS_H */
