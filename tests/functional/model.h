/* SPDX-License-Identifier: BSD-3-Clause */
/* The model test: random operations on a served image, and a model of
 * what may be read from it.
 *
 * model-disk.c    what the disk holds, and what it may hold after a kill
 * model-server.c  starting, stopping and killing the server
 * model-ops.c     choosing, issuing and judging operations
 * model-main.c    options and the course of a run
 *
 * One thread drives everything: operations are issued asynchronously on
 * several connections, and libnbd's callbacks judge the replies.  The
 * sequence of operations depends on the seed alone; only how they
 * overlap in the server depends on time.
 */
#ifndef MODEL_H
#define MODEL_H

#include <stdbool.h>
#include <inttypes.h>
#include <stddef.h>

#include <libnbd.h>

#define SECTOR 512

/* Print what went wrong, the seed and how to run it again; exit 1. */
extern void fail (const char *fs, ...)
  __attribute__ ((format (printf, 1, 2), noreturn));

struct params {
  uint64_t seed;
  unsigned long ops;            /* how many operations */
  unsigned connections;
  unsigned in_flight;           /* most operations at once */
  unsigned kills;               /* how many times SIGKILL */
  unsigned restarts;            /* how many times SIGTERM */
  uint32_t block_size;          /* of the image, to aim at its edges */
  bool acked;                   /* a kill loses nothing acknowledged; else
                                 * nothing that was flushed */
  bool torn;                    /* sectors of the disk straddle pages of
                                 * the file: a killed request may be torn */
  const char *socket;
  const char *raw;              /* the model's file */
  const char *hook;             /* shell command run after each stop */
  char **command;               /* the server */
};

extern struct params params;

/* One operation.  Those that modify stay alive, by reference, until no
 * read that overlapped them needs to know what they wrote.
 */
enum kind { READ, WRITE, ZERO, TRIM, FLUSH, EXTENTS, CACHE };

struct op {
  enum kind kind;
  unsigned long nr;
  unsigned connection;
  uint64_t offset, count;
  uint32_t flags;
  uint64_t issued;              /* acknowledgements seen when issued */
  unsigned char *buf;           /* WRITE: the data; READ and TRIM: what came */
  unsigned char *want;          /* READ: the model when it was issued */
  struct op **overlap;          /* READ: writers during its life */
  size_t nr_overlap;
  bool trimmed;                 /* TRIM: acknowledged, to be read */
  bool checking;                /* and being read */
  unsigned refs;
  struct op *next;              /* in flight */
};

/* disk */
extern uint64_t disk_size;
extern const unsigned char *disk_now; /* what acknowledged writes made */
extern void disk_open (const char *raw);
/* An acknowledged change: these bytes, or zeros if data is NULL.  durable:
 * nothing older may be seen again.
 */
extern void disk_apply (uint64_t offset, uint64_t count,
                        const unsigned char *data, uint64_t ack,
                        bool durable);
/* What was acknowledged before this is durable. */
extern void disk_flushed (uint64_t ack);
/* Everything that is known now is what the file holds. */
extern void disk_settled (void);
/* Judge what was read after a kill, with some operations in doubt, and
 * take it as the truth.
 */
extern void disk_after_kill (uint64_t offset, uint64_t count,
                             const unsigned char *data,
                             struct op *in_doubt);
extern void disk_check (uint64_t offset, uint64_t count,
                        const unsigned char *data, const char *when);
/* Would op have put this byte at this offset of the disk? */
extern unsigned char op_byte (const struct op *op, uint64_t offset);

/* server */
extern void server_start (void);
extern void server_kill (void);   /* SIGKILL, and wait for it */
extern void server_reap (void);   /* after server_kill and a drain */
extern void server_stop (void);   /* SIGTERM, and check its exit status */
extern struct nbd_handle *server_connect (void);

/* ops */
extern void ops_connect (void);
extern void ops_disconnect (void);
/* Choose and issue one; before a kill: wait for it. */
extern void ops_run (unsigned long nr, bool before_kill);
extern void ops_drain (void);             /* wait for all replies */
extern struct op *ops_abandon (void);     /* after a kill: the rest */
extern void ops_free (struct op *list);
extern void ops_read_all (struct op *in_doubt, bool killed);
extern void ops_history (uint64_t offset);
extern void ops_summary (void);

/* A random number generator whose sequences we own (splitmix64). */
struct rng { uint64_t state; };

static inline uint64_t
rng_next (struct rng *rng)
{
  uint64_t z = (rng->state += UINT64_C (0x9E3779B97F4A7C15));

  z = (z ^ (z >> 30)) * UINT64_C (0xBF58476D1CE4E5B9);
  z = (z ^ (z >> 27)) * UINT64_C (0x94D049BB133111EB);
  return z ^ (z >> 31);
}

static inline uint64_t
rng_below (struct rng *rng, uint64_t n)
{
  return n ? rng_next (rng) % n : 0;
}

#endif /* MODEL_H */
