/* smalljson.h - small JSON texts that aren't trusted: configs and cards of models and adapters.
 *
 * Bytes, depth and marks are bounded before jansson spends memory on them. Thread: any. */
#ifndef ENGINE_FILES_SMALLJSON_H
#define ENGINE_FILES_SMALLJSON_H

#include <stddef.h>

#include "kernels/base/err.h"

struct json_t;
struct smalljson_most {
    size_t bytes;
    size_t depth, marks; /* see jsonscan_bound */
};
/* *root is given, json_decref. A key may stand once in an object. E_TOO_BIG, E_FORMAT. */
int smalljson_parse(const void *text, size_t len, const struct smalljson_most *most,
                    struct json_t **root, struct err *e);

#endif
