/* SPDX-License-Identifier: BSD-3-Clause */
/* Reads, writes and flushes, a number of them in flight.
 *
 * A slot goes through a cycle of steps, one request each, and then begins
 * again with the next offset: "w" writes, "wf" flushes each write, "wfjf"
 * is what the file system of a guest does when it allocates.
 */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client.h"

#define JOURNAL_SIZE (1 << 20)  /* the journal is the disk's first MiB */

struct slot {
  struct nbd_handle *nbd;
  char *buf;
  const char *step;             /* in flight; NULL: none is */
  bool done;                    /* set by the callback */
  double start;                 /* of the cycle */
};

static uint64_t rng = UINT64_C (0x9e3779b97f4a7c15);
static uint64_t issued, next_offset, next_journal;
static double *latencies;       /* of the cycles that are completed */
static uint64_t completed, nr_latencies;

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

static uint64_t
journal_offset (void)
{
  uint64_t r = next_journal;

  next_journal = (r + opt.size) % JOURNAL_SIZE;
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
issue (struct slot *slot, const char *step)
{
  nbd_completion_callback cb = { .callback = on_done, .user_data = slot };
  int64_t r = -1;

  slot->step = step;
  slot->done = false;
  switch (*step) {
  case 'r':
    r = nbd_aio_pread (slot->nbd, slot->buf, opt.size, choose_offset (), cb,
                       0);
    break;
  case 'w':
    r = nbd_aio_pwrite (slot->nbd, slot->buf, opt.size, choose_offset (), cb,
                        0);
    break;
  case 'j':
    r = nbd_aio_pwrite (slot->nbd, slot->buf, opt.size, journal_offset (),
                        cb, 0);
    break;
  case 'f':
    r = nbd_aio_flush (slot->nbd, cb, 0);
    break;
  default:
    die ("no such step in --cycle");
  }
  if (r == -1)
    fail ("request");
}

static void
begin_cycle (struct slot *slot)
{
  if (opt.pause > 0 && issued > 0) {
    struct timespec ts = {
      .tv_sec = opt.pause,
      .tv_nsec = (opt.pause - (time_t) opt.pause) * 1e9,
    };

    nanosleep (&ts, NULL);
  }
  ++issued;
  slot->start = now ();
  issue (slot, opt.cycle);
}

static void
end_cycle (struct slot *slot)
{
  if (completed == nr_latencies) {
    nr_latencies = nr_latencies * 2 + 1024;
    latencies = realloc (latencies, nr_latencies * sizeof *latencies);
    if (latencies == NULL)
      die ("out of memory");
  }
  latencies[completed++] = now () - slot->start;
  slot->step = NULL;
}

/* Wait until something has happened on some connection. */
static void
wait_for_some (void)
{
  struct pollfd fds[MAX_CONNECTIONS + 1];
  unsigned i;

  for (i = 0; i < nr_handles; ++i) {
    unsigned direction = nbd_aio_get_direction (handles[i]);

    fds[i].fd = nbd_aio_get_fd (handles[i]);
    fds[i].events =
      (direction & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0) |
      (direction & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0);
    fds[i].revents = 0;
  }
  if (poll (fds, nr_handles, -1) == -1 && errno != EINTR)
    die (strerror (errno));
  for (i = 0; i < nr_handles; ++i) {
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

static char *
new_buffer (size_t size, unsigned seed)
{
  char *buf = malloc (size);
  size_t i;

  if (buf == NULL)
    die ("out of memory");
  for (i = 0; i < size; ++i)
    buf[i] = 1 + (seed + i) % 255;
  return buf;
}

/* Make so much dirty, above what the slots write to, and begin to flush
 * it.  The slots stop when it is flushed.
 */
static void
begin_big_flush (struct slot *flusher)
{
  const size_t size = 1 << 20;
  char *buf = new_buffer (size, 0);
  uint64_t i;

  flusher->nbd = handles[nr_handles - 1];
  for (i = 0; i < opt.beside; i += size)
    if (nbd_pwrite (flusher->nbd, buf, size, opt.range + i, 0) == -1)
      fail ("write");
  free (buf);
  issue (flusher, "f");
}

static bool
time_to_stop (double start, const struct slot *flusher)
{
  if (opt.beside)
    return flusher->done;
  if (opt.requests)
    return issued == opt.requests;
  return now () - start >= opt.seconds;
}

static int
compare_doubles (const void *a, const void *b)
{
  double x = *(const double *) a, y = *(const double *) b;

  return (x > y) - (x < y);
}

void
transfer (void)
{
  struct slot *slots = calloc (opt.depth, sizeof *slots), flusher = { 0 };
  double start, seconds;
  bool stop = false;
  unsigned i, busy;
  bool again;

  if (slots == NULL)
    die ("out of memory");
  for (i = 0; i < opt.depth; ++i) {
    slots[i].nbd = handles[i % opt.connections];
    slots[i].buf = new_buffer (opt.size, i);
  }
  next_offset = opt.first;
  if (opt.beside)
    begin_big_flush (&flusher);

  start = now ();
  do {
    busy = 0;
    again = false;
    for (i = 0; i < opt.depth; ++i) {
      struct slot *slot = &slots[i];

      if (slot->step != NULL && slot->done) {
        if (slot->step[1] != '\0')
          issue (slot, slot->step + 1);
        else
          end_cycle (slot);
      }
      if (slot->step == NULL && !stop) {
        stop = time_to_stop (start, &flusher);
        if (!stop)
          begin_cycle (slot);
      }
      busy += slot->step != NULL;
      again |= slot->step != NULL && slot->done;
    }
    if (busy && !again)
      wait_for_some ();
  } while (busy || !stop);

  if (opt.flush_end && nbd_flush (handles[0], 0) == -1)
    fail ("flush");
  seconds = now () - start;
  if (completed == 0)
    die ("the time was over before the first request");
  qsort (latencies, completed, sizeof *latencies, compare_doubles);
  printf ("%" PRIu64 " %.6f %.9f\n", completed, seconds,
          latencies[completed / 2]);

  for (i = 0; i < opt.depth; ++i)
    free (slots[i].buf);
  free (slots);
  free (latencies);
}
