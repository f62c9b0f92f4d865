/* SPDX-License-Identifier: BSD-3-Clause */
/* The thread that commits what is deferred: common/background.c; and
 * flushes of many threads at once, for ThreadSanitizer.
 */
#include <config.h>

#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "disk-in-memory.h"

#define B 4096
#define N 4096
#define THREADS 8

static struct memory m;
static struct vdi *vdi;

static uint32_t
count (void)
{
  uint32_t r;

  pthread_mutex_lock (&m.lock);
  r = memory_count (&m);
  pthread_mutex_unlock (&m.lock);
  return r;
}

/* Each thread has its share of the blocks, in no order. */
static void *
worker (void *number)
{
  const unsigned i = (uintptr_t) number;
  struct vdi_error e;
  uint8_t buf[B];

  memset (buf, i, sizeof buf);
  for (unsigned j = 0; j < N / THREADS; j++) {
    const uint64_t block = (uint64_t) (j * 37 % (N / THREADS)) * THREADS + i;
    const unsigned flags = j % 64 == 5 ? VDI_FUA : 0;

    CHECK (vdi_write (vdi, buf, B, block * B, flags, &e) == 0);
    if (j % 32 == 9)
      CHECK (vdi_flush (vdi, &e) == 0);
    CHECK (vdi_read (vdi, buf, B, block * B, &e) == 0);
    CHECK (buf[0] == i && buf[B-1] == i);
  }
  return NULL;
}

int
main (void)
{
  const struct memory_image image = { .disk_size = N * B, .block_size = B };
  struct vdi_options options;
  struct storage *st;
  pthread_t threads[THREADS];
  unsigned i;
  time_t end;

  memory_make_image (&m, &image);
  vdi_options_init (&options);
  st = memory_storage_open (&m, "disk.vdi");
  OK (vdi_open_storage (&st, 1, &options, &vdi, &error));
  OK (vdi_make_writable (vdi, &error));

  for (i = 0; i < THREADS; i++)
    CHECK (pthread_create (&threads[i], NULL, worker,
                           (void *) (uintptr_t) i) == 0);
  for (i = 0; i < THREADS; i++)
    CHECK (pthread_join (threads[i], NULL) == 0);
  for (i = 0; i < N; i++)
    check_bytes (vdi, (uint64_t) i * B, B, i % THREADS);
  CHECK (count () == N);
  close_checked (vdi);
  memory_free (&m);

  /* The reserve goes back by itself after a quiet second. */
  memory_make_image (&m, &image);
  st = memory_storage_open (&m, "disk.vdi");
  OK (vdi_open_storage (&st, 1, &options, &vdi, &error));
  OK (vdi_make_writable (vdi, &error));
  /* It may have gone before we look: then there is another one. */
  i = 0;
  do {
    CHECK (i < N);
    write_bytes (vdi, (uint64_t) i * B, 1, 1, 0);
  }
  while (count () == ++i);
  end = time (NULL) + 600;      /* only a hang takes so long */
  while (count () > i && time (NULL) < end)
    usleep (10 * 1000);
  CHECK (count () == i);
  close_checked (vdi);
  memory_free (&m);
  return 0;
}
