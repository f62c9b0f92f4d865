/* SPDX-License-Identifier: BSD-3-Clause */
/* Text from an image or a machine, which may be anything at all, as text
 * for people.
 */
#ifndef PRINTABLE_H
#define PRINTABLE_H

/* Replace, in place, all that is not UTF-8 and all control characters (a
 * terminal might obey them) by question marks.  Returns text.
 */
extern char *printable (char *text);

#endif /* PRINTABLE_H */
