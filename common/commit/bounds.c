/* SPDX-License-Identifier: BSD-3-Clause */
/* How far an image goes: see bounds.h. */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "commit/bounds.h"
#include "utils/bytes.h"

void
bounds_init (struct bounds *b, struct image *img, struct medium *medium)
{
  *b = (struct bounds) {
    .img = img,
    .medium = medium,
    .offsets = vdi_header_field_offsets (&img->header),
  };
}

static bool
header_is (const struct bounds *b, const uint8_t *bytes, uint32_t count,
           const struct vdi_uuid *uuid_mod)
{
  return get_le32 (bytes + b->offsets.n_alloc) == count &&
         memcmp (bytes + b->offsets.uuid_mod, uuid_mod, 16) == 0;
}

static bool
header_is_ours (const struct bounds *b, const uint8_t *bytes)
{
  return header_is (b, bytes, b->img->header.n_alloc,
                    &b->img->header.uuid_mod);
}

/* As far as its fields that we change. */
static int
read_header (struct bounds *b, uint8_t bytes[VDI_HEADER_SIZE],
             struct vdi_error *error)
{
  return storage_read (b->img->st, bytes, b->offsets.uuid_mod + 16, 0,
                       "header", error);
}

/* Before header or length are changed: nobody may have said meanwhile that
 * what they rest on is not known to be durable.  Trip if the header is not
 * what we left there: somebody without locks (VirtualBox takes none) is
 * writing to the image too.
 */
static int
reread_header (struct bounds *b, uint8_t bytes[VDI_HEADER_SIZE],
               struct vdi_error *error)
{
  if (medium_check (b->medium, error) == -1 ||
      read_header (b, bytes, error) == -1)
    return -1;
  if (!header_is_ours (b, bytes)) {
    vdi_set_error (error, EIO, "%s: another program is writing to this "
                   "image at the same time (the header's count or "
                   "modification UUID is not what we wrote there); close "
                   "it in VirtualBox and open it again here, then check "
                   "the disk", b->img->name);
    return medium_poison (b->medium, error);
  }
  return 0;
}

static void
header_is_now (struct bounds *b, uint32_t count,
               const struct vdi_uuid *uuid_mod)
{
  b->img->header.n_alloc = count;
  b->img->header.uuid_mod = *uuid_mod;
}

/* A write of the header failed: is the new one there or the old one? */
static void
see_what_was_written (struct bounds *b, uint32_t count,
                      const struct vdi_uuid *uuid_mod,
                      struct vdi_error *error)
{
  uint8_t bytes[VDI_HEADER_SIZE];
  struct vdi_error e2;

  if (read_header (b, bytes, &e2) == 0) {
    if (header_is_ours (b, bytes))
      return;
    if (header_is (b, bytes, count, uuid_mod)) {
      header_is_now (b, count, uuid_mod);
      return;
    }
  }
  medium_poison (b->medium, error);
}

int
bounds_write_header (struct bounds *b, uint32_t count,
                     const struct vdi_uuid *uuid_mod,
                     struct vdi_error *error)
{
  const uint32_t start = b->offsets.n_alloc;
  const bool same_uuid = vdi_uuid_equal (uuid_mod, &b->img->header.uuid_mod);
  const uint32_t end = same_uuid ? start + 4 : b->offsets.uuid_mod + 16;
  uint8_t bytes[VDI_HEADER_SIZE];

  if (reread_header (b, bytes, error) == -1)
    return -1;
  put_le32 (bytes + start, count);
  memcpy (bytes + b->offsets.uuid_mod, uuid_mod->bytes, 16);
  b->header_durable = false;
  if (storage_write (b->img->st, bytes + start, end - start, start, "header",
                     error) == -1) {
    see_what_was_written (b, count, uuid_mod, error);
    return -1;
  }
  header_is_now (b, count, uuid_mod);
  return 0;
}

/* The count is in the file: have it on stable storage, too. */
static int
sync_count (struct bounds *b, struct vdi_error *error)
{
  uint8_t bytes[4];
  int r;

  put_le32 (bytes, b->img->header.n_alloc);
  r = medium_write_durable (b->medium, bytes, sizeof bytes,
                            b->offsets.n_alloc, "header", error);
  return r == 1 ? medium_sync (b->medium, error) : r;
}

int
bounds_set_count (struct bounds *b, uint32_t count, struct vdi_error *error)
{
  if (b->img->header.n_alloc == count && b->header_durable)
    return 0;
  if (b->img->header.n_alloc != count &&
      bounds_write_header (b, count, &b->img->header.uuid_mod, error) == -1)
    return -1;
  if (sync_count (b, error) == -1)
    return -1;
  b->header_durable = true;
  return 0;
}

/*------------------------------------------------------------------*/

/* A header or a length that is not as we left it means that somebody else
 * has put data there.
 */
int
bounds_check (struct bounds *b, struct vdi_error *error)
{
  uint8_t bytes[VDI_HEADER_SIZE];
  uint64_t now;

  if (reread_header (b, bytes, error) == -1 ||
      storage_size (b->img->st, &now, error) == -1)
    return -1;
  if (now != b->img->file_length) {
    vdi_set_error (error, EIO, "%s: another program is writing to this "
                   "image at the same time (the file is %" PRIu64 " bytes "
                   "long, we left %" PRIu64 "); close it in VirtualBox and "
                   "open it again here, then check the disk",
                   b->img->name, now, b->img->file_length);
    return medium_poison (b->medium, error);
  }
  return 0;
}

/* Changing it failed, perhaps in part. */
static void
see_how_long (struct bounds *b)
{
  struct vdi_error ignored;
  uint64_t now;

  if (storage_size (b->img->st, &now, &ignored) == 0)
    b->img->file_length = now;
}

int
bounds_set_length (struct bounds *b, uint64_t length, struct vdi_error *error)
{
  if (bounds_check (b, error) == -1)
    return -1;
  if (b->img->file_length == length)
    return 0;
  if (storage_truncate (b->img->st, length, error) == -1) {
    see_how_long (b);
    return -1;
  }
  b->cut |= length < b->img->file_length;
  b->img->file_length = length;
  return 0;
}

/* By writing its last byte.  Not after a cut, of which that says nothing:
 * old data could be back after a crash where the file has grown again.
 */
int
bounds_append (struct bounds *b, uint64_t length, struct vdi_error *error)
{
  int r;

  if (!b->img->st->grows_zero || b->cut || length <= b->img->file_length)
    return 1;
  if (bounds_check (b, error) == -1)
    return -1;
  r = medium_write_durable (b->medium, "", 1, length - 1,
                            "the end of the file", error);
  if (r == 0)
    b->img->file_length = length;
  else
    see_how_long (b);
  return r;
}

int
bounds_sync_length (struct bounds *b, struct vdi_error *error)
{
  if (medium_sync (b->medium, error) == -1)
    return -1;
  b->cut = false;
  return 0;
}
