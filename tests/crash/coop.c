/* SPDX-License-Identifier: BSD-3-Clause */
/* A deterministic scheduler: see coop.h. */
#include <config.h>

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coop.h"

/* How to go from one stack to another.  The assembler is there for
 * speed: swapcontext makes a system call.  Sanitizers want to be told
 * about other stacks, and do not follow the assembler.
 */
#if defined (__SANITIZE_ADDRESS__)
#define COOP_ASAN 1
#include <sanitizer/common_interface_defs.h>
#endif
#if defined (__x86_64__) && !defined (__SANITIZE_ADDRESS__) && \
    !defined (__SANITIZE_THREAD__)
#define COOP_ASM 1
#else
#include <ucontext.h>
#endif

struct coroutine {
  enum coop_state state;
  int woken;                    /* COND and IDLE */
  void *object;                 /* what it waits for */
  void (*fn) (void *);
  void *arg;
  int running_once;             /* has it been started? */
#ifdef COOP_ASM
  void *sp;
#else
  ucontext_t context;
#endif
};

struct scheduler {
  int nr, max;
  int self;
  struct coroutine c[COOP_MAX];
};

/* These are only pointers to what coop_init was given; all that changes
 * is in there.
 */
static struct scheduler *sched;
static char *stacks;
static void *allocated;
#ifdef COOP_ASM
static void *main_sp;
#else
static ucontext_t main_context;
#endif
#ifdef COOP_ASAN
static const void *main_stack;
static size_t main_stack_size;
#endif

#define STACK_CANARY UINT64_C (0xc0ffee5ca1ab1e00)

static void
misuse (const char *what)
{
  fprintf (stderr, "coroutine %d: %s\n", coop_self (), what);
  abort ();
}

void (*coop_misuse) (const char *what) = misuse;
bool coop_unlock_points = true;

/*------------------------------------------------------------------*/

#ifdef COOP_ASM
/* Save what a function must preserve on this stack, go to the other. */
extern void coop_switch (void **save, void *to);
__asm__ (
  ".text\n"
  ".globl coop_switch\n"
  ".hidden coop_switch\n"
  ".type coop_switch, @function\n"
  "coop_switch:\n"
  "  pushq %rbp\n"
  "  pushq %rbx\n"
  "  pushq %r12\n"
  "  pushq %r13\n"
  "  pushq %r14\n"
  "  pushq %r15\n"
  "  movq %rsp, (%rdi)\n"
  "  movq %rsi, %rsp\n"
  "  popq %r15\n"
  "  popq %r14\n"
  "  popq %r13\n"
  "  popq %r12\n"
  "  popq %rbx\n"
  "  popq %rbp\n"
  "  ret\n"
  ".size coop_switch, . - coop_switch\n");
#endif

static char *
stack_of (int id)
{
  return stacks + (size_t) id * COOP_STACK;
}

static void
to_main (void)
{
  int id = sched->self;

  (void) id;
#ifdef COOP_ASM
  coop_switch (&sched->c[id].sp, main_sp);
#else
#ifdef COOP_ASAN
  {
    void *fake = NULL;

    __sanitizer_start_switch_fiber (
      sched->c[id].state == COOP_NONE ? NULL : &fake, main_stack,
      main_stack_size);
    swapcontext (&sched->c[id].context, &main_context);
    __sanitizer_finish_switch_fiber (fake, NULL, NULL);
  }
#else
  swapcontext (&sched->c[id].context, &main_context);
#endif
#endif
}

static void
trampoline (void)
{
  struct coroutine *c = &sched->c[sched->self];

#ifdef COOP_ASAN
  __sanitizer_finish_switch_fiber (NULL, &main_stack, &main_stack_size);
#endif
  c->fn (c->arg);
  c->state = COOP_NONE;
  to_main ();
  abort ();
}

static void
to_coroutine (int id)
{
  struct coroutine *c = &sched->c[id];

#ifdef COOP_ASM
  if (!c->running_once) {
    /* Aligned as after a call; a return address of 0 ends backtraces. */
    void **sp = (void **) (stack_of (id) + COOP_STACK - 16);

    *--sp = NULL;
    *--sp = (void *) trampoline;
    sp -= 6;
    memset (sp, 0, 6 * sizeof *sp);
    c->sp = sp;
    c->running_once = 1;
  }
  coop_switch (&main_sp, c->sp);
#else
  if (!c->running_once) {
    getcontext (&c->context);
    c->context.uc_stack.ss_sp = stack_of (id);
    c->context.uc_stack.ss_size = COOP_STACK;
    c->context.uc_link = NULL;
    makecontext (&c->context, trampoline, 0);
    c->running_once = 1;
  }
#ifdef COOP_ASAN
  {
    void *fake;

    __sanitizer_start_switch_fiber (&fake, stack_of (id), COOP_STACK);
    swapcontext (&main_context, &c->context);
    __sanitizer_finish_switch_fiber (fake, NULL, NULL);
  }
#else
  swapcontext (&main_context, &c->context);
#endif
#endif
}

/*------------------------------------------------------------------*/

static size_t
fixed_size (void)
{
  return (sizeof (struct scheduler) + 4095) / 4096 * 4096;
}

size_t
coop_memory (size_t nr)
{
  return fixed_size () + nr * COOP_STACK;
}

void
coop_init (void *memory, size_t nr)
{
  int i;

  if (memory == NULL) {
    nr = COOP_MAX;
    if (allocated == NULL)
      allocated = aligned_alloc (4096, coop_memory (nr));
    if (allocated == NULL)
      abort ();
    memory = allocated;
  }
  sched = memory;
  memset (sched, 0, sizeof *sched);
  sched->self = -1;
  sched->max = (int) nr;
  stacks = (char *) memory + fixed_size ();
  for (i = 0; i < sched->max; i++)
    *(uint64_t *) stack_of (i) = STACK_CANARY;
}

void
coop_exit (void)
{
  free (allocated);
  allocated = NULL;
  sched = NULL;
}

int
coop_spawn (void (*fn) (void *), void *arg)
{
  struct coroutine *c;

  if (sched->nr == sched->max) {
    fprintf (stderr, "coop: too many coroutines\n");
    abort ();
  }
  c = &sched->c[sched->nr];
  memset (c, 0, sizeof *c);
  c->state = COOP_READY;
  c->fn = fn;
  c->arg = arg;
  return sched->nr++;
}

int
coop_nr (void)
{
  return sched->nr;
}

enum coop_state
coop_state (int id)
{
  return sched->c[id].state;
}

bool
coop_done (int id)
{
  return sched->c[id].state == COOP_NONE;
}

int
coop_self (void)
{
  return sched ? sched->self : -1;
}

void
coop_step (int id)
{
  if (sched->self != -1 || !coop_can_run (id)) {
    fprintf (stderr, "coop: coroutine %d cannot run\n", id);
    abort ();
  }
  sched->self = id;
  to_coroutine (id);
  sched->self = -1;
  if (*(uint64_t *) stack_of (id) != STACK_CANARY) {
    fprintf (stderr, "coop: stack overflow in coroutine %d\n", id);
    abort ();
  }
}

static void
wait_for (enum coop_state state, void *object)
{
  struct coroutine *c = &sched->c[sched->self];

  c->state = state;
  c->object = object;
  to_main ();
  c = &sched->c[sched->self];
  c->state = COOP_READY;
  c->object = NULL;
}

void
coop_point (void)
{
  if (coop_self () != -1)
    wait_for (COOP_READY, NULL);
}

void
coop_idle (void)
{
  sched->c[sched->self].woken = 0;
  wait_for (COOP_WAIT_IDLE, NULL);
}

void
coop_wake (int id)
{
  sched->c[id].woken = 1;
}

int
coop_run (int (*choose) (void *opaque, const int *ids, int n), void *opaque)
{
  int last = -1;

  for (;;) {
    int ids[COOP_MAX], n = 0, left = 0, i, id;

    for (i = 0; i < sched->nr; i++) {
      left += !coop_done (i);
      if (coop_can_run (i))
        ids[n++] = i;
    }
    if (left == 0)
      return 0;
    if (n == 0)
      return -1;
    id = ids[0];
    if (choose)
      id = choose (opaque, ids, n);
    else {
      for (i = n - 1; i >= 0; i--)
        if (ids[i] > last)
          id = ids[i];
    }
    if (id < 0)
      return 1;
    last = id;
    coop_step (id);
  }
}

void
coop_stack (int id, void **start, size_t *size)
{
  char *top = stack_of (id) + COOP_STACK;
#ifdef COOP_ASM
  char *sp = sched->c[id].running_once ? sched->c[id].sp : top;
#else
  char *sp = stack_of (id) + sizeof (uint64_t);
#endif

  if (coop_done (id))
    sp = top;
  *start = sp;
  *size = (size_t) (top - sp);
}

void *
coop_fixed (size_t *size)
{
  *size = offsetof (struct scheduler, c) +
          (size_t) sched->max * sizeof sched->c[0];
  return sched;
}

void
coop_clear_stack (int id, size_t size)
{
#ifdef COOP_ASM
  char *start = stack_of (id) + sizeof (uint64_t);
  char *sp;
  size_t used;

  coop_stack (id, (void **) &sp, &used);
  if (size > (size_t) (sp - start))
    size = (size_t) (sp - start);
  memset (sp - size, 0, size);
#else
  (void) id;
  (void) size;
#endif
}

/*------------------------------------------------------------------*/
/* Locks.  All zero is free, as the static initializers are. */

struct mutex {
  int owner;                    /* id + 1; MAIN outside of coroutines */
};

struct rwlock {
  int writer;                   /* like owner */
  uint32_t readers;             /* bit id + 1, bit 0 for outside */
};

#define MAIN 1000

static int
me (void)
{
  return coop_self () == -1 ? MAIN : coop_self () + 1;
}

static uint32_t
my_bit (void)
{
  return UINT32_C (1) << (coop_self () + 1);
}

static bool
readable (const struct rwlock *l)
{
  return l->writer == 0;
}

static bool
writable (const struct rwlock *l)
{
  return l->writer == 0 && l->readers == 0;
}

bool
coop_can_run (int id)
{
  const struct coroutine *c = &sched->c[id];

  switch (c->state) {
  case COOP_NONE:
    return false;
  case COOP_READY:
  case COOP_WAIT_COND_TIMED:
    return true;
  case COOP_WAIT_MUTEX:
    return ((struct mutex *) c->object)->owner == 0;
  case COOP_WAIT_READ:
    return readable (c->object);
  case COOP_WAIT_WRITE:
    return writable (c->object);
  case COOP_WAIT_COND:
  case COOP_WAIT_IDLE:
    return c->woken != 0;
  }
  return false;
}

static void
unlock_point (void)
{
  if (coop_unlock_points)
    coop_point ();
}

/* Every lock operation is a point; whoever waits can go on only when the
 * lock is free, and then takes it before anybody else runs.
 */
static void
wait_until_free (enum coop_state state, void *lock, bool is_free)
{
  if (coop_self () != -1)
    wait_for (state, lock);
  else if (!is_free)
    coop_misuse ("a lock is held outside of all coroutines, or by one that "
                 "does not run");
}

int
coop_mutex_init (pthread_mutex_t *m, const pthread_mutexattr_t *attr)
{
  (void) attr;
  memset (m, 0, sizeof *m);
  return 0;
}

int
coop_mutex_destroy (pthread_mutex_t *m)
{
  if (((struct mutex *) m)->owner)
    coop_misuse ("a mutex was destroyed while it was held");
  memset (m, 0, sizeof *m);
  return 0;
}

int
coop_mutex_lock (pthread_mutex_t *mutex)
{
  struct mutex *m = (struct mutex *) mutex;

  if (m->owner == me ())
    coop_misuse ("a mutex was locked twice");
  wait_until_free (COOP_WAIT_MUTEX, m, m->owner == 0);
  m->owner = me ();
  return 0;
}

int
coop_mutex_trylock (pthread_mutex_t *mutex)
{
  struct mutex *m = (struct mutex *) mutex;

  coop_point ();
  if (m->owner)
    return EBUSY;
  m->owner = me ();
  return 0;
}

int
coop_mutex_unlock (pthread_mutex_t *mutex)
{
  struct mutex *m = (struct mutex *) mutex;

  if (m->owner != me ())
    coop_misuse ("a mutex was unlocked by one who does not hold it");
  m->owner = 0;
  unlock_point ();
  return 0;
}

int
coop_rwlock_init (pthread_rwlock_t *l, const pthread_rwlockattr_t *attr)
{
  (void) attr;
  memset (l, 0, sizeof *l);
  return 0;
}

int
coop_rwlock_destroy (pthread_rwlock_t *lock)
{
  struct rwlock *l = (struct rwlock *) lock;

  if (!writable (l))
    coop_misuse ("an rwlock was destroyed while it was held");
  memset (lock, 0, sizeof *lock);
  return 0;
}

static void
check_rwlock (const struct rwlock *l)
{
  if (l->writer == me () || (l->readers & my_bit ()))
    coop_misuse ("an rwlock was locked twice");
}

int
coop_rwlock_rdlock (pthread_rwlock_t *lock)
{
  struct rwlock *l = (struct rwlock *) lock;

  check_rwlock (l);
  wait_until_free (COOP_WAIT_READ, l, readable (l));
  l->readers |= my_bit ();
  return 0;
}

int
coop_rwlock_wrlock (pthread_rwlock_t *lock)
{
  struct rwlock *l = (struct rwlock *) lock;

  check_rwlock (l);
  wait_until_free (COOP_WAIT_WRITE, l, writable (l));
  l->writer = me ();
  return 0;
}

int
coop_rwlock_tryrdlock (pthread_rwlock_t *lock)
{
  struct rwlock *l = (struct rwlock *) lock;

  coop_point ();
  if (!readable (l))
    return EBUSY;
  check_rwlock (l);
  l->readers |= my_bit ();
  return 0;
}

int
coop_rwlock_trywrlock (pthread_rwlock_t *lock)
{
  struct rwlock *l = (struct rwlock *) lock;

  coop_point ();
  if (!writable (l))
    return EBUSY;
  l->writer = me ();
  return 0;
}

int
coop_rwlock_unlock (pthread_rwlock_t *lock)
{
  struct rwlock *l = (struct rwlock *) lock;

  if (l->writer == me ())
    l->writer = 0;
  else if (l->readers & my_bit ())
    l->readers &= ~my_bit ();
  else
    coop_misuse ("an rwlock was unlocked by one who does not hold it");
  unlock_point ();
  return 0;
}

int
coop_cond_init (pthread_cond_t *c, const pthread_condattr_t *attr)
{
  (void) attr;
  memset (c, 0, sizeof *c);
  return 0;
}

int
coop_cond_destroy (pthread_cond_t *c)
{
  int i;

  for (i = 0; i < sched->nr; i++)
    if (sched->c[i].object == c)
      coop_misuse ("a condition was destroyed while somebody waits for it");
  memset (c, 0, sizeof *c);
  return 0;
}

static int
cond_wait (pthread_cond_t *cond, pthread_mutex_t *mutex,
           enum coop_state state)
{
  struct mutex *m = (struct mutex *) mutex;
  bool signalled;

  if (coop_self () == -1)
    coop_misuse ("waiting for a condition outside of all coroutines");
  if (m->owner != me ())
    coop_misuse ("waiting for a condition without holding the mutex");
  m->owner = 0;
  sched->c[sched->self].woken = 0;
  wait_for (state, cond);
  signalled = sched->c[sched->self].woken;
  /* Whoever was woken competes for the mutex with all others. */
  if (m->owner)
    wait_for (COOP_WAIT_MUTEX, m);
  m->owner = me ();
  return signalled ? 0 : ETIMEDOUT;
}

int
coop_cond_wait (pthread_cond_t *cond, pthread_mutex_t *mutex)
{
  return cond_wait (cond, mutex, COOP_WAIT_COND);
}

int
coop_cond_timedwait (pthread_cond_t *cond, pthread_mutex_t *mutex,
                     const struct timespec *until)
{
  (void) until;
  return cond_wait (cond, mutex, COOP_WAIT_COND_TIMED);
}

static void
wake (pthread_cond_t *cond, int how_many)
{
  int i;

  for (i = 0; i < sched->nr && how_many > 0; i++) {
    struct coroutine *c = &sched->c[i];

    if (c->object == cond && !c->woken) {
      c->woken = 1;
      how_many--;
    }
  }
  unlock_point ();
}

int
coop_cond_signal (pthread_cond_t *cond)
{
  wake (cond, 1);
  return 0;
}

int
coop_cond_broadcast (pthread_cond_t *cond)
{
  wake (cond, COOP_MAX);
  return 0;
}
