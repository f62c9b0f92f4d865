/* SPDX-License-Identifier: BSD-3-Clause */
/* Locks that QEMU respects: see storage/lock.h. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "storage/lock.h"
#include "utils/error.h"

/* Byte HOLD + p: "I use permission p"; SHARE + p: "nobody else may". */
#define HOLD        100
#define SHARE       200
#define CONSISTENT  0           /* reads see a consistent image */
#define WRITE       1
#define RESIZE      3

struct lock_byte {
  unsigned char byte;
  bool writer;                  /* only writers take, or test, this one */
};

/* A reader does not let others write or resize; a writer does so
 * itself, too.
 */
static const struct lock_byte taken[] = {
  { HOLD + CONSISTENT, false },
  { HOLD + WRITE, true },
  { HOLD + RESIZE, true },
  { SHARE + WRITE, false },
  { SHARE + RESIZE, false },
};

/* What somebody else must not have taken.  Those of other writers
 * first: they are the better message.
 */
static const struct lock_byte tested[] = {
  { HOLD + WRITE, false },
  { HOLD + RESIZE, false },
  { SHARE + CONSISTENT, false },
  { SHARE + WRITE, true },
  { SHARE + RESIZE, true },
};

#define NR(array) (sizeof (array) / sizeof (array)[0])

static int
lock_byte (int fd, int command, short type, unsigned char byte,
           struct flock *fl)
{
  int r;

  memset (fl, 0, sizeof *fl);
  fl->l_type = type;
  fl->l_whence = SEEK_SET;
  fl->l_start = byte;
  fl->l_len = 1;
  do
    r = fcntl (fd, command, fl);
  while (r == -1 && errno == EINTR);
  return r;
}

/* Does this call have to take a byte?  Not what is held already. */
static bool
must_take (const struct lock_byte *b, bool writer,
           const struct file_locks *held)
{
  return b->writer ? writer : !held->reader;
}

/* Take back what this call has taken: the first n of taken. */
static void
release (int fd, size_t n, bool writer, const struct file_locks *held)
{
  struct flock fl;
  size_t i;

  for (i = 0; i < n; ++i) {
    if (must_take (&taken[i], writer, held))
      (void) lock_byte (fd, F_OFD_SETLK, F_UNLCK, taken[i].byte, &fl);
  }
}

static bool
no_such_thing (int err)
{
  return err == ENOLCK || err == EINVAL || err == ENOSYS ||
         err == EOPNOTSUPP;
}

static int
in_use (const char *name, bool writer, bool by_writer,
        struct vdi_error *error)
{
  const char *who = by_writer
    ? "is being written to by another program (QEMU, nbdkit, ...)"
    : "is in use by another program (QEMU, nbdkit, ...), which does not "
      "let anybody write to it";
  /* A reader stands beside other readers, but never beside a writer. */
  const char *instead = writer && !by_writer
    ? ", open it read-only (-r)" : "";

  return vdi_set_error (error, EBUSY,
                        "%s: the image %s: stop that program%s, or use "
                        "lock=off if you are sure that this is safe",
                        name, who, instead);
}

int
file_lock (int fd, const char *name, bool writer, struct file_locks *held,
           struct vdi_error *error)
{
  struct flock fl;
  size_t i;

  if (writer ? held->writer : held->reader)
    return 0;

  for (i = 0; i < NR (taken); ++i) {
    if (!must_take (&taken[i], writer, held))
      continue;
    if (lock_byte (fd, F_OFD_SETLK, F_RDLCK, taken[i].byte, &fl) == -1) {
      int err = errno;

      release (fd, i, writer, held);
      if (no_such_thing (err))
        return 0;
      /* Nobody who speaks this language takes exclusive locks, but
       * there are programs that lock whole files.
       */
      if (err == EAGAIN || err == EACCES)
        return in_use (name, writer, true, error);
      return vdi_set_errno (error, err, "%s: cannot lock the image (lock=off "
                            "does without)", name);
    }
  }

  /* Only now: two who do this at once may both fail, but never both
   * succeed.
   */
  for (i = 0; i < NR (tested); ++i) {
    if (tested[i].writer && !writer)
      continue;
    if (lock_byte (fd, F_OFD_GETLK, F_WRLCK, tested[i].byte, &fl) == -1) {
      int err = errno;

      release (fd, NR (taken), writer, held);
      if (no_such_thing (err))
        return 0;
      return vdi_set_errno (error, err, "%s: cannot lock the image (lock=off "
                            "does without)", name);
    }
    if (fl.l_type != F_UNLCK) {
      release (fd, NR (taken), writer, held);
      return in_use (name, writer, !tested[i].writer, error);
    }
  }

  held->reader = true;
  if (writer)
    held->writer = true;
  return 0;
}

void
file_unlock (int fd, struct file_locks *held)
{
  const struct file_locks none = { .reader = false };

  if (held->reader)
    release (fd, NR (taken), held->writer, &none);
  *held = none;
}
