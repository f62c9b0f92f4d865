/* SPDX-License-Identifier: BSD-3-Clause */
/* Zeroed memory for large arrays, of which only costs what is touched.
 *
 *   p = pages_new (size);               NULL if there is no memory
 *   pages_fill (p + offset, length);    before a part is filled for good
 *   pages_free (p, size);               NULL is allowed
 *
 * The system gives memory in small pages, and to give one often takes
 * longer than to fill it.  Huge pages are cheap, but of each all is taken
 * when one byte is touched: so they are asked for where that is wanted.
 *
 * Thread-safe.  Sizes are in bytes.
 */
#ifndef VDI_PAGES_H
#define VDI_PAGES_H

#include <stdint.h>

/* What is at least this large begins at a multiple of it. */
#define PAGES_HUGE (UINT64_C (2) << 20)

extern void *pages_new (uint64_t size);
extern void pages_free (void *, uint64_t size);

/* A hint; does nothing if there are no huge pages, or no whole one in
 * this part.
 */
extern void pages_fill (void *, uint64_t length);

#endif /* VDI_PAGES_H */
