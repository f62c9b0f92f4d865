/* SPDX-License-Identifier: BSD-3-Clause */
/* The one place where bytes of a file become integers, and back.
 * Everything in a VDI file is little-endian and may lie at any address
 * (vdi-format.md, start), so bytes are combined one by one; compilers
 * turn this into a single load or store.
 */
#ifndef VDI_BYTES_H
#define VDI_BYTES_H

#include <stdint.h>

static inline uint32_t
get_le32 (const uint8_t *p)
{
  return (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 |
         (uint32_t) p[3] << 24;
}

static inline uint64_t
get_le64 (const uint8_t *p)
{
  return (uint64_t) get_le32 (p) | (uint64_t) get_le32 (p + 4) << 32;
}

static inline void
put_le32 (uint8_t *p, uint32_t v)
{
  p[0] = v & 0xff;
  p[1] = v >> 8 & 0xff;
  p[2] = v >> 16 & 0xff;
  p[3] = v >> 24 & 0xff;
}

static inline void
put_le64 (uint8_t *p, uint64_t v)
{
  put_le32 (p, v & 0xffffffff);
  put_le32 (p + 4, v >> 32);
}

#endif /* VDI_BYTES_H */
