/* SPDX-License-Identifier: BSD-3-Clause */
/* Files that people take for a VDI image: what they are, and what to do with
 * them.  By well-known bytes only; a guess for a message.
 */
#ifndef VDI_IMAGE_OTHER_FORMAT_H
#define VDI_IMAGE_OTHER_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#include "storage/storage.h"

/* "it is ...: do that", or NULL.  size: of the start of the file that is in
 * bytes, 512 or the whole file.
 */
extern const char *other_format (const uint8_t *bytes, size_t size);

/* The same for what shows elsewhere in a file of that length. */
extern const char *other_format_elsewhere (struct storage *, uint64_t length);

#endif /* VDI_IMAGE_OTHER_FORMAT_H */
