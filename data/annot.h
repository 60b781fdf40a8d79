/* annot.h - annotation files, read strictly.
 *
 *     const struct annot_at at = {"refs.json", "refs", 12};
 *     rc = annot_whole(entry, "ann_id", 0, INT64_MAX, &at, &id, e);
 *     // refs.json: refs[12]: "ann_id" must be a whole number
 *
 * Annotation files come from anywhere. A file is read whole. Its bytes, its depth and its parts are
 * bounded before jansson spends memory on it. Every field is read with its type, and an error names
 * the file and the entry. What the fields mean is known to the formats: refs.h, questions.h,
 * rounds.h. Texts are borrowed from the tree. Thread: main's.
 */
#ifndef DATA_ANNOT_H
#define DATA_ANNOT_H

#include <jansson.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/err.h"

enum {
    ANNOT_BYTES_MAX = 256 << 20,
    ANNOT_PARTS_MAX = 16 << 20, /* brackets, commas, colons */
    ANNOT_ITEMS_MAX = 1 << 20,
    ANNOT_NAME_MAX = 255 /* of a picture's file */
};

/* The entry at hand, for errors. */
struct annot_at {
    const char *file, *list;
    size_t i;
};
/* "FILE: LIST[I]: text"; returns E_FORMAT. */
int annot_bad(const struct annot_at *at, struct err *e, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* JSON text of `file` (a name for errors) -> a tree, json_decref. */
int annot_parse(const char *file, const char *text, size_t len, json_t **root, struct err *e);
int annot_open(const char *path, json_t **root, struct err *e);
/* The same. A file whose first line is a whole object is JSON lines; it becomes an array. */
int annot_open_lines(const char *path, json_t **root, struct err *e);

/* Fields of an object. `required` 0: NULL or the given default when it is absent. */
int annot_text(const json_t *o, const char *key, int required, const struct annot_at *at,
               const char **out, struct err *e);
int annot_whole(const json_t *o, const char *key, int64_t least, int64_t most,
                const struct annot_at *at, int64_t *out, struct err *e);
/* An array of n finite numbers. */
int annot_numbers(const json_t *o, const char *key, size_t n, const struct annot_at *at,
                  double *out, struct err *e);
/* An array of at most ANNOT_ITEMS_MAX objects; `key` NULL: `o` is the array. */
int annot_array(const json_t *o, const char *key, const char *file, const json_t **out,
                struct err *e);
/* A picture's file name below some folder: no absolute path, no way up. */
int annot_name(const json_t *o, const char *key, const struct annot_at *at, const char **out,
               struct err *e);
/* An array of n such names. */
int annot_names(const json_t *o, const char *key, size_t n, const struct annot_at *at,
                const char **out, struct err *e);

#endif
