/* SPDX-License-Identifier: BSD-3-Clause */
/* The rules of VirtualBox and QEMU, see rules.h. */

#include <config.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rules.h"
#include "utils/bytes.h"

#define FREE UINT32_C (0xffffffff)
#define ZERO UINT32_C (0xfffffffe)

struct fields {
  uint32_t version, header_len, type, flags;
  uint64_t map, data;           /* M and D, bytes */
  uint32_t geo1_sector, geo2_sector;
  uint64_t disk_size;
  uint32_t block_size, extra, n, count;
  bool uuid_null, mod_null, parent_null, parent_mod_null;
};

static void __attribute__ ((format (printf, 3, 4)))
find (struct rules_report *r, enum rules_kind kind, const char *fs, ...)
{
  va_list args;

  if (r->found & 1u << kind)
    return;
  r->found |= 1u << kind;
  va_start (args, fs);
  vsnprintf (r->text[kind], sizeof r->text[kind], fs, args);
  va_end (args);
}

static bool
is_null (const uint8_t *uuid)
{
  static const uint8_t null[16];

  return memcmp (uuid, null, 16) == 0;
}

/* 1.2 */
static void
fields_1x (const uint8_t *h, struct fields *f)
{
  f->header_len = get_le32 (h + 0x48);
  f->type = get_le32 (h + 0x4c);
  f->flags = get_le32 (h + 0x50);
  f->map = get_le32 (h + 0x154);
  f->data = get_le32 (h + 0x158);
  f->geo1_sector = get_le32 (h + 0x168);
  f->disk_size = get_le64 (h + 0x170);
  f->block_size = get_le32 (h + 0x178);
  f->extra = get_le32 (h + 0x17c);
  f->n = get_le32 (h + 0x180);
  f->count = get_le32 (h + 0x184);
  f->uuid_null = is_null (h + 0x188);
  f->mod_null = is_null (h + 0x198);
  f->parent_null = is_null (h + 0x1a8);
  f->parent_mod_null = is_null (h + 0x1b8);
  f->geo2_sector = get_le32 (h + 0x1d4);
}

/* 1.3 */
static void
fields_02 (const uint8_t *h, struct fields *f)
{
  f->header_len = 348;
  f->type = get_le32 (h + 0x48);
  f->flags = get_le32 (h + 0x4c);
  f->geo1_sector = get_le32 (h + 0x15c);
  f->disk_size = get_le64 (h + 0x160);
  f->block_size = get_le32 (h + 0x168);
  f->extra = 0;
  f->n = get_le32 (h + 0x16c);
  f->count = get_le32 (h + 0x170);
  f->uuid_null = is_null (h + 0x174);
  f->mod_null = is_null (h + 0x184);
  f->parent_null = is_null (h + 0x194);
  f->parent_mod_null = true;
  f->map = 0x1a4;
  f->data = f->map + UINT64_C (4) * f->n;
  f->geo2_sector = 512;
}

static bool
power_of_two (uint32_t v)
{
  return v > 1 && (v & (v - 1)) == 0;
}

/* 3.1 in its order.  NULL, or why VirtualBox refuses. */
static const char *
vb_refuses (const uint8_t *bytes, uint64_t length, bool child,
            const struct fields *f)
{
  const bool major_1 = f->version >> 16 == 1;
  const uint32_t known_flags = 0xff000301;

  if (length < 72)
    return "file shorter than a pre-header";
  if (get_le32 (bytes + 0x40) != 0xbeda107f)
    return "signature";
  if (!major_1 && f->version != 2)
    return "version";
  if (length < (major_1 ? 72 + 384 : 72 + 348))
    return "file shorter than its header";
  if (major_1 && f->header_len < 384)
    return "header length";
  if (major_1 && f->header_len >= 400 && length < 72 + 400)
    return "file shorter than its header";
  if (major_1 && f->map < 456)
    return "map offset";
  if (major_1 && f->data < f->map + UINT64_C (4) * f->n)
    return "data begins inside the map";
  if (f->type < 1 || f->type > 4)
    return "type";
  if (f->flags & ~known_flags)
    return "flags";
  if (f->version == 0x00010001 && f->header_len >= 400 &&
      f->geo2_sector != 512)
    return "sector size of the logical geometry";
  if (f->disk_size == 0 || f->n == 0 || !power_of_two (f->block_size))
    return "disk size, block size or number of blocks";
  if (f->count > f->n)
    return "count of allocated blocks above the number of blocks";
  if (f->extra != 0 && !power_of_two (f->extra))
    return "block extra";
  if (f->disk_size > (uint64_t) f->n * f->block_size)
    return "blocks do not cover the disk";
  if (f->uuid_null || f->mod_null)
    return "null UUID";
  if (length < f->map + UINT64_C (4) * f->n)
    return "file ends inside the map";
  if (!child && (f->type == 4 || f->flags & 0x200))
    return "a differencing image, opened as a base";
  if (child && f->type == 2)
    return "a fixed image as a child";
  return NULL;
}

/* 3.3 */
static const char *
qemu_refuses (const uint8_t *bytes, uint64_t length, const struct fields *f)
{
  uint64_t rounded;

  if (length < 512)
    return "file shorter than a header";
  if (f->disk_size > UINT64_C (0x1fffff8000000))
    return "disk size";
  rounded = (f->disk_size + 511) / 512 * 512;
  if (get_le32 (bytes + 0x40) != 0xbeda107f)
    return "signature";
  if (f->version != 0x00010001)
    return "version";
  if (f->map % 512 != 0 || f->data % 512 != 0)
    return "alignment of map or data";
  if (f->geo1_sector != 512)
    return "sector size of the legacy geometry";
  if (f->block_size != 1048576)
    return "block size";
  if (rounded > (uint64_t) f->n * f->block_size)
    return "blocks do not cover the disk";
  if (!f->parent_null || !f->parent_mod_null)
    return "it has a parent";
  if (f->n > 0x1fffff80)
    return "number of blocks";
  return NULL;
}

/* 8.2, as far as it is not said elsewhere. */
static void
check_layout (const struct fields *f, bool child, struct rules_report *r)
{
  const uint64_t map_end = f->map + (UINT64_C (4) * f->n + 511) / 512 * 512;

  if (f->version != 0x00010001 || f->header_len != 0x190)
    find (r, RULES_LAYOUT, "version or header length of other times");
  if (f->disk_size % 512 != 0)
    find (r, RULES_LAYOUT, "disk size is not whole sectors");
  if (f->extra != 0)
    find (r, RULES_LAYOUT, "QEMU does not know of block extra %u", f->extra);
  if (f->map < 512 || f->map % 512 != 0 || f->data % 512 != 0 ||
      f->data < map_end)
    find (r, RULES_LAYOUT, "QEMU writes sectors of the map into something");
  if (f->type == 2 && r->entries != f->n)
    find (r, RULES_LAYOUT, "fixed, with %u of %u blocks", r->entries, f->n);
  if (child && f->parent_null)
    find (r, RULES_LAYOUT, "a child without a parent's UUID");
}

static void
check_file (const struct fields *f, uint64_t length, struct rules_report *r)
{
  const uint64_t stride = (uint64_t) f->block_size + f->extra;
  const uint64_t exact = f->data + f->count * stride;

  if (length < exact)
    find (r, RULES_SHORT, "file has %llu bytes, a count of %u needs %llu",
          (unsigned long long) length, f->count, (unsigned long long) exact);
  if (length > exact)
    find (r, RULES_TAIL, "file has %llu bytes, a count of %u makes %llu",
          (unsigned long long) length, f->count, (unsigned long long) exact);
  if (r->highest > 0 && f->data + r->highest * stride > length)
    find (r, RULES_VB_READ, "block %u ends at %llu, the file at %llu",
          r->highest - 1,
          (unsigned long long) (f->data + r->highest * stride),
          (unsigned long long) length);
}

/* seen is a set of n bits, by physical index. */
static void
check_entry (const struct fields *f, uint32_t i, uint32_t entry,
             uint8_t *seen, uint32_t *qemu_counted, struct rules_report *r)
{
  if (entry == FREE || entry == ZERO)
    return;
  r->entries++;
  if (r->highest <= entry)
    r->highest = entry + 1;
  if (entry >= f->count) {
    find (r, RULES_OVERWRITE, "entry %u is %u, the count %u",
          i, entry, f->count);
    find (r, RULES_VB_DISCARD, "entry %u is %u, the count %u",
          i, entry, f->count);
  }
  if (entry >= f->n) {
    find (r, RULES_QEMU_CHECK, "entry %u is %u of %u", i, entry, f->n);
    r->qemu_corruptions++;
    return;
  }
  ++*qemu_counted;
  if (seen[entry / 8] & 1u << entry % 8) {
    find (r, RULES_DOUBLE, "entry %u is %u, as is another", i, entry);
    find (r, RULES_VB_DISCARD, "entry %u is %u, as is another", i, entry);
    find (r, RULES_QEMU_CHECK, "entry %u is %u, as is another", i, entry);
    r->qemu_corruptions++;
  }
  seen[entry / 8] |= 1u << entry % 8;
}

void
rules_check (const uint8_t *bytes, size_t size, uint64_t length,
             bool child, struct rules_report *r)
{
  uint8_t header[512] = { 0 };
  struct fields f = { 0 };
  uint32_t qemu_counted = 0;
  const char *why;
  uint8_t *seen;

  memset (r, 0, sizeof *r);
  if (size > length)
    size = length;
  memcpy (header, bytes, size < sizeof header ? size : sizeof header);

  f.version = get_le32 (header + 0x44);
  if (f.version >> 16 == 0)
    fields_02 (header, &f);
  else
    fields_1x (header, &f);

  why = vb_refuses (header, length, child, &f);
  if (why)
    find (r, RULES_VB_OPEN, "VirtualBox refuses: %s", why);
  /* QEMU takes everything for a 1.x header. */
  if (f.version >> 16 == 0)
    find (r, RULES_QEMU_OPEN, "QEMU refuses: version");
  else if ((why = qemu_refuses (header, length, &f)) != NULL)
    find (r, RULES_QEMU_OPEN, "QEMU refuses: %s", why);

  /* A map as large as it claims to be would be dear to look at; nobody
   * asks for one that does not lie in the file.
   */
  if (f.n > size / 4 + 1024)
    return;
  seen = calloc (f.n / 8 + 1, 1);
  if (seen == NULL)
    abort ();
  r->n = f.n;
  r->count = f.count;
  for (uint32_t i = 0; i < f.n; ++i) {
    uint8_t entry[4] = { 0 };   /* beyond the end of the file (3.3, 13) */

    for (unsigned b = 0; b < 4; ++b)
      if (f.map + UINT64_C (4) * i + b < size)
        entry[b] = bytes[f.map + UINT64_C (4) * i + b];
    check_entry (&f, i, get_le32 (entry), seen, &qemu_counted, r);
  }
  free (seen);

  if (f.count > qemu_counted)
    find (r, RULES_SURPLUS, "count is %u, %u entries", f.count, qemu_counted);
  if (f.count < qemu_counted)
    find (r, RULES_QEMU_CHECK, "count is %u, %u entries",
          f.count, qemu_counted);
  r->qemu_corruptions += f.count != qemu_counted;
  check_file (&f, length, r);
  check_layout (&f, child, r);
}

const char *
rules_complaint (const struct rules_report *r, unsigned allowed)
{
  for (unsigned kind = 0; kind < RULES_KINDS; ++kind)
    if (r->found & ~allowed & 1u << kind)
      return r->text[kind];
  return NULL;
}

const char *
rules_room_complaint (const struct rules_report *r, uint32_t high)
{
  static char text[160];
  const uint32_t unallocated = r->n - r->entries;
  uint32_t bound = unallocated / 16;

  if (bound > 256)
    bound = 256;
  if (bound < 1)
    bound = 1;
  if (r->count <= high || r->n - r->count + bound >= unallocated)
    return NULL;
  snprintf (text, sizeof text, "%u of %u blocks are not allocated, but a "
            "writer that appends at the count %u may add only %u",
            unallocated, r->n, r->count, r->n - r->count);
  return text;
}
