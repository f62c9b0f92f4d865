/* SPDX-License-Identifier: BSD-3-Clause */
/* text.c: what reaches a terminal obeys nobody, and what is a character
 * stays.
 */
#include <config.h>

#include <string.h>

#include "test.h"
#include "utils/text.h"

/* Not a literal, which could not be changed, and with exactly its size, so
 * that the sanitizers see what is read behind it.
 */
static bool
becomes (char *(*change) (char *), const char *text, const char *wanted)
{
  char *copy = strdup (text);
  bool r;

  CHECK (copy != NULL);
  CHECK (change (copy) == copy);
  r = strcmp (copy, wanted) == 0;
  free (copy);
  return r;
}

static void
test_one_line (void)
{
  CHECK (becomes (text_one_line, "", ""));
  CHECK (becomes (text_one_line, " ~", " ~"));
  CHECK (becomes (text_one_line, "a\nb\tc\033[2J\x01\x7f", "a?b?c?[2J??"));
  /* As a file may be named. */
  CHECK (becomes (text_one_line, "\xe4\x80\xc3\xa4", "\xe4\x80\xc3\xa4"));
}

static const struct {
  const char *text, *printable;
  bool is_utf8;
} texts[] = {
  { "", "", true },
  { "disk", "disk", true },
  { "a\nb\033[2J\x7f", "a?b?[2J?", true },
  /* The first and the last of each length. */
  { "\xc2\x80", "??", true },   /* a control character */
  { "\xc2\x9f", "??", true },
  { "\xc2\xa0\xdf\xbf", "\xc2\xa0\xdf\xbf", true },
  { "\xe0\xa0\x80\xef\xbf\xbf", "\xe0\xa0\x80\xef\xbf\xbf", true },
  { "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf",
    true },
  { "\xed\x9f\xbf\xee\x80\x80", "\xed\x9f\xbf\xee\x80\x80", true },
  /* Too long for what they are. */
  { "\xc0\xaf", "??", false },
  { "\xc1\xbf", "??", false },
  { "\xe0\x9f\xbf", "???", false },
  { "\xf0\x8f\xbf\xbf", "????", false },
  /* Surrogates, and beyond what there is. */
  { "\xed\xa0\x80", "???", false },
  { "\xed\xbf\xbf", "???", false },
  { "\xf4\x90\x80\x80", "????", false },
  { "\xf5\x80\x80\x80", "????", false },
  { "\xfe\xff", "??", false },
  /* Alone, and cut off at the end. */
  { "\x80", "?", false },
  { "\xc3", "?", false },
  { "\xe2\x82", "??", false },
  { "\xf0\x9f\x92", "???", false },
  { "\xe2\x82z", "??z", false },
  { "Gr\xfc\xdf", "Gr??", false }, /* Latin-1 */
  { "Gr\xc3\xbc\xc3\x9f\xff", "Gr\xc3\xbc\xc3\x9f?", false },
};

static void
test_utf8 (void)
{
  size_t i;

  for (i = 0; i < sizeof texts / sizeof texts[0]; ++i) {
    char *copy = strdup (texts[i].text);

    CHECK (copy != NULL);
    CHECK (text_is_utf8 (copy) == texts[i].is_utf8);
    free (copy);
    CHECK (becomes (text_printable, texts[i].text, texts[i].printable));
  }
}

static void
test_has_suffix (void)
{
  CHECK (text_has_suffix ("disk.vdi", ".vdi"));
  CHECK (text_has_suffix ("DISK.VDI", ".vdi"));
  CHECK (text_has_suffix (".vdi", ".vdi"));
  CHECK (text_has_suffix ("vdi", ""));
  CHECK (!text_has_suffix ("vdi", ".vdi"));
  CHECK (!text_has_suffix ("disk.vdi~", ".vdi"));
  CHECK (!text_has_suffix ("", ".vdi"));
}

static void
test_append (void)
{
  char text[8] = "";

  text_append (text, sizeof text, "%s%d", "a", 1);
  text_append (text, sizeof text, "%s", "");
  text_append (text, sizeof text, "-%s", "b");
  CHECK (strcmp (text, "a1-b") == 0);
  text_append (text, sizeof text, "%s", "0123456789");
  CHECK (strcmp (text, "a1-b012") == 0);
  text_append (text, sizeof text, "%s", "3");
  CHECK (strcmp (text, "a1-b012") == 0);
}

static char said[2048];
static size_t nr_said;

static void
hear (void *opaque, const char *line)
{
  CHECK (opaque == &nr_said);
  CHECK (strlen (line) < sizeof said);
  strcpy (said, line);
  nr_said++;
}

static void
test_say (void)
{
  char big[2000];

  text_say (NULL, NULL, "%s", "nobody hears this");
  text_say (hear, &nr_said, "%s: %d", "a\nb", 7);
  CHECK (nr_said == 1);
  CHECK (strcmp (said, "a?b: 7") == 0);

  memset (big, 'x', sizeof big - 1);
  big[sizeof big - 1] = '\0';
  text_say (hear, &nr_said, "%s", big);
  CHECK (nr_said == 2);
  CHECK (strlen (said) >= 1024 && strlen (said) < sizeof big - 1);
}

int
main (void)
{
  test_one_line ();
  test_utf8 ();
  test_has_suffix ();
  test_append ();
  test_say ();
  return 0;
}
