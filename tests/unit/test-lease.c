/* SPDX-License-Identifier: BSD-3-Clause */
/* storage/lease.c, storage/users.c and storage/again.c: whether somebody
 * else has a file open, and who, with real processes.
 */
#include <config.h>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/magic.h>

#include "child.h"
#include "storage/lease.h"
#include "storage/users.h"
#include "test.h"
#include "tmpdir.h"

static char *file;
static int fd;                  /* of the file, ours */
static struct again again;

/* A process that has done something, and lives until it is killed. */
struct other {
  pid_t pid;
};

static struct other
start (void (*act) (void))
{
  struct other o;
  int ready[2];
  char c;

  CHECK (pipe (ready) == 0);
  o.pid = fork ();
  CHECK (o.pid >= 0);
  if (o.pid == 0) {
    /* It does not outlive this program, however that ends. */
    prctl (PR_SET_PDEATHSIG, SIGKILL);
    act ();
    CHECK (write (ready[1], "r", 1) == 1);
    for (;;)
      pause ();
  }
  close (ready[1]);
  CHECK (read (ready[0], &c, 1) == 1);
  close (ready[0]);
  return o;
}

static void
end (struct other *o)
{
  int status;

  CHECK (child_stop (o->pid, SIGKILL, &status));
}

/* Our descriptor is the parent's: it must not count. */
static void
open_file (int flags)
{
  CHECK (close (fd) == 0);
  CHECK (open (file, flags) >= 0);
}

static void
reads (void)
{
  open_file (O_RDONLY);
}

static void
writes (void)
{
  open_file (O_RDWR);
}

static void
only_writes (void)
{
  open_file (O_WRONLY);
}

static void
map (int flags, int prot)
{
  const int own = open (file, flags);

  CHECK (close (fd) == 0);
  CHECK (own >= 0);
  CHECK (mmap (NULL, 1, prot, MAP_SHARED, own, 0) != MAP_FAILED);
  CHECK (close (own) == 0);
}

static void
maps_for_reading (void)
{
  map (O_RDONLY, PROT_READ);
}

static void
maps_for_writing (void)
{
  map (O_RDWR, PROT_READ | PROT_WRITE);
}

static void
is_odd (void)
{
  prctl (PR_SET_NAME, "a\tb\x1b[31m\xc3\xa4");
  open_file (O_RDONLY);
}

static void
shares (void)
{
}

/* Is the answer this, about this process? */
static bool
says (int of, bool writers_only, enum storage_others_kind kind,
      const struct other *who)
{
  struct storage_others o;
  char pid[32] = "";

  if (who != NULL)
    snprintf (pid, sizeof pid, ", pid %ld", (long) who->pid);
  lease_look (&again, of, writers_only, &o);
  if (o.kind == kind && (who == NULL || strstr (o.who, pid) != NULL))
    return true;
  fprintf (stderr, "%d (%s), not %d (%s)\n", o.kind, o.who, kind, pid);
  return false;
}

static void
test_others (void)
{
  static const struct {
    void (*act) (void);
    enum storage_others_kind kind;
  } cases[] = {
    { reads, OTHERS_READ },
    { writes, OTHERS_WRITE },
    { only_writes, OTHERS_WRITE },
    { maps_for_reading, OTHERS_READ },
    { maps_for_writing, OTHERS_WRITE },
    { is_odd, OTHERS_READ },
    /* A process that was forked, and has nothing but what is ours. */
    { shares, OTHERS_NONE },
  };
  size_t i;

  CHECK (says (fd, false, OTHERS_NONE, NULL));
  for (i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    struct other o = start (cases[i].act);
    const bool none = cases[i].kind == OTHERS_NONE;

    CHECK (says (fd, false, cases[i].kind, none ? NULL : &o));
    CHECK (says (fd, true, cases[i].kind == OTHERS_WRITE ? OTHERS_WRITE
                 : OTHERS_NONE, cases[i].kind == OTHERS_WRITE ? &o : NULL));
    end (&o);
    CHECK (says (fd, false, OTHERS_NONE, NULL));
  }
}

/* The same on a descriptor that only reads: both questions can be asked. */
static void
test_reading (void)
{
  const int writing = fd;
  struct other o;

  fd = open (file, O_RDONLY);
  CHECK (fd >= 0 && close (writing) == 0);
  CHECK (says (fd, false, OTHERS_NONE, NULL));
  CHECK (says (fd, true, OTHERS_NONE, NULL));
  o = start (reads);
  CHECK (says (fd, false, OTHERS_READ, &o));
  CHECK (says (fd, true, OTHERS_NONE, NULL));
  end (&o);
  o = start (writes);
  CHECK (says (fd, false, OTHERS_WRITE, &o));
  CHECK (says (fd, true, OTHERS_WRITE, &o));
  end (&o);
  CHECK (close (fd) == 0);
  fd = open (file, O_RDWR);
  CHECK (fd >= 0);
}

/* A writer is what matters, whoever else is there. */
static void
test_both (void)
{
  struct other a = start (reads), b = start (writes), c = start (reads);

  CHECK (says (fd, false, OTHERS_WRITE, &b));
  end (&b);
  CHECK (says (fd, false, OTHERS_READ, NULL));
  end (&a);
  CHECK (says (fd, false, OTHERS_READ, &c));
  end (&c);
}

static void
test_name (void)
{
  struct other o = start (is_odd);
  struct storage_others others;
  const char *c;

  lease_look (&again, fd, false, &others);
  CHECK (strncmp (others.who, "a?b?[31m??, pid ", 16) == 0);
  for (c = others.who; *c; ++c)
    CHECK (*c >= ' ' && *c <= '~');
  end (&o);
}

/*------------------------------------------------------------------*/

/* We are not somebody else. */
static void
test_ourselves (void)
{
  const int own = again_open (&again, fd, O_RDONLY);
  struct other o;

  CHECK (own >= 0);
  /* It is waited for, but not for ever. */
  CHECK (says (fd, false, OTHERS_OURSELVES, NULL));
  o = start (writes);
  CHECK (says (fd, false, OTHERS_WRITE, &o));
  end (&o);
  again_close (&again, own);
  CHECK (says (fd, false, OTHERS_NONE, NULL));

  /* One that nobody has announced. */
  {
    const int second = open (file, O_RDONLY);

    CHECK (second >= 0);
    CHECK (says (fd, false, OTHERS_OURSELVES, NULL));
    CHECK (close (second) == 0);
  }
  CHECK (says (fd, false, OTHERS_NONE, NULL));
}

/* As nbdkit --run: the parent has it open from before, and we once more. */
static void
has_a_parent (void)
{
  const int own = open (file, O_RDWR);

  CHECK (own >= 0);
  CHECK (says (own, false, OTHERS_OURSELVES, NULL));
}

static void
test_runner (void)
{
  struct other o = start (has_a_parent);

  end (&o);
}

/* Many open it again for moments all the time, and we are told all the
 * same; nobody waits for himself.
 */
static _Atomic bool enough;

static void *
opens_again (void *unused)
{
  int own;

  (void) unused;
  while (!enough) {
    own = again_open (&again, fd, O_RDWR);
    CHECK (own >= 0);
    again_close (&again, own);
  }
  return NULL;
}

static void
test_busy (void)
{
  pthread_t threads[4];
  struct storage_others others;
  unsigned i, told = 0;
  struct other o;

  for (i = 0; i < 4; ++i)
    CHECK (pthread_create (&threads[i], NULL, opens_again, NULL) == 0);
  while (told < 100) {
    lease_look (&again, fd, false, &others);
    /* A busy machine may not let them finish in time. */
    CHECK (others.kind == OTHERS_NONE || others.kind == OTHERS_OURSELVES);
    told += others.kind == OTHERS_NONE;
  }
  enough = true;
  for (i = 0; i < 4; ++i)
    CHECK (pthread_join (threads[i], NULL) == 0);
  CHECK (again.open == 0 && !again.alone);
  o = start (reads);
  CHECK (says (fd, false, OTHERS_READ, &o));
  end (&o);
}

/*------------------------------------------------------------------*/

/* Opens and closes it again and again. */
static void *
is_opened (void *unused)
{
  (void) unused;
  while (!enough) {
    const int own = open (file, O_RDONLY);

    CHECK (own >= 0 && close (own) == 0);
  }
  return NULL;
}

static void
opens_and_closes (void)
{
  pthread_t thread;

  CHECK (pthread_create (&thread, NULL, is_opened, NULL) == 0);
}

/* A program that opens the file just when it is looked at only waits; and
 * we are sent nothing that ends us, or is left over.
 */
static void
test_signal (void)
{
  struct other o;
  unsigned i, granted = 0;
  struct storage_others others;
  sigset_t pending;

  enough = false;
  o = start (opens_and_closes);
  for (i = 0; i < 100000 && granted < 2000; ++i) {
    CHECK (fcntl (fd, F_GETLEASE) == F_UNLCK);
    lease_look (&again, fd, false, &others);
    granted += others.kind == OTHERS_NONE;
  }
  CHECK (granted > 0);
  CHECK (sigpending (&pending) == 0);
  CHECK (!sigismember (&pending, SIGURG) && !sigismember (&pending, SIGIO));
  CHECK (fcntl (fd, F_GETLEASE) == F_UNLCK);
  end (&o);
}

/*------------------------------------------------------------------*/

/* A file server, say.  The signal that it asks for tells it that somebody
 * wants the file, and it takes its time.
 */
static char *served;
static _Atomic bool wanted;

static void
is_wanted (int sig)
{
  (void) sig;
  wanted = true;
}

static void *
gives_back (void *opaque)
{
  const int own = *(int *) opaque;
  const struct timespec some_time = { .tv_nsec = 50000000 };

  while (!wanted)
    child_pause ();
  nanosleep (&some_time, NULL);
  CHECK (fcntl (own, F_SETLEASE, F_UNLCK) == 0);
  return NULL;
}

static void
has_lease (void)
{
  static int own;
  pthread_t thread;

  own = open (served, O_RDWR);
  CHECK (own >= 0);
  CHECK (signal (SIGUSR1, is_wanted) != SIG_ERR);
  CHECK (fcntl (own, F_SETSIG, SIGUSR1) == 0);
  CHECK (fcntl (own, F_SETLEASE, F_WRLCK) == 0);
  CHECK (pthread_create (&thread, NULL, gives_back, &own) == 0);
}

/* We wait, although we open without waiting. */
static void
test_leased (void)
{
  struct storage *st;
  struct vdi_error error;
  struct other o;
  int own;

  served = tmpdir_file ("served");
  own = open (served, O_WRONLY | O_CREAT | O_EXCL, 0600);
  CHECK (own >= 0 && close (own) == 0);
  o = start (has_lease);
  CHECK (open (served, O_RDONLY | O_NONBLOCK) == -1 && errno == EWOULDBLOCK);
  CHECK (storage_open_file (served, true, &st, &error) == 0);
  storage_close (st);
  end (&o);
}

/*------------------------------------------------------------------*/

static void
is_virtualbox (void)
{
  prctl (PR_SET_NAME, "VirtualBoxVM");
  open_file (O_RDWR);
}

/* What somebody sees who is not root, and whose the file is. */
static void
look_as_user (enum storage_others_kind kind, const char *who)
{
  struct storage_others o;
  const pid_t pid = fork ();
  int status;

  CHECK (pid >= 0);
  if (pid == 0) {
    CHECK (setgid (65534) == 0 && setuid (65534) == 0);
    lease_look (&again, fd, false, &o);
    if (o.kind != kind || strcmp (o.who, who) != 0)
      fprintf (stderr, "%d (%s), not %d (%s)\n", o.kind, o.who, kind, who);
    _exit (o.kind != kind || strcmp (o.who, who) != 0);
  }
  CHECK (child_wait (pid, &status) && status == 0);
}

/* The linker puts this in the system's place (Makefile.am). */
extern int __real_fstatfs (int, struct statfs *);
extern int __wrap_fstatfs (int, struct statfs *);
static bool on_nfs;

int
__wrap_fstatfs (int of, struct statfs *fs)
{
  const int r = __real_fstatfs (of, fs);

  if (on_nfs)
    fs->f_type = NFS_SUPER_MAGIC;
  return r;
}

static void
test_unseen (void)
{
  char who[64];
  struct other o;

  /* Somebody else's file. */
  look_as_user (OTHERS_UNKNOWN, "Permission denied");

  CHECK (chown (file, 65534, 65534) == 0);
  look_as_user (OTHERS_NONE, "");
  o = start (reads);
  look_as_user (OTHERS_UNSEEN, "a program of another user, perhaps");
  end (&o);
  o = start (is_virtualbox);
  snprintf (who, sizeof who, "perhaps VirtualBoxVM, pid %ld", (long) o.pid);
  look_as_user (OTHERS_UNSEEN, who);
  CHECK (says (fd, false, OTHERS_WRITE, &o));
  /* Where a lease may be refused though there is nobody. */
  on_nfs = true;
  look_as_user (OTHERS_UNKNOWN, "it is on a network file system");
  CHECK (says (fd, false, OTHERS_WRITE, &o));
  on_nfs = false;
  end (&o);
  look_as_user (OTHERS_NONE, "");
}

/* Not everything has leases. */
static void
test_unknown (void)
{
  int ends[2];

  CHECK (pipe (ends) == 0);
  CHECK (says (ends[0], true, OTHERS_UNKNOWN, NULL));
  CHECK (close (ends[0]) == 0 && close (ends[1]) == 0);
}

int
main (void)
{
  struct storage_others o;

  tmpdir_make ();
  alarm (CHILD_PATIENCE);       /* instead of waiting for ever */
  file = tmpdir_file ("f");
  fd = open (file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  CHECK (fd >= 0 && write (fd, "x", 1) == 1);
  again_init (&again);
  lease_look (&again, fd, false, &o);
  if (o.kind == OTHERS_UNKNOWN) {
    fprintf (stderr, "test-lease: there are no leases in %s: %s\n", tmpdir,
             o.who);
    return TEST_SKIPPED;
  }
  test_others ();
  test_reading ();
  test_both ();
  test_name ();
  test_ourselves ();
  test_runner ();
  test_busy ();
  test_signal ();
  test_leased ();
  test_unknown ();
  if (geteuid () == 0)
    test_unseen ();
  again_destroy (&again);
  CHECK (close (fd) == 0);
  return 0;
}
