/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading an XML file that may be anything, or hostile: in bounded memory
 * and time, without expanding entities, opening anything else, or
 * printing.
 *
 * xml_read calls a function at the start of each element, in the order of
 * the file.  That function may stop everything with xml_fail.
 */
#ifndef VDI_VBOX_XML_H
#define VDI_VBOX_XML_H

#include <stdbool.h>
#include <stddef.h>

#include "utils/error.h"

/* Machine files are some 10 KiB; with many snapshots, a few MiB. */
#define XML_MAX_BYTES (16 << 20)

/* VirtualBox allows 300 images or 250 snapshots in a line; a snapshot
 * takes two levels.
 */
#define XML_MAX_DEPTH 1024

struct xml;                     /* a file that is being read */

/* depth: 1 for the root.  name: without namespace. */
typedef void (*xml_start_fn) (void *opaque, struct xml *, size_t depth,
                              const char *name);

/* EINVAL, with file and line, if it is not well-formed or goes beyond a
 * limit.
 */
extern int xml_read (const char *filename, xml_start_fn start, void *opaque,
                     struct vdi_error *error);

/* A copy (malloc) of the value of an attribute of the element that is told.
 * NULL if there is no such attribute, or if reading has failed, which
 * xml_failed tells.
 */
extern char *xml_attribute (struct xml *, const char *name);

/* Give up.  Only the first call counts. */
extern void xml_fail (struct xml *, const char *fs, ...)
  __attribute__ ((format (printf, 2, 3)));
extern void xml_fail_memory (struct xml *);
extern bool xml_failed (const struct xml *);

#endif /* VDI_VBOX_XML_H */
