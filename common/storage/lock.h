/* SPDX-License-Identifier: BSD-3-Clause */
/* Locks on an open file that QEMU's programs, and we, respect.
 *
 * Like QEMU's they are open-file-description locks on single bytes,
 * always shared, and conflicts are found by asking for the opposite byte
 * (vdi-format.md 9.2).  They belong to the open file
 * description: they survive a fork and end with the last close of it.
 * VirtualBox takes no locks at all, so nothing here protects from it.
 *
 * Thread-safety: none; calls for one struct file_locks must not overlap.
 */
#ifndef VDI_STORAGE_LOCK_H
#define VDI_STORAGE_LOCK_H

#include <stdbool.h>

#include "utils/error.h"

/* What an open file holds; all false to begin with. */
struct file_locks {
  bool reader, writer;
};

/* Take the locks of a reader, or of a writer (which include the
 * reader's), on fd; name is the file's, for messages.  What is held
 * already stays.  EBUSY, and nothing gained or lost, if somebody else's
 * locks forbid it.  Succeeds without locks where there are none to be
 * had, as QEMU does.
 */
extern int file_lock (int fd, const char *name, bool writer,
                      struct file_locks *, struct vdi_error *);

/* Give back what is held, wherever else the same open file description is
 * open: after a fork, too.
 */
extern void file_unlock (int fd, struct file_locks *);

#endif /* VDI_STORAGE_LOCK_H */
