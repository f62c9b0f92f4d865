/* SPDX-License-Identifier: BSD-3-Clause */
/* Initialise the address sanitizer before anything else in the process.
 *
 * Preloaded into nbdkit it would otherwise be initialised by the first
 * malloc of another library's constructor: on Debian 12 that of
 * libp11-kit, inside of newlocale, which holds glibc's lock of the
 * locales.  The sanitizer's own initialisation calls dlerror, which takes
 * and releases that lock, too, and leaves it broken: after the first %m
 * in a message nbdkit hangs when it exits.  This library is linked with
 * -z initfirst, so its constructor is the first of all.
 */
#include <stdlib.h>

static void *volatile first;

static void initialise_first (void) __attribute__ ((constructor));

static void
initialise_first (void)
{
  first = malloc (1);
  free (first);
}
