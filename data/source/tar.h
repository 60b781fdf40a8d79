/* tar.h - the names and places of the files in a tar.
 *
 * Taken: regular files with names of at most 255 bytes, ustar or what GNU tar writes of plain
 * files. Folders are passed over. Refused, each with a sentence that says what to do: links,
 * devices, extended headers (pax, GNU long names, sparse files), absolute names, `..`, a name
 * that comes twice, compressed files, over TAR_ENTRIES_MAX entries, over TAR_FILE_MAX bytes of
 * one. Thread: any.
 */
#ifndef DATA_SOURCE_TAR_H
#define DATA_SOURCE_TAR_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"

enum {
    TAR_BLOCK = 512,
    TAR_NAME_MAX = 255,
    TAR_ENTRIES_MAX = 200000,
    TAR_FILE_MAX = 12 << 20 /* bytes of one file */
};

struct tar_file {
    char name[TAR_NAME_MAX + 1]; /* without "./" in front */
    uint64_t at;                 /* where its bytes begin */
    uint32_t size;
};

/* n bytes from `at` on. Less are there: E_IO. */
typedef int tar_read_fn(void *ud, uint64_t at, void *to, size_t n, struct err *e);
/* Each file in its order; anything but 0 ends the walk with that. */
typedef int tar_file_fn(void *ud, const struct tar_file *f, struct err *e);

/* All of a tar of `size` bytes. E_FORMAT, E_UNSUPPORTED, E_TOO_BIG, those of the functions. Whether
 * a name comes twice is for `each` to know. */
int tar_walk(tar_read_fn *read, uint64_t size, tar_file_fn *each, void *ud, struct err *e);

/* Do n bytes begin as a tar does, or as a compressed one, of which tar_walk says so? */
int tar_may_be(const uint8_t *head, size_t n);
/* May a file have this name? Relative, no `..`, no empty part, UTF-8 without control characters. */
int tar_name_check(const char *name, struct err *e);

#endif
