/* The table of routes: exact matching, 404 and 405, and that its rows agree with each other. */
#include "api/call.h"
#include "tests/unit/api/rig.h"

static const struct api_route *find(const char *method, const char *path, const char **arg,
                                    int *status, const char **allow) {
    return api_route(method, path, arg, status, allow);
}

TEST(routes_match_exactly) {
    const char *arg, *allow;
    int status;
    const struct api_route *r = find("POST", "/v1/reconstruct", &arg, &status, &allow);
    CHECK(r && arg == NULL);
    CHECK_STR(r->path, "/v1/reconstruct");
    static const char *const none[] = {"/v1/reconstruct/",
                                       "/v1/reconstruc",
                                       "/V1/reconstruct",
                                       "",
                                       "//v1/reconstruct",
                                       "/v1",
                                       "/v1/images/",
                                       "/v1/images/a/b",
                                       "/ui/",
                                       "/ui/a/../b",
                                       "/healthz",
                                       "*"};
    for (unsigned i = 0; i < ARRAY_LEN(none); i++) {
        CHECK(find("POST", none[i], &arg, &status, &allow) == NULL);
        CHECK_EQ(status, 404);
        CHECK(arg == NULL && allow == NULL);
    }
}

TEST(routes_take_the_argument_from_the_path) {
    const char *arg, *allow;
    int status;
    CHECK(find("DELETE", "/v1/images/0123abc", &arg, &status, &allow) != NULL);
    CHECK_STR(arg, "0123abc");
}

/* Not each shape is in the table yet: these are held against rows of the test's own. */
TEST(routes_cut_what_each_brace_stands_for) {
    static const struct {
        const char *path, *from;
        int n;
        const char *first, *second;
    } rows[] = {{"/v1/jobs/{id}/cancel", "a-1/cancel", 1, "a-1", NULL},
                {"/v1/jobs/{id}", "a:b", 1, "a:b", NULL},
                {"/v1/jobs/{id}/checkpoints/{step}", "a/checkpoints/17", 2, "a", "17"},
                {"/v1/{a}/{b}/c", "x/yy/c", 2, "x", "yy"},
                {"/v1/jobs", "", 0, NULL, NULL}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct api_route r = {.method = "GET", .path = rows[i].path};
        const char *args[ROUTE_ARGS_MAX] = {NULL, NULL};
        char text[64];
        snprintf(text, sizeof(text), "%s", rows[i].from);
        CHECK_EQ(route_cut(&r, text, args), rows[i].n);
        if (rows[i].first) CHECK_STR(args[0], rows[i].first);
        if (rows[i].second) CHECK_STR(args[1], rows[i].second);
    }
}

TEST(routes_find_braces_in_the_middle) {
    const char *arg, *allow;
    int status;
    const struct api_route *r = find("GET", "/v1/files/file-1/content", &arg, &status, &allow);
    CHECK(r != NULL);
    CHECK_STR(r->path, "/v1/files/{id}/content");
    CHECK_STR(arg, "file-1/content"); /* the call cuts it */
    CHECK(find("DELETE", "/v1/files/file-1/content", &arg, &status, &allow) == NULL);
    CHECK_EQ(status, 405);
    CHECK_STR(allow, "GET, HEAD");
    static const char *const none[] = {"/v1/files//content", "/v1/files/a/contents",
                                       "/v1/files/a/content/b", "/v1/files/a/b/content"};
    for (unsigned i = 0; i < ARRAY_LEN(none); i++) {
        CHECK(find("GET", none[i], &arg, &status, &allow) == NULL);
        CHECK_EQ(status, 404);
    }
    CHECK(find("PUT", "/v1/adapters/rollback", &arg, &status, &allow) == NULL);
    CHECK_STR(allow, "POST"); /* not what an adapter of that name would take */
}

TEST(routes_head_finds_get) {
    const char *arg, *allow;
    int status;
    const struct api_route *r = find("HEAD", "/livez", &arg, &status, &allow);
    CHECK(r && r == find("GET", "/livez", &arg, &status, &allow));
}

TEST(routes_other_method_is_405_with_allow) {
    const char *arg, *allow;
    int status;
    CHECK(find("GET", "/v1/reconstruct", &arg, &status, &allow) == NULL);
    CHECK_EQ(status, 405);
    CHECK_STR(allow, "POST");
    CHECK(find("POST", "/v1/images/abc", &arg, &status, &allow) == NULL);
    CHECK_EQ(status, 405);
    CHECK_STR(allow, "DELETE");
    CHECK(arg == NULL);
    CHECK(find("TRACE", "/", &arg, &status, &allow) == NULL);
    CHECK_STR(allow, "GET, HEAD");
}

TEST(routes_allow_names_every_method_of_the_path) {
    size_t n;
    const struct api_route *t = api_route_table(&n);
    for (size_t i = 0; i < n; i++) {
        CHECK_HAS(t[i].allow, t[i].method);
        for (size_t k = 0; k < n; k++) {
            if (strcmp(t[i].path, t[k].path) == 0) CHECK_STR(t[i].allow, t[k].allow);
        }
    }
}

/* Nothing but POST and PUT has a body, and not each of them; seven calls take JSON alone, so no
 * picture's size counts there. */
TEST(routes_body_limits) {
    static const struct api_options larger[] = {{.json_max = 1000, .picture_max = 300},
                                                {.json_max = 1000, .picture_max = 3000}};
    for (int k = 0; k < 2; k++) {
        struct rig r;
        rig_open_with(&r, 8, &larger[k]);
        size_t n;
        int n_json = 0;
        const struct api_route *t = api_route_table(&n);
        for (size_t i = 0; i < n; i++) {
            int has_body = strcmp(t[i].method, "POST") == 0 || strcmp(t[i].method, "PUT") == 0;
            if (strcmp(t[i].path, "/v1/admin/reload") == 0) has_body = 0;
            if (strstr(t[i].path, "/jobs/{id}/") || strstr(t[i].path, "/cancel")) has_body = 0;
            if (api_route_takes_file(&t[i])) {
                CHECK_STR(t[i].path, "/v1/files");
                CHECK_EQ(api_route_body_max(r.api, &t[i]), 1 << 30);
                continue;
            }
            int is_json = strcmp(t[i].path, "/v1/act/sessions") == 0 ||
                          strcmp(t[i].path, "/v1/chat/completions") == 0 ||
                          (has_body && strcmp(t[i].path, "/v1/fine_tuning/jobs") == 0) ||
                          (has_body && strcmp(t[i].path, "/v1/batches") == 0) ||
                          (has_body && strncmp(t[i].path, "/v1/adapters", 12) == 0);
            CHECK_EQ(api_route_body_max(r.api, &t[i]), !has_body ? 0 : k && !is_json ? 3000 : 1000);
            n_json += is_json;
        }
        CHECK_EQ(n_json, 7);
        rig_close(&r);
    }
}

/* A worker of their own answers what somebody counts the moments of; health is not logged each
 * time. */
TEST(routes_pace) {
    static const char *const quick[] = {"/v1/act", "/v1/act/sessions/{id}"};
    static const char *const watched[] = {"/livez",        "/readyz", "/metrics",
                                          "/openapi.yaml", "/",       "/ui/{file}"};
    size_t n;
    const struct api_route *t = api_route_table(&n);
    for (size_t i = 0; i < n; i++) {
        enum api_pace pace = API_WORK;
        for (size_t k = 0; k < ARRAY_LEN(quick); k++) {
            if (strcmp(t[i].path, quick[k]) == 0 && strcmp(t[i].method, "POST") == 0)
                pace = API_QUICK;
        }
        for (size_t k = 0; k < ARRAY_LEN(watched); k++) {
            if (strcmp(t[i].path, watched[k]) == 0) pace = API_WATCH;
        }
        CHECK_EQ(t[i].pace, pace);
    }
}

/* Who may call what, route by route: one that is not in this list, or not with its scope, fails. */
TEST(routes_scopes) {
    static const struct {
        const char *method, *path;
        enum api_scope scope;
    } want[] = {{"POST", "/v1/reconstruct", API_ASK},
                {"POST", "/v1/pixels", API_ASK},
                {"POST", "/v1/segment", API_ASK},
                {"POST", "/v1/refer", API_ASK},
                {"POST", "/v1/describe", API_ASK},
                {"POST", "/v1/vqa", API_ASK},
                {"POST", "/v1/act", API_ASK},
                {"POST", "/v1/act/sessions", API_ASK},
                {"POST", "/v1/act/sessions/{id}", API_ASK},
                {"DELETE", "/v1/act/sessions/{id}", API_ASK},
                {"POST", "/v1/chat/completions", API_ASK},
                {"PUT", "/v1/images", API_ASK},
                {"DELETE", "/v1/images/{id}", API_ASK},
                {"GET", "/v1/models", API_ASK},
                {"GET", "/v1/models/{id}", API_ASK},
                {"GET", "/v1/adapters", API_TRAIN},
                {"POST", "/v1/adapters", API_PROMOTE},
                {"GET", "/v1/adapters/history", API_TRAIN},
                {"POST", "/v1/adapters/rollback", API_PROMOTE},
                {"GET", "/v1/adapters/{name}", API_TRAIN},
                {"DELETE", "/v1/adapters/{name}", API_PROMOTE},
                {"POST", "/v1/adapters/{name}/promote", API_PROMOTE},
                {"GET", "/v1/files", API_FILES},
                {"POST", "/v1/files", API_FILES},
                {"GET", "/v1/files/{id}", API_FILES},
                {"DELETE", "/v1/files/{id}", API_FILES},
                {"GET", "/v1/files/{id}/content", API_FILES},
                {"GET", "/v1/batches", API_ASK},
                {"POST", "/v1/batches", API_ASK},
                {"GET", "/v1/batches/{id}", API_ASK},
                {"POST", "/v1/batches/{id}/cancel", API_ASK},
                {"GET", "/v1/fine_tuning/recipes", API_TRAIN},
                {"GET", "/v1/fine_tuning/jobs", API_TRAIN},
                {"POST", "/v1/fine_tuning/jobs", API_TRAIN},
                {"GET", "/v1/fine_tuning/jobs/{id}", API_TRAIN},
                {"GET", "/v1/fine_tuning/jobs/{id}/events", API_TRAIN},
                {"GET", "/v1/fine_tuning/jobs/{id}/checkpoints", API_TRAIN},
                {"POST", "/v1/fine_tuning/jobs/{id}/cancel", API_TRAIN},
                {"POST", "/v1/fine_tuning/jobs/{id}/pause", API_TRAIN},
                {"POST", "/v1/fine_tuning/jobs/{id}/resume", API_TRAIN},
                {"POST", "/v1/admin/reload", API_ADMIN},
                {"GET", "/livez", API_ANYBODY},
                {"GET", "/readyz", API_ANYBODY},
                {"GET", "/metrics", API_METRICS},
                {"GET", "/openapi.yaml", API_ANYBODY},
                {"GET", "/", API_ANYBODY},
                {"GET", "/ui/{file}", API_ANYBODY}};
    size_t n;
    const struct api_route *t = api_route_table(&n);
    CHECK_EQ(n, ARRAY_LEN(want));
    for (size_t i = 0; i < n; i++) {
        CHECK_STR(t[i].method, want[i].method);
        CHECK_STR(t[i].path, want[i].path);
        CHECK_EQ(t[i].scope, want[i].scope);
        for (int s = API_NOBODY; s < API_SCOPES; s++) {
            int is_open =
                t[i].scope == API_ANYBODY ||
                (t[i].scope == API_FILES ? s == API_ASK || s == API_TRAIN : (int)t[i].scope == s);
            CHECK_EQ(api_route_is_open(&t[i], API_SCOPE(s)), is_open);
        }
        CHECK_EQ(api_route_is_open(&t[i], 0), t[i].scope == API_ANYBODY);
        CHECK(api_route_is_open(&t[i], API_SCOPES_ALL));
    }
    struct api_route forgotten = t[0]; /* a row that names no scope is nobody's */
    forgotten.scope = API_NOBODY;
    CHECK(!api_route_is_open(&forgotten, ~0u));
}

/* What has one answer, and nothing that stays behind. */
TEST(routes_that_a_batch_may_ask) {
    static const char *const want[] = {"/v1/reconstruct", "/v1/pixels",          "/v1/segment",
                                       "/v1/refer",       "/v1/describe",        "/v1/vqa",
                                       "/v1/act",         "/v1/chat/completions"};
    size_t n, found = 0;
    const struct api_route *rows = api_route_table(&n);
    for (size_t i = 0; i < n; i++) {
        if (!api_route_is_batchable(&rows[i])) continue;
        CHECK(found < ARRAY_LEN(want));
        CHECK_STR(rows[i].path, want[found++]);
        CHECK_STR(rows[i].method, "POST");
    }
    CHECK_EQ(found, ARRAY_LEN(want));
}
