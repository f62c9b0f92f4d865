/* SPDX-License-Identifier: BSD-3-Clause */
/* Which processes have a file open?  Looked up in /proc, by device and
 * inode, without opening anything but directories there.
 *
 * Only root sees everybody: an ordinary user cannot look into other users'
 * processes, nor into those that were started with other rights than the
 * user's own, as VirtualBox's are.  What kernel threads hold (loop devices,
 * an NFS server), and processes in containers above or beside, cannot be
 * seen at all.
 *
 * Takes milliseconds, some microseconds for each open file of the system.
 * Thread-safe.
 */
#ifndef VDI_STORAGE_USERS_H
#define VDI_STORAGE_USERS_H

#include <stdbool.h>
#include <sys/types.h>

struct user {
  pid_t pid;                    /* 0: there is none */
  char name[16];                /* of the program, as ps shows it; printable */
};

struct users {
  /* Another process that has the file open, or mapped into its memory: one
   * that may write, and one that may only read.
   */
  struct user writer, reader;

  /* We have it open twice, or our parent has it open, too, and leaves the
   * rest to us (nbdkit --run).
   */
  bool ourselves;

  /* A process of VirtualBox that cannot be looked into. */
  struct user virtualbox;
};

/* fd: our own. */
extern void users_find (int fd, struct users *);

#endif /* VDI_STORAGE_USERS_H */
