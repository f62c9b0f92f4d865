/* SPDX-License-Identifier: BSD-3-Clause */
/* What a guest may find on its disk: now, after a kill, after a crash.
 *
 * Every write has a sequence number, which is in each sector it writes
 * (disk_tag of disk.h), so that a sector says by itself which write it
 * comes from.  The rules (docs/crash-safety.md, The promise), for each sector:
 *
 *   A write that had returned before another began is overwritten by
 *   that other.  A sector never shows what is overwritten by a write
 *   that had returned (while the disk is served, and after a kill of
 *   the server where acknowledged is enough), or by a write that had
 *   returned before a successful flush began or was FUA (after a
 *   crash).  Of all else it may show anything: writes under way,
 *   writes that failed, one of several at the same time.  Trim may or
 *   may not have turned it into zeros.  It never shows anything that
 *   was not written to this very sector.
 *
 * The life of a disk is that of one struct guest: guest_restart after a crash
 * pins what was found, because it must not change any more (I8).
 *
 * For one thread at a time.
 */
#ifndef GUEST_H
#define GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "disk.h"

struct guest;

/* A value is the sequence number of a write, or 0 for zeros. */
#define GUEST_ZERO 0
/* What cannot be anybody's: garbage, torn, another sector's. */
#define GUEST_FOREIGN UINT32_MAX

enum guest_kind { GUEST_WRITE, GUEST_CLEAR, GUEST_TRIM };

/* sectors: size of the disk / 512; all zeros at first.  image is that of
 * the tags.
 */
extern struct guest *guest_new (uint64_t sectors, uint32_t image);
extern void guest_free (struct guest *);

/* The disk's content when the story begins. */
extern void guest_put (struct guest *, uint64_t sector, uint32_t value);

/* Begin to write to a range.  Returns the number of the operation, which
 * for GUEST_WRITE is the sequence to be written.
 */
extern uint32_t guest_begin (struct guest *, enum guest_kind,
                              uint64_t sector, uint64_t count);
/* It has returned.  ok: successfully.  fua: and it is durable. */
extern void guest_end (struct guest *, uint32_t op, bool ok, bool fua);

/* A sequence number for content that the story begins with. */
extern uint32_t guest_sequence (struct guest *);

/* Around a flush; the first returns the time for the second. */
extern uint32_t guest_flush_begin (struct guest *);
extern void guest_flush_end (struct guest *, uint32_t time, bool ok);

/* Around a read. */
extern uint32_t guest_read_begin (struct guest *);
extern void guest_read_end (struct guest *);

enum guest_when {
  GUEST_NOW,                   /* time: when the read began */
  GUEST_AFTER_KILL,            /* what was acknowledged counts */
  GUEST_AFTER_CRASH,           /* what was flushed counts */
};

extern bool guest_allows (const struct guest *, enum guest_when,
                           uint32_t time, uint64_t sector, uint32_t value);

/* Was anything written to the sector while a read that began at time was
 * under way?  Then a real file may show some bytes of the old and some of
 * the new: the kernel copies both without a lock.
 */
extern bool guest_may_be_torn (const struct guest *, uint32_t time,
                               uint64_t sector);

/* Has any operation touched it since the last restart? */
extern bool guest_touched (const struct guest *, uint64_t sector);

/* The disk was reopened after a crash and holds these values. */
extern void guest_restart (struct guest *, const uint32_t *values);

/* The bytes of a value in a sector, and back. */
extern void guest_fill (const struct guest *, uint32_t op,
                         uint64_t sector, uint64_t count, uint8_t *buf);
extern uint32_t guest_value (const struct guest *, const uint8_t *bytes,
                              uint64_t sector);
/* The same of what the simulated disk knows already. */
extern uint32_t guest_value_of (const struct guest *,
                                 const struct disk_content *,
                                 uint64_t sector);

/* All that is known of a sector, for a person. */
extern void guest_explain (const struct guest *, FILE *, uint64_t sector,
                            uint32_t value);

#endif /* GUEST_H */
