/* SPDX-License-Identifier: BSD-3-Clause */
/* The file that commit.c writes to: see target.h. */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "bytes.h"
#include "target.h"

void
target_init (struct target *t, const struct image *img,
             const struct vdi_listener *listener)
{
  *t = (struct target) {
    .st = img->st,
    .listener = listener,
    .offsets = vdi_header_field_offsets (&img->header),
    .count = img->header.n_alloc,
    .uuid_mod = img->header.uuid_mod,
    .length = img->file_length,
  };
  pthread_mutex_init (&t->poison_lock, NULL);
}

void
target_destroy (struct target *t)
{
  pthread_mutex_destroy (&t->poison_lock);
}

int
target_check (struct target *t, struct vdi_error *error)
{
  if (!t->poisoned)
    return 0;
  pthread_mutex_lock (&t->poison_lock);
  if (t->ceded)
    *error = t->why_poisoned;
  else
    vdi_set_error (error, EIO, "%s: what was written may be lost since an "
                 "earlier error, so nothing more is written: close and open "
                 "the image again to see what is there (%.300s)",
                 t->st->name, t->why_poisoned.message);
  pthread_mutex_unlock (&t->poison_lock);
  return -1;
}

static void
poison (struct target *t, const struct vdi_error *error, bool ceded)
{
  pthread_mutex_lock (&t->poison_lock);
  if (!t->poisoned) {
    t->why_poisoned = *error;
    t->ceded = ceded;
    t->poisoned = true;
    vdi_debug (t->listener, "commit: writing ends here: %s", error->message);
  }
  pthread_mutex_unlock (&t->poison_lock);
}

int
target_poison (struct target *t, struct vdi_error *error)
{
  poison (t, error, false);
  return -1;
}

void
target_cede (struct target *t, const struct vdi_error *error)
{
  poison (t, error, true);
}

int
target_sync (struct target *t, struct vdi_error *error)
{
  if (target_check (t, error) == -1)
    return -1;
  if (storage_sync (t->st, error) == 0)
    return 0;
  error->err = EIO;
  return target_poison (t, error);
}

/*------------------------------------------------------------------*/

static bool
header_is (const struct target *t, const uint8_t *bytes, uint32_t count,
           const struct vdi_uuid *uuid_mod)
{
  return get_le32 (bytes + t->offsets.n_alloc) == count &&
         memcmp (bytes + t->offsets.uuid_mod, uuid_mod, 16) == 0;
}

/* Before header or length are changed: nobody may have said meanwhile that
 * what they rest on is not known to be durable.  Read the header as far
 * as its fields that we change, into bytes, and trip if they are not what
 * we left there: somebody without locks (VirtualBox takes none) is writing
 * to the image too.
 */
static int
reread_header (struct target *t, uint8_t bytes[VDI_HEADER_SIZE],
               struct vdi_error *error)
{
  if (target_check (t, error) == -1 ||
      storage_read (t->st, bytes, t->offsets.uuid_mod + 16, 0, "header",
                    error) == -1)
    return -1;
  if (!header_is (t, bytes, t->count, &t->uuid_mod)) {
    vdi_set_error (error, EIO, "%s: another program is writing to this "
                   "image at the same time (the header's count or "
                   "modification UUID is not what we wrote there); close "
                   "it in VirtualBox and open it again here, then check "
                   "the disk", t->st->name);
    return target_poison (t, error);
  }
  return 0;
}

/* A write of the header failed: is the new one there or the old one? */
static void
see_what_was_written (struct target *t, uint32_t count,
                      const struct vdi_uuid *uuid_mod,
                      struct vdi_error *error)
{
  uint8_t bytes[VDI_HEADER_SIZE];
  struct vdi_error e2;

  if (storage_read (t->st, bytes, t->offsets.uuid_mod + 16, 0, "header",
                    &e2) == 0) {
    if (header_is (t, bytes, t->count, &t->uuid_mod))
      return;
    if (header_is (t, bytes, count, uuid_mod)) {
      t->count = count;
      t->uuid_mod = *uuid_mod;
      return;
    }
  }
  target_poison (t, error);
}

int
target_write_header (struct target *t, uint32_t count,
                     const struct vdi_uuid *uuid_mod,
                     struct vdi_error *error)
{
  const uint32_t start = t->offsets.n_alloc;
  const bool same_uuid = vdi_uuid_equal (uuid_mod, &t->uuid_mod);
  const uint32_t end = same_uuid ? start + 4 : t->offsets.uuid_mod + 16;
  uint8_t bytes[VDI_HEADER_SIZE];

  if (reread_header (t, bytes, error) == -1)
    return -1;
  put_le32 (bytes + start, count);
  memcpy (bytes + t->offsets.uuid_mod, uuid_mod->bytes, 16);
  t->header_durable = false;
  if (storage_write (t->st, bytes + start, end - start, start, "header",
                     error) == -1) {
    see_what_was_written (t, count, uuid_mod, error);
    return -1;
  }
  t->count = count;
  t->uuid_mod = *uuid_mod;
  return 0;
}

/* A header or a length that is not as we left it means that somebody else
 * has put data there.
 */
int
target_look (struct target *t, struct vdi_error *error)
{
  uint8_t bytes[VDI_HEADER_SIZE];
  uint64_t now;

  if (reread_header (t, bytes, error) == -1 ||
      storage_size (t->st, &now, error) == -1)
    return -1;
  if (now != t->length) {
    vdi_set_error (error, EIO, "%s: another program is writing to this "
                   "image at the same time (the file is %" PRIu64 " bytes "
                   "long, we left %" PRIu64 "); close it in VirtualBox and "
                   "open it again here, then check the disk",
                   t->st->name, now, t->length);
    return target_poison (t, error);
  }
  return 0;
}

int
target_set_length (struct target *t, uint64_t length,
                   struct vdi_error *error)
{
  struct vdi_error ignored;
  uint64_t now;

  if (target_look (t, error) == -1)
    return -1;
  if (t->length == length)
    return 0;
  if (storage_truncate (t->st, length, error) == -1) {
    if (storage_size (t->st, &now, &ignored) == 0)
      t->length = now;
    return -1;
  }
  t->cut |= length < t->length;
  t->length = length;
  return 0;
}

/* One durable write, which does not wait for what clients have written
 * meanwhile.  1, with nothing lost, if it cannot be had.
 */
static int
write_durably (struct target *t, const void *buf, size_t count,
               uint64_t offset, const char *what, struct vdi_error *error)
{
  if (target_check (t, error) == -1)
    return -1;
  if (storage_write_durable (t->st, buf, count, offset, what, error) == 0)
    return 0;
  if (error->err == ENOTSUP || error->err == ENOSPC ||
      error->err == EDQUOT || error->err == EFBIG)
    return 1;
  error->err = EIO;
  return target_poison (t, error);
}

/* By writing its last byte.  Not after a cut, of which that says nothing:
 * old data could be back after a crash where the file has grown again.
 */
int
target_append (struct target *t, uint64_t length, struct vdi_error *error)
{
  struct vdi_error ignored;
  uint64_t now;
  int r;

  if (!t->st->grows_zero || t->cut || length <= t->length)
    return 1;
  if (target_look (t, error) == -1)
    return -1;
  r = write_durably (t, "", 1, length - 1, "the end of the file", error);
  if (r == 0)
    t->length = length;
  else if (storage_size (t->st, &now, &ignored) == 0)
    t->length = now;
  return r;
}

int
target_sync_length (struct target *t, struct vdi_error *error)
{
  if (target_sync (t, error) == -1)
    return -1;
  t->cut = false;
  return 0;
}

/* The count is in the file: have it on stable storage, too. */
static int
sync_count (struct target *t, struct vdi_error *error)
{
  uint8_t bytes[4];
  int r;

  put_le32 (bytes, t->count);
  r = write_durably (t, bytes, sizeof bytes, t->offsets.n_alloc, "header",
                     error);
  return r == 1 ? target_sync (t, error) : r;
}

int
target_set_count (struct target *t, uint32_t count, struct vdi_error *error)
{
  const struct vdi_uuid uuid_mod = t->uuid_mod;

  if (t->count == count && t->header_durable)
    return 0;
  if (t->count != count &&
      target_write_header (t, count, &uuid_mod, error) == -1)
    return -1;
  if (sync_count (t, error) == -1)
    return -1;
  t->header_durable = true;
  return 0;
}
