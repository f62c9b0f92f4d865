/* SPDX-License-Identifier: BSD-3-Clause */
/* Describe an image in one line for people, as nbdinfo shows it. */
#ifndef DESCRIBE_H
#define DESCRIBE_H

#include "vdi.h"

/* machine: where the disk belongs, or NULL.  The string is nbdkit's
 * (nbdkit_strdup_intern) and valid as long as the connection.  NULL on
 * error, with nbdkit_error called.
 */
extern const char *describe (struct vdi *, const char *machine);

#endif /* DESCRIBE_H */
