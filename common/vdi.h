/* SPDX-License-Identifier: BSD-3-Clause */
/* The public face of the VDI core: a VirtualBox disk image, with its
 * parents if it is a differencing image, as a disk that is read and
 * written.
 *
 * Calling sequence:
 *   vdi_options_init (&options);           and change what is needed
 *   vdi_open (filename, &options, &vdi, &error)
 *   vdi_read, vdi_extents, vdi_cache       any number, from any thread
 *   vdi_make_writable (vdi, &error)        once or more, any thread
 *   vdi_write, vdi_zero, vdi_trim, vdi_flush
 *   vdi_close (vdi, &error)                alone
 *
 * Opening never changes a file, nor does anything but the writing calls
 * (the first of which gives the image a new modification UUID).  A
 * process that dies without vdi_close leaves a correct image behind.
 *
 * Thread-safety: all but opening, vdi_close and vdi_check_invariants may be
 * called on one struct vdi from any number of threads at once, vdi_tick from
 * one of them.
 *
 * Requests must lie inside the disk: offset + count <= vdi_size.  All
 * offsets, sizes and counts are in bytes and need no alignment.
 *
 * What was written survives a crash as docs/crash-safety.md says.
 */
#ifndef VDI_H
#define VDI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/header.h"
#include "storage/storage.h"
#include "utils/error.h"
#include "utils/listener.h"
#include "utils/uuid.h"

struct vdi;

struct vdi_options {
  /* Take locks as QEMU does (vdi-format.md 9.2), and notice programs that
   * take none (watch.h).  Default true.
   */
  bool lock;

  /* Read zeros where a damaged image, opened for reading, points outside
   * its file, as QEMU does.  Default false: such reads fail with EIO.
   */
  bool missing_zero;

  /* Commit what only lies in memory this often.  0 is never but at
   * flushes.  Default 5.
   */
  unsigned commit_seconds;

  /* Start the thread that does so, that makes room for new blocks before
   * somebody has to wait for it, and that gives what was not needed back
   * after two quiet seconds, at the first write; or, where other programs
   * that open the image can be noticed, as soon as it is writable.  Default
   * true; without it the caller calls vdi_tick itself.
   */
  bool ticker;

  /* How the file will be read; STORAGE_NORMAL is the default. */
  enum storage_advice advice;

  /* The parents of a differencing image, nearest first.  As many as the
   * array has are taken from it (each must have the UUID its child
   * asks for, but see parent_by_size), the rest is searched for.
   */
  const char *const *parents;
  size_t nr_parents;

  /* Take these parents even if their UUIDs are wrong, with a warning, when
   * their disks are not larger than their children's.  Such a disk can
   * only be read.  Default false.
   */
  bool parent_by_size;

  /* Files that may be a parent, looked at before any directory; those
   * that are missing or have another UUID are passed over.
   */
  const char *const *candidates;
  size_t nr_candidates;

  /* Directories to search for parents, after the usual ones. */
  const char *const *parent_dirs;
  size_t nr_parent_dirs;

  /* Warn if there are images nearby that stand on this one, so that it is
   * not the newest state of its disk.  Default false.
   */
  bool warn_if_newer;

  struct vdi_listener listener; /* see listener.h */
};

extern void vdi_options_init (struct vdi_options *);

/* Open an image and its parents for reading.  All strings and arrays in
 * the options need to live only until vdi_open returns.
 */
extern int vdi_open (const char *filename, const struct vdi_options *,
                     struct vdi **, struct vdi_error *);

/* The same over storages that are open already, the image itself first,
 * then its parents, nearest first.  The storages belong to the vdi when
 * this succeeds, and still to the caller when it fails.
 */
extern int vdi_open_storage (struct storage *const *storages, size_t nr,
                             const struct vdi_options *, struct vdi **,
                             struct vdi_error *);

/* Get ready for writing: check that the map is sound enough to be added
 * to and that nobody else uses the image (EBUSY; see watch.h).  Takes up to
 * half a second to refuse.  Changes nothing in the file.  Idempotent.
 * Needed before any writing call.
 */
extern int vdi_make_writable (struct vdi *, struct vdi_error *);

/* Commit, give reserved space back, free everything.  The vdi is gone
 * even when this fails; failure means that writes since the last
 * successful flush may be lost.
 */
extern int vdi_close (struct vdi *, struct vdi_error *);

/* What there is to know of an open image. */
struct vdi_info {
  const char *name;             /* of the file; valid until vdi_close */
  uint64_t size;                /* of the disk, bytes */
  uint32_t type;                /* enum vdi_type */
  uint32_t block_size;          /* bytes */
  uint32_t n_blocks;            /* blocks of the disk */
  uint32_t n_allocated;         /* blocks that this image (not its parents)
                                 * stores, at this moment */
  size_t depth;                 /* images in the chain, 1 for a base */
  struct vdi_uuid uuid;
  struct vdi_uuid parent;       /* null in a base */
  bool damaged;                 /* may be read only, as far as it goes */
  bool lacks_last_block;        /* in the map: vdi_header_lacks_last_block */
  bool needs_old_virtualbox;    /* vdi_header_needs_old_virtualbox */
  const char *comment;          /* any bytes at all, or "": not checked to be
                                 * text; valid until vdi_close */
};

extern void vdi_get_info (struct vdi *, struct vdi_info *);
extern uint64_t vdi_size (const struct vdi *);
/* The name of the image at a level: 0 the image itself, then its parents.
 * NULL beyond the last.
 */
extern const char *vdi_level_name (const struct vdi *, size_t level);

/* Is there a child of this image nearby, that no longer fits once this
 * image is written to?  1 with *child (malloc) naming it, 0 if none was
 * found, -1 on error.  See discover_child.
 */
extern int vdi_find_child (struct vdi *, char **child, struct vdi_error *);

/* Is there another file with the UUID of this image's parent, where the
 * parent will be looked for?  1 with *twin (malloc) naming it, 0 if there
 * is none (or no parent), -1 on error.
 */
extern int vdi_find_parent_twin (struct vdi *, char **twin,
                                 struct vdi_error *);

/* Flags of the writing calls. */
#define VDI_FUA      1          /* on stable storage on return */
#define VDI_MAY_TRIM 2          /* vdi_zero: the space may be given back */
#define VDI_FAST     4          /* vdi_zero: ENOTSUP, with nothing changed,
                                 * rather than writing zeros */

/* EIO where an unreadable part of a damaged image is touched. */
extern int vdi_read (struct vdi *, void *buf, size_t count, uint64_t offset,
                     struct vdi_error *);

/* All or an error; after an error any part of it may have been written.
 * ENOSPC when there is no room; EIO for ever after a failed sync (the
 * image is poisoned: reopen it to see what is really there), and after
 * another program has opened the image for writing.
 */
extern int vdi_write (struct vdi *, const void *buf, size_t count,
                      uint64_t offset, unsigned flags, struct vdi_error *);

/* Afterwards the range reads as zeros, however large. */
extern int vdi_zero (struct vdi *, uint64_t count, uint64_t offset,
                     unsigned flags, struct vdi_error *);

/* Give back the space of allocated blocks, which then read as zeros;
 * what cannot be given back keeps its content.
 */
extern int vdi_trim (struct vdi *, uint64_t count, uint64_t offset,
                     unsigned flags, struct vdi_error *);

/* Everything that was written, by whomever, before this was called is on
 * stable storage when it returns 0.
 */
extern int vdi_flush (struct vdi *, struct vdi_error *);

/* Read ahead what will be needed; a hint. */
extern int vdi_cache (struct vdi *, uint64_t count, uint64_t offset,
                      struct vdi_error *);

/* Extents: bits of their type, the same values as NBD's base:allocation
 * and nbdkit's.
 */
#define VDI_EXTENT_HOLE 1
#define VDI_EXTENT_ZERO 2

/* Called with extents in order, without gaps, of alternating type. */
typedef int (*vdi_extent_fn) (void *opaque, uint64_t offset, uint64_t length,
                              unsigned type);

/* Describe a range, never beyond its end.  one: only the first extent is
 * wanted.  Stops with -1 if fn returns -1, which must then have
 * filled in the error itself.
 */
extern int vdi_extents (struct vdi *, uint64_t count, uint64_t offset,
                        bool one, vdi_extent_fn fn, void *opaque,
                        struct vdi_error *);

/* What the ticker (the thread) does, for those who do without it.
 * seconds: how long since the last call; 0: only make room.
 */
extern int vdi_tick (struct vdi *, unsigned seconds,
                     struct vdi_error *);

/* The invariants of disk.h, and of all that it names, checked on an open disk
 * that no other thread uses.  0, or -1 and which one is broken.
 * For tests.
 */
extern int vdi_check_invariants (struct vdi *, struct vdi_error *);

/*------------------------------------------------------------------*/
/* create.c: new images (vdi-format.md 7.1) */

struct vdi_create_options {
  enum vdi_type type;           /* dynamic, fixed or diff */
  uint64_t size;                /* bytes, a positive multiple of 512;
                                 * 0 for diff: as large as the parent */
  uint32_t block_size;          /* bytes; 0: 1 MiB, as everybody uses */
  const struct vdi_uuid *uuid;  /* NULL: a new one */
  const char *comment;          /* NULL: none; at most 255 bytes of UTF-8 */
  const char *parent;           /* diff: file name of the parent */
  bool lock;
};

/* Create an image that must not exist yet (EEXIST).  If it fails, nothing is
 * left behind, and nothing of anybody else's is touched.  Durable on return.
 */
extern int vdi_create (const char *filename,
                       const struct vdi_create_options *,
                       struct vdi_error *);

/* The same, and open it as vdi_open would, without letting go of it in
 * between: what is served is what was made.  It is locked for writing all the
 * time, and has its name only when it is open and its parents have been
 * found, where the file system can do that (see storage/open.h).
 */
extern int vdi_create_open (const char *filename,
                            const struct vdi_create_options *,
                            const struct vdi_options *, struct vdi **,
                            struct vdi_error *);

/* The same into an empty storage; nothing is removed on failure.
 * parent is the parent's header for a diff, else NULL.  parent_disk is the
 * parent, needed only if the child is larger than that.
 */
extern int vdi_create_storage (struct storage *,
                               const struct vdi_create_options *,
                               const struct vdi_header *parent,
                               struct vdi *parent_disk,
                               struct vdi_error *);

/*------------------------------------------------------------------*/
/* machine-disk.c: the disks of a VirtualBox machine (vbox-machine.md) */

struct vdi_machine_disk {
  char *filename;               /* the image to open, absolute */
  char **candidates;            /* other images of the machine, for
                                 * vdi_options.candidates */
  size_t nr_candidates;
  struct vdi_uuid uuid;         /* that the image must have */
  bool read_only;               /* writing would break something: */
  char *why_read_only;          /* for a message; NULL if not */
  char *description;            /* machine, snapshot and disk, for people */
};

struct vdi_machine_options {
  const char *vbox;             /* the .vbox file */
  const char *snapshot;         /* name or UUID; NULL: the current state */

  /* "0", "1"... in the order of the file; or "CONTROLLER:PORT" or
   * "CONTROLLER:PORT:DEVICE"; NULL for the only (or first, with a warning
   * naming the others) hard disk.
   */
  const char *disk;

  /* Directories in which to look for its images, after its own. */
  const char *const *dirs;
  size_t nr_dirs;

  struct vdi_listener listener;
};

/* Find a disk of the machine in a .vbox file.  Asked again later it may
 * give another answer: VirtualBox may have taken a snapshot.  The result is
 * freed with vdi_machine_disk_free.
 */
extern int vdi_machine_find (const struct vdi_machine_options *,
                             struct vdi_machine_disk **,
                             struct vdi_error *);
extern void vdi_machine_disk_free (struct vdi_machine_disk *); /* or NULL */

#endif /* VDI_H */
