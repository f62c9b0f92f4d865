/* SPDX-License-Identifier: BSD-3-Clause */
/* Is a file open elsewhere: see storage/lease.h. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>

#include <linux/magic.h>

#include "storage/lease.h"
#include "storage/users.h"

/* Durable writes wait so long for each other's end, at most and once a
 * second, when the disk is slow.
 */
#define ALONE_MS 50

/* 0 if nobody else has the file open (F_RDLCK: for writing), or errno.  Who
 * opens it now makes the kernel send the signal, so this has to be one that
 * is ignored; it is forgotten with the lease.
 */
static int
take_lease (int fd, int type)
{
  if (fcntl (fd, F_SETSIG, SIGURG) == -1 ||
      fcntl (fd, F_SETLEASE, type) == -1)
    return errno;
  (void) fcntl (fd, F_SETLEASE, F_UNLCK);
  return 0;
}

/* EBUSY: we are not alone ourselves. */
static int
try_lease (struct again *again, int fd, int type)
{
  int err;

  if (!again_begin_alone (again, ALONE_MS))
    return EBUSY;
  err = take_lease (fd, type);
  again_end_alone (again);
  return err;
}

static void
say (struct storage_others *o, enum storage_others_kind kind, const char *who)
{
  o->kind = kind;
  snprintf (o->who, sizeof o->who, "%s", who);
}

static void
say_user (struct storage_others *o, enum storage_others_kind kind,
          const char *how_sure, const struct user *u)
{
  o->kind = kind;
  snprintf (o->who, sizeof o->who, "%s%s, pid %ld", how_sure, u->name,
            (long) u->pid);
}

/* NFS and SMB refuse a lease also when the server has not left the file to
 * this computer alone, which says nothing of other programs.
 */
static bool
refuses_for_its_own_reasons (int fd)
{
  struct statfs fs;

  if (fstatfs (fd, &fs) == -1)
    return false;
  switch ((uint32_t) fs.f_type) {
  case NFS_SUPER_MAGIC:
  case SMB_SUPER_MAGIC:
  case CIFS_SUPER_MAGIC:
  case SMB2_SUPER_MAGIC:
    return true;
  default:
    return false;
  }
}

/* Somebody has it who was not found. */
static void
say_unseen (struct again *again, int fd, int type, const struct user *guess,
            struct storage_others *o)
{
  if (refuses_for_its_own_reasons (fd))
    say (o, OTHERS_UNKNOWN, "it is on a network file system");
  /* Perhaps whoever it was has gone before we could look. */
  else if (try_lease (again, fd, type) == 0)
    say (o, OTHERS_NONE, "");
  else if (guess->pid != 0)
    say_user (o, OTHERS_UNSEEN, "perhaps ", guess);
  else
    say (o, OTHERS_UNSEEN, "a program of another user, perhaps");
}

/* We did not get the lease, for this reason. */
static void
find_user (struct again *again, int fd, int type, int err, bool writers_only,
           struct storage_others *o)
{
  struct users users;

  users_find (fd, &users);
  if (users.writer.pid != 0)
    say_user (o, OTHERS_WRITE, "", &users.writer);
  else if (users.reader.pid != 0 && !writers_only)
    say_user (o, OTHERS_READ, "", &users.reader);
  /* The answer was about readers, too. */
  else if (users.reader.pid != 0 && type == F_WRLCK)
    say (o, OTHERS_NONE, "");
  else if (users.ourselves || err == EBUSY)
    say (o, OTHERS_OURSELVES, "");
  else
    say_unseen (again, fd, type, &users.virtualbox, o);
}

void
lease_look (struct again *again, int fd, bool writers_only,
            struct storage_others *o)
{
  const bool reading = (fcntl (fd, F_GETFL) & O_ACCMODE) == O_RDONLY;
  /* A descriptor that may write is itself a reason to refuse F_RDLCK. */
  const int type = writers_only && reading ? F_RDLCK : F_WRLCK;
  const int err = try_lease (again, fd, type);

  if (err == 0)
    say (o, OTHERS_NONE, "");
  else if (err == EAGAIN || err == EBUSY)
    find_user (again, fd, type, err, writers_only, o);
  else
    say (o, OTHERS_UNKNOWN, strerror (err));
}
