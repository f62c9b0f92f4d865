/* SPDX-License-Identifier: BSD-3-Clause */
/* Other programs: see watch.h. */
#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "disk/disk.h"
#include "disk/watch.h"
#include "utils/clock.h"

#define PATIENCE_MS 500         /* before the first write */
#define PAUSE_MS 10             /* between two looks then */
#define GRACE_MS 1000           /* while it is written to */
#define COUNTED_MS 250          /* of what lies between two looks then */

void
watch_init (struct watch *w)
{
  *w = (struct watch) { .nr_told = 0 };
  pthread_mutex_init (&w->lock, NULL);
  pthread_cond_init (&w->resumed, NULL);
}

void
watch_destroy (struct watch *w)
{
  pthread_cond_destroy (&w->resumed);
  pthread_mutex_destroy (&w->lock);
}

static bool
may_write (const struct storage_others *o)
{
  return o->kind == OTHERS_WRITE || o->kind == OTHERS_UNSEEN;
}

/* Has somebody got it, and not only for a moment? */
static bool
stays_open (struct storage *st, bool writers_only, struct storage_others *o)
{
  const struct timespec pause = { .tv_nsec = PAUSE_MS * 1000000L };
  const struct timespec began = clock_in_ms (0);

  for (;;) {
    storage_others (st, writers_only, o);
    if (!storage_is_other (o) || clock_ms_since (&began) >= PATIENCE_MS)
      return storage_is_other (o);
    nanosleep (&pause, NULL);
  }
}

/* For a message: who does what. */
static const char *
has_open (const struct storage_others *o)
{
  switch (o->kind) {
  case OTHERS_READ:
    return "another program has it open for reading";
  case OTHERS_WRITE:
    return "another program has it open for writing";
  default:
    return "another program, which cannot be seen from here, has it open";
  }
}

/*------------------------------------------------------------------*/

/* Once. */
static void
say_unknown (struct vdi *vdi, const struct storage_others *o)
{
  if (o->kind != OTHERS_UNKNOWN || o->who[0] == '\0' ||
      vdi->watch.said_unknown)
    return;
  vdi_debug (&vdi->listener, "lease: %s: it cannot be told whether another "
             "program has it open: %s", vdi->levels[0]->name, o->who);
  vdi->watch.said_unknown = true;
}

void
watch_open (struct vdi *vdi)
{
  struct storage_others o;

  for (size_t i = 0; i < vdi->depth; i++) {
    struct storage *st = vdi->levels[i]->st;

    storage_others (st, true, &o);
    if (storage_is_other (&o))
      vdi_warn (&vdi->listener, "%s: %s (%s): what is read may be inconsistent",
                st->name, has_open (&o), o.who);
    else if (i == 0)
      say_unknown (vdi, &o);
  }
}

static int
refuse (const struct storage *st, const struct storage_others *o,
        const char *what, struct vdi_error *error)
{
  return vdi_set_error (error, EBUSY, "%s: %s (%s), so %s must not be "
                        "written to: stop that program (the virtual machine, "
                        "if it is VirtualBox), or use nbdkit -r; lock=off if "
                        "you are sure that this is safe",
                        st->name, has_open (o), o->who, what);
}

int
watch_may_write (struct vdi *vdi, struct vdi_error *error)
{
  struct storage_others o;

  for (size_t i = vdi->depth; i-- > 1; )
    if (stays_open (vdi->levels[i]->st, true, &o))
      return refuse (vdi->levels[i]->st, &o, "its child", error);
  if (stays_open (vdi->levels[0]->st, false, &o))
    return refuse (vdi->levels[0]->st, &o, "it", error);
  say_unknown (vdi, &o);
  vdi->watch.on = o.kind != OTHERS_UNKNOWN;
  return 0;
}

/*------------------------------------------------------------------*/

static void
hold (struct vdi *vdi)
{
  /* Only if somebody is sure to resume. */
  if (vdi->ticker_wanted)
    vdi->watch.held = true;
}

static void
resume (struct watch *w)
{
  pthread_mutex_lock (&w->lock);
  w->held = false;
  pthread_cond_broadcast (&w->resumed);
  pthread_mutex_unlock (&w->lock);
}

void
watch_wait (struct vdi *vdi)
{
  struct watch *w = &vdi->watch;

  if (!w->held)
    return;
  pthread_mutex_lock (&w->lock);
  while (w->held)
    pthread_cond_wait (&w->resumed, &w->lock);
  pthread_mutex_unlock (&w->lock);
}

static void
commit (struct vdi *vdi)
{
  struct vdi_error error;

  if (commit_for_others (vdi->commit, &error) == -1)
    vdi_warn (&vdi->listener, "%s", error.message);
}

/* Is this to be said?  Of each program once, however often it comes. */
static bool
is_news (struct watch *w, const char *who)
{
  const size_t len = strcspn (who, ",");
  char *place;

  for (unsigned i = 0; i < WATCH_TOLD && i < w->nr_told; i++)
    if (strncmp (w->told[i], who, len) == 0 && w->told[i][len] == '\0')
      return false;
  place = w->told[w->nr_told++ % WATCH_TOLD];
  snprintf (place, sizeof w->told[0], "%.*s", (int) len, who);
  return true;
}

static void
meet_reader (struct vdi *vdi, const struct storage_others *o)
{
  struct watch *w = &vdi->watch;

  if (strcmp (w->reader, o->who) != 0) {
    snprintf (w->reader, sizeof w->reader, "%s", o->who);
    commit (vdi);
  }
  if (is_news (w, o->who))
    vdi_warn (&vdi->listener, "%s: %s (%s): what that one reads may be "
              "inconsistent while it is written to here", vdi->levels[0]->name,
              has_open (o), o->who);
}

/* Crash story 11 (commit.c).  For good. */
static void
cede (struct vdi *vdi, const struct storage_others *o)
{
  struct vdi_error why;

  commit (vdi);
  vdi_set_error (&why, EIO, "%s: %s (%s): what was written before is in the "
                 "image, but nothing more is, or both would destroy it: stop "
                 "one of the two, check the disk, and start again",
                 vdi->levels[0]->name, has_open (o), o->who);
  commit_cede (vdi->commit, &why);
  vdi_warn (&vdi->listener, "%s", why.message);
  vdi->watch.on = false;
  vdi->watch.suspicious = false;
  resume (&vdi->watch);
}

static void
meet_writer (struct vdi *vdi, const struct storage_others *o)
{
  struct watch *w = &vdi->watch;

  if (!w->suspicious) {
    w->suspicious = true;
    w->lasted = 0;
    hold (vdi);
    vdi_debug (&vdi->listener, "lease: %s: %s (%s)", vdi->levels[0]->name,
               has_open (o), o->who);
    commit (vdi);
  }
  else {
    const long ms = clock_ms_since (&w->looked);

    /* Two who pass by one after the other are not one who stays, so that
     * more is needed than two looks with a long time between them.
     */
    w->lasted += ms < COUNTED_MS ? ms : COUNTED_MS;
    if (w->lasted >= GRACE_MS)
      cede (vdi, o);
  }
  w->looked = clock_in_ms (0);
}

static void
calm_down (struct vdi *vdi)
{
  struct watch *w = &vdi->watch;

  if (!w->suspicious)
    return;
  w->suspicious = false;
  resume (w);
  vdi_debug (&vdi->listener, "lease: %s: it has closed it again",
             vdi->levels[0]->name);
}

static void
look_for_others (struct vdi *vdi)
{
  struct watch *w = &vdi->watch;
  const struct timespec began = clock_in_ms (0);
  struct storage_others o;

  storage_others (vdi->levels[0]->st, false, &o);
  /* Who is there for long is looked for in a hundredth of the time. */
  w->rest = clock_ms_since (&began) / 10;
  if (may_write (&o)) {
    meet_writer (vdi, &o);
    return;
  }
  calm_down (vdi);
  if (o.kind == OTHERS_READ)
    meet_reader (vdi, &o);
  else if (o.kind == OTHERS_NONE)
    w->reader[0] = '\0';
}

/* It cannot be got back under its name, but its disk can still be copied.
 * Once.
 */
static void
look_for_name (struct vdi *vdi, const char *consequence)
{
  struct watch *w = &vdi->watch;
  struct storage *st = vdi->levels[0]->st;

  if (w->said_nameless || !storage_is_nameless (st))
    return;
  w->said_nameless = true;
  vdi_warn (&vdi->listener, "%s: the file has been removed, or another put in "
            "its place, while it is written to: all that is written is lost %s",
            st->name, consequence);
}

bool
watch_hurries (const struct vdi *vdi)
{
  return vdi->watch.suspicious;
}

void
watch_tick (struct vdi *vdi, unsigned seconds)
{
  struct watch *w = &vdi->watch;

  if (seconds > 0)
    look_for_name (vdi, "when nbdkit ends; copy the disk before that (with "
                   "nbdcopy, for example)");
  if (!w->on)
    return;
  if (w->suspicious)
    look_for_others (vdi);
  else if (seconds > w->rest)
    look_for_others (vdi);
  else
    w->rest -= seconds;
}

void
watch_close (struct vdi *vdi)
{
  struct storage_others o;

  if (vdi->commit != NULL && commit_in_session (vdi->commit))
    look_for_name (vdi, "now");
  if (!vdi->watch.on)
    return;
  storage_others (vdi->levels[0]->st, false, &o);
  if (may_write (&o) && stays_open (vdi->levels[0]->st, false, &o) &&
      may_write (&o))
    cede (vdi, &o);
}
