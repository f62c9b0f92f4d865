/* SPDX-License-Identifier: BSD-3-Clause */
/* Text for people: see printable.h. */
#include <config.h>

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "printable.h"

/* Well-formed UTF-8 (Unicode standard, table 3-7): the range of the first
 * byte, that of the second, and how many bytes there are.  All others
 * are 80..BF.
 */
static const struct form {
  unsigned char first_min, first_max;
  unsigned char second_min, second_max;
  size_t length;
} forms[] = {
  { 0x20, 0x7e, 0, 0, 1 },      /* no control characters... */
  { 0xc2, 0xc2, 0xa0, 0xbf, 2 }, /* ...nor U+0080 to U+009F */
  { 0xc3, 0xdf, 0x80, 0xbf, 2 },
  { 0xe0, 0xe0, 0xa0, 0xbf, 3 },
  { 0xe1, 0xec, 0x80, 0xbf, 3 },
  { 0xed, 0xed, 0x80, 0x9f, 3 },
  { 0xee, 0xef, 0x80, 0xbf, 3 },
  { 0xf0, 0xf0, 0x90, 0xbf, 4 },
  { 0xf1, 0xf3, 0x80, 0xbf, 4 },
  { 0xf4, 0xf4, 0x80, 0x8f, 4 },
};

/* The NUL at the end of a text is in no form, so this stops there. */
static bool
matches (const unsigned char *s, const struct form *form)
{
  size_t i;

  if (s[0] < form->first_min || s[0] > form->first_max)
    return false;
  if (form->length > 1 &&
      (s[1] < form->second_min || s[1] > form->second_max))
    return false;
  for (i = 2; i < form->length; ++i) {
    if (s[i] < 0x80 || s[i] > 0xbf)
      return false;
  }
  return true;
}

/* Bytes of the character at s, 0 if there is none. */
static size_t
character_length (const unsigned char *s)
{
  size_t i;

  for (i = 0; i < sizeof forms / sizeof forms[0]; ++i) {
    if (matches (s, &forms[i]))
      return forms[i].length;
  }
  return 0;
}

char *
printable (char *text)
{
  unsigned char *s = (unsigned char *) text;

  while (*s != '\0') {
    size_t length = character_length (s);

    if (length == 0)
      *s++ = '?';
    s += length;
  }
  return text;
}
