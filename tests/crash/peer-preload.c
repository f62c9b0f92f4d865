/* SPDX-License-Identifier: BSD-3-Clause */
/* Preloaded into qemu-img by peer.c, so that one process that has been
 * linked and set up answers many requests, each in a fork of its own:
 * most of what `qemu-img check` of a small image costs is the dynamic
 * linker.  qemu-img itself runs unchanged.
 *
 * A request on PEER_IN is the length of an argument vector and its
 * strings, each with its NUL; the answer on PEER_OUT is the wait status.
 * The request's output goes to PEER_TEXT.
 */

#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "peer.h"

typedef int (*main_function) (int, char **, char **);
typedef int (*start_function) (main_function, int, char **, void (*) (void),
                               void (*) (void), void (*) (void), void *);

static main_function real_main;

static int
read_all (void *buf, size_t count)
{
  char *p = buf;

  while (count > 0) {
    ssize_t r = read (PEER_IN, p, count);

    if (r <= 0)
      return -1;
    p += r;
    count -= r;
  }
  return 0;
}

static int
serve (int argc, char **argv, char **env)
{
  static char text[4096];
  static char *args[64];
  uint32_t count;
  int status = 0;

  (void) argc;
  (void) argv;
  if (write (PEER_OUT, &status, sizeof status) != sizeof status)
    _exit (1);
  while (read_all (&count, sizeof count) == 0) {
    size_t nr = 0;
    pid_t pid;

    if (count > sizeof text || read_all (text, count) == -1)
      _exit (1);
    for (size_t i = 0; i < count && nr < 63; ++i)
      if (i == 0 || text[i - 1] == '\0')
        args[nr++] = &text[i];
    args[nr] = NULL;

    pid = fork ();
    if (pid == 0) {
      dup2 (PEER_TEXT, 1);
      dup2 (PEER_TEXT, 2);
      close (PEER_IN);
      close (PEER_OUT);
      exit (real_main (nr, args, env));
    }
    if (pid == -1 || waitpid (pid, &status, 0) != pid ||
        write (PEER_OUT, &status, sizeof status) != sizeof status)
      _exit (1);
  }
  _exit (0);
}

int __libc_start_main (main_function, int, char **, void (*) (void),
                       void (*) (void), void (*) (void), void *);

int
__libc_start_main (main_function m, int argc, char **argv,
                   void (*init) (void), void (*fini) (void),
                   void (*rtld_fini) (void), void *stack_end)
{
  start_function next;

  *(void **) &next = dlsym (RTLD_NEXT, "__libc_start_main");
  real_main = m;
  unsetenv ("LD_PRELOAD");
  return next (getenv ("PEER_SERVE") ? serve : m,
               argc, argv, init, fini, rtld_fini, stack_end);
}
