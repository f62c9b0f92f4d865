/* SPDX-License-Identifier: BSD-3-Clause */
/* A disk, an image on it and two clients in one piece of memory: see
 * world.h.
 */
#include <config.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "arena.h"
#include "coop.h"
#include "utils/bytes.h"
#include "world.h"

#define ARENA_SIZE (512 * 1024)
#define CLEAR_STACK (24 * 1024) /* deeper than the core ever goes */

struct world *world;
struct disk *world_disk;
const struct setup *world_setup;
struct judge world_judge;
char world_wrong[400];
bool world_trace;

/* coroutines, struct world, disk, arena: in this order. */
static char *memory;
static size_t memory_size;
static char *arena_memory;
static unsigned armed_fault;

/* Every sector of every write, made once: a client that is stopped in the
 * middle of a write must find its buffer as it left it.
 */
static uint8_t write_bytes[VALUE_LAST + 1][MAX_GUEST][DISK_SECTOR];

static void __attribute__ ((format (printf, 1, 2)))
wrong (const char *fs, ...)
{
  va_list args;

  if (world_wrong[0])
    return;
  va_start (args, fs);
  vsnprintf (world_wrong, sizeof world_wrong, fs, args);
  va_end (args);
}

static void
misuse (const char *what)
{
  wrong ("locks: %s", what);
  if (coop_self () == -1) {
    fprintf (stderr, "%s\n", world_wrong);
    abort ();
  }
  for (;;)
    coop_idle ();
}

/*------------------------------------------------------------------*/
/* The disk's hooks */

static void
at_call (void *opaque, struct disk *d, enum disk_call call, uint64_t offset,
         uint64_t length)
{
  struct client *c;

  (void) opaque;
  (void) d;
  if (coop_self () == -1)
    return;
  c = &world->clients[coop_self ()];
  c->call = (uint8_t) (call + 1);
  c->length = (uint32_t) length;
  coop_point ();
  c->call = 0;
  c->length = 0;
  if (world_trace)
    fprintf (stderr, "    %c %s %llu+%llu\n", 'A' + coop_self (),
             disk_call_name (call), (unsigned long long) offset,
             (unsigned long long) length);
}

enum { FAULT_NONE, FAULT_EIO, FAULT_ENOSPC, FAULT_PART, FAULT_LATE };

const char *
world_fault_name (unsigned fault)
{
  static const char *const names[] = {
    "", "EIO", "ENOSPC", "EIO, one sector of it done", "EIO, all of it done",
  };

  return names[fault];
}

unsigned
world_nr_faults (int client)
{
  switch (world->clients[client].call) {
  case DISK_PWRITE + 1:
    return FAULT_LATE + 1;
  case DISK_TRUNCATE + 1:
    return FAULT_ENOSPC + 1;
  case DISK_PREAD + 1:
  case DISK_SYNC + 1:
  case DISK_PUNCH + 1:
  case DISK_ZERO + 1:
    return FAULT_EIO + 1;
  default:
    return 0;
  }
}

static void
fault_call (void *opaque, struct disk *d, enum disk_call call,
            uint64_t offset, uint64_t length, struct disk_fault *f)
{
  (void) opaque;
  (void) d;
  (void) offset;
  (void) length;
  if (armed_fault == FAULT_NONE)
    return;
  if (world_trace)
    fprintf (stderr, "      fails: %s\n", world_fault_name (armed_fault));
  world->faulty = 1;
  f->err = armed_fault == FAULT_ENOSPC ? ENOSPC : EIO;
  if (armed_fault == FAULT_PART) {
    f->limited = true;
    f->count = DISK_SECTOR;     /* sectors are atomic here, too */
  }
  f->late = armed_fault == FAULT_LATE;
  if (call == DISK_SYNC || (f->durable && f->late))
    world->poisoned = (uint8_t) (1 << coop_self ());
  armed_fault = FAULT_NONE;
}

/*------------------------------------------------------------------*/
/* The clients */

static void
foreign_program (void)
{
  const struct setup *s = world_setup;
  uint8_t bytes[DISK_SECTOR];
  uint32_t count;
  size_t n;

  disk_get (world_disk, bytes, sizeof bytes, 0);
  count = get_le32 (bytes + 388);
  if (count == s->sc->n)
    return;
  put_le32 (bytes + 388, ++count);
  bytes[408] ^= 0xff;           /* uuid_mod */
  disk_put_size (world_disk, s->data_off + count * s->stride);
  disk_put (world_disk, bytes, sizeof bytes, 0);
  world->foreign = disk_versions (world_disk, 0, &n)[0].content;
}

static int
read_and_check (int id, const struct op *op, struct vdi_error *error)
{
  uint8_t bytes[MAX_GUEST][DISK_SECTOR];
  unsigned i;

  if (vdi_read (world->vdi, bytes, op->count * DISK_SECTOR,
                op->first * DISK_SECTOR, error) == -1)
    return -1;
  for (i = 0; i < op->count; i++) {
    const unsigned value =
      setup_value (world_setup, disk_intern (bytes[i]), op->first + i);
    const values allowed = oracle_readable (&world->oracle, id,
                                            op->first + i);

    if (!(allowed & BIT (value)))
      wrong ("a read sees value %u in sector %u, not in set %#x", value,
             op->first + i, allowed);
  }
  return 0;
}

static int
run_op (int id, const struct op *op, unsigned sequence,
        struct vdi_error *error)
{
  const uint64_t offset = op->first * DISK_SECTOR;
  const uint64_t length = op->count * DISK_SECTOR;
  int r;

  switch (op->kind) {
  case OP_WRITE:
    return vdi_write (world->vdi, write_bytes[sequence][op->first], length,
                      offset, 0, error);
  case OP_FUA:
    return vdi_write (world->vdi, write_bytes[sequence][op->first], length,
                      offset, VDI_FUA, error);
  case OP_FLUSH:
    return vdi_flush (world->vdi, error);
  case OP_TRIM:
    return vdi_trim (world->vdi, length, offset, 0, error);
  case OP_ZERO:
    return vdi_zero (world->vdi, length, offset, VDI_MAY_TRIM, error);
  case OP_ZERO_NO_TRIM:
    return vdi_zero (world->vdi, length, offset, 0, error);
  case OP_ZERO_FUA:
    return vdi_zero (world->vdi, length, offset, VDI_FUA, error);
  case OP_READ:
    return read_and_check (id, op, error);
  case OP_TICK:
    return vdi_tick (world->vdi, 5, error);
  case OP_REFILL:
    return vdi_tick (world->vdi, 0, error);
  case OP_FOREIGN:
    foreign_program ();
    return 0;
  case OP_CLOSE:
    r = vdi_close (world->vdi, error);
    world->vdi = NULL;
    world->closed = 1;
    return r;
  }
  abort ();
}

/* Every allocation of the core is freed, everything is durable. */
static void
check_closed (bool failed)
{
  const char *s;
  unsigned i;

  if (arena_live () != 0)
    wrong ("closing leaks %zu allocations", arena_live ());
  if (failed || world->foreign || !judge_has_begun (&world_judge, world_disk))
    return;
  for (i = 0; i < world_setup->guest; i++)
    world->oracle.durable[i] &= world->oracle.live[i];
  s = judge_clean (&world_judge, world_disk, !world->faulty);
  if (s)
    wrong ("%s", s);
}

static void
perform (int id)
{
  struct client *c = &world->clients[id];
  const struct op op = c->op;
  struct vdi_error error;
  bool failed;

  oracle_begin (&world->oracle, world_setup->guest, id, &op, c->sequence);
  failed = run_op (id, &op, c->sequence, &error) == -1;
  oracle_end (&world->oracle, world_setup->guest, id, &op, failed);
  if (world_trace) {
    char buf[16];

    fprintf (stderr, "  %c %s %s%s\n", 'A' + id, op_print (&op, buf),
             failed ? "failed: " : "done", failed ? error.message : "");
  }

  if (failed && !world->faulty && !world->foreign)
    wrong ("%c fails without a reason: %s", op.kind, error.message);
  /* What began after the failure of a sync was answered must fail. */
  if (!failed && c->after_poison &&
      strchr ("wfFtznZc", op.kind) != NULL)
    wrong ("%c succeeds after a sync has failed", op.kind);
  if (world->poisoned & 1 << id)
    world->poisoned = 0x80;
  if (op.kind == OP_CLOSE)
    check_closed (failed);
  memset (c, 0, sizeof *c);
}

static void
client_main (void *arg)
{
  for (;;) {
    coop_idle ();
    perform ((int) (intptr_t) arg);
  }
}

/*------------------------------------------------------------------*/

void
world_init (const struct setup *setup)
{
  struct disk_config config = setup->config;
  const size_t coop_size = coop_memory (NR_CLIENTS);
  const size_t disk_size_max = 64 * 1024;
  unsigned i, k;

  if (memory == NULL) {
    memory_size = coop_size + 4096 + disk_size_max + ARENA_SIZE;
    memory = mmap (NULL, memory_size, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || sizeof *world > 4096)
      abort ();
    for (i = 0; i <= VALUE_LAST; i++)
      for (k = 0; k < MAX_GUEST; k++)
        setup_write_bytes (write_bytes[i][k], k, i);
  }
  world_setup = setup;
  coop_misuse = misuse;
  coop_unlock_points = false;
  world = (struct world *) (memory + coop_size);
  config.memory = memory + coop_size + 4096;
  config.hooks.point = at_call;
  config.hooks.fault = fault_call;
  if (disk_memory (&config) > disk_size_max)
    abort ();
  world_disk = disk_new (&config);
  arena_memory = memory + coop_size + 4096 + disk_size_max;
  world_wrong[0] = '\0';
}

void
world_exit (void)
{
  arena_init (NULL, 0);
  munmap (memory, memory_size);
  memory = NULL;
}

static void
open_image (struct vdi_error *error)
{
  struct storage *storages[1 + MAX_PARENTS];
  const unsigned nr = world_setup->sc->nr_parents;
  struct vdi_options options;
  unsigned i;

  vdi_options_init (&options);
  options.lock = false;
  options.ticker = false;
  options.commit_seconds = 5;
  storages[0] = disk_open (world_disk);
  for (i = 0; i < nr; i++)
    storages[1 + i] = disk_open (world_setup->parents[i]);
  if (vdi_open_storage (storages, 1 + nr, &options, &world->vdi,
                        error) == -1) {
    world->vdi = NULL;
    wrong ("cannot be opened: %s", error->message);
  }
  else if (vdi_make_writable (world->vdi, error) == -1)
    wrong ("cannot be written to: %s", error->message);
}

/* What the image shows now, which must be in allowed. */
static void
read_all (const values *allowed, values *seen)
{
  static uint8_t bytes[MAX_GUEST][DISK_SECTOR];
  const unsigned guest = world_setup->guest;
  struct vdi_error error;
  unsigned i;

  if (vdi_read (world->vdi, bytes, guest * DISK_SECTOR, 0, &error) == -1) {
    wrong ("cannot be read: %s", error.message);
    return;
  }
  for (i = 0; i < guest; i++) {
    const unsigned value =
      setup_value (world_setup, disk_intern (bytes[i]), i);

    if (!(allowed[i] & BIT (value)))
      wrong ("sector %u reads as value %u, not in set %#x", i, value,
             allowed[i]);
    seen[i] = BIT (value);
  }
}

void
world_open (const struct disk *from, const values *allowed, bool killed,
            unsigned session)
{
  const unsigned guest = world_setup->guest;
  values seen[MAX_GUEST], any[MAX_GUEST];
  struct vdi_error error;
  uint64_t before;
  unsigned i;
  int c;

  memset (arena_memory, 0, ARENA_SIZE);
  arena_init (arena_memory, ARENA_SIZE);
  arena_set_uuid (session << 8);
  coop_init (memory, NR_CLIENTS);
  memset (world, 0, sizeof *world);
  if (from)
    disk_copy (from, world_disk);
  else {
    struct disk_config config = *disk_get_config (world_disk);

    disk_new (&config);
    setup_fill (world_setup, world_disk);
  }
  judge_start (&world_judge, world_setup, world_disk);
  before = disk_hash (world_disk);

  open_image (&error);
  if (world->vdi) {
    /* At first we only know that it is not what does not belong here. */
    for (i = 0; i < guest; i++)
      any[i] = allowed ? allowed[i]
                       : BIT (VALUE_ZERO) | BIT (VALUE_PARENT) |
                         BIT (VALUE_OLD);
    read_all (any, seen);
    oracle_init (&world->oracle, seen, guest);
    if (killed)
      memcpy (world->oracle.durable, allowed, guest * sizeof *allowed);
  }
  if (disk_hash (world_disk) != before)
    wrong ("opening writes to the image");

  for (c = 0; c < NR_CLIENTS; c++) {
    coop_spawn (client_main, (void *) (intptr_t) c);
    coop_step (c);
  }
}

bool
world_is_idle (int client)
{
  return !world->clients[client].busy;
}

bool
world_can_step (int client)
{
  return world->clients[client].busy && coop_can_run (client);
}

bool
world_is_quiet (int client)
{
  const struct client *c = &world->clients[client];

  switch (c->call) {
  case 0:
    return true;
  case DISK_PREAD + 1:
  case DISK_SIZE + 1:
  case DISK_EXTENT + 1:
    return c->op.kind != OP_READ;
  default:
    return false;
  }
}

static void
run (int client)
{
  coop_step (client);
  if (world->foreign) {
    size_t n;
    const struct disk_version *v = disk_versions (world_disk, 0, &n);

    if (v[n - 1].content != world->foreign)
      wrong ("the header was overwritten though another program had changed "
             "it");
  }
}

void
world_start (int client, const struct op *op, unsigned sequence)
{
  struct client *c = &world->clients[client];

  memset (c, 0, sizeof *c);
  c->op = *op;
  c->busy = 1;
  c->sequence = (uint8_t) sequence;
  c->after_poison = world->poisoned == 0x80;
  coop_clear_stack (client, CLEAR_STACK);
  coop_wake (client);
  run (client);
}

void
world_step (int client, unsigned fault)
{
  armed_fault = fault;
  run (client);
  armed_fault = FAULT_NONE;
}

bool
world_is_stuck (void)
{
  bool busy = false;
  int c;

  for (c = 0; c < NR_CLIENTS; c++) {
    if (world_can_step (c))
      return false;
    busy |= !world_is_idle (c);
  }
  return busy;
}

void
world_check_live (void)
{
  values seen[MAX_GUEST];
  struct vdi_error error;

  read_all (world->oracle.live, seen);
  if (vdi_check_invariants (world->vdi, &error) == -1)
    wrong ("invariant: %s", error.message);
}

/*------------------------------------------------------------------*/

uint64_t
world_hash (void)
{
  uint64_t h = disk_hash (world_disk);
  size_t size;
  void *p;
  int c;

  h = disk_hash_bytes (world, sizeof *world, h);
  p = coop_fixed (&size);
  h = disk_hash_bytes (p, size, h);
  for (c = 0; c < NR_CLIENTS; c++) {
    coop_stack (c, &p, &size);
    h = disk_hash_bytes (p, size, h);
  }
  return disk_hash_bytes (arena_memory, arena_used (), h);
}

static void
save (struct snapshot *s, const void *p, size_t size)
{
  if (s->size + size > s->max) {
    s->max = (s->size + size) * 2;
    s->bytes = realloc (s->bytes, s->max);
    if (s->bytes == NULL)
      abort ();
  }
  memcpy (s->bytes + s->size, p, size);
  s->size += size;
}

void
world_save (struct snapshot *s)
{
  size_t size;
  void *p;
  int c;

  s->size = 0;
  size = arena_used ();
  save (s, &size, sizeof size);
  save (s, arena_memory, size);
  p = coop_fixed (&size);
  save (s, p, size);
  for (c = 0; c < NR_CLIENTS; c++) {
    coop_stack (c, &p, &size);
    save (s, p, size);
  }
  save (s, world, sizeof *world);
  save (s, world_disk, disk_memory (disk_get_config (world_disk)));
}

void
world_restore (const struct snapshot *s)
{
  const uint8_t *from = s->bytes;
  size_t size, now = arena_used ();
  void *p;
  int c;

  memcpy (&size, from, sizeof size);
  from += sizeof size;
  memcpy (arena_memory, from, size);
  from += size;
  if (now > size)
    memset (arena_memory + size, 0, now - size);
  p = coop_fixed (&size);
  memcpy (p, from, size);
  from += size;
  for (c = 0; c < NR_CLIENTS; c++) {
    coop_stack (c, &p, &size);
    memcpy (p, from, size);
    from += size;
  }
  memcpy (world, from, sizeof *world);
  from += sizeof *world;
  memcpy (world_disk, from, disk_memory (disk_get_config (world_disk)));
}
