/* SPDX-License-Identifier: BSD-3-Clause */
/* Run the real qemu-img, see peer.h. */

#include <config.h>

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "child.h"
#include "peer.h"

#define ARGS_MAX 32

struct peer {
  pid_t pid;                    /* of the server; 0 if there is none */
  int fd;                       /* to it and back */
  int text;                     /* memfd, what was printed */
  char output[16384];
};

static void
spawn_server (struct peer *p)
{
  const struct timeval patience = { .tv_sec = CHILD_PATIENCE };
  int pair[2], status;

  /* A socket, and not pipes: writing to a dead server must not raise
   * SIGPIPE in the test.
   */
  if (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == -1)
    return;
  fflush (NULL);
  p->pid = fork ();
  if (p->pid == 0) {
    const int null = open ("/dev/null", O_RDWR);

    setenv ("LD_PRELOAD", PEER_PRELOAD, 1);
    setenv ("PEER_SERVE", "1", 1);
    dup2 (null, 0);
    dup2 (null, 1);
    dup2 (null, 2);
    dup2 (pair[1], PEER_IN);
    dup2 (pair[1], PEER_OUT);
    dup2 (p->text, PEER_TEXT);
    execlp ("qemu-img", "qemu-img", "--version", (char *) NULL);
    _exit (127);
  }
  close (pair[1]);
  p->fd = pair[0];
  setsockopt (p->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (p->pid > 0 &&
      recv (p->fd, &status, sizeof status, MSG_WAITALL) == sizeof status)
    return;
  if (p->pid > 0)
    child_wait (p->pid, &status);
  close (p->fd);
  p->fd = -1;
  p->pid = 0;
}

struct peer *
peer_start (void)
{
  struct peer *p = calloc (1, sizeof *p);
  const char *output;

  if (p == NULL)
    return NULL;
  p->fd = -1;
  p->text = memfd_create ("peer", MFD_CLOEXEC);
  if (p->text == -1) {
    free (p);
    return NULL;
  }
  fcntl (p->text, F_SETFL, O_APPEND);
  spawn_server (p);
  if (peer_run (p, &output, "qemu-img", "--version", NULL) != 0) {
    peer_stop (p);
    return NULL;
  }
  return p;
}

void
peer_stop (struct peer *p)
{
  if (p == NULL)
    return;
  if (p->pid) {
    int status;

    close (p->fd);
    if (!child_wait (p->pid, &status))
      child_stop (p->pid, SIGKILL, &status);
  }
  close (p->text);
  free (p);
}

bool
peer_is_fast (const struct peer *p)
{
  return p->pid != 0;
}

/* -1 if the server has died. */
static int
ask_server (struct peer *p, const char **args, size_t nr, int *status)
{
  char request[4096];
  uint32_t size = 0;

  for (size_t i = 0; i < nr; ++i) {
    const size_t n = strlen (args[i]) + 1;

    if (sizeof size + size + n > sizeof request)
      return -1;
    memcpy (request + sizeof size + size, args[i], n);
    size += n;
  }
  memcpy (request, &size, sizeof size);
  size += sizeof size;
  if (send (p->fd, request, size, MSG_NOSIGNAL) != (ssize_t) size ||
      recv (p->fd, status, sizeof *status, MSG_WAITALL) != sizeof *status)
    return -1;
  return 0;
}

static int
ask_anew (struct peer *p, const char **args, int *status)
{
  pid_t pid;

  fflush (NULL);
  pid = fork ();
  if (pid == 0) {
    dup2 (p->text, 1);
    dup2 (p->text, 2);
    execvp (args[0], (char *const *) args);
    _exit (127);
  }
  if (pid == -1 || !child_wait (pid, status))
    return -1;
  return 0;
}

int
peer_run (struct peer *p, const char **output, ...)
{
  const char *args[ARGS_MAX + 1];
  int status, r;
  size_t nr = 0;
  ssize_t size;
  va_list list;

  va_start (list, output);
  while (nr < ARGS_MAX && (args[nr] = va_arg (list, const char *)) != NULL)
    nr++;
  args[nr] = NULL;
  va_end (list);

  if (ftruncate (p->text, 0) == -1)
    return -1;
  r = p->pid && strcmp (args[0], "qemu-img") == 0
    ? ask_server (p, args, nr, &status) : ask_anew (p, args, &status);
  size = pread (p->text, p->output, sizeof p->output - 1, 0);
  p->output[size > 0 ? size : 0] = '\0';
  *output = p->output;
  return r == 0 && WIFEXITED (status) ? WEXITSTATUS (status) : -1;
}

int
peer_check (struct peer *p, const char *filename, unsigned *corruptions,
            const char **output)
{
  const int status = peer_run (p, output, "qemu-img", "check", "-f", "vdi",
                               "--output=json", filename, NULL);
  const char *s = strstr (*output, "\"corruptions\": ");
  const char *errors = strstr (*output, "\"check-errors\": 0");

  if ((status != 0 && status != 2) || errors == NULL)
    return -1;
  *corruptions = s ? strtoul (s + strlen ("\"corruptions\": "), NULL, 10) : 0;
  return (status == 0) == (*corruptions == 0) ? 0 : -1;
}
