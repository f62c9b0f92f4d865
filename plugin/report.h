/* SPDX-License-Identifier: BSD-3-Clause */
/* What the core has to say, said to the person who runs nbdkit and to the
 * NBD client.
 *
 * The core reports an errno value and a line of text.  Here is the only
 * place that turns them into nbdkit_error and the errno that the client
 * is told.  Thread-safe.
 */
#ifndef REPORT_H
#define REPORT_H

#include "utils/error.h"

/* Report that what was asked for failed.  Sets errno to what the client
 * is to be told and returns -1, so that callbacks can write
 *   return report (&error);
 */
extern int report (const struct vdi_error *);

/* For vdi_listener.warn: something that the person
 * should know although it works.  No nbdkit up to 1.48 has anything but
 * nbdkit_error for it, which says "error: " before our "warning: "; but only
 * what nbdkit prints itself goes where --log wants it.
 */
extern void report_warning (void *opaque, const char *message);

/* For vdi_listener.debug: seen with nbdkit -v, and messages of the topics
 * that there are debug flags for only with -D vdi.TOPIC=1 as well.
 */
extern void report_debug (void *opaque, const char *message);

#endif /* REPORT_H */
