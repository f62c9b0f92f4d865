/* SPDX-License-Identifier: BSD-3-Clause */
/* What went wrong, for the program and for the person.
 *
 * Every function of the core that can fail takes a struct vdi_error *
 * as its last argument, returns -1 on failure, and has then filled it
 * in.  After success it says nothing.  The pointer must not be NULL.
 *
 * err is what an NBD client is told.  The core uses only
 *   EIO        damage, I/O errors, a poisoned image
 *   ENOSPC     no room (EFBIG and EDQUOT keep their own number)
 *   ENOTSUP    a fast zero that would have to write (nothing else)
 *   EINVAL     a request or a parameter that makes no sense
 *   EROFS      a write to what cannot be written
 *   EBUSY      the image is in use by somebody else
 *   ENOMEM, ENOENT, EACCES, EEXIST and others as the system reported
 *              them, when opening or creating.
 *
 * message is one line without a newline, and names the file.
 */
#ifndef VDI_ERROR_H
#define VDI_ERROR_H

#define VDI_ERROR_MAX 1024

struct vdi_error {
  int err;                      /* an errno value, never 0 after a failure */
  char message[VDI_ERROR_MAX];
};

/* Fill in *error and return -1, so that callers can write
 *   return vdi_set_error (error, EIO, "%s: ...", name, ...);
 * errno is set to err as well.
 */
extern int vdi_set_error (struct vdi_error *error, int err,
                          const char *fs, ...)
  __attribute__ ((format (printf, 3, 4)));

/* The same, and appends ": " and the system's text for err. */
extern int vdi_set_errno (struct vdi_error *error, int err,
                          const char *fs, ...)
  __attribute__ ((format (printf, 3, 4)));

#endif /* VDI_ERROR_H */
