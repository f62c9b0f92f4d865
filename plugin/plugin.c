/* SPDX-License-Identifier: BSD-3-Clause */
/* nbdkit vdi file=DISK.vdi: nbdkit's callbacks, nothing else.  Each is a
 * few lines that call the core (common/vdi.h), on the one disk that all
 * connections share (disk.h).
 *
 * Nothing here relies on .close or .cleanup: nbdkit calls neither for
 * certain (it skips .close at shutdown, and is killed when an idle
 * client keeps it from ending).  The core leaves a correct image behind
 * at every moment; closing only saves what a flush would have saved.
 */
#include <config.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <libxml/xmlversion.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "describe.h"
#include "disk.h"
#include "options.h"
#include "report.h"
#include "vdi.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

static struct options options;  /* constant after .config_complete */

/* nbdkit -r.  Filters may ask for a writable disk all the same (ext2
 * does), and then nbdkit does not tell .open.
 */
static atomic_bool server_is_readonly;

struct handle {
  bool can_write;
  atomic_bool wrote;            /* and has not flushed since */
};

static void
plugin_load (void)
{
  options_init (&options);
}

static void
plugin_unload (void)
{
  disk_stop ();
  options_free (&options);
}

static void
plugin_dump_plugin (void)
{
  printf ("vdi_types=dynamic,fixed,diff,undo\n");
  printf ("vdi_header_versions=0,1\n");
  printf ("vdi_create=dynamic,fixed,diff\n");
  printf ("vdi_write=yes\n");
  printf ("vdi_chains=yes\n");
  printf ("vdi_machine=yes\n");
  printf ("vdi_locks=qemu\n");
  printf ("vdi_libxml2=%s\n", LIBXML_DOTTED_VERSION);
}

static int
plugin_config (const char *key, const char *value)
{
  return options_set (&options, key, value);
}

static int
plugin_config_complete (void)
{
  return options_complete (&options);
}

static int
plugin_get_ready (void)
{
  const char *description;

  if (disk_start (&options) == -1)
    return -1;
  description = describe (disk_vdi (), disk_of_machine ());
  if (description == NULL)
    return -1;
  nbdkit_debug ("%s", description);
  return 0;
}

static void
plugin_cleanup (void)
{
  disk_stop ();
}

static int
plugin_preconnect (int readonly)
{
  if (readonly)
    atomic_store (&server_is_readonly, true);
  return 0;
}

static int
plugin_list_exports (int readonly, int is_tls, struct nbdkit_exports *exports)
{
  const char *description = describe (disk_vdi (), disk_of_machine ());

  (void) readonly;
  (void) is_tls;
  if (description == NULL)
    return -1;
  return nbdkit_add_export (exports, "", description);
}

static void *
plugin_open (int readonly)
{
  struct handle *h;
  int r;

  r = disk_connect (readonly || atomic_load (&server_is_readonly));
  if (r == -1)
    return NULL;
  h = malloc (sizeof *h);
  if (h == NULL) {
    nbdkit_error ("malloc: %m");
    return NULL;
  }
  h->can_write = r;
  atomic_init (&h->wrote, false);
  return h;
}

/* Many clients leave without a flush, so do it for them: most of what
 * reaches .close at all is an ordinary end of work.
 */
static void
plugin_close (void *handle)
{
  struct handle *h = handle;
  struct vdi_error error;

  if (atomic_load (&h->wrote) && vdi_flush (disk_vdi (), &error) == -1)
    report (&error);
  free (h);
}

static int64_t
plugin_get_size (void *handle)
{
  (void) handle;
  return vdi_size (disk_vdi ());
}

static const char *
plugin_export_description (void *handle)
{
  (void) handle;
  return describe (disk_vdi (), disk_of_machine ());
}

/* Preferred is 4096 and not the image's block size, although whole blocks
 * may seem to be cheaper: a write costs what is written, so there is
 * nothing to be gained, and nbdcopy takes preferred for the least piece of
 * zeros that it leaves out.  Measured with 512 MiB of which 64 KiB in every
 * 256 KiB are data, copied by nbdcopy into a new image: 1.1 s and 128 MiB
 * taken on the disk with 4096, 2.5 s and 512 MiB with 1 MiB.  With dense
 * data, and with qemu-img, it makes no difference.
 */
static int
plugin_block_size (void *handle, uint32_t *minimum, uint32_t *preferred,
                   uint32_t *maximum)
{
  (void) handle;
  *minimum = 1;
  *preferred = 4096;
  *maximum = UINT32_MAX;
  return 0;
}

static int
plugin_can_write (void *handle)
{
  struct handle *h = handle;

  return h->can_write;
}

static int
plugin_can_multi_conn (void *handle)
{
  (void) handle;
  return 1;
}

static int
plugin_can_fua (void *handle)
{
  (void) handle;
  return NBDKIT_FUA_NATIVE;
}

static int
plugin_can_fast_zero (void *handle)
{
  (void) handle;
  return 1;
}

static int
plugin_can_cache (void *handle)
{
  (void) handle;
  return NBDKIT_CACHE_NATIVE;
}

/* nbdkit's flags of a request as the core's. */
static unsigned
core_flags (uint32_t flags)
{
  return (flags & NBDKIT_FLAG_FUA ? VDI_FUA : 0) |
    (flags & NBDKIT_FLAG_MAY_TRIM ? VDI_MAY_TRIM : 0) |
    (flags & NBDKIT_FLAG_FAST_ZERO ? VDI_FAST : 0);
}

static int
plugin_pread (void *handle, void *buf, uint32_t count, uint64_t offset,
              uint32_t flags)
{
  struct vdi_error error;

  (void) handle;
  (void) flags;
  if (vdi_read (disk_vdi (), buf, count, offset, &error) == -1)
    return report (&error);
  return 0;
}

static int
plugin_pwrite (void *handle, const void *buf, uint32_t count, uint64_t offset,
               uint32_t flags)
{
  struct handle *h = handle;
  struct vdi_error error;

  if (vdi_write (disk_vdi (), buf, count, offset, core_flags (flags),
                 &error) == -1)
    return report (&error);
  atomic_store (&h->wrote, true);
  return 0;
}

static int
plugin_flush (void *handle, uint32_t flags)
{
  struct handle *h = handle;
  struct vdi_error error;

  (void) flags;
  /* First, so that a write that ends during the flush is not forgotten. */
  atomic_store (&h->wrote, false);
  if (vdi_flush (disk_vdi (), &error) == -1)
    return report (&error);
  return 0;
}

static int
plugin_trim (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  struct handle *h = handle;
  struct vdi_error error;

  if (vdi_trim (disk_vdi (), count, offset, core_flags (flags), &error) == -1)
    return report (&error);
  atomic_store (&h->wrote, true);
  return 0;
}

static int
plugin_zero (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  struct handle *h = handle;
  struct vdi_error error;

  if (vdi_zero (disk_vdi (), count, offset, core_flags (flags),
                &error) == -1) {
    if (error.err == ENOTSUP && (flags & NBDKIT_FLAG_FAST_ZERO)) {
      /* An answer, not an error (and see report.c). */
      errno = ENOTSUP;
      return -1;
    }
    return report (&error);
  }
  atomic_store (&h->wrote, true);
  return 0;
}

/* The core's extents are nbdkit's, which are NBD's. */
_Static_assert (VDI_EXTENT_HOLE == NBDKIT_EXTENT_HOLE, "holes differ");
_Static_assert (VDI_EXTENT_ZERO == NBDKIT_EXTENT_ZERO, "zeros differ");

struct extents_sink {
  struct nbdkit_extents *extents;
  struct vdi_error *error;
  bool reported;                /* by nbdkit_add_extent */
};

static int
add_extent (void *opaque, uint64_t offset, uint64_t length, unsigned type)
{
  struct extents_sink *sink = opaque;

  if (nbdkit_add_extent (sink->extents, offset, length, type) == -1) {
    sink->reported = true;
    return vdi_set_error (sink->error, ENOMEM, "nbdkit_add_extent");
  }
  return 0;
}

static int
plugin_extents (void *handle, uint32_t count, uint64_t offset, uint32_t flags,
                struct nbdkit_extents *extents)
{
  struct vdi_error error;
  struct extents_sink sink = { extents, &error, false };

  (void) handle;
  if (vdi_extents (disk_vdi (), count, offset, flags & NBDKIT_FLAG_REQ_ONE,
                   add_extent, &sink, &error) == -1) {
    if (!sink.reported)
      return report (&error);
    errno = error.err;
    return -1;
  }
  return 0;
}

static int
plugin_cache (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  struct vdi_error error;

  (void) handle;
  (void) flags;
  if (vdi_cache (disk_vdi (), count, offset, &error) == -1)
    return report (&error);
  return 0;
}

static struct nbdkit_plugin plugin = {
  .name = "vdi",
  .longname = "nbdkit VirtualBox disk image plugin",
  .version = PACKAGE_VERSION,
  .description = "Serve VirtualBox disk images (.vdi), with their snapshots.",
  .load = plugin_load,
  .unload = plugin_unload,
  .dump_plugin = plugin_dump_plugin,
  .config = plugin_config,
  .config_complete = plugin_config_complete,
  .config_help = OPTIONS_HELP,
  .magic_config_key = "file",
  .get_ready = plugin_get_ready,
  .cleanup = plugin_cleanup,
  .preconnect = plugin_preconnect,
  .list_exports = plugin_list_exports,
  .open = plugin_open,
  .close = plugin_close,
  .get_size = plugin_get_size,
  .export_description = plugin_export_description,
  .block_size = plugin_block_size,
  .can_write = plugin_can_write,
  .can_multi_conn = plugin_can_multi_conn,
  .can_fua = plugin_can_fua,
  .can_fast_zero = plugin_can_fast_zero,
  .can_cache = plugin_can_cache,
  .pread = plugin_pread,
  .pwrite = plugin_pwrite,
  .flush = plugin_flush,
  .trim = plugin_trim,
  .zero = plugin_zero,
  .extents = plugin_extents,
  .cache = plugin_cache,
  .errno_is_preserved = 1,
};

NBDKIT_REGISTER_PLUGIN (plugin)
