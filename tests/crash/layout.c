/* SPDX-License-Identifier: BSD-3-Clause */
/* Images on simulated disks, see layout.h. */

#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "image-file.h"
#include "image/header.h"
#include "layout.h"
#include "utils/bytes.h"

static struct vdi_uuid
uuid_of (uint32_t number)
{
  struct vdi_uuid r = { { 0 } };

  put_le32 (r.bytes, number);
  r.bytes[7] = 0x40;
  r.bytes[8] = 0x80;
  return r;
}

static uint64_t
block_offset (const struct layout *l, uint32_t index)
{
  return l->data_off + index * ((uint64_t) l->block_size + l->extra) +
    l->extra;
}

uint64_t
layout_full (const struct layout *l)
{
  return block_offset (l, l->n_blocks) - l->extra;
}

static void
build_header (const struct layout *l, struct disk *d, uint32_t count)
{
  struct vdi_header h = {
    .major = 1, .minor = 1, .header_len = 0x190,
    .type = l->child ? VDI_TYPE_DIFF
      : l->filled == 8 ? VDI_TYPE_FIXED : VDI_TYPE_DYNAMIC,
    .map_off = l->map_off, .data_off = l->data_off,
    .sector_size = 512, .lchs_sector_size = 512,
    .disk_size = l->sectors * 512,
    .block_size = l->block_size, .block_extra = l->extra,
    .n_blocks = l->n_blocks, .n_alloc = count,
    .uuid_image = uuid_of (l->number), .uuid_mod = uuid_of (1000 + l->number),
  };
  uint8_t bytes[VDI_HEADER_SIZE];

  if (l->child) {
    h.uuid_parent = uuid_of (l->parent);
    h.uuid_parent_mod = uuid_of (1000 + l->parent);
  }
  vdi_header_encode (&h, bytes);
  disk_put (d, bytes, sizeof bytes, 0);
}

/* Write a block whose sectors say so; owner is its number on the guest's
 * disk, or nobody's.
 */
static void
build_block (const struct layout *l, struct disk *d, struct guest *o,
             uint32_t index, uint32_t owner, uint32_t *values,
             uint64_t sectors, struct rng *rng)
{
  const uint32_t per_block = l->block_size / 512;
  const uint32_t sequence = guest_sequence (o);
  uint8_t bytes[512];

  for (uint32_t i = 0; i < per_block; ++i) {
    const uint64_t sector = (uint64_t) owner * per_block + i;
    const bool tagged = rng_below (rng, 8) != 0;

    if (tagged)
      guest_fill (o, sequence, sector, 1, bytes);
    else
      memset (bytes, 0, sizeof bytes);
    disk_put (d, bytes, sizeof bytes, block_offset (l, index) + 512 * i);
    if (owner < l->n_blocks && sector < l->sectors && sector < sectors)
      values[sector] = tagged ? sequence : GUEST_ZERO;
  }
}

/* Which physical index each block gets, and what is left to nobody. */
static uint32_t
choose_map (const struct layout *l, uint32_t *map, bool *leaked,
            struct rng *rng)
{
  uint32_t count = 0;

  for (uint32_t b = 0; b < l->n_blocks; ++b) {
    map[b] = VDI_FREE;
    if (rng_below (rng, 8) < l->filled) {
      if (l->leaks && count + 1 < l->n_blocks - b && rng_below (rng, 3) == 0)
        leaked[count++] = true;
      map[b] = count++;
    }
    else if (l->zeros && rng_below (rng, 3) == 0)
      map[b] = VDI_ZERO;
  }
  for (uint32_t b = 0; l->shuffled && b < l->n_blocks; ++b) {
    const uint32_t other = rng_below (rng, l->n_blocks);

    if (map[b] < VDI_ZERO && map[other] < VDI_ZERO) {
      const uint32_t t = map[b];

      map[b] = map[other];
      map[other] = t;
    }
  }
  return count;
}

void
layout_build (const struct layout *l, struct disk *d, struct guest *o,
              uint32_t *values, uint64_t sectors, struct rng *rng)
{
  uint32_t *map = calloc (l->n_blocks, sizeof *map);
  bool *leaked = calloc (l->n_blocks + 1, sizeof *leaked);
  uint8_t *bytes = malloc (l->n_blocks * 4);
  const uint32_t per_block = l->block_size / 512;
  uint32_t count;

  if (map == NULL || leaked == NULL || bytes == NULL)
    abort ();
  count = choose_map (l, map, leaked, rng);
  if (disk_get_config (d)->mode != DISK_DEVICE)
    disk_put_size (d, block_offset (l, count) - l->extra);
  build_header (l, d, count);
  for (uint32_t b = 0; b < l->n_blocks; ++b) {
    put_le32 (bytes + 4 * b, map[b]);
    if (map[b] < VDI_ZERO)
      build_block (l, d, o, map[b], b, values, sectors, rng);
    else if (map[b] == VDI_ZERO)
      for (uint32_t i = 0; i < per_block; ++i)
        if ((uint64_t) b * per_block + i < l->sectors &&
            (uint64_t) b * per_block + i < sectors)
          values[(uint64_t) b * per_block + i] = GUEST_ZERO;
  }
  for (uint32_t i = 0; i < count; ++i)
    if (leaked[i])
      build_block (l, d, o, i, l->n_blocks + i, values, sectors, rng);
  disk_put (d, bytes, 4 * l->n_blocks, l->map_off);
  /* Behind its end there are zeros, even where its parent goes on. */
  for (uint64_t s = l->sectors; s < sectors; ++s)
    values[s] = GUEST_ZERO;
  free (map);
  free (leaked);
  free (bytes);
}

static uint32_t
value_at (const struct disk *d, const struct guest *o, uint64_t offset,
          uint64_t sector)
{
  size_t n;
  const struct disk_version *v;

  /* What a file does not have, nobody reads as zeros. */
  if (offset + 512 > disk_size (d))
    return GUEST_FOREIGN;
  v = disk_versions (d, offset / 512, &n);
  if (v[n - 1].content == DISK_CONTENT_ZERO)
    return GUEST_ZERO;
  return guest_value_of (o, disk_content (v[n - 1].content), sector);
}

bool
layout_view (const struct layout *l, const struct disk *d,
             const struct guest *o, uint32_t *values, char why[100])
{
  const uint32_t per_block = l->block_size / 512;

  for (uint32_t b = 0; b < l->n_blocks; ++b) {
    const uint64_t first = (uint64_t) b * per_block;
    uint8_t bytes[4];
    uint32_t entry;

    disk_get (d, bytes, 4, l->map_off + 4 * b);
    entry = get_le32 (bytes);
    if (entry == VDI_FREE)
      continue;
    if (entry != VDI_ZERO &&
        (entry >= l->n_blocks ||
         block_offset (l, entry) + l->block_size > disk_size (d))) {
      snprintf (why, 100, "entry %u is %u, outside of the file", b, entry);
      return false;
    }
    for (uint32_t i = 0; i < per_block && first + i < l->sectors; ++i)
      values[first + i] = entry == VDI_ZERO ? GUEST_ZERO
        : value_at (d, o, block_offset (l, entry) + 512 * i, first + i);
  }
  return true;
}

/* Header and map, for whoever looks at nothing else. */
static uint8_t *
head_of (const struct layout *l, const struct disk *d, size_t *size)
{
  uint8_t *bytes = calloc (1, l->data_off);

  if (bytes == NULL)
    abort ();
  *size = disk_size (d) < l->data_off ? disk_size (d) : l->data_off;
  if (*size > 512) {
    /* Between the header and a map at 1 MiB there is nothing. */
    const uint64_t map_size = 4 * l->n_blocks;

    disk_get (d, bytes, 512, 0);
    if (l->map_off + map_size <= *size)
      disk_get (d, bytes + l->map_off, map_size, l->map_off);
    else
      disk_get (d, bytes, *size, 0);
  }
  return bytes;
}

void
layout_rules (const struct layout *l, const struct disk *d,
              struct rules_report *r)
{
  size_t size;
  uint8_t *bytes = head_of (l, d, &size);

  rules_check (bytes, size, disk_size (d), l->child, r);
  free (bytes);
}

int
layout_qemu_check (const struct layout *l, const struct disk *d,
                   struct peer *peer, unsigned *corruptions,
                   const char **output)
{
  const int fd = memfd_create ("image", MFD_CLOEXEC);
  size_t size;
  uint8_t *bytes = head_of (l, d, &size);
  char path[64];
  int r;

  put_le64 (bytes + 0x170, (uint64_t) l->n_blocks << 20);
  put_le32 (bytes + 0x178, 1u << 20);
  memset (bytes + 0x1a8, 0, 32);
  if (fd == -1 || image_file_write (fd, bytes, size, 0) == -1 ||
      ftruncate (fd, disk_size (d)) == -1)
    abort ();
  image_file_path (fd, path, sizeof path);
  r = peer_check (peer, path, corruptions, output);
  free (bytes);
  close (fd);
  return r;
}

static void
write_all (const struct disk *d, int fd)
{
  const uint64_t sectors = disk_size (d) / 512;

  if (ftruncate (fd, disk_size (d)) == -1)
    abort ();
  for (uint64_t s = 0; s < sectors; ++s) {
    size_t n;
    const struct disk_version *v = disk_versions (d, s, &n);

    if (v[n - 1].content != DISK_CONTENT_ZERO &&
        pwrite (fd, disk_content (v[n - 1].content)->bytes, 512, s * 512)
          != 512)
      abort ();
  }
}

#define QEMU_PATTERN 90

/* Read all of an image in a memfd with QEMU and compare; from sector skip
 * on is what QEMU wrote, and the rest of that block is not looked at.
 */
static int
compare_with_qemu (const struct layout *l, int image, const struct guest *o,
                   struct peer *peer, const uint32_t *values, uint64_t skip,
                   uint64_t *sector, const char **output)
{
  const int raw = memfd_create ("raw", MFD_CLOEXEC);
  char path[64], raw_path[64];
  uint8_t bytes[512];
  int r = 0;

  if (raw == -1)
    abort ();
  image_file_path (image, path, sizeof path);
  image_file_path (raw, raw_path, sizeof raw_path);
  *sector = 0;
  if (peer_run (peer, output, "qemu-img", "convert", "-f", "vdi", "-O", "raw",
                path, raw_path, NULL) != 0)
    r = -1;
  for (uint64_t s = 0; r == 0 && s < l->sectors; ++s) {
    if (s > skip && s < skip + l->block_size / 512)
      continue;
    if (s == skip && pread (raw, bytes, 512, s * 512) == 512 &&
        bytes[0] == QEMU_PATTERN && bytes[511] == QEMU_PATTERN)
      continue;
    if (pread (raw, bytes, 512, s * 512) != 512 ||
        guest_value (o, bytes, s) != values[s]) {
      *sector = s;
      *output = "other data";
      r = -1;
    }
  }
  close (raw);
  return r;
}

int
layout_qemu_read (const struct layout *l, const struct disk *d,
                  const struct guest *o, struct peer *peer,
                  const uint32_t *values, uint64_t *sector,
                  const char **output)
{
  const int image = memfd_create ("image", MFD_CLOEXEC);
  int r;

  if (image == -1)
    abort ();
  write_all (d, image);
  r = compare_with_qemu (l, image, o, peer, values, l->sectors, sector,
                         output);
  close (image);
  return r;
}

static bool
free_block (const struct layout *l, const struct disk *d, uint32_t *block)
{
  for (*block = 0; *block < l->n_blocks; ++*block) {
    uint8_t bytes[4];

    disk_get (d, bytes, 4, l->map_off + 4 * *block);
    if (get_le32 (bytes) >= VDI_ZERO &&
        (*block + UINT64_C (1)) * l->block_size <= l->sectors * 512)
      return true;
  }
  return false;
}

int
layout_qemu_write (const struct layout *l, const struct disk *d,
                   const struct guest *o, struct peer *peer,
                   const uint32_t *values, uint64_t *sector,
                   const char **output)
{
  const uint64_t per_block = l->block_size / 512;
  struct rules_report report;
  uint8_t *bytes = malloc (l->data_off);
  char path[64], command[64];
  uint32_t block;
  int image, r = 0;

  *sector = 0;
  if (!free_block (l, d, &block)) {
    free (bytes);
    return 0;
  }
  image = memfd_create ("image", MFD_CLOEXEC);
  if (image == -1 || bytes == NULL)
    abort ();
  write_all (d, image);
  image_file_path (image, path, sizeof path);
  snprintf (command, sizeof command, "write -P %u %llu 4096",
            QEMU_PATTERN, (unsigned long long) block * l->block_size);
  if (peer_run (peer, output, "qemu-io", "-f", "vdi", "-c", command, path,
                NULL) != 0)
    r = -1;
  else if (pread (image, bytes, l->data_off, 0) != (ssize_t) l->data_off)
    abort ();
  else {
    rules_check (bytes, l->data_off, lseek (image, 0, SEEK_END), false,
                 &report);
    if (report.found & RULES_BIT (DOUBLE)) {
      *output = "a block is named twice";
      r = -1;
    }
    else
      r = compare_with_qemu (l, image, o, peer, values, block * per_block,
                             sector, output);
  }
  free (bytes);
  close (image);
  return r;
}
