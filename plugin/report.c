/* SPDX-License-Identifier: BSD-3-Clause */
/* What the core has to say: see report.h. */
#include <config.h>

#include <errno.h>
#include <stddef.h>
#include <string.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "report.h"

/* The NBD protocol knows few errors, and nbdkit tells the client EINVAL
 * for all others, as if the request had been at fault.  So whatever is
 * not in this table is an I/O error to the client.
 *
 * ENOTSUP is not in it for a reason: if .zero fails with ENOTSUP, nbdkit
 * falls back to writing zeros, which nbdkit 1.32 does wrongly (beyond
 * 64 MiB it zeroes the wrong part), and if .pwrite does, it aborts.  Only
 * a fast zero may fail with it, which plugin.c does by itself.
 */
static const struct {
  int core;
  int client;
} errors[] = {
  { EIO, EIO },
  { ENOMEM, ENOMEM },
  { ENOSPC, ENOSPC },
  { EFBIG, ENOSPC },
  { EDQUOT, ENOSPC },
  { EINVAL, EINVAL },
  { EROFS, EPERM },
  { EACCES, EPERM },
  { EPERM, EPERM },
};

int
report (const struct vdi_error *error)
{
  int client = EIO;
  size_t i;

  nbdkit_error ("%s", error->message);
  for (i = 0; i < sizeof errors / sizeof errors[0]; ++i) {
    if (errors[i].core == error->err)
      client = errors[i].client;
  }
  errno = client;
  return -1;
}

void
report_warning (void *opaque, const char *message)
{
  (void) opaque;
  nbdkit_error ("warning: %s", message);
}

/* Debug flags: nbdkit -D vdi.chain=1 and so on. */
extern NBDKIT_DLL_PUBLIC int vdi_debug_chain;
extern NBDKIT_DLL_PUBLIC int vdi_debug_commit;
extern NBDKIT_DLL_PUBLIC int vdi_debug_lease;
int vdi_debug_chain;
int vdi_debug_commit;
int vdi_debug_lease;

static const struct {
  const char *prefix;
  const int *flag;
} topics[] = {
  { "chain: ", &vdi_debug_chain },
  { "commit: ", &vdi_debug_commit },
  { "lease: ", &vdi_debug_lease },
};

void
report_debug (void *opaque, const char *message)
{
  size_t i;

  (void) opaque;
  for (i = 0; i < sizeof topics / sizeof topics[0]; ++i) {
    if (!*topics[i].flag
        && strncmp (message, topics[i].prefix,
                    strlen (topics[i].prefix)) == 0)
      return;
  }
  nbdkit_debug ("%s", message);
}
