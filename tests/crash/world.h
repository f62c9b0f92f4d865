/* SPDX-License-Identifier: BSD-3-Clause */
/* A disk, an image on it opened by the real core, and two clients, in one
 * piece of memory that can be saved, restored and hashed: the state that
 * explore.c goes through.
 *
 * One world at a time.  world_open makes it; the clients run as coroutines
 * that stop at every storage call and lock; after each world_step look at
 * world->wrong.
 */
#ifndef CRASH_WORLD_H
#define CRASH_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "disk.h"
#include "judge.h"
#include "oracle.h"
#include "scenario.h"
#include "vdi.h"

struct client {
  struct op op;
  uint8_t busy;
  uint8_t sequence;             /* what its writes write, next */
  uint8_t call;                 /* enum disk_call it stands before, + 1; 0 is
                                 * a lock */
  uint8_t failed;               /* did the last operation fail? */
  uint32_t length;              /* of that call */
  uint8_t after_poison;         /* did the operation start after a sync had
                                 * failed? */
};

/* All of this is saved and hashed. */
struct world {
  struct vdi *vdi;              /* NULL once closed */
  struct client clients[NR_CLIENTS];
  struct oracle oracle;
  uint8_t poisoned;             /* a sync failed in this session */
  uint8_t faulty;               /* a call has failed in this session */
  uint8_t closed;
  uint32_t foreign;             /* content of the header that another program
                                 * wrote, or 0 */
};

extern struct world *world;
extern struct disk *world_disk;
extern const struct setup *world_setup;
extern struct judge world_judge;

/* What is wrong, or empty.  To be cleared by the test. */
extern char world_wrong[400];

/* Prepare for a scenario (and forget the one before). */
extern void world_init (const struct setup *);
extern void world_exit (void);

/* A world with the setup's first content (NULL); or with a given disk,
 * which is copied: either a crash image, or, if killed, what a killed
 * program left, with versions that pend.  allowed: what each sector may
 * show; NULL at first.  session must be different for each session on the
 * same content.  Opens the image, and sets world_wrong if it does not show
 * what it may, or if opening wrote to it.
 */
extern void world_open (const struct disk *, const values *allowed,
                        bool killed, unsigned session);

/* May the client start an operation?  Or go on? */
extern bool world_is_idle (int client);
extern bool world_can_step (int client);

/* Is what it will do next nothing that others could see or be harmed by,
 * if the core's locks do what they should: taking a lock, or reading a
 * header that a lock protects?
 */
extern bool world_is_quiet (int client);
extern void world_start (int client, const struct op *, unsigned sequence);

/* fault: 0 none; else which way the call it stands before fails, below
 * world_nr_faults.
 */
extern void world_step (int client, unsigned fault);
extern unsigned world_nr_faults (int client);
extern const char *world_fault_name (unsigned fault);

/* With all clients idle: does everything show what it should? */
extern void world_check_live (void);

/* Clients of which some cannot go on and none can: a deadlock. */
extern bool world_is_stuck (void);

extern uint64_t world_hash (void);

/* Saved states.  The snapshot's memory grows as needed. */
struct snapshot {
  size_t size, max;
  uint8_t *bytes;
};
extern void world_save (struct snapshot *);
extern void world_restore (const struct snapshot *);

/* Print each storage call and each operation. */
extern bool world_trace;

#endif /* CRASH_WORLD_H */
