/* SPDX-License-Identifier: BSD-3-Clause */
/* Run the real qemu-img, often.
 *
 *   struct peer *peer = peer_start ();      NULL: there is no qemu-img
 *   status = peer_run (peer, &output, "qemu-img", "check", ..., NULL);
 *   peer_stop (peer);
 *
 * One struct peer is for one thread.  If the preloaded server does not
 * work (under sanitizers, or with another libc) every request starts
 * qemu-img anew: slower, the same answers.
 */
#ifndef PEER_H
#define PEER_H

#include <stdbool.h>
#include <stddef.h>

/* Descriptors of the server. */
#define PEER_IN 100
#define PEER_OUT 101
#define PEER_TEXT 102

struct peer;

extern struct peer *peer_start (void);
extern void peer_stop (struct peer *); /* or NULL */
extern bool peer_is_fast (const struct peer *);

/* The exit status, or -1 if it did not exit.  *output is what it
 * printed on both channels, valid until the next call.  Programs other
 * than qemu-img are started anew each time.
 */
extern int peer_run (struct peer *, const char **output, ...)
  __attribute__ ((sentinel));

/* qemu-img check.  0 and the number of corruptions, or -1 if it would
 * not open the image or said something unexpected; *output tells what.
 */
extern int peer_check (struct peer *, const char *filename,
                       unsigned *corruptions, const char **output);

#endif /* PEER_H */
