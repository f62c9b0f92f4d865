/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening and closing a disk: see vdi.h and disk.h. */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "disk/disk.h"
#include "disk/parents.h"
#include "disk/ticker.h"
#include "find/discover.h"
#include "utils/cleanup.h"

void
vdi_options_init (struct vdi_options *options)
{
  *options = (struct vdi_options) {
    .lock = true, .commit_seconds = 5, .ticker = true,
    .advice = STORAGE_NORMAL,
  };
}

/*------------------------------------------------------------------*/

static struct vdi *
new_vdi (const struct vdi_options *options, const char *name,
         struct vdi_error *error)
{
  struct vdi *vdi = calloc (1, sizeof *vdi);

  if (vdi != NULL)
    vdi->levels = calloc (MAX_LINKS + 1, sizeof vdi->levels[0]);
  if (vdi == NULL || vdi->levels == NULL) {
    free (vdi);
    vdi_set_errno (error, ENOMEM, "%s", name);
    return NULL;
  }
  vdi->ticker_wanted = options->ticker;
  vdi->commit_seconds = options->commit_seconds;
  vdi->listener = options->listener;
  pthread_mutex_init (&vdi->writable_lock, NULL);
  watch_init (&vdi->watch);
  for (size_t i = 0; i < NR_STRIPES; i++)
    pthread_mutex_init (&vdi->stripes[i], NULL);
  return vdi;
}

/* Writes nothing. */
static void
free_vdi (struct vdi *vdi)
{
  commit_free (vdi->commit);
  for (size_t i = 0; i < vdi->depth; i++)
    image_free (vdi->levels[i]);
  watch_destroy (&vdi->watch);
  pthread_mutex_destroy (&vdi->writable_lock);
  for (size_t i = 0; i < NR_STRIPES; i++)
    pthread_mutex_destroy (&vdi->stripes[i]);
  free (vdi->levels);
  free (vdi);
}

/* Open an image and put it under those there are.  On failure the storage
 * still belongs to the caller.
 */
static int
add_level (struct vdi *vdi, struct storage *st,
           const struct vdi_options *options, struct vdi_error *error)
{
  struct image *img;

  if (storage_lock (st, false, error) == -1 ||
      image_open (st, options->missing_zero, &img, error) == -1)
    return -1;
  if (vdi->depth > 0 && parents_check (vdi, img, options, error) == -1) {
    img->st = NULL;
    image_free (img);
    return -1;
  }
  if (options->advice != STORAGE_NORMAL)
    storage_advise (st, 0, 0, options->advice);
  vdi->levels[vdi->depth++] = img;
  vdi_debug (&vdi->listener, "chain: level %zu: %s", vdi->depth - 1, img->name);

  if (!img->map.sound)
    vdi_warn (&vdi->listener, "%s: the block map is damaged: %s; it can be "
              "read as far as it goes, with nbdkit -r", img->name,
              img->map.damage);
  if (vdi_header_lacks_last_block (&img->header))
    vdi_warn (&vdi->listener, "%s: the disk is %" PRIu64 " bytes longer than "
              "its block map, as in images that QEMU made until 2011: there is "
              "no reading that, but as zeros with missing=zero", img->name,
              img->size - ((uint64_t) img->header.n_blocks
                           << img->block_shift));
  if (vdi_header_is_child (&img->header) && !parents_wanted (vdi))
    vdi_warn (&vdi->listener, "%s: is marked as a differencing image but names "
              "no parent; serving it as a disk of its own, as QEMU does",
              img->name);
  return 0;
}

/* The set-up is complete. */
static void
finish (struct vdi *vdi)
{
  struct vdi_error error;

  vdi->size = vdi->levels[0]->size;
  /* Whoever may write will be told, once there is somebody. */
  if (storage_writable (vdi->levels[0]->st, &error) == -1)
    vdi_debug (&vdi->listener, "chain: %s", error.message);
  watch_open (vdi);
}

static int
open_level (struct vdi *vdi, const char *filename,
            const struct vdi_options *options, struct vdi_error *error)
{
  struct storage *st;

  if (storage_open_file (filename, options->lock, &st, error) == -1)
    return -1;
  if (add_level (vdi, st, options, error) == -1) {
    storage_close (st);
    return -1;
  }
  return 0;
}

static int
open_parents (struct vdi *vdi, const struct vdi_options *options,
              struct search *search, struct vdi_error *error)
{
  while (parents_wanted (vdi)) {
    CLEANUP_FREE char *filename = NULL;

    if (parents_next (vdi, options, search, &filename, error) == -1 ||
        open_level (vdi, filename, options, error) == -1)
      return -1;
  }
  if (options->nr_parents > vdi->depth - 1)
    return vdi_set_error (error, EINVAL, "%s: has no parent, so parent=%s is "
                          "one too many", vdi->levels[vdi->depth - 1]->name,
                          options->parents[vdi->depth - 1]);
  return 0;
}

/* All that is looked for when a disk is opened is looked for at once. */
static int
open_relatives (struct vdi *vdi, const struct vdi_options *options,
                struct vdi_error *error)
{
  CLEANUP (search_free) struct search search;

  search_init (&search, DISCOVER_MAX_FILES);
  if (open_parents (vdi, options, &search, error) == -1)
    return -1;
  return options->warn_if_newer
    ? parents_warn_if_newer (vdi, &search, error) : 0;
}

int
disk_open_over (struct storage *st, const struct vdi_options *options,
                struct vdi **out, struct vdi_error *error)
{
  struct vdi *vdi = new_vdi (options, st->name, error);

  if (vdi == NULL)
    return -1;
  if (add_level (vdi, st, options, error) == -1 ||
      open_relatives (vdi, options, error) == -1) {
    if (vdi->depth > 0)
      vdi->levels[0]->st = NULL; /* it is the caller's */
    free_vdi (vdi);
    return -1;
  }
  finish (vdi);
  *out = vdi;
  return 0;
}

int
vdi_open (const char *filename, const struct vdi_options *options,
          struct vdi **out, struct vdi_error *error)
{
  struct storage *st;

  if (storage_open_file (filename, options->lock, &st, error) == -1)
    return -1;
  if (disk_open_over (st, options, out, error) == -1) {
    storage_close (st);
    return -1;
  }
  return 0;
}

static int
add_storages (struct vdi *vdi, struct storage *const *storages, size_t nr,
              const struct vdi_options *options, struct vdi_error *error)
{
  size_t i;

  for (i = 0; i == 0 || parents_wanted (vdi); i++) {
    if (i > 0 && parents_check_link (vdi, error) == -1)
      return -1;
    if (i == nr)
      return vdi_set_error (error, ENOENT, "%s: its parent is missing",
                            vdi->levels[i-1]->name);
    if (add_level (vdi, storages[i], options, error) == -1)
      return -1;
  }
  if (i < nr)
    return vdi_set_error (error, EINVAL, "%s: has no parent",
                          vdi->levels[i-1]->name);
  return 0;
}

int
vdi_open_storage (struct storage *const *storages, size_t nr,
                  const struct vdi_options *options, struct vdi **out,
                  struct vdi_error *error)
{
  struct vdi *vdi = new_vdi (options, storages[0]->name, error);

  if (vdi == NULL)
    return -1;
  if (add_storages (vdi, storages, nr, options, error) == -1) {
    for (size_t i = 0; i < vdi->depth; i++)
      vdi->levels[i]->st = NULL; /* they are the caller's */
    free_vdi (vdi);
    return -1;
  }
  finish (vdi);
  *out = vdi;
  return 0;
}

/*------------------------------------------------------------------*/

/* Between opening and locking, somebody else may have written. */
static int
check_unchanged (const struct image *img, struct vdi_error *error)
{
  struct vdi_header h;
  uint64_t length;

  if (image_read_header (img->st, &h, &length, error) == -1)
    return -1;
  if (length != img->file_length || h.n_alloc != img->header.n_alloc ||
      h.n_blocks != img->header.n_blocks ||
      !vdi_uuid_equal (&h.uuid_mod, &img->header.uuid_mod))
    return vdi_set_error (error, EBUSY, "%s: another program has changed "
                          "this image since it was opened; start again",
                          img->name);
  return 0;
}

static int
make_writable_locked (struct vdi *vdi, struct vdi_error *error)
{
  struct image *img = vdi->levels[0];
  struct commit *c;

  if (image_may_be_written (img, error) == -1)
    return -1;
  if (vdi->insisted > 0)
    return vdi_set_error (error, EROFS, "%s: %s has not the UUID of the "
                          "parent that is wanted (parent-check=size)",
                          img->name, vdi->levels[vdi->insisted]->name);
  /* Opening it for writing may change much (an overlay copies all of it), so
   * that nobody else has it is seen before.
   */
  if (storage_writable (img->st, error) == -1 ||
      watch_may_write (vdi, error) == -1 ||
      storage_make_writable (img->st, error) == -1)
    return -1;
  if (commit_new (img, vdi->depth == 1, &vdi->listener, &c, error) == -1)
    return -1;
  if (storage_lock (img->st, true, error) == -1 ||
      check_unchanged (img, error) == -1) {
    commit_free (c);
    return -1;
  }
  vdi->commit = c;
  if (vdi->watch.on)
    ticker_want (vdi);
  return 0;
}

int
vdi_make_writable (struct vdi *vdi, struct vdi_error *error)
{
  HOLD_LOCK (&vdi->writable_lock);

  return vdi->commit == NULL ? make_writable_locked (vdi, error) : 0;
}

int
vdi_close (struct vdi *vdi, struct vdi_error *error)
{
  int r = 0;

  if (vdi->ticker != NULL)
    commit_wake_with (vdi->commit, NULL, NULL);
  ticker_stop (vdi->ticker);
  watch_close (vdi);
  if (vdi->commit != NULL)
    r = commit_close (vdi->commit, error);
  free_vdi (vdi);
  return r;
}

int
vdi_tick (struct vdi *vdi, unsigned seconds, struct vdi_error *error)
{
  if (vdi->commit == NULL)
    return 0;
  watch_tick (vdi, seconds);
  if (watch_hurries (vdi))      /* somebody else may be at it */
    return 0;
  return commit_tick (vdi->commit, seconds, vdi->commit_seconds,
                      error);
}

/*------------------------------------------------------------------*/

void
vdi_get_info (struct vdi *vdi, struct vdi_info *info)
{
  const struct image *img = vdi->levels[0];

  *info = (struct vdi_info) {
    .name = img->name,
    .size = vdi->size,
    .type = img->header.type,
    .block_size = img->header.block_size,
    .n_blocks = img->header.n_blocks,
    .n_allocated = img->map.n_allocated,
    .depth = vdi->depth,
    .uuid = img->header.uuid_image,
    .parent = img->header.uuid_parent,
    .damaged = !img->map.sound,
    .lacks_last_block = vdi_header_lacks_last_block (&img->header),
    .needs_old_virtualbox = vdi_header_needs_old_virtualbox (&img->header),
    .comment = img->header.comment,
  };
}

uint64_t
vdi_size (const struct vdi *vdi)
{
  return vdi->size;
}

const char *
vdi_level_name (const struct vdi *vdi, size_t level)
{
  return level < vdi->depth ? vdi->levels[level]->name : NULL;
}

int
vdi_check_invariants (struct vdi *vdi, struct vdi_error *error)
{
  for (size_t i = 0; i < vdi->depth; i++) {
    const struct image *img = vdi->levels[i];
    uint32_t limit = img->map.high;

    if (i == 0 && vdi->commit != NULL) {
      if (!img->map.sound || vdi_header_lacks_last_block (&img->header))
        return vdi_set_error (error, EIO, "%s: D2", img->name);
      if (commit_check_invariants (vdi->commit, &limit, error) == -1)
        return -1;
    }
    if (image_check_invariants (img, limit, error) == -1)
      return -1;
  }
  return 0;
}
