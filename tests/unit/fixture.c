/* SPDX-License-Identifier: BSD-3-Clause */
/* The images of tests/fixtures: see fixture.h. */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "test.h"

uint8_t *
fixture_read (const char *name, size_t *size)
{
  char command[1024];
  uint8_t *bytes = NULL;
  size_t room = 0, n;
  FILE *fp;

  if (system ("xz --version >/dev/null 2>&1") != 0) {
    fprintf (stderr, "skipped: there is no xz\n");
    exit (TEST_SKIPPED);
  }
  snprintf (command, sizeof command, "exec xz -dc '%s/%s.vdi.xz'", FIXTURES,
            name);
  fp = popen (command, "r");
  CHECK (fp != NULL);
  *size = 0;
  do {
    if (*size == room) {
      room = room ? 2 * room : 1 << 20;
      bytes = realloc (bytes, room);
      CHECK (bytes != NULL);
    }
    n = fread (bytes + *size, 1, room - *size, fp);
    *size += n;
  } while (n > 0);
  CHECK (!ferror (fp));
  CHECK (pclose (fp) == 0);
  return bytes;
}

unsigned
fixture_each (const char *manifest,
              void (*fn) (char *column[FIXTURE_COLUMNS]))
{
  char path[1024], line[1024];
  unsigned count = 0;
  FILE *fp;

  snprintf (path, sizeof path, "%s/%s", FIXTURES, manifest);
  fp = fopen (path, "r");
  CHECK (fp != NULL);
  while (fgets (line, sizeof line, fp)) {
    char *column[FIXTURE_COLUMNS], *rest = line;
    size_t i;

    if (line[0] == '#')
      continue;
    line[strcspn (line, "\n")] = '\0';
    for (i = 0; i < FIXTURE_COLUMNS; ++i)
      column[i] = strsep (&rest, "\t");
    CHECK (column[FIXTURE_COLUMNS - 1] != NULL);
    fn (column);
    count++;
  }
  fclose (fp);
  return count;
}
