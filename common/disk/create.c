/* SPDX-License-Identifier: BSD-3-Clause */
/* New images, with the values that VirtualBox 6.1 to 7.1 give them
 * (vdi-format.md 7.1), so that every program that knows the format takes
 * them for its own.
 *
 * The header is written last, when all the rest is on stable storage: a
 * file whose creation was cut short has no signature, and nobody can
 * take it for an image.
 */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "disk/chain.h"
#include "disk/disk.h"
#include "image/header.h"
#include "storage/storage.h"
#include "utils/bytes.h"
#include "utils/checked.h"
#include "utils/error.h"
#include "utils/text.h"
#include "utils/uuid.h"
#include "vdi.h"

#define HEADER_LEN UINT32_C (0x190)
#define ALIGNMENT UINT32_C (0x100000) /* of the map and of the data */
#define USUAL_BLOCK_SIZE UINT32_C (0x100000)

/* A file system gives out space in units of 4096 bytes; VirtualBox after
 * 7.0 opens no larger blocks than 128 MiB (3.1 row 19).
 */
#define MIN_BLOCK_SIZE UINT32_C (4096)
#define MAX_BLOCK_SIZE UINT32_C (0x8000000)

/* The data's offset has 32 bits, and lies behind the map. */
#define MAX_BLOCKS ((UINT32_MAX / ALIGNMENT - 1) * (ALIGNMENT / 4))

/* VirtualBox makes only disks that are smaller than this (7.2). */
#define SIZE_LIMIT ((UINT64_C (1) << 52) - 3 * (UINT64_C (1) << 20))

/*------------------------------------------------------------------*/
/* The header: is what is asked for possible? */

static int
check_kind (const struct vdi_create_options *options,
            const struct vdi_header *parent, const char *name,
            struct vdi_error *error)
{
  if (options->type != VDI_TYPE_DYNAMIC && options->type != VDI_TYPE_FIXED &&
      options->type != VDI_TYPE_DIFF)
    return vdi_set_error (error, EINVAL,
                          "%s: an image of type %d cannot be created: it must"
                          " be dynamic (1), fixed (2) or differencing (4)",
                          name, (int) options->type);
  if ((options->type == VDI_TYPE_DIFF) != (parent != NULL))
    return vdi_set_error (error, EINVAL,
                          "%s: an image of type %d %s a parent: differencing"
                          " images (4), and no others, have one",
                          name, (int) options->type,
                          parent ? "cannot have" : "needs");
  if (parent && vdi_uuid_is_null (&parent->uuid_image))
    return vdi_set_error (error, EINVAL,
                          "%s: the UUID of the parent is null, so that a child"
                          " could not say whose it is: make a copy of the"
                          " parent with VBoxManage clonemedium, which gets"
                          " one, and use that",
                          name);
  return 0;
}

static int
check_block_size (uint32_t block_size, const char *name,
                  struct vdi_error *error)
{
  if (block_size >= MIN_BLOCK_SIZE && block_size <= MAX_BLOCK_SIZE &&
      IS_POWER_OF_TWO (block_size))
    return 0;
  return vdi_set_error (error, EINVAL,
                        "%s: the block size %" PRIu32 " is not a power of two"
                        " from %" PRIu32 " (file systems do not give out less)"
                        " to %" PRIu32 " (VirtualBox does not open more);"
                        " all programs understand %" PRIu32,
                        name, block_size, MIN_BLOCK_SIZE, MAX_BLOCK_SIZE,
                        USUAL_BLOCK_SIZE);
}

static int
check_size (uint64_t size, uint32_t block_size, const char *name,
            struct vdi_error *error)
{
  if (size == 0)
    return vdi_set_error (error, EINVAL,
                          "%s: the disk size is 0: a disk needs at least 512"
                          " bytes", name);
  if (size >= SIZE_LIMIT)
    return vdi_set_error (error, EINVAL,
                          "%s: the disk size %" PRIu64 " is too large:"
                          " VirtualBox allows less than %" PRIu64 " bytes",
                          name, size, SIZE_LIMIT);
  if (size % 512 != 0)
    return vdi_set_error (error, EINVAL,
                          "%s: the disk size %" PRIu64 " is not a multiple of"
                          " 512: %" PRIu64 " would be",
                          name, size, ROUND_UP (size, 512));
  if ((size - 1) / block_size >= MAX_BLOCKS)
    return vdi_set_error (error, EINVAL,
                          "%s: the disk size %" PRIu64 " takes more blocks of"
                          " %" PRIu32 " bytes than an image can have: use"
                          " larger blocks, or at most %" PRIu64 " bytes",
                          name, size, block_size,
                          (uint64_t) MAX_BLOCKS * block_size);
  return 0;
}

static int
check_comment (const char *comment, const char *name,
               struct vdi_error *error)
{
  if (strlen (comment) > VDI_COMMENT_MAX)
    return vdi_set_error (error, EINVAL,
                          "%s: the comment is %zu bytes long, and an image has"
                          " room for %d", name, strlen (comment),
                          VDI_COMMENT_MAX);
  if (!text_is_utf8 (comment))
    return vdi_set_error (error, EINVAL,
                          "%s: the comment \"%s\" is not valid UTF-8", name,
                          comment);
  return 0;
}

static int
check_uuid (const struct vdi_uuid *uuid, const struct vdi_header *parent,
            const char *name, struct vdi_error *error)
{
  char text[VDI_UUID_STRING_SIZE];

  if (vdi_uuid_is_null (uuid))
    return vdi_set_error (error, EINVAL,
                          "%s: the UUID %s is null, and VirtualBox opens no"
                          " image without one", name,
                          vdi_uuid_print (uuid, text));
  if (parent && vdi_uuid_equal (uuid, &parent->uuid_image))
    return vdi_set_error (error, EINVAL,
                          "%s: the UUID %s is the parent's: each image needs"
                          " one of its own", name,
                          vdi_uuid_print (uuid, text));
  return 0;
}

/* Where the disk of a smaller parent ends, if the disk that is made goes on
 * behind that.  VirtualBox cannot read there through the child: it asks the
 * parent and takes its error for its own.  So what lies wholly behind
 * the end are zeros of the child's own, and it stores the block in which the
 * end lies.
 */
static uint64_t
end_of_parent (const struct vdi_header *h, const struct vdi_header *parent)
{
  const uint64_t end = parent ? vdi_header_export_size (parent) : UINT64_MAX;

  return end < h->disk_size ? end : UINT64_MAX;
}

/* How many blocks does it have to begin with? */
static uint32_t
first_blocks (const struct vdi_header *h, uint64_t parent_end)
{
  if (h->type == VDI_TYPE_FIXED)
    return h->n_blocks;
  return parent_end != UINT64_MAX && parent_end % h->block_size != 0;
}

/* Make the header of what is asked for. */
static int
plan (const struct vdi_create_options *options,
      const struct vdi_header *parent, const char *name,
      struct vdi_header *h, struct vdi_error *error)
{
  const char *comment = options->comment ? options->comment : "";

  if (check_kind (options, parent, name, error) == -1)
    return -1;
  *h = (struct vdi_header) {
    .major = 1,
    .minor = 1,
    .header_len = HEADER_LEN,
    .type = options->type,
    .map_off = ALIGNMENT,
    .sector_size = 512,
    .lchs_sector_size = 512,
    .disk_size = options->size,
    .block_size = options->block_size ? options->block_size
                                      : USUAL_BLOCK_SIZE,
    .uuid_image = options->uuid ? *options->uuid : vdi_uuid_new (),
    .uuid_mod = vdi_uuid_new (),
  };
  if (parent) {
    if (h->disk_size == 0)
      h->disk_size = vdi_header_export_size (parent);
    h->lchs_cylinders = parent->lchs_cylinders;
    h->lchs_heads = parent->lchs_heads;
    h->lchs_sectors = parent->lchs_sectors;
    h->uuid_parent = parent->uuid_image;
    h->uuid_parent_mod = parent->uuid_mod;
  }
  if (check_block_size (h->block_size, name, error) == -1 ||
      check_size (h->disk_size, h->block_size, name, error) == -1 ||
      check_comment (comment, name, error) == -1 ||
      check_uuid (&h->uuid_image, parent, name, error) == -1)
    return -1;

  memcpy (h->comment, comment, strlen (comment));
  h->n_blocks = (h->disk_size - 1) / h->block_size + 1;
  h->n_alloc = first_blocks (h, end_of_parent (h, parent));
  h->data_off = ROUND_UP (h->map_off + 4 * h->n_blocks, ALIGNMENT);
  return 0;
}

/*------------------------------------------------------------------*/
/* The file */

/* Whatever was there is no longer an image, before anything of the new
 * one is written.
 */
static int
clear_device (struct storage *st, uint64_t length, struct vdi_error *error)
{
  uint64_t size;

  if (storage_size (st, &size, error) == -1)
    return -1;
  if (size < length)
    return vdi_set_error (error, ENOSPC,
                          "%s: the image needs %" PRIu64 " bytes, and there"
                          " are only %" PRIu64,
                          st->name, length, size);
  if (storage_write_zeros (st, 0, VDI_HEADER_SIZE, "header", error) == -1)
    return -1;
  return storage_sync (st, error);
}

static int
grow_file (struct storage *st, uint64_t length, struct vdi_error *error)
{
  uint64_t size;

  if (storage_size (st, &size, error) == -1)
    return -1;
  if (size > 0)
    return vdi_set_error (error, EEXIST,
                          "%s: the file is not empty (%" PRIu64 " bytes), and"
                          " is not overwritten", st->name, size);
  return storage_truncate (st, length, error);
}

static uint32_t
first_entry (const struct vdi_header *h, uint64_t parent_end, uint32_t block)
{
  const uint64_t start = (uint64_t) block * h->block_size;

  if (h->type == VDI_TYPE_FIXED)
    return block;
  if (start >= parent_end)
    return VDI_ZERO;
  return parent_end - start < h->block_size ? 0 : VDI_FREE;
}

/* The block in which the parent ends: what it shows there, then zeros. */
static int
write_straddling (struct storage *st, const struct vdi_header *h,
                  const struct vdi *parent, uint64_t parent_end,
                  struct vdi_error *error)
{
  const uint64_t start = ROUND_DOWN (parent_end, h->block_size);
  const uint64_t base = vdi_block_offset (h, 0) - start; /* modulo 2^64 */

  if (chain_copy (parent, 0, start, parent_end, st, base, st->grows_zero,
                  error) == -1)
    return -1;
  if (st->grows_zero)
    return 0;
  return storage_write_zeros (st, base + parent_end,
                              start + h->block_size - parent_end, "data",
                              error);
}

/* Take the space for the blocks of a fixed image. */
static int
take_space (struct storage *st, const struct vdi_header *h,
            struct vdi_error *error)
{
  const uint64_t length = h->n_blocks * vdi_stride (h);
  int r = st->grows_zero ? storage_provision (st, h->data_off, length, error)
                         : storage_zero (st, h->data_off, length, error);

  if (r == -1 && error->err == ENOTSUP)
    r = storage_write_zeros (st, h->data_off, length, "data", error);
  return r;
}

static int
write_map (struct storage *st, const struct vdi_header *h,
           uint64_t parent_end, struct vdi_error *error)
{
  uint8_t buf[65536];
  uint32_t block = 0, count, i;

  while (block < h->n_blocks) {
    count = MIN (h->n_blocks - block, sizeof buf / 4);
    for (i = 0; i < count; ++i)
      put_le32 (buf + 4 * i, first_entry (h, parent_end, block + i));
    if (storage_write (st, buf, 4 * count, vdi_entry_offset (h, block),
                       "block map", error) == -1)
      return -1;
    block += count;
  }
  return 0;
}

/* parent: the disk of the parent, needed if h->n_alloc is not 0 for it. */
static int
write_image (struct storage *st, const struct vdi_header *h,
             uint64_t parent_end, struct vdi *parent,
             struct vdi_error *error)
{
  const bool copy = h->type == VDI_TYPE_DIFF && h->n_alloc > 0;
  const uint64_t length = vdi_length_for (h, h->n_alloc);
  uint8_t bytes[VDI_HEADER_SIZE];

  if ((st->grows_zero ? grow_file (st, length, error)
                      : clear_device (st, length, error)) == -1 ||
      (h->type == VDI_TYPE_FIXED && take_space (st, h, error) == -1) ||
      (copy &&
       write_straddling (st, h, parent, parent_end, error) == -1) ||
      write_map (st, h, parent_end, error) == -1 ||
      storage_sync (st, error) == -1)
    return -1;
  vdi_header_encode (h, bytes);
  if (storage_write (st, bytes, sizeof bytes, 0, "header", error) == -1)
    return -1;
  return storage_sync (st, error);
}

int
vdi_create_storage (struct storage *st,
                    const struct vdi_create_options *options,
                    const struct vdi_header *parent, struct vdi *parent_disk,
                    struct vdi_error *error)
{
  struct vdi_header h;

  if (plan (options, parent, st->name, &h, error) == -1)
    return -1;
  return write_image (st, &h, end_of_parent (&h, parent), parent_disk, error);
}

/*------------------------------------------------------------------*/
/* The same by file names */

static int
exists_already (const char *filename, struct vdi_error *error)
{
  return vdi_set_error (error, EEXIST,
                        "%s: there is a file of this name already, which is"
                        " not overwritten: remove it, or choose another name",
                        filename);
}

static void
explain_no_room (const struct vdi_header *h, struct vdi_error *error)
{
  const struct vdi_error cause = *error;

  if (h->type == VDI_TYPE_FIXED &&
      (cause.err == ENOSPC || cause.err == EDQUOT || cause.err == EFBIG))
    vdi_set_error (error, cause.err,
                   "%s; a fixed image takes the space of the whole disk,"
                   " %" PRIu64 " bytes, at once: a dynamic one takes it as it"
                   " is needed", cause.message, h->disk_size);
}

/* FAT and simple file systems of user space cannot make a file longer
 * without writing to it, and no image could grow on them.
 */
static void
explain_no_growth (struct vdi_error *error)
{
  const struct vdi_error cause = *error;

  if (cause.err == EPERM || cause.err == EOPNOTSUPP || cause.err == ENOSYS)
    vdi_set_error (error, cause.err,
                   "%s: the file system it is on does not let a file grow"
                   " without writing to it, which an image needs: create it"
                   " somewhere else", cause.message);
}

/* The file, locked and unfinished, with the image in it. */
static int
begin_file (const char *filename, const struct vdi_create_options *options,
            struct vdi *parent, struct storage **st, struct vdi_error *error)
{
  const struct vdi_header *ph = parent ? &parent->levels[0]->header : NULL;
  struct vdi_header h;

  if (plan (options, ph, filename, &h, error) == -1)
    return -1;
  if (storage_create_file (filename, options->lock, st, error) == -1)
    return error->err == EEXIST ? exists_already (filename, error) : -1;
  if (storage_lock (*st, true, error) == 0 &&
      write_image (*st, &h, end_of_parent (&h, ph), parent, error) == 0)
    return 0;
  explain_no_room (&h, error);
  explain_no_growth (error);
  storage_abandon_file (*st, error);
  return -1;
}

static int
finish_file (struct storage *st, struct vdi_error *error)
{
  if (storage_finish_file (st, error) == 0)
    return 0;
  return error->err == EEXIST ? exists_already (st->name, error) : -1;
}

/* What has been made is what is served, and not what has its name then.  It
 * gets the name last, when nothing can fail any more.
 */
static int
serve_file (struct storage *st, const struct vdi_options *options,
            struct vdi **out, struct vdi_error *error)
{
  struct vdi_error ignored;
  struct vdi *vdi;

  if (disk_open_over (st, options, &vdi, error) == -1) {
    storage_abandon_file (st, error);
    return -1;
  }
  if (finish_file (st, error) == -1) {
    vdi_close (vdi, &ignored);
    return -1;
  }
  *out = vdi;
  return 0;
}

static void
warn_of_block_size (const struct vdi *vdi, const char *filename)
{
  const struct vdi_header *h = &vdi->levels[0]->header;

  if (vdi_header_needs_old_virtualbox (h))
    vdi_warn (&vdi->listener, "%s: VirtualBox from September 2026 on does not "
              "open images with blocks of %" PRIu32 " bytes, but only with "
              "131072 (128 KiB) to 134217728 (128 MiB)", filename,
              h->block_size);
}

/* The parent, as the child will have it.  What there is to be warned of is
 * said when the child is opened.
 */
static int
open_parent (const char *filename, const struct vdi_options *child,
             struct vdi **parent, struct vdi_error *error)
{
  struct vdi_options options = *child;

  if (options.nr_parents > 0) {
    options.parents++;
    options.nr_parents--;
  }
  options.listener.warn = NULL;
  return vdi_open (filename, &options, parent, error);
}

int
vdi_create_open (const char *filename,
                 const struct vdi_create_options *create_options,
                 const struct vdi_options *options, struct vdi **vdi,
                 struct vdi_error *error)
{
  struct vdi *parent = NULL;
  struct vdi_error ignored;
  struct storage *st;
  int r;

  /* It stays open, and so locked against writers, until its child is. */
  if (create_options->parent &&
      open_parent (create_options->parent, options, &parent, error) == -1)
    return -1;
  r = begin_file (filename, create_options, parent, &st, error);
  if (r == 0)
    r = serve_file (st, options, vdi, error);
  if (r == 0)
    warn_of_block_size (*vdi, filename);
  if (parent)
    vdi_close (parent, &ignored);
  return r;
}

int
vdi_create (const char *filename, const struct vdi_create_options *options,
            struct vdi_error *error)
{
  struct vdi_options open_options;
  struct vdi *vdi;

  vdi_options_init (&open_options);
  open_options.lock = options->lock;
  open_options.parents = &options->parent;
  open_options.nr_parents = options->parent != NULL;
  if (vdi_create_open (filename, options, &open_options, &vdi, error) == -1)
    return -1;
  return vdi_close (vdi, error);
}
