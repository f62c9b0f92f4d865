/* SPDX-License-Identifier: BSD-3-Clause */
/* The storage that commit.c writes to: see medium.h. */
#include <config.h>

#include <errno.h>

#include "commit/medium.h"
#include "utils/cleanup.h"

void
medium_init (struct medium *m, struct storage *st,
             const struct vdi_listener *listener)
{
  *m = (struct medium) { .st = st, .listener = listener };
  pthread_mutex_init (&m->poison_lock, NULL);
}

void
medium_destroy (struct medium *m)
{
  pthread_mutex_destroy (&m->poison_lock);
}

static int
say_why (struct medium *m, struct vdi_error *error)
{
  HOLD_LOCK (&m->poison_lock);

  if (!m->ceded)
    return vdi_set_error (error, EIO, "%s: what was written may be lost since "
                          "an earlier error, so nothing more is written: close "
                          "and open the image again to see what is there "
                          "(%.300s)", m->st->name, m->why.message);
  *error = m->why;
  return -1;
}

int
medium_check (struct medium *m, struct vdi_error *error)
{
  return m->poisoned ? say_why (m, error) : 0;
}

static void
poison (struct medium *m, const struct vdi_error *error, bool ceded)
{
  HOLD_LOCK (&m->poison_lock);

  if (m->poisoned)
    return;
  m->why = *error;
  m->ceded = ceded;
  m->poisoned = true;
  vdi_debug (m->listener, "commit: writing ends here: %s", error->message);
}

int
medium_poison (struct medium *m, struct vdi_error *error)
{
  poison (m, error, false);
  return -1;
}

void
medium_cede (struct medium *m, const struct vdi_error *error)
{
  poison (m, error, true);
}

int
medium_sync (struct medium *m, struct vdi_error *error)
{
  if (medium_check (m, error) == -1)
    return -1;
  if (storage_sync (m->st, error) == 0)
    return 0;
  error->err = EIO;
  return medium_poison (m, error);
}

/* That it was only this write that failed is certain for lack of space;
 * making it durable may have, too, and then nothing may be believed any
 * more.
 */
int
medium_write_durable (struct medium *m, const void *buf, size_t count,
                      uint64_t offset, const char *what,
                      struct vdi_error *error)
{
  if (medium_check (m, error) == -1)
    return -1;
  if (storage_write_durable (m->st, buf, count, offset, what, error) == 0)
    return 0;
  switch (error->err) {
  case ENOTSUP:
  case ENOSPC:
  case EDQUOT:
  case EFBIG:
    return 1;
  }
  error->err = EIO;
  return medium_poison (m, error);
}
