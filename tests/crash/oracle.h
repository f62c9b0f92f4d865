/* SPDX-License-Identifier: BSD-3-Clause */
/* What a disk may show, sector by sector, while two clients use it: now,
 * and after a crash (docs/crash-safety.md, I4-I6).
 *
 * Each client has at most one operation under way.  Of a flush counts
 * what had been answered when it was asked for; what was under way then
 * or started since may be durable or not (NBD's rule).
 */
#ifndef CRASH_ORACLE_H
#define CRASH_ORACLE_H

#include <stdbool.h>

#include "scenario.h"

struct oracle {
  values durable[MAX_GUEST];    /* what a crash may leave */
  values live[MAX_GUEST];       /* what a read may show, if nothing is under
                                 * way */
  /* Of each client's operation: values whose writing was under way when
   * it started or started since; and live when it started.
   */
  values since[NR_CLIENTS][MAX_GUEST];
  values before[NR_CLIENTS][MAX_GUEST];
  values doing[NR_CLIENTS][MAX_GUEST]; /* what it writes; 0 if nothing */
};

/* All sectors hold one of these, durably. */
extern void oracle_init (struct oracle *, const values *, unsigned guest);

/* sequence: the value that a write writes. */
extern void oracle_begin (struct oracle *, unsigned guest, int client,
                          const struct op *, unsigned sequence);
extern void oracle_end (struct oracle *, unsigned guest, int client,
                        const struct op *, bool failed);

/* What a read that this client did may have seen. */
extern values oracle_readable (const struct oracle *, int client,
                               unsigned sector);

#endif /* CRASH_ORACLE_H */
