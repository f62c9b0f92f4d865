/* SPDX-License-Identifier: BSD-3-Clause */
/* Text for people.
 *
 * Names of files, and what comes from a file, may be anything at all, and
 * what is said of them goes to terminals, which obey some characters.
 */
#ifndef VDI_TEXT_H
#define VDI_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Make a text fit for one line of a message, in place: line ends and other
 * control characters become question marks, and bytes that are no character
 * stay, for a file can be named so.  Returns text.
 */
extern char *text_one_line (char *text);

/* The same where only UTF-8 is allowed: what is none becomes question marks,
 * too.
 */
extern char *text_printable (char *text);

extern bool text_is_utf8 (const char *text);

/* In upper or lower case. */
extern bool text_has_suffix (const char *text, const char *suffix);

/* Append to a text of bounded size; what does not fit is left out. */
extern void text_append (char *text, size_t size, const char *fs, ...)
  __attribute__ ((format (printf, 3, 4)));

/* Say one line to whoever wants to hear it: nobody, if say is NULL. */
extern void text_say (void (*say) (void *opaque, const char *line),
                      void *opaque, const char *fs, ...)
  __attribute__ ((format (printf, 3, 4)));

#endif /* VDI_TEXT_H */
