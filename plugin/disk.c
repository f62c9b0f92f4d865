/* SPDX-License-Identifier: BSD-3-Clause */
/* The disk that is served: see disk.h. */
#include <config.h>

#include <errno.h>
#include <pthread.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "disk.h"
#include "report.h"
#include "utils/cleanup.h"
#include "utils/text.h"

/* Set by disk_start before there are threads, constant until disk_stop. */
static const struct options *options;
static struct vdi *vdi;
static struct vdi_machine_disk *machine_disk; /* NULL without machine= */

/* Whether the image can be written to is found out when the first
 * connection might want to, and for good.  An image that is in use or
 * damaged leaves this at UNKNOWN: the next connection tries again.
 */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static enum { UNKNOWN, WRITABLE, READ_ONLY } writing; /* lock */

static void
options_of_disk (const struct options *o, struct vdi_options *vo)
{
  vdi_options_init (vo);
  vo->lock = o->lock;
  vo->missing_zero = o->missing_zero;
  vo->commit_seconds = o->commit_seconds;
  vo->advice = o->advice;
  vo->parents = (const char *const *) o->parents.name;
  vo->nr_parents = o->parents.nr;
  vo->parent_dirs = (const char *const *) o->parent_dirs.name;
  vo->nr_parent_dirs = o->parent_dirs.nr;
  vo->parent_by_size = o->parent_by_size;
  /* Who names a snapshot wants an older state. */
  vo->warn_if_newer = !o->create && o->snapshot == NULL;
  if (machine_disk != NULL) {
    vo->candidates = (const char *const *) machine_disk->candidates;
    vo->nr_candidates = machine_disk->nr_candidates;
  }
  vo->listener.warn = report_warning;
  vo->listener.debug = report_debug;
}

/* Another image that the disk has to do with, to be freed; NULL if there is
 * none.
 */
static char *
find_relative (int (*find) (struct vdi *, char **, struct vdi_error *))
{
  struct vdi_error error;
  char *name;
  const int r = find (vdi, &name, &error);

  if (r == -1)
    report_warning (NULL, error.message);
  return r == 1 ? text_printable (name) : NULL;
}

/* The new image says by UUID what its parent is, and nothing else. */
static void
warn_of_twin (void)
{
  CLEANUP_FREE char *const twin = find_relative (vdi_find_parent_twin);

  if (twin == NULL)
    return;
  nbdkit_error ("warning: %s has the same UUID as %s, the parent of the new "
                "image: move it away if it is only a copy, or always name the "
                "parent with parent=", twin, vdi_level_name (vdi, 1));
}

static int
create_image (const struct options *o)
{
  struct vdi_create_options co = {
    .type = o->type,
    .size = o->size,
    .block_size = o->block_size,
    .uuid = o->uuid_given ? &o->uuid : NULL,
    .comment = o->comment,
    .parent = o->type == VDI_TYPE_DIFF ? o->parents.name[0] : NULL,
    .lock = o->lock,
  };
  struct vdi_options vo;
  struct vdi_error error;

  options_of_disk (o, &vo);
  if (vdi_create_open (o->file, &co, &vo, &vdi, &error) == -1)
    return report (&error);
  warn_of_twin ();
  return 0;
}

static int
open_image (const struct options *o, const char *filename)
{
  struct vdi_options vo;
  struct vdi_error error;

  options_of_disk (o, &vo);
  if (vdi_open (filename, &vo, &vdi, &error) == -1)
    return report (&error);
  return 0;
}

/* The machine knows its disks by UUID.  Another image in the place of one
 * of them has somebody else's data.
 */
static int
check_uuid (const struct options *o)
{
  struct vdi_info info;
  char is[VDI_UUID_STRING_SIZE], wanted[VDI_UUID_STRING_SIZE];

  vdi_get_info (vdi, &info);
  if (vdi_uuid_equal (&info.uuid, &machine_disk->uuid))
    return 0;
  nbdkit_error ("%s: the image has the UUID %s, but %s wants the one with "
                "%s here: put that one back, or serve this one by file=",
                info.name, vdi_uuid_print (&info.uuid, is), o->machine,
                vdi_uuid_print (&machine_disk->uuid, wanted));
  return -1;
}

/* Ask the machine which disk is meant, and whether it may be written to. */
static int
find_machine_disk (const struct options *o, bool warn,
                   struct vdi_machine_disk **found)
{
  const struct vdi_machine_options mo = {
    .vbox = o->machine,
    .snapshot = o->snapshot,
    .disk = o->disk,
    .dirs = (const char *const *) o->parent_dirs.name,
    .nr_dirs = o->parent_dirs.nr,
    .listener.warn = warn ? report_warning : NULL,
  };
  struct vdi_error error;

  if (vdi_machine_find (&mo, found, &error) == -1)
    return report (&error);
  return 0;
}

static int
start_machine (const struct options *o)
{
  if (find_machine_disk (o, true, &machine_disk) == -1)
    return -1;
  nbdkit_debug ("%s: %s", machine_disk->description, machine_disk->filename);
  if (open_image (o, machine_disk->filename) == -1)
    return -1;
  return check_uuid (o);
}

int
disk_start (const struct options *o)
{
  options = o;
  if (o->machine != NULL)
    return start_machine (o);

  return o->create ? create_image (o) : open_image (o, o->file);
}

/* An image that has children can be written to, but not they used after. */
static void
warn_of_children (void)
{
  CLEANUP_FREE char *const child = find_relative (vdi_find_child);

  if (child == NULL)
    return;
  nbdkit_error ("warning: %s is the parent of %s, which will no longer fit "
                "once this disk is written to: use nbdkit -r, or write to a "
                "new child (create=diff)", vdi_level_name (vdi, 0), child);
}

static void
machine_forbids (const char *why)
{
  nbdkit_error ("warning: %s: serving it read-only: %s",
                machine_disk->filename, why);
  writing = READ_ONLY;
}

/* VirtualBox may have taken a snapshot since the server started: then what is
 * served is the parent of the machine's disk by now.  If the machine does not
 * answer any more, nobody writes.
 */
static int
ask_machine_again (void)
{
  struct vdi_machine_disk *now;

  if (machine_disk->read_only) {
    machine_forbids (machine_disk->why_read_only);
    return 0;
  }
  if (find_machine_disk (options, false, &now) == -1)
    return -1;
  if (!vdi_uuid_equal (&now->uuid, &machine_disk->uuid))
    machine_forbids ("the machine has another image in its place by now, as "
                     "after a snapshot: start nbdkit again to serve that");
  else if (now->read_only)
    machine_forbids (now->why_read_only);
  vdi_machine_disk_free (now);
  return 0;
}

static int
find_out_writing (void)
{
  struct vdi_error error;

  /* For reasons that will not go away: serve what can be served. */
  if (machine_disk != NULL) {
    if (ask_machine_again () == -1)
      return -1;
    if (writing == READ_ONLY)
      return 0;
  }
  if (vdi_make_writable (vdi, &error) == -1) {
    if (error.err == EROFS || error.err == EACCES || error.err == EPERM) {
      nbdkit_error ("warning: %s: serving it read-only", error.message);
      writing = READ_ONLY;
      return 0;
    }
    /* Somebody may want to write, so make sure that they notice. */
    return report (&error);
  }
  writing = WRITABLE;
  warn_of_children ();
  return 0;
}

int
disk_connect (bool readonly)
{
  if (readonly)
    return 0;

  HOLD_LOCK (&lock);
  if (writing == UNKNOWN && find_out_writing () == -1)
    return -1;
  return writing == WRITABLE;
}

struct vdi *
disk_vdi (void)
{
  return vdi;
}

const char *
disk_of_machine (void)
{
  return machine_disk != NULL ? machine_disk->description : NULL;
}

void
disk_stop (void)
{
  struct vdi_error error;

  if (vdi != NULL && vdi_close (vdi, &error) == -1)
    report (&error);
  vdi = NULL;
  vdi_machine_disk_free (machine_disk);
  machine_disk = NULL;
}
