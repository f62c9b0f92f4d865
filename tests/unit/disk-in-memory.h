/* SPDX-License-Identifier: BSD-3-Clause */
/* What tests of the core over memory storages begin with. */
#ifndef VDI_DISK_IN_MEMORY_H
#define VDI_DISK_IN_MEMORY_H

#include <string.h>

#include "memory-storage.h"
#include "test.h"
#include "vdi.h"

/* Fails the test with the error's message. */
#define OK(call)                                                \
  do {                                                          \
    if ((call) == -1) {                                         \
      fprintf (stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__,   \
               #call, error.message);                           \
      exit (1);                                                 \
    }                                                           \
  } while (0)

/* The call fails with this errno. */
#define FAILS(call, errnum)                                     \
  do {                                                          \
    CHECK ((call) == -1);                                       \
    if (error.err != (errnum)) {                                \
      fprintf (stderr, "%s:%d: %s: error %d, not " #errnum      \
               ": %s\n", __FILE__, __LINE__, #call,             \
               error.err, error.message);                       \
      exit (1);                                                 \
    }                                                           \
  } while (0)

/* The last error's message contains this. */
#define SAYS(text)                                              \
  do {                                                          \
    if (strstr (error.message, (text)) == NULL) {               \
      fprintf (stderr, "%s:%d: no \"%s\" in: %s\n", __FILE__,   \
               __LINE__, (text), error.message);                \
      exit (1);                                                 \
    }                                                           \
  } while (0)

static struct vdi_error error;

/* Make an image with all values as VirtualBox writes them, but for block
 * size, extra and where map and data begin (right behind each other).
 * The map is all free.  parent may be NULL.
 */
struct memory_image {
  uint64_t disk_size;
  uint32_t block_size, block_extra;
  const struct vdi_uuid *uuid, *parent, *parent_mod;
};

extern void memory_make_image (struct memory *, const struct memory_image *);

/* Make the file longer, with bytes c. */
extern void memory_append (struct memory *, uint64_t count, uint8_t c);

/* Map entries and the header's count, as they are in the bytes now. */
extern uint32_t memory_entry (const struct memory *, uint32_t block);
extern void memory_set_entry (struct memory *, uint32_t block, uint32_t);
extern uint32_t memory_count (const struct memory *);
extern void memory_set_count (struct memory *, uint32_t);

/* Let the call fail that comes after so many more: 1 is the next one. */
static inline void
memory_fail (struct memory *m, unsigned which, int err)
{
  m->fail_at = m->calls + which;
  m->fail_errno = err;
}

/* Open a chain, the image itself first. */
static inline struct vdi *
open_chain (struct memory *const *levels, size_t nr)
{
  static const char *const names[] = { "disk.vdi", "parent.vdi", "base.vdi",
                                       "l3.vdi", "l4.vdi" };
  struct storage *storages[5];
  struct vdi_options options;
  struct vdi *vdi;

  vdi_options_init (&options);
  options.ticker = false;
  for (size_t i = 0; i < nr; i++)
    storages[i] = memory_storage_open (levels[i], names[i]);
  OK (vdi_open_storage (storages, nr, &options, &vdi, &error));
  return vdi;
}

static inline struct vdi *
open_writable (struct memory *m)
{
  struct vdi *vdi = open_chain (&m, 1);

  OK (vdi_make_writable (vdi, &error));
  return vdi;
}

static inline void
close_checked (struct vdi *vdi)
{
  OK (vdi_check_invariants (vdi, &error));
  OK (vdi_close (vdi, &error));
}

/* All bytes of the range are c. */
static inline void
check_bytes (struct vdi *vdi, uint64_t offset, size_t count, uint8_t c)
{
  uint8_t *buf = malloc (count);

  CHECK (buf != NULL);
  OK (vdi_read (vdi, buf, count, offset, &error));
  for (size_t i = 0; i < count; i++) {
    if (buf[i] != c) {
      fprintf (stderr, "byte %zu of %zu at %llu is %02x, not %02x\n", i,
               count, (unsigned long long) offset, buf[i], c);
      exit (1);
    }
  }
  free (buf);
}

static inline void
write_bytes (struct vdi *vdi, uint64_t offset, size_t count, uint8_t c,
             unsigned flags)
{
  uint8_t *buf = malloc (count);

  CHECK (buf != NULL);
  memset (buf, c, count);
  OK (vdi_write (vdi, buf, count, offset, flags, &error));
  free (buf);
}

#endif /* VDI_DISK_IN_MEMORY_H */
