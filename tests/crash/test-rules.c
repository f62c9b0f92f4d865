/* SPDX-License-Identifier: BSD-3-Clause */
/* The checker of rules.h against the programs whose rules it states:
 * VirtualBox by its verdicts in the fixtures' manifests, QEMU by asking
 * it, about the fixtures and about seeded damage to them.
 *
 * Run with a seed as the argument to replay one round of damage.
 */

#include <config.h>

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "image-file.h"
#include "peer.h"
#include "rng.h"
#include "rules.h"
#include "utils/bytes.h"

#define ROUNDS 400

struct image {
  char name[64];
  uint8_t *bytes;
  size_t size;
  bool child;
};

static unsigned failures;
static struct peer *peer;
static int fd;                  /* memfd that QEMU looks at */

static void
load (struct image *image, const char *filename)
{
  const char *slash = strrchr (filename, '/');
  char command[4200];
  FILE *f;

  snprintf (image->name, sizeof image->name, "%.*s",
            (int) strcspn (slash + 1, "."), slash + 1);
  image->child = strstr (image->name, "-diff") != NULL;
  snprintf (command, sizeof command, "xz -dc '%s'", filename);
  f = popen (command, "r");
  image->bytes = malloc (UINT64_C (64) << 20);
  if (f == NULL || image->bytes == NULL) {
    perror (command);
    exit (1);
  }
  image->size = fread (image->bytes, 1, UINT64_C (64) << 20, f);
  if (pclose (f) != 0) {
    fprintf (stderr, "%s: cannot decompress\n", filename);
    exit (77);
  }
  image->bytes = realloc (image->bytes, image->size + 1);
}

static void
fail (const char *name, const char *what, const char *detail)
{
  fprintf (stderr, "test-rules: %s: %s: %s\n", name, what, detail);
  failures++;
}

/* Does QEMU say what we say it would? */
static void
compare_with_qemu (const char *name, const uint8_t *bytes, size_t size,
                   bool child)
{
  struct rules_report r;
  const char *output;
  unsigned corruptions;
  char path[64];
  int status;

  if (peer == NULL)
    return;
  rules_check (bytes, size, size, child, &r);
  if (ftruncate (fd, 0) == -1 || image_file_write (fd, bytes, size, 0) == -1 ||
      ftruncate (fd, size) == -1) {
    perror ("memfd");
    exit (1);
  }
  image_file_path (fd, path, sizeof path);
  status = peer_check (peer, path, &corruptions, &output);
  if (r.found & RULES_BIT (QEMU_OPEN)) {
    if (status == 0)
      fail (name, "QEMU opens it", r.text[RULES_QEMU_OPEN]);
    return;
  }
  if (status == -1)
    fail (name, "QEMU does not open it", output);
  else if (corruptions != r.qemu_corruptions) {
    fail (name, "QEMU counts otherwise", output);
    fprintf (stderr, "  %u corruptions, we count %u\n",
             corruptions, r.qemu_corruptions);
  }
}

/* What the good fixtures are known for; not listed: nothing. */
static const struct {
  const char *name;
  unsigned found;
} expected[] = {
  { "block-64k", RULES_BIT (QEMU_OPEN) },
  { "block-2m", RULES_BIT (QEMU_OPEN) },
  { "v0-header", RULES_BIT (QEMU_OPEN) | RULES_BIT (LAYOUT) },
  { "block-extra-512", RULES_BIT (LAYOUT) },
  { "v1-short-header", RULES_BIT (LAYOUT) },
  { "minor-version-9", RULES_BIT (QEMU_OPEN) | RULES_BIT (LAYOUT) },
  { "leaked-block", RULES_BIT (SURPLUS) },
  { "trailing-junk", RULES_BIT (TAIL) },
  { "resize-empty", RULES_BIT (SHORT) },
  { "discard-fixed", RULES_BIT (LAYOUT) },
  { "oddbytes", RULES_BIT (LAYOUT) },
};

static void
check_good (const struct image *image)
{
  struct rules_report r;
  unsigned want = image->child ? RULES_BIT (QEMU_OPEN) : 0;
  const char *complaint;

  for (size_t i = 0; i < sizeof expected / sizeof expected[0]; ++i)
    if (strcmp (image->name, expected[i].name) == 0)
      want = expected[i].found;
  rules_check (image->bytes, image->size, image->size, image->child, &r);
  complaint = rules_complaint (&r, want);
  if (complaint)
    fail (image->name, "a good image", complaint);
  for (unsigned kind = 0; kind < RULES_KINDS; ++kind)
    if (want & ~r.found & 1u << kind) {
      fail (image->name, "not found", "");
      fprintf (stderr, "  kind %u\n", kind);
    }
}

/* One field changed in a good image, and what each program makes of it
 * (vdi-format.md 3.4 and 8.1, where both were run).
 */
static const struct {
  unsigned offset, width;
  uint64_t value;
  unsigned found;
} changes[] = {
  { 0x40, 4, 0, RULES_BIT (VB_OPEN) | RULES_BIT (QEMU_OPEN) },
  { 0x44, 4, 0x10000, RULES_BIT (QEMU_OPEN) | RULES_BIT (LAYOUT) },
  { 0x44, 4, 0x20000, RULES_BIT (VB_OPEN) | RULES_BIT (QEMU_OPEN) },
  { 0x48, 4, 0, RULES_BIT (VB_OPEN) },
  { 0x48, 4, 0x17f, RULES_BIT (VB_OPEN) },
  { 0x4c, 4, 0, RULES_BIT (VB_OPEN) },
  { 0x4c, 4, 3, 0 },
  { 0x4c, 4, 4, RULES_BIT (VB_OPEN) },
  { 0x4c, 4, 5, RULES_BIT (VB_OPEN) },
  { 0x50, 4, 1, 0 },
  { 0x50, 4, 2, RULES_BIT (VB_OPEN) },
  { 0x50, 4, 1 << 8, 0 },
  { 0x50, 4, 1 << 9, RULES_BIT (VB_OPEN) },
  { 0x50, 4, 1 << 10, RULES_BIT (VB_OPEN) },
  { 0x50, 4, 1 << 24, 0 },
  { 0x154, 4, 0x201, RULES_BIT (QEMU_OPEN) | RULES_BIT (LAYOUT) },
  { 0x154, 4, 455, RULES_BIT (VB_OPEN) | RULES_BIT (QEMU_OPEN) },
  { 0x158, 4, 0, RULES_BIT (VB_OPEN) },
  { 0x158, 4, 0x200001, RULES_BIT (QEMU_OPEN) | RULES_BIT (LAYOUT) },
  { 0x168, 4, 0, RULES_BIT (QEMU_OPEN) },
  { 0x1d4, 4, 0, RULES_BIT (VB_OPEN) },
  { 0x170, 8, 0, RULES_BIT (VB_OPEN) },
  { 0x170, 8, 3145729, RULES_BIT (VB_OPEN) | RULES_BIT (QEMU_OPEN) },
  { 0x178, 4, 3145728, RULES_BIT (VB_OPEN) | RULES_BIT (QEMU_OPEN) },
  { 0x178, 4, 2097152, RULES_BIT (QEMU_OPEN) },
  { 0x17c, 4, 1, RULES_BIT (VB_OPEN) },
  { 0x17c, 4, 513, RULES_BIT (VB_OPEN) },
  { 0x17c, 4, 512, RULES_BIT (LAYOUT) | RULES_BIT (SHORT) },
  { 0x184, 4, 4, RULES_BIT (VB_OPEN) },  /* N > n */
  { 0x184, 4, 0, RULES_BIT (OVERWRITE) | RULES_BIT (QEMU_CHECK) },
  { 0x1a8, 4, 1, RULES_BIT (QEMU_OPEN) },
  { 0x1b8, 4, 1, RULES_BIT (QEMU_OPEN) },
};

static void
check_changes (const struct image *image)
{
  uint8_t *bytes = malloc (image->size);
  struct rules_report before, r;

  if (bytes == NULL)
    abort ();
  rules_check (image->bytes, image->size, image->size, false, &before);
  if (before.found != 0)
    fail (image->name, "is to be a clean image", "");
  for (size_t i = 0; i < sizeof changes / sizeof changes[0]; ++i) {
    char name[sizeof image->name + 64];

    snprintf (name, sizeof name, "%.63s with 0x%llx at 0x%x", image->name,
              (unsigned long long) changes[i].value, changes[i].offset);
    memcpy (bytes, image->bytes, image->size);
    for (unsigned b = 0; b < changes[i].width; ++b)
      bytes[changes[i].offset + b] = changes[i].value >> 8 * b & 0xff;
    rules_check (bytes, image->size, image->size, false, &r);
    if (changes[i].found & (RULES_BIT (VB_OPEN) | RULES_BIT (QEMU_OPEN))) {
      /* Whatever else is found in what does not open is of no interest. */
      const unsigned opens = RULES_BIT (VB_OPEN) | RULES_BIT (QEMU_OPEN);

      if ((r.found & opens) != (changes[i].found & opens))
        fail (name, "who opens it", r.text[RULES_VB_OPEN]);
    }
    else if (changes[i].found & ~r.found)
      fail (name, "not found", "");
    else if (changes[i].found == 0 && r.found)
      fail (name, "found", rules_complaint (&r, 0));
    compare_with_qemu (name, bytes, image->size, false);
  }
  memcpy (bytes, image->bytes, image->size);
  memset (bytes + 0x188, 0, 16);
  rules_check (bytes, image->size, image->size, false, &r);
  if (!(r.found & RULES_BIT (VB_OPEN)))
    fail (image->name, "null image UUID", "");
  memcpy (bytes, image->bytes, image->size);
  memset (bytes + 0x198, 0, 16);
  rules_check (bytes, image->size, image->size, false, &r);
  if (!(r.found & RULES_BIT (VB_OPEN)))
    fail (image->name, "null modification UUID", "");
  free (bytes);
}

/* By VirtualBox's verdict on a read-only open and a full read. */
static void
check_bad (const struct image *image, const char *verdict)
{
  struct rules_report r;
  const unsigned opens = RULES_BIT (VB_OPEN), reads = RULES_BIT (VB_READ);
  unsigned want;

  rules_check (image->bytes, image->size, image->size, false, &r);
  if (strcmp (verdict, "REJECT") == 0)
    want = opens;
  else if (strcmp (verdict, "opens, READ FAILS") == 0)
    want = reads;
  else
    want = 0;
  if (want == opens ? !(r.found & opens) : (r.found & (opens | reads)) != want)
    fail (image->name, "VirtualBox says", verdict);
}

static const char *
verdict_of (const char *manifest, const char *name, char *line, size_t size)
{
  FILE *f = fopen (manifest, "r");
  const char *r = NULL;

  if (f == NULL) {
    perror (manifest);
    exit (1);
  }
  while (r == NULL && fgets (line, size, f)) {
    char *field[4] = { NULL };
    char *rest = line;

    for (unsigned i = 0; i < 4; ++i)
      field[i] = strsep (&rest, "\t\n");
    if (field[2] && strcmp (field[0], name) == 0)
      r = field[2];
  }
  fclose (f);
  return r;
}

/* One round of damage, judged by us and by QEMU. */
static void
damage (const struct image *image, uint64_t seed)
{
  struct rng rng = { seed };
  size_t size = image->size < 4u << 20 ? image->size : 4u << 20;
  uint8_t *bytes = malloc (size + 1);
  char name[sizeof image->name + 64];
  uint32_t n, map;

  if (bytes == NULL)
    abort ();
  memcpy (bytes, image->bytes, size);
  n = get_le32 (bytes + 0x180);
  map = get_le32 (bytes + 0x154);
  for (unsigned k = 0; k <= rng_below (&rng, 3); ++k) {
    const uint32_t entry = map + 4 * rng_below (&rng, n ? n : 1);
    static const uint16_t field[] = {
      0x40, 0x44, 0x48, 0x4c, 0x50, 0x154, 0x158, 0x168, 0x170, 0x178,
      0x17c, 0x184, 0x188, 0x198, 0x1a8, 0x1b8, 0x1d4,
    };
    uint8_t *p;

    switch (rng_below (&rng, 5)) {
    case 0: case 1: case 2:
      if (entry + 4 <= size)
        put_le32 (bytes + entry, rng_below (&rng, 8) == 0 ? 0xfffffffe
                                 : rng_below (&rng, n + 3));
      break;
    case 3:
      put_le32 (bytes + 0x184, rng_below (&rng, n + 3));
      break;
    default:
      p = bytes + field[rng_below (&rng, sizeof field / sizeof field[0])];
      put_le32 (p, get_le32 (p) ^ 1u << rng_below (&rng, 32));
    }
  }
  snprintf (name, sizeof name, "%.63s with damage of seed %llu", image->name,
            (unsigned long long) seed);
  compare_with_qemu (name, bytes, size, image->child);
  free (bytes);
}

int
main (int argc, char *argv[])
{
  const char *dir = getenv ("FIXTURES");
  char pattern[4096], line[256];
  struct image images[80];
  size_t nr = 0, good;
  glob_t found;

  if (dir == NULL)
    dir = FIXTURES;
  peer = peer_start ();
  if (peer == NULL)
    fprintf (stderr, "test-rules: no qemu-img, so not compared with it\n");
  fd = memfd_create ("image", 0);

  snprintf (pattern, sizeof pattern, "%s/*.vdi.xz", dir);
  if (glob (pattern, 0, NULL, &found) != 0) {
    fprintf (stderr, "test-rules: no fixtures in %s\n", dir);
    return 1;
  }
  for (size_t i = 0; i < found.gl_pathc; ++i)
    load (&images[nr++], found.gl_pathv[i]);
  globfree (&found);
  good = nr;
  snprintf (pattern, sizeof pattern, "%s/bad/*.vdi.xz", dir);
  if (glob (pattern, 0, NULL, &found) == 0)
    for (size_t i = 0; i < found.gl_pathc; ++i)
      load (&images[nr++], found.gl_pathv[i]);
  globfree (&found);
  snprintf (pattern, sizeof pattern, "%s/bad/manifest.tsv", dir);

  for (size_t i = 0; i < nr; ++i) {
    if (i < good) {
      check_good (&images[i]);
      if (strcmp (images[i].name, "scattered-3m") == 0)
        check_changes (&images[i]);
    }
    else {
      const char *verdict = verdict_of (pattern, images[i].name,
                                        line, sizeof line);

      if (verdict == NULL)
        fail (images[i].name, "not in the manifest", pattern);
      else
        check_bad (&images[i], verdict);
    }
    compare_with_qemu (images[i].name, images[i].bytes, images[i].size,
                       images[i].child);
  }
  for (uint64_t i = 0; peer && i < ROUNDS; ++i) {
    const uint64_t seed = argc > 1 ? strtoull (argv[1], NULL, 0) : i + 1;
    const struct image *image = &images[seed % good];

    if (get_le32 (image->bytes + 0x44) >> 16 == 1)
      damage (image, seed);
    if (argc > 1)
      break;
  }
  printf ("test-rules: %zu fixtures, %s, %u failures\n", nr,
          peer == NULL ? "QEMU not asked"
          : peer_is_fast (peer) ? "QEMU asked" : "QEMU asked slowly",
          failures);
  for (size_t i = 0; i < nr; ++i)
    free (images[i].bytes);
  peer_stop (peer);
  close (fd);
  return failures ? 1 : 0;
}
