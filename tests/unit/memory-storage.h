/* SPDX-License-Identifier: BSD-3-Clause */
/* A storage whose bytes are in memory, that counts what is done to it
 * and fails when told to.
 *
 * struct memory is the file: it outlives the storages that are opened
 * over it, as a file outlives its descriptors.
 */
#ifndef VDI_MEMORY_STORAGE_H
#define VDI_MEMORY_STORAGE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "storage/storage.h"

struct memory {
  pthread_mutex_t lock;         /* protects all that follows */
  uint8_t *bytes;               /* malloc */
  uint64_t size;
  uint64_t max_size;            /* ENOSPC beyond */
  bool device;                  /* cannot change its size; holds old bytes */
  bool dense;                   /* has no holes: so says the first truncate */
  bool read_only;
  bool busy;                    /* another program has locked it */

  /* What is answered to who else has it open, and how often that is
   * asked before it becomes OTHERS_NONE (0: never).
   */
  struct storage_others others;
  unsigned others_leave;

  bool no_durable, no_punch, no_zero, no_provision; /* ENOTSUP */

  /* Every call that changes something, or syncs, has a number from 1 on;
   * the one with the number fail_at fails with fail_errno and changes
   * nothing.
   */
  unsigned calls, fail_at;
  int fail_errno;

  /* One letter for each such call that succeeded: write, durable write
   * (D), sync, truncate, punch, zero, provision.
   */
  char log[256];

  unsigned changes;             /* calls that changed something */
  unsigned asked;               /* what is a hole; a wrong guess is two */

  /* Called between finding out what is a hole and saying so. */
  void (*meanwhile) (struct memory *);
  unsigned open;                /* storages */
};

/* A file with a copy of these bytes. */
extern void memory_init (struct memory *, const void *bytes, uint64_t size);
extern void memory_free (struct memory *);

extern struct storage *memory_storage_open (struct memory *,
                                            const char *name);

#endif /* VDI_MEMORY_STORAGE_H */
