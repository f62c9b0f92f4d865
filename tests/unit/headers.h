/* SPDX-License-Identifier: BSD-3-Clause */
/* Headers to change and to decode, made by the tables of vdi-format.md. */
#ifndef VDI_HEADERS_H
#define VDI_HEADERS_H

#include <stdint.h>

#include "image/header.h"
#include "utils/error.h"

#define MiB UINT32_C (0x100000)
#define NAME "some dir/disk.vdi"

struct field {
  uint32_t offset;
  unsigned width;               /* 4 or 8 bytes; else there is no field */
  uint64_t value;
};

extern void put_field (uint8_t *bytes, struct field);

/* A header 1.1, or 0.2 if major is 0, of an image of 3 blocks, of which 2
 * are allocated; every field has another value.
 */
extern void make_header (unsigned major, uint8_t bytes[VDI_HEADER_SIZE]);

/* Decode and validate. */
extern int open_header (const uint8_t *bytes, uint64_t file_length,
                        struct vdi_header *, struct vdi_error *);

/* A message is for people, so it is one line that names the file, and it
 * offers a way out.
 */
extern void check_message (const struct vdi_error *, const char *name);

#endif /* VDI_HEADERS_H */
