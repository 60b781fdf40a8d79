/* target.h - the request target taken apart: `/v1/images/a%20b?width=8` -> path and query fields.
 *
 * A slash at the end of the path is left out. Percent-encoding is decoded exactly once. Malformed
 * encoding, encoded control bytes and more than TARGET_FIELDS_MAX fields are refused. Thread: its
 * owner's.
 */
#ifndef SERVER_HTTP_TARGET_H
#define SERVER_HTTP_TARGET_H

#include "api/api.h"

enum { TARGET_FIELDS_MAX = 32 };

struct target {
    char *path;                                /* decoded; owned, mem_free by target_clear */
    struct api_field query[TARGET_FIELDS_MAX]; /* point behind `path` */
    size_t n_query;
};

/* E_INVALID, E_TOO_BIG (fields), E_NOMEM; on failure `t` is empty. */
int target_read(struct target *t, const char *text);
void target_clear(struct target *t);

#endif
