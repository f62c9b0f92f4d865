/* SPDX-License-Identifier: BSD-3-Clause */
/* The parameters on nbdkit's command line: see options.h. */
#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "options.h"
#include "utils/text.h"

/* Nobody wants to lose more than a day; and it keeps sums of times far
 * from any limit.
 */
#define COMMIT_MAX 86400

/* Make a name absolute while the working directory is still the user's.
 * A link is followed, because parents are looked for beside the file that
 * is really meant.  What does not exist is left to those who open it.
 */
static char *
absolute (const char *key, const char *value)
{
  char *ret;

  if (value[0] == '\0') {
    nbdkit_error ("%s= needs a file name", key);
    return NULL;
  }
  ret = realpath (value, NULL);
  if (ret == NULL && errno == ENOENT)
    return nbdkit_absolute_path (value);
  if (ret == NULL)
    nbdkit_error ("%s=%s: %m", key, value);
  return ret;
}

static int
set_name (char **name, const char *key, const char *value)
{
  *name = absolute (key, value);
  return *name == NULL ? -1 : 0;
}

static int
add_name (struct names *names, const char *key, const char *value)
{
  char **more;

  more = realloc (names->name, (names->nr + 1) * sizeof *more);
  if (more == NULL) {
    nbdkit_error ("realloc: %m");
    return -1;
  }
  names->name = more;
  if (set_name (&names->name[names->nr], key, value) == -1)
    return -1;
  names->nr++;
  return 0;
}

/* One word out of a few, each with what it means, which is not -1. */
struct word {
  const char *word;
  int meaning;
};

static int
choose (const struct word *words, const char *key, const char *value)
{
  char list[100] = "";
  size_t i;

  for (i = 0; words[i].word != NULL; ++i) {
    if (strcmp (value, words[i].word) == 0)
      return words[i].meaning;
    if (i > 0)
      strncat (list, words[i + 1].word ? ", " : " or ",
               sizeof list - strlen (list) - 1);
    strncat (list, words[i].word, sizeof list - strlen (list) - 1);
  }
  nbdkit_error ("%s=%s: it can be %s", key, value, list);
  return -1;
}

static int
parse_size (const char *key, const char *value, uint64_t *size)
{
  int64_t r;

  r = nbdkit_parse_size (value);
  if (r == -1)
    return -1;
  if (r == 0) {
    nbdkit_error ("%s=%s: must be greater than 0", key, value);
    return -1;
  }
  *size = r;
  return 0;
}

/* The setters, one for each parameter. */

static int
set_file (struct options *o, const char *key, const char *value)
{
  return set_name (&o->file, key, value);
}

static int
set_block_size (struct options *o, const char *key, const char *value)
{
  uint64_t size;

  if (parse_size (key, value, &size) == -1)
    return -1;
  if (size > UINT32_MAX) {
    nbdkit_error ("%s=%s: too large for a block", key, value);
    return -1;
  }
  o->block_size = size;
  return 0;
}

static int
set_comment (struct options *o, const char *key, const char *value)
{
  if (strlen (value) > VDI_COMMENT_MAX) {
    nbdkit_error ("%s=: the text is %zu bytes long, an image can store %d",
                  key, strlen (value), VDI_COMMENT_MAX);
    return -1;
  }
  o->comment = value;
  return 0;
}

static int
set_commit (struct options *o, const char *key, const char *value)
{
  unsigned long seconds;
  char *end;

  errno = 0;
  seconds = strtoul (value, &end, 10);
  if (!isdigit ((unsigned char) value[0]) || *end != '\0' || errno != 0
      || seconds > COMMIT_MAX) {
    nbdkit_error ("%s=%s: must be a number of seconds from 0 to %d",
                  key, value, COMMIT_MAX);
    return -1;
  }
  o->commit_seconds = seconds;
  return 0;
}

static int
set_create (struct options *o, const char *key, const char *value)
{
  static const struct word words[] = {
    { "dynamic", VDI_TYPE_DYNAMIC },
    { "fixed", VDI_TYPE_FIXED },
    { "diff", VDI_TYPE_DIFF },
    { NULL, 0 },
  };
  const int type = choose (words, key, value);

  if (type == -1)
    return -1;
  o->create = true;
  o->type = type;
  return 0;
}

static int
set_disk (struct options *o, const char *key, const char *value)
{
  (void) key;
  o->disk = value;
  return 0;
}

static int
set_fadvise (struct options *o, const char *key, const char *value)
{
  static const struct word words[] = {
    { "normal", STORAGE_NORMAL },
    { "random", STORAGE_RANDOM },
    { "sequential", STORAGE_SEQUENTIAL },
    { NULL, 0 },
  };
  const int advice = choose (words, key, value);

  if (advice == -1)
    return -1;
  o->advice = advice;
  return 0;
}

static int
set_lock (struct options *o, const char *key, const char *value)
{
  int r;

  (void) key;
  r = nbdkit_parse_bool (value);
  if (r == -1)
    return -1;
  o->lock = r;
  return 0;
}

static int
set_machine (struct options *o, const char *key, const char *value)
{
  return set_name (&o->machine, key, value);
}

static int
set_missing (struct options *o, const char *key, const char *value)
{
  static const struct word words[] = {
    { "error", false },
    { "zero", true },
    { NULL, 0 },
  };
  const int zero = choose (words, key, value);

  if (zero == -1)
    return -1;
  o->missing_zero = zero;
  return 0;
}

static int
set_parent (struct options *o, const char *key, const char *value)
{
  return add_name (&o->parents, key, value);
}

static int
set_parent_check (struct options *o, const char *key, const char *value)
{
  static const struct word words[] = {
    { "uuid", false },
    { "size", true },
    { NULL, 0 },
  };
  const int by_size = choose (words, key, value);

  if (by_size == -1)
    return -1;
  o->parent_by_size = by_size;
  return 0;
}

static int
set_parent_dir (struct options *o, const char *key, const char *value)
{
  return add_name (&o->parent_dirs, key, value);
}

static int
set_size (struct options *o, const char *key, const char *value)
{
  if (parse_size (key, value, &o->size) == -1)
    return -1;
  if (o->size % 512 != 0) {
    nbdkit_error ("%s=%s: must be a multiple of 512 bytes: "
                  "%" PRIu64 " would be", key, value,
                  o->size - o->size % 512 + 512);
    return -1;
  }
  return 0;
}

static int
set_snapshot (struct options *o, const char *key, const char *value)
{
  (void) key;
  o->snapshot = value;
  return 0;
}

static int
set_uuid (struct options *o, const char *key, const char *value)
{
  if (!vdi_uuid_parse (value, &o->uuid) || vdi_uuid_is_null (&o->uuid)) {
    nbdkit_error ("%s=%s: this is not a UUID such as "
                  "4df1bb20-0a8c-4d9b-a8c9-7b0a9b4a1c11", key, value);
    return -1;
  }
  o->uuid_given = true;
  return 0;
}

/* What else must be there for a parameter to make sense. */
enum needs { NOTHING, CREATE, MACHINE };

static const struct parameter {
  const char *key;
  int (*set) (struct options *, const char *key, const char *value);
  enum needs needs;
  bool repeatable;
} parameters[] = {
  { "block-size", set_block_size, CREATE, false },
  { "comment", set_comment, CREATE, false },
  { "commit", set_commit, NOTHING, false },
  { "create", set_create, NOTHING, false },
  { "disk", set_disk, MACHINE, false },
  { "fadvise", set_fadvise, NOTHING, false },
  { "file", set_file, NOTHING, false },
  { "lock", set_lock, NOTHING, false },
  { "machine", set_machine, NOTHING, false },
  { "missing", set_missing, NOTHING, false },
  { "parent", set_parent, NOTHING, true },
  { "parent-check", set_parent_check, NOTHING, false },
  { "parent-dir", set_parent_dir, NOTHING, true },
  { "size", set_size, CREATE, false },
  { "snapshot", set_snapshot, MACHINE, false },
  { "uuid", set_uuid, CREATE, false },
};

#define NR_PARAMETERS (sizeof parameters / sizeof parameters[0])

void
options_init (struct options *o)
{
  struct vdi_options defaults;

  vdi_options_init (&defaults);
  memset (o, 0, sizeof *o);
  o->lock = defaults.lock;
  o->missing_zero = defaults.missing_zero;
  o->commit_seconds = defaults.commit_seconds;
  o->advice = defaults.advice;
}

/* nbdkit takes a word without "=" for a file, also what follows a blank in
 * the value of another parameter.
 */
static void
given_twice (const struct options *o, const char *key, const char *value)
{
  if (strcmp (key, "file") == 0 && o->file != NULL)
    nbdkit_error ("file= was given twice: \"%s\" is the second one, after "
                  "%s; if that belongs to another parameter, put that in "
                  "quotes", value, o->file);
  else
    nbdkit_error ("%s= was given twice: \"%s\" is the second one", key,
                  value);
}

int
options_set (struct options *o, const char *key, const char *value)
{
  size_t i;

  for (i = 0; i < NR_PARAMETERS; ++i) {
    const struct parameter *p = &parameters[i];
    uint32_t bit = UINT32_C (1) << i;

    if (strcmp (key, p->key) != 0)
      continue;
    if (!p->repeatable && (o->given & bit)) {
      given_twice (o, key, value);
      return -1;
    }
    o->given |= bit;
    return p->set (o, key, value);
  }
  nbdkit_error ("unknown parameter '%s': nbdkit vdi --help lists them", key);
  return -1;
}

/* Is it clear which disk to serve? */
static int
check_source (const struct options *o)
{
  if (o->file == NULL && o->machine == NULL) {
    nbdkit_error ("which disk? Give an image, file=DISK.vdi, "
                  "or a machine, machine=MACHINE.vbox");
    return -1;
  }
  if (o->file != NULL && o->machine != NULL) {
    nbdkit_error ("file= and machine= exclude each other, as the machine "
                  "knows the files of its disks: what was taken for a file is "
                  "%s; if that belongs to another parameter, put that in "
                  "quotes", o->file);
    return -1;
  }
  if (o->file != NULL && text_has_suffix (o->file, ".vbox")) {
    nbdkit_error ("%s: this is the description of a machine, not a disk: "
                  "use machine=%s", o->file, o->file);
    return -1;
  }
  if (o->machine != NULL && text_has_suffix (o->machine, ".vdi")) {
    nbdkit_error ("%s: this is a disk, not the description of a machine: "
                  "use file=%s", o->machine, o->machine);
    return -1;
  }
  return 0;
}

static int
check_needs (const struct options *o)
{
  size_t i;

  for (i = 0; i < NR_PARAMETERS; ++i) {
    const struct parameter *p = &parameters[i];

    if (!(o->given & (UINT32_C (1) << i)))
      continue;
    if (p->needs == CREATE && !o->create) {
      nbdkit_error ("%s= is only for new images: "
                    "it needs create=dynamic, create=fixed or create=diff",
                    p->key);
      return -1;
    }
    if (p->needs == MACHINE && o->machine == NULL) {
      nbdkit_error ("%s= chooses among the disks of a machine: "
                    "it needs machine=MACHINE.vbox", p->key);
      return -1;
    }
  }
  return 0;
}

static int
check_parent_check (const struct options *o)
{
  if (!o->parent_by_size)
    return 0;
  if (o->parents.nr == 0) {
    nbdkit_error ("parent-check=size is for a parent that you name: "
                  "it needs parent=FILE");
    return -1;
  }
  if (o->create) {
    nbdkit_error ("parent-check=size is for reading only, and create= makes "
                  "an image to be written to: they exclude each other");
    return -1;
  }
  return 0;
}

static int
check_create (const struct options *o)
{
  struct stat st;

  if (o->machine != NULL) {
    nbdkit_error ("create= makes an image and machine= serves one that a "
                  "machine has: they exclude each other");
    return -1;
  }
  if (o->type == VDI_TYPE_DIFF && o->parents.nr == 0) {
    nbdkit_error ("create=diff needs the image to build on: "
                  "parent=PARENT.vdi");
    return -1;
  }
  if (o->type != VDI_TYPE_DIFF && o->parents.nr + o->parent_dirs.nr > 0) {
    nbdkit_error ("only create=diff makes an image with a parent: "
                  "leave out parent= and parent-dir=, or use create=diff");
    return -1;
  }
  if (o->type != VDI_TYPE_DIFF && o->size == 0) {
    nbdkit_error ("how large is the new disk? Add size=SIZE, such as "
                  "size=20G");
    return -1;
  }
  if (lstat (o->file, &st) == 0) { /* a link to nowhere is something, too */
    nbdkit_error ("%s: exists already, and create= never overwrites: "
                  "leave out create= to serve it, or choose another name",
                  o->file);
    return -1;
  }
  return 0;
}

int
options_complete (const struct options *o)
{
  if (check_source (o) == -1 || check_needs (o) == -1 ||
      check_parent_check (o) == -1)
    return -1;
  if (o->create)
    return check_create (o);
  if (o->file != NULL && access (o->file, F_OK) == -1 && errno == ENOENT) {
    nbdkit_error ("%s: there is no such file; to make a new image, add "
                  "create=dynamic size=SIZE", o->file);
    return -1;
  }
  return 0;
}

static void
names_free (struct names *names)
{
  size_t i;

  for (i = 0; i < names->nr; ++i)
    free (names->name[i]);
  free (names->name);
}

void
options_free (struct options *o)
{
  free (o->file);
  free (o->machine);
  names_free (&o->parents);
  names_free (&o->parent_dirs);
  memset (o, 0, sizeof *o);
}
