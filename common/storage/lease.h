/* SPDX-License-Identifier: BSD-3-Clause */
/* Does somebody else have a file open, who need not know of any locks?
 *
 * A lease (fcntl F_SETLEASE) is granted only if nobody else has: that is
 * asked, and the lease is given back at once.  docs/crash-safety.md has
 * what was tried, and why it is not kept.
 *
 * Whoever opens the file in the microsecond between waits until that has
 * passed (and gets EWOULDBLOCK with O_NONBLOCK); no signal comes of it, for
 * the one that is asked for is ignored unless somebody handles it.
 */
#ifndef VDI_STORAGE_LEASE_H
#define VDI_STORAGE_LEASE_H

#include <stdbool.h>

#include "storage/again.h"
#include "storage/storage.h"

/* As storage.h's others.  fd: with no other description of ours but those
 * that again knows.  Thread-safe, but for one thread at a time.
 */
extern void lease_look (struct again *, int fd, bool writers_only,
                        struct storage_others *);

#endif /* VDI_STORAGE_LEASE_H */
