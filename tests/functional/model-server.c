/* SPDX-License-Identifier: BSD-3-Clause */
/* Starting, stopping and killing the server of the model test. */

#include <config.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/prctl.h>

#include "child.h"
#include "model.h"

static pid_t pid;

static void
run_hook (const char *how)
{
  char *command;
  int r;

  if (params.hook == NULL)
    return;
  if (asprintf (&command, "%s %s", params.hook, how) == -1)
    fail ("out of memory");
  r = system (command);
  if (r != 0)
    fail ("the check of the image after a %s stop failed (status 0x%x): %s",
          how, r, command);
  free (command);
}

void
server_start (void)
{
  struct nbd_handle *nbd;
  int status;

  unlink (params.socket);
  pid = fork ();
  if (pid == -1)
    fail ("fork: %m");
  if (pid == 0) {
    prctl (PR_SET_PDEATHSIG, SIGKILL);
    execvp (params.command[0], params.command);
    perror (params.command[0]);
    _exit (127);
  }

  if (!child_ready (pid, params.socket, &status))
    fail ("the server did not start (status 0x%x)", status);
  nbd = server_connect ();
  if (nbd_get_size (nbd) < (int64_t) disk_size)
    fail ("the disk has %" PRIi64 " bytes, the model %" PRIu64,
          nbd_get_size (nbd), disk_size);
  nbd_shutdown (nbd, 0);
  nbd_close (nbd);
}

struct nbd_handle *
server_connect (void)
{
  struct nbd_handle *nbd = nbd_create ();

  if (nbd == NULL || nbd_connect_unix (nbd, params.socket) == -1)
    fail ("cannot connect: %s", nbd_get_error ());
  return nbd;
}

void
server_kill (void)
{
  kill (pid, SIGKILL);
}

void
server_reap (void)
{
  int status;

  if (!child_wait (pid, &status))
    fail ("the server does not die");
  /* Anything else means that it had died before, by itself. */
  if (!WIFSIGNALED (status) || WTERMSIG (status) != SIGKILL)
    fail ("the server ended by itself (status 0x%x)", status);
  run_hook ("killed");
}

void
server_stop (void)
{
  int status;

  if (!child_stop (pid, SIGTERM, &status))
    fail ("the server does not die");
  if (!WIFEXITED (status) || WEXITSTATUS (status) != 0)
    fail ("the server did not stop cleanly (status 0x%x)", status);
  run_hook ("clean");
}
