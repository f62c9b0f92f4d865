/* SPDX-License-Identifier: BSD-3-Clause */
/* What every test program needs.
 *
 * CHECK is never compiled out, and says what was expected where.  A test
 * returns 0 when it has passed; TEST_SKIPPED, having said why, when it
 * cannot be run here.
 */
#ifndef VDI_TEST_H
#define VDI_TEST_H

#include <stdio.h>
#include <stdlib.h>

#define TEST_SKIPPED 77

#define CHECK(cond)                                             \
  do {                                                          \
    if (!(cond)) {                                              \
      fprintf (stderr, "%s:%d: failed: %s\n",                   \
               __FILE__, __LINE__, #cond);                      \
      exit (1);                                                 \
    }                                                           \
  } while (0)

#endif /* VDI_TEST_H */
