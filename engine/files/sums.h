/* sums.h - SHA256SUMS: what the files of a folder have to be, as sha256sum(1) writes and checks it.
 *
 *     sums_read(dir, &s, &e);                       // a folder without the file: nothing is listed
 *     sums_check(&s, "model.safetensors", hex, &e);
 *     sums_check_file(&s, dir, "config.json", &e);
 *
 * One flipped bit of a weight changes answers without a word, so a model's files are held against
 * their sums before they are used. Thread: any.
 */
#ifndef ENGINE_FILES_SUMS_H
#define ENGINE_FILES_SUMS_H

#include <stddef.h>

#include "kernels/base/err.h"

enum { SUMS_MAX = 64, SUMS_NAME_MAX = 63 };
#define SUMS_FILE "SHA256SUMS"

struct sums {
    int is_there; /* the file is */
    int n;
    struct sums_line {
        char hex[65], name[SUMS_NAME_MAX + 1];
    } at[SUMS_MAX];
};

/* E_FORMAT (a line is none of sha256sum's, or there are too many), E_TOO_BIG, E_NOMEM, E_IO. */
int sums_read(const char *dir, struct sums *out, struct err *e);
/* E_FORMAT: the file of that name has another digest than `hex`. 0 also when it is not listed. */
int sums_check(const struct sums *s, const char *name, const char *hex, struct err *e);
/* The same for a file of a few MiB, which is read for it. */
int sums_check_file(const struct sums *s, const char *dir, const char *name, struct err *e);
/* One more line: the file at `path`, of any size, under `name`. E_IO, E_NOMEM, E_INTERNAL. */
int sums_add(struct sums *s, const char *path, const char *name, struct err *e);
enum { SUMS_TEXT = SUMS_MAX * (64 + 2 + SUMS_NAME_MAX + 1) + 1 };
/* As the file has it; returns the length. */
size_t sums_write(const struct sums *s, char text[SUMS_TEXT]);
/* sums_read, from memory. */
int sums_parse(const char *text, size_t len, struct sums *out, struct err *e);

#endif
