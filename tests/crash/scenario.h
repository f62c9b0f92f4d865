/* SPDX-License-Identifier: BSD-3-Clause */
/* What the exhaustive tests start from: an image small enough that all
 * that can happen to it can be tried, its parents, the storage it lies
 * on, and the operations that clients may do.
 */
#ifndef CRASH_SCENARIO_H
#define CRASH_SCENARIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "disk.h"

#define MAX_BLOCKS 4            /* of the image */
#define MAX_GUEST 16            /* sectors of its disk */
#define MAX_SECTORS 32          /* of its file */
#define MAX_PARENTS 2
#define MAX_OPS 20
#define NR_CLIENTS 2

/* What a sector of the guest may hold, as bits of a set.  VALUE_OTHER is
 * somebody else's data, garbage, or what was never written there.
 */
typedef uint32_t values;
#define VALUE_ZERO 0
#define VALUE_FIRST 1           /* the sequence number of a write... */
#define VALUE_LAST 27           /* ... up to this */
#define VALUE_OLD 28            /* there at the beginning */
#define VALUE_PARENT 29
#define VALUE_OTHER 31
#define BIT(value) (UINT32_C (1) << (value))

struct op {
  char kind;                    /* see op_kinds in scenario.c */
  uint8_t first, count;         /* sectors of the guest */
};
#define OP_WRITE 'w'
#define OP_FUA 'f'
#define OP_FLUSH 'F'
#define OP_TRIM 't'
#define OP_ZERO 'z'             /* may trim */
#define OP_ZERO_NO_TRIM 'n'
#define OP_ZERO_FUA 'Z'
#define OP_READ 'r'
#define OP_TICK 'b'             /* what the ticker does, after 5
                                 * seconds... */
#define OP_REFILL 'R'           /* ... and when it is woken */
#define OP_FOREIGN 'x'          /* another program allocates a block */
#define OP_CLOSE 'c'

struct scenario {
  const char *name;
  const char *what;
  enum disk_mode mode;
  bool no_punch;                /* the storage can neither punch nor zero */
  bool no_dsync;
  unsigned block_sectors;       /* of the image: block_size / 512 */
  unsigned extra_sectors;       /* of block_extra */
  unsigned n;                   /* blocks */
  unsigned nr_parents;
  unsigned parent_block_sectors[MAX_PARENTS];
  unsigned parent_sectors[MAX_PARENTS]; /* sizes of their disks */
  const char *parent_map[MAX_PARENTS]; /* 'd'ata, '.' FREE or 'z' per block */
  /* At first: for each block its index, '.' for FREE or 'z' for ZERO; the
   * count; how many blocks the file has.  Blocks of the file that no entry
   * names hold somebody else's data.
   */
  const char *map;
  unsigned count, file_blocks;
  const char *ops;              /* the alphabet, see op_parse... */
  const char *few;              /* ... and one for longer programs, or NULL */
  unsigned faults;              /* how many calls may fail, each time */
};

extern const struct scenario scenarios[];
extern const struct scenario *scenario_find (const char *name);

/* A scenario made real. */
struct setup {
  const struct scenario *sc;
  unsigned guest;               /* sectors of the disk */
  uint64_t stride;              /* bytes: T */
  uint64_t map_off, data_off;   /* bytes */
  uint64_t max_size;            /* of the file */
  struct disk_config config;    /* of the image's disk, without hooks */
  struct disk *parents[MAX_PARENTS];
  uint32_t shown[MAX_GUEST];    /* the content that the parents show */
  struct op ops[MAX_OPS];
  unsigned nr_ops;
};

extern void setup_make (struct setup *, const struct scenario *, bool few);
extern void setup_free (struct setup *);
/* Put the image's first content on a disk of setup's config. */
extern void setup_fill (const struct setup *, struct disk *);
/* What is this content to a sector of the guest? */
extern unsigned setup_value (const struct setup *, uint32_t content,
                             unsigned guest);
/* The bytes of a write. */
extern void setup_write_bytes (uint8_t *, unsigned guest, unsigned sequence);

extern bool op_parse (const char **s, struct op *);
extern const char *op_print (const struct op *, char buf[16]);

#endif /* CRASH_SCENARIO_H */
