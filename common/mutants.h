/* SPDX-License-Identifier: BSD-3-Clause */
/* Faults that the crash tests compile in, to see whether they are
 * caught (the "mutation score").  In every other build
 * MUTANT is the constant 0 and nothing of them is left.
 *
 * The list of mutants is tests/crash/mutants.def; -DVDI_MUTANTS builds
 * the core with them, and vdi_mutant says which one is alive.
 */
#ifndef VDI_MUTANTS_H
#define VDI_MUTANTS_H

#ifdef VDI_MUTANTS

enum vdi_mutant {
  MUTANT_none,
#define DEFINE_MUTANT(name, what) MUTANT_##name,
#include "mutants.def"
#undef DEFINE_MUTANT
  MUTANT_last
};

extern enum vdi_mutant vdi_mutant;

#define MUTANT(name) (vdi_mutant == MUTANT_##name)

/* Faults that take more than a word, in tests/crash/commit-mutants.c; each
 * does nothing unless one of its mutants is alive.
 */
#include <stdbool.h>
#include <stdint.h>

struct commit;
struct new_block;
struct reserve;
struct vdi;
struct vdi_error;

/* True if the reserve was made, wrongly. */
extern bool mutant_reserve (struct reserve *, uint32_t next, uint32_t *count,
                            struct vdi_error *);
/* Shall even a deferred entry be written at once? */
extern bool mutant_publishes_at_once (const struct commit *);
/* True if an entry whose write failed is not published. */
extern bool mutant_forgets_entry (struct commit *, const struct new_block *);
extern int mutant_before_entries (struct commit *, struct vdi_error *);
/* The count that the map in memory alone calls for. */
extern uint32_t mutant_live_count (const struct reserve *);
/* True if the count was lowered, wrongly. */
extern bool mutant_give_back (struct reserve *, uint32_t count,
                              struct vdi_error *);
/* True if the range was trimmed, wrongly. */
extern bool mutant_trim (struct vdi *, uint64_t offset, uint64_t length);

#else

#define MUTANT(name) 0
#define mutant_reserve(r, next, count, error) 0
#define mutant_publishes_at_once(c) 0
#define mutant_forgets_entry(c, nb) 0
#define mutant_before_entries(c, error) 0
#define mutant_live_count(r) 0
#define mutant_give_back(r, count, error) 0
#define mutant_trim(vdi, offset, length) 0

#endif

#endif /* VDI_MUTANTS_H */
