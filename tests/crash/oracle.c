/* SPDX-License-Identifier: BSD-3-Clause */
/* What a disk may show, now and after a crash: see oracle.h. */
#include <config.h>

#include <string.h>

#include "oracle.h"

void
oracle_init (struct oracle *o, const values *v, unsigned guest)
{
  memset (o, 0, sizeof *o);
  memcpy (o->durable, v, guest * sizeof *v);
  memcpy (o->live, v, guest * sizeof *v);
}

static values
writes (const struct op *op, unsigned sequence)
{
  switch (op->kind) {
  case OP_WRITE:
  case OP_FUA:
    return BIT (sequence);
  case OP_TRIM:
  case OP_ZERO:
  case OP_ZERO_NO_TRIM:
  case OP_ZERO_FUA:
    return BIT (VALUE_ZERO);
  default:
    return 0;
  }
}

void
oracle_begin (struct oracle *o, unsigned guest, int client,
              const struct op *op, unsigned sequence)
{
  const values w = writes (op, sequence);
  unsigned i;
  int c;

  for (i = 0; i < guest; i++) {
    o->before[client][i] = o->live[i];
    o->since[client][i] = 0;
    for (c = 0; c < NR_CLIENTS; c++)
      if (c != client)
        o->since[client][i] |= o->doing[c][i];
  }
  for (i = op->first; w && i < op->first + (unsigned) op->count; i++) {
    o->doing[client][i] = w;
    o->durable[i] |= w;
    for (c = 0; c < NR_CLIENTS; c++)
      o->since[c][i] |= w;
  }
}

void
oracle_end (struct oracle *o, unsigned guest, int client,
            const struct op *op, bool failed)
{
  unsigned i;

  for (i = 0; i < guest; i++) {
    const values w = o->doing[client][i];
    const values since = o->since[client][i];

    if (op->kind == OP_FLUSH && !failed)
      o->durable[i] &= o->before[client][i] | since;
    if (w == 0)
      continue;
    if (failed || op->kind == OP_TRIM)
      o->live[i] |= since;
    else
      o->live[i] = since;       /* which w is in */
    if (!failed && (op->kind == OP_FUA || op->kind == OP_ZERO_FUA))
      o->durable[i] = since;
  }
  memset (o->doing[client], 0, sizeof o->doing[client]);
  memset (o->since[client], 0, sizeof o->since[client]);
  memset (o->before[client], 0, sizeof o->before[client]);
}

values
oracle_readable (const struct oracle *o, int client, unsigned sector)
{
  return o->before[client][sector] | o->since[client][sector];
}
