/* routes.c - the one table of what exists.
 *
 * openapi.yaml lists the same calls; tests/http/test_openapi.py holds one against the other. A path
 * is matched exactly, as a whole; each `{..}` of a row stands for one whole segment. The first row
 * that fits says which path it is, so a row without braces stands above those that would fit, too.
 * What a call needs is read from the row that matched, never worked out again from the path. That
 * holds for who may call it, too.
 */
#include <string.h>

#include "api/endpoint.h"

#define GETS    "GET, HEAD"
#define FILES   "/v1/files"
#define BATCHES "/v1/batches"
#define JOBS    "/v1/fine_tuning/jobs"

static const struct api_route table[] = {
    {"POST", "/v1/reconstruct", "POST", API_ASK, API_WORK, &reconstruct_endpoint},
    {"POST", "/v1/pixels", "POST", API_ASK, API_WORK, &pixels_endpoint},
    {"POST", "/v1/segment", "POST", API_ASK, API_WORK, &segment_endpoint},
    {"POST", "/v1/refer", "POST", API_ASK, API_WORK, &refer_endpoint},
    {"POST", "/v1/describe", "POST", API_ASK, API_WORK, &describe_endpoint},
    {"POST", "/v1/vqa", "POST", API_ASK, API_WORK, &vqa_endpoint},
    {"POST", "/v1/act", "POST", API_ASK, API_QUICK, &act_endpoint},
    {"POST", "/v1/act/sessions", "POST", API_ASK, API_WORK, &session_new_endpoint},
    {"POST", "/v1/act/sessions/{id}", "DELETE, POST", API_ASK, API_QUICK, &session_act_endpoint},
    {"DELETE", "/v1/act/sessions/{id}", "DELETE, POST", API_ASK, API_WORK,
     &session_delete_endpoint},
    {"POST", "/v1/chat/completions", "POST", API_ASK, API_WORK, &chat_endpoint},
    {"PUT", "/v1/images", "PUT", API_ASK, API_WORK, &images_put_endpoint},
    {"DELETE", "/v1/images/{id}", "DELETE", API_ASK, API_WORK, &images_delete_endpoint},
    {"GET", "/v1/models", GETS, API_ASK, API_WORK, &meta_models_endpoint},
    {"GET", "/v1/models/{id}", GETS, API_ASK, API_WORK, &meta_model_endpoint},
    {"GET", "/v1/adapters", "GET, HEAD, POST", API_TRAIN, API_WORK, &adapters_list_endpoint},
    {"POST", "/v1/adapters", "GET, HEAD, POST", API_PROMOTE, API_WORK, &adapters_load_endpoint},
    {"GET", "/v1/adapters/history", GETS, API_TRAIN, API_WORK, &adapters_history_endpoint},
    {"POST", "/v1/adapters/rollback", "POST", API_PROMOTE, API_WORK, &adapters_rollback_endpoint},
    {"GET", "/v1/adapters/{name}", "DELETE, GET, HEAD", API_TRAIN, API_WORK,
     &adapters_show_endpoint},
    {"DELETE", "/v1/adapters/{name}", "DELETE, GET, HEAD", API_PROMOTE, API_WORK,
     &adapters_unload_endpoint},
    {"POST", "/v1/adapters/{name}/promote", "POST", API_PROMOTE, API_WORK,
     &adapters_promote_endpoint},
    {"GET", FILES, "GET, HEAD, POST", API_FILES, API_WORK, &files_list_endpoint},
    {"POST", FILES, "GET, HEAD, POST", API_FILES, API_WORK, &files_create_endpoint},
    {"GET", FILES "/{id}", "DELETE, GET, HEAD", API_FILES, API_WORK, &files_get_endpoint},
    {"DELETE", FILES "/{id}", "DELETE, GET, HEAD", API_FILES, API_WORK, &files_delete_endpoint},
    {"GET", FILES "/{id}/content", GETS, API_FILES, API_WORK, &files_content_endpoint},
    {"GET", BATCHES, "GET, HEAD, POST", API_ASK, API_WORK, &batches_list_endpoint},
    {"POST", BATCHES, "GET, HEAD, POST", API_ASK, API_WORK, &batches_create_endpoint},
    {"GET", BATCHES "/{id}", GETS, API_ASK, API_WORK, &batches_get_endpoint},
    {"POST", BATCHES "/{id}/cancel", "POST", API_ASK, API_WORK, &batches_cancel_endpoint},
    {"GET", "/v1/fine_tuning/recipes", GETS, API_TRAIN, API_WORK, &fine_tuning_recipes_endpoint},
    {"GET", JOBS, "GET, HEAD, POST", API_TRAIN, API_WORK, &fine_tuning_list_endpoint},
    {"POST", JOBS, "GET, HEAD, POST", API_TRAIN, API_WORK, &fine_tuning_create_endpoint},
    {"GET", JOBS "/{id}", GETS, API_TRAIN, API_WORK, &fine_tuning_get_endpoint},
    {"GET", JOBS "/{id}/events", GETS, API_TRAIN, API_WORK, &fine_tuning_events_endpoint},
    {"GET", JOBS "/{id}/checkpoints", GETS, API_TRAIN, API_WORK, &fine_tuning_checkpoints_endpoint},
    {"POST", JOBS "/{id}/cancel", "POST", API_TRAIN, API_WORK, &fine_tuning_cancel_endpoint},
    {"POST", JOBS "/{id}/pause", "POST", API_TRAIN, API_WORK, &fine_tuning_pause_endpoint},
    {"POST", JOBS "/{id}/resume", "POST", API_TRAIN, API_WORK, &fine_tuning_resume_endpoint},
    {"POST", "/v1/admin/reload", "POST", API_ADMIN, API_WORK, &admin_reload_endpoint},
    {"GET", "/livez", GETS, API_ANYBODY, API_WATCH, &meta_livez_endpoint},
    {"GET", "/readyz", GETS, API_ANYBODY, API_WATCH, &meta_readyz_endpoint},
    {"GET", "/metrics", GETS, API_METRICS, API_WATCH, &metrics_endpoint},
    {"GET", "/openapi.yaml", GETS, API_ANYBODY, API_WATCH, &meta_static_endpoint},
    {"GET", "/", GETS, API_ANYBODY, API_WATCH, &meta_static_endpoint},
    {"GET", "/ui/{file}", GETS, API_ANYBODY, API_WATCH, &meta_static_endpoint},
};

const char *const api_scope_words[API_SCOPES] = {[API_ASK] = "ask",
                                                 [API_METRICS] = "metrics",
                                                 [API_TRAIN] = "train",
                                                 [API_PROMOTE] = "promote",
                                                 [API_ADMIN] = "admin"};

int api_route_is_open(const struct api_route *r, unsigned scopes) {
    if (r->scope == API_ANYBODY) return 1;
    if (r->scope == API_FILES) return (scopes & (API_SCOPE(API_ASK) | API_SCOPE(API_TRAIN))) != 0;
    return r->scope != API_NOBODY && (scopes & API_SCOPE(r->scope)) != 0;
}

const struct api_route *api_route_table(size_t *n) {
    *n = ARRAY_LEN(table);
    return table;
}

static int fits(const char *pattern, const char *path, const char **arg) {
    *arg = NULL;
    while (*pattern) {
        if (*pattern != '{') {
            if (*pattern++ != *path++) return 0;
            continue;
        }
        size_t n = strcspn(path, "/");
        if (n == 0) return 0;
        if (!*arg) *arg = path;
        path += n;
        pattern = strchr(pattern, '}') + 1;
    }
    return *path == '\0';
}

const struct api_route *api_route(const char *method, const char *path, const char **arg,
                                  int *status, const char **allow) {
    const struct api_route *found = NULL;
    if (strcmp(method, "HEAD") == 0) method = "GET";
    *status = 404;
    *allow = NULL;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (found ? strcmp(found->path, table[i].path) != 0 : !fits(table[i].path, path, arg))
            continue;
        if (strcmp(table[i].method, method) == 0) {
            *status = 200;
            *allow = NULL;
            return &table[i];
        }
        found = &table[i];
        *status = 405;
        *allow = found->allow;
    }
    *arg = NULL;
    return NULL;
}

int route_cut(const struct api_route *r, char *text, const char *args[ROUTE_ARGS_MAX]) {
    int n = 0;
    for (const char *brace = strchr(r->path, '{'); brace && n < ROUTE_ARGS_MAX;) {
        const char *behind = strchr(brace, '}') + 1, *next = strchr(behind, '{');
        args[n++] = text;
        text += strcspn(text, "/");
        char *end = text;
        if (next) text += next - behind; /* what stands between the two is what the row says */
        *end = '\0';
        brace = next;
    }
    return n;
}

_Static_assert(ARRAY_LEN(table) <= COUNTERS_ROUTES, "a row for each");

void api_count(struct api *a, const struct api_route *route, int status, uint64_t duration_ns) {
    counters_request(a->counters, route ? (size_t)(route - table) : COUNTERS_ROUTES, status,
                     duration_ns);
}

size_t api_route_body_max(const struct api *a, const struct api_route *r) {
    const struct input_wants *wants = r->endpoint->wants;
    if (r->endpoint->takes_file) return a->opt.upload_max;
    if (!wants || strcmp(r->method, "GET") == 0) return 0; /* a list's fields are in the query */
    /* A picture comes with a few words as it is, or in JSON as base64. */
    int may_be_picture = wants->picture && a->opt.picture_max > a->opt.json_max;
    return may_be_picture ? a->opt.picture_max : a->opt.json_max;
}

int api_route_takes_file(const struct api_route *r) { return r->endpoint->takes_file; }

int api_route_is_batchable(const struct api_route *r) {
    return r->scope == API_ASK && r->endpoint->ask && !strchr(r->path, '{');
}

int api_route_follows(const struct api_route *r) { return r->endpoint->follows; }
