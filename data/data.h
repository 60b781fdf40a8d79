/* data.h - files of questions, read strictly.
 *
 * Annotation files come from anywhere. A file is read whole, bounded in bytes, depth and parts before
 * jansson spends memory on it, and every field is read with its type. What is wrong is told with the
 * file and the entry: `refs.json: refs[12]: "ann_id" must be a whole number`. Thread: main's.
 */
#ifndef DATA_DATA_H
#define DATA_DATA_H

#include <jansson.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/err.h"

enum {
    DATA_BYTES_MAX = 256 << 20,
    DATA_PARTS_MAX = 16 << 20, /* brackets, commas, colons */
    DATA_ITEMS_MAX = 1 << 20,
    DATA_NAME_MAX = 255 /* of a picture's file */
};

/* Where we are: for errors. */
struct data_at {
    const char *file, *list;
    size_t i;
};
/* "FILE: LIST[I]: text"; returns E_FORMAT. */
int data_bad(const struct data_at *at, struct err *e, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* JSON text of `file` (a name for errors) -> a tree, json_decref. */
int data_parse(const char *file, const char *text, size_t len, json_t **root, struct err *e);
int data_open(const char *path, json_t **root, struct err *e);
/* The same; a file whose first line is a whole object is JSON lines, and becomes an array. */
int data_open_lines(const char *path, json_t **root, struct err *e);

/* Fields of an object. `required` 0: NULL or the given default when it is absent. */
int data_text(const json_t *o, const char *key, int required, const struct data_at *at,
              const char **out, struct err *e);
int data_whole(const json_t *o, const char *key, int64_t least, int64_t most,
               const struct data_at *at, int64_t *out, struct err *e);
/* An array of n finite numbers. */
int data_numbers(const json_t *o, const char *key, size_t n, const struct data_at *at, double *out,
                 struct err *e);
/* An array of objects of at most DATA_ITEMS_MAX; list is its name for errors. */
int data_array(const json_t *o, const char *key, const char *file, const json_t **out,
               struct err *e);
/* A picture's file name below some folder: no absolute path, no way up. */
int data_name(const json_t *o, const char *key, const struct data_at *at, const char **out,
              struct err *e);

#endif
