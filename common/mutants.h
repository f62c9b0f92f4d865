/* SPDX-License-Identifier: BSD-3-Clause */
/* Faults that the crash tests compile in, to see whether they are
 * caught (reliability.md 3.4, "mutation score").  In every other build
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

#else

#define MUTANT(name) 0

#endif

#endif /* VDI_MUTANTS_H */
