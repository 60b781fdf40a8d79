/* files.h - whole files, for the command line. */
#ifndef DATA_FILES_H
#define DATA_FILES_H

#include "kernels/base/buf.h"
#include "kernels/base/err.h"

/* Append a whole file ("-": standard input) to `out`, up to its max. E_IO, E_TOO_BIG, E_NOMEM. */
int file_read(const char *path, struct buf *out, struct err *e);
/* Write a whole file ("-": standard output), by way of a temporary beside it, so that nobody ever
 * sees half of it. E_IO. */
int file_write(const char *path, const void *bytes, size_t len, struct err *e);
/* Read and decode a PNG or JPEG file; *rgb (h, w, 3) is given, mem_free. */
int file_picture(const char *path, uint8_t **rgb, int *w, int *h, struct err *e);

#endif
