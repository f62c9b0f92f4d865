/* SPDX-License-Identifier: BSD-3-Clause */
/* Starting, stopping and killing the server of the model test. */

#include <config.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "model.h"

static pid_t pid;

static void
pause_ms (long ms)
{
  const struct timespec ts = { .tv_nsec = ms * 1000000 };

  nanosleep (&ts, NULL);
}

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
  int i, status;

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

  /* A connection is the only proof that it listens. */
  for (i = 0; i < 6000; ++i) {
    if (waitpid (pid, &status, WNOHANG) == pid)
      fail ("the server did not start (status 0x%x)", status);
    if (access (params.socket, F_OK) == 0) {
      nbd = nbd_create ();
      if (nbd == NULL)
        fail ("%s", nbd_get_error ());
      if (nbd_connect_unix (nbd, params.socket) == 0) {
        if (nbd_get_size (nbd) < (int64_t) disk_size)
          fail ("the disk has %" PRIi64 " bytes, the model %" PRIu64,
                nbd_get_size (nbd), disk_size);
        nbd_shutdown (nbd, 0);
        nbd_close (nbd);
        return;
      }
      nbd_close (nbd);
    }
    pause_ms (10);
  }
  fail ("the server does not answer");
}

struct nbd_handle *
server_connect (void)
{
  struct nbd_handle *nbd = nbd_create ();

  if (nbd == NULL || nbd_connect_unix (nbd, params.socket) == -1)
    fail ("cannot connect: %s", nbd_get_error ());
  return nbd;
}

static int
server_wait (void)
{
  int i, status;

  for (i = 0; i < 6000; ++i) {
    const pid_t r = waitpid (pid, &status, WNOHANG);

    if (r == pid)
      return status;
    if (r == -1 && errno != EINTR)
      fail ("waitpid: %m");
    pause_ms (10);
  }
  fail ("the server does not stop");
}

void
server_kill (void)
{
  kill (pid, SIGKILL);
}

void
server_reap (void)
{
  const int status = server_wait ();

  /* Anything else means that it had died before, by itself. */
  if (!WIFSIGNALED (status) || WTERMSIG (status) != SIGKILL)
    fail ("the server ended by itself (status 0x%x)", status);
  run_hook ("killed");
}

void
server_stop (void)
{
  int status;

  kill (pid, SIGTERM);
  status = server_wait ();
  if (!WIFEXITED (status) || WEXITSTATUS (status) != 0)
    fail ("the server did not stop cleanly (status 0x%x)", status);
  run_hook ("clean");
}
