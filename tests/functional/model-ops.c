/* SPDX-License-Identifier: BSD-3-Clause */
/* Choosing, issuing and judging the operations of the model test.
 *
 * Operations that modify never overlap each other in flight, or the
 * outcome would be undefined; they may share a sector, a block, anything
 * but a byte.  Reads overlap whatever they like: each byte must be what
 * it was when the read was issued, or what some operation wrote that was
 * in flight during the read.
 */
#include <config.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

#define MAX_CONNECTIONS 16
#define BIG (4u << 20)          /* most bytes of a read or write */

static struct nbd_handle *handles[MAX_CONNECTIONS];
static struct op *in_flight;
static unsigned nr_in_flight;
static uint64_t acks;           /* acknowledgements seen */
static bool killed;             /* errors are no surprise */

/* What was done, for the report of a failure. */
struct record {
  enum kind kind;
  uint32_t flags;
  uint64_t offset, count;
};
static struct record *history;
static unsigned long nr_history;

static unsigned long counts[CACHE + 1];
static unsigned long overlapped, fast_refused, trimmed, reconnects;

static const char *const names[] = {
  "read", "write", "zero", "trim", "flush", "extents", "cache"
};

static bool
modifies (const struct op *op)
{
  return op->kind == WRITE || op->kind == ZERO || op->kind == TRIM;
}

static bool
overlaps (const struct op *a, const struct op *b)
{
  return a->offset < b->offset + b->count && b->offset < a->offset + a->count;
}

static void
op_unref (struct op *op)
{
  size_t i;

  if (--op->refs > 0)
    return;
  for (i = 0; i < op->nr_overlap; ++i)
    op_unref (op->overlap[i]);
  free (op->overlap);
  free (op->buf);
  free (op->want);
  free (op);
}

static void *
allocate (size_t size)
{
  void *p = calloc (1, size ? size : 1);

  if (p == NULL)
    fail ("out of memory");
  return p;
}

void
ops_history (uint64_t offset)
{
  unsigned long i, last = 0, shown = 0;

  /* The last few that touched the byte tell the story. */
  for (i = nr_history; i-- > 0 && shown < 12;) {
    const struct record *r = &history[i];

    if (r->kind == FLUSH || (offset >= r->offset &&
                             offset - r->offset < r->count)) {
      fprintf (stderr, "  operation %lu: %s offset %" PRIu64 " (block %" PRIu64
               ") count %" PRIu64 " flags 0x%x\n", i, names[r->kind],
               r->offset, r->offset / params.block_size, r->count, r->flags);
      ++shown;
      last = i;
    }
  }
  fprintf (stderr, "  (newest first, back to operation %lu, of %lu)\n", last,
           nr_history);
}

/* Requests.  Sizes and places aim at the edges of blocks. */

static uint64_t
choose_count (struct rng *rng, enum kind kind)
{
  const uint64_t block = params.block_size;
  uint64_t count, p = rng_below (rng, 16);

  /* Whole blocks less often if that is much to carry. */
  if (p >= 12 && p <= 14 && block > 262144 && rng_below (rng, 3))
    p = 6;
  switch (p) {
  case 0: case 1: case 2:
    count = 1 + rng_below (rng, SECTOR);
    break;
  case 3: case 4: case 5:
    count = SECTOR * (1 + rng_below (rng, 16));
    break;
  case 6: case 7: case 8: case 9:
    count = 4096 * (1 + rng_below (rng, 8));
    break;
  case 10: case 11:
    count = 1 + rng_below (rng, 65536);
    break;
  case 12:
    count = block / 2 + rng_below (rng, block);
    break;
  case 13:
    count = block - 1 + rng_below (rng, 3);
    break;
  case 14:
    count = block * (1 + rng_below (rng, 65536 / block + 1));
    break;
  default:
    /* Much is cheap where nothing is sent. */
    if (kind == ZERO || kind == TRIM)
      count = 1 + rng_below (rng, rng_below (rng, 8) ? 8 * block
                                                     : disk_size / 2);
    else
      count = 1 + rng_below (rng, 262144);
    break;
  }
  if (kind == EXTENTS && rng_below (rng, 4) == 0)
    count = disk_size;
  if (count > disk_size)
    count = disk_size;
  if (count > BIG && kind != EXTENTS)
    count = BIG;
  return count;
}

static uint64_t
choose_offset (struct rng *rng, uint64_t count)
{
  const uint64_t block = params.block_size;
  const uint64_t space = disk_size - count;
  uint64_t offset = rng_below (rng, space + 1);

  switch (rng_below (rng, 8)) {
  case 0: case 1:
    break;                      /* anywhere */
  case 2: case 3:
    offset -= offset % 4096;
    break;
  case 4:
    offset -= offset % SECTOR;
    break;
  case 5: case 6:
    offset -= offset % block;
    break;
  default:                      /* across an edge */
    offset -= offset % block;
    if (count > 1) {
      const uint64_t before = 1 + rng_below (rng, count - 1);

      offset = offset < before ? 0 : offset - before;
    }
    break;
  }
  return offset > space ? space : offset;
}

static void
choose_data (struct rng *rng, struct op *op)
{
  uint64_t i;

  op->buf = allocate (op->count + 8);
  switch (rng_below (rng, 16)) {
  case 0:                       /* zeros */
    return;
  case 1:
    memset (op->buf, (int) rng_below (rng, 256), op->count);
    return;
  default:
    for (i = 0; i < op->count; i += 8) {
      const uint64_t word = rng_next (rng);

      memcpy (op->buf + i, &word, 8);
    }
  }
}

static void
choose_kind (struct rng *rng, struct op *op)
{
  const uint64_t p = rng_below (rng, 1000);

  if (p < 330)
    op->kind = READ;
  else if (p < 680)
    op->kind = WRITE;
  else if (p < 810)
    op->kind = ZERO;
  else if (p < 890)
    op->kind = TRIM;
  else if (p < 920)
    op->kind = FLUSH;
  else if (p < 980)
    op->kind = EXTENTS;
  else
    op->kind = CACHE;

  if (modifies (op) && rng_below (rng, 8) == 0)
    op->flags |= LIBNBD_CMD_FLAG_FUA;
  if (op->kind == ZERO) {
    if (rng_below (rng, 3) == 0)
      op->flags |= LIBNBD_CMD_FLAG_NO_HOLE;
    if (rng_below (rng, 4) == 0)
      op->flags |= LIBNBD_CMD_FLAG_FAST_ZERO;
  }
  if (op->kind == EXTENTS && rng_below (rng, 3) == 0)
    op->flags |= LIBNBD_CMD_FLAG_REQ_ONE;
}

/* Drop what this server does not offer. */
static void
respect_server (struct op *op)
{
  struct nbd_handle *nbd = handles[op->connection];

  if (!nbd_can_fua (nbd))
    op->flags &= ~LIBNBD_CMD_FLAG_FUA;
  if (!nbd_can_fast_zero (nbd))
    op->flags &= ~LIBNBD_CMD_FLAG_FAST_ZERO;
  if ((op->kind == CACHE && !nbd_can_cache (nbd)) ||
      (op->kind == TRIM && !nbd_can_trim (nbd)) ||
      (op->kind == ZERO && !nbd_can_zero (nbd)) ||
      (op->kind == EXTENTS &&
       !nbd_can_meta_context (nbd, LIBNBD_CONTEXT_BASE_ALLOCATION))) {
    op->kind = READ;
    op->flags = 0;
    if (op->count > BIG)
      op->count = BIG;
  }
}

/* Replies. */

static void
remove_in_flight (struct op *op)
{
  struct op **p;

  for (p = &in_flight; *p != op; p = &(*p)->next)
    ;
  *p = op->next;
  --nr_in_flight;
  op_unref (op);
}

static void
judge_read (const struct op *op)
{
  uint64_t i;
  size_t j;

  if (memcmp (op->buf, op->want, op->count) == 0)
    return;
  for (i = 0; i < op->count; ++i) {
    const uint64_t offset = op->offset + i;
    bool ok = op->buf[i] == op->want[i];

    for (j = 0; !ok && j < op->nr_overlap; ++j) {
      const struct op *w = op->overlap[j];

      ok = offset >= w->offset && offset - w->offset < w->count &&
        op->buf[i] == op_byte (w, offset);
    }
    if (!ok) {
      ops_history (offset);
      fail ("operation %lu (read, offset %" PRIu64 ", count %" PRIu64 "): "
            "the byte at offset %" PRIu64 " is 0x%02x; it was 0x%02x, and "
            "none of %zu writes meanwhile explains it", op->nr, op->offset,
            op->count, offset, op->buf[i], op->want[i], op->nr_overlap);
    }
  }
}

static void
judge_trim (struct op *op)
{
  const unsigned char *now = disk_now + op->offset;
  uint64_t i;

  for (i = 0; i < op->count; ++i)
    if (op->buf[i] != now[i] && op->buf[i] != 0) {
      ops_history (op->offset + i);
      fail ("operation %lu (trim, offset %" PRIu64 ", count %" PRIu64 "): "
            "the byte at offset %" PRIu64 " is 0x%02x, neither 0 nor the "
            "old 0x%02x", op->nr, op->offset, op->count, op->offset + i,
            op->buf[i], now[i]);
    }
  /* It may have become zeros and then be back after a kill. */
  disk_apply (op->offset, op->count, NULL, acks, false);
  disk_apply (op->offset, op->count, op->buf, acks, false);
}

static int replied (void *opaque, int *error);

/* Not from the callback, where the handle is locked. */
static void
read_trimmed (struct op *op)
{
  const nbd_completion_callback callback = {
    .callback = replied, .user_data = op
  };

  op->trimmed = false;
  op->checking = true;
  op->buf = allocate (op->count);
  ++trimmed;
  if (nbd_aio_pread (handles[op->connection], op->buf, op->count, op->offset,
                     callback, 0) == -1)
    fail ("pread: %s", nbd_get_error ());
}

static int
replied (void *opaque, int *error)
{
  struct op *op = opaque;
  const bool durable = (op->flags & LIBNBD_CMD_FLAG_FUA) != 0;

  if (*error != 0) {
    if (killed)
      return 1;                 /* stays in flight, in doubt */
    if (op->kind == ZERO && *error == ENOTSUP &&
        (op->flags & LIBNBD_CMD_FLAG_FAST_ZERO)) {
      ++fast_refused;           /* and nothing was changed */
      op->kind = CACHE;
    }
    else
      fail ("operation %lu (%s%s, offset %" PRIu64 ", count %" PRIu64
            ", flags 0x%x): %s", op->nr, names[op->kind],
            op->checking ? ", reading it back" : "", op->offset, op->count,
            op->flags, strerror (*error));
  }

  ++acks;
  switch (op->kind) {
  case READ:
    judge_read (op);
    break;
  case WRITE:
    disk_apply (op->offset, op->count, op->buf, acks, durable);
    break;
  case ZERO:
    disk_apply (op->offset, op->count, NULL, acks, durable);
    break;
  case TRIM:
    if (!op->checking) {
      op->trimmed = true;
      return 1;
    }
    judge_trim (op);
    break;
  case FLUSH:
    disk_flushed (op->issued);
    break;
  case EXTENTS:
  case CACHE:
    break;
  }
  remove_in_flight (op);
  return 1;
}

static int
got_extents (void *opaque, const char *context, uint64_t offset,
             uint32_t *entries, size_t nr_entries, int *error)
{
  struct op *op = opaque;
  const uint64_t end = op->offset + op->count;
  size_t i;

  if (*error || strcmp (context, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0)
    return 0;
  if (nr_entries == 0)
    fail ("operation %lu: no extents", op->nr);
  for (i = 0; i < nr_entries; i += 2) {
    const uint64_t length = entries[i];
    uint64_t j;

    if (length == 0 || offset + length > end)
      fail ("operation %lu: extent of %" PRIu64 " bytes at %" PRIu64
            " in a request that ends at %" PRIu64, op->nr, length, offset,
            end);
    /* Writers in flight make it undefined. */
    if ((entries[i + 1] & LIBNBD_STATE_ZERO) && op->nr_overlap == 0)
      for (j = 0; j < length; ++j)
        if (disk_now[offset + j] != 0) {
          ops_history (offset + j);
          fail ("operation %lu: extents say that the byte at offset %" PRIu64
                " is 0, and it is 0x%02x", op->nr, offset + j,
                disk_now[offset + j]);
        }
    offset += length;
  }
  return 0;
}

/* Pass the time until something came. */
static void
poll_once (void)
{
  struct pollfd fds[MAX_CONNECTIONS];
  unsigned i, n = params.connections;
  struct op *op;
  int r;

  for (i = 0; i < n; ++i) {
    const unsigned dir = handles[i] ? nbd_aio_get_direction (handles[i]) : 0;

    fds[i].fd = handles[i] ? nbd_aio_get_fd (handles[i]) : -1;
    fds[i].events = (dir & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0) |
                    (dir & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0);
    fds[i].revents = 0;
  }
  r = poll (fds, n, 60 * 1000);
  if (r == 0)
    fail ("no reply in 60 seconds, %u operations in flight", nr_in_flight);
  if (r == -1 && errno != EINTR)
    fail ("poll: %m");
  for (i = 0; i < n; ++i) {
    struct nbd_handle *nbd = handles[i];
    unsigned dir;

    if (nbd == NULL || fds[i].revents == 0)
      continue;
    dir = nbd_aio_get_direction (nbd);
    if ((dir & LIBNBD_AIO_DIRECTION_READ) && (fds[i].revents & ~POLLOUT))
      r = nbd_aio_notify_read (nbd);
    else if ((dir & LIBNBD_AIO_DIRECTION_WRITE) && (fds[i].revents & POLLOUT))
      r = nbd_aio_notify_write (nbd);
    else
      continue;
    if (r == -1)
      fail ("connection %u: %s", i, nbd_get_error ());
  }
  for (op = in_flight; op; op = op->next)
    if (op->trimmed)
      read_trimmed (op);
}

void
ops_drain (void)
{
  while (in_flight)
    poll_once ();
}

void
ops_connect (void)
{
  unsigned i;

  killed = false;
  for (i = 0; i < params.connections; ++i) {
    handles[i] = nbd_create ();
    if (handles[i] == NULL ||
        nbd_add_meta_context (handles[i],
                              LIBNBD_CONTEXT_BASE_ALLOCATION) == -1 ||
        nbd_connect_unix (handles[i], params.socket) == -1)
      fail ("cannot connect: %s", nbd_get_error ());
  }
}

static void
disconnect (unsigned i)
{
  if (nbd_shutdown (handles[i], 0) == -1)
    fail ("shutdown: %s", nbd_get_error ());
  nbd_close (handles[i]);
  handles[i] = NULL;
}

void
ops_disconnect (void)
{
  unsigned i;

  ops_drain ();
  for (i = 0; i < params.connections; ++i)
    disconnect (i);
}

/* After SIGKILL: take the replies that had been sent, and return what
 * remains in doubt.
 */
struct op *
ops_abandon (void)
{
  struct op *list;
  unsigned i;

  killed = true;
  server_kill ();
  server_reap ();
  for (i = 0; i < params.connections; ++i) {
    while (!nbd_aio_is_dead (handles[i]) && !nbd_aio_is_closed (handles[i])) {
      const unsigned dir = nbd_aio_get_direction (handles[i]);

      if ((dir & LIBNBD_AIO_DIRECTION_READ
           ? nbd_aio_notify_read (handles[i])
           : nbd_aio_notify_write (handles[i])) == -1)
        break;
    }
    nbd_close (handles[i]);
    handles[i] = NULL;
  }
  list = in_flight;
  in_flight = NULL;
  nr_in_flight = 0;
  return list;
}

void
ops_free (struct op *list)
{
  struct op *next;

  for (; list; list = next) {
    next = list->next;
    op_unref (list);
  }
}

/* Issue. */

static bool
may_start (const struct op *op)
{
  const struct op *other;

  if (nr_in_flight >= params.in_flight)
    return false;
  if (modifies (op))
    for (other = in_flight; other; other = other->next)
      if (modifies (other) && overlaps (op, other))
        return false;
  return true;
}

static void
note_overlap (struct op *reader, struct op *writer)
{
  reader->overlap = realloc (reader->overlap, (reader->nr_overlap + 1) *
                             sizeof *reader->overlap);
  if (reader->overlap == NULL)
    fail ("out of memory");
  reader->overlap[reader->nr_overlap++] = writer;
  ++writer->refs;
  ++overlapped;
}

static void
note_overlaps (struct op *op)
{
  struct op *other;

  for (other = in_flight; other; other = other->next) {
    if (!overlaps (op, other))
      continue;
    if (modifies (op) && (other->kind == READ || other->kind == EXTENTS))
      note_overlap (other, op);
    if (modifies (other) && (op->kind == READ || op->kind == EXTENTS))
      note_overlap (op, other);
  }
}

static int64_t
submit (struct op *op)
{
  struct nbd_handle *nbd = handles[op->connection];
  const nbd_completion_callback done = {
    .callback = replied, .user_data = op
  };
  const nbd_extent_callback extent = {
    .callback = got_extents, .user_data = op
  };

  switch (op->kind) {
  case READ:
    return nbd_aio_pread (nbd, op->buf, op->count, op->offset, done, 0);
  case WRITE:
    return nbd_aio_pwrite (nbd, op->buf, op->count, op->offset, done,
                           op->flags);
  case ZERO:
    return nbd_aio_zero (nbd, op->count, op->offset, done, op->flags);
  case TRIM:
    return nbd_aio_trim (nbd, op->count, op->offset, done, op->flags);
  case FLUSH:
    return nbd_aio_flush (nbd, done, 0);
  case EXTENTS:
    return nbd_aio_block_status (nbd, op->count, op->offset, extent, done,
                                 op->flags);
  default:
    return nbd_aio_cache (nbd, op->count, op->offset, done, 0);
  }
}

static void
record (const struct op *op)
{
  if (nr_history % 4096 == 0) {
    history = realloc (history, (nr_history + 4096) * sizeof *history);
    if (history == NULL)
      fail ("out of memory");
  }
  history[nr_history++] = (struct record) {
    .kind = op->kind, .flags = op->flags, .offset = op->offset,
    .count = op->count
  };
  ++counts[op->kind];
}

static void
reconnect (unsigned i)
{
  struct op *op;

 again:
  for (op = in_flight; op; op = op->next)
    if (op->connection == i) {
      poll_once ();
      goto again;
    }
  disconnect (i);
  handles[i] = nbd_create ();
  if (handles[i] == NULL ||
      nbd_add_meta_context (handles[i],
                            LIBNBD_CONTEXT_BASE_ALLOCATION) == -1 ||
      nbd_connect_unix (handles[i], params.socket) == -1)
    fail ("cannot connect again: %s", nbd_get_error ());
  ++reconnects;
}

static bool
is_in_flight (unsigned long nr)
{
  const struct op *op;

  for (op = in_flight; op && op->nr != nr; op = op->next)
    ;
  return op != NULL;
}

/* Before a kill it is one that may not be lost however soon that comes. */
void
ops_run (unsigned long nr, bool before_kill)
{
  struct rng rng = { .state = params.seed * UINT64_C (1000003) + nr };
  struct op *op = allocate (sizeof *op);

  op->nr = nr;
  op->refs = 1;
  op->connection = rng_below (&rng, params.connections);
  if (rng_below (&rng, 200) == 0)
    reconnect (op->connection);

  choose_kind (&rng, op);
  if (before_kill) {
    op->kind = rng_below (&rng, 3) ? WRITE : ZERO;
    op->flags = LIBNBD_CMD_FLAG_FUA;
  }
  if (op->kind != FLUSH) {
    op->count = choose_count (&rng, op->kind);
    op->offset = choose_offset (&rng, op->count);
  }
  respect_server (op);
  if (op->kind == WRITE)
    choose_data (&rng, op);
  if (op->kind == READ)
    op->buf = allocate (op->count);

  while (!may_start (op))
    poll_once ();
  note_overlaps (op);
  if (op->kind == READ) {
    op->want = allocate (op->count);
    memcpy (op->want, disk_now + op->offset, op->count);
  }
  record (op);
  op->issued = acks;
  op->next = in_flight;
  in_flight = op;
  ++nr_in_flight;
  if (submit (op) == -1)
    fail ("operation %lu (%s): %s", nr, names[op->kind], nbd_get_error ());
  while (before_kill && is_in_flight (nr))
    poll_once ();
}

/* Read the whole disk and judge it. */
void
ops_read_all (struct op *in_doubt, bool after_kill)
{
  struct nbd_handle *nbd = server_connect ();
  unsigned char *buf = allocate (BIG);
  uint64_t offset, count;

  for (offset = 0; offset < disk_size; offset += count) {
    count = disk_size - offset < BIG ? disk_size - offset : BIG;
    if (nbd_pread (nbd, buf, count, offset, 0) == -1)
      fail ("reading everything: %s", nbd_get_error ());
    if (after_kill)
      disk_after_kill (offset, count, buf, in_doubt);
    else
      disk_check (offset, count, buf, "reading everything");
  }
  disk_settled ();
  free (buf);
  nbd_shutdown (nbd, 0);
  nbd_close (nbd);
}

void
ops_summary (void)
{
  unsigned i;

  for (i = 0; i <= CACHE; ++i)
    printf ("%s%s %lu", i ? ", " : "", names[i], counts[i]);
  printf ("; reads and writes that overlapped %lu, trims read back %lu, "
          "fast zeros refused %lu, reconnects %lu\n", overlapped, trimmed,
          fast_refused, reconnects);
}
