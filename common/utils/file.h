/* SPDX-License-Identifier: BSD-3-Clause */
/* A file of this computer that may be anything, and somebody else's: which
 * one it is, and opening it without doing any harm.
 *
 * Functions return -1 and set errno.  All descriptors are closed on exec.
 */
#ifndef VDI_FILE_H
#define VDI_FILE_H

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

/* Which file, whatever its names. */
struct file_id {
  dev_t dev;
  ino_t ino;
};

static inline struct file_id
file_id_of (const struct stat *sb)
{
  return (struct file_id) { sb->st_dev, sb->st_ino };
}

static inline bool
file_id_equal (struct file_id a, struct file_id b)
{
  return a.dev == b.dev && a.ino == b.ino;
}

/* How file_open opens. */
#define FILE_OR_DEVICE 1        /* a block device will do, too */
#define FILE_WAITS 2            /* for those of file_open_waiting, and later
                                 * when it is read or written */

/* Open a regular file for reading.  Whatever else has that name, such as a
 * FIFO or a terminal, is neither waited for nor opened, as some only need to
 * be opened to do something: EMEDIUMTYPE says so, and *sb what it is.  If it
 * cannot be opened for another reason, errors are those of open(2), and *sb
 * is what is known of it, or all zero.
 */
extern int file_open (const char *filename, unsigned how, struct stat *sb);

/* As many bytes as there are from the start of the file, up to size. */
extern ssize_t file_read (int fd, void *buf, size_t size);

/* open(2), for flags with these: without waiting, or a FIFO would keep us for
 * ever.
 */
#define FILE_OPEN_FLAGS (O_CLOEXEC | O_NOCTTY | O_NONBLOCK)

/* open(2), but waiting for those who have a lease on the file, and who are
 * told now that they have to give it back: a file server, or one who is only
 * asking whether the file is open (storage/lease.c).  The kernel takes it from
 * them after 45 seconds.  Worth that is the one image that is to be served,
 * but none of the many files that are only looked at to find it: without
 * this, EWOULDBLOCK at once.
 */
extern int file_open_waiting (const char *filename, int flags);

/* From now on reading and writing may wait: O_NONBLOCK was for opening only.
 * Returns fd, or -1 and it is closed.
 */
extern int file_may_wait (int fd);

/* Close it, for a reason that errno tells, and still does: returns -1. */
extern int file_give_up (int fd);

/* The directory that a name lies in, and a name in a directory: to be freed,
 * NULL without memory.  "/a/b" -> "/a", "a" -> ".", "/" -> "/".
 */
extern char *file_directory (const char *filename);
extern char *file_join (const char *dir, const char *name);

#endif /* VDI_FILE_H */
