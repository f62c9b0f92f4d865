/* SPDX-License-Identifier: BSD-3-Clause */
/* Text for people: see text.h. */
#include <config.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "utils/text.h"

/* Well-formed UTF-8 (Unicode standard, table 3-7): the range of the first
 * byte, that of the second, and how many bytes there are.  All others
 * are 80..BF.
 */
static const struct form {
  unsigned char first_min, first_max;
  unsigned char second_min, second_max;
  size_t length;
} forms[] = {
  { 0x01, 0x7f, 0, 0, 1 },
  { 0xc2, 0xdf, 0x80, 0xbf, 2 },
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

static bool
is_control (unsigned c)
{
  return c < ' ' || (c >= 127 && c < 0xa0);
}

char *
text_one_line (char *text)
{
  char *p;

  for (p = text; *p; ++p)
    if ((unsigned char) *p <= 127 && is_control (*p))
      *p = '?';
  return text;
}

char *
text_printable (char *text)
{
  unsigned char *s = (unsigned char *) text;

  while (*s != '\0') {
    const size_t length = character_length (s);

    /* U+0080 to U+009F are C2 80 to C2 9F. */
    if (length == 0 || (length == 1 && is_control (s[0])) ||
        (s[0] == 0xc2 && is_control (s[1])))
      *s++ = '?';
    else
      s += length;
  }
  return text;
}

bool
text_is_utf8 (const char *text)
{
  const unsigned char *s = (const unsigned char *) text;
  size_t length;

  while ((length = character_length (s)) > 0)
    s += length;
  return *s == '\0';
}

bool
text_has_suffix (const char *text, const char *suffix)
{
  size_t len = strlen (text), n = strlen (suffix);

  return len >= n && strcasecmp (text + len - n, suffix) == 0;
}

void
text_append (char *text, size_t size, const char *fs, ...)
{
  size_t len = strlen (text);
  va_list args;

  va_start (args, fs);
  vsnprintf (text + len, size - len, fs, args);
  va_end (args);
}

void
text_say (void (*say) (void *opaque, const char *line), void *opaque,
          const char *fs, ...)
{
  char line[1280];              /* an error, and what it means */
  va_list args;

  if (say == NULL)
    return;
  va_start (args, fs);
  vsnprintf (line, sizeof line, fs, args);
  va_end (args);
  say (opaque, text_one_line (line));
}
