/* SPDX-License-Identifier: BSD-3-Clause */
/* The client of the benchmark: one workload against one NBD server.
 * Whatever the server is, it gets the same requests in the same order.
 */
#include <config.h>

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client.h"

struct options opt = {
  .cycle = "w", .size = 4096, .depth = 1, .connections = 1, .seconds = 1,
};
struct nbd_handle *handles[MAX_CONNECTIONS + 1];
unsigned nr_handles;

void
fail (const char *what)
{
  fprintf (stderr, "client: %s: %s\n", what, nbd_get_error ());
  exit (EXIT_FAILURE);
}

void
die (const char *what)
{
  fprintf (stderr, "client: %s\n", what);
  exit (EXIT_FAILURE);
}

static void
usage (const char *what)
{
  fprintf (stderr, "client: %s\n"
           "client [--cycle=STEPS | --extents [--one]] [--size=N]\n"
           "       [--depth=N] [--connections=N] [--random | --stride=N]\n"
           "       [--first=N] [--range=N] [--pause=S] [--flush-end]\n"
           "       [--requests=N | --seconds=S | --beside=N] SOCKET\n"
           "steps: r read, w write, f flush, j write into the journal\n",
           what);
  exit (EXIT_FAILURE);
}

double
now (void)
{
  struct timespec ts;

  clock_gettime (CLOCK_MONOTONIC, &ts);
  return ts.tv_sec + ts.tv_nsec / 1e9;
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
    { "cycle", required_argument, NULL, 'C' },
    { "extents", no_argument, NULL, 'x' },
    { "size", required_argument, NULL, 's' },
    { "depth", required_argument, NULL, 'd' },
    { "connections", required_argument, NULL, 'c' },
    { "random", no_argument, NULL, 'r' },
    { "stride", required_argument, NULL, 't' },
    { "first", required_argument, NULL, 'f' },
    { "range", required_argument, NULL, 'g' },
    { "requests", required_argument, NULL, 'n' },
    { "seconds", required_argument, NULL, 'S' },
    { "pause", required_argument, NULL, 'p' },
    { "beside", required_argument, NULL, 'b' },
    { "flush-end", no_argument, NULL, 'E' },
    { "one", no_argument, NULL, '1' },
    { NULL, 0, NULL, 0 },
  };
  int c;

  while ((c = getopt_long (argc, argv, "", options, NULL)) != -1) {
    switch (c) {
    case 'C': opt.cycle = optarg; break;
    case 'x': opt.extents = true; break;
    case 's': opt.size = number (optarg); break;
    case 'd': opt.depth = number (optarg); break;
    case 'c': opt.connections = number (optarg); break;
    case 'r': opt.random = true; break;
    case 't': opt.stride = number (optarg); break;
    case 'f': opt.first = number (optarg); break;
    case 'g': opt.range = number (optarg); break;
    case 'n': opt.requests = number (optarg); break;
    case 'S': opt.seconds = strtod (optarg, NULL); break;
    case 'p': opt.pause = strtod (optarg, NULL); break;
    case 'b': opt.beside = number (optarg); break;
    case 'E': opt.flush_end = true; break;
    case '1': opt.one = true; break;
    default: usage ("no such option");
    }
  }
  if (argc - optind != 1)
    usage ("one socket is needed");
  if (opt.size == 0 || opt.depth == 0 || opt.connections == 0 ||
      opt.connections > MAX_CONNECTIONS || *opt.cycle == '\0')
    usage ("a number is out of range");
}

static struct nbd_handle *
connect_to (const char *socket)
{
  struct nbd_handle *nbd = nbd_create ();

  if (nbd == NULL)
    fail ("libnbd");
  if (opt.extents &&
      nbd_add_meta_context (nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) == -1)
    fail ("meta context");
  if (nbd_connect_unix (nbd, socket) == -1)
    fail (socket);
  return nbd;
}

int
main (int argc, char *argv[])
{
  uint64_t size;

  parse (argc, argv);
  while (nr_handles < opt.connections + (opt.beside != 0))
    handles[nr_handles++] = connect_to (argv[optind]);

  size = nbd_get_size (handles[0]);
  if (opt.beside > size)
    usage ("the disk is smaller than what is to be flushed");
  if (opt.range == 0)
    opt.range = size - opt.beside;
  if (opt.stride == 0)
    opt.stride = opt.size;
  if (opt.range < opt.first + opt.size && !opt.extents)
    usage ("the disk is smaller than a request");

  if (opt.extents)
    extents ();
  else
    transfer ();

  while (nr_handles > 0) {
    nbd_shutdown (handles[--nr_handles], 0);
    nbd_close (handles[nr_handles]);
  }
  return EXIT_SUCCESS;
}
