/* SPDX-License-Identifier: BSD-3-Clause */
/* Kill the server, again and again, while clients write.
 *
 *   kill IMAGE KILLS SEED FLUSHES ACKED [PARENT] -- NBDKIT ARGUMENT...
 *
 * The server is started by socket activation; CLIENTS threads, each with a
 * connection of its own, write, zero, trim, flush (if FLUSHES is 1) and
 * read what the other threads wrote; after a random number of their
 * operations it gets SIGKILL.  Then the image file is looked at without
 * the plugin: it must be sound by the rules of VirtualBox and QEMU, and
 * every sector must be something that it may be (guest.h): with ACKED 1
 * what was acknowledged counts, else what was flushed.  qemu-img looks at
 * it now and then.  The next server goes on with the same image; every 16
 * kills the image begins anew, and with ACKED after each that has left
 * an unused block behind: what re-uses it has to be flushed.
 *
 * With PARENT, the parent is filled first, and IMAGE, which must be its
 * child, is what is killed.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <libnbd.h>

#include "child.h"
#include "guest.h"
#include "peer.h"
#include "rng.h"
#include "rules.h"
#include "utils/bytes.h"

#define CLIENTS 4
#define IMAGE_TAG 7
#define BUF_SECTORS 2048

static const char *image, *parent;
static bool flushes, acked;
static bool qemu_reads;         /* can QEMU open the image? */
static bool dense;              /* no unused blocks among those in use */
static char **server_args;
static char socket_name[100];

static struct rng rng;
static uint64_t sectors;
static uint32_t *below;         /* what the parent shows, by sector */
static uint32_t *values;
static struct guest *guest;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guest, rng */
static _Atomic unsigned done;   /* operations of this server */
static _Atomic bool stopping;   /* the server is being killed or stopped */
static uint64_t all_ops;
static unsigned kills, this_kill;
static uint64_t seed;

static void __attribute__ ((format (printf, 1, 2), noreturn))
fail (const char *fs, ...)
{
  va_list args;

  fprintf (stderr, "kill: seed %llu, kill %u, %s: ",
           (unsigned long long) seed, this_kill, image);
  va_start (args, fs);
  vfprintf (stderr, fs, args);
  va_end (args);
  fprintf (stderr, "\n");
  exit (1);
}

/*------------------------------------------------------------------*/

static pid_t
start_server (const char *file)
{
  struct sockaddr_un addr = { .sun_family = AF_UNIX };
  const int fd = socket (AF_UNIX, SOCK_STREAM, 0);
  char argument[4200], pid_text[20];
  pid_t pid;

  unlink (socket_name);
  snprintf (addr.sun_path, sizeof addr.sun_path, "%s", socket_name);
  if (fd == -1 || bind (fd, (struct sockaddr *) &addr, sizeof addr) == -1 ||
      listen (fd, CLIENTS) == -1)
    fail ("%s: %s", socket_name, strerror (errno));
  snprintf (argument, sizeof argument, "file=%s", file);
  pid = fork ();
  if (pid == 0) {
    char *args[64];
    size_t n = 0;

    for (char **p = server_args; *p && n < 62; ++p)
      args[n++] = *p;
    args[n++] = argument;
    args[n] = NULL;
    if (dup2 (fd, 3) == 3) {
      snprintf (pid_text, sizeof pid_text, "%ld", (long) getpid ());
      setenv ("LISTEN_PID", pid_text, 1);
      setenv ("LISTEN_FDS", "1", 1);
      execv (args[0], args);
    }
    _exit (127);
  }
  close (fd);
  if (pid == -1)
    fail ("fork: %s", strerror (errno));
  return pid;
}

static struct nbd_handle *
connect_server (void)
{
  struct nbd_handle *nbd = nbd_create ();

  if (nbd == NULL || nbd_connect_unix (nbd, socket_name) == -1)
    fail ("%s", nbd_get_error ());
  return nbd;
}

/*------------------------------------------------------------------*/
/* A client */

struct range {
  uint64_t sector, count;
};

static struct range
choose_range (struct rng *r)
{
  struct range range;

  range.sector = rng_below (r, sectors);
  if (rng_below (r, 2))         /* where others write, too */
    range.sector = range.sector / 256 * 256 + rng_below (r, 8);
  range.count = rng_below (r, 8) ? 1 + rng_below (r, 32)
    : 1 + rng_below (r, BUF_SECTORS);
  if (range.count > sectors - range.sector)
    range.count = sectors - range.sector;
  return range;
}

static uint32_t
begin (enum guest_kind kind, struct range range, uint8_t *buf)
{
  uint32_t op;

  pthread_mutex_lock (&lock);
  op = guest_begin (guest, kind, range.sector, range.count);
  if (buf)
    guest_fill (guest, op, range.sector, range.count, buf);
  pthread_mutex_unlock (&lock);
  return op;
}

static void
check_read (struct range range, const uint8_t *buf, uint32_t time)
{
  for (uint64_t i = 0; i < range.count; ++i) {
    const uint32_t v = guest_value (guest, buf + i * 512, range.sector + i);

    if (v == GUEST_FOREIGN &&
        guest_may_be_torn (guest, time, range.sector + i))
      continue;
    if (!guest_allows (guest, GUEST_NOW, time, range.sector + i, v)) {
      guest_explain (guest, stderr, range.sector + i, v);
      fail ("read of sector %llu, begun at time %u, is wrong",
            (unsigned long long) (range.sector + i), time);
    }
  }
}

/* One operation; false when the server is gone. */
static bool
operate (struct nbd_handle *nbd, struct rng *r, uint8_t *buf)
{
  const struct range range = choose_range (r);
  const uint64_t offset = range.sector * 512, size = range.count * 512;
  const bool fua = flushes && rng_below (r, 8) == 0;
  const uint32_t flag = fua ? LIBNBD_CMD_FLAG_FUA : 0;
  const unsigned what = rng_below (r, 20);
  uint32_t op = 0, time = 0;
  int result;

  if (what == 0 && flushes) {
    pthread_mutex_lock (&lock);
    time = guest_flush_begin (guest);
    pthread_mutex_unlock (&lock);
    result = nbd_flush (nbd, 0);
  }
  else if (what <= 4) {
    pthread_mutex_lock (&lock);
    time = guest_read_begin (guest);
    pthread_mutex_unlock (&lock);
    result = nbd_pread (nbd, buf, size, offset, 0);
  }
  else if (what == 5) {
    op = begin (GUEST_TRIM, range, NULL);
    result = nbd_trim (nbd, size, offset, flag);
  }
  else if (what == 6) {
    op = begin (GUEST_CLEAR, range, NULL);
    result = nbd_zero (nbd, size, offset, flag |
                       (rng_below (r, 2) ? LIBNBD_CMD_FLAG_NO_HOLE : 0));
  }
  else {
    op = begin (GUEST_WRITE, range, buf);
    result = nbd_pwrite (nbd, buf, size, offset, flag);
  }

  pthread_mutex_lock (&lock);
  if (op && result == 0)
    guest_end (guest, op, true, fua);
  else if (op == 0 && what == 0 && flushes)
    guest_flush_end (guest, time, result == 0);
  else if (op == 0) {
    if (result == 0)
      check_read (range, buf, time);
    guest_read_end (guest);
  }
  all_ops += result == 0;
  pthread_mutex_unlock (&lock);
  if (result == -1 && !stopping)
    fail ("%s", nbd_get_error ());
  return result == 0;
}

static void *
client (void *opaque)
{
  struct nbd_handle *nbd = opaque;
  uint8_t *buf = malloc (BUF_SECTORS * 512);
  struct rng r;

  if (buf == NULL)
    abort ();
  pthread_mutex_lock (&lock);
  r.state = rng_next (&rng);
  pthread_mutex_unlock (&lock);
  while (operate (nbd, &r, buf))
    done++;
  free (buf);
  return NULL;
}

/*------------------------------------------------------------------*/
/* What is in the file */

struct file {
  uint8_t *bytes;
  uint64_t length;
};

static struct file
map_file (const char *name)
{
  const int fd = open (name, O_RDONLY);
  struct stat st;
  struct file f;

  if (fd == -1 || fstat (fd, &st) == -1)
    fail ("%s: %s", name, strerror (errno));
  f.length = st.st_size;
  f.bytes = mmap (NULL, f.length, PROT_READ, MAP_SHARED, fd, 0);
  if (f.bytes == MAP_FAILED)
    fail ("%s: %s", name, strerror (errno));
  close (fd);
  return f;
}

/* The rules have seen to it that entries lie in the file. */
static void
look (const struct file *f, uint32_t *found)
{
  const uint32_t map = get_le32 (f->bytes + 0x154);
  const uint32_t data = get_le32 (f->bytes + 0x158);
  const uint32_t per_block = get_le32 (f->bytes + 0x178) / 512;
  const uint32_t n = get_le32 (f->bytes + 0x180);

  for (uint32_t b = 0; b < n; ++b) {
    const uint32_t entry = get_le32 (f->bytes + map + 4 * b);
    const uint8_t *p = f->bytes + data + (uint64_t) entry * per_block * 512;

    if (entry == UINT32_MAX)
      continue;
    for (uint64_t i = 0, s = (uint64_t) b * per_block;
         i < per_block && s < sectors; ++i, ++s)
      found[s] = entry == UINT32_MAX - 1 ? GUEST_ZERO
        : guest_value (guest, p + i * 512, s);
  }
}

static void
check_image (struct peer *peer)
{
  const unsigned allowed =
    RULES_AFTER_CRASH | RULES_BIT (QEMU_OPEN) | RULES_BIT (LAYOUT);
  struct file f = map_file (image);
  struct rules_report report;
  const char *output;
  unsigned corruptions;

  rules_check (f.bytes, f.length, f.length, parent != NULL, &report);
  if (rules_complaint (&report, allowed))
    fail ("%s", rules_complaint (&report, allowed));
  if (rules_room_complaint (&report, report.highest))
    fail ("%s", rules_room_complaint (&report, report.highest));
  if (peer && !(report.found & RULES_BIT (QEMU_OPEN)) &&
      (peer_check (peer, image, &corruptions, &output) == -1 ||
       corruptions != (report.found & RULES_BIT (SURPLUS) ? 1 : 0)))
    fail ("qemu-img check: %s", output);

  memcpy (values, below, sectors * sizeof *values);
  look (&f, values);
  for (uint64_t s = 0; s < sectors; ++s)
    if (!guest_allows (guest, acked ? GUEST_AFTER_KILL : GUEST_AFTER_CRASH,
                       0, s, values[s])) {
      guest_explain (guest, stderr, s, values[s]);
      fail ("sector %llu is wrong", (unsigned long long) s);
    }
  dense = report.entries == report.highest;
  munmap (f.bytes, f.length);
}

/* QEMU reads the same as we found in the file. */
static void
compare_with_qemu (struct peer *peer)
{
  const char *output;
  char raw[4200];
  struct file f;

  snprintf (raw, sizeof raw, "%s.raw", image);
  if (peer_run (peer, &output, "qemu-img", "convert", "-f", "vdi", "-O",
                "raw", image, raw, NULL) != 0)
    fail ("qemu-img convert: %s", output);
  f = map_file (raw);
  for (uint64_t s = 0; s < sectors; ++s)
    if (guest_value (guest, f.bytes + s * 512, s) != values[s])
      fail ("QEMU reads sector %llu differently", (unsigned long long) s);
  munmap (f.bytes, f.length);
  unlink (raw);
}

/*------------------------------------------------------------------*/

static void
wait_for_server (pid_t pid)
{
  int status;

  if (!child_wait (pid, &status) || !WIFSIGNALED (status) ||
      WTERMSIG (status) != SIGKILL)
    fail ("the server ended with status %d", status);
}

static void
serve_and_kill (void)
{
  const unsigned enough = 4 + rng_below (&rng, 200);
  struct nbd_handle *nbd[CLIENTS];
  pthread_t threads[CLIENTS];
  pid_t pid;

  done = 0;
  stopping = false;
  pid = start_server (image);
  for (unsigned i = 0; i < CLIENTS; ++i)
    nbd[i] = connect_server ();
  for (unsigned i = 0; i < CLIENTS; ++i)
    if (pthread_create (&threads[i], NULL, client, nbd[i]) != 0)
      fail ("no threads");
  while (done < enough)
    usleep (50);
  stopping = true;
  kill (pid, SIGKILL);
  for (unsigned i = 0; i < CLIENTS; ++i) {
    pthread_join (threads[i], NULL);
    nbd_close (nbd[i]);
  }
  wait_for_server (pid);
}

/* Fill two of three sectors of the parent, through a server that is then
 * killed: the first flush makes it durable, the second gives back what is
 * reserved.
 */
static void
fill_parent (void)
{
  const pid_t pid = start_server (parent);
  struct nbd_handle *nbd = connect_server ();
  uint8_t buf[512];

  for (uint64_t s = 0; s < sectors; ++s) {
    if (s % 3 == 2)
      continue;
    below[s] = guest_sequence (guest);
    guest_fill (guest, below[s], s, 1, buf);
    if (nbd_pwrite (nbd, buf, 512, s * 512, 0) == -1)
      fail ("%s", nbd_get_error ());
  }
  if (nbd_flush (nbd, 0) == -1 || nbd_flush (nbd, 0) == -1)
    fail ("%s", nbd_get_error ());
  kill (pid, SIGKILL);
  nbd_close (nbd);
  wait_for_server (pid);
}

static void
copy_file (const char *from, const char *to)
{
  const int fd = open (to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  struct file f = map_file (from);

  if (fd == -1 || write (fd, f.bytes, f.length) != (ssize_t) f.length)
    fail ("%s: %s", to, strerror (errno));
  close (fd);
  munmap (f.bytes, f.length);
}

int
main (int argc, char *argv[])
{
  struct peer *peer = peer_start ();
  char pristine[4200];
  struct file f;
  int i = 6;

  if (argc < 8)
    return 1;
  image = argv[1];
  kills = atoi (argv[2]);
  rng.state = seed = strtoull (argv[3], NULL, 0);
  flushes = atoi (argv[4]);
  acked = atoi (argv[5]);
  if (strcmp (argv[i], "--") != 0)
    parent = argv[i++];
  server_args = &argv[i + 1];
  snprintf (socket_name, sizeof socket_name, "%s.sock", image);
  snprintf (pristine, sizeof pristine, "%s.pristine", image);

  f = map_file (image);
  sectors = get_le64 (f.bytes + 0x170) / 512;
  qemu_reads = parent == NULL && get_le32 (f.bytes + 0x178) == 1u << 20;
  munmap (f.bytes, f.length);
  below = calloc (sectors, sizeof *below);
  values = calloc (sectors, sizeof *values);
  if (below == NULL || values == NULL)
    abort ();
  guest = guest_new (sectors, IMAGE_TAG);
  if (parent)
    fill_parent ();
  guest_restart (guest, below);
  copy_file (image, pristine);

  for (this_kill = 1; this_kill <= kills; ++this_kill) {
    serve_and_kill ();
    check_image (this_kill % 4 == 0 ? peer : NULL);
    if (peer && qemu_reads && this_kill % 32 == 0)
      compare_with_qemu (peer);
    if (this_kill % 16 == 0 || (acked && !dense)) {
      memcpy (values, below, sectors * sizeof *values);
      copy_file (pristine, image);
    }
    guest_restart (guest, values);
  }
  printf ("kill: %u kills, %llu operations were acknowledged, nothing that "
          "was %s is lost\n", kills, (unsigned long long) all_ops,
          acked ? "acknowledged" : "flushed");
  unlink (socket_name);
  peer_stop (peer);
  return 0;
}
