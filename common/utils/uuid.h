/* SPDX-License-Identifier: BSD-3-Clause */
/* UUIDs as a VDI file stores them (vdi-format.md 1.6): 16 bytes, the
 * first three fields little-endian, the rest as printed.  We keep them
 * in that form, so that comparing and testing for null need no
 * conversion, and convert with libuuid only to make, print and parse.
 */
#ifndef VDI_UUID_H
#define VDI_UUID_H

#include <stdbool.h>
#include <stdint.h>

struct vdi_uuid {
  uint8_t bytes[16];            /* in the order of the file */
};

#define VDI_UUID_STRING_SIZE 37 /* 36 characters and a NUL */

/* A new random UUID. */
extern struct vdi_uuid vdi_uuid_new (void);

/* Print in lower case without braces.  Returns out. */
extern const char *vdi_uuid_print (const struct vdi_uuid *,
                                   char out[VDI_UUID_STRING_SIZE]);

/* Parse, with or without braces, upper or lower case.  False (and *out
 * untouched) if the string is not a UUID.
 */
extern bool vdi_uuid_parse (const char *s, struct vdi_uuid *out);

extern bool vdi_uuid_is_null (const struct vdi_uuid *);
extern bool vdi_uuid_equal (const struct vdi_uuid *, const struct vdi_uuid *);

#endif /* VDI_UUID_H */
