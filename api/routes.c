/* routes.c - the one table of what exists.
 *
 * openapi.yaml lists the same calls; tests/http/test_openapi.py holds one against the other. A path
 * is matched exactly, as a whole; `{..}` stands for one segment without a slash. What a call needs
 * (scope, body) is read from the row that matched, never worked out again from the path.
 */
#include <string.h>

#include "api/call.h"

#define GETS "GET, HEAD"

static const struct api_route table[] = {
    {"POST", "/v1/reconstruct", API_SCOPE_USER, API_BODY_PICTURE, "POST", reconstruct_step},
    {"POST", "/v1/pixels", API_SCOPE_USER, API_BODY_PICTURE, "POST", pixels_step},
    {"POST", "/v1/segment", API_SCOPE_USER, API_BODY_PICTURE, "POST", segment_step},
    {"POST", "/v1/refer", API_SCOPE_USER, API_BODY_PICTURE, "POST", refer_step},
    {"POST", "/v1/describe", API_SCOPE_USER, API_BODY_PICTURE, "POST", describe_step},
    {"POST", "/v1/vqa", API_SCOPE_USER, API_BODY_PICTURE, "POST", vqa_step},
    {"POST", "/v1/act", API_SCOPE_USER, API_BODY_PICTURE, "POST", act_step},
    {"POST", "/v1/act/sessions", API_SCOPE_USER, API_BODY_JSON, "POST", session_new_step},
    {"POST", "/v1/act/sessions/{id}", API_SCOPE_USER, API_BODY_PICTURE, "DELETE, POST",
     session_act_step},
    {"DELETE", "/v1/act/sessions/{id}", API_SCOPE_USER, API_BODY_NONE, "DELETE, POST",
     session_delete_step},
    {"POST", "/v1/chat/completions", API_SCOPE_USER, API_BODY_JSON, "POST", chat_step},
    {"PUT", "/v1/images", API_SCOPE_USER, API_BODY_PICTURE, "PUT", images_put_step},
    {"DELETE", "/v1/images/{id}", API_SCOPE_USER, API_BODY_NONE, "DELETE", images_delete_step},
    {"GET", "/v1/models", API_SCOPE_USER, API_BODY_NONE, GETS, meta_models_step},
    {"GET", "/v1/models/{id}", API_SCOPE_USER, API_BODY_NONE, GETS, meta_model_step},
    {"GET", "/livez", API_SCOPE_OPEN, API_BODY_NONE, GETS, meta_livez_step},
    {"GET", "/readyz", API_SCOPE_OPEN, API_BODY_NONE, GETS, meta_readyz_step},
    {"GET", "/metrics", API_SCOPE_OPEN, API_BODY_NONE, GETS, metrics_step},
    {"GET", "/openapi.yaml", API_SCOPE_OPEN, API_BODY_NONE, GETS, meta_static_step},
    {"GET", "/", API_SCOPE_OPEN, API_BODY_NONE, GETS, meta_static_step},
    {"GET", "/ui/{file}", API_SCOPE_OPEN, API_BODY_NONE, GETS, meta_static_step},
};

const struct api_route *api_route_table(size_t *n) {
    *n = ARRAY_LEN(table);
    return table;
}

static int fits(const char *pattern, const char *path, const char **arg) {
    const char *brace = strchr(pattern, '{');
    *arg = NULL;
    if (!brace) return strcmp(pattern, path) == 0;
    size_t n = (size_t)(brace - pattern);
    if (strncmp(pattern, path, n) != 0 || path[n] == 0 || strchr(path + n, '/')) return 0;
    *arg = path + n;
    return 1;
}

const struct api_route *api_route(const char *method, const char *path, const char **arg,
                                  int *status, const char **allow) {
    if (strcmp(method, "HEAD") == 0) method = "GET";
    *status = 404;
    *allow = NULL;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (!fits(table[i].path, path, arg)) continue;
        if (strcmp(table[i].method, method) == 0) {
            *status = 200;
            return &table[i];
        }
        *status = 405;
        *allow = table[i].allow;
    }
    *arg = NULL;
    return NULL;
}

_Static_assert(ARRAY_LEN(table) <= COUNTERS_ROUTES, "a row for each");

void api_count(struct api *a, const struct api_route *route, int status, uint64_t duration_ns) {
    counters_request(a->counters, route ? (size_t)(route - table) : COUNTERS_ROUTES, status,
                     duration_ns);
}

int api_route_is_quick(const struct api_route *r) {
    return r->scope == API_SCOPE_OPEN || r->step == act_step || r->step == session_act_step;
}

size_t api_route_body_max(const struct api *a, const struct api_route *r) {
    switch (r->body) {
    case API_BODY_JSON: return a->opt.json_max;
    /* raw and multipart hold a picture and a few words; JSON holds it in base64 */
    case API_BODY_PICTURE:
        return a->opt.json_max > a->opt.picture_max ? a->opt.json_max : a->opt.picture_max;
    default: return 0;
    }
}
