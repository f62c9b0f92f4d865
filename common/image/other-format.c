/* SPDX-License-Identifier: BSD-3-Clause */
/* What a file is that is no VDI image: see other-format.h. */
#include <config.h>

#include <string.h>

#include "image/other-format.h"

struct format {
  uint32_t offset;              /* bytes; from the end: of the last 512 */
  uint8_t len;
  char magic[20];
  const char *hint;
};

#define VHD "it is a VHD image: serve it with qemu-nbd -f vpc"
#define PARALLELS "it is a Parallels image: serve it with" \
  " qemu-nbd -f parallels"
#define UNPACK(what, how) "it is " what ": unpack it first: " how

static const struct format at_start[] = {
  { 0, 8, "QFI\xfb\0\0\0\1", "it is a qcow image of version 1: serve it"
    " with qemu-nbd -f qcow" },
  { 0, 4, "QFI\xfb", "it is a qcow2 image: serve it with qemu-nbd -f qcow2" },
  { 0, 4, "KDMV", "it is a VMDK image: serve it with qemu-nbd -f vmdk" },
  { 0, 20, "# Disk DescriptorFil", "it is the description of a VMDK image:"
    " serve it with qemu-nbd -f vmdk" },
  { 0, 8, "conectix", VHD },
  { 0, 8, "vhdxfile", "it is a VHDX image: serve it with qemu-nbd -f vhdx" },
  { 0, 4, "QED\0", "it is a QED image: serve it with qemu-nbd -f qed" },
  { 0, 16, "WithoutFreeSpace", PARALLELS },
  { 0, 16, "WithouFreSpacExt", PARALLELS },
  { 0, 6, "\xfd" "7zXZ", UNPACK ("compressed with xz", "xz -d") },
  { 0, 2, "\x1f\x8b", UNPACK ("compressed with gzip (a Vagrant .box and a"
                              " .tar.gz are, too: tar xzf)", "gzip -d") },
  { 0, 4, "\x28\xb5\x2f\xfd", UNPACK ("compressed with zstd", "zstd -d") },
  { 0, 3, "BZh", UNPACK ("compressed with bzip2", "bzip2 -d") },
  { 0, 4, "LZIP", UNPACK ("compressed with lzip", "lzip -d") },
  { 0, 4, "PK\x03\x04", UNPACK ("a ZIP archive", "unzip") },
  { 0, 6, "7z\xbc\xaf\x27\x1c", UNPACK ("a 7-Zip archive", "7z x") },
  { 0, 6, "Rar!\x1a\x07", UNPACK ("a RAR archive", "unrar x") },
  { 257, 5, "ustar", UNPACK ("a tar archive, as an .ova or a .box is",
                             "tar xf; the disk is one of the files in it") },
  { 0, 5, "<?xml", "it is an XML file: perhaps the settings of the machine"
    " (.vbox), not its disk" },
};

static const struct format at_32768[] = {
  { 1, 5, "CD001", "it is an image of a CD or DVD: serve it with nbdkit file" },
};
static const struct format at_end[] = {
  { 0, 4, "koly", "it is an Apple disk image (.dmg): serve it with"
    " qemu-nbd -f dmg, or convert it with qemu-img" },
  /* One of fixed size has nothing else. */
  { 0, 8, "conectix", VHD },
};

static bool
is (const struct format *f, const uint8_t *bytes, size_t size)
{
  return size >= f->offset + f->len &&
         memcmp (bytes + f->offset, f->magic, f->len) == 0;
}

static const char *
find (const struct format *known, size_t nr, const uint8_t *bytes, size_t size)
{
  size_t i;

  for (i = 0; i < nr; ++i)
    if (is (&known[i], bytes, size))
      return known[i].hint;
  return NULL;
}

#define FIND(known, bytes, size) \
  find (known, sizeof known / sizeof known[0], bytes, size)

const char *
other_format (const uint8_t *bytes, size_t size)
{
  return FIND (at_start, bytes, size);
}

const char *
other_format_elsewhere (struct storage *st, uint64_t length)
{
  uint8_t bytes[512];
  struct vdi_error ignored;
  const char *hint = NULL;

  if (length >= 32768 + sizeof bytes &&
      storage_read (st, bytes, sizeof bytes, 32768, "data", &ignored) == 0)
    hint = FIND (at_32768, bytes, sizeof bytes);
  if (hint == NULL && length >= sizeof bytes &&
      storage_read (st, bytes, sizeof bytes, length - sizeof bytes, "data",
                    &ignored) == 0)
    hint = FIND (at_end, bytes, sizeof bytes);
  return hint;
}
