/* SPDX-License-Identifier: BSD-3-Clause */
/* Contents of sectors, each kept once, and the tags in them: see disk.h. */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "disk.h"
#include "utils/bytes.h"

#define CHUNK 1024              /* contents that are allocated at once */

static struct disk_content **chunks;
static uint32_t nr_contents, nr_chunks;
static uint32_t *table;         /* content + 1, or 0 */
static uint32_t table_size;     /* a power of two */

/* After wyhash: 64x64->128 bit multiplications. */
static uint64_t
fold (uint64_t a, uint64_t b)
{
  __extension__ unsigned __int128 p = (unsigned __int128) a * b;

  return (uint64_t) p ^ (uint64_t) (p >> 64);
}

uint64_t
disk_hash_bytes (const void *bytes, size_t n, uint64_t seed)
{
  const uint8_t *p = bytes;
  uint64_t a = seed ^ UINT64_C (0xa0761d6478bd642f), b = ~seed;
  uint64_t w[4];

  for (; n >= 32; n -= 32, p += 32) {
    memcpy (w, p, 32);
    a = fold (w[0] ^ UINT64_C (0xe7037ed1a0b428db), w[1] ^ a);
    b = fold (w[2] ^ UINT64_C (0x8ebc6af09c88c6e3), w[3] ^ b);
  }
  if (n > 0) {
    memset (w, 0, sizeof w);
    memcpy (w, p, n);
    a = fold (w[0] ^ UINT64_C (0xe7037ed1a0b428db) ^ n, w[1] ^ a);
    b = fold (w[2] ^ UINT64_C (0x8ebc6af09c88c6e3), w[3] ^ b);
  }
  return fold (a ^ UINT64_C (0x589965cc75374cc3), b ^ seed);
}

static uint32_t
checksum (const uint8_t bytes[DISK_SECTOR])
{
  return (uint32_t) disk_hash_bytes (bytes, DISK_SECTOR - 4, 7);
}

/* The whole sector depends on the tag, so that no half of one sector and
 * half of another is taken for a good one.
 */
void
disk_tag_write (uint8_t bytes[DISK_SECTOR], const struct disk_tag *tag)
{
  size_t i;

  memcpy (bytes, "vdi test", 8);
  put_le32 (bytes + 8, tag->image);
  put_le32 (bytes + 12, tag->sequence);
  put_le64 (bytes + 16, tag->sector);
  for (i = 24; i < DISK_SECTOR - 4; i += 4)
    put_le32 (bytes + i, tag->sequence * 0x01000193u +
              (uint32_t) tag->sector * 0x9e3779b1u + tag->image + (uint32_t) i);
  put_le32 (bytes + DISK_SECTOR - 4, checksum (bytes));
}

enum disk_kind
disk_tag_read (const uint8_t bytes[DISK_SECTOR], struct disk_tag *tag)
{
  memset (tag, 0, sizeof *tag);
  if (memcmp (bytes, "vdi test", 8) == 0 &&
      get_le32 (bytes + DISK_SECTOR - 4) == checksum (bytes)) {
    tag->image = get_le32 (bytes + 8);
    tag->sequence = get_le32 (bytes + 12);
    tag->sector = get_le64 (bytes + 16);
    return DISK_KIND_TAG;
  }
  if (memcmp (bytes, bytes + 1, DISK_SECTOR - 1) == 0) {
    if (bytes[0] == 0)
      return DISK_KIND_ZERO;
    if (bytes[0] == DISK_GARBAGE)
      return DISK_KIND_GARBAGE;
  }
  return DISK_KIND_OTHER;
}

static uint32_t
slot_of (const uint8_t bytes[DISK_SECTOR])
{
  uint32_t i;

  i = (uint32_t) disk_hash_bytes (bytes, DISK_SECTOR, 3) & (table_size - 1);
  while (table[i] &&
         memcmp (disk_content (table[i] - 1)->bytes, bytes, DISK_SECTOR) != 0)
    i = (i + 1) & (table_size - 1);
  return i;
}

static void
grow_table (void)
{
  uint32_t i;

  free (table);
  table_size = table_size ? table_size * 2 : 1024;
  table = calloc (table_size, sizeof *table);
  if (table == NULL)
    abort ();
  for (i = 0; i < nr_contents; i++)
    table[slot_of (disk_content (i)->bytes)] = i + 1;
}

static uint32_t
add (const uint8_t bytes[DISK_SECTOR])
{
  struct disk_content *c;
  uint32_t slot;

  if (table_size / 2 <= nr_contents)
    grow_table ();
  slot = slot_of (bytes);
  if (table[slot])
    return table[slot] - 1;

  if (nr_contents == nr_chunks * CHUNK) {
    chunks = realloc (chunks, (nr_chunks + 1) * sizeof *chunks);
    if (chunks == NULL)
      abort ();
    chunks[nr_chunks] = malloc (CHUNK * sizeof **chunks);
    if (chunks[nr_chunks] == NULL)
      abort ();
    nr_chunks++;
  }
  c = &chunks[nr_contents / CHUNK][nr_contents % CHUNK];
  memcpy (c->bytes, bytes, DISK_SECTOR);
  c->kind = disk_tag_read (bytes, &c->tag);
  table[slot] = ++nr_contents;
  return nr_contents - 1;
}

/* The two that have a fixed number. */
static void
add_first (void)
{
  uint8_t bytes[DISK_SECTOR];

  memset (bytes, 0, sizeof bytes);
  add (bytes);
  memset (bytes, DISK_GARBAGE, sizeof bytes);
  add (bytes);
}

uint32_t
disk_intern (const uint8_t bytes[DISK_SECTOR])
{
  if (nr_contents == 0)
    add_first ();
  return add (bytes);
}

const struct disk_content *
disk_content (uint32_t i)
{
  if (nr_contents == 0)
    add_first ();
  return &chunks[i / CHUNK][i % CHUNK];
}

void
disk_contents_reset (void)
{
  while (nr_chunks > 0)
    free (chunks[--nr_chunks]);
  free (chunks);
  free (table);
  chunks = NULL;
  table = NULL;
  nr_contents = table_size = 0;
}
