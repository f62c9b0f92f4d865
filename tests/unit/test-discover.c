/* SPDX-License-Identifier: BSD-3-Clause */
/* discover.c and search.c: parents and children are found where they may
 * be, nowhere else, always the same ones; and what is in the way (other
 * files, FIFOs, doubles) is dealt with.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>

#include "discover.h"
#include "fixture.h"
#include "image.h"
#include "search.h"

static struct vdi_error error;

/* Look for image 1 as the parent of child.  NULL if it is not found. */
static char *
parent_of (const char *child, const struct vdi_options *options)
{
  static char found[4096];
  struct vdi_uuid uuid = image_uuid (1);
  char *name;

  memset (&error, 0, sizeof error);
  if (discover_parent (child, &uuid, options, &name, &error) == -1) {
    CHECK (error.err != 0 && error.message[0] != '\0');
    return NULL;
  }
  snprintf (found, sizeof found, "%s", name);
  free (name);
  return found;
}

static bool
found_in (const char *child, const struct vdi_options *options,
          const char *end)
{
  char *name = parent_of (child, options);

  if (name == NULL)
    fprintf (stderr, "%s\n", error.message);
  return name != NULL && ends_with (name, end);
}

static void
test_header (void)
{
  struct vdi_header h;
  struct vdi_uuid one = image_uuid (1);

  make_image ("a.vdi", 1, 0);
  CHECK (discover_header ("a.vdi", &h, &error) == 0);
  CHECK (vdi_uuid_equal (&h.uuid_image, &one));

  CHECK (discover_header ("missing.vdi", &h, &error) == -1);
  CHECK (error.err == ENOENT);
  CHECK (strstr (error.message, "missing.vdi") != NULL);

  CHECK (discover_header (".", &h, &error) == -1);
  CHECK (error.err == EINVAL);

  /* Were it opened, this would wait for ever. */
  CHECK (mkfifo ("fifo.vdi", 0600) == 0);
  CHECK (discover_header ("fifo.vdi", &h, &error) == -1);
  CHECK (error.err == EINVAL);
  CHECK (discover_header ("/dev/null", &h, &error) == -1);
  CHECK (error.err == EINVAL);

  write_text ("empty.vdi", "", 0);
  CHECK (discover_header ("empty.vdi", &h, &error) == -1);
  CHECK (error.err == EINVAL);
  write_text ("text.vdi", "hello", 5);
  CHECK (discover_header ("text.vdi", &h, &error) == -1);
  CHECK (error.err == EINVAL);
}

static void
test_places (void)
{
  struct vdi_options options;
  const char *dirs[] = { "away", "missing" };

  memset (&options, 0, sizeof options);
  /* The same directory. */
  make_image ("vm/child.vdi", 2, 1);
  make_image ("vm/base.vdi", 1, 0);
  CHECK (found_in ("vm/child.vdi", NULL, "/vm/base.vdi"));
  CHECK (found_in ("./vm/child.vdi", NULL, "/vm/base.vdi"));
  CHECK (found_in ("vm/../vm/child.vdi", NULL, "/vm/base.vdi"));
  CHECK (chdir ("vm") == 0);
  CHECK (found_in ("child.vdi", NULL, "/vm/base.vdi"));
  CHECK (chdir ("..") == 0);

  /* The one above, as VirtualBox does. */
  make_image ("vm/Snapshots/child.vdi", 2, 1);
  CHECK (found_in ("vm/Snapshots/child.vdi", NULL, "/vm/base.vdi"));
  CHECK (chdir ("vm/Snapshots") == 0);
  CHECK (found_in ("child.vdi", NULL, "/vm/base.vdi"));
  CHECK (chdir (tmpdir) == 0);

  /* Snapshots below. */
  CHECK (rename ("vm/base.vdi", "vm/Snapshots/base.vdi") == 0);
  CHECK (found_in ("vm/child.vdi", NULL, "/vm/Snapshots/base.vdi"));

  /* Nowhere, with all that is needed to do something about it. */
  make_image ("away/base.vdi", 1, 0);
  CHECK (unlink ("vm/Snapshots/base.vdi") == 0);
  CHECK (parent_of ("vm/child.vdi", NULL) == NULL);
  CHECK (error.err == ENOENT);
  CHECK (strstr (error.message, "vm/child.vdi: ") != NULL);
  CHECK (strstr (error.message, "00000001-0000-4000-8000-000000000000"));
  CHECK (strstr (error.message, "/vm, ") != NULL);
  CHECK (strstr (error.message, tmpdir) != NULL);
  CHECK (strstr (error.message, "/vm/Snapshots") != NULL);
  CHECK (strstr (error.message, "parent=") != NULL);
  CHECK (strstr (error.message, "parent-dir=") != NULL);

  /* A directory that the caller names; another one is missing. */
  options.parent_dirs = dirs;
  options.nr_parent_dirs = 2;
  CHECK (found_in ("vm/child.vdi", &options, "away/base.vdi"));
  CHECK (unlink ("away/base.vdi") == 0);
  CHECK (parent_of ("vm/child.vdi", &options) == NULL);
  CHECK (strstr (error.message, "away") != NULL);
  CHECK (strstr (error.message, "missing (No such file") != NULL);

  /* A directory by two names is one place. */
  CHECK (symlink ("vm", "also") == 0);
  dirs[1] = "also";
  CHECK (parent_of ("vm/child.vdi", &options) == NULL);
  CHECK (strstr (error.message, "away") != NULL);
  CHECK (strstr (error.message, "also") == NULL);

  /* Directories are not descended into. */
  make_image ("vm/deep/base.vdi", 1, 0);
  make_image ("vm/Snapshots/deep/base.vdi", 1, 0);
  CHECK (parent_of ("vm/child.vdi", NULL) == NULL);
  clear_tmpdir ();
}

static void
test_links (void)
{
  /* A link to the child: the parent is beside the child. */
  make_image ("vm/Snapshots/child.vdi", 2, 1);
  make_image ("vm/base.vdi", 1, 0);
  CHECK (mkdir ("home", 0700) == 0);
  CHECK (symlink ("../vm/Snapshots/child.vdi", "home/disk.vdi") == 0);
  CHECK (found_in ("home/disk.vdi", NULL, "/vm/base.vdi"));

  /* Or beside the link. */
  CHECK (rename ("vm/base.vdi", "home/base.vdi") == 0);
  CHECK (found_in ("home/disk.vdi", NULL, "/home/base.vdi"));

  /* The same file by two names counts once, whatever the kind of link. */
  CHECK (link ("home/base.vdi", "home/also.vdi") == 0);
  CHECK (symlink ("base.vdi", "home/too.vdi") == 0);
  CHECK (found_in ("home/disk.vdi", NULL, "/home/also.vdi"));

  /* The directory above the link, whatever its name looks like. */
  CHECK (mkdir ("home/Snapshots", 0700) == 0);
  CHECK (rename ("home/disk.vdi", "disk.vdi") == 0);
  CHECK (symlink ("../../vm/Snapshots/child.vdi", "home/Snapshots/disk.vdi")
         == 0);
  CHECK (found_in ("home/Snapshots/disk.vdi", NULL, "/home/also.vdi"));
  CHECK (found_in (tmpdir_file ("home/Snapshots/./disk.vdi"), NULL,
                   "/home/also.vdi"));
  CHECK (symlink ("../vm/Snapshots/child.vdi", "home/disk.vdi") == 0);

  /* A loop of links is no image. */
  CHECK (symlink ("loop.vdi", "home/loop.vdi") == 0);
  CHECK (found_in ("home/disk.vdi", NULL, "/home/also.vdi"));
  clear_tmpdir ();
}

static void
test_ambiguous (void)
{
  struct vdi_options options;
  const char *candidates[] = {
    "missing.vdi", "vm/child.vdi", "vm/Snapshots/copy.vdi"
  };

  memset (&options, 0, sizeof options);
  make_image ("vm/child.vdi", 2, 1);
  make_image ("vm/base.vdi", 1, 0);
  make_image ("vm/Snapshots/copy.vdi", 1, 0);
  CHECK (parent_of ("vm/child.vdi", NULL) == NULL);
  CHECK (error.err == EINVAL);
  CHECK (strstr (error.message, "vm/child.vdi: ") != NULL);
  CHECK (strstr (error.message, "/vm/base.vdi") != NULL);
  CHECK (strstr (error.message, "/vm/Snapshots/copy.vdi") != NULL);
  CHECK (strstr (error.message, "parent=") != NULL);

  /* Unless a candidate decides; those that do not fit are passed over. */
  options.candidates = candidates;
  options.nr_candidates = 3;
  CHECK (found_in ("vm/child.vdi", &options, "vm/Snapshots/copy.vdi"));
  options.nr_candidates = 2;
  CHECK (parent_of ("vm/child.vdi", &options) == NULL);
  clear_tmpdir ();
}

/* What else may lie in a directory. */
static void
test_bystanders (void)
{
  make_image ("vm/child.vdi", 2, 1);
  make_image ("vm/zz-no-suffix", 1, 0);
  CHECK (mkfifo ("vm/fifo.vdi", 0600) == 0);
  CHECK (mkdir ("vm/dir.vdi", 0700) == 0);
  CHECK (symlink ("/dev/zero", "vm/zero.vdi") == 0);
  CHECK (symlink ("/nonexistent", "vm/broken.vdi") == 0);
  write_text ("vm/empty.vdi", "", 0);
  write_text ("vm/note.txt", "hello", 5);
  CHECK (found_in ("vm/child.vdi", NULL, "/vm/zz-no-suffix"));

  /* What cannot be read is said, in case it is the one: here a file
   * that nobody can read the start of, root neither.
   */
  CHECK (unlink ("vm/zz-no-suffix") == 0);
  CHECK (parent_of ("vm/child.vdi", NULL) == NULL);
  CHECK (strstr (error.message, "could not be read") == NULL);
  CHECK (symlink ("/proc/self/mem", "vm/broken-disk.vdi") == 0);
  CHECK (parent_of ("vm/child.vdi", NULL) == NULL);
  CHECK (strstr (error.message, "1 file could not be read") != NULL);
  CHECK (strstr (error.message, "vm/broken-disk.vdi: Input/output error"));
  clear_tmpdir ();
}

/* Ends the visit, at the name where it has to. */
static int
stop_at (void *opaque, const char *filename, struct vdi_error *unused)
{
  (void) unused;
  CHECK (opaque == NULL || ends_with (filename, opaque));
  return 1;
}

static int
count_image (void *opaque, const struct sighting *seen,
             struct vdi_error *unused)
{
  unsigned *count = opaque;

  (void) unused;
  CHECK (ends_with (seen->filename, "/zzz.VDI"));
  ++*count;
  return 0;
}

/* More files than may be looked at: images are looked at first, and that
 * there was more is said.  (discover.c does this with DISCOVER_MAX_FILES,
 * which would take a while to make.)
 */
static void
test_many (void)
{
  char name[64], text[VDI_ERROR_MAX], seventh[] = "/000007";
  struct search s;
  unsigned i, count = 0;

  make_image ("vm/zzz.VDI", 1, 0);
  for (i = 0; i < 100; ++i) {
    snprintf (name, sizeof name, "vm/%06u", (i * 37) % 100);
    make_image (name, 1, 0);
  }
  search_init (&s, 1);
  CHECK (search_add_place (&s, "vm", &error) == 0);
  CHECK (search_visit (&s, count_image, &count, &error) == 0);
  CHECK (count == 1);
  CHECK (s.cut_short);
  search_describe (&s, text, sizeof text);
  CHECK (strcmp (text, "vm; no more than 1 files were looked at") == 0);
  /* The budget is that of the whole search. */
  CHECK (search_look_at (&s, "vm/zzz.VDI", count_image, &count, &error)
         == 0);
  CHECK (count == 1);
  search_free (&s);

  search_init (&s, 60);
  CHECK (search_add_place (&s, "vm", &error) == 0);
  CHECK (search_visit_names (&s, "", stop_at, NULL, &error) == 1);
  CHECK (s.cut_short);
  search_free (&s);

  search_init (&s, 102);
  CHECK (search_add_place (&s, "vm", &error) == 0);
  CHECK (search_visit_names (&s, ".vdi", stop_at, NULL, &error) == 1);
  CHECK (search_visit_names (&s, "7", stop_at, seventh, &error) == 1);
  CHECK (!s.cut_short);
  search_free (&s);
  clear_tmpdir ();
}

/* Very long names are cut, not overrun. */
static void
test_long_names (void)
{
  char dir[2000], name[2100];
  struct vdi_options options;
  const char *dirs[] = { dir };
  size_t i;

  memset (&options, 0, sizeof options);
  for (i = 0; i < sizeof dir - 1; ++i)
    dir[i] = i % 200 == 199 ? '/' : 'x';
  dir[sizeof dir - 1] = '\0';
  snprintf (name, sizeof name, "%s/child.vdi", dir);
  options.parent_dirs = dirs;
  options.nr_parent_dirs = 1;
  CHECK (parent_of (name, &options) == NULL);
  make_image (name, 2, 1);
  CHECK (parent_of (name, &options) == NULL);
  clear_tmpdir ();
}

static void
test_image (void)
{
  const char *dirs[] = { "a", "b", "a/../b", "missing" };
  struct vdi_uuid uuid = image_uuid (1);
  char *name;

  make_image ("a/other.vdi", 3, 0);
  make_image ("b/this.vdi", 1, 0);
  CHECK (discover_image (dirs, 1, &uuid, &name, &error) == 0);
  CHECK (discover_image (dirs, 4, &uuid, &name, &error) == 1);
  CHECK (strcmp (name, "b/this.vdi") == 0);
  free (name);
  make_image ("a/copy.vdi", 1, 0);
  CHECK (discover_image (dirs, 4, &uuid, &name, &error) == -1);
  CHECK (error.err == EINVAL);
  CHECK (strstr (error.message, "a/copy.vdi") != NULL);
  CHECK (strstr (error.message, "b/this.vdi") != NULL);
  clear_tmpdir ();
}

/* The name of a child of image 1, or NULL. */
static char *
child_of (const char *filename)
{
  static char found[4096];
  struct vdi_uuid uuid = image_uuid (1);
  char *name;
  int r = discover_child (filename, &uuid, &name, &error);

  CHECK (r != -1);
  if (r == 0)
    return NULL;
  snprintf (found, sizeof found, "%s", name);
  free (name);
  return found;
}

static void
test_child (void)
{
  static const char vbox[] =
    "<VirtualBox><Machine name='m'><MediaRegistry><HardDisks>"
    "<HardDisk uuid='{00000001-0000-4000-8000-000000000000}'"
    " location='base.vdi'>"
    "<HardDisk uuid='{00000002-0000-4000-8000-000000000000}'"
    " location='/far/away.vdi'/></HardDisk>"
    "</HardDisks></MediaRegistry></Machine></VirtualBox>";
  struct vdi_uuid null = image_uuid (0);
  char *name;

  make_image ("vm/base.vdi", 1, 0);
  make_image ("vm/other.vdi", 3, 4);
  CHECK (child_of ("vm/base.vdi") == NULL);
  make_image ("vm/Snapshots/child.vdi", 2, 1);
  CHECK (ends_with (child_of ("vm/base.vdi"), "/vm/Snapshots/child.vdi"));
  CHECK (rename ("vm/Snapshots/child.vdi", "vm/child.vdi") == 0);
  CHECK (ends_with (child_of ("vm/base.vdi"), "/vm/child.vdi"));
  CHECK (rename ("vm/child.vdi", "child.vdi") == 0);
  CHECK (ends_with (child_of ("vm/base.vdi"), "/child.vdi"));
  CHECK (unlink ("child.vdi") == 0);

  /* An image is not its own child, and nobody is a child of null. */
  make_image ("vm/base.vdi", 1, 1);
  CHECK (child_of ("vm/base.vdi") == NULL);
  make_image ("vm/another-base.vdi", 5, 0);
  CHECK (discover_child ("vm/base.vdi", &null, &name, &error) == 0);

  /* A machine file knows of children wherever they are. */
  write_text ("vm/broken.vbox", "<VirtualBox>", 12);
  CHECK (child_of ("vm/base.vdi") == NULL);
  write_text ("vm/m.vbox", vbox, sizeof vbox - 1);
  name = child_of ("vm/base.vdi");
  CHECK (name != NULL);
  CHECK (strstr (name, "/far/away.vdi") != NULL);
  CHECK (strstr (name, "/vm/m.vbox") != NULL);
  CHECK (rename ("vm/m.vbox", "m.vbox") == 0);
  CHECK (child_of ("vm/base.vdi") != NULL);
  CHECK (rename ("m.vbox", "m.vbox-prev") == 0);
  CHECK (child_of ("vm/base.vdi") == NULL);
  clear_tmpdir ();
}

static void
write_fixture (const char *fixture, const char *name)
{
  size_t size;
  uint8_t *bytes = fixture_read (fixture, &size);

  make_way (name);
  write_text (name, (const char *) bytes, size);
  free (bytes);
}

/* What VirtualBox wrote, laid out as it does: each parent is found, and
 * nothing of any file is changed (atime included, where it is kept).
 */
static void
test_fixtures (void)
{
  static const char *const names[] = {
    "vm/Snapshots/top.vdi", "vm/Snapshots/middle.vdi", "vm/base.vdi"
  };
  struct vdi_header h;
  struct stat before, after;
  char *name;
  unsigned i;

  write_fixture ("chain-a-base", "vm/base.vdi");
  write_fixture ("chain-a-diff1", "vm/Snapshots/middle.vdi");
  write_fixture ("chain-a-diff2", "vm/Snapshots/top.vdi");
  write_fixture ("chain-z-base", "vm/other.vdi");
  for (i = 0; i < 2; ++i) {
    CHECK (stat (names[i + 1], &before) == 0);
    CHECK (discover_header (names[i], &h, &error) == 0);
    CHECK (vdi_header_is_child (&h));
    CHECK (discover_parent (names[i], &h.uuid_parent, NULL, &name,
                            &error) == 0);
    CHECK (ends_with (name, names[i + 1]));
    free (name);
    CHECK (stat (names[i + 1], &after) == 0);
    CHECK (before.st_mtim.tv_sec == after.st_mtim.tv_sec &&
           before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
  }
  CHECK (discover_header (names[2], &h, &error) == 0);
  CHECK (!vdi_header_is_child (&h));
  CHECK (discover_child (names[2], &h.uuid_image, &name, &error) == 1);
  CHECK (ends_with (name, names[1]));
  free (name);
  clear_tmpdir ();
}

int
main (void)
{
  image_setup ();
  test_header ();
  clear_tmpdir ();
  test_places ();
  test_links ();
  test_ambiguous ();
  test_bystanders ();
  test_many ();
  test_long_names ();
  test_image ();
  test_child ();
  test_fixtures ();
  return 0;
}
