/* SPDX-License-Identifier: BSD-3-Clause */
/* Put in front of every file of the core (gcc -include) in the copy that
 * the crash tests use: its locks become those of the deterministic
 * scheduler, its memory that of an arena which can be saved and restored,
 * and the UUIDs it makes are always the same.
 */
#ifndef CRASH_COOP_REDIRECT_H
#define CRASH_COOP_REDIRECT_H

#include <config.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "coop.h"

#define pthread_mutex_init coop_mutex_init
#define pthread_mutex_destroy coop_mutex_destroy
#define pthread_mutex_lock coop_mutex_lock
#define pthread_mutex_trylock coop_mutex_trylock
#define pthread_mutex_unlock coop_mutex_unlock
#define pthread_rwlock_init coop_rwlock_init
#define pthread_rwlock_destroy coop_rwlock_destroy
#define pthread_rwlock_rdlock coop_rwlock_rdlock
#define pthread_rwlock_wrlock coop_rwlock_wrlock
#define pthread_rwlock_tryrdlock coop_rwlock_tryrdlock
#define pthread_rwlock_trywrlock coop_rwlock_trywrlock
#define pthread_rwlock_unlock coop_rwlock_unlock
#define pthread_cond_init coop_cond_init
#define pthread_cond_destroy coop_cond_destroy
#define pthread_cond_wait coop_cond_wait
#define pthread_cond_timedwait coop_cond_timedwait
#define pthread_cond_signal coop_cond_signal
#define pthread_cond_broadcast coop_cond_broadcast

#define malloc arena_malloc
#define calloc arena_calloc
#define realloc arena_realloc
#define free arena_free
#define strdup arena_strdup
#define strndup arena_strndup
#define aligned_alloc arena_aligned_alloc
#define posix_memalign arena_posix_memalign

#define vdi_uuid_new arena_uuid_new

#endif /* CRASH_COOP_REDIRECT_H */
