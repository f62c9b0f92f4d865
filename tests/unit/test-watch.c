/* SPDX-License-Identifier: BSD-3-Clause */
/* What is done about other programs that have the image open: watch.c. */
#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "disk-in-memory.h"
#include "disk/disk.h"

#define B 4096
#define N 64

static struct memory m, base;
static _Atomic unsigned warned, debugged; /* about other programs */
static char last[1024];

static void
warn (void *opaque, const char *message)
{
  (void) opaque;
  warned++;
  snprintf (last, sizeof last, "%s", message);
}

static void
debug (void *opaque, const char *message)
{
  (void) opaque;
  debugged += strncmp (message, "lease: ", 7) == 0;
}

static void
others (struct memory *mem, enum storage_others_kind kind, const char *who)
{
  pthread_mutex_lock (&mem->lock);
  mem->others.kind = kind;
  snprintf (mem->others.who, sizeof mem->others.who, "%s", who);
  mem->others_leave = 0;
  pthread_mutex_unlock (&mem->lock);
}

/* A child, whose new blocks are deferred, on a parent. */
static void
make (void)
{
  const struct vdi_uuid a = vdi_uuid_new (), b = vdi_uuid_new ();
  const struct memory_image
    parent = { .disk_size = N * B, .block_size = B, .uuid = &a },
    child = { .disk_size = N * B, .block_size = B, .uuid = &b, .parent = &a };

  memory_make_image (&base, &parent);
  memory_make_image (&m, &child);
  others (&m, OTHERS_NONE, "");
  others (&base, OTHERS_NONE, "");
  warned = debugged = 0;
}

static struct vdi *
open_image (bool ticker)
{
  struct storage *storages[2] = { memory_storage_open (&m, "disk.vdi"),
                                  memory_storage_open (&base, "base.vdi") };
  struct vdi_options options;
  struct vdi *vdi;

  vdi_options_init (&options);
  options.ticker = ticker;
  options.commit_seconds = 0;
  options.listener.warn = warn;
  options.listener.debug = debug;
  OK (vdi_open_storage (storages, 2, &options, &vdi, &error));
  warned = 0;                   /* of what is not this test's business */
  return vdi;
}

static void
forget (void)
{
  memory_free (&m);
  memory_free (&base);
}

static bool
is_in_file (uint32_t block)
{
  bool r;

  pthread_mutex_lock (&m.lock);
  r = vdi_entry_is_allocated (memory_entry (&m, block));
  pthread_mutex_unlock (&m.lock);
  return r;
}

/*------------------------------------------------------------------*/

static void
opened_with (struct memory *mem, enum storage_others_kind kind,
             unsigned warnings, unsigned lines)
{
  struct vdi *vdi;

  make ();
  others (mem, kind, "prog, pid 7");
  /* Nothing else is warned of. */
  others (mem == &m ? &base : &m, OTHERS_NONE, "");
  {
    struct storage *storages[2] = { memory_storage_open (&m, "disk.vdi"),
                                    memory_storage_open (&base,
                                                         "base.vdi") };
    struct vdi_options options;

    vdi_options_init (&options);
    options.listener.warn = warn;
    options.listener.debug = debug;
    OK (vdi_open_storage (storages, 2, &options, &vdi, &error));
  }
  /* The parent's modification UUID is none of the child's. */
  CHECK (warned == warnings + 1 && debugged == lines);
  if (warnings > 0)
    CHECK (strstr (last, "prog, pid 7") != NULL &&
           strstr (last, mem == &m ? "disk.vdi" : "base.vdi") != NULL);
  OK (vdi_close (vdi, &error));
  CHECK (m.calls == 0 && base.calls == 0);
  forget ();
}

static void
test_open (void)
{
  opened_with (&m, OTHERS_NONE, 0, 0);
  opened_with (&m, OTHERS_OURSELVES, 0, 0);
  opened_with (&m, OTHERS_READ, 0, 0);
  opened_with (&m, OTHERS_WRITE, 1, 0);
  opened_with (&m, OTHERS_UNSEEN, 1, 0);
  opened_with (&m, OTHERS_UNKNOWN, 0, 1);
  opened_with (&base, OTHERS_WRITE, 1, 0);
  opened_with (&base, OTHERS_READ, 0, 0);
  opened_with (&base, OTHERS_UNKNOWN, 0, 0);
}

/* Before it is written to. */
static void
test_refused (void)
{
  static const enum storage_others_kind kinds[] = {
    OTHERS_READ, OTHERS_WRITE, OTHERS_UNSEEN,
  };
  struct vdi *vdi;

  make ();
  vdi = open_image (false);
  for (size_t i = 0; i < 3; i++) {
    others (&m, kinds[i], "VirtualBoxVM, pid 4711");
    FAILS (vdi_make_writable (vdi, &error), EBUSY);
    SAYS ("disk.vdi");
    SAYS ("VirtualBoxVM, pid 4711");
    SAYS ("lock=off");
    FAILS (vdi_write (vdi, "x", 1, 0, 0, &error), EROFS);
  }
  others (&m, OTHERS_NONE, "");
  others (&base, OTHERS_WRITE, "prog, pid 7");
  FAILS (vdi_make_writable (vdi, &error), EBUSY);
  SAYS ("base.vdi");
  SAYS ("prog, pid 7");
  CHECK (m.calls == 0 && base.calls == 0);

  /* What cannot be written to at all is no reason to complain of others. */
  m.read_only = true;
  FAILS (vdi_make_writable (vdi, &error), EROFS);
  m.read_only = false;

  /* Who only passes by, reads the parent, or cannot be told, does not
   * matter; and what was refused once need not be again.
   */
  others (&base, OTHERS_READ, "prog, pid 7");
  others (&m, OTHERS_WRITE, "prog, pid 7");
  m.others_leave = 3;
  OK (vdi_make_writable (vdi, &error));
  write_bytes (vdi, 0, 1, 1, 0);
  close_checked (vdi);
  others (&m, OTHERS_UNKNOWN, "");
  vdi = open_image (false);
  OK (vdi_make_writable (vdi, &error));
  others (&m, OTHERS_WRITE, "prog, pid 7");     /* nobody asks any more */
  OK (vdi_tick (vdi, 1, &error));
  write_bytes (vdi, 0, 1, 1, 0);
  close_checked (vdi);
  CHECK (warned == 0);
  forget ();
}

/*------------------------------------------------------------------*/

/* While it may be written to.  Somebody reads: all is committed, and we go
 * on; each is named once.
 */
static void
test_reader (void)
{
  struct vdi *vdi;

  make ();
  vdi = open_image (false);
  OK (vdi_make_writable (vdi, &error));
  OK (vdi_tick (vdi, 1, &error));
  write_bytes (vdi, B, B, 1, 0);
  CHECK (!is_in_file (1));
  others (&m, OTHERS_READ, "cp, pid 7");
  OK (vdi_tick (vdi, 0, &error)); /* not yet a second */
  CHECK (!is_in_file (1) && warned == 0);
  OK (vdi_tick (vdi, 1, &error));
  CHECK (is_in_file (1) && warned == 1);
  CHECK (strstr (last, "cp, pid 7") != NULL);

  /* One that comes after it, or comes again. */
  write_bytes (vdi, 2 * B, B, 2, 0);
  OK (vdi_tick (vdi, 1, &error));
  CHECK (!is_in_file (2));
  others (&m, OTHERS_READ, "cp, pid 8");
  OK (vdi_tick (vdi, 1, &error));
  CHECK (warned == 1 && is_in_file (2)); /* for pid 8 */
  write_bytes (vdi, 3 * B, B, 3, 0);
  OK (vdi_tick (vdi, 1, &error));
  CHECK (!is_in_file (3));
  others (&m, OTHERS_NONE, "");
  OK (vdi_tick (vdi, 1, &error));
  others (&m, OTHERS_READ, "cp, pid 8");
  OK (vdi_tick (vdi, 1, &error));
  CHECK (warned == 1 && is_in_file (3));
  others (&m, OTHERS_READ, "cpio, pid 8");
  OK (vdi_tick (vdi, 1, &error));
  CHECK (warned == 2);
  check_bytes (vdi, B, B, 1);
  others (&m, OTHERS_OURSELVES, "");
  OK (vdi_tick (vdi, 1, &error));
  close_checked (vdi);
  CHECK (warned == 2 && memory_count (&m) == 3);
  forget ();
}

static void
wait_a_second (void)
{
  const struct timespec t = { .tv_sec = 1, .tv_nsec = 100000000 };

  CHECK (nanosleep (&t, NULL) == 0);
}

/* As the thread does it: often. */
static void
look_for_a_second (struct vdi *vdi)
{
  const struct timespec t = { .tv_nsec = 100000000 };

  for (unsigned i = 0; i < 11; i++) {
    CHECK (nanosleep (&t, NULL) == 0);
    OK (vdi_tick (vdi, 0, &error));
  }
}

/* Somebody writes: what was written is committed, and nothing after it. */
static void
test_writer (enum storage_others_kind kind)
{
  struct vdi *vdi;
  unsigned changes;
  uint32_t count;

  make ();
  vdi = open_image (false);
  OK (vdi_make_writable (vdi, &error));
  write_bytes (vdi, B, B, 1, 0);

  /* One that goes away again. */
  others (&m, kind, "qemu-io, pid 7");
  OK (vdi_tick (vdi, 1, &error));
  CHECK (is_in_file (1) && warned == 0);
  others (&m, OTHERS_NONE, "");
  wait_a_second ();
  OK (vdi_tick (vdi, 1, &error));
  write_bytes (vdi, 2 * B, B, 2, 0);
  CHECK (!is_in_file (2));

  /* One that stays; even if another one reads at first. */
  others (&m, OTHERS_READ, "cp, pid 7");
  OK (vdi_tick (vdi, 1, &error));
  others (&m, kind, "VirtualBoxVM, pid 4711");
  OK (vdi_tick (vdi, 1, &error));
  CHECK (is_in_file (2) && warned == 1);
  /* Not by how often it is looked at. */
  OK (vdi_tick (vdi, 1, &error));
  OK (vdi_tick (vdi, 0, &error));
  CHECK (warned == 1);
  /* Nor after two looks: this need not be the one that was there then. */
  wait_a_second ();
  OK (vdi_tick (vdi, 1, &error));
  CHECK (warned == 1);
  count = memory_count (&m);
  look_for_a_second (vdi);
  CHECK (warned == 2 && strstr (last, "VirtualBoxVM, pid 4711") != NULL);
  changes = m.changes;
  FAILS (vdi_write (vdi, "x", 1, 0, 0, &error), EIO);
  SAYS ("VirtualBoxVM, pid 4711");
  FAILS (vdi_write (vdi, "x", 1, B, 0, &error), EIO);
  FAILS (vdi_zero (vdi, B, B, VDI_MAY_TRIM, &error), EIO);
  FAILS (vdi_trim (vdi, B, B, 0, &error), EIO);
  FAILS (vdi_flush (vdi, &error), EIO);
  check_bytes (vdi, B, B, 1);
  check_bytes (vdi, 2 * B, B, 2);
  check_bytes (vdi, 3 * B, B, 0);

  /* For good, also when it has gone; nothing is given back or moved. */
  others (&m, OTHERS_NONE, "");
  for (unsigned i = 0; i < 5; i++)
    OK (vdi_tick (vdi, 1, &error));
  FAILS (vdi_write (vdi, "x", 1, B, 0, &error), EIO);
  FAILS (vdi_close (vdi, &error), EIO);
  CHECK (m.changes == changes && memory_count (&m) == count && count > 2);
  CHECK (warned == 2);
  forget ();
}

/* It has come in the last second, or is there without having been written
 * to.
 */
static void
test_writer_at_the_end (void)
{
  struct vdi *vdi;
  uint32_t count;

  make ();
  vdi = open_image (false);
  OK (vdi_make_writable (vdi, &error));
  write_bytes (vdi, B, B, 1, 0);
  count = memory_count (&m);
  others (&m, OTHERS_WRITE, "prog, pid 7");
  FAILS (vdi_close (vdi, &error), EIO);
  CHECK (is_in_file (1) && memory_count (&m) == count && count > 1);
  forget ();

  make ();
  vdi = open_image (false);
  OK (vdi_make_writable (vdi, &error));
  others (&m, OTHERS_WRITE, "prog, pid 7");
  OK (vdi_tick (vdi, 1, &error));
  look_for_a_second (vdi);
  FAILS (vdi_write (vdi, "x", 1, 0, 0, &error), EIO);
  FAILS (vdi_close (vdi, &error), EIO);
  CHECK (m.changes == 0);
  forget ();

  /* Only passing by. */
  make ();
  vdi = open_image (false);
  OK (vdi_make_writable (vdi, &error));
  write_bytes (vdi, B, B, 1, 0);
  others (&m, OTHERS_WRITE, "prog, pid 7");
  m.others_leave = 5;
  close_checked (vdi);
  CHECK (memory_count (&m) == 1);
  forget ();
}

/* Nothing is added to what the other has changed already. */
static void
test_too_late (void)
{
  struct vdi *vdi;

  make ();
  vdi = open_image (false);
  OK (vdi_make_writable (vdi, &error));
  write_bytes (vdi, B, B, 1, 0);
  memory_set_count (&m, memory_count (&m) + 1);
  others (&m, OTHERS_WRITE, "prog, pid 7");
  OK (vdi_tick (vdi, 1, &error));
  CHECK (!is_in_file (1) && warned == 1);
  CHECK (strstr (last, "header's count") != NULL);
  FAILS (vdi_write (vdi, "x", 1, 0, 0, &error), EIO);
  FAILS (vdi_close (vdi, &error), EIO);
  forget ();
}

/*------------------------------------------------------------------*/

/* The thread looks by itself, from the moment on that something may be
 * written, and writes wait for what it finds.
 */
static _Atomic int result;      /* of the write: 1 is none yet */

static void *
writes (void *vdi)
{
  struct vdi_error e;

  result = vdi_write (vdi, "x", 1, 5 * B, 0, &e);
  CHECK (result == 0 || e.err == EIO);
  return NULL;
}

#define UNTIL(cond)                                     \
  do {                                                  \
    const time_t until = time (NULL) + 600;             \
                                                        \
    while (!(cond) && time (NULL) < until)              \
      usleep (1000);                                    \
    CHECK (cond);                                       \
  } while (0)

static void
test_thread (bool stays)
{
  pthread_t thread;
  struct vdi *vdi;

  make ();
  vdi = open_image (true);
  OK (vdi_make_writable (vdi, &error));
  others (&m, OTHERS_WRITE, "prog, pid 7");
  UNTIL (vdi->watch.suspicious || !vdi->watch.on);
  result = 1;
  CHECK (pthread_create (&thread, NULL, writes, vdi) == 0);
  if (!stays)
    others (&m, OTHERS_NONE, "");
  CHECK (pthread_join (thread, NULL) == 0);
  if (stays) {
    CHECK (result == -1 && m.changes == 0);
    FAILS (vdi_close (vdi, &error), EIO);
  }
  else
    /* The machine was too busy to see it go. */
    if (vdi_close (vdi, &error) == -1)
      CHECK (error.err == EIO);
  forget ();
}

int
main (void)
{
  test_open ();
  test_refused ();
  test_reader ();
  test_writer (OTHERS_WRITE);
  test_writer (OTHERS_UNSEEN);
  test_writer_at_the_end ();
  test_too_late ();
  test_thread (true);
  test_thread (false);
  return 0;
}
