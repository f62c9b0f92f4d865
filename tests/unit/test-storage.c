/* SPDX-License-Identifier: BSD-3-Clause */
/* storage.c: what system calls leave unfinished is finished, and every
 * failure is described.  The storage is a table of operations here that
 * answer as they are told to.
 */
#include <config.h>

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

#include "storage/storage.h"
#include "test.h"
#include "utils/error.h"

/* What the next calls answer: at most so many bytes, or, if negative,
 * -errno.  After the last, everything succeeds in full.
 */
static const int *script;
static size_t script_len;

static unsigned calls;
static uint8_t content[1000];
static bool last_durable;

static int
next (int otherwise)
{
  ++calls;
  if (script_len == 0)
    return otherwise;
  script_len--;
  return *script++;
}

#define SCRIPT(...)                                             \
  do {                                                          \
    static const int _s[] = { __VA_ARGS__ };                    \
    script = _s;                                                \
    script_len = sizeof _s / sizeof _s[0];                      \
    calls = 0;                                                  \
  } while (0)

static ssize_t
fake_transfer (uint8_t *to, const uint8_t *from, size_t count,
               uint64_t offset)
{
  int n = next (count);

  if (n < 0) {
    errno = -n;
    return -1;
  }
  CHECK (offset <= sizeof content && count <= sizeof content - offset);
  if ((size_t) n > count)
    n = count;
  memcpy (to, from, n);
  return n;
}

static ssize_t
fake_pread (struct storage *st, void *buf, size_t count, uint64_t offset)
{
  (void) st;
  return fake_transfer (buf, content + offset, count, offset);
}

static ssize_t
fake_pwrite (struct storage *st, const void *buf, size_t count,
             uint64_t offset, bool durable)
{
  (void) st;
  last_durable = durable;
  return fake_transfer (content + offset, buf, count, offset);
}

static int
fake (void)
{
  int n = next (0);

  if (n < 0) {
    errno = -n;
    return -1;
  }
  return 0;
}

static int
fake_sync (struct storage *st)
{
  (void) st;
  return fake ();
}

static int
fake_size (struct storage *st, uint64_t *size)
{
  (void) st;
  *size = sizeof content;
  return fake ();
}

static int
fake_truncate (struct storage *st, uint64_t size)
{
  (void) st;
  (void) size;
  return fake ();
}

static int
fake_range (struct storage *st, uint64_t offset, uint64_t length)
{
  (void) st;
  (void) offset;
  (void) length;
  return fake ();
}

static uint64_t extent_end;

static int
fake_extent (struct storage *st, uint64_t offset, uint64_t limit,
             bool *hole, uint64_t *end)
{
  (void) st;
  (void) offset;
  (void) limit;
  *hole = true;
  *end = extent_end;
  return fake ();
}

static const struct storage_ops fake_ops = {
  .pread = fake_pread,
  .pwrite = fake_pwrite,
  .sync = fake_sync,
  .size = fake_size,
  .truncate = fake_truncate,
  .punch = fake_range,
  .zero = fake_range,
  .provision = fake_range,
  .extent = fake_extent,
};

static struct storage st = {
  .ops = &fake_ops, .name = (char *) "/a/b.vdi", .grows_zero = true,
};

static uint8_t
pattern (size_t i)
{
  return i * 7 + i / 256 + 1;
}

static void
test_unfinished (void)
{
  struct vdi_error error;
  uint8_t buf[sizeof content];
  size_t i;

  memset (content, 0, sizeof content);
  for (i = 0; i < sizeof buf; ++i)
    buf[i] = pattern (i);

  SCRIPT (-EINTR, 1, 10, -EINTR, -EINTR, 300);
  CHECK (storage_write (&st, buf + 50, 900, 50, "data", &error) == 0);
  CHECK (calls == 7);
  CHECK (!last_durable);
  for (i = 0; i < sizeof content; ++i)
    CHECK (content[i] == (i >= 50 && i < 950 ? pattern (i) : 0));

  memset (content, 0, sizeof content);
  SCRIPT (3, -EINTR, 3);
  CHECK (storage_write_durable (&st, buf, 1000, 0, "data", &error) == 0);
  CHECK (calls == 4);
  CHECK (last_durable);
  CHECK (memcmp (content, buf, sizeof content) == 0);

  memset (buf, 0, sizeof buf);
  SCRIPT (-EINTR, 999, -EINTR);
  CHECK (storage_read (&st, buf, 1000, 0, "data", &error) == 0);
  CHECK (calls == 4);
  CHECK (memcmp (content, buf, sizeof content) == 0);

  SCRIPT (7, 7, -EINTR);
  CHECK (storage_write_zeros (&st, 1, 998, "data", &error) == 0);
  CHECK (content[0] == pattern (0) && content[999] == pattern (999));
  for (i = 1; i < 999; ++i)
    CHECK (content[i] == 0);

  for (i = 0; i < sizeof content; ++i)
    content[i] = pattern (i);
  SCRIPT (7, -EINTR, 7, 385, 1, -EINTR, 2);
  CHECK (storage_copy (&st, 1, &st, 500, 399, &error) == 0);
  for (i = 0; i < sizeof content; ++i)
    CHECK (content[i] == pattern (i < 500 || i >= 899 ? i : i - 499));

  SCRIPT (-EINTR, -EINTR);
  CHECK (storage_sync (&st, &error) == 0);
  CHECK (calls == 3);
  SCRIPT (-EINTR);
  CHECK (storage_truncate (&st, 1, &error) == 0);
  CHECK (calls == 2);
  SCRIPT (-EINTR);
  CHECK (storage_punch (&st, 1, 1, &error) == 0);
  CHECK (calls == 2);

  /* Nothing to do is not asked for: fallocate would call it invalid. */
  SCRIPT (-EINVAL);
  CHECK (storage_punch (&st, 1, 0, &error) == 0);
  CHECK (storage_zero (&st, 1, 0, &error) == 0);
  CHECK (storage_provision (&st, 1, 0, &error) == 0);
  CHECK (storage_read (&st, buf, 0, 0, "data", &error) == 0);
  CHECK (storage_write (&st, buf, 0, 0, "data", &error) == 0);
  CHECK (storage_copy (&st, 0, &st, 0, 0, &error) == 0);
  CHECK (calls == 0);
}

/* Every message in full: people read them. */
#define FAILS(call, err_, message_)                                     \
  do {                                                                  \
    struct vdi_error error;                                             \
    error.message[0] = '\0';                                            \
    errno = 0;                                                          \
    CHECK ((call) == -1);                                               \
    CHECK (error.err == (err_));                                        \
    CHECK (errno == (err_));                                            \
    if (strcmp (error.message, (message_)) != 0)                        \
      fprintf (stderr, "%s\n", error.message);                          \
    CHECK (strcmp (error.message, (message_)) == 0);                    \
  } while (0)

static void
test_failures (void)
{
  uint8_t buf[100] = { 0 };
  uint64_t u;
  bool b = false;

  SCRIPT (-EIO);
  FAILS (storage_read (&st, buf, 100, 12, "header", &error), EIO,
         "/a/b.vdi: cannot read header (100 bytes at offset 12): "
         "Input/output error");
  SCRIPT (40, 0);
  FAILS (storage_read (&st, buf, 100, 12, "block map", &error), EIO,
         "/a/b.vdi: cannot read block map (100 bytes at offset 12): "
         "unexpected end of file, 60 bytes are missing");
  CHECK (calls == 2);
  SCRIPT (40, -ENOSPC);
  FAILS (storage_write (&st, buf, 100, 12, "data", &error), ENOSPC,
         "/a/b.vdi: cannot write data (100 bytes at offset 12): "
         "No space left on device");
  CHECK (calls == 2);
  SCRIPT (0);
  FAILS (storage_write (&st, buf, 100, 12, "data", &error), EIO,
         "/a/b.vdi: cannot write data (100 bytes at offset 12): "
         "Input/output error");
  CHECK (calls == 1);
  SCRIPT (-ENOTSUP);
  FAILS (storage_write_durable (&st, buf, 100, 12, "data", &error), ENOTSUP,
         "/a/b.vdi: cannot durably write data (100 bytes at offset 12): "
         "Operation not supported");
  SCRIPT (-EDQUOT);
  FAILS (storage_write_zeros (&st, 12, 100, "data", &error), EDQUOT,
         "/a/b.vdi: cannot write data (100 bytes at offset 12): "
         "Disk quota exceeded");
  SCRIPT (-EIO);
  FAILS (storage_copy (&st, 12, &st, 500, 100, &error), EIO,
         "/a/b.vdi: cannot read data (100 bytes at offset 12): "
         "Input/output error");
  SCRIPT (100, -ENOSPC);
  FAILS (storage_copy (&st, 12, &st, 500, 100, &error), ENOSPC,
         "/a/b.vdi: cannot write data (100 bytes at offset 500): "
         "No space left on device");
  SCRIPT (-EIO);
  FAILS (storage_sync (&st, &error), EIO,
         "/a/b.vdi: cannot bring what was written to stable storage: "
         "Input/output error");
  SCRIPT (-EIO);
  FAILS (storage_size (&st, &u, &error), EIO,
         "/a/b.vdi: cannot find out the file's size: Input/output error");
  SCRIPT (-EFBIG);
  FAILS (storage_truncate (&st, 77, &error), EFBIG,
         "/a/b.vdi: cannot set the file's size to 77 bytes: "
         "File too large");
  SCRIPT (-ENOTSUP);
  FAILS (storage_punch (&st, 5, 6, &error), ENOTSUP,
         "/a/b.vdi: cannot give back space (6 bytes at offset 5): "
         "Operation not supported");
  SCRIPT (-EIO);
  FAILS (storage_zero (&st, 5, 6, &error), EIO,
         "/a/b.vdi: cannot zero data (6 bytes at offset 5): "
         "Input/output error");
  SCRIPT (-ENOSPC);
  FAILS (storage_provision (&st, 5, 6, &error), ENOSPC,
         "/a/b.vdi: cannot reserve space (6 bytes at offset 5): "
         "No space left on device");
  SCRIPT (-EIO);
  FAILS (storage_extent (&st, 5, 11, &b, &u, &error), EIO,
         "/a/b.vdi: cannot find holes (6 bytes at offset 5): "
         "Input/output error");
}

/* An answer that stands still or leads astray is not believed. */
static void
test_extent (void)
{
  static const uint64_t bad[] = { 0, 4, 5, 11, UINT64_MAX };
  struct vdi_error error;
  uint64_t end;
  bool hole = false;
  size_t i;

  SCRIPT (0);
  for (extent_end = 6; extent_end <= 10; ++extent_end) {
    CHECK (storage_extent (&st, 5, 10, &hole, &end, &error) == 0);
    CHECK (hole && end == extent_end);
  }
  for (i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
    extent_end = bad[i];
    CHECK (storage_extent (&st, 5, 10, &hole, &end, &error) == 0);
    CHECK (!hole && end == 10);
  }
}

int
main (void)
{
  test_unfinished ();
  test_failures ();
  test_extent ();
  storage_close (NULL);
  return 0;
}
