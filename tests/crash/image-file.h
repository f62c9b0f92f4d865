/* SPDX-License-Identifier: BSD-3-Clause */
/* Images in files in memory, for programs to look at. */
#ifndef IMAGE_FILE_H
#define IMAGE_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Write what is not zero, so that the file stays sparse. */
static inline int
image_file_write (int fd, const uint8_t *bytes, size_t size, uint64_t offset)
{
  static const uint8_t zeros[4096];

  for (size_t i = 0; i < size; i += sizeof zeros) {
    const size_t n = size - i < sizeof zeros ? size - i : sizeof zeros;

    if (memcmp (bytes + i, zeros, n) != 0 &&
        pwrite (fd, bytes + i, n, offset + i) != (ssize_t) n)
      return -1;
  }
  return 0;
}

/* A name under which other processes can open the descriptor. */
static inline void
image_file_path (int fd, char *path, size_t size)
{
  snprintf (path, size, "/proc/%ld/fd/%d", (long) getpid (), fd);
}

#endif /* IMAGE_FILE_H */
