/* files.h - whole files, read and written.
 *
 * Thread: any. */
#ifndef DATA_FILES_H
#define DATA_FILES_H

#include "kernels/base/buf.h"
#include "kernels/base/err.h"

enum { FILE_PICTURE_MAX = 64 << 20 }; /* bytes of an encoded picture */

/* Append a whole file ("-": standard input) to `out`, up to its max. E_IO, E_TOO_BIG, E_NOMEM. */
int file_read(const char *path, struct buf *out, struct err *e);
/* Write a whole file ("-": standard output), by way of a temporary beside it, so that nobody ever
 * sees half of it. E_IO. */
int file_write(const char *path, const void *bytes, size_t len, struct err *e);
int file_is_folder(const char *path);
/* Read and decode a PNG or JPEG file of at most FILE_PICTURE_MAX bytes; *rgb (h, w, 3) is given,
 * mem_free. E_IO, E_TOO_BIG, E_NOMEM, and those of picture_decode. */
int file_picture(const char *path, uint8_t **rgb, int *w, int *h, struct err *e);
/* rgb (h, w, 3) -> a PNG file, written as by file_write. E_IO, E_TOO_BIG, E_NOMEM. */
int file_write_png(const char *path, const uint8_t *rgb, int w, int h, struct err *e);

#endif
