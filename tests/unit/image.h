/* SPDX-License-Identifier: BSD-3-Clause */
/* Small images and trees of directories, for tests that look for files.
 * All names are relative to tmpdir, which is the current directory after
 * image_setup.  UUIDs are numbers.
 */
#ifndef VDI_TEST_IMAGE_H
#define VDI_TEST_IMAGE_H

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/header.h"
#include "test.h"
#include "tmpdir.h"
#include "utils/uuid.h"

static inline void
image_setup (void)
{
  tmpdir_make ();
  CHECK (chdir (tmpdir) == 0);
}

static inline struct vdi_uuid
image_uuid (unsigned n)
{
  char text[VDI_UUID_STRING_SIZE];
  struct vdi_uuid uuid;

  if (n == 0)
    memset (&uuid, 0, sizeof uuid);
  else {
    snprintf (text, sizeof text, "%08x-0000-4000-8000-000000000000", n);
    CHECK (vdi_uuid_parse (text, &uuid));
  }
  return uuid;
}

static inline void
write_text (const char *name, const char *bytes, size_t size)
{
  FILE *fp = fopen (name, "w");

  CHECK (fp != NULL);
  CHECK (fwrite (bytes, 1, size, fp) == size);
  CHECK (fclose (fp) == 0);
}

/* Make the directory that a file is to be in, and those around it. */
static inline void
make_way (const char *name)
{
  char dir[4096];
  size_t i;

  snprintf (dir, sizeof dir, "%s", name);
  for (i = 1; dir[i]; ++i)
    if (dir[i] == '/') {
      dir[i] = '\0';
      CHECK (mkdir (dir, 0700) == 0 || errno == EEXIST);
      dir[i] = '/';
    }
}

/* An image of which there is the header only; parent 0 makes a base. */
static inline void
make_image_in_state (const char *name, unsigned uuid, unsigned parent,
                     unsigned mod)
{
  struct vdi_header h = {
    .major = 1, .minor = 1, .header_len = 0x190,
    .type = parent ? VDI_TYPE_DIFF : VDI_TYPE_DYNAMIC,
    .map_off = 512, .data_off = 1024, .sector_size = 512,
    .lchs_sector_size = 512, .disk_size = 1 << 20, .block_size = 1 << 20,
    .n_blocks = 1,
  };
  uint8_t bytes[VDI_HEADER_SIZE];

  h.uuid_image = image_uuid (uuid);
  h.uuid_mod = image_uuid (mod);
  h.uuid_parent = h.uuid_parent_mod = image_uuid (parent);
  vdi_header_encode (&h, bytes);
  make_way (name);
  write_text (name, (const char *) bytes, sizeof bytes);
}

static inline void
make_image (const char *name, unsigned uuid, unsigned parent)
{
  make_image_in_state (name, uuid, parent, uuid);
}

/* Forget all files. */
static inline void
clear_tmpdir (void)
{
  CHECK (chdir ("/") == 0);
  nftw (tmpdir, tmpdir_remove_one, 16, FTW_DEPTH | FTW_PHYS);
  CHECK (mkdir (tmpdir, 0700) == 0);
  CHECK (chdir (tmpdir) == 0);
}

/* Does a (real or given) name end so? */
static inline int
ends_with (const char *name, const char *end)
{
  size_t len = strlen (name), n = strlen (end);

  return len >= n && strcmp (name + len - n, end) == 0;
}

#endif /* VDI_TEST_IMAGE_H */
