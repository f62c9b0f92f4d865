/* SPDX-License-Identifier: BSD-3-Clause */
/* What VirtualBox and QEMU make of an image: their rules, written down
 * from vdi-format.md 3.1, 3.3, 8.1 and 8.2 a second time and
 * independently of the core (nothing of common/ is used but the byte
 * order), so that the crash tests do not ask the core about itself.
 * test-rules compares it with what both programs really said.
 *
 * Only the header and the map are looked at; everything else is the
 * business of whoever knows what the guest wrote.
 */
#ifndef RULES_H
#define RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum rules_kind {
  RULES_VB_OPEN,        /* VirtualBox refuses the image (3.1, 1..18) */
  RULES_VB_DISCARD,     /* ... if the disk is attached with discard (20) */
  RULES_VB_READ,        /* an allocated block reaches beyond the file: its
                         * reads fail in VirtualBox (3.1 end) */
  RULES_OVERWRITE,      /* an entry is not below the count: the next
                         * block that anybody allocates may overwrite
                         * a live one (8.1) */
  RULES_DOUBLE,         /* two entries name one block */
  RULES_SHORT,          /* the file ends before the last block that the
                         * count covers: what VirtualBox puts there
                         * cannot be read until it is opened again, and
                         * its discard cuts live data off (8.1) */
  RULES_QEMU_OPEN,      /* QEMU refuses the image (3.3) */
  RULES_QEMU_CHECK,     /* qemu-img check finds something else than a count
                         * above the number of blocks */
  RULES_LAYOUT,         /* other things that keep both happy (8.2, 1..3, 6) */

  /* These two a crash may leave.  No data depend on them. */
  RULES_SURPLUS,        /* the count is above the number of blocks: space is
                         * taken that nobody uses */
  RULES_TAIL,           /* the file is longer than the count says */

  RULES_KINDS
};

#define RULES_BIT(kind) (1u << RULES_##kind)

/* A crash may leave these... */
#define RULES_AFTER_CRASH (RULES_BIT (SURPLUS) | RULES_BIT (TAIL))
/* ... and in a child QEMU cannot be asked: it refuses every child. */
#define RULES_OF_CHILD RULES_BIT (QEMU_OPEN)

struct rules_report {
  unsigned found;                 /* RULES_BIT of each kind found */
  char text[RULES_KINDS][120];    /* the first of each kind, in words */
  unsigned qemu_corruptions;      /* as qemu-img check counts them */

  /* From the header, if RULES_VB_OPEN is not found. */
  uint32_t n, count;              /* entries in the map; blocks counted */
  uint32_t entries;               /* entries that are allocated */
  uint32_t highest;               /* highest of them + 1; 0 if none */
};

/* bytes: the start of the file, with all of header and map as far as the
 * file reaches.  length: of the whole file.  child: judge it as a child
 * (type 4 and a parent are right), else as a base.
 */
extern void rules_check (const uint8_t *bytes, size_t size, uint64_t length,
                         bool child, struct rules_report *);

/* VirtualBox and QEMU append at the count, and VirtualBox refuses the image
 * for good when that has passed n.  NULL if a writer that appends may add
 * all blocks that are not allocated but one in 16, at most 256 and at
 * least one, before that; else what is wrong, in static memory.  Not the
 * fault of who counted are indexes below high.
 */
extern const char *rules_room_complaint (const struct rules_report *,
                                         uint32_t high);

/* The text of the first finding that is not in allowed; NULL if none. */
extern const char *rules_complaint (const struct rules_report *,
                                    unsigned allowed);

#endif /* RULES_H */
