/* SPDX-License-Identifier: BSD-3-Clause */
/* A directory of a test's own, below the current one (the build
 * directory), which is gone when the test exits.
 */
#ifndef VDI_TMPDIR_H
#define VDI_TMPDIR_H

#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"

static char tmpdir[PATH_MAX];   /* absolute */
static pid_t tmpdir_owner;      /* children that exit leave it alone */
static char *tmpdir_names[64];  /* what tmpdir_file made, NULL after the last */

static int
tmpdir_remove_one (const char *path, const struct stat *sb, int type,
                   struct FTW *ftw)
{
  (void) sb;
  (void) type;
  (void) ftw;
  return remove (path);
}

static void
tmpdir_remove (void)
{
  size_t i;

  for (i = 0; tmpdir_names[i] != NULL; ++i)
    free (tmpdir_names[i]);
  if (getpid () == tmpdir_owner)
    nftw (tmpdir, tmpdir_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void
tmpdir_make (void)
{
  char name[] = "tmp-test.XXXXXX";

  CHECK (mkdtemp (name) != NULL);
  CHECK (realpath (name, tmpdir) != NULL);
  tmpdir_owner = getpid ();
  CHECK (atexit (tmpdir_remove) == 0);
}

/* The name of a file in it, valid until the test exits. */
static inline char *
tmpdir_file (const char *name)
{
  size_t i;

  for (i = 0; tmpdir_names[i] != NULL; ++i)
    ;
  CHECK (i + 1 < sizeof tmpdir_names / sizeof tmpdir_names[0]);
  CHECK (asprintf (&tmpdir_names[i], "%s/%s", tmpdir, name) != -1);
  return tmpdir_names[i];
}

#endif /* VDI_TMPDIR_H */
