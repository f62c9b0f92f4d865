/* SPDX-License-Identifier: BSD-3-Clause */
/* UUIDs as a VDI file stores them: see uuid.h. */
#include <config.h>

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <uuid/uuid.h>

#include "utils/uuid.h"

/* libuuid keeps UUIDs in the order in which they are printed.  Swapping
 * the bytes of the first three fields leads there and back.
 */
static void
swap_fields (const uint8_t in[16], uint8_t out[16])
{
  static const uint8_t from[16] = { 3, 2, 1, 0, 5,  4,  7,  6,
                                    8, 9, 10, 11, 12, 13, 14, 15 };
  size_t i;

  for (i = 0; i < 16; ++i)
    out[i] = in[from[i]];
}

struct vdi_uuid
vdi_uuid_new (void)
{
  struct vdi_uuid uuid;
  uuid_t printed;

  uuid_generate_random (printed);
  swap_fields (printed, uuid.bytes);
  return uuid;
}

const char *
vdi_uuid_print (const struct vdi_uuid *uuid, char out[VDI_UUID_STRING_SIZE])
{
  uuid_t printed;

  swap_fields (uuid->bytes, printed);
  uuid_unparse_lower (printed, out);
  return out;
}

bool
vdi_uuid_parse (const char *s, struct vdi_uuid *out)
{
  char plain[VDI_UUID_STRING_SIZE];
  size_t len = strlen (s);
  uuid_t printed;

  if (len == VDI_UUID_STRING_SIZE + 1 && s[0] == '{' && s[len - 1] == '}') {
    s++;
    len -= 2;
  }
  if (len != VDI_UUID_STRING_SIZE - 1)
    return false;
  memcpy (plain, s, len);
  plain[len] = '\0';
  if (uuid_parse (plain, printed) == -1)
    return false;
  swap_fields (printed, out->bytes);
  return true;
}

bool
vdi_uuid_is_null (const struct vdi_uuid *uuid)
{
  static const struct vdi_uuid null;

  return vdi_uuid_equal (uuid, &null);
}

bool
vdi_uuid_equal (const struct vdi_uuid *a, const struct vdi_uuid *b)
{
  return memcmp (a->bytes, b->bytes, sizeof a->bytes) == 0;
}
