/* picture_file.h - a picture that is named by a path instead of being sent.
 *
 * For the command line alone, where who asks may read the file anyway. The path leads down from the
 * folder, as it is written: nothing in it is an escape. Thread: any.
 */
#ifndef API_WIRE_PICTURE_FILE_H
#define API_WIRE_PICTURE_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"

/* FOLDER/PATH, at most `max` bytes; *bytes is given (mem_free). The text of an error is for who
 * wrote the path. E_INVALID: it is absolute, leads up, or there is no such file, or it can't be
 * read; E_TOO_BIG; E_NOMEM. */
int picture_file_read(const char *folder, const char *path, size_t max, uint8_t **bytes,
                      size_t *len, struct err *e);

#endif
