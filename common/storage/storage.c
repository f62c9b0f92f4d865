/* SPDX-License-Identifier: BSD-3-Clause */
/* The checked operations on a storage: see storage.h.
 *
 * Here, and nowhere else, short reads and writes are finished,
 * interrupted calls begun again, and failures given their message.
 */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>

#include "storage/storage.h"
#include "utils/checked.h"
#include "utils/cleanup.h"
#include "utils/error.h"

/* Begin again what a signal interrupted.  True for sync as well: a sync
 * that met an error reports that error, so EINTR only says that it has
 * not finished.
 */
#define RETRY(call)                             \
  ({                                            \
    int _r;                                     \
    do                                          \
      _r = (call);                              \
    while (_r == -1 && errno == EINTR);         \
    _r;                                         \
  })

/* The message of everything that works on a range. */
static int
range_failed (struct storage *st, const char *doing, const char *what,
              uint64_t length, uint64_t offset, struct vdi_error *error)
{
  return vdi_set_errno (error, errno,
                        "%s: cannot %s %s (%" PRIu64 " bytes at offset "
                        "%" PRIu64 ")",
                        st->name, doing, what, length, offset);
}

int
storage_read (struct storage *st, void *buf, size_t count, uint64_t offset,
              const char *what, struct vdi_error *error)
{
  size_t done = 0;

  while (done < count) {
    ssize_t r = st->ops->pread (st, (uint8_t *) buf + done, count - done,
                                offset + done);

    if (r == -1 && errno == EINTR)
      continue;
    if (r == -1)
      return range_failed (st, "read", what, count, offset, error);
    if (r == 0)
      return vdi_set_error (error, EIO,
                            "%s: cannot read %s (%zu bytes at offset "
                            "%" PRIu64 "): unexpected end of file, "
                            "%zu bytes are missing",
                            st->name, what, count, offset, count - done);
    done += r;
  }
  return 0;
}

static int
write_all (struct storage *st, const void *buf, size_t count,
           uint64_t offset, bool durable, const char *what,
           struct vdi_error *error)
{
  size_t done = 0;

  while (done < count) {
    ssize_t r = st->ops->pwrite (st, (const uint8_t *) buf + done,
                                 count - done, offset + done, durable);

    if (r == -1 && errno == EINTR)
      continue;
    /* A storage that takes nothing and gives no reason: it may be full,
     * but to say so would be a guess, and trying again might never end.
     */
    if (r == 0) {
      r = -1;
      errno = EIO;
    }
    if (r == -1)
      return range_failed (st, durable ? "durably write" : "write", what,
                           count, offset, error);
    done += r;
  }
  return 0;
}

int
storage_write (struct storage *st, const void *buf, size_t count,
               uint64_t offset, const char *what, struct vdi_error *error)
{
  return write_all (st, buf, count, offset, false, what, error);
}

int
storage_write_durable (struct storage *st, const void *buf, size_t count,
                       uint64_t offset, const char *what,
                       struct vdi_error *error)
{
  return write_all (st, buf, count, offset, true, what, error);
}

int
storage_write_zeros (struct storage *st, uint64_t offset, uint64_t length,
                     const char *what, struct vdi_error *error)
{
  static const uint8_t zeros[65536];

  while (length > 0) {
    size_t n = MIN (length, sizeof zeros);

    if (write_all (st, zeros, n, offset, false, what, error) == -1)
      return -1;
    offset += n;
    length -= n;
  }
  return 0;
}

int
storage_copy (struct storage *from, uint64_t from_offset, struct storage *to,
              uint64_t to_offset, uint64_t length, struct vdi_error *error)
{
  const uint64_t piece = MIN (length, UINT64_C (1) << 20);
  CLEANUP_FREE void *buf = malloc (piece);
  uint64_t done, n;

  if (buf == NULL)
    return vdi_set_errno (error, ENOMEM, "%s: copying a block", to->name);
  for (done = 0; done < length; done += n) {
    n = MIN (piece, length - done);
    if (storage_read (from, buf, n, from_offset + done, "data", error) == -1 ||
        storage_write (to, buf, n, to_offset + done, "data", error) == -1)
      return -1;
  }
  return 0;
}

int
storage_sync (struct storage *st, struct vdi_error *error)
{
  if (RETRY (st->ops->sync (st)) == -1)
    return vdi_set_errno (error, errno,
                          "%s: cannot bring what was written to stable "
                          "storage", st->name);
  return 0;
}

int
storage_size (struct storage *st, uint64_t *size, struct vdi_error *error)
{
  if (RETRY (st->ops->size (st, size)) == -1)
    return vdi_set_errno (error, errno, "%s: cannot find out the file's size",
                          st->name);
  return 0;
}

int
storage_truncate (struct storage *st, uint64_t size, struct vdi_error *error)
{
  if (RETRY (st->ops->truncate (st, size)) == -1)
    return vdi_set_errno (error, errno,
                          "%s: cannot set the file's size to %" PRIu64
                          " bytes", st->name, size);
  return 0;
}

int
storage_punch (struct storage *st, uint64_t offset, uint64_t length,
               struct vdi_error *error)
{
  if (length > 0 && RETRY (st->ops->punch (st, offset, length)) == -1)
    return range_failed (st, "give back", "space", length, offset, error);
  return 0;
}

int
storage_zero (struct storage *st, uint64_t offset, uint64_t length,
              struct vdi_error *error)
{
  if (length > 0 && RETRY (st->ops->zero (st, offset, length)) == -1)
    return range_failed (st, "zero", "data", length, offset, error);
  return 0;
}

int
storage_provision (struct storage *st, uint64_t offset, uint64_t length,
                   struct vdi_error *error)
{
  if (length > 0 && RETRY (st->ops->provision (st, offset, length)) == -1)
    return range_failed (st, "reserve", "space", length, offset, error);
  return 0;
}

int
storage_extent (struct storage *st, uint64_t offset, uint64_t limit,
                bool *hole, uint64_t *end, struct vdi_error *error)
{
  if (RETRY (st->ops->extent (st, offset, limit, hole, end)) == -1)
    return range_failed (st, "find", "holes", limit - offset, offset, error);

  /* Callers walk from end to end: it must move on, and stay inside. */
  if (*end <= offset || *end > limit) {
    *hole = false;
    *end = limit;
  }
  return 0;
}

void
storage_advise (struct storage *st, uint64_t offset, uint64_t length,
                enum storage_advice advice)
{
  (void) st->ops->advise (st, offset, length, advice);
}

int
storage_lock (struct storage *st, bool writer, struct vdi_error *error)
{
  return st->ops->lock (st, writer, error);
}

static int
cannot_be_written (const struct storage *st, struct vdi_error *error)
{
  if (errno == ESTALE)
    return vdi_set_error (error, ESTALE, "%s: the file that was opened has "
                          "been removed, or another put in its place; start "
                          "again, to use what is there now", st->name);
  return vdi_set_errno (error, errno, "%s: cannot be written to", st->name);
}

bool
storage_is_nameless (struct storage *st)
{
  return st->ops->is_nameless != NULL && st->ops->is_nameless (st);
}

int
storage_writable (struct storage *st, struct vdi_error *error)
{
  if (storage_is_nameless (st)) {
    errno = ESTALE;
    return cannot_be_written (st, error);
  }
  if (st->ops->writable != NULL && RETRY (st->ops->writable (st)) == -1)
    return cannot_be_written (st, error);
  return 0;
}

int
storage_make_writable (struct storage *st, struct vdi_error *error)
{
  if (RETRY (st->ops->make_writable (st)) == -1)
    return cannot_be_written (st, error);
  return 0;
}

void
storage_others (struct storage *st, bool writers_only,
                struct storage_others *others)
{
  *others = (struct storage_others) { .kind = OTHERS_UNKNOWN };
  if (st->ops->others != NULL)
    st->ops->others (st, writers_only, others);
}

void
storage_close (struct storage *st)
{
  if (st)
    st->ops->close (st);
}
