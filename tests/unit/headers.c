/* SPDX-License-Identifier: BSD-3-Clause */
/* Headers to change and to decode: see headers.h. */
#include <config.h>

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "headers.h"
#include "test.h"
#include "utils/bytes.h"

/* vdi-format.md 1.2 and 1.3 */
static const struct field fields_1[] = {
  { 0x040, 4, 0xbeda107f }, { 0x044, 4, 0x00010001 }, { 0x048, 4, 0x190 },
  { 0x04c, 4, 1 },         { 0x050, 4, 1 },          { 0x054, 4, 0x6f6c6568 },
  { 0x154, 4, MiB },       { 0x158, 4, 2 * MiB },    { 0x168, 4, 513 },
  { 0x170, 8, 3 * MiB },   { 0x178, 4, MiB },        { 0x17c, 4, 512 },
  { 0x180, 4, 3 },         { 0x184, 4, 2 },          { 0x188, 4, 0x11 },
  { 0x198, 4, 0x22 },      { 0x1b8, 4, 0x44 },       { 0x1c8, 4, 5 },
  { 0x1cc, 4, 6 },         { 0x1d0, 4, 7 },          { 0x1d4, 4, 514 },
};

static const struct field fields_0[] = {
  { 0x040, 4, 0xbeda107f }, { 0x044, 4, 0x00000002 }, { 0x048, 4, 1 },
  { 0x04c, 4, 1 },         { 0x050, 4, 0x6f6c6568 }, { 0x15c, 4, 513 },
  { 0x160, 8, 3 * MiB },   { 0x168, 4, MiB },        { 0x16c, 4, 3 },
  { 0x170, 4, 2 },         { 0x174, 4, 0x11 },       { 0x184, 4, 0x22 },
};

void
put_field (uint8_t *bytes, struct field f)
{
  if (f.width == 4)
    put_le32 (bytes + f.offset, f.value);
  else if (f.width == 8)
    put_le64 (bytes + f.offset, f.value);
}

void
make_header (unsigned major, uint8_t bytes[VDI_HEADER_SIZE])
{
  size_t i;

  memset (bytes, 0, VDI_HEADER_SIZE);
  if (major == 0)
    for (i = 0; i < sizeof fields_0 / sizeof fields_0[0]; ++i)
      put_field (bytes, fields_0[i]);
  else
    for (i = 0; i < sizeof fields_1 / sizeof fields_1[0]; ++i)
      put_field (bytes, fields_1[i]);
}

int
open_header (const uint8_t *bytes, uint64_t file_length,
             struct vdi_header *h, struct vdi_error *error)
{
  memset (error, 0, sizeof *error);
  if (vdi_header_decode (bytes, VDI_HEADER_SIZE, NAME, h, error) == -1)
    return -1;
  return vdi_header_validate (h, NAME, file_length, error);
}

void
check_message (const struct vdi_error *error, const char *name)
{
  static const char *const ways[] = {
    "copy the file again", "restore", "unpack", "serve it with", "convert",
    "not its disk",
  };
  bool found = false;
  size_t i, len = strlen (name);

  CHECK (error->err == EINVAL);
  CHECK (strncmp (error->message, name, len) == 0);
  CHECK (strncmp (error->message + len, ": ", 2) == 0);
  CHECK (strchr (error->message, '\n') == NULL);
  CHECK (strlen (error->message) < VDI_ERROR_MAX - 1);
  for (i = 0; i < sizeof ways / sizeof ways[0]; ++i)
    found = found || strstr (error->message, ways[i]) != NULL;
  CHECK (found);
}
