/* smallfile.h - a small file that isn't trusted, read whole: a config, a card. Thread: any. */
#ifndef ENGINE_FILES_SMALLFILE_H
#define ENGINE_FILES_SMALLFILE_H

#include <stddef.h>

#include "kernels/base/err.h"

/* The bytes of a regular file of at most `most` bytes; *out is given, mem_free. E_NOT_FOUND,
 * E_FORMAT (not a regular file, or a pointer of git-LFS), E_TOO_BIG, E_NOMEM, E_IO; the text
 * doesn't name the path. */
int smallfile_read(const char *path, size_t most, char **out, size_t *len, struct err *e);

#endif
