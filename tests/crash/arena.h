/* SPDX-License-Identifier: BSD-3-Clause */
/* The memory of the core under test (coop-redirect.h).
 *
 * Without arena_init it is that of malloc.  With it, it is a piece of
 * memory at a fixed place that can be saved and restored by copying
 * arena_used bytes.  Which address an allocation gets depends only on
 * what is allocated at that moment, and free memory is zero, so that
 * equal states look equal.
 */
#ifndef CRASH_ARENA_H
#define CRASH_ARENA_H

#include <stddef.h>
#include <stdint.h>

#include "utils/uuid.h"

extern void arena_init (void *memory, size_t size); /* NULL: malloc again */
extern size_t arena_used (void); /* bytes from the start of the memory */
extern size_t arena_live (void); /* how many allocations there are in it */

extern void *arena_malloc (size_t);
extern void *arena_calloc (size_t, size_t);
extern void *arena_realloc (void *, size_t);
extern void *arena_aligned_alloc (size_t, size_t);
extern int arena_posix_memalign (void **, size_t, size_t);
extern void arena_free (void *);
extern char *arena_strdup (const char *);
extern char *arena_strndup (const char *, size_t);

/* The number of the UUIDs that will be made: it is in the arena's memory,
 * too.  Sessions on one image must differ in it.
 */
extern void arena_set_uuid (uint32_t);
extern struct vdi_uuid arena_uuid_new (void);

#endif /* CRASH_ARENA_H */
