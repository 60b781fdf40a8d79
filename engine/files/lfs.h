/* lfs.h - is this a pointer of git-LFS? Whoever clones a repository without git-LFS has a text of
 * three lines in the place of each large file, under that file's name. */
#ifndef ENGINE_FILES_LFS_H
#define ENGINE_FILES_LFS_H

#include <stddef.h>

#include "kernels/base/err.h"

/* The first bytes of a file. E_FORMAT, with what to do: it is one. Any thread. */
int lfs_refuse(const void *bytes, size_t len, struct err *e);

#endif
