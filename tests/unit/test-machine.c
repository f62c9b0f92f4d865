/* SPDX-License-Identifier: BSD-3-Clause */
/* machine-disk.c, machine-files.c and vbox/machine.c: the image that is meant
 * by a machine, a snapshot and a disk is found, and whether it may be
 * written to is told.  What is wrong with the XML is in test-xml.c.
 */
#include <config.h>

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "image.h"
#include "vdi.h"

static struct vdi_error error;
static struct vdi_machine_disk *disk;
static char warnings[8192];     /* of the last find, each with a line end */

static void
on_warning (void *opaque, const char *message)
{
  CHECK (opaque == &error);
  CHECK (strchr (message, '\n') == NULL);
  strncat (warnings, message, sizeof warnings - strlen (warnings) - 2);
  strcat (warnings, "\n");
}

/* What parent-dir= gives. */
static const char *dirs[2];
static size_t nr_dirs;

static bool
find (const char *vbox, const char *snapshot, const char *which)
{
  const struct vdi_machine_options options = {
    .vbox = vbox, .snapshot = snapshot, .disk = which, .dirs = dirs,
    .nr_dirs = nr_dirs, .listener = { .warn = on_warning, .opaque = &error },
  };

  vdi_machine_disk_free (disk);
  disk = NULL;
  warnings[0] = '\0';
  memset (&error, 0, sizeof error);
  if (vdi_machine_find (&options, &disk, &error) == 0) {
    CHECK (disk->filename[0] == '/');
    CHECK (disk->read_only == (disk->why_read_only != NULL));
    return true;
  }
  CHECK (error.err != 0);
  CHECK (strchr (error.message, '\n') == NULL);
  CHECK (strstr (error.message, vbox) != NULL);
  return false;
}

static bool
found (const char *vbox, const char *snapshot, const char *which,
       const char *end)
{
  if (!find (vbox, snapshot, which))
    fprintf (stderr, "%s\n", error.message);
  else if (!ends_with (disk->filename, end))
    fprintf (stderr, "%s\n", disk->filename);
  else
    return true;
  return false;
}

static bool
says (const char *text)
{
  if (strstr (error.message, text) != NULL)
    return true;
  fprintf (stderr, "%s\n", error.message);
  return false;
}

static bool
is_candidate (const char *end)
{
  size_t i;

  for (i = 0; i < disk->nr_candidates; ++i)
    if (ends_with (disk->candidates[i], end))
      return true;
  return false;
}

/*------------------------------------------------------------------*/
/* Pieces of machine files.  U1 is the UUID of image 1, and so on. */

#define U(n) "{0000000" n "-0000-4000-8000-000000000000}"
#define U1 U ("1")
#define U2 U ("2")
#define U3 U ("3")
#define U4 U ("4")
#define S1 "{000000a1-0000-4000-8000-000000000000}"
#define S2 "{000000a2-0000-4000-8000-000000000000}"
#define S3 "{000000a3-0000-4000-8000-000000000000}"

#define HD(uuid, location, more, inner) \
  "<HardDisk uuid=\"" uuid "\" location=\"" location "\"" more ">" inner \
  "</HardDisk>"
#define VDI " format=\"VDI\""
#define REGISTRY(disks) \
  "<MediaRegistry><HardDisks>" disks "</HardDisks></MediaRegistry>"

#define ATTACH(port, device, uuid) \
  "<AttachedDevice type=\"HardDisk\" port=\"" port "\" device=\"" device \
  "\"><Image uuid=\"" uuid "\"/></AttachedDevice>"
#define DVD(port, device, uuid) \
  "<AttachedDevice passthrough=\"false\" type=\"DVD\" port=\"" port \
  "\" device=\"" device "\"><Image uuid=\"" uuid "\"/></AttachedDevice>"
#define CTL(name, devices) \
  "<StorageController name=\"" name "\" type=\"AHCI\" PortCount=\"4\">" \
  devices "</StorageController>"
#define STORAGE(controllers) \
  "<StorageControllers>" controllers "</StorageControllers>"
#define HARDWARE(controllers) \
  "<Hardware><CPU count=\"2\"/>" STORAGE (controllers) "</Hardware>"
#define SATA(uuid) HARDWARE (CTL ("SATA", ATTACH ("0", "0", uuid)))

static void
write_vbox (const char *name, const char *attributes, const char *body)
{
  char *text;
  int len = asprintf (&text,
                      "<?xml version=\"1.0\"?>\n<!-- do not edit -->\n"
                      "<VirtualBox xmlns=\"http://www.virtualbox.org/\""
                      " version=\"1.19-linux\">\n<Machine uuid=\"" S1 "\""
                      " name=\"web\" %s>%s</Machine></VirtualBox>\n",
                      attributes, body);

  CHECK (len != -1);
  make_way (name);
  write_text (name, text, len);
  free (text);
}

/* A base, a snapshot "before upgrade" of it, and the current state. */
static const char ONE_SNAPSHOT[] =
  REGISTRY (HD (U1, "web.vdi", VDI " type=\"Normal\"",
                HD (U2, "Snapshots/" U2 ".vdi", VDI, "")))
  "<ExtraData><ExtraDataItem name=\"x\" value=\"" U4 "\"/></ExtraData>"
  "<Snapshot uuid=\"" S1 "\" name=\"before upgrade\">" SATA (U1)
  "</Snapshot>"
  SATA (U2);

static void
make_one_snapshot (void)
{
  write_vbox ("vm/web.vbox", "snapshotFolder=\"Snapshots\""
              " currentSnapshot=\"" S1 "\"", ONE_SNAPSHOT);
  make_image ("vm/web.vdi", 1, 0);
  make_image ("vm/Snapshots/" U2 ".vdi", 2, 1);
}

static void
test_states (void)
{
  struct vdi_uuid one = image_uuid (1), two = image_uuid (2);

  make_one_snapshot ();
  CHECK (found ("vm/web.vbox", NULL, NULL, "/vm/Snapshots/" U2 ".vdi"));
  CHECK (warnings[0] == '\0');
  CHECK (!disk->read_only);
  CHECK (vdi_uuid_equal (&disk->uuid, &two));
  CHECK (strcmp (disk->description,
                 "machine web, current state, disk SATA port 0") == 0);
  CHECK (is_candidate ("/vm/web.vdi"));
  CHECK (!is_candidate ("/vm/Snapshots/" U2 ".vdi"));

  CHECK (found ("vm/web.vbox", "before upgrade", NULL, "/vm/web.vdi"));
  CHECK (warnings[0] == '\0');
  CHECK (disk->read_only);
  CHECK (strstr (disk->why_read_only, U2 ".vdi") != NULL);
  CHECK (vdi_uuid_equal (&disk->uuid, &one));
  CHECK (strcmp (disk->description, "machine web, snapshot before upgrade, "
                 "disk SATA port 0") == 0);

  CHECK (found ("vm/web.vbox", S1, NULL, "/vm/web.vdi"));
  CHECK (found ("vm/web.vbox", "000000A1-0000-4000-8000-000000000000", NULL,
                "/vm/web.vdi"));
  CHECK (!find ("vm/web.vbox", "after upgrade", NULL));
  CHECK (error.err == EINVAL);
  CHECK (says ("after upgrade") && says ("before upgrade"));
  CHECK (!find ("vm/web.vbox", S2, NULL));
  CHECK (!find ("vm/web.vbox", "", NULL));

  /* Wherever we are, and however the file is named. */
  CHECK (chdir ("vm") == 0);
  CHECK (found ("web.vbox", NULL, NULL, "/vm/Snapshots/" U2 ".vdi"));
  CHECK (chdir ("..") == 0);
  CHECK (symlink ("vm/web.vbox", "link.vbox") == 0);
  CHECK (found ("link.vbox", NULL, NULL, "/vm/Snapshots/" U2 ".vdi"));
  clear_tmpdir ();
}

/* A tree of snapshots, with names that repeat. */
static void
test_snapshot_tree (void)
{
  write_vbox ("web.vbox", "",
              REGISTRY (HD (U1, "1.vdi", VDI,
                            HD (U2, "2.vdi", VDI,
                                HD (U3, "3.vdi", VDI, ""))))
              "<Snapshot uuid=\"" S1 "\" name=\"same\">" SATA (U1)
              "<Snapshots><Snapshot uuid=\"" S2 "\" name=\"same\">" SATA (U2)
              "<Snapshots/></Snapshot><Snapshot uuid=\"" S3 "\""
              " name=\"a &lt;b&gt; &amp;#38; &quot;c&quot; &amp; d\" "
              "stateFile=\"x.sav\">" SATA (U2)
              "</Snapshot></Snapshots></Snapshot>" SATA (U3));
  make_image ("1.vdi", 1, 0);
  make_image ("2.vdi", 2, 1);
  make_image ("3.vdi", 3, 2);
  CHECK (!find ("web.vbox", "same", NULL));
  CHECK (error.err == EINVAL);
  CHECK (says ("000000a1-0000-4000-8000-000000000000"));
  CHECK (says ("000000a2-0000-4000-8000-000000000000"));
  CHECK (found ("web.vbox", S1, NULL, "/1.vdi"));
  CHECK (found ("web.vbox", S2, NULL, "/2.vdi"));
  CHECK (found ("web.vbox", "a <b> &#38; \"c\" & d", NULL, "/2.vdi"));
  CHECK (strstr (disk->description, "a <b> &#38; \"c\" & d (taken while "
                 "running)") != NULL);
  CHECK (warnings[0] == '\0');
  CHECK (is_candidate ("/1.vdi") && is_candidate ("/3.vdi"));
  CHECK (found ("web.vbox", NULL, NULL, "/3.vdi"));
  CHECK (!disk->read_only);

  write_vbox ("none.vbox", "", REGISTRY (HD (U1, "1.vdi", VDI, ""))
              SATA (U1));
  CHECK (!find ("none.vbox", "same", NULL));
  CHECK (says ("has none"));
  clear_tmpdir ();
}

static void
test_disks (void)
{
  static const char *const by_number[] = {
    "/1.vdi", "/2.vdi", "/3.vdi", "/4.vdi"
  };
  static const char body[] =
    REGISTRY (HD (U1, "1.vdi", VDI, "") HD (U2, "2.vdi", VDI, "")
              HD (U3, "3.vdi", VDI, "") HD (U4, "4.vdi", VDI, ""))
    HARDWARE (CTL ("IDE Controller", DVD ("1", "0", S3)
                   ATTACH ("0", "0", U1) ATTACH ("0", "1", U2))
              CTL ("SATA", ATTACH ("0", "1", U3))
              CTL ("SATA:0", ATTACH ("1", "0", U4)
                   "<AttachedDevice type=\"HardDisk\" port=\"9\"/>"));
  unsigned i;
  char name[16];

  write_vbox ("web.vbox", "", body);
  for (i = 1; i <= 4; ++i) {
    snprintf (name, sizeof name, "%u.vdi", i);
    make_image (name, i, 0);
  }
  CHECK (found ("web.vbox", NULL, NULL, "/1.vdi"));
  CHECK (strstr (warnings, "4 hard disks") != NULL);
  CHECK (strstr (warnings, "disk=") != NULL);
  CHECK (strstr (warnings, "1 is \"IDE Controller:0:1\"") != NULL);
  CHECK (strstr (warnings, "3 is \"SATA:0:1:0\"") != NULL);
  for (i = 0; i < 4; ++i) {
    snprintf (name, sizeof name, "%u", i);
    CHECK (found ("web.vbox", NULL, name, by_number[i]));
    CHECK (warnings[0] == '\0');
  }
  CHECK (!find ("web.vbox", NULL, "4"));
  CHECK (says ("disk=4") && says ("IDE Controller:0:0"));
  CHECK (!find ("web.vbox", NULL, "99999999999999999999"));
  CHECK (!find ("web.vbox", NULL, "4294967297")); /* 2^32 + 1 */
  CHECK (!find ("web.vbox", NULL, "18446744073709551617"));

  CHECK (found ("web.vbox", NULL, "IDE Controller:0:1", "/2.vdi"));
  CHECK (strstr (disk->description, "disk IDE Controller port 0 device 1"));
  CHECK (found ("web.vbox", NULL, "SATA:0", "/3.vdi"));
  /* The longest name of a controller that fits. */
  CHECK (found ("web.vbox", NULL, "SATA:0:1", "/4.vdi"));
  CHECK (found ("web.vbox", NULL, "SATA:0:1:0", "/4.vdi"));
  CHECK (found ("web.vbox", NULL, "SATA:00:01", "/3.vdi"));

  CHECK (!find ("web.vbox", NULL, "IDE Controller:0"));
  CHECK (says ("more than one"));
  CHECK (!find ("web.vbox", NULL, "IDE Controller:1:0")); /* the DVD */
  CHECK (says ("there is no disk=IDE Controller:1:0"));
  CHECK (!find ("web.vbox", NULL, "SATA:0:9:0"));        /* no image */
  CHECK (!find ("web.vbox", NULL, "IDE Controller"));
  CHECK (!find ("web.vbox", NULL, "IDE Controller:"));
  CHECK (!find ("web.vbox", NULL, "SATA:0:1:"));
  CHECK (!find ("web.vbox", NULL, "SATA:0:1:0:0"));
  CHECK (!find ("web.vbox", NULL, "SATA:-0"));
  CHECK (!find ("web.vbox", NULL, "ide controller:0:0"));
  CHECK (!find ("web.vbox", NULL, ""));

  /* None at all. */
  write_vbox ("web.vbox", "", HARDWARE (CTL ("IDE", DVD ("0", "0", S3))));
  CHECK (!find ("web.vbox", NULL, NULL));
  CHECK (says ("no hard disk"));
  write_vbox ("web.vbox", "", "");
  CHECK (!find ("web.vbox", NULL, "0"));
  clear_tmpdir ();
}

/* Older files, other spellings of the name space. */
static void
test_older (void)
{
  static const char old[] =
    "<?xml version='1.0'?><innotek:VirtualBox"
    " xmlns:innotek='http://www.innotek.de/VirtualBox-settings'>"
    "<innotek:Machine name='old'>"
    "<innotek:MediaRegistry><innotek:HardDisks>"
    "<innotek:HardDisk uuid='" U1 "' location='1.vdi'/>"
    "</innotek:HardDisks></innotek:MediaRegistry>"
    "<innotek:StorageControllers><innotek:StorageController name='IDE'>"
    "<innotek:AttachedDevice type='HardDisk' port='0' device='0'>"
    "<innotek:Image uuid='" U1 "'/></innotek:AttachedDevice>"
    "</innotek:StorageController></innotek:StorageControllers>"
    "</innotek:Machine></innotek:VirtualBox>";

  make_image ("1.vdi", 1, 0);
  write_text ("old.vbox", old, sizeof old - 1);
  CHECK (found ("old.vbox", NULL, NULL, "/1.vdi"));
  CHECK (strcmp (disk->description,
                 "machine old, current state, disk IDE port 0") == 0);

  /* The image in another registry: looked for by its UUID. */
  write_vbox ("web.vbox", "",
              STORAGE (CTL ("IDE", ATTACH ("0", "0", U1))));
  CHECK (found ("web.vbox", NULL, NULL, "/1.vdi"));
  CHECK (disk->nr_candidates == 0);
  make_way ("Snapshots/x");
  CHECK (rename ("1.vdi", "Snapshots/1.vdi") == 0);
  CHECK (found ("web.vbox", NULL, NULL, "/Snapshots/1.vdi"));
  CHECK (unlink ("Snapshots/1.vdi") == 0);
  CHECK (!find ("web.vbox", NULL, NULL));
  CHECK (error.err == ENOENT);
  clear_tmpdir ();
}

static void
test_locations (void)
{
  char *body;
  struct vdi_uuid one = image_uuid (1);

  /* Absolute. */
  CHECK (asprintf (&body, REGISTRY (HD (U1, "%s/away/1.vdi", VDI, ""))
                   SATA (U1), tmpdir) != -1);
  write_vbox ("vm/web.vbox", "", body);
  free (body);
  make_image ("away/1.vdi", 1, 0);
  CHECK (found ("vm/web.vbox", NULL, NULL, "/away/1.vdi"));
  CHECK (warnings[0] == '\0');

  /* Gone from there: the same name in the machine's folder. */
  CHECK (rename ("away/1.vdi", "vm/1.vdi") == 0);
  CHECK (found ("vm/web.vbox", NULL, NULL, "/vm/1.vdi"));
  CHECK (strstr (warnings, "/vm/1.vdi") != NULL);
  CHECK (strstr (warnings, "away/1.vdi: No such file") != NULL);

  /* Another image has taken its place: found by its UUID. */
  make_image ("away/1.vdi", 2, 0);
  CHECK (rename ("vm/1.vdi", "vm/renamed.vdi") == 0);
  CHECK (found ("vm/web.vbox", NULL, NULL, "/vm/renamed.vdi"));
  CHECK (vdi_uuid_equal (&disk->uuid, &one));
  CHECK (strstr (warnings, "another image, with the UUID 00000002-"));

  /* Twice, nowhere. */
  make_image ("vm/Snapshots/copy.vdi", 1, 0);
  CHECK (!find ("vm/web.vbox", NULL, NULL));
  CHECK (error.err == EINVAL);
  CHECK (says ("copy.vdi") && says ("renamed.vdi"));
  CHECK (unlink ("vm/Snapshots/copy.vdi") == 0);
  CHECK (unlink ("vm/renamed.vdi") == 0);
  CHECK (!find ("vm/web.vbox", NULL, NULL));
  CHECK (error.err == ENOENT);
  CHECK (says ("00000001-0000-4000-8000-000000000000") && says ("file="));
  CHECK (says ("/vm/Snapshots"));

  /* From a Windows host: relative, absolute, on a share. */
  write_vbox ("vm/web.vbox", "snapshotFolder=\"my\\snaps\"",
              REGISTRY (HD (U1, "disks\\1.vdi", VDI, "")
                        HD (U2, "C:\\Users\\me\\vm\\my\\snaps\\2.vdi", VDI,
                            "")
                        HD (U3, "\\\\nas\\vm\\3.vdi", VDI, ""))
              HARDWARE (CTL ("SATA", ATTACH ("0", "0", U1)
                             ATTACH ("1", "0", U2) ATTACH ("2", "0", U3))));
  make_image ("vm/disks/1.vdi", 1, 0);
  make_image ("vm/my/snaps/2.vdi", 2, 0);
  make_image ("vm/3.vdi", 3, 0);
  CHECK (found ("vm/web.vbox", NULL, "0", "/vm/disks/1.vdi"));
  CHECK (warnings[0] == '\0');
  CHECK (found ("vm/web.vbox", NULL, "1", "/vm/my/snaps/2.vdi"));
  CHECK (strstr (warnings, "/vm/my/snaps/2.vdi") != NULL);
  /* The name decides between copies. */
  make_image ("vm/my/snaps/copy of 2.vdi", 2, 0);
  CHECK (found ("vm/web.vbox", NULL, "1", "/vm/my/snaps/2.vdi"));
  CHECK (is_candidate ("/vm/disks/1.vdi"));
  CHECK (found ("vm/web.vbox", NULL, "2", "/vm/3.vdi"));
  /* A file may really be named so. */
  make_image ("vm/disks\\1.vdi", 1, 0);
  CHECK (found ("vm/web.vbox", NULL, "0", "/vm/disks\\1.vdi"));

  /* An ancestor that has moved is a candidate where it is now. */
  write_vbox ("vm/web.vbox", "", REGISTRY (HD (U1, "gone.vdi", VDI,
                                               HD (U2, "2.vdi", VDI, "")))
              SATA (U2));
  make_image ("vm/2.vdi", 2, 1);
  CHECK (unlink ("vm/disks\\1.vdi") == 0);
  CHECK (rename ("vm/disks/1.vdi", "vm/Snapshots/here.vdi") == 0);
  CHECK (found ("vm/web.vbox", NULL, NULL, "/vm/2.vdi"));
  CHECK (is_candidate ("/vm/Snapshots/here.vdi"));
  CHECK (strstr (warnings, "/vm/Snapshots/here.vdi") != NULL);
  /* That one is missing is for the chain to say. */
  CHECK (unlink ("vm/Snapshots/here.vdi") == 0);
  CHECK (found ("vm/web.vbox", NULL, NULL, "/vm/2.vdi"));
  CHECK (disk->nr_candidates == 0);

  /* Registered twice. */
  write_vbox ("vm/web.vbox", "", REGISTRY (HD (U2, "2.vdi", VDI, "")
                                           HD (U2, "3.vdi", VDI, ""))
              SATA (U2));
  CHECK (!find ("vm/web.vbox", NULL, NULL));
  CHECK (says ("twice") && says ("2.vdi") && says ("3.vdi"));
  clear_tmpdir ();
}

static void
test_refused (void)
{
  make_image ("1.vdi", 1, 0);
  make_image ("2.vdi", 2, 1);
  write_vbox ("web.vbox", "",
              REGISTRY (HD (U1, "disk.vmdk", " format=\"VMDK\"",
                            HD (U2, "2.vdi", VDI, "")))
              SATA (U1));
  CHECK (!find ("web.vbox", NULL, NULL));
  CHECK (error.err == EINVAL);
  CHECK (says ("disk.vmdk") && says ("VMDK") && says ("qemu-nbd"));
  write_vbox ("web.vbox", "",
              REGISTRY (HD (U1, "disk.vmdk", " format=\"VMDK\"",
                            HD (U2, "2.vdi", VDI, "")))
              SATA (U2));
  CHECK (!find ("web.vbox", NULL, NULL));
  CHECK (says ("VMDK"));
  write_vbox ("web.vbox", "", REGISTRY (HD (U1, "1.vdi",
                                            " format=\"vdi\"", ""))
              SATA (U1));
  CHECK (found ("web.vbox", NULL, NULL, "/1.vdi"));

  write_vbox ("web.vbox", "",
              REGISTRY (HD (U1, "1.vdi", VDI,
                            "<Property name=\"CRYPT/KeyStore\" value=\"x\"/>"
                            HD (U2, "2.vdi", VDI, "")))
              SATA (U2));
  CHECK (!find ("web.vbox", NULL, NULL));
  CHECK (says ("encrypted"));
  write_vbox ("web.vbox", "",
              REGISTRY (HD (U1, "1.vdi", VDI,
                            HD (U2, "2.vdi", VDI, "")
                            "<Property name=\"CRYPT/KeyId\" value=\"x\"/>"))
              SATA (U2));
  CHECK (!find ("web.vbox", NULL, NULL));
  CHECK (says ("encrypted"));
  write_vbox ("web.vbox", "",
              REGISTRY (HD (U1, "1.vdi", VDI, "<Property name=\"AllocationB"
                            "lockSize\" value=\"1048576\"/>")) SATA (U1));
  CHECK (found ("web.vbox", NULL, NULL, "/1.vdi"));
  clear_tmpdir ();
}

/* A machine with one disk of some type. */
static bool
read_only_type (const char *type, const char *attributes)
{
  char *body;

  CHECK (asprintf (&body, REGISTRY (HD (U1, "1.vdi", VDI " type=\"%s\"", ""))
                   "<Snapshot uuid=\"" S1 "\" name=\"s\">" SATA (U4)
                   "</Snapshot>" SATA (U1), type) != -1);
  write_vbox ("vm/web.vbox", attributes, body);
  free (body);
  CHECK (found ("vm/web.vbox", NULL, NULL, "/vm/1.vdi"));
  return disk->read_only;
}

static void
test_read_only (void)
{
  make_image ("vm/1.vdi", 1, 0);
  CHECK (!read_only_type ("Normal", ""));
  CHECK (!read_only_type ("Writethrough", ""));
  CHECK (!read_only_type ("Shareable", ""));
  CHECK (read_only_type ("Immutable", ""));
  CHECK (strstr (disk->why_read_only, "Immutable") != NULL);
  CHECK (read_only_type ("Readonly", ""));
  CHECK (strstr (disk->why_read_only, "Readonly") != NULL);
  CHECK (read_only_type ("MultiAttach", ""));
  CHECK (strstr (disk->why_read_only, "MultiAttach") != NULL);

  /* Of the machine. */
  CHECK (!read_only_type ("Normal", "stateFile=\"\" aborted=\"false\""));
  CHECK (warnings[0] == '\0');
  CHECK (read_only_type ("Normal", "stateFile=\"Snapshots/x.sav\""));
  CHECK (strstr (disk->why_read_only, "saved") != NULL);
  CHECK (strstr (warnings, "saved") != NULL);
  make_image ("vm/4.vdi", 4, 0);
  CHECK (found ("vm/web.vbox", "s", NULL, "/vm/4.vdi"));
  CHECK (warnings[0] == '\0');
  CHECK (strstr (disk->why_read_only, "saved") == NULL);
  CHECK (!read_only_type ("Normal", "aborted=\"true\""));
  CHECK (strstr (warnings, "aborted") != NULL);

  /* A child that the machine does not know. */
  make_image ("vm/Snapshots/child.vdi", 9, 1);
  CHECK (read_only_type ("Normal", ""));
  CHECK (strstr (disk->why_read_only, "/vm/Snapshots/child.vdi") != NULL);
  CHECK (unlink ("vm/Snapshots/child.vdi") == 0);

  /* One that it knows, wherever it is. */
  write_vbox ("vm/web.vbox", "",
              REGISTRY (HD (U1, "1.vdi", VDI, HD (U2, "/far/2.vdi", VDI,
                                                  "")))
              SATA (U1));
  CHECK (found ("vm/web.vbox", NULL, NULL, "/vm/1.vdi"));
  CHECK (disk->read_only);
  CHECK (strstr (disk->why_read_only, "/far/2.vdi") != NULL);

  /* A snapshot uses the same image, without a child in between. */
  write_vbox ("vm/web.vbox", "", REGISTRY (HD (U1, "1.vdi", VDI, ""))
              "<Snapshot uuid=\"" S1 "\" name=\"clean\">" SATA (U1)
              "</Snapshot>" SATA (U1));
  CHECK (found ("vm/web.vbox", NULL, NULL, "/vm/1.vdi"));
  CHECK (disk->read_only);
  CHECK (strstr (disk->why_read_only, "\"clean\"") != NULL);
  CHECK (found ("vm/web.vbox", "clean", NULL, "/vm/1.vdi"));
  CHECK (disk->read_only);
  /* Of a disk that snapshots leave as it is, that is as it should be. */
  write_vbox ("vm/web.vbox", "",
              REGISTRY (HD (U1, "1.vdi", VDI " type=\"Writethrough\"", ""))
              "<Snapshot uuid=\"" S1 "\" name=\"clean\">" SATA (U1)
              "</Snapshot>" SATA (U1));
  CHECK (found ("vm/web.vbox", NULL, NULL, "/vm/1.vdi"));
  CHECK (!disk->read_only);
  CHECK (found ("vm/web.vbox", "clean", NULL, "/vm/1.vdi"));
  CHECK (disk->read_only);
  clear_tmpdir ();
}

/* Moved to a place that nobody could guess. */
static void
test_dirs (void)
{
  char away[PATH_MAX];

  CHECK (mkdir ("away", 0700) == 0);
  make_image ("away/other-name.vdi", 1, 0);
  write_vbox ("web.vbox", "", REGISTRY (HD (U1, "/nowhere/1.vdi", VDI, ""))
              SATA (U1));
  CHECK (!find ("web.vbox", NULL, NULL));
  CHECK (error.err == ENOENT && says ("parent-dir=DIR"));
  CHECK (realpath ("away", away) != NULL);
  dirs[0] = "/missing";
  dirs[1] = away;
  nr_dirs = 2;
  CHECK (found ("web.vbox", NULL, NULL, "away/other-name.vdi"));
  CHECK (strstr (warnings, "/nowhere/1.vdi") != NULL);
  CHECK (rename ("away/other-name.vdi", "away/1.vdi") == 0);
  CHECK (found ("web.vbox", NULL, NULL, "away/1.vdi"));
  CHECK (unlink ("away/1.vdi") == 0);
  CHECK (!find ("web.vbox", NULL, NULL));
  CHECK (error.err == ENOENT && says ("/missing (No such file") &&
         says ("away"));
  nr_dirs = 0;
  clear_tmpdir ();
}

/* After a crash, VirtualBox's older file is what there is. */
static void
test_lost (void)
{
  static const char zeros[4000];

  make_image ("1.vdi", 1, 0);
  write_vbox ("web.vbox-prev", "", REGISTRY (HD (U1, "1.vdi", VDI, ""))
              SATA (U1));
  write_text ("web.vbox", "", 0);
  CHECK (!find ("web.vbox", NULL, NULL));
  CHECK (error.err == EINVAL && says ("is empty") &&
         says ("machine='web.vbox-prev'"));
  write_text ("web.vbox", zeros, sizeof zeros);
  CHECK (!find ("web.vbox", NULL, NULL));
  CHECK (says ("4000 bytes of zeros") && says ("machine='web.vbox-prev'"));
  CHECK (unlink ("web.vbox") == 0);
  CHECK (!find ("web.vbox", NULL, NULL));
  CHECK (error.err == ENOENT && says ("machine='web.vbox-prev'"));
  CHECK (found ("web.vbox-prev", NULL, NULL, "/1.vdi"));
  CHECK (disk->read_only && strstr (disk->why_read_only, "may be older"));

  CHECK (rename ("web.vbox-prev", "web.vbox-tmp") == 0);
  CHECK (!find ("web.vbox", NULL, NULL));
  CHECK (says ("machine='web.vbox-tmp'"));
  CHECK (found ("web.vbox-tmp", NULL, NULL, "/1.vdi") && disk->read_only);
  CHECK (rename ("web.vbox-tmp", "web.vbox") == 0);
  CHECK (found ("web.vbox", NULL, NULL, "/1.vdi") && !disk->read_only);
  CHECK (unlink ("web.vbox") == 0);
  /* One that is no better is not worth the mention. */
  write_text ("web.vbox-tmp", "<VirtualBox", 11);
  CHECK (!find ("web.vbox", NULL, NULL));
  CHECK (error.err == ENOENT && strstr (error.message, "-tmp") == NULL);
  clear_tmpdir ();
}

/* What makes no sense is told by line, field and value. */
static void
test_nonsense (void)
{
  make_image ("1.vdi", 1, 0);
  write_vbox ("web.vbox", "", REGISTRY (HD ("{1}", "1.vdi", VDI, ""))
              SATA (U1));
  CHECK (!find ("web.vbox", NULL, NULL));
  CHECK (error.err == EINVAL);
  CHECK (says ("line 4: ") && says ("HardDisk") && says ("\"{1}\""));
  write_vbox ("web.vbox", "", "<Snapshot name=\"s\"/>");
  CHECK (!find ("web.vbox", NULL, NULL));
  CHECK (says ("Snapshot has no uuid"));
  write_vbox ("web.vbox", "", HARDWARE (CTL ("S", ATTACH ("x", "0", U1))));
  CHECK (!find ("web.vbox", NULL, NULL));
  CHECK (says ("port") && says ("\"x\""));
  write_vbox ("web.vbox", "", HARDWARE (CTL ("S",
                                             ATTACH ("0", "65536", U1))));
  CHECK (!find ("web.vbox", NULL, NULL));
  CHECK (says ("device") && says ("65536"));
  write_vbox ("web.vbox", "", "</Machine><Machine>");
  CHECK (!find ("web.vbox", NULL, NULL));
  CHECK (says ("second Machine"));
  write_text ("web.vbox", "<VirtualBox/>", 13);
  CHECK (!find ("web.vbox", NULL, NULL));
  CHECK (says ("no Machine"));

  CHECK (!find ("1.vdi", NULL, NULL));
  CHECK (error.err == EINVAL);
  CHECK (says ("is a VDI image") && says ("file="));

  /* Elements mean something in their places only. */
  write_vbox ("web.vbox", "", REGISTRY (HD (U1, "1.vdi", VDI, ""))
              "<Other>" SATA (U1) "</Other>");
  CHECK (!find ("web.vbox", NULL, NULL));
  CHECK (says ("no hard disk"));

  /* Line ends in names do not come out. */
  write_vbox ("web.vbox", "", REGISTRY (HD (U1, "1.vdi", VDI, ""))
              HARDWARE (CTL ("S&#10;A&#27;", ATTACH ("0", "0", U1))));
  CHECK (!find ("web.vbox", NULL, NULL)); /* &#27; is no character of XML */
  write_vbox ("web.vbox", "", REGISTRY (HD (U1, "1.vdi", VDI, ""))
              HARDWARE (CTL ("S&#10;A", ATTACH ("0", "0", U1)
                             ATTACH ("1", "0", U1))));
  CHECK (found ("web.vbox", NULL, NULL, "/1.vdi"));
  CHECK (strstr (disk->description, "S?A port 0") != NULL);
  CHECK (strstr (warnings, "S?A:1:0") != NULL);
  CHECK (found ("web.vbox", NULL, "S\nA:1", "/1.vdi"));

  /* Nobody has to listen to warnings. */
  vdi_machine_disk_free (disk);
  CHECK (vdi_machine_find (&(struct vdi_machine_options) {
        .vbox = "web.vbox" }, &disk, &error) == 0);
  clear_tmpdir ();
}

int
main (void)
{
  image_setup ();
  test_states ();
  test_snapshot_tree ();
  test_disks ();
  test_older ();
  test_locations ();
  test_refused ();
  test_read_only ();
  test_dirs ();
  test_lost ();
  test_nonsense ();
  vdi_machine_disk_free (disk);
  return 0;
}
