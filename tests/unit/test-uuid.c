/* SPDX-License-Identifier: BSD-3-Clause */
/* uuid.c: the byte order of UUIDs in a file (vdi-format.md 1.6), what is
 * accepted as one, and that new ones are new.
 */
#include <config.h>

#include <string.h>

#include "test.h"
#include "utils/uuid.h"

/* As observed in an image and in the program that printed it. */
static const struct vdi_uuid stored = { {
  0x58, 0x92, 0x71, 0xf5, 0xdf, 0x3b, 0x2d, 0x4b,
  0xb4, 0x22, 0xd5, 0x20, 0x75, 0x7f, 0x8e, 0x81,
} };
#define PRINTED "f5719258-3bdf-4b2d-b422-d520757f8e81"

static void
test_print (void)
{
  char out[VDI_UUID_STRING_SIZE + 1];

  memset (out, 'x', sizeof out);
  CHECK (vdi_uuid_print (&stored, out) == out);
  CHECK (strcmp (out, PRINTED) == 0);
  CHECK (out[VDI_UUID_STRING_SIZE] == 'x');
}

static void
test_parse (void)
{
  static const char *const good[] = {
    PRINTED, "{" PRINTED "}", "F5719258-3BDF-4B2D-B422-D520757F8E81",
    "{F5719258-3bdf-4B2D-b422-D520757F8E81}",
  };
  static const char *const bad[] = {
    "", "{", "}", "{}", "f5719258", "{" PRINTED, PRINTED "}", PRINTED "0",
    " " PRINTED, PRINTED "\n", "{" PRINTED "} ", "[" PRINTED "]",
    "f5719258-3bdf-4b2d-b422-d520757f8e8", "f57192583bdf4b2db422d520757f8e81",
    "g5719258-3bdf-4b2d-b422-d520757f8e81",
    "f5719258-3bdf-4b2d-b422d-520757f8e81",
    "{{f5719258-3bdf-4b2d-b422-d520757f8e}}",
  };
  static const struct vdi_uuid before = { { 1, 2, 3 } };
  struct vdi_uuid uuid;
  size_t i;

  for (i = 0; i < sizeof good / sizeof good[0]; ++i) {
    uuid = before;
    CHECK (vdi_uuid_parse (good[i], &uuid));
    CHECK (vdi_uuid_equal (&uuid, &stored));
  }
  for (i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
    uuid = before;
    CHECK (!vdi_uuid_parse (bad[i], &uuid));
    CHECK (vdi_uuid_equal (&uuid, &before));
  }
}

static void
test_null (void)
{
  struct vdi_uuid uuid = { { 0 } };
  size_t i;

  CHECK (vdi_uuid_is_null (&uuid));
  CHECK (!vdi_uuid_is_null (&stored));
  for (i = 0; i < 16; ++i) {
    memset (&uuid, 0, sizeof uuid);
    uuid.bytes[i] = 1;
    CHECK (!vdi_uuid_is_null (&uuid));
    uuid = stored;
    CHECK (vdi_uuid_equal (&uuid, &stored));
    uuid.bytes[i] ^= 0x80;
    CHECK (!vdi_uuid_equal (&uuid, &stored));
  }
}

static void
test_new (void)
{
  struct vdi_uuid uuids[64], again;
  char out[VDI_UUID_STRING_SIZE];
  size_t i, j;

  for (i = 0; i < 64; ++i) {
    uuids[i] = vdi_uuid_new ();
    /* Version 4, in the places of the file. */
    CHECK (uuids[i].bytes[7] >> 4 == 4);
    CHECK (uuids[i].bytes[8] >> 6 == 2);
    CHECK (vdi_uuid_parse (vdi_uuid_print (&uuids[i], out), &again));
    CHECK (vdi_uuid_equal (&uuids[i], &again));
    for (j = 0; j < i; ++j)
      CHECK (!vdi_uuid_equal (&uuids[i], &uuids[j]));
  }
}

int
main (void)
{
  test_print ();
  test_parse ();
  test_null ();
  test_new ();
  return 0;
}
