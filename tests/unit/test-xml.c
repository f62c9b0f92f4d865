/* SPDX-License-Identifier: BSD-3-Clause */
/* xml.c and vbox/machine.c with machine files that are broken, hostile, or
 * no such thing: one clear error, in bounded memory, nothing printed,
 * nothing else opened.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/resource.h>

#include <libxml/xmlmemory.h>

#include "image.h"
#include "vbox/machine.h"
#include "vbox/xml.h"
#include "vdi.h"

static struct vdi_error error;

/* Load vm.vbox with nothing to be heard from libxml2.  true if it could
 * be.
 */
static bool
load (struct machine **m)
{
  int saved, fd, r;
  struct stat st;

  fflush (stderr);
  CHECK ((saved = fcntl (2, F_DUPFD_CLOEXEC, 10)) != -1);
  fd = open ("stderr", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  CHECK (fd != -1);
  CHECK (dup2 (fd, 2) == 2);
  memset (&error, 0, sizeof error);
  r = machine_load ("vm.vbox", m, &error);
  fflush (stderr);
  CHECK (dup2 (saved, 2) == 2);
  CHECK (close (saved) == 0);
  CHECK (fstat (fd, &st) == 0);
  CHECK (st.st_size == 0);
  CHECK (close (fd) == 0);
  if (r == -1) {
    CHECK (error.err != 0);
    CHECK (strncmp (error.message, "vm.vbox: ", 9) == 0);
    CHECK (strchr (error.message, '\n') == NULL);
  }
  return r == 0;
}

static bool
loads (const char *bytes, size_t size)
{
  struct machine *m;

  write_text ("vm.vbox", bytes, size);
  if (!load (&m))
    return false;
  machine_free (m);
  return true;
}

static bool
refused (const char *bytes, size_t size, const char *why)
{
  if (loads (bytes, size))
    return false;
  if (strstr (error.message, why) == NULL) {
    fprintf (stderr, "%s\n", error.message);
    return false;
  }
  return true;
}

#define REFUSED(text, why) refused (text, strlen (text), why)

/* A text of any length. */
static char *text;
static size_t length, room;

static void
start (void)
{
  length = 0;
}

static void
add (const char *s)
{
  size_t n = strlen (s);

  if (length + n >= room) {
    room = 2 * (length + n) + 1024;
    text = realloc (text, room);
    CHECK (text != NULL);
  }
  memcpy (text + length, s, n + 1);
  length += n;
}

static void
add_times (const char *s, unsigned times)
{
  while (times-- > 0)
    add (s);
}

#define HEAD "<VirtualBox><Machine name='m'>"
#define TAIL "</Machine></VirtualBox>"
#define UUID "{00000001-0000-4000-8000-000000000000}"

static void
test_no_machine_file (void)
{
  uint8_t image[VDI_HEADER_SIZE];
  FILE *fp;

  CHECK (REFUSED ("", "is empty"));
  CHECK (REFUSED ("   \n", "not XML"));
  CHECK (REFUSED ("hello", "not XML"));
  CHECK (REFUSED ("<", "line 1: "));
  CHECK (REFUSED ("<html><body>hello</html>", "line 1: "));
  CHECK (REFUSED ("<VirtualBox/>", "no Machine"));
  CHECK (REFUSED ("<Machine name='m'/>", "no Machine"));
  CHECK (refused ("<\0a\0/\0>\0", 8, "not XML"));        /* UTF-16 */
  CHECK (refused ("<a>\0</a>", 8, "not XML"));
  CHECK (REFUSED ("\x4c\x6f\xa7\x94\x93", "not XML"));   /* EBCDIC */
  CHECK (REFUSED (HEAD "\xff" TAIL, "line 1: "));
  /* UTF-8 it is, whatever is claimed. */
  CHECK (REFUSED ("<?xml version='1.0' encoding='UTF-7'?>"
                  "<VirtualBox>+ADw-Machine/+AD4-</VirtualBox>",
                  "no Machine"));
  CHECK (loads ("\xef\xbb\xbf" HEAD TAIL, strlen (HEAD TAIL) + 3));

  /* An image, with and without what would follow. */
  make_image ("vm.vbox", 1, 0);
  fp = fopen ("vm.vbox", "r");
  CHECK (fp != NULL);
  CHECK (fread (image, 1, sizeof image, fp) == sizeof image);
  CHECK (fclose (fp) == 0);
  CHECK (refused ((char *) image, sizeof image, "not XML"));

  /* Longer than any. */
  CHECK (truncate ("vm.vbox", XML_MAX_BYTES + 1) == 0);
  CHECK (!load (NULL));
  CHECK (strstr (error.message, "longer than 16 MiB") != NULL);
  CHECK (truncate ("vm.vbox", INT64_C (1) << 40) == 0);
  CHECK (!load (NULL));

  CHECK (unlink ("vm.vbox") == 0);
  CHECK (!load (NULL));
  CHECK (error.err == ENOENT);
  CHECK (mkdir ("vm.vbox", 0700) == 0);
  CHECK (!load (NULL));
  CHECK (error.err == EINVAL);
  CHECK (rmdir ("vm.vbox") == 0);
  /* Were it opened, this would wait for ever. */
  CHECK (mkfifo ("vm.vbox", 0600) == 0);
  CHECK (!load (NULL));
  CHECK (error.err == EINVAL);
  CHECK (unlink ("vm.vbox") == 0);
  CHECK (symlink ("/dev/zero", "vm.vbox") == 0);
  CHECK (!load (NULL));
  CHECK (error.err == EINVAL);
  CHECK (unlink ("vm.vbox") == 0);
}

static void
test_entities (void)
{
  char name[64], value[64];
  unsigned i;

  /* A billion laughs, in text, in an attribute, in a default. */
  start ();
  add ("<?xml version='1.0'?><!DOCTYPE VirtualBox [<!ENTITY a0 'lol'>");
  for (i = 1; i < 12; ++i) {
    snprintf (name, sizeof name, "<!ENTITY a%u '", i);
    snprintf (value, sizeof value, "&a%u;", i - 1);
    add (name);
    add_times (value, 10);
    add ("'>");
  }
  add ("<!ATTLIST Machine name CDATA '&a11;'>]>"
       "<VirtualBox><Machine name='&a11;'>&a11;" TAIL);
  CHECK (refused (text, length, "DOCTYPE"));

  /* Files and networks. */
  write_text ("secret", "<Snapshot/>", 11);
  start ();
  add ("<!DOCTYPE VirtualBox [<!ENTITY x SYSTEM 'file://");
  add (tmpdir);
  add ("/secret'>]><VirtualBox><Machine name='m'>&x;" TAIL);
  CHECK (refused (text, length, "DOCTYPE"));
  CHECK (REFUSED ("<!DOCTYPE VirtualBox [<!ENTITY x SYSTEM 'file:///etc/"
                  "passwd'>]><VirtualBox><Machine name='&x;'>" TAIL,
                  "DOCTYPE"));
  CHECK (REFUSED ("<!DOCTYPE VirtualBox SYSTEM 'http://127.0.0.1:1/x.dtd'>"
                  HEAD TAIL, "DOCTYPE"));
  CHECK (REFUSED ("<!DOCTYPE VirtualBox [<!ENTITY % x SYSTEM 'file:///dev/"
                  "zero'> %x;]>" HEAD TAIL, "DOCTYPE"));
  CHECK (REFUSED ("<VirtualBox><Machine name='&unknown;'>" TAIL, "unknown"));
  CHECK (REFUSED (HEAD "&unknown;" TAIL, "unknown"));

  /* XInclude is not done. */
  CHECK (loads (HEAD "<xi:include xmlns:xi='http://www.w3.org/2001/XInclude'"
                " href='/dev/zero' parse='text'/>" TAIL,
                strlen (HEAD TAIL "<xi:include xmlns:xi='http://www.w3.org/"
                        "2001/XInclude' href='/dev/zero' parse='text'/>")));

  /* An ID twice is said to be an error, but of no concern. */
  CHECK (loads (HEAD "<a xml:id='q'/><a xml:id='q'/>" TAIL,
                strlen (HEAD TAIL "<a xml:id='q'/><a xml:id='q'/>")));

  /* Five are known without a declaration, and numbers. */
  start ();
  add ("<VirtualBox><Machine name='&lt;&gt;&amp;&quot;&apos;&#38;&#x41;"
       "&amp;lt;&amp;#38;&#38;#38;\n&#10;'>" TAIL);
  write_text ("vm.vbox", text, length);
  {
    struct machine *m;

    CHECK (load (&m));
    CHECK (strcmp (m->name, "<>&\"'&A&lt;&#38;&#38; \n") == 0);
    machine_free (m);
  }
}

static void
test_depth (void)
{
  struct machine *m;
  unsigned i;

  start ();
  add (HEAD);
  add_times ("<a>", 100000);
  CHECK (refused (text, length, "nested deeper than"));
  add_times ("</a>", 100000);
  add (TAIL);
  CHECK (refused (text, length, "nested deeper than"));

  start ();
  add (HEAD);
  for (i = 0; i < 100000; ++i)
    add ("<Snapshot uuid='" UUID "'><Snapshots>");
  CHECK (refused (text, length, "nested deeper than"));

  /* As deep as VirtualBox allows, and a bit more: 300 images, 250
   * snapshots.
   */
  start ();
  add (HEAD "<MediaRegistry><HardDisks>");
  add_times ("<HardDisk uuid='" UUID "' location='x'>", 301);
  add_times ("</HardDisk>", 301);
  add ("</HardDisks></MediaRegistry>");
  add_times ("<Snapshot uuid='" UUID "' name='s'><Snapshots>", 251);
  add_times ("</Snapshots></Snapshot>", 251);
  add (TAIL);
  write_text ("vm.vbox", text, length);
  CHECK (load (&m));
  CHECK (m->nr_images == 301);
  CHECK (m->images[0].parent == MACHINE_NONE);
  for (i = 1; i < 301; ++i)
    CHECK (m->images[i].parent == i - 1);
  CHECK (m->nr_states == 252);
  CHECK (machine_child (m, 0) == 1);
  CHECK (machine_child (m, 300) == MACHINE_NONE);
  machine_free (m);
}

static void
test_size (void)
{
  struct machine *m;
  char one[64];
  unsigned i;

  /* One attribute that takes nearly all there may be. */
  start ();
  add ("<VirtualBox><Machine name='");
  add_times ("x123456789abcdef", (XML_MAX_BYTES - 100) / 16);
  add ("'>" TAIL);
  CHECK (length <= XML_MAX_BYTES);
  write_text ("vm.vbox", text, length);
  CHECK (load (&m));
  CHECK (strlen (m->name) == (XML_MAX_BYTES - 100) / 16 * 16);
  machine_free (m);

  /* Without an end to it. */
  CHECK (refused (text, length / 8, "ends too early"));

  /* It does not take long to find the end of what is long. */
  start ();
  add (HEAD "<a b='");
  add_times (">", XML_MAX_BYTES / 2);
  add ("'/><!--");
  add_times (">", XML_MAX_BYTES / 2 - 100);
  add ("-->" TAIL);
  CHECK (length <= XML_MAX_BYTES);
  CHECK (loads (text, length));
  start ();
  add (HEAD);
  add_times ("<", XML_MAX_BYTES - 100);
  CHECK (refused (text, length, "line 1: "));

  /* Very many attributes; names that repeat. */
  start ();
  add (HEAD "<a");
  for (i = 0; i < 200000; ++i) {
    snprintf (one, sizeof one, " a%u=''", i);
    add (one);
  }
  add ("/>" TAIL);
  CHECK (refused (text, length, "attributes"));
  CHECK (REFUSED (HEAD "<a b='1' b='2'/>" TAIL, "line 1: "));
  /* What looks like attributes, and is none. */
  start ();
  add (HEAD "<!-- <a ");
  add_times ("b='' ", 5000);
  add ("--><![CDATA[<a ");
  add_times ("b='' ", 5000);
  add ("]]><?x <a ");
  add_times ("b='' ", 5000);
  add ("?>");
  add_times ("b='' ", 5000);
  add ("<a b='<c ");
  CHECK (!loads (text, length));        /* "<" may not be in a value */
  length -= strlen ("<c ");
  add ("\"> c \"'/>" TAIL);
  CHECK (loads (text, length));

  /* Declarations of names. */
  start ();
  add (HEAD);
  for (i = 0; i < 1001; ++i) {
    snprintf (one, sizeof one, "<a xmlns:n%u='x'/>", i);
    add (one);
  }
  add (TAIL);
  CHECK (refused (text, length, "namespaces"));

  /* Very many images, and attachments. */
  start ();
  add (HEAD "<MediaRegistry><HardDisks>");
  add_times ("<HardDisk uuid='" UUID "' location='x'/>", 30000);
  add ("</HardDisks></MediaRegistry>"
       "<StorageControllers><StorageController name='S'>");
  add_times ("<AttachedDevice type='HardDisk'><Image uuid='" UUID "'/>"
             "</AttachedDevice>", 20000);
  add ("</StorageController></StorageControllers>" TAIL);
  write_text ("vm.vbox", text, length);
  CHECK (load (&m));
  CHECK (m->nr_images == 30000);
  CHECK (m->states[0].nr_disks == 20000);
  machine_free (m);
}

static const char machine[] =
  "<?xml version=\"1.0\"?>\n<!-- made by hand -->\n"
  "<VirtualBox xmlns=\"http://www.virtualbox.org/\">\n"
  "<Machine uuid=\"" UUID "\" name=\"web &amp; more\">\n"
  "<MediaRegistry><HardDisks><HardDisk uuid=\"" UUID "\" location=\"a\">"
  "<Property name=\"CRYPT/KeyId\" value=\"\"/></HardDisk></HardDisks>"
  "</MediaRegistry><Snapshot uuid=\"" UUID "\" name=\"s\"/>\n"
  "<Hardware><![CDATA[x]]><StorageControllers>"
  "<StorageController name=\"S\">"
  "<AttachedDevice type=\"HardDisk\" port=\"0\" device=\"0\">"
  "<Image uuid=\"" UUID "\"/></AttachedDevice></StorageController>"
  "</StorageControllers></Hardware></Machine></VirtualBox>";

/* A file that was cut off is an error, wherever. */
static void
test_truncated (void)
{
  size_t i;

  CHECK (loads (machine, sizeof machine - 1));
  for (i = 0; i < sizeof machine - 1; ++i)
    CHECK (!loads (machine, i));
}

/* Bytes that changed: an error or not, but nothing worse. */
static void
test_changed (void)
{
  static const char to[] = { '<', '"', '&', '\xff', '\0', 'x' };
  char copy[sizeof machine];
  size_t i, j;
  unsigned ok = 0;

  for (i = 0; i < sizeof machine - 1; ++i)
    for (j = i % 2; j < sizeof to; j += 2) {
      memcpy (copy, machine, sizeof machine);
      copy[i] = to[j];
      ok += loads (copy, sizeof machine - 1);
    }
  /* In comments and names it does no harm. */
  CHECK (ok > 100);
}

/* What a crash leaves of a file. */
static void
test_lost (void)
{
  static const char whole[] =
    "<?xml version=\"1.0\"?>\n<VirtualBox><Machine name=\"m\"><Snapshot "
    "uuid=\"{4df1bb20-0a8c-4d9b-a8c9-7b0a9b4a1c11}\" name=\"s\"/>"
    "</Machine></VirtualBox>\n";
  const size_t size = sizeof whole - 1;
  char bytes[sizeof whole];
  size_t n;

  CHECK (loads (whole, size));
  for (n = 1; n < size - 1; ++n) {
    memcpy (bytes, whole, size);
    memset (bytes + n, 0, size - n);
    if (n < 40) {               /* nobody can tell what it was */
      CHECK (!loads (whole, n));
      CHECK (!loads (bytes, size));
      continue;
    }
    CHECK (refused (whole, n, "ends too early"));
    CHECK (refused (bytes, size, "holds zeros instead of text from byte "));
    /* The beginning is what is lost. */
    memset (bytes, 0, n);
    memcpy (bytes + n, whole + n, size - n);
    if (strstr (whole + n, "</VirtualBox>") != NULL)
      CHECK (refused (bytes, size, "zeros instead of text from byte 0 on"));
  }
  CHECK (refused ("", 0, "is empty"));
  memset (bytes, 0, size);
  CHECK (refused (bytes, size, "holds nothing but "));
  /* Not everything is a loss. */
  CHECK (REFUSED ("<VirtualBox><Machine></VirtualBox>", "line 1"));
  CHECK (REFUSED ("<html><p>", "line 1"));
}

/* All of a machine can be encrypted, and then there is nothing to see. */
static void
test_encrypted (void)
{
  CHECK (REFUSED ("<VirtualBox><MachineEncrypted>AAAA</MachineEncrypted>"
                  "</VirtualBox>", "is encrypted as a whole"));
  CHECK (REFUSED ("<VirtualBox><X><MachineEncrypted/></X></VirtualBox>",
                  "there is no Machine in it"));
}

/* What libxml2 allocates: not any more at some time. */
static unsigned long allocations = ULONG_MAX;
static bool once, refused_one;

static bool
may_allocate (void)
{
  if (allocations > 0 && --allocations > 0)
    return true;
  refused_one = true;
  if (once)
    allocations = ULONG_MAX;
  return false;
}

static void *
few_mallocs (size_t size)
{
  return may_allocate () ? malloc (size) : NULL;
}

static void *
few_reallocs (void *p, size_t size)
{
  return may_allocate () ? realloc (p, size) : NULL;
}

static char *
few_strdups (const char *s)
{
  return may_allocate () ? strdup (s) : NULL;
}

/* Whenever memory is short, that is said, or everything is read
 * nevertheless: never a part of it.
 */
static void
test_memory (void)
{
  unsigned long n = 0;
  struct machine *m;

  write_text ("vm.vbox", machine, sizeof machine - 1);
  do {
    refused_one = false;
    allocations = ++n;
    if (!load (&m)) {
      CHECK (error.err == ENOMEM);
      continue;
    }
    CHECK (strcmp (m->name, "web & more") == 0);
    CHECK (m->nr_images == 1);
    CHECK (m->images[0].encrypted);
    CHECK (m->nr_states == 2);
    CHECK (m->states[0].nr_disks == 1);
    machine_free (m);
  } while (refused_one);
  CHECK (n > 20);
  allocations = ULONG_MAX;
}

int
main (void)
{
#if !defined (__SANITIZE_ADDRESS__) && !defined (__SANITIZE_THREAD__)
  const struct rlimit limit = { 256 << 20, 256 << 20 };

  CHECK (setrlimit (RLIMIT_AS, &limit) == 0);
#endif
  CHECK (xmlMemSetup (free, few_mallocs, few_reallocs, few_strdups) == 0);
  image_setup ();
  test_no_machine_file ();
  test_entities ();
  test_depth ();
  test_size ();
  test_truncated ();
  test_changed ();
  free (text);
  test_lost ();
  test_encrypted ();
  test_memory ();
  once = true;
  test_memory ();
  return 0;
}
