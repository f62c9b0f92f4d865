/* SPDX-License-Identifier: BSD-3-Clause */
/* create.c: children that are larger than their parents.  VirtualBox asks
 * a parent for what lies behind its end and takes the error for its own, so
 * nothing there may be left to the parent.
 */
#include <config.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "disk-in-memory.h"
#include "image/header.h"
#include "utils/bytes.h"

#define KiB UINT64_C (1024)
#define MiB UINT64_C (0x100000)
#define BLOCK (64 * KiB)                /* of the parents */
#define SIZE (9 * BLOCK + 7 * 512)      /* of the parents' disks */
#define NAME "/dir/new.vdi"

static const struct vdi_uuid base_uuid = { { 1 } }, parent_uuid = { { 2 } };
static struct memory base, parent;
static uint8_t content[SIZE];           /* of the parent's disk */

static void
write_both (struct vdi *vdi, uint64_t offset, size_t count, uint8_t c)
{
  write_bytes (vdi, offset, count, c, 0);
  memset (content + offset, c, count);
}

/* Around the end there are data of both, a hole between them and zeros of
 * the parent's own that hide data.
 */
static void
make_parents (void)
{
  struct memory *const both[] = { &parent, &base };
  struct vdi *vdi;

  memory_make_image (&base, &(struct memory_image) {
    .disk_size = SIZE, .block_size = BLOCK, .uuid = &base_uuid });
  vdi = open_writable (&base);
  write_both (vdi, 3, 5 * BLOCK, 'a');
  write_both (vdi, 8 * BLOCK + 100, 1000, 'b');
  write_both (vdi, SIZE - 600, 600, 'c');
  close_checked (vdi);

  memory_make_image (&parent, &(struct memory_image) {
    .disk_size = SIZE, .block_size = 8 * 512, .uuid = &parent_uuid,
    .parent = &base_uuid });
  vdi = open_chain (both, 2);
  OK (vdi_make_writable (vdi, &error));
  write_both (vdi, 4 * BLOCK + 1, 3000, 'd');
  write_both (vdi, 8 * BLOCK + 5000, 5000, 'e');
  OK (vdi_zero (vdi, 4096, 2 * BLOCK, 0, &error));
  memset (content + 2 * BLOCK, 0, 4096);
  close_checked (vdi);
}

static struct vdi *
open_parents (void)
{
  struct memory *const both[] = { &parent, &base };

  return open_chain (both, 2);
}

static int
create (struct memory *mem, struct vdi *disk, uint64_t size,
        uint32_t block_size)
{
  const struct vdi_create_options options = {
    .type = VDI_TYPE_DIFF, .size = size, .block_size = block_size,
  };
  struct storage *st = memory_storage_open (mem, NAME);
  struct vdi_header h;
  int r;

  OK (vdi_header_decode (parent.bytes, VDI_HEADER_SIZE, "parent.vdi", &h,
                         &error));
  memset (&error, 0, sizeof error);
  r = vdi_create_storage (st, &options, &h, disk, &error);
  storage_close (st);
  return r;
}

/* A device has bytes of somebody else's all over it. */
static void
make_device (struct memory *mem)
{
  memory_init (mem, NULL, 0);
  memory_append (mem, 16 * MiB, 0xaa);
  mem->device = true;
}

static void
check_map (const struct memory *mem, uint64_t size, uint32_t block_size)
{
  const uint32_t n = (size + block_size - 1) / block_size;
  const bool straddles = SIZE % block_size != 0;
  struct vdi_header h;

  OK (vdi_header_decode (mem->bytes, VDI_HEADER_SIZE, NAME, &h, &error));
  OK (vdi_header_validate (&h, NAME, mem->size, &error));
  CHECK (h.n_blocks == n && h.n_alloc == straddles);
  if (!mem->device)
    CHECK (mem->size == vdi_length_for (&h, h.n_alloc));
  for (uint32_t i = 0; i < n; i++) {
    const uint32_t entry = get_le32 (mem->bytes + vdi_entry_offset (&h, i));

    if ((i + UINT64_C (1)) * block_size <= SIZE)
      CHECK (entry == VDI_FREE);
    else
      CHECK (entry == (i * (uint64_t) block_size < SIZE ? 0 : VDI_ZERO));
  }
}

/* What the disk shows is what the parent showed, then zeros; also once the
 * child is written to around the end.
 */
static void
check_disk (struct memory *mem, uint64_t size)
{
  struct memory *const all[] = { mem, &parent, &base };
  struct vdi *vdi = open_chain (all, 3);
  uint8_t *want = calloc (1, size), *got = malloc (size);

  CHECK (want != NULL && got != NULL && vdi_size (vdi) == size);
  memcpy (want, content, SIZE);
  OK (vdi_read (vdi, got, size, 0, &error));
  CHECK (memcmp (want, got, size) == 0);

  OK (vdi_make_writable (vdi, &error));
  for (uint64_t pos = SIZE - 700; pos < size; pos += 3 * BLOCK) {
    const uint64_t count = size - pos < 1000 ? size - pos : 1000;

    write_bytes (vdi, pos, count, 'w', 0);
    memset (want + pos, 'w', count);
  }
  OK (vdi_read (vdi, got, size, 0, &error));
  CHECK (memcmp (want, got, size) == 0);
  close_checked (vdi);
  free (want);
  free (got);
}

static void
test_larger (void)
{
  static const struct {
    uint64_t size;
    uint32_t block_size;
  } cases[] = {
    { SIZE + 512, 4096 },               /* ends in the same block */
    { SIZE + 512, 64 * KiB },
    { 10 * BLOCK, 64 * KiB },
    { 10 * BLOCK + 512, 64 * KiB },
    { 2 * MiB, 4096 },
    { 2 * MiB + 512, MiB },
    { 2 * MiB, 8 * MiB },
    { 70 * MiB, 4096 },                 /* more entries than one write */
  };

  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
    for (int how = 0; how < 3; how++) {
      struct vdi *disk = open_parents ();
      struct memory mem;

      if (how == 0)
        memory_init (&mem, NULL, 0);
      else
        make_device (&mem);
      mem.no_zero = how == 2;
      OK (create (&mem, disk, cases[i].size, cases[i].block_size));
      OK (vdi_close (disk, &error));
      check_map (&mem, cases[i].size, cases[i].block_size);
      check_disk (&mem, cases[i].size);
      memory_free (&mem);
    }
}

static bool
looks_valid (const struct memory *mem)
{
  const size_t n = mem->size < VDI_HEADER_SIZE ? mem->size : VDI_HEADER_SIZE;
  struct vdi_header h;
  struct vdi_error ignored;

  return vdi_header_decode (mem->bytes, n, NAME, &h, &ignored) == 0;
}

/* Nobody takes it for an image before all the rest is on the disk. */
static void
test_failures (void)
{
  struct vdi *disk = open_parents ();
  struct memory mem;

  for (unsigned at = 1;; at++) {
    memory_init (&mem, NULL, 0);
    mem.fail_at = at;
    mem.fail_errno = ENOSPC;
    if (create (&mem, disk, 2 * MiB, 64 * KiB) == 0) {
      CHECK (at > 5 && strcmp (mem.log + strlen (mem.log) - 3, "sws") == 0);
      break;
    }
    CHECK (error.err == ENOSPC && strncmp (error.message, NAME, 12) == 0);
    /* Only if nothing but the last sync failed. */
    CHECK (!looks_valid (&mem) ||
           strcmp (mem.log + strlen (mem.log) - 2, "sw") == 0);
    memory_free (&mem);
  }
  memory_free (&mem);
  OK (vdi_close (disk, &error));
}

/* What the parent lacks is never made up for good, not with missing=zero
 * either.
 */
static void
test_missing (bool missing_zero)
{
  struct memory short_base, mem;
  struct storage *storages[2];
  struct vdi_options options;
  struct vdi *disk;

  memory_init (&short_base, base.bytes, base.size - BLOCK);
  vdi_options_init (&options);
  options.missing_zero = missing_zero;
  storages[0] = memory_storage_open (&parent, "parent.vdi");
  storages[1] = memory_storage_open (&short_base, "base.vdi");
  OK (vdi_open_storage (storages, 2, &options, &disk, &error));
  memory_init (&mem, NULL, 0);
  FAILS (create (&mem, disk, 2 * MiB, 64 * KiB), EIO);
  SAYS ("base.vdi: block 9 ");
  SAYS ("not be made larger than its parent");
  CHECK (!looks_valid (&mem));
  memory_free (&mem);

  /* As large as the parent: nothing is copied. */
  memory_init (&mem, NULL, 0);
  OK (create (&mem, disk, SIZE, 64 * KiB));
  memory_free (&mem);
  OK (vdi_close (disk, &error));
  memory_free (&short_base);
}

int
main (void)
{
  make_parents ();
  test_larger ();
  test_failures ();
  test_missing (false);
  test_missing (true);
  memory_free (&parent);
  memory_free (&base);
  return 0;
}
