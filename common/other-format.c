/* SPDX-License-Identifier: BSD-3-Clause */
/* What a file is that is no VDI image: see other-format.h. */
#include <config.h>

#include <string.h>

#include "other-format.h"

struct format {
  uint32_t offset;              /* bytes; from the end: of the last 512 */
  uint8_t len;
  char magic[20];
  const char *hint;
};

#define UNPACK(what, how) "it is " what ": unpack it first: " how

static const struct format at_start[] = {
  { 0, 4, "QFI\xfb", "it is a qcow2 image: serve it with qemu-nbd -f qcow2" },
  { 0, 4, "KDMV", "it is a VMDK image: serve it with qemu-nbd -f vmdk" },
  { 0, 20, "# Disk DescriptorFil", "it is the description of a VMDK image:"
    " serve it with qemu-nbd -f vmdk" },
  { 0, 8, "conectix", "it is a VHD image: serve it with qemu-nbd -f vpc" },
  { 0, 8, "vhdxfile", "it is a VHDX image: serve it with qemu-nbd -f vhdx" },
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

static const struct format at_32768 = {
  1, 5, "CD001", "it is an image of a CD or DVD: serve it with nbdkit file"
};
static const struct format at_end = {
  0, 4, "koly", "it is an Apple disk image (.dmg): serve it with"
  " qemu-nbd -f dmg, or convert it with qemu-img"
};

static bool
is (const struct format *f, const uint8_t *bytes, size_t size)
{
  return size >= f->offset + f->len &&
         memcmp (bytes + f->offset, f->magic, f->len) == 0;
}

const char *
other_format (const uint8_t *bytes, size_t size)
{
  size_t i;

  for (i = 0; i < sizeof at_start / sizeof at_start[0]; ++i)
    if (is (&at_start[i], bytes, size))
      return at_start[i].hint;
  return NULL;
}

/* Does it show in the 512 bytes at offset? */
static const char *
look (struct storage *st, uint64_t offset, const struct format *f)
{
  uint8_t bytes[512];
  struct vdi_error error;

  if (storage_read (st, bytes, sizeof bytes, offset, "data", &error) == -1)
    return NULL;
  return is (f, bytes, sizeof bytes) ? f->hint : NULL;
}

const char *
other_format_elsewhere (struct storage *st, uint64_t length)
{
  const char *hint = NULL;

  if (length >= 32768 + 512)
    hint = look (st, 32768, &at_32768);
  if (hint == NULL && length >= 512)
    hint = look (st, length - 512, &at_end);
  return hint;
}
