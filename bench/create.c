/* SPDX-License-Identifier: BSD-3-Clause */
/* Makes the images that the benchmark serves: an empty one of SIZE MiB,
 * or, with a PARENT, a differencing image.
 *   create FILE SIZE
 *   create FILE 0 PARENT
 */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vdi.h"

int
main (int argc, char *argv[])
{
  struct vdi_create_options options;
  struct vdi_error error;

  if (argc != 3 && argc != 4) {
    fprintf (stderr, "create FILE MIB [PARENT]\n");
    return EXIT_FAILURE;
  }
  memset (&options, 0, sizeof options);
  options.type = argc == 4 ? VDI_TYPE_DIFF : VDI_TYPE_DYNAMIC;
  options.size = strtoull (argv[2], NULL, 0) << 20;
  options.parent = argc == 4 ? argv[3] : NULL;
  options.lock = true;
  if (vdi_create (argv[1], &options, &error) == -1) {
    fprintf (stderr, "create: %s\n", error.message);
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}
