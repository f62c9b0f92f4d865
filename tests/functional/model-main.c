/* SPDX-License-Identifier: BSD-3-Clause */
/* Options of the model test, and the course of a run: see model.h.
 *
 * model --raw FILE --socket PATH [options] -- SERVER ARGUMENTS...
 *
 * FILE holds what the disk must read as at the start, and is changed as
 * the disk is.  The server must serve on PATH in the foreground.
 */
#include <config.h>

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "model.h"

struct params params = {
  .seed = 1, .ops = 1000, .connections = 4, .in_flight = 16, .kills = 4,
  .restarts = 2, .block_size = 1 << 20,
};

static unsigned long at;

void
fail (const char *fs, ...)
{
  va_list args;
  const char *replay = getenv ("MODEL_REPLAY");

  fflush (stdout);
  fprintf (stderr, "model: FAILED with seed %" PRIu64 " at operation %lu of "
           "%lu: ", params.seed, at, params.ops);
  va_start (args, fs);
  vfprintf (stderr, fs, args);
  va_end (args);
  fprintf (stderr, "\nmodel: to see it again: %s\n",
           replay ? replay : "run the same command");
  exit (EXIT_FAILURE);
}

static void
parse (int argc, char *argv[])
{
  static const struct option options[] = {
    { "seed", required_argument, NULL, 's' },
    { "ops", required_argument, NULL, 'o' },
    { "connections", required_argument, NULL, 'c' },
    { "in-flight", required_argument, NULL, 'i' },
    { "kills", required_argument, NULL, 'k' },
    { "restarts", required_argument, NULL, 'r' },
    { "block-size", required_argument, NULL, 'b' },
    { "acked", no_argument, NULL, 'a' },
    { "torn", no_argument, NULL, 't' },
    { "socket", required_argument, NULL, 'S' },
    { "raw", required_argument, NULL, 'R' },
    { "hook", required_argument, NULL, 'h' },
    { NULL }
  };
  int c;

  while ((c = getopt_long (argc, argv, "", options, NULL)) != -1) {
    switch (c) {
    case 's': params.seed = strtoull (optarg, NULL, 0); break;
    case 'o': params.ops = strtoul (optarg, NULL, 0); break;
    case 'c': params.connections = strtoul (optarg, NULL, 0); break;
    case 'i': params.in_flight = strtoul (optarg, NULL, 0); break;
    case 'k': params.kills = strtoul (optarg, NULL, 0); break;
    case 'r': params.restarts = strtoul (optarg, NULL, 0); break;
    case 'b': params.block_size = strtoul (optarg, NULL, 0); break;
    case 'a': params.acked = true; break;
    case 't': params.torn = true; break;
    case 'S': params.socket = optarg; break;
    case 'R': params.raw = optarg; break;
    case 'h': params.hook = optarg; break;
    default: exit (EXIT_FAILURE);
    }
  }
  params.command = &argv[optind];
  if (params.raw == NULL || params.socket == NULL || optind == argc ||
      params.connections < 1 || params.connections > 16 ||
      params.in_flight < 1 || params.block_size == 0) {
    fprintf (stderr, "usage: model --raw FILE --socket PATH [options] -- "
             "SERVER ARGUMENTS...\n");
    exit (EXIT_FAILURE);
  }
}

static void
kill_and_judge (void)
{
  struct op *in_doubt = ops_abandon ();

  server_start ();
  ops_read_all (in_doubt, true);
  ops_free (in_doubt);
  ops_connect ();
}

static void
restart_and_judge (void)
{
  ops_disconnect ();
  server_stop ();
  server_start ();
  ops_read_all (NULL, false);
  ops_connect ();
}

int
main (int argc, char *argv[])
{
  struct rng rng;
  unsigned long next_kill, next_restart, kills = 0, restarts = 0;

  parse (argc, argv);
  disk_open (params.raw);
  rng.state = params.seed ^ UINT64_C (0x6b696c6c);
  next_kill = params.kills ? rng_below (&rng, 2 * params.ops / params.kills)
                           : params.ops;
  next_restart = params.restarts
    ? rng_below (&rng, 2 * params.ops / params.restarts) : params.ops;

  server_start ();
  ops_read_all (NULL, false);
  ops_connect ();
  for (at = 0; at < params.ops; ++at) {
    /* Every second kill comes as it likes. */
    ops_run (at, at == next_kill && kills % 2 == 0);
    if (at == next_kill) {
      kill_and_judge ();
      ++kills;
      next_kill += 1 + rng_below (&rng, 2 * params.ops / params.kills);
    }
    if (at == next_restart) {
      restart_and_judge ();
      ++restarts;
      next_restart += 1 + rng_below (&rng, 2 * params.ops / params.restarts);
    }
  }
  restart_and_judge ();
  ops_disconnect ();
  server_stop ();

  printf ("seed %" PRIu64 ": %lu operations, %lu kills, %lu restarts: ",
          params.seed, params.ops, kills, restarts);
  ops_summary ();
  return EXIT_SUCCESS;
}
