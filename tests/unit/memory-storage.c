/* SPDX-License-Identifier: BSD-3-Clause */
/* A storage whose bytes are in memory: see memory-storage.h. */
#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "memory-storage.h"
#include "test.h"
#include "utils/checked.h"

struct memory_storage {
  struct storage st;            /* first, so that one is the other */
  struct memory *mem;
};

static struct memory *
lock (struct storage *st)
{
  struct memory *mem = ((struct memory_storage *) st)->mem;

  CHECK (pthread_mutex_lock (&mem->lock) == 0);
  return mem;
}

static int
unlock (struct memory *mem, int err)
{
  CHECK (pthread_mutex_unlock (&mem->lock) == 0);
  errno = err;
  return err ? -1 : 0;
}

/* 0, or the errno with which this call is to fail. */
static int
count (struct memory *mem, char what, bool impossible)
{
  size_t len = strlen (mem->log);

  if (impossible)
    return ENOTSUP;
  if (what != 's' && mem->read_only)
    return EBADF;
  if (++mem->calls == mem->fail_at)
    return mem->fail_errno;
  if (len < sizeof mem->log - 1)
    mem->log[len] = what;
  if (what != 's')
    mem->changes++;
  return 0;
}

static int
resize (struct memory *mem, uint64_t size)
{
  uint8_t *bytes;

  if (mem->device || size > mem->max_size)
    return ENOSPC;
  bytes = realloc (mem->bytes, size ? size : 1);
  CHECK (bytes != NULL);
  if (size > mem->size)
    memset (bytes + mem->size, 0, size - mem->size);
  mem->bytes = bytes;
  mem->size = size;
  return 0;
}

static int
grow_to (struct memory *mem, uint64_t size)
{
  return size > mem->size ? resize (mem, size) : 0;
}

static ssize_t
memory_pread (struct storage *st, void *buf, size_t n, uint64_t offset)
{
  struct memory *mem = lock (st);

  if (offset >= mem->size)
    n = 0;
  else if (n > mem->size - offset)
    n = mem->size - offset;
  if (n > 0)
    memcpy (buf, mem->bytes + offset, n);
  unlock (mem, 0);
  return n;
}

static ssize_t
memory_pwrite (struct storage *st, const void *buf, size_t n,
               uint64_t offset, bool durable)
{
  struct memory *mem = lock (st);
  int err;

  err = count (mem, durable ? 'D' : 'w', durable && mem->no_durable);
  if (err == 0)
    err = grow_to (mem, offset + n);
  if (err == 0 && n > 0)
    memcpy (mem->bytes + offset, buf, n);
  return unlock (mem, err) == -1 ? -1 : (ssize_t) n;
}

static int
memory_sync (struct storage *st)
{
  struct memory *mem = lock (st);

  return unlock (mem, count (mem, 's', false));
}

static int
memory_size (struct storage *st, uint64_t *size)
{
  struct memory *mem = lock (st);

  *size = mem->size;
  return unlock (mem, 0);
}

static int
memory_truncate (struct storage *st, uint64_t size)
{
  struct memory *mem = lock (st);
  int err = count (mem, 't', mem->device);

  if (err == 0)
    err = resize (mem, size);
  if (err == 0)
    st->grows_dense = mem->dense;
  return unlock (mem, err);
}

static int
clear (struct storage *st, char what, uint64_t offset, uint64_t length)
{
  struct memory *mem = lock (st);
  int err = count (mem, what, what == 'p' ? mem->no_punch : mem->no_zero);

  if (err == 0 && (offset > mem->size || length > mem->size - offset))
    err = EINVAL;
  if (err == 0 && length > 0)
    memset (mem->bytes + offset, 0, length);
  return unlock (mem, err);
}

static int
memory_punch (struct storage *st, uint64_t offset, uint64_t length)
{
  return clear (st, 'p', offset, length);
}

static int
memory_zero (struct storage *st, uint64_t offset, uint64_t length)
{
  return clear (st, 'z', offset, length);
}

static int
memory_provision (struct storage *st, uint64_t offset, uint64_t length)
{
  struct memory *mem = lock (st);
  int err = count (mem, 'P', mem->no_provision || mem->device);

  return unlock (mem, err ? err : grow_to (mem, offset + length));
}

/* Holes are aligned pieces of 4096 zeros, as on a file system that has
 * just been trimmed.
 */
static int
memory_extent (struct storage *st, uint64_t offset, uint64_t limit,
               bool *hole, uint64_t *end)
{
  struct memory *mem = lock (st);
  const bool guess = *hole;
  uint64_t pos = offset;

  *hole = false;
  while (pos < MIN (limit, mem->size)) {
    const uint64_t start = ROUND_DOWN (pos, 4096);
    const uint64_t stop = MIN (start + 4096, mem->size);
    bool zero = true;

    for (uint64_t i = start; i < stop; i++)
      zero &= mem->bytes[i] == 0;
    if (pos == offset)
      *hole = zero;
    else if (*hole != zero)
      break;
    pos = MIN (stop, limit);
  }
  *end = pos;
  mem->asked += *hole == guess ? 1 : 2;
  unlock (mem, 0);
  if (mem->meanwhile)
    mem->meanwhile (mem);
  return 0;
}

static int
memory_advise (struct storage *st, uint64_t offset, uint64_t length,
               enum storage_advice advice)
{
  (void) st;
  (void) offset;
  (void) length;
  (void) advice;
  return 0;
}

static int
memory_lock (struct storage *st, bool writer, struct vdi_error *error)
{
  struct memory *mem = lock (st);
  const bool busy = writer && mem->busy;

  unlock (mem, 0);
  return busy ? vdi_set_error (error, EBUSY, "%s: in use", st->name) : 0;
}

static void
memory_others (struct storage *st, bool writers_only,
               struct storage_others *others)
{
  struct memory *mem = lock (st);

  if (mem->others_leave > 0 && --mem->others_leave == 0)
    mem->others.kind = OTHERS_NONE;
  *others = mem->others;
  if (writers_only && others->kind == OTHERS_READ)
    others->kind = OTHERS_NONE;
  unlock (mem, 0);
}

static int
memory_make_writable (struct storage *st)
{
  struct memory *mem = lock (st);

  return unlock (mem, mem->read_only ? EROFS : 0);
}

static void
memory_close (struct storage *st)
{
  struct memory *mem = lock (st);

  mem->open--;
  unlock (mem, 0);
  free (st->name);
  free (st);
}

static const struct storage_ops memory_ops = {
  .pread = memory_pread,
  .pwrite = memory_pwrite,
  .sync = memory_sync,
  .size = memory_size,
  .truncate = memory_truncate,
  .punch = memory_punch,
  .zero = memory_zero,
  .provision = memory_provision,
  .extent = memory_extent,
  .advise = memory_advise,
  .lock = memory_lock,
  .others = memory_others,
  .writable = memory_make_writable,
  .make_writable = memory_make_writable,
  .close = memory_close,
};

void
memory_init (struct memory *mem, const void *bytes, uint64_t size)
{
  memset (mem, 0, sizeof *mem);
  CHECK (pthread_mutex_init (&mem->lock, NULL) == 0);
  mem->max_size = UINT64_MAX;
  CHECK (resize (mem, size) == 0);
  if (size > 0)
    memcpy (mem->bytes, bytes, size);
}

void
memory_free (struct memory *mem)
{
  CHECK (mem->open == 0);
  CHECK (pthread_mutex_destroy (&mem->lock) == 0);
  free (mem->bytes);
}

struct storage *
memory_storage_open (struct memory *mem, const char *name)
{
  struct memory_storage *ms = calloc (1, sizeof *ms);

  CHECK (ms != NULL);
  ms->mem = mem;
  ms->st.ops = &memory_ops;
  ms->st.name = strdup (name);
  CHECK (ms->st.name != NULL);
  ms->st.grows_zero = !mem->device;
  lock (&ms->st)->open++;
  unlock (mem, 0);
  return &ms->st;
}
