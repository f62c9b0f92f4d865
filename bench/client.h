/* SPDX-License-Identifier: BSD-3-Clause */
/* The client of the benchmark: what its parts share.
 *
 * One thread, so nothing here is locked.  Everything that goes wrong ends
 * the program: half a measurement is none.
 */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include <libnbd.h>

#define MAX_CONNECTIONS 64

struct options {
  const char *cycle;            /* what a slot does, a letter a step */
  bool extents;                 /* walk over the disk's extents instead */
  uint64_t size;                /* of a request, bytes */
  unsigned depth;               /* slots, over all connections */
  unsigned connections;
  bool random;
  uint64_t stride;              /* from one request to the next */
  uint64_t first;               /* offset of the first */
  uint64_t range;               /* offsets are below this; 0: the disk */
  uint64_t requests;            /* stop after so many; 0: by time */
  double seconds;
  double pause;                 /* between cycles, seconds */
  uint64_t beside;              /* bytes that another connection flushes */
  bool flush_end;
  bool one;                     /* extents: one a call */
};

extern struct options opt;

/* The last of them is the one that flushes, if there is one. */
extern struct nbd_handle *handles[MAX_CONNECTIONS + 1];
extern unsigned nr_handles;

/* Seconds since whenever. */
extern double now (void);

/* What libnbd complains about, and the end. */
extern void fail (const char *what) __attribute__ ((noreturn));

/* Something else that is wrong, and the end. */
extern void die (const char *what) __attribute__ ((noreturn));

/* The workloads: each prints
 *   CYCLES SECONDS MEDIAN
 * the last the median of how long a cycle took, in seconds.
 */
extern void transfer (void);
extern void extents (void);

#endif /* BENCH_CLIENT_H */
