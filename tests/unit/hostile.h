/* SPDX-License-Identifier: BSD-3-Clause */
/* One image that may be wrong in any way, opened, read and written to.
 *
 * It is refused with a message, or what is read from it is what a few
 * lines of arithmetic (struct model) say: the bytes of the file, zeros
 * where nothing is stored, and EIO where the file lacks what should be
 * there.  Nothing changes it unless it is written to; then it holds what
 * was written, and all the rest still.
 */
#ifndef VDI_HOSTILE_H
#define VDI_HOSTILE_H

#include <stdint.h>

#define HOSTILE_ROOM (UINT64_C (1) << 24) /* no file grows beyond this */

struct hostile_file {
  uint8_t *bytes;
  uint64_t size;
};

struct hostile_tally {
  unsigned tried, refused, served, damaged, written;
};

/* The files are an image and its parent, if nr is 2; they are not changed.
 * Exits if anything is not as it must be.
 */
extern void hostile_test (const struct hostile_file files[], unsigned nr,
                          struct hostile_tally *);

#endif /* VDI_HOSTILE_H */
