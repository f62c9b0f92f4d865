/* SPDX-License-Identifier: BSD-3-Clause */
/* A child over its parents: common/disk/disk.c, chain.c, allocate.c. */
#include <config.h>

#include <errno.h>

#include "disk-in-memory.h"

#define K 1024

static struct vdi_uuid
uuid (uint8_t i)
{
  return (struct vdi_uuid) { .bytes = { i, 7, 7, 7, 7, 7, 7, 0x47, 0x87 } };
}

/* Image i of a chain, over image i - 1 unless that is 0. */
static void
make (struct memory *m, uint8_t i, uint64_t size, uint32_t block_size,
      uint32_t extra)
{
  const struct vdi_uuid self = uuid (i), parent = uuid (i - 1);
  const struct memory_image image = {
    .disk_size = size, .block_size = block_size, .block_extra = extra,
    .uuid = &self, .parent = i > 1 ? &parent : NULL,
  };

  memory_make_image (m, &image);
}

static struct vdi *
open_writable_chain (struct memory *const *levels, size_t nr)
{
  struct vdi *vdi = open_chain (levels, nr);

  OK (vdi_make_writable (vdi, &error));
  return vdi;
}

/* Three levels of different block sizes and disk sizes. */
static void
test_three_levels (void)
{
  struct memory base, mid, top;
  struct memory *levels[] = { &top, &mid, &base };
  struct memory *lower[] = { &mid, &base };
  struct vdi *vdi;
  unsigned base_calls;

  make (&base, 1, 64 * K, 4 * K, 0);
  make (&mid, 2, 96 * K, 16 * K, 512);
  make (&top, 3, 80 * K, 8 * K, 0);

  vdi = open_writable (&base);
  write_bytes (vdi, 0, 64 * K, 'b', 0);
  close_checked (vdi);
  base_calls = base.calls;

  vdi = open_writable_chain (lower, 2);
  CHECK (vdi_size (vdi) == 96 * K);
  check_bytes (vdi, 0, 64 * K, 'b');
  check_bytes (vdi, 64 * K, 32 * K, 0);
  write_bytes (vdi, 17 * K, 1 * K, 'm', 0);
  CHECK (memory_entry (&mid, 1) == VDI_FREE);   /* deferred */
  write_bytes (vdi, 60 * K, 8 * K, 'm', 0);     /* across the base's end */
  check_bytes (vdi, 16 * K, 1 * K, 'b');
  check_bytes (vdi, 17 * K, 1 * K, 'm');
  check_bytes (vdi, 18 * K, 42 * K, 'b');
  check_bytes (vdi, 60 * K, 8 * K, 'm');
  check_bytes (vdi, 68 * K, 28 * K, 0);
  close_checked (vdi);
  CHECK (memory_entry (&mid, 1) == 0);

  vdi = open_writable_chain (levels, 3);
  CHECK (vdi_size (vdi) == 80 * K);
  check_bytes (vdi, 17 * K, 1 * K, 'm');
  write_bytes (vdi, 1, 1, 't', 0);
  write_bytes (vdi, 15 * K, 3 * K, 't', 0);
  close_checked (vdi);
  vdi = open_chain (levels, 3);
  check_bytes (vdi, 0, 1, 'b');
  check_bytes (vdi, 1, 1, 't');
  check_bytes (vdi, 2, 15 * K - 2, 'b');
  check_bytes (vdi, 15 * K, 3 * K, 't');
  check_bytes (vdi, 18 * K, 42 * K, 'b');
  check_bytes (vdi, 60 * K, 8 * K, 'm');
  OK (vdi_close (vdi, &error));

  CHECK (base.calls == base_calls);     /* parents are never written to */
  memory_free (&base);
  memory_free (&mid);
  memory_free (&top);
}

/* VirtualBox forgets it (vdi-format.md, pitfall 4): we must not. */
static void
test_zero_hides_the_parent (void)
{
  struct memory base, top;
  struct memory *levels[] = { &top, &base };
  struct vdi *vdi;

  make (&base, 1, 30 * K, 4 * K, 0);
  make (&top, 2, 30 * K, 4 * K, 0);
  vdi = open_writable (&base);
  write_bytes (vdi, 0, 30 * K, 'b', 0);
  close_checked (vdi);

  vdi = open_writable_chain (levels, 2);
  OK (vdi_zero (vdi, 4 * K, 4 * K, VDI_FAST, &error));
  OK (vdi_zero (vdi, 2 * K, 28 * K, 0, &error)); /* the last, all of it */
  OK (vdi_zero (vdi, 1 * K, 9 * K, 0, &error));
  FAILS (vdi_zero (vdi, 1 * K, 13 * K, VDI_FAST, &error), ENOTSUP);
  FAILS (vdi_zero (vdi, 9 * K, 16 * K, VDI_FAST, &error), ENOTSUP);
  OK (vdi_trim (vdi, 4 * K, 16 * K, 0, &error)); /* nothing to trim */
  CHECK (memory_entry (&top, 1) == VDI_FREE);    /* deferred */
  OK (vdi_flush (vdi, &error));
  CHECK (memory_entry (&top, 1) == VDI_ZERO);
  CHECK (memory_entry (&top, 7) == VDI_ZERO);
  CHECK (memory_entry (&top, 2) == 0);
  CHECK (memory_entry (&top, 4) == VDI_FREE);
  close_checked (vdi);

  vdi = open_writable_chain (levels, 2);
  check_bytes (vdi, 0, 4 * K, 'b');
  check_bytes (vdi, 4 * K, 4 * K, 0);
  check_bytes (vdi, 8 * K, 1 * K, 'b');
  check_bytes (vdi, 9 * K, 1 * K, 0);
  check_bytes (vdi, 10 * K, 18 * K, 'b');
  check_bytes (vdi, 28 * K, 2 * K, 0);
  write_bytes (vdi, 5 * K, 1, 't', 0);           /* into ZERO: zeros around */
  check_bytes (vdi, 4 * K, 1 * K, 0);
  check_bytes (vdi, 5 * K + 1, 3 * K - 1, 0);
  OK (vdi_trim (vdi, 1 * K, 8 * K, 0, &error));  /* stored here: zeros */
  check_bytes (vdi, 8 * K, 2 * K, 0);
  close_checked (vdi);
  memory_free (&base);
  memory_free (&top);
}

/* Zeros invented by missing=zero must never become real. */
static void
test_missing_is_not_copied_up (void)
{
  struct memory base, top;
  struct vdi *vdi;
  struct vdi_options options;
  struct storage *storages[2];
  uint8_t buf[100] = { 0 };

  make (&base, 1, 32 * K, 4 * K, 0);
  make (&top, 2, 32 * K, 4 * K, 0);
  memory_set_entry (&base, 3, 5);
  vdi_options_init (&options);
  options.ticker = false;
  options.missing_zero = true;
  storages[0] = memory_storage_open (&top, "top.vdi");
  storages[1] = memory_storage_open (&base, "base.vdi");
  OK (vdi_open_storage (storages, 2, &options, &vdi, &error));
  OK (vdi_make_writable (vdi, &error));
  check_bytes (vdi, 12 * K, 4 * K, 0);
  FAILS (vdi_write (vdi, buf, sizeof buf, 13 * K, 0, &error), EIO);
  SAYS ("base.vdi");
  write_bytes (vdi, 12 * K, 4 * K, 'x', 0);     /* all of it: fine */
  check_bytes (vdi, 12 * K, 4 * K, 'x');
  close_checked (vdi);
  memory_free (&base);
  memory_free (&top);
}

static void
check_refused (struct memory *const *levels, size_t nr, const char *words)
{
  struct storage *storages[4];
  struct vdi_options options;
  struct vdi *vdi;

  vdi_options_init (&options);
  for (size_t i = 0; i < nr; i++)
    storages[i] = memory_storage_open (levels[i], i ? "p.vdi" : "c.vdi");
  CHECK (vdi_open_storage (storages, nr, &options, &vdi, &error) == -1);
  SAYS (words);
  for (size_t i = 0; i < nr; i++)
    storage_close (storages[i]);        /* still ours */
}

static void
test_wrong_links (void)
{
  struct memory base, mid, top, loop;
  struct memory *gap[] = { &top, &base };
  struct memory *alone[] = { &mid };
  struct memory *many[] = { &mid, &base, &base };
  struct memory *cycle[] = { &top, &mid, &loop, &top };
  struct memory *self[] = { &loop, &loop };
  const struct vdi_uuid one = uuid (1), three = uuid (3);
  const struct memory_image looping = {
    .disk_size = 4096, .block_size = 4096, .uuid = &one, .parent = &three,
  };
  const struct memory_image selfish = {
    .disk_size = 4096, .block_size = 4096, .uuid = &one, .parent = &one,
  };

  make (&base, 1, 4096, 4096, 0);
  make (&mid, 2, 4096, 4096, 0);
  make (&top, 3, 4096, 4096, 0);
  memory_make_image (&loop, &looping);
  check_refused (gap, 2, "is not the parent of");
  check_refused (alone, 1, "parent is missing");
  check_refused (many, 3, "has no parent");
  check_refused (cycle, 4, "one of its own children");
  memory_free (&loop);
  memory_make_image (&loop, &selfish);
  check_refused (self, 2, "the image itself");
  memory_free (&base);
  memory_free (&mid);
  memory_free (&top);
  memory_free (&loop);
}

static void
remember (void *opaque, const char *message)
{
  snprintf (opaque, VDI_ERROR_MAX, "%s", message);
}

static void
test_changed_parent_is_a_warning (void)
{
  struct memory base, top;
  struct storage *storages[2];
  struct vdi_options options;
  struct vdi *vdi;
  char warning[VDI_ERROR_MAX] = "";

  make (&base, 1, 4096, 4096, 0);
  make (&top, 2, 4096, 4096, 0);
  vdi_options_init (&options);
  options.listener.warn = remember;
  options.listener.opaque = warning;
  storages[0] = memory_storage_open (&top, "top.vdi");
  storages[1] = memory_storage_open (&base, "base.vdi");
  OK (vdi_open_storage (storages, 2, &options, &vdi, &error));
  CHECK (strstr (warning, "base.vdi was changed") != NULL);
  OK (vdi_close (vdi, &error));
  memory_free (&base);
  memory_free (&top);
}

int
main (void)
{
  test_three_levels ();
  test_zero_hides_the_parent ();
  test_missing_is_not_copied_up ();
  test_wrong_links ();
  test_changed_parent_is_a_warning ();
  return 0;
}
