/* SPDX-License-Identifier: BSD-3-Clause */
/* One image that may be wrong in any way: see hostile.h. */
#include <config.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "hostile.h"
#include "image/header.h"
#include "memory-storage.h"
#include "test.h"
#include "utils/bytes.h"
#include "utils/checked.h"
#include "vdi.h"

#define BLOCK UINT64_C (4096)           /* of the images before they were */
#define BLOCKS 8u                       /* made wrong */
#define SECTOR UINT64_C (512)
#define WHOLE_DISK (UINT64_C (2) << 20) /* disks that are read as a whole */

#define ARRAY_SIZE(a) (sizeof (a) / sizeof ((a)[0]))

/*------------------------------------------------------------------*/
/* What must be read */

struct model {
  struct vdi_header h;
  const uint8_t *bytes;
  uint64_t size;
};

/* One sector of the disk: 0, or -1 if the file, or its map, lacks all or part
 * of it, for which there are zeros then, as QEMU has it.
 */
static int
model_read (const struct model *m, unsigned depth, uint64_t pos,
            uint8_t out[SECTOR])
{
  uint64_t offset;
  uint32_t entry;

  memset (out, 0, SECTOR);
  if (depth == 0 || pos >= (m->h.disk_size + 511) / 512 * 512)
    return 0;
  if (pos / m->h.block_size >= m->h.n_blocks)
    return -1;
  entry = get_le32 (m->bytes + m->h.map_off +
                    4 * (pos / m->h.block_size));
  if (entry == 0xffffffff)
    return model_read (m + 1, depth - 1, pos, out);
  if (entry == 0xfffffffe)
    return 0;
  offset = m->h.data_off +
           entry * ((uint64_t) m->h.block_size + m->h.block_extra) +
           m->h.block_extra + pos % m->h.block_size;
  if (offset + SECTOR <= m->size) {
    memcpy (out, m->bytes + offset, SECTOR);
    return 0;
  }
  if (offset < m->size)
    memcpy (out, m->bytes + offset, m->size - offset);
  return -1;
}

/*------------------------------------------------------------------*/

static void
warn (void *opaque, const char *message)
{
  (void) opaque;
  CHECK (message[0] != '\0' && strchr (message, '\n') == NULL);
}

struct session {
  struct memory *mem;           /* nr of them */
  unsigned nr;
  struct vdi *vdi;
  struct vdi_info info;
  struct model model[2];
};

/* False if it was refused. */
static bool
open_disk (struct session *s, bool missing_zero, struct vdi_error *error)
{
  static const char *const names[] = { "/vm/image.vdi", "/vm/parent.vdi" };
  struct storage *storages[2];
  struct vdi_options options;
  unsigned i;

  vdi_options_init (&options);
  options.ticker = false;
  options.missing_zero = missing_zero;
  options.listener.warn = warn;
  for (i = 0; i < s->nr; ++i)
    storages[i] = memory_storage_open (&s->mem[i], names[i]);
  memset (error, 0, sizeof *error);
  if (vdi_open_storage (storages, s->nr, &options, &s->vdi, error) == -1) {
    for (i = 0; i < s->nr; ++i)
      storage_close (storages[i]);
    return false;
  }
  CHECK (error->err == 0);
  vdi_get_info (s->vdi, &s->info);
  CHECK (s->info.depth >= 1 && s->info.depth <= s->nr);
  for (i = 0; i < s->info.depth; ++i) {
    const struct memory *mem = &s->mem[i];
    struct model *m = &s->model[i];

    CHECK (vdi_header_decode (mem->bytes, mem->size < 512 ? mem->size : 512,
                              names[i], &m->h, error) == 0);
    CHECK (vdi_header_validate (&m->h, names[i], mem->size, error) == 0);
    m->bytes = mem->bytes;
    m->size = mem->size;
  }
  return true;
}

static unsigned
changes (const struct session *s)
{
  return s->mem[0].changes + (s->nr > 1 ? s->mem[1].changes : 0);
}

static void
check_sector (struct session *s, uint64_t pos, bool missing_zero)
{
  uint8_t wanted[SECTOR], got[SECTOR];
  struct vdi_error error;
  int r;

  r = model_read (s->model, s->info.depth, pos, wanted);
  memset (got, 0x33, sizeof got);
  if (r == -1 && !missing_zero) {
    CHECK (vdi_read (s->vdi, got, SECTOR, pos, &error) == -1);
    CHECK (error.err == EIO);
    CHECK (strncmp (error.message, "/vm/", 4) == 0);
    return;
  }
  CHECK (vdi_read (s->vdi, got, SECTOR, pos, &error) == 0);
  CHECK (memcmp (wanted, got, SECTOR) == 0);
}

/* All of a small disk; of a large one what is around the edges of its
 * first and last blocks.
 */
static void
check_content (struct session *s, bool missing_zero)
{
  const uint64_t size = vdi_size (s->vdi);
  uint64_t pos, block;

  CHECK (size % SECTOR == 0);
  if (size <= WHOLE_DISK) {
    for (pos = 0; pos < size; pos += SECTOR)
      check_sector (s, pos, missing_zero);
    return;
  }
  for (block = 0; block <= BLOCKS; ++block) {
    pos = block * s->info.block_size;
    if (pos >= SECTOR && pos < size) {
      check_sector (s, pos - SECTOR, missing_zero);
      check_sector (s, pos, missing_zero);
    }
  }
  check_sector (s, 0, missing_zero);
  check_sector (s, size - SECTOR, missing_zero);
}

/* As one request, unaligned, and the extents: these may say less than is
 * known of what cannot be read, but never that it is zero.
 */
struct walk {
  struct session *s;
  uint64_t next;
};

static int
check_extent (void *opaque, uint64_t offset, uint64_t length, unsigned type)
{
  struct walk *w = opaque;
  uint8_t sector[SECTOR];
  uint64_t pos;
  unsigned i;

  CHECK (length > 0 && offset == w->next);
  CHECK ((type & ~(VDI_EXTENT_HOLE | VDI_EXTENT_ZERO)) == 0);
  w->next += length;
  CHECK (w->next <= vdi_size (w->s->vdi));
  if ((type & VDI_EXTENT_ZERO) == 0 || vdi_size (w->s->vdi) > WHOLE_DISK)
    return 0;
  for (pos = offset / SECTOR * SECTOR; pos < w->next; pos += SECTOR) {
    CHECK (model_read (w->s->model, w->s->info.depth, pos, sector) == 0);
    for (i = 0; i < SECTOR; ++i)
      CHECK (sector[i] == 0 || pos + i < offset || pos + i >= w->next);
  }
  return 0;
}

static void
check_requests (struct session *s)
{
  const uint64_t size = vdi_size (s->vdi);
  struct walk w = { .s = s };
  struct vdi_error error;
  bool missing = false;
  uint8_t *all, sector[SECTOR];
  uint64_t pos;

  CHECK (vdi_extents (s->vdi, size, 0, false, check_extent, &w, &error) == 0);
  CHECK (w.next == size);
  CHECK (vdi_cache (s->vdi, size, 0, &error) == 0);
  if (size < 3 || size > WHOLE_DISK)
    return;

  all = malloc (size);
  CHECK (all != NULL);
  if (vdi_read (s->vdi, all, size - 3, 1, &error) == -1) {
    CHECK (error.err == EIO);
    missing = true;
  }
  for (pos = 0; pos < size; pos += SECTOR) {
    if (model_read (s->model, s->info.depth, pos, sector) == -1) {
      CHECK (missing);
      free (all);
      return;
    }
    if (!missing && pos > 0 && pos + SECTOR < size)
      CHECK (memcmp (sector, all + pos - 1, SECTOR) == 0);
  }
  CHECK (!missing);
  free (all);
}

/*------------------------------------------------------------------*/
/* Writing */

/* What the disk should hold. */
struct wanted {
  uint8_t *bytes;
  uint64_t size;
  uint64_t unknown, unknown_end; /* of a request that failed */
};

static bool
failed (const struct vdi_error *error)
{
  CHECK (error->err == ENOSPC || error->err == EFBIG || error->err == EIO);
  CHECK (strncmp (error->message, "/vm/image.vdi", 13) == 0);
  return false;
}

static void
check_written (struct session *s, const struct wanted *w)
{
  uint8_t *got = malloc (w->size + 1);
  struct vdi_error error;
  uint64_t i;

  CHECK (got != NULL);
  CHECK (vdi_size (s->vdi) == w->size);
  CHECK (vdi_read (s->vdi, got, w->size, 0, &error) == 0);
  for (i = 0; i < w->size; ++i)
    CHECK (got[i] == w->bytes[i] ||
           (i >= w->unknown && i < w->unknown_end));
  free (got);
}

static bool
write_one (struct session *s, struct wanted *w, uint64_t pos)
{
  const uint64_t count = MIN (SECTOR + 2, w->size - pos);
  uint8_t data[SECTOR + 2];
  struct vdi_error error;

  memset (data, 0xc0 + pos / BLOCK % 16, sizeof data);
  if (vdi_write (s->vdi, data, count, pos, 0, &error) == -1) {
    w->unknown = pos;
    w->unknown_end = pos + count;
    return failed (&error);
  }
  memcpy (w->bytes + pos, data, count);
  return true;
}

static bool
zero_one (struct session *s, struct wanted *w, uint64_t pos)
{
  const uint64_t count = MIN (BLOCK + 100, w->size - pos);
  struct vdi_error error;

  if (vdi_zero (s->vdi, count, pos, 0, &error) == -1) {
    w->unknown = pos;
    w->unknown_end = pos + count;
    return failed (&error);
  }
  memset (w->bytes + pos, 0, count);
  return true;
}

/* Every byte that was trimmed is zero, or as it was. */
static bool
trim_one (struct session *s, struct wanted *w, uint64_t pos)
{
  const uint64_t count = MIN (2 * BLOCK, w->size - pos);
  uint8_t got[2 * BLOCK];
  struct vdi_error error;
  uint64_t i;

  if (vdi_trim (s->vdi, count, pos, 0, &error) == -1)
    return failed (&error);
  CHECK (vdi_read (s->vdi, got, count, pos, &error) == 0);
  for (i = 0; i < count; ++i) {
    CHECK (got[i] == 0 || got[i] == w->bytes[pos + i]);
    w->bytes[pos + i] = got[i];
  }
  return true;
}

/* Some of the blocks are allocated, and some are not.  False after the
 * first failure.
 */
static bool
write_some (struct session *s, struct wanted *w)
{
  uint64_t pos;

  for (pos = 100; pos < w->size; pos += 3 * BLOCK)
    if (!write_one (s, w, pos))
      return false;
  pos = w->size / 2;
  return w->size == 0 ||
         (zero_one (s, w, pos) && trim_one (s, w, w->size / 4) &&
          write_one (s, w, pos + (w->size - pos) / 2));
}

/* What vdi-format.md 8.2 asks for that can be had of any image. */
static void
check_map (const struct model *m)
{
  uint64_t i;

  CHECK (m->h.n_alloc <= m->h.n_blocks);
  for (i = 0; i < m->h.n_blocks; ++i) {
    const uint32_t entry = get_le32 (m->bytes + m->h.map_off + 4 * i);

    CHECK (entry >= 0xfffffffe || entry < m->h.n_alloc);
  }
}

static bool
test_write (struct session *s)
{
  struct wanted w = { .size = vdi_size (s->vdi) };
  struct vdi_error error;
  bool ok, flushed;

  w.bytes = malloc (w.size + 1);
  CHECK (w.bytes != NULL);
  if (vdi_read (s->vdi, w.bytes, w.size, 0, &error) == -1) {
    CHECK (s->nr > 1);          /* the child may be sound, the parent not */
    free (w.bytes);
    CHECK (vdi_close (s->vdi, &error) == 0);
    CHECK (changes (s) == 0);
    return false;
  }
  ok = write_some (s, &w);
  flushed = vdi_flush (s->vdi, &error) == 0 || failed (&error);
  CHECK (vdi_check_invariants (s->vdi, &error) == 0);
  check_written (s, &w);
  flushed = (vdi_close (s->vdi, &error) == 0 || failed (&error)) && flushed;

  /* Damaged it is not, even if there was no room for all. */
  CHECK (open_disk (s, false, &error));
  CHECK (!s->info.damaged);
  if (flushed)
    check_written (s, &w);
  if (flushed && w.size > 0)
    check_map (&s->model[0]);
  check_content (s, false);
  CHECK (vdi_close (s->vdi, &error) == 0);
  CHECK (s->nr == 1 || s->mem[1].changes == 0);
  free (w.bytes);
  return ok && flushed;
}

/*------------------------------------------------------------------*/

static void
check_refusal (const struct session *s, const struct vdi_error *error)
{
  CHECK (error->err == EINVAL || error->err == ENOENT || error->err == EIO);
  CHECK (strncmp (error->message, "/vm/", 4) == 0);
  CHECK (strchr (error->message, '\n') == NULL);
  CHECK (changes (s) == 0);
}

void
hostile_test (const struct hostile_file files[], unsigned nr,
              struct hostile_tally *tally)
{
  struct memory mem[2];
  struct session s = { .mem = mem, .nr = nr };
  struct vdi_error error;
  unsigned i;

  CHECK (nr <= ARRAY_SIZE (mem));
  tally->tried++;
  for (i = 0; i < nr; ++i) {
    memory_init (&mem[i], files[i].bytes, files[i].size);
    mem[i].max_size = HOSTILE_ROOM;
  }

  if (!open_disk (&s, false, &error)) {
    check_refusal (&s, &error);
    tally->refused++;
    goto out;
  }
  tally->served++;
  tally->damaged += s.info.damaged;
  CHECK (vdi_check_invariants (s.vdi, &error) == 0);
  check_content (&s, false);
  check_requests (&s);
  CHECK (vdi_close (s.vdi, &error) == 0);
  CHECK (changes (&s) == 0);

  CHECK (open_disk (&s, true, &error));
  check_content (&s, true);
  CHECK (vdi_close (s.vdi, &error) == 0);

  /* Getting ready to write changes nothing either. */
  CHECK (open_disk (&s, false, &error));
  if (vdi_make_writable (s.vdi, &error) == -1) {
    CHECK (strncmp (error.message, "/vm/image.vdi", 13) == 0);
    CHECK (vdi_close (s.vdi, &error) == 0);
    CHECK (changes (&s) == 0);
    goto out;
  }
  CHECK (!s.info.damaged);
  check_content (&s, false);
  CHECK (changes (&s) == 0);
  if (vdi_size (s.vdi) <= WHOLE_DISK)
    tally->written += test_write (&s);
  else {
    CHECK (vdi_close (s.vdi, &error) == 0);
    CHECK (changes (&s) == 0);
  }

 out:
  for (i = 0; i < nr; ++i)
    memory_free (&mem[i]);
}
