/* SPDX-License-Identifier: BSD-3-Clause */
/* A disk in memory that remembers what a crash could make of it.
 *
 * struct disk is a struct storage (common/storage/storage.h).  It keeps, for each
 * sector of 512 bytes and for the size of the file, every version since
 * the one that is known to be on the medium.  A crash image is any choice
 * of one version for each of these locations, independently: more than
 * any real disk or file system does.  Sectors are
 * atomic, except those inside config.torn_*, of which each 4-byte cell is
 * chosen on its own.
 *
 * A sync has a begin and an end: what returned before it began is durable
 * when it ends, what other coroutines do in between may be or not.  A
 * sync that fails makes nothing durable, and what was pending will not be
 * made durable by any later sync either, only by writing it again (as
 * Linux does); and it is told to every other one that is under way, and to
 * every later sync (as storage.h promises).
 *
 * Calling sequence:
 *   disk_new, disk_put (to make the first content), disk_open, and hand
 *   the storage to the core; disk_crash makes another disk of a crash
 *   image; disk_free.
 *
 * For one OS thread only.  Contents of sectors are interned in a pool
 * that all disks share; disk_contents_reset empties it when no disk is
 * left, which long runs must do now and then.
 */
#ifndef CRASH_DISK_H
#define CRASH_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/storage.h"

#define DISK_SECTOR 512

/* What space reads as that a file gained, or that was never written. */
enum disk_mode {
  DISK_FILE,                    /* zeros: a file system */
  DISK_STALE,                   /* 0xFD: a file with somebody's old data */
  DISK_DEVICE,                  /* 0xFD and of fixed size: a block device */
};
#define DISK_GARBAGE 0xfd

enum disk_call {
  DISK_PREAD, DISK_PWRITE, DISK_SYNC, DISK_SIZE, DISK_TRUNCATE, DISK_PUNCH,
  DISK_ZERO, DISK_PROVISION, DISK_EXTENT,
  DISK_WAIT,                    /* points only: inside a sync (offset and
                                 * length 0) or a durable write */
};

extern const char *disk_call_name (enum disk_call);

struct disk;

/* What shall go wrong with a call; all zero is nothing. */
struct disk_fault {
  bool durable;                 /* for the hook to know: a durable pwrite */
  int err;                      /* the call fails with this errno */
  /* pread, pwrite: this many bytes are done.  With err 0, a short count;
   * with err set, a write that failed having changed part of its range.
   */
  bool limited;
  size_t count;
  /* pwrite with err set: all was written to the cache, then it could not
   * be brought to the medium: lost as if by a failed sync.
   */
  bool late;
};

/* Both may be NULL. */
struct disk_hooks {
  /* Called before each call has its effect, and between the two halves
   * of a sync and of a durable write: a place to switch to another
   * coroutine (coop_point).
   */
  void (*point) (void *opaque, struct disk *, enum disk_call,
                 uint64_t offset, uint64_t length);
  /* Called after point, never for DISK_WAIT. */
  void (*fault) (void *opaque, struct disk *, enum disk_call,
                 uint64_t offset, uint64_t length, struct disk_fault *);
  void *opaque;
};

struct disk_config {
  const char *name;             /* for messages; must live as long */
  enum disk_mode mode;
  uint64_t size;                /* at first, bytes */
  uint64_t max_size;            /* growing beyond is ENOSPC; bytes */
  unsigned max_versions;        /* kept per location, at least 2 */
  bool can_punch;               /* else ENOTSUP */
  bool can_zero;
  bool can_provision;
  bool can_dsync;               /* durable pwrite, else ENOTSUP */
  uint64_t torn_start, torn_end; /* bytes, multiples of 512 */
  struct disk_hooks hooks;
  /* Where to put it, disk_memory (config) bytes, or NULL for malloc. */
  void *memory;
};

extern size_t disk_memory (const struct disk_config *);
extern struct disk *disk_new (const struct disk_config *);
extern void disk_free (struct disk *); /* NULL is allowed */
extern const struct disk_config *disk_get_config (const struct disk *);
extern void disk_set_hooks (struct disk *, const struct disk_hooks *);

/* The storage, which belongs to the disk: its close operation does
 * nothing.
 */
extern struct storage *disk_open (struct disk *);

/* Change or read the content behind everybody's back: no hooks, durable
 * at once (all older versions are gone).  Grows the file if needed.
 */
extern void disk_put (struct disk *, const void *buf, size_t count,
                      uint64_t offset);
extern void disk_put_size (struct disk *, uint64_t size);
extern void disk_get (const struct disk *, void *buf, size_t count,
                      uint64_t offset);
extern uint64_t disk_size (const struct disk *);

/* The versions of a location, oldest (durable) first, the newest (what
 * reads see) last.  At least one.  The same content may occur twice.
 */
struct disk_version {
  uint32_t content;             /* disk_content () */
  uint32_t stamp;               /* the order of writes */
};
extern const struct disk_version *disk_versions (const struct disk *,
                                                 uint64_t sector, size_t *n);
struct disk_size_version {
  uint64_t size;
  uint32_t stamp;
};
extern const struct disk_size_version *
disk_size_versions (const struct disk *, size_t *n);

/* How many versions had to be forgotten for want of max_versions: crash
 * images that were not seen.
 */
extern uint64_t disk_forgotten (const struct disk *);

/* How many of each call there were; offset and length count as bytes. */
extern uint64_t disk_calls (const struct disk *, enum disk_call);

/* A number that is different (with all probability) if the disks differ in
 * anything that matters: versions, sizes, running syncs.  Independent of
 * the history that led there.
 */
extern uint64_t disk_hash (const struct disk *);

/* Make of to, which has the same config (but may have other memory and
 * hooks), the disk after a crash of from.  rnd returns a random number;
 * it decides over each location.  Returns a hash of the image.
 */
extern uint64_t disk_crash (const struct disk *from, struct disk *to,
                            uint64_t (*rnd) (void *opaque), void *opaque);
/* The same after only the program was killed: all that pends still pends,
 * but no sync is running.
 */
extern void disk_copy (const struct disk *from, struct disk *to);
/* As after a clean shutdown of the host: the newest of everything. */
extern void disk_settle (const struct disk *from, struct disk *to);

/*------------------------------------------------------------------*/
/* Contents of sectors, and tags in them. */

/* The content of a guest's sector says whose it is, so that a foreign or
 * a stale byte is recognised at sight.
 */
struct disk_tag {
  uint32_t image;               /* which image it was written to */
  uint32_t sequence;            /* which write it was; never 0 */
  uint64_t sector;              /* guest address / 512 */
};

enum disk_kind {
  DISK_KIND_ZERO,               /* all zeros */
  DISK_KIND_GARBAGE,            /* all 0xFD */
  DISK_KIND_TAG,                /* a tag with a right checksum */
  DISK_KIND_OTHER,
};

struct disk_content {
  uint8_t bytes[DISK_SECTOR];
  enum disk_kind kind;
  struct disk_tag tag;
};

#define DISK_CONTENT_ZERO 0
#define DISK_CONTENT_GARBAGE 1

extern uint32_t disk_intern (const uint8_t bytes[DISK_SECTOR]);
extern const struct disk_content *disk_content (uint32_t);
extern void disk_contents_reset (void);

extern void disk_tag_write (uint8_t bytes[DISK_SECTOR],
                            const struct disk_tag *);
extern enum disk_kind disk_tag_read (const uint8_t bytes[DISK_SECTOR],
                                     struct disk_tag *);

/* A good hash of bytes, also for other uses. */
extern uint64_t disk_hash_bytes (const void *, size_t, uint64_t seed);

/* A small random number generator (splitmix64). */
static inline uint64_t
disk_random (uint64_t *state)
{
  uint64_t z = (*state += UINT64_C (0x9e3779b97f4a7c15));

  z = (z ^ z >> 30) * UINT64_C (0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C (0x94d049bb133111eb);
  return z ^ z >> 31;
}

#endif /* CRASH_DISK_H */
