/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening the file of an image for writing, and making a new one.
 *
 * Opening for writing is not harmless: it copies the whole file up where it
 * lies in a lower layer of an overlay, some file systems allow it and then
 * refuse to read, and leases and inotify tell others of it.  So an image is
 * opened for reading (file.h), and only once somebody may write to it for
 * writing.
 *
 * A new file has no name until it is finished, where the file system can do
 * that (O_TMPFILE): so nobody can meet it unfinished, a failure or a kill
 * leaves nothing behind, and a file that somebody else has made meanwhile
 * stays.  Elsewhere it has its name from the beginning, and is
 * removed if it does not come to be finished; but only if what the name
 * stands for then still is the file that was made.
 *
 * All descriptors are closed on exec.  Functions return -1 and set errno.
 */
#ifndef VDI_STORAGE_OPEN_H
#define VDI_STORAGE_OPEN_H

#include <stdbool.h>

/* A second descriptor of the file that fd has open.  To be closed soon, as
 * it hides from us who else has it open (see storage/again.h).  ENOENT if
 * there is no /proc.
 */
extern int open_again (int fd, int flags);

/* May the file that fd has open be opened for writing, as far as rights and
 * the file system tell?  EACCES, EROFS...: no.
 */
extern int may_open_to_write (int fd);

/* A second descriptor, for reading and writing, of the file that fd has open,
 * whatever its name is now.  Without /proc it is opened by name: ESTALE if
 * that is another file by now, or where it was removed from an overlay.  An
 * error, too, if it cannot be read that way.
 */
extern int open_to_write (int fd, const char *name);

/* Has the file that fd has open, and that had a name, none any more?  What is
 * written to it is gone when it is closed.
 */
extern bool has_lost_name (int fd);

/* Make a new file, mode 0600.  *named: it has its name already.  EEXIST if
 * there is something of that name.
 */
extern int open_new (const char *filename, bool *named);

/* Give it its name, if it has none.  EEXIST, and nothing is changed, if
 * somebody else has used that name meanwhile; ENOENT if it had its name and
 * has lost it.
 */
extern int name_new (int fd, const char *filename, bool named);

/* Remove it again, and close it in any case.  What is not ours by now is left
 * alone.
 */
extern int discard_new (int fd, const char *filename, bool named);

/* Absolute and without links, to be freed; the file itself need not exist.
 * NULL: no memory.
 */
extern char *real_name (const char *filename);

/* A name becomes durable with its directory. */
extern int sync_directory (const char *filename);

#endif /* VDI_STORAGE_OPEN_H */
