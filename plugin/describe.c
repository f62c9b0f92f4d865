/* SPDX-License-Identifier: BSD-3-Clause */
/* Describe an image in one line for people: see describe.h. */
#include <config.h>

#include <inttypes.h>
#include <stdio.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "describe.h"
#include "utils/text.h"

static const char *
type_in_words (const struct vdi_info *info)
{
  if (info->depth > 1)
    return "differencing";
  switch (info->type) {
  case VDI_TYPE_FIXED: return "fixed size";
  case VDI_TYPE_UNDO: return "undo";
  case VDI_TYPE_DIFF: return "differencing";
  default: return "dynamically allocated";
  }
}

/* Block sizes are powers of two, so nothing is lost. */
static const char *
size_in_words (uint32_t size, char out[32])
{
  if (size >= 1024 * 1024)
    snprintf (out, 32, "%" PRIu32 " MiB", size / (1024 * 1024));
  else if (size >= 1024)
    snprintf (out, 32, "%" PRIu32 " KiB", size / 1024);
  else
    snprintf (out, 32, "%" PRIu32 " bytes", size);
  return out;
}

const char *
describe (struct vdi *vdi, const char *machine)
{
  struct vdi_info info;
  char text[2048], block_size[32], uuid[VDI_UUID_STRING_SIZE];
  char chain[64] = "";

  vdi_get_info (vdi, &info);
  if (info.depth > 1)
    snprintf (chain, sizeof chain, ", chain of %zu images", info.depth);
  snprintf (text, sizeof text,
            "%s%sVirtualBox disk image, %s, %" PRIu32 " of %" PRIu32
            " blocks of %s allocated%s, UUID %s%s%s%s%s%s",
            machine != NULL ? machine : "", machine != NULL ? ": " : "",
            type_in_words (&info), info.n_allocated, info.n_blocks,
            size_in_words (info.block_size, block_size), chain,
            vdi_uuid_print (&info.uuid, uuid),
            info.damaged ? ", damaged" : "",
            info.lacks_last_block ? ", without its last block" : "",
            info.needs_old_virtualbox
            ? ", not for VirtualBox from September 2026 on" : "",
            info.comment[0] != '\0' ? ", comment: " : "", info.comment);
  return nbdkit_strdup_intern (text_printable (text));
}
