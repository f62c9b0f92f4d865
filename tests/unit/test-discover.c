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

#include "find/discover.h"
#include "find/search.h"
#include "fixture.h"
#include "image.h"

static struct vdi_error error;

/* What was said of the last choice, or "". */
static char said[VDI_ERROR_MAX];

/* Look for image 1, with mod as its modification UUID, as the parent of
 * child.  NULL if it is not found.
 */
static char *
parent_in_state (const char *child, unsigned mod,
                 const struct vdi_options *options)
{
  static char found[4096];
  struct vdi_header h = {
    .uuid_parent = image_uuid (1), .uuid_parent_mod = image_uuid (mod)
  };
  struct search s;
  char *name, *warning;
  int r;

  memset (&error, 0, sizeof error);
  search_init (&s, DISCOVER_MAX_FILES);
  r = discover_parent (&s, child, &h, options, &name, &warning, &error);
  search_free (&s);
  if (r == -1) {
    CHECK (error.err != 0 && error.message[0] != '\0');
    return NULL;
  }
  snprintf (said, sizeof said, "%s", warning ? warning : "");
  snprintf (found, sizeof found, "%s", name);
  free (warning);
  free (name);
  return found;
}

static char *
parent_of (const char *child, const struct vdi_options *options)
{
  return parent_in_state (child, 1, options);
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

/* Two files with the UUID of the parent. */
static void
test_twins (void)
{
  struct vdi_options options;
  const char *candidates[] = {
    "missing.vdi", "vm/child.vdi", "vm/Snapshots/copy.vdi"
  };

  memset (&options, 0, sizeof options);
  make_image ("vm/child.vdi", 2, 1);
  make_image ("vm/base.vdi", 1, 0);

  /* One of them is in the state that the child asks for. */
  make_image_in_state ("vm/a-copy.vdi", 1, 0, 9);
  CHECK (ends_with (parent_in_state ("vm/child.vdi", 1, NULL),
                    "/vm/base.vdi"));
  CHECK (strstr (said, "/vm/a-copy.vdi") != NULL);
  CHECK (strstr (said, "parent=FILE") != NULL);
  CHECK (ends_with (parent_in_state ("vm/child.vdi", 9, NULL),
                    "/vm/a-copy.vdi"));
  CHECK (strstr (said, "not ") != NULL && strstr (said, "/vm/base.vdi"));

  /* None of them is, or the child asks for none. */
  CHECK (parent_in_state ("vm/child.vdi", 7, NULL) == NULL);
  CHECK (error.err == EINVAL);
  CHECK (strstr (error.message, "vm/child.vdi: ") != NULL);
  CHECK (strstr (error.message, "/vm/base.vdi") != NULL);
  CHECK (strstr (error.message, "/vm/a-copy.vdi") != NULL);
  CHECK (strstr (error.message, "neither") != NULL);
  CHECK (strstr (error.message, "parent=FILE") != NULL);
  CHECK (parent_in_state ("vm/child.vdi", 0, NULL) == NULL);

  /* Unless a candidate decides; those that do not fit are passed over. */
  make_image_in_state ("vm/Snapshots/copy.vdi", 1, 0, 8);
  options.candidates = candidates;
  options.nr_candidates = 3;
  CHECK (ends_with (parent_in_state ("vm/child.vdi", 7, &options),
                    "vm/Snapshots/copy.vdi"));
  options.nr_candidates = 2;
  CHECK (parent_in_state ("vm/child.vdi", 7, &options) == NULL);
  CHECK (ends_with (parent_in_state ("vm/child.vdi", 1, &options),
                    "/vm/base.vdi"));
  CHECK (strstr (said, "and 1 more") != NULL);
  clear_tmpdir ();

  /* Copies that look the same: that beside the child, whatever the names
   * and the order of the places.
   */
  make_image ("vm/Snapshots/child.vdi", 2, 1);
  make_image ("vm/a-base.vdi", 1, 0);
  make_image ("vm/Snapshots/z-base.vdi", 1, 0);
  CHECK (found_in ("vm/Snapshots/child.vdi", NULL,
                   "/vm/Snapshots/z-base.vdi"));
  CHECK (strstr (said, "looks the same as") != NULL);
  CHECK (strstr (said, "/vm/a-base.vdi") != NULL);

  /* Those that do not fit count as well, but are not what is compared. */
  make_image_in_state ("vm/Snapshots/a-old.vdi", 1, 0, 9);
  CHECK (found_in ("vm/Snapshots/child.vdi", NULL,
                   "/vm/Snapshots/z-base.vdi"));
  CHECK (strstr (said, "looks the same as") != NULL);
  CHECK (strstr (said, "/vm/a-base.vdi and 1 more") != NULL);
  CHECK (truncate ("vm/a-base.vdi", 10000) == 0);
  CHECK (parent_of ("vm/Snapshots/child.vdi", NULL) == NULL);
  CHECK (strstr (error.message, "a-old.vdi") == NULL);
  CHECK (strstr (error.message, "different") != NULL);
  make_image ("vm/a-base.vdi", 1, 0);
  CHECK (unlink ("vm/Snapshots/a-old.vdi") == 0);

  /* A file of an unlikely name is not even read, with one that fits... */
  CHECK (rename ("vm/a-base.vdi", "vm/a-base.bak") == 0);
  CHECK (found_in ("vm/Snapshots/child.vdi", NULL,
                   "/vm/Snapshots/z-base.vdi"));
  CHECK (said[0] == '\0');
  /* ...but where there is none. */
  make_image_in_state ("vm/Snapshots/z-base.vdi", 1, 0, 9);
  CHECK (found_in ("vm/Snapshots/child.vdi", NULL, "/vm/a-base.bak"));
  CHECK (strstr (said, "/z-base.vdi") != NULL);

  /* The same modification UUID in files that differ. */
  CHECK (rename ("vm/a-base.bak", "vm/a-base.vdi") == 0);
  make_image ("vm/Snapshots/z-base.vdi", 1, 0);
  CHECK (truncate ("vm/Snapshots/z-base.vdi", 10000) == 0);
  CHECK (parent_of ("vm/Snapshots/child.vdi", NULL) == NULL);
  CHECK (strstr (error.message, "different") != NULL);
  CHECK (strstr (error.message, "/vm/a-base.vdi") != NULL);
  CHECK (strstr (error.message, "/z-base.vdi") != NULL);
  make_image ("vm/Snapshots/z-base.vdi", 1, 4);
  CHECK (parent_of ("vm/Snapshots/child.vdi", NULL) == NULL);
  clear_tmpdir ();
}

/* The UUID of the parent was changed, and nothing else of it. */
static void
test_renamed (void)
{
  make_image ("vm/child.vdi", 2, 1);
  make_image_in_state ("vm/base.vdi", 5, 0, 9);
  CHECK (parent_in_state ("vm/child.vdi", 8, NULL) == NULL);
  CHECK (strstr (error.message, "base.vdi") == NULL);
  CHECK (parent_in_state ("vm/child.vdi", 0, NULL) == NULL);
  CHECK (strstr (error.message, "base.vdi") == NULL);
  CHECK (parent_in_state ("vm/child.vdi", 9, NULL) == NULL);
  CHECK (error.err == ENOENT);
  CHECK (strstr (error.message, "/vm/base.vdi has the modification UUID"));
  CHECK (strstr (error.message, "parent-check=size") != NULL);
  clear_tmpdir ();
}

/* An old copy is found, and something else is there that could not be
 * read (by root neither: see below).
 */
static void
test_unread_and_old (void)
{
  make_image ("vm/child.vdi", 2, 1);
  make_image_in_state ("vm/copy.vdi", 1, 0, 9);
  CHECK (found_in ("vm/child.vdi", NULL, "/vm/copy.vdi"));
  CHECK (said[0] == '\0');
  CHECK (symlink ("/proc/self/mem", "vm/base.vdi") == 0);
  CHECK (symlink ("/proc/self/mem", "vm/also.vdi") == 0);
  CHECK (found_in ("vm/child.vdi", NULL, "/vm/copy.vdi"));
  CHECK (strstr (said, "vm/copy.vdi") != NULL);
  CHECK (strstr (said, "1 file could not be read, such as ") != NULL);
  CHECK (strstr (said, "vm/also.vdi: Input/output error") != NULL);
  make_image ("vm/copy.vdi", 1, 0);
  CHECK (found_in ("vm/child.vdi", NULL, "/vm/copy.vdi"));
  CHECK (said[0] == '\0');
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

static size_t
count_image (const struct search *s, unsigned n)
{
  struct vdi_uuid uuid = image_uuid (n);
  const struct sighting *seen = NULL;
  size_t count = 0;

  while ((seen = sightings_by_uuid (&s->seen, &uuid, seen)) != NULL)
    count++;
  return count;
}

/* More files than may be looked at: likely names come first, in all
 * places, and that there was more is said.  (discover.c does this with
 * DISCOVER_MAX_FILES, which would take a while to make.)
 */
static void
test_many (void)
{
  static const char *const likely[] = {
    "up/zzz.VDI", "up/{00000001-0000-4000-8000-000000000000}.vdi.bak",
    "up/00000001-0000-4000-8000-000000000000"
  };
  char name[64], text[VDI_ERROR_MAX];
  struct search s;
  unsigned i;

  for (i = 0; i < 100; ++i) {
    const unsigned number = (i * 37) % 100;

    snprintf (name, sizeof name, "vm/%06u", number);
    make_image (name, number == 7 ? 3 : 2, 0);
  }
  for (i = 0; i < 3; ++i)
    make_image (likely[i], 1, 0);

  search_init (&s, 10);
  CHECK (search_add_folder (&s, "vm", &error) == 0);
  CHECK (search_add_folder (&s, "up", &error) == 0);
  CHECK (search_read (&s, LIKELY_NAMES, &error) == 0);
  CHECK (s.seen.nr == 3 && count_image (&s, 1) == 3 && !s.cut_short);
  CHECK (!search_missed_something (&s));
  /* Once. */
  CHECK (unlink (likely[0]) == 0);
  CHECK (search_read (&s, LIKELY_NAMES, &error) == 0);
  CHECK (s.seen.nr == 3);
  /* The first ten of the others, by their names. */
  CHECK (search_read (&s, OTHER_NAMES, &error) == 0);
  CHECK (s.seen.nr == 13 && count_image (&s, 2) == 9);
  CHECK (count_image (&s, 3) == 1);
  CHECK (s.cut_short && search_missed_something (&s));
  search_describe (&s, text, sizeof text);
  CHECK (strcmp (text, "vm, up; there are more files, of which only 10 were "
                 "looked at") == 0);
  search_free (&s);

  /* A budget of likely names, which a single file takes from, too. */
  search_init (&s, 1);
  CHECK (search_add_folder (&s, "up", &error) == 0);
  CHECK (search_read (&s, LIKELY_NAMES, &error) == 0);
  CHECK (s.seen.nr == 1 && s.cut_short);
  CHECK (search_add_file (&s, likely[1], &error) == 0);
  CHECK (s.seen.nr == 1);
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

/* discover_image in the first nr directories. */
static int
image_in (const char *const *dirs, size_t nr, char **name)
{
  struct vdi_uuid uuid = image_uuid (1);
  struct search s;
  int r;

  search_init (&s, DISCOVER_MAX_FILES);
  r = discover_image (&s, dirs, nr, &uuid, name, &error);
  search_free (&s);
  return r;
}

static void
test_image (void)
{
  const char *dirs[] = { "a", "b", "a/../b", "missing" };
  char *name;

  make_image ("a/other.vdi", 3, 0);
  make_image ("b/this.vdi", 1, 0);
  CHECK (image_in (dirs, 1, &name) == 0);
  CHECK (image_in (dirs, 4, &name) == 1);
  CHECK (strcmp (name, "b/this.vdi") == 0);
  free (name);
  make_image ("a/copy.vdi", 1, 0);
  CHECK (image_in (dirs, 4, &name) == -1);
  CHECK (error.err == EINVAL);
  CHECK (strstr (error.message, "a/copy.vdi") != NULL);
  CHECK (strstr (error.message, "b/this.vdi") != NULL);
  clear_tmpdir ();
}

typedef int (*relative_fn) (struct search *, const char *,
                            const struct vdi_uuid *, char **,
                            struct vdi_error *);

/* The answer of discover_child or the like about image 1, or NULL. */
static char *
answer_of (relative_fn fn, const char *filename)
{
  static char found[4096];
  struct vdi_uuid uuid = image_uuid (1);
  struct search s;
  char *name;
  int r;

  search_init (&s, DISCOVER_MAX_FILES);
  r = fn (&s, filename, &uuid, &name, &error);
  search_free (&s);
  CHECK (r != -1);
  if (r == 0)
    return NULL;
  snprintf (found, sizeof found, "%s", name);
  free (name);
  return found;
}

static char *
child_of (const char *filename)
{
  return answer_of (discover_child, filename);
}

static void
nobody_is_a_child_of_null (void)
{
  struct vdi_uuid null = image_uuid (0);
  struct search s;
  char *name;

  search_init (&s, DISCOVER_MAX_FILES);
  CHECK (discover_child (&s, "vm/base.vdi", &null, &name, &error) == 0);
  CHECK (discover_newer (&s, "vm/base.vdi", &null, &name, &error) == 0);
  search_free (&s);
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
  nobody_is_a_child_of_null ();

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

static char *
newer_than (const char *filename)
{
  return answer_of (discover_newer, filename);
}

/* What is on top of all, for somebody who reads. */
static void
test_newer (void)
{
  static const char vbox[] =
    "<VirtualBox><Machine name='m'><MediaRegistry><HardDisks>"
    "<HardDisk uuid='{00000001-0000-4000-8000-000000000000}'"
    " location='base.vdi'>"
    "<HardDisk uuid='{00000002-0000-4000-8000-000000000000}'"
    " location='/far/branch.vdi'/>"
    "<HardDisk uuid='{00000003-0000-4000-8000-000000000000}'"
    " location='/far/away.vdi'/></HardDisk>"
    "</HardDisks></MediaRegistry>"
    "<Snapshot uuid='{00000009-0000-4000-8000-000000000000}'"
    " name='before upgrade'><StorageControllers>"
    "<StorageController name='SATA'>"
    "<AttachedDevice type='HardDisk' port='0' device='0'>"
    "<Image uuid='{00000001-0000-4000-8000-000000000000}'/>"
    "</AttachedDevice></StorageController></StorageControllers></Snapshot>"
    "<StorageControllers><StorageController name='SATA'>"
    "<AttachedDevice type='HardDisk' port='0' device='0'>"
    "<Image uuid='{00000003-0000-4000-8000-000000000000}'/>"
    "</AttachedDevice></StorageController></StorageControllers>"
    "</Machine></VirtualBox>";
  char *text;

  make_image ("vm/base.vdi", 1, 0);
  make_image ("vm/other.vdi", 3, 4);
  CHECK (newer_than ("vm/base.vdi") == NULL);

  /* The last of a chain, wherever the ones between are. */
  make_image ("vm/Snapshots/a.vdi", 5, 1);
  text = newer_than ("vm/base.vdi");
  CHECK (strstr (text, "vm/base.vdi: ") == text);
  CHECK (strstr (text, "/vm/Snapshots/a.vdi: ") != NULL);
  make_image ("vm/b.vdi", 6, 5);
  make_image ("vm/Snapshots/c.vdi", 7, 6);
  text = newer_than ("vm/base.vdi");
  CHECK (strstr (text, "/vm/Snapshots/c.vdi: serve that file") != NULL);
  CHECK (strstr (text, "a.vdi") == NULL && strstr (text, "b.vdi") == NULL);

  /* Branches, not too many of them. */
  make_image ("vm/d.vdi", 8, 5);
  text = newer_than ("vm/base.vdi");
  CHECK (strstr (text, "/vm/d.vdi or ") != NULL);
  CHECK (strstr (text, "/vm/Snapshots/c.vdi: ") != NULL);
  make_image ("vm/e.vdi", 10, 1);
  make_image ("vm/f.vdi", 11, 1);
  CHECK (strstr (newer_than ("vm/base.vdi"), " or 1 more: ") != NULL);

  /* Round in circles. */
  clear_tmpdir ();
  make_image ("vm/base.vdi", 1, 0);
  make_image ("vm/a.vdi", 2, 1);
  make_image ("vm/b.vdi", 2, 2);
  CHECK (strstr (newer_than ("vm/base.vdi"), "/vm/a.vdi: ") != NULL);
  make_image ("vm/base.vdi", 1, 2);
  CHECK (strstr (newer_than ("vm/base.vdi"), "/vm/a.vdi: ") != NULL);

  /* With what the machine knows: the snapshot's name, and where the
   * current state is if that is not to be seen.
   */
  write_text ("vm/m.vbox", vbox, sizeof vbox - 1);
  text = newer_than ("vm/base.vdi");
  CHECK (strstr (text, "snapshot \"before upgrade\"") != NULL);
  CHECK (strstr (text, "/vm/a.vdi: ") != NULL);
  CHECK (unlink ("vm/a.vdi") == 0 && unlink ("vm/b.vdi") == 0);
  make_image ("vm/base.vdi", 1, 0);
  text = newer_than ("vm/base.vdi");
  CHECK (strstr (text, "snapshot \"before upgrade\"") != NULL);
  CHECK (strstr (text, "/far/away.vdi (as ") != NULL);
  clear_tmpdir ();
}

/* A copy of the parent where a child of it looks. */
static void
test_twin (void)
{
  struct vdi_uuid uuid = image_uuid (1);
  struct search s;
  char *name;
  int i;

  make_image ("vm/base.vdi", 1, 0);
  CHECK (mkdir ("vm/Snapshots", 0700) == 0);
  CHECK (link ("vm/base.vdi", "vm/also.vdi") == 0);
  for (i = 0; i < 2; ++i) {
    search_init (&s, DISCOVER_MAX_FILES);
    CHECK (discover_twin (&s, "vm/Snapshots/new.vdi", "vm/base.vdi", &uuid,
                          &name, &error) == i);
    search_free (&s);
    make_image ("vm/copy.vdi", 1, 0);
  }
  CHECK (ends_with (name, "/vm/copy.vdi"));
  free (name);
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
  struct search s;
  char *name, *warning;
  unsigned i;

  write_fixture ("chain-a-base", "vm/base.vdi");
  write_fixture ("chain-a-diff1", "vm/Snapshots/middle.vdi");
  write_fixture ("chain-a-diff2", "vm/Snapshots/top.vdi");
  write_fixture ("chain-z-base", "vm/other.vdi");
  for (i = 0; i < 2; ++i) {
    CHECK (stat (names[i + 1], &before) == 0);
    CHECK (discover_header (names[i], &h, &error) == 0);
    CHECK (vdi_header_is_child (&h));
    search_init (&s, DISCOVER_MAX_FILES);
    CHECK (discover_parent (&s, names[i], &h, NULL, &name, &warning,
                            &error) == 0);
    search_free (&s);
    CHECK (ends_with (name, names[i + 1]) && warning == NULL);
    free (name);
    CHECK (stat (names[i + 1], &after) == 0);
    CHECK (before.st_mtim.tv_sec == after.st_mtim.tv_sec &&
           before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
  }
  CHECK (discover_header (names[2], &h, &error) == 0);
  CHECK (!vdi_header_is_child (&h));
  search_init (&s, DISCOVER_MAX_FILES);
  CHECK (discover_child (&s, names[2], &h.uuid_image, &name, &error) == 1);
  search_free (&s);
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
  test_twins ();
  test_renamed ();
  test_unread_and_old ();
  test_bystanders ();
  test_many ();
  test_long_names ();
  test_image ();
  test_child ();
  test_newer ();
  test_twin ();
  test_fixtures ();
  return 0;
}
