/* SPDX-License-Identifier: BSD-3-Clause */
/* The client of the benchmark: one workload against one NBD server.
 *
 * Keeps a number of requests in flight, on one or several connections,
 * until so many are done or so much time is over, and prints
 *   REQUESTS SECONDS
 * Whatever the server is, it gets the same requests in the same order.
 */
#include <config.h>

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libnbd.h>

enum op { OP_READ, OP_WRITE, OP_EXTENTS };

/* One request in flight, and its buffer. */
struct slot {
  struct nbd_handle *nbd;
  char *buf;
  bool busy;
  bool flushing;                /* the write is done, its flush is not */
  bool done;                    /* set by the callback */
};

#define MAX_CONNECTIONS 64

static struct {
  enum op op;
  uint64_t size;                /* of a request, bytes */
  unsigned depth;
  unsigned connections;
  bool random;
  uint64_t stride;              /* from one request to the next */
  uint64_t first;               /* offset of the first */
  uint64_t range;               /* offsets are below this; 0: the disk */
  uint64_t requests;            /* stop after so many; 0: by time */
  double seconds;
  bool flush_each;
  bool flush_end;
  bool one;                     /* extents: one a call */
} opt = {
  .size = 4096, .depth = 1, .connections = 1, .seconds = 1,
};

static struct nbd_handle *handles[MAX_CONNECTIONS];
static uint64_t rng = UINT64_C (0x9e3779b97f4a7c15);
static uint64_t issued, completed, next_offset;

static void
fail (const char *what)
{
  fprintf (stderr, "client: %s: %s\n", what, nbd_get_error ());
  exit (EXIT_FAILURE);
}

static void
usage (const char *what)
{
  fprintf (stderr, "client: %s\n"
           "client [--op=read|write|extents] [--size=N] [--depth=N]\n"
           "       [--connections=N] [--random | --stride=N] [--first=N]\n"
           "       [--range=N] [--requests=N | --seconds=S]\n"
           "       [--flush-each] [--flush-end] [--one] SOCKET\n", what);
  exit (EXIT_FAILURE);
}

static double
now (void)
{
  struct timespec ts;

  clock_gettime (CLOCK_MONOTONIC, &ts);
  return ts.tv_sec + ts.tv_nsec / 1e9;
}

static uint64_t
random_number (void)
{
  rng ^= rng << 13;
  rng ^= rng >> 7;
  rng ^= rng << 17;
  return rng;
}

static uint64_t
choose_offset (void)
{
  uint64_t r;

  if (opt.random)
    return random_number () % (opt.range / opt.size) * opt.size;
  r = next_offset;
  next_offset += opt.stride;
  if (next_offset + opt.size > opt.range)
    next_offset = opt.first;
  return r;
}

static int
on_done (void *opaque, int *error)
{
  struct slot *slot = opaque;

  if (*error) {
    fprintf (stderr, "client: a request failed: %s\n", strerror (*error));
    exit (EXIT_FAILURE);
  }
  slot->done = true;
  return 1;                     /* retired */
}

static void
issue (struct slot *slot, bool flush)
{
  nbd_completion_callback cb = { .callback = on_done, .user_data = slot };
  int64_t r;

  slot->busy = true;
  slot->done = false;
  slot->flushing = flush;
  if (flush)
    r = nbd_aio_flush (slot->nbd, cb, 0);
  else if (opt.op == OP_READ)
    r = nbd_aio_pread (slot->nbd, slot->buf, opt.size, choose_offset (), cb,
                       0);
  else
    r = nbd_aio_pwrite (slot->nbd, slot->buf, opt.size, choose_offset (), cb,
                        0);
  if (r == -1)
    fail ("request");
  if (!flush)
    ++issued;
}

/* Wait until something has happened on some connection. */
static void
wait_for_some (void)
{
  struct pollfd fds[MAX_CONNECTIONS];
  unsigned i;

  for (i = 0; i < opt.connections; ++i) {
    unsigned direction = nbd_aio_get_direction (handles[i]);

    fds[i].fd = nbd_aio_get_fd (handles[i]);
    fds[i].events =
      (direction & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0) |
      (direction & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0);
    fds[i].revents = 0;
  }
  if (poll (fds, opt.connections, -1) == -1 && errno != EINTR) {
    perror ("client: poll");
    exit (EXIT_FAILURE);
  }
  for (i = 0; i < opt.connections; ++i) {
    unsigned direction = nbd_aio_get_direction (handles[i]);

    if (fds[i].revents & (POLLIN | POLLHUP | POLLERR) &&
        direction & LIBNBD_AIO_DIRECTION_READ) {
      if (nbd_aio_notify_read (handles[i]) == -1)
        fail ("read from the server");
    }
    else if (fds[i].revents & POLLOUT &&
             direction & LIBNBD_AIO_DIRECTION_WRITE) {
      if (nbd_aio_notify_write (handles[i]) == -1)
        fail ("write to the server");
    }
  }
}

static void
transfer (void)
{
  struct slot *slots = calloc (opt.depth, sizeof *slots);
  double start = now (), end;
  bool stop = false;
  unsigned i, j, busy;
  bool again;

  if (slots == NULL)
    usage ("out of memory");
  for (i = 0; i < opt.depth; ++i) {
    slots[i].nbd = handles[i % opt.connections];
    slots[i].buf = malloc (opt.size);
    if (slots[i].buf == NULL)
      usage ("out of memory");
    for (j = 0; j < opt.size; ++j)
      slots[i].buf[j] = 1 + (i + j) % 255;
  }

  start = now ();
  do {
    busy = 0;
    again = false;
    for (i = 0; i < opt.depth; ++i) {
      struct slot *slot = &slots[i];

      if (slot->busy && slot->done) {
        slot->busy = false;
        if (opt.flush_each && !slot->flushing)
          issue (slot, true);
        else
          ++completed;
      }
      if (!slot->busy && !stop) {
        if (opt.requests ? issued == opt.requests
                         : now () - start >= opt.seconds)
          stop = true;
        else
          issue (slot, false);
      }
      busy += slot->busy;
      again |= slot->busy && slot->done;
    }
    if (busy && !again)
      wait_for_some ();
  } while (busy || !stop);

  if (opt.flush_end && nbd_flush (handles[0], 0) == -1)
    fail ("flush");
  end = now ();
  printf ("%" PRIu64 " %.6f\n", completed, end - start);

  for (i = 0; i < opt.depth; ++i)
    free (slots[i].buf);
  free (slots);
}

static uint64_t extents_end;

static int
on_extents (void *opaque, const char *metacontext, uint64_t offset,
            uint32_t *entries, size_t nr_entries, int *error)
{
  size_t i;

  (void) opaque;
  (void) metacontext;
  (void) error;
  extents_end = offset;
  for (i = 0; i < nr_entries; i += 2)
    extents_end += entries[i];
  return 0;
}

/* Walk over the whole disk, as qemu does (one) or as nbdcopy does. */
static void
extents (void)
{
  double start = now ();
  uint64_t offset = 0, calls = 0;

  while (offset < opt.range) {
    uint64_t n = opt.range - offset;
    nbd_extent_callback cb = { .callback = on_extents };

    if (n > opt.size)
      n = opt.size;
    extents_end = offset;
    if (nbd_block_status (handles[0], n, offset, cb,
                          opt.one ? LIBNBD_CMD_FLAG_REQ_ONE : 0) == -1)
      fail ("block status");
    if (extents_end <= offset) {
      fprintf (stderr, "client: the server described nothing\n");
      exit (EXIT_FAILURE);
    }
    /* Some servers describe more than they were asked for; copying
     * programs take no notice.
     */
    offset = opt.one ? extents_end : offset + n;
    ++calls;
  }
  printf ("%" PRIu64 " %.6f\n", calls, now () - start);
}

static uint64_t
number (const char *s)
{
  char *end;
  uint64_t r = strtoull (s, &end, 0);

  switch (*end) {
  case 'k': case 'K': r <<= 10; ++end; break;
  case 'm': case 'M': r <<= 20; ++end; break;
  case 'g': case 'G': r <<= 30; ++end; break;
  }
  if (end == s || *end != '\0')
    usage ("not a number");
  return r;
}

static void
parse (int argc, char *argv[])
{
  static const struct option options[] = {
    { "op", required_argument, NULL, 'o' },
    { "size", required_argument, NULL, 's' },
    { "depth", required_argument, NULL, 'd' },
    { "connections", required_argument, NULL, 'c' },
    { "random", no_argument, NULL, 'r' },
    { "stride", required_argument, NULL, 't' },
    { "first", required_argument, NULL, 'f' },
    { "range", required_argument, NULL, 'g' },
    { "requests", required_argument, NULL, 'n' },
    { "seconds", required_argument, NULL, 'S' },
    { "flush-each", no_argument, NULL, 'F' },
    { "flush-end", no_argument, NULL, 'E' },
    { "one", no_argument, NULL, '1' },
    { NULL, 0, NULL, 0 },
  };
  int c;

  while ((c = getopt_long (argc, argv, "", options, NULL)) != -1) {
    switch (c) {
    case 'o':
      if (strcmp (optarg, "read") == 0)
        opt.op = OP_READ;
      else if (strcmp (optarg, "write") == 0)
        opt.op = OP_WRITE;
      else if (strcmp (optarg, "extents") == 0)
        opt.op = OP_EXTENTS;
      else
        usage ("no such --op");
      break;
    case 's': opt.size = number (optarg); break;
    case 'd': opt.depth = number (optarg); break;
    case 'c': opt.connections = number (optarg); break;
    case 'r': opt.random = true; break;
    case 't': opt.stride = number (optarg); break;
    case 'f': opt.first = number (optarg); break;
    case 'g': opt.range = number (optarg); break;
    case 'n': opt.requests = number (optarg); break;
    case 'S': opt.seconds = strtod (optarg, NULL); break;
    case 'F': opt.flush_each = true; break;
    case 'E': opt.flush_end = true; break;
    case '1': opt.one = true; break;
    default: usage ("no such option");
    }
  }
  if (argc - optind != 1)
    usage ("one socket is needed");
  if (opt.size == 0 || opt.depth == 0 || opt.connections == 0 ||
      opt.connections > MAX_CONNECTIONS)
    usage ("a number is out of range");
}

int
main (int argc, char *argv[])
{
  unsigned i;

  parse (argc, argv);
  for (i = 0; i < opt.connections; ++i) {
    handles[i] = nbd_create ();
    if (handles[i] == NULL)
      fail ("libnbd");
    if (opt.op == OP_EXTENTS &&
        nbd_add_meta_context (handles[i], LIBNBD_CONTEXT_BASE_ALLOCATION)
        == -1)
      fail ("meta context");
    if (nbd_connect_unix (handles[i], argv[optind]) == -1)
      fail (argv[optind]);
  }
  if (opt.range == 0)
    opt.range = nbd_get_size (handles[0]);
  if (opt.stride == 0)
    opt.stride = opt.size;
  next_offset = opt.first;
  if (opt.range < opt.size && opt.op != OP_EXTENTS)
    usage ("the disk is smaller than a request");

  if (opt.op == OP_EXTENTS)
    extents ();
  else
    transfer ();

  for (i = 0; i < opt.connections; ++i) {
    nbd_shutdown (handles[i], 0);
    nbd_close (handles[i]);
  }
  return EXIT_SUCCESS;
}
