/* SPDX-License-Identifier: BSD-3-Clause */
/* Images in memory: see disk-in-memory.h. */
#include <config.h>

#include "disk-in-memory.h"
#include "utils/bytes.h"
#include "utils/checked.h"

#define MAP_OFF 512

void
memory_make_image (struct memory *m, const struct memory_image *image)
{
  const uint32_t n =
    (image->disk_size + image->block_size - 1) / image->block_size;
  struct vdi_header h = {
    .major = 1, .minor = 1, .header_len = 0x190,
    .type = image->parent ? VDI_TYPE_DIFF : VDI_TYPE_DYNAMIC,
    .map_off = MAP_OFF,
    .data_off = ROUND_UP (MAP_OFF + 4 * n, 512),
    .sector_size = 512, .lchs_sector_size = 512,
    .disk_size = image->disk_size,
    .block_size = image->block_size,
    .block_extra = image->block_extra,
    .n_blocks = n,
    .uuid_image = image->uuid ? *image->uuid : vdi_uuid_new (),
    .uuid_mod = vdi_uuid_new (),
  };
  uint8_t header[VDI_HEADER_SIZE];

  if (image->parent)
    h.uuid_parent = *image->parent;
  if (image->parent_mod)
    h.uuid_parent_mod = *image->parent_mod;
  vdi_header_encode (&h, header);
  memory_init (m, header, sizeof header);
  memory_append (m, h.data_off - MAP_OFF, 0xff);
}

void
memory_append (struct memory *m, uint64_t count, uint8_t c)
{
  m->bytes = realloc (m->bytes, m->size + count);
  CHECK (m->bytes != NULL);
  memset (m->bytes + m->size, c, count);
  m->size += count;
}

uint32_t
memory_entry (const struct memory *m, uint32_t block)
{
  return get_le32 (m->bytes + MAP_OFF + 4 * block);
}

void
memory_set_entry (struct memory *m, uint32_t block, uint32_t entry)
{
  put_le32 (m->bytes + MAP_OFF + 4 * block, entry);
}

uint32_t
memory_count (const struct memory *m)
{
  return get_le32 (m->bytes + 0x184);
}

void
memory_set_count (struct memory *m, uint32_t count)
{
  put_le32 (m->bytes + 0x184, count);
}
