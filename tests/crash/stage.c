/* SPDX-License-Identifier: BSD-3-Clause */
/* A simulated disk and everything around it: stage.h. */

#include <config.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "coop.h"
#include "stage.h"

void
stage_fail (const struct stage *w, const char *fs, ...)
{
  const struct stage_setup *s = &w->setup;
  static const char *const modes[] = { "file", "stale file", "device" };
  va_list args;

  fflush (stdout);
  fprintf (stderr, "%s: seed %llu: ", s->program,
           (unsigned long long) s->seed);
  va_start (args, fs);
  vfprintf (stderr, fs, args);
  va_end (args);
  fprintf (stderr, "\n  (%s, %u image%s, %u blocks of %u bytes, %u clients; "
           "step %llu; replay with: %s %llu)\n", modes[s->mode], s->layers,
           s->layers == 1 ? "" : "s", s->layout[0].n_blocks,
           s->layout[0].block_size, s->clients,
           (unsigned long long) w->counts->steps, s->program,
           (unsigned long long) s->seed);
  exit (1);
}

/*------------------------------------------------------------------*/

/* With STAGE_TRACE in the environment every call is shown, for those who
 * replay a failure.
 */
static bool trace;

static void
on_point (void *opaque, struct disk *d, enum disk_call call, uint64_t offset,
          uint64_t length)
{
  (void) opaque;
  (void) d;
  if (trace)
    fprintf (stderr, "%d: %s %llu+%llu\n", coop_self (),
             disk_call_name (call), (unsigned long long) offset,
             (unsigned long long) length);
  coop_point ();
}

/* Do only a part, whole sectors of it: less is not written by one. */
static void
limit (struct stage *w, uint64_t offset, uint64_t length,
       struct disk_fault *fault)
{
  const uint64_t end = offset + rng_below (&w->rng, length);

  fault->limited = true;
  fault->count = end / 512 * 512 > offset ? end / 512 * 512 - offset : 0;
}

/* Faults that nobody may notice (short, EINTR), and such that end the
 * operation.
 */
static void
random_fault (struct stage *w, enum disk_call call, uint64_t offset,
              uint64_t length, struct disk_fault *fault)
{
  if (w->setup.fault_sync) {
    if (call == DISK_SYNC) {
      fault->err = EIO;
      w->sync_failed = true;
      w->injected++;
    }
    return;
  }
  switch (call) {
  case DISK_PREAD:
  case DISK_PWRITE:
    switch (rng_below (&w->rng, 4)) {
    case 0:
      fault->err = EINTR;
      return;
    case 1:
      limit (w, offset, length, fault);
      if (fault->count == 0)    /* would mean the end of the file */
        fault->limited = false;
      return;
    case 2:
      if (call == DISK_PWRITE)
        limit (w, offset, length, fault);
      /* fall through */
    default:
      fault->err = call == DISK_PREAD || rng_below (&w->rng, 2) ? EIO : ENOSPC;
      w->injected++;
    }
    break;
  case DISK_TRUNCATE:
  case DISK_PROVISION:
  case DISK_ZERO:
  case DISK_PUNCH:
    fault->err = rng_below (&w->rng, 2) ? EIO : ENOSPC;
    w->injected++;
    break;
  default:
    break;
  }
}

static void
on_fault (void *opaque, struct disk *d, enum disk_call call, uint64_t offset,
          uint64_t length, struct disk_fault *fault)
{
  struct stage *w = opaque;
  const unsigned before = w->injected;

  (void) d;
  if (w->no_more_faults)
    return;
  if (w->fault)
    w->fault (w, call, offset, length, fault);
  else if (w->setup.fault_rate &&
           rng_below (&w->rng, w->setup.fault_rate) == 0)
    random_fault (w, call, offset, length, fault);
  w->counts->faults += w->injected != before;
  w->maybe_poisoned |= fault->durable && w->injected != before;
  if (trace && (fault->err || fault->limited))
    fprintf (stderr, "%d: %s %llu+%llu: error %d, %s %zu\n", coop_self (),
             disk_call_name (call), (unsigned long long) offset,
             (unsigned long long) length, fault->err,
             fault->limited ? "limited to" : "nothing,", fault->count);
}

static struct disk *
new_disk (const struct stage *w, unsigned layer, const char *name)
{
  const struct stage_setup *s = &w->setup;
  const struct layout *l = &s->layout[layer];
  struct disk_config config = {
    .name = name,
    .mode = layer == 0 ? s->mode : DISK_FILE,
    .max_size = layout_full (l) + 4 * 512,
    .max_versions = 12,
    .can_punch = s->can_punch, .can_zero = s->can_zero,
    .can_provision = s->can_provision, .can_dsync = s->can_dsync,
  };

  if (config.mode == DISK_DEVICE)
    config.size = config.max_size;
  if (s->torn && layer == 0) {
    config.torn_start = l->map_off / 512 * 512;
    config.torn_end = (l->map_off + 4 * l->n_blocks + 511) / 512 * 512;
  }
  return disk_new (&config);
}

struct stage *
stage_new (const struct stage_setup *setup, struct peer *peer,
           struct stage_counts *counts)
{
  struct stage *w = calloc (1, sizeof *w);
  const uint64_t sectors = setup->layout[0].sectors;
  struct rules_report report;

  if (w == NULL)
    abort ();
  trace = getenv ("STAGE_TRACE") != NULL;
  w->setup = *setup;
  w->rng.state = setup->seed;
  w->peer = peer;
  w->counts = counts;
  w->counts->stages++;
  w->below = calloc (sectors, sizeof *w->below);
  w->values = calloc (sectors, sizeof *w->values);
  w->kept_values = calloc (sectors, sizeof *w->kept_values);
  if (w->below == NULL || w->values == NULL || w->kept_values == NULL)
    abort ();
  w->guest = guest_new (sectors, 1 + setup->seed % 1000);
  w->disk = new_disk (w, 0, "disk");
  w->crash = new_disk (w, 0, "crash");
  w->kept = new_disk (w, 0, "kept");
  for (unsigned i = setup->layers - 1; i > 0; --i) {
    w->parents[i - 1] = new_disk (w, i, "parent");
    w->parents_again[i - 1] = new_disk (w, i, "parent again");
    layout_build (&setup->layout[i], w->parents[i - 1], w->guest, w->below,
                  sectors, &w->rng);
    disk_settle (w->parents[i - 1], w->parents_again[i - 1]);
  }
  memcpy (w->values, w->below, sectors * sizeof *w->values);
  layout_build (&setup->layout[0], w->disk, w->guest, w->values, sectors,
                &w->rng);
  for (uint64_t i = 0; i < sectors; ++i)
    guest_put (w->guest, i, w->values[i]);
  layout_rules (&setup->layout[0], w->disk, &report);
  w->allowed = report.found & (RULES_BIT (QEMU_OPEN) | RULES_BIT (LAYOUT));
  if (rules_complaint (&report, RULES_AFTER_CRASH | w->allowed))
    stage_fail (w, "built an unsound image: %s",
                rules_complaint (&report, RULES_AFTER_CRASH | w->allowed));
  return w;
}

void
stage_free (struct stage *w)
{
  for (unsigned i = 0; i < STAGE_LAYERS - 1; ++i) {
    disk_free (w->parents[i]);
    disk_free (w->parents_again[i]);
  }
  disk_free (w->disk);
  disk_free (w->crash);
  disk_free (w->kept);
  for (size_t i = 0; i < sizeof w->buf / sizeof w->buf[0]; ++i)
    free (w->buf[i]);
  free (w->below);
  free (w->values);
  free (w->kept_values);
  guest_free (w->guest);
  free (w);
  disk_contents_reset ();
}

static uint64_t
changes (const struct disk *d)
{
  return disk_calls (d, DISK_PWRITE) + disk_calls (d, DISK_TRUNCATE) +
    disk_calls (d, DISK_PUNCH) + disk_calls (d, DISK_ZERO) +
    disk_calls (d, DISK_PROVISION);
}

static uint32_t
newest_header (const struct disk *d)
{
  size_t n;
  const struct disk_version *v = disk_versions (d, 0, &n);

  return v[n - 1].content;
}

/* Has the session written anything?  The header is the first. */
static bool
has_begun (const struct stage *w)
{
  return newest_header (w->disk) != w->header;
}

static struct vdi *
open_chain (struct stage *w, struct disk *image, struct disk **parents)
{
  struct storage *storages[STAGE_LAYERS];
  struct vdi_options options;
  struct vdi_error error;
  struct vdi *vdi;

  vdi_options_init (&options);
  options.lock = false;
  options.ticker = false;
  storages[0] = disk_open (image);
  for (unsigned i = 1; i < w->setup.layers; ++i)
    storages[i] = disk_open (parents[i - 1]);
  if (vdi_open_storage (storages, w->setup.layers, &options, &vdi,
                        &error) == -1)
    stage_fail (w, "open: %s", error.message);
  if (vdi_make_writable (vdi, &error) == -1)
    stage_fail (w, "open for writing: %s", error.message);
  return vdi;
}

void
stage_open (struct stage *w)
{
  const struct disk_hooks hooks = {
    .point = on_point, .fault = on_fault, .opaque = w,
  };
  struct rules_report report;

  coop_init (NULL, 0);          /* even those who spawn nobody need it */
  w->counts->sessions++;
  w->samples = 0;
  w->sync_failed = w->poison_known = w->maybe_poisoned = false;
  layout_rules (&w->setup.layout[0], w->disk, &report);
  w->dense = report.entries == report.highest;
  w->high = report.highest;
  disk_set_hooks (w->disk, &hooks);
  w->no_more_faults = true;
  arena_set_uuid (w->counts->sessions);
  w->vdi = open_chain (w, w->disk, w->parents);
  w->header = newest_header (w->disk);
  w->no_more_faults = false;
}

/*------------------------------------------------------------------*/
/* Looking at what is left of a disk */

/* By our own eyes: sound, and every sector something it may be. */
static void
check_view (struct stage *w, const struct disk *d, enum guest_when when,
            unsigned allowed, const char *what)
{
  const struct layout *l = &w->setup.layout[0];
  struct rules_report report;
  const char *complaint;
  char why[100];

  allowed |= w->allowed;
  if (w->setup.mode == DISK_DEVICE)
    allowed |= RULES_BIT (TAIL);
  layout_rules (l, d, &report);
  complaint = rules_complaint (&report, allowed);
  if (complaint)
    stage_fail (w, "%s: %s", what, complaint);

  memcpy (w->values, w->below, l->sectors * sizeof *w->values);
  if (!layout_view (l, d, w->guest, w->values, why))
    stage_fail (w, "%s: %s", what, why);
  for (uint64_t s = 0; s < l->sectors; ++s)
    if (!guest_allows (w->guest, when, 0, s, w->values[s])) {
      guest_explain (w->guest, stderr, s, w->values[s]);
      stage_fail (w, "%s: sector %llu is wrong", what,
                  (unsigned long long) s);
    }
}

/* The core opens the same disk, sees the same, and changes nothing. */
static void
check_core (struct stage *w, struct disk *d, const char *what)
{
  const struct layout *l = &w->setup.layout[0];
  const uint64_t before = changes (d);
  struct vdi *vdi = open_chain (w, d, w->parents_again);
  const uint64_t step = 2048;
  uint8_t *buf = malloc (step * 512);
  struct vdi_error error;

  if (buf == NULL)
    abort ();
  for (uint64_t s = 0; s < l->sectors; s += step) {
    const uint64_t n = l->sectors - s < step ? l->sectors - s : step;

    if (vdi_read (vdi, buf, n * 512, s * 512, &error) == -1)
      stage_fail (w, "%s: read: %s", what, error.message);
    for (uint64_t i = 0; i < n; ++i) {
      const uint32_t value = guest_value (w->guest, buf + i * 512, s + i);

      if (value != w->values[s + i]) {
        guest_explain (w->guest, stderr, s + i, value);
        stage_fail (w, "%s: the core reads something else than is there",
                    what);
      }
    }
  }
  free (buf);
  if (vdi_close (vdi, &error) == -1)
    stage_fail (w, "%s: close: %s", what, error.message);
  if (changes (d) != before)
    stage_fail (w, "%s: was changed though nothing was written", what);
}

static void
check_qemu (struct stage *w, const struct disk *d, unsigned rules,
            const char *what)
{
  const struct layout *l = &w->setup.layout[0];
  const char *output;
  unsigned corruptions;
  uint64_t sector;

  if (w->peer == NULL)
    return;
  w->counts->qemu_checks++;
  if (layout_qemu_check (l, d, w->peer, &corruptions, &output) == -1)
    stage_fail (w, "%s: qemu-img check does not open it: %s", what, output);
  /* A count that is too high is one corruption to QEMU, the only one that
   * a crash may leave.
   */
  if (corruptions != (rules & RULES_BIT (SURPLUS) ? 1 : 0))
    stage_fail (w, "%s: qemu-img check: %s", what, output);

  if (w->setup.layers > 1 || l->block_size != 1u << 20 || l->extra != 0)
    return;
  switch (w->counts->qemu_checks % 32) {
  case 0:
    w->counts->qemu_reads++;
    if (layout_qemu_read (l, d, w->guest, w->peer, w->values, &sector,
                          &output) == -1)
      stage_fail (w, "%s: QEMU reads sector %llu differently: %s", what,
                  (unsigned long long) sector, output);
    break;
  case 16:
    if (w->setup.mode == DISK_DEVICE)
      break;
    w->counts->qemu_writes++;
    if (layout_qemu_write (l, d, w->guest, w->peer, w->values, &sector,
                           &output) == -1)
      stage_fail (w, "%s: QEMU writes to it, then sector %llu is: %s", what,
                  (unsigned long long) sector, output);
  }
}

static void
check_image (struct stage *w, struct disk *d, enum guest_when when,
             unsigned allowed, const char *what)
{
  struct rules_report report;

  w->counts->images++;
  check_view (w, d, when, allowed, what);
  check_core (w, d, what);
  layout_rules (&w->setup.layout[0], d, &report);
  check_qemu (w, d, report.found, what);
}

static uint64_t
next_random (void *opaque)
{
  return rng_next (opaque);
}

static void
keep (struct stage *w)
{
  disk_settle (w->crash, w->kept);
  memcpy (w->kept_values, w->values,
          w->setup.layout[0].sectors * sizeof *w->values);
}

/* Whoever finds what a killed program left may go on for long. */
static void
check_room (struct stage *w)
{
  struct rules_report report;
  const char *complaint;

  if (!has_begun (w))
    return;                     /* it is what the session before left */
  layout_rules (&w->setup.layout[0], w->crash, &report);
  complaint = rules_room_complaint (&report, w->high);
  if (complaint)
    stage_fail (w, "killed: %s", complaint);
}

void
stage_sample (struct stage *w)
{
  /* A process that is killed loses nothing that it has written: in a base
   * image in a file, whose fresh blocks need no more than that,
   * whatever was acknowledged is there.
   */
  const bool acknowledged = w->setup.layers == 1 && w->dense &&
    w->setup.mode == DISK_FILE && w->setup.fault_rate == 0 && !w->fault;

  if (rng_below (&w->rng, 8) == 0) {
    disk_settle (w->disk, w->crash);
    w->counts->killed++;
    check_image (w, w->crash,
                 acknowledged ? GUEST_AFTER_KILL : GUEST_AFTER_CRASH,
                 RULES_AFTER_CRASH, "killed");
    check_room (w);
  }
  else {
    disk_crash (w->disk, w->crash, next_random, &w->rng);
    check_image (w, w->crash, GUEST_AFTER_CRASH, RULES_AFTER_CRASH,
                 "crashed");
  }
  if (rng_below (&w->rng, ++w->samples) == 0)
    keep (w);
}

/*------------------------------------------------------------------*/

/* What a clean close must leave, where anything was written at all: an
 * exact count and length, and no holes.
 */
static void
check_closed (struct stage *w)
{
  struct rules_report report;
  const bool exact = has_begun (w);

  for (unsigned i = 0; i < 2; ++i) {
    disk_crash (w->disk, w->crash, next_random, &w->rng);
    check_image (w, w->crash, GUEST_AFTER_CRASH,
                 exact ? 0 : RULES_AFTER_CRASH, "closed");
    layout_rules (&w->setup.layout[0], w->crash, &report);
    if (exact && report.count != report.entries)
      stage_fail (w, "closed: the count is %u, with %u entries", report.count,
                  report.entries);
  }
}

void
stage_finish (struct stage *w)
{
  struct vdi_error error;
  uint32_t time;
  int r;

  w->no_more_faults = true;
  stage_read_all (w);
  if (vdi_check_invariants (w->vdi, &error) == -1)
    stage_fail (w, "invariants: %s", error.message);
  time = guest_flush_begin (w->guest);
  r = vdi_close (w->vdi, &error);
  w->vdi = NULL;
  guest_flush_end (w->guest, time, r == 0);
  if (r == -1 && !w->sync_failed)
    stage_fail (w, "close: %s", error.message);
  if (r == 0 && w->poison_known)
    stage_fail (w, "close succeeded though a sync had failed");
  if (r == 0)
    check_closed (w);
  else
    stage_sample (w);
  w->counts->forgotten += disk_forgotten (w->disk);
  for (unsigned i = 0; i + 1 < w->setup.layers; ++i)
    if (changes (w->parents[i]) || changes (w->parents_again[i]))
      stage_fail (w, "a parent was written to");
}

void
stage_next (struct stage *w, bool crash)
{
  const struct disk_hooks none = { NULL, NULL, NULL };
  struct disk *t;

  if (!crash || w->samples == 0) {
    /* All that was closed well is on the disk; else any crash will do. */
    disk_crash (w->disk, w->crash, next_random, &w->rng);
    check_image (w, w->crash, GUEST_AFTER_CRASH, RULES_AFTER_CRASH, "next");
    keep (w);
  }
  guest_restart (w->guest, w->kept_values);
  t = w->disk;
  w->disk = w->kept;
  w->kept = t;
  disk_set_hooks (w->kept, &none);
  w->injected = 0;
}
