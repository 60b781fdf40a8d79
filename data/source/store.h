/* store.h - the files of a source by their names: those of a folder, and those in tars.
 *
 * Names are relative and have no `..` (tar_name_check). Nothing stays open: a file is opened for
 * each reading. Thread: one while tars are added, then any.
 */
#ifndef DATA_SOURCE_STORE_H
#define DATA_SOURCE_STORE_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/err.h"

enum {
    STORE_TARS_MAX = 10000,
    STORE_FILES_MAX = 2 << 20, /* in all tars */
    STORE_FOLDER = -1,
    STORE_MORE = -2, /* the second folder */
    STORE_ANY = -3,
    STORE_NOWHERE = -4 /* of a file of lines that may name no others */
};

struct store_file {
    int32_t tar; /* number, STORE_FOLDER or STORE_MORE */
    uint64_t at, size;
    const char *name; /* borrowed: from the store when it is in a tar, else from who asked */
};
struct store;

/* The folders are copied; `more`: where names are looked for, too, or NULL. Must-succeed. */
struct store *store_new(const char *folder, const char *more);
void store_free(struct store *s); /* NULL is legal */
/* Another tar, its number is *tar. E_IO and the errors of tar_walk, with the path in front. */
int store_add_tar(struct store *s, const char *path, int32_t *tar, struct err *e);
uint32_t store_tar_count(const struct store *s, int32_t tar); /* files in it */
void store_tar_file(const struct store *s, int32_t tar, uint32_t i, struct store_file *out);
const char *store_tar_path(const struct store *s, int32_t tar);

/* Where the file is. tar: a number; STORE_NOWHERE: it is not found; STORE_ANY: the folder, or else
 * the second one, or else the only tar that has it. E_NOT_FOUND, E_FORMAT (several tars have it),
 * E_INVALID (no such name may be). */
int store_find(const struct store *s, int32_t tar, const char *name, struct store_file *out,
               struct err *e);
/* n bytes from `from` on, within the file. E_IO. */
int store_read(const struct store *s, const struct store_file *f, uint64_t from, void *to, size_t n,
               struct err *e);
/* At most `most` bytes of its beginning, appended. E_IO, and buf's. */
int store_read_head(const struct store *s, const struct store_file *f, size_t most, struct buf *out,
                    struct err *e);

#endif
