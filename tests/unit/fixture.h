/* SPDX-License-Identifier: BSD-3-Clause */
/* The images of tests/fixtures, unpacked into memory. */
#ifndef VDI_FIXTURE_H
#define VDI_FIXTURE_H

#include <stddef.h>
#include <stdint.h>

/* Unpack the fixture "NAME.vdi.xz" ("bad/NAME" for a damaged one).  The
 * result is freed by the caller.  Exits with TEST_SKIPPED if there is
 * no xz, and with 1 if the fixture cannot be read.
 */
extern uint8_t *fixture_read (const char *name, size_t *size);

/* Call fn for each line of a manifest ("manifest.tsv" or
 * "bad/manifest.tsv"), split into its columns.  Returns how many.
 */
#define FIXTURE_COLUMNS 4
extern unsigned fixture_each (const char *manifest,
                              void (*fn) (char *column[FIXTURE_COLUMNS]));

#endif /* VDI_FIXTURE_H */
