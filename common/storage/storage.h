/* SPDX-License-Identifier: BSD-3-Clause */
/* Where the bytes of an image live.
 *
 * A small table of operations, so that the core never calls the
 * operating system itself and runs unchanged over a file, a block
 * device, or the crash simulator.  Operations
 * return -1 and set errno; they are raw: reads and writes may be short
 * or fail with EINTR like the system calls of the same name.  The core
 * uses them only through the storage_* functions below, which finish
 * what was begun and turn failures into a struct vdi_error that names
 * the file, the operation, offset and count.
 *
 * Thread-safety: all operations may be called at any time from any
 * thread, except close, which needs the storage alone.
 *
 * All offsets and lengths are bytes from the start of the file.
 */
#ifndef VDI_STORAGE_H
#define VDI_STORAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "utils/error.h"

struct storage;

enum storage_advice {
  STORAGE_NORMAL, STORAGE_RANDOM, STORAGE_SEQUENTIAL, STORAGE_WILLNEED
};

/* Who else has the file open, whether or not they know of locks? */
enum storage_others_kind {
  OTHERS_UNKNOWN,               /* cannot be told here */
  OTHERS_NONE,
  OTHERS_OURSELVES,             /* nobody, as far as can be seen, but it is
                                 * open more than once in this process or
                                 * its parent, which hides who cannot be seen
                                 */
  OTHERS_READ,                  /* somebody has, for reading only */
  OTHERS_WRITE,                 /* somebody has, for writing */
  OTHERS_UNSEEN,                /* somebody has, who cannot be seen from here */
};

struct storage_others {
  enum storage_others_kind kind;
  char who[64];                 /* READ, WRITE: "NAME, pid NUMBER"; UNSEEN:
                                 * a guess; UNKNOWN: why */
};

/* Is there somebody, seen or unseen?  OTHERS_OURSELVES and OTHERS_UNKNOWN are
 * nobody who could be told of or waited for.
 */
static inline bool
storage_is_other (const struct storage_others *o)
{
  return o->kind == OTHERS_READ || o->kind == OTHERS_WRITE ||
         o->kind == OTHERS_UNSEEN;
}

struct storage_ops {
  ssize_t (*pread) (struct storage *, void *buf, size_t count,
                    uint64_t offset);

  /* durable: the bytes written are on stable storage on return, and so is
   * the length if they made the file longer (RWF_DSYNC).  ENOTSUP, with
   * nothing written, if there is no such thing here.  Waits for no sync
   * that is under way.
   */
  ssize_t (*pwrite) (struct storage *, const void *buf, size_t count,
                     uint64_t offset, bool durable);

  /* Every write, size change, punch and zero that returned before this
   * was called is on stable storage when this returns 0.  When it
   * fails, nothing may be assumed of any of them ("fsyncgate").  An error
   * fails every sync and durable write that was under way and that it
   * concerns, and every later sync.
   */
  int (*sync) (struct storage *);

  int (*size) (struct storage *, uint64_t *size);

  /* Shrink, or grow with bytes that read as zeros and take no space.
   * ENOTSUP on a block device.
   */
  int (*truncate) (struct storage *, uint64_t size);

  /* Make a range inside the file read as zeros and give its space back.
   * ENOTSUP (EOPNOTSUPP is the same number) if it cannot be done
   * without writing zeros.
   */
  int (*punch) (struct storage *, uint64_t offset, uint64_t length);

  /* Make a range inside the file read as zeros and keep (or take) its
   * space.  ENOTSUP if it cannot be done without writing zeros.
   */
  int (*zero) (struct storage *, uint64_t offset, uint64_t length);

  /* Take the space for a range, growing the file as needed; what was not
   * there before reads as zeros.  ENOTSUP if there is no such thing.
   */
  int (*provision) (struct storage *, uint64_t offset, uint64_t length);

  /* Is the file at offset a hole (reads as zeros and takes no space) or
   * data, and up to where (*end, at most limit)?  If it goes on behind
   * *end, the other begins there.  *hole is also what the caller takes it
   * for, which changes nothing but the time it takes.  A storage that
   * does not know says data up to limit.  offset < limit <= size.
   */
  int (*extent) (struct storage *, uint64_t offset, uint64_t limit,
                 bool *hole, uint64_t *end);

  /* A hint; failure means nothing.  length 0 means to the end. */
  int (*advise) (struct storage *, uint64_t offset, uint64_t length,
                 enum storage_advice);

  /* Take the locks of a reader (writer false) or of a writer, which
   * includes the reader's: upgrading is calling it again.  EBUSY if
   * somebody else's locks forbid it; the message says who.  A no-op if
   * the storage was opened without locks.
   */
  int (*lock) (struct storage *, bool writer, struct vdi_error *);

  /* Who else has it open (writers_only: for writing)?  Microseconds if
   * nobody has, else milliseconds.  Nobody notices.  For one thread at a
   * time; NULL where this cannot be told.
   */
  void (*others) (struct storage *, bool writers_only,
                  struct storage_others *);

  /* Has the file lost its last name since it was opened, so that what is
   * written to it is gone when it is closed: by mv or rsync, say, of a
   * restored image over the one that was opened?  NULL: no.
   */
  bool (*is_nameless) (struct storage *);

  /* Would make_writable succeed, as far as rights can tell?  0, or -1 and
   * errno.  NULL: yes.
   */
  int (*writable) (struct storage *);

  /* From now on it is to be written to: open it for that, unless it is.
   * Others may read meanwhile.  Changes nothing.  EROFS, EACCES, EPERM,
   * ETXTBSY...: it cannot be written to; what was can be read as before.
   */
  int (*make_writable) (struct storage *);

  void (*close) (struct storage *); /* frees the storage, too */
};

struct storage {
  const struct storage_ops *ops;
  char *name;                   /* for messages: the file's name, absolute */

  /* Space that the file gains by truncate reads as zeros until written.
   * False on block devices and the like, where it holds old bytes and
   * where the size cannot be changed.
   */
  bool grows_zero;

  /* What the file gains takes room on the disk at once, though nothing is
   * written: so little should be gained in advance.  False until that is
   * known.
   */
  _Atomic bool grows_dense;
};

/* Open a file or a block device, for reading only until make_writable;
 * nothing is ever changed by opening.  Closed on exec.  locks: take none if
 * false.  Errors as open(2); EINVAL if it is neither a file nor a block
 * device.
 */
extern int storage_open_file (const char *filename, bool locks,
                              struct storage **, struct vdi_error *);

/* Create a new file that must not exist yet (EEXIST), for reading and
 * writing, mode 0600 as VirtualBox does (vdi-format.md 7.1).  It is
 * unfinished, and may have no name yet (see storage/open.h), until
 * storage_finish_file has brought it and its name to stable storage: EEXIST
 * if somebody else has used the name meanwhile.  storage_abandon_file
 * removes and closes it, and adds to *error if it cannot be removed, or is not
 * because somebody else has it open by its name; closing it unfinished
 * removes it, too.
 */
extern int storage_create_file (const char *filename, bool locks,
                                struct storage **, struct vdi_error *);
extern int storage_finish_file (struct storage *, struct vdi_error *);
extern void storage_abandon_file (struct storage *, struct vdi_error *);

/* The checked forms.  what says for the message what is being read or
 * written ("header", "block map", "data"...).  The error keeps the
 * errno of the operation; reading past the end of the file is EIO.
 */
extern int storage_read (struct storage *, void *buf, size_t count,
                         uint64_t offset, const char *what,
                         struct vdi_error *);
extern int storage_write (struct storage *, const void *buf, size_t count,
                          uint64_t offset, const char *what,
                          struct vdi_error *);
/* One durable write, see pwrite above.  Returns 0 if all of it is on
 * stable storage, -1 with error->err ENOTSUP if that is not to be had,
 * ENOSPC, EDQUOT or EFBIG if nothing is amiss but this write, or another if
 * it is not known what is there.
 */
extern int storage_write_durable (struct storage *, const void *buf,
                                  size_t count, uint64_t offset,
                                  const char *what, struct vdi_error *);
extern int storage_sync (struct storage *, struct vdi_error *);
extern int storage_size (struct storage *, uint64_t *, struct vdi_error *);
extern int storage_truncate (struct storage *, uint64_t size,
                             struct vdi_error *);
/* These fail silently with ENOTSUP: then error->message is set too, but
 * callers do something else instead.
 */
extern int storage_punch (struct storage *, uint64_t offset, uint64_t length,
                          struct vdi_error *);
extern int storage_zero (struct storage *, uint64_t offset, uint64_t length,
                         struct vdi_error *);
extern int storage_provision (struct storage *, uint64_t offset,
                              uint64_t length, struct vdi_error *);
extern int storage_extent (struct storage *, uint64_t offset, uint64_t limit,
                           bool *hole, uint64_t *end, struct vdi_error *);
/* Write zeros, in pieces of bounded memory. */
extern int storage_write_zeros (struct storage *, uint64_t offset,
                                uint64_t length, const char *what,
                                struct vdi_error *);
/* From one to another, or to another range of the same. */
extern int storage_copy (struct storage *from, uint64_t from_offset,
                         struct storage *to, uint64_t to_offset,
                         uint64_t length, struct vdi_error *);
extern void storage_advise (struct storage *, uint64_t offset,
                            uint64_t length, enum storage_advice);
extern int storage_lock (struct storage *, bool writer, struct vdi_error *);
extern bool storage_is_nameless (struct storage *);
/* ESTALE if it is nameless; else what writable above says. */
extern int storage_writable (struct storage *, struct vdi_error *);
extern int storage_make_writable (struct storage *, struct vdi_error *);
extern void storage_others (struct storage *, bool writers_only,
                            struct storage_others *);
extern void storage_close (struct storage *); /* NULL is allowed */

#endif /* VDI_STORAGE_H */
