/* SPDX-License-Identifier: BSD-3-Clause */
/* Child processes of a test: when a server is ready, and that all end.
 *
 * No test waits for a child without a bound, and no bound is one that a
 * busy machine could reach: CHILD_PATIENCE is for what hangs.
 */
#ifndef VDI_CHILD_H
#define VDI_CHILD_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHILD_PATIENCE 600      /* seconds */

static inline time_t
child_now (void)
{
  struct timespec t;

  clock_gettime (CLOCK_MONOTONIC, &t);
  return t.tv_sec;
}

static inline void
child_pause (void)
{
  const struct timespec ms = { .tv_nsec = 1000000 };

  nanosleep (&ms, NULL);
}

/* Wait until it has ended; false if it does not. */
static inline bool
child_wait (pid_t pid, int *status)
{
  const time_t end = child_now () + CHILD_PATIENCE;
  pid_t r;

  while ((r = waitpid (pid, status, WNOHANG)) != pid) {
    if ((r == -1 && errno != EINTR) || child_now () > end)
      return false;
    child_pause ();
  }
  return true;
}

/* Send it a signal, and wait until it has ended.  Who does not is killed;
 * then the status says so.
 */
static inline bool
child_stop (pid_t pid, int sig, int *status)
{
  if (kill (pid, sig) == -1)
    return false;
  return child_wait (pid, status) ||
    (kill (pid, SIGKILL) == 0 && child_wait (pid, status));
}

/* To a Unix socket, whose absolute name may be longer than the 107 bytes
 * that the system allows.  -1 if nobody listens.
 */
static inline int
child_connect (const char *socket_name)
{
  struct sockaddr_un addr = { .sun_family = AF_UNIX };
  const char *base = strrchr (socket_name, '/') + 1;
  char dir[PATH_MAX];
  int dirfd, fd, r = -1;

  snprintf (dir, sizeof dir, "%.*s", (int) (base - socket_name), socket_name);
  dirfd = open (dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
  fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (dirfd != -1 && fd != -1) {
    snprintf (addr.sun_path, sizeof addr.sun_path, "/proc/self/fd/%d/%.64s",
              dirfd, base);
    r = connect (fd, (struct sockaddr *) &addr, sizeof addr);
  }
  if (dirfd != -1)
    close (dirfd);
  if (r == 0)
    return fd;
  if (fd != -1)
    close (fd);
  return -1;
}

/* Does an NBD server answer here?  A socket that exists, or even takes
 * connections, proves nothing: the kernel does that for a server that is
 * still opening its image.  No export is opened by this: it is an NBD
 * handshake that is ended by NBD_OPT_ABORT.
 */
static inline bool
child_answers (const char *socket_name)
{
  const int fd = child_connect (socket_name);
  /* What the client says: flags; IHAVEOPT, NBD_OPT_ABORT, no data. */
  static const char bye[4 + 8 + 4 + 4] = "\0\0\0\1IHAVEOPT\0\0\0\2";
  const struct timeval patience = { .tv_sec = CHILD_PATIENCE };
  char hello[8 + 8 + 2];
  bool r;

  if (fd == -1)
    return false;
  setsockopt (fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  r = recv (fd, hello, sizeof hello, MSG_WAITALL) == sizeof hello &&
    memcmp (hello, "NBDMAGICIHAVEOPT", 16) == 0 &&
    send (fd, bye, sizeof bye, MSG_NOSIGNAL) == sizeof bye;
  /* Until it has noticed. */
  while (r && recv (fd, hello, sizeof hello, 0) > 0)
    ;
  close (fd);
  return r;
}

/* Wait until a server that was just started answers; false if it has ended
 * (it is reaped, and *status says how), or does not answer (0).
 */
static inline bool
child_ready (pid_t pid, const char *socket_name, int *status)
{
  const time_t end = child_now () + CHILD_PATIENCE;

  while (!child_answers (socket_name)) {
    *status = 0;
    if (waitpid (pid, status, WNOHANG) != 0 || child_now () > end)
      return false;
    child_pause ();
  }
  return true;
}

#endif /* VDI_CHILD_H */
