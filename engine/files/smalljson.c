/* smalljson.c - see smalljson.h. */
#include "engine/files/smalljson.h"

#include <jansson.h>

#include "kernels/base/jsonscan.h"

int smalljson_parse(const void *text, size_t len, const struct smalljson_most *most,
                    struct json_t **root, struct err *e) {
    *root = NULL;
    if (len > most->bytes) return err_set(e, E_TOO_BIG, "more than %zu bytes", most->bytes);
    int rc = jsonscan_bound(text, len, most->depth, most->marks, e);
    if (rc) return rc;
    json_error_t why;
    *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
    if (*root) return 0;
    return err_set(e, E_FORMAT, "line %d: not JSON (error %d)", why.line,
                   (int)json_error_code(&why));
}
