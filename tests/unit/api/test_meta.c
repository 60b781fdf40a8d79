/* What is not about pictures: health, the model, metrics, the page and its ETags. */
#include <stdio.h>
#include <stdlib.h>

#include "api/static.h"
#include "tests/unit/api/rig.h"

static void get(struct rig *r, const char *path, const char *if_none_match) {
    rig_send(r,
             &(struct rig_request){.method = "GET", .path = path, .if_none_match = if_none_match});
}

TEST(meta_livez_and_readyz) {
    struct rig r;
    rig_open(&r, 8);
    get(&r, "/livez", NULL);
    CHECK_EQ(r.reply->status, 200);
    get(&r, "/readyz", NULL);
    CHECK_EQ(r.reply->status, 200);
    fake_queue(r.eng, 1000, 1000);
    get(&r, "/readyz", NULL);
    rig_check_problem(&r, 503, "queue_full", NULL, NULL);
    fake_queue(r.eng, 999, 1000);
    fake_break(r.eng, E_DEVICE);
    get(&r, "/readyz", NULL);
    rig_check_problem(&r, 503, "device_lost", NULL, NULL);
    fake_break(r.eng, 0);
    api_set_draining(r.api);
    get(&r, "/readyz", NULL);
    rig_check_problem(&r, 503, "draining", NULL, NULL);
    get(&r, "/livez", NULL);
    CHECK_EQ(r.reply->status, 200);
    rig_close(&r);
}

TEST(meta_models_says_what_a_client_needs) {
    struct rig r;
    rig_open(&r, 8);
    get(&r, "/v1/models", NULL);
    json_t *root = rig_json(&r), *one = json_array_get(json_object_get(root, "data"), 0);
    CHECK_STR(json_string_value(json_object_get(one, "id")), "fake \"mini\"");
    CHECK_EQ(json_integer_value(json_object_get(one, "grid")), 8);
    static const char *const names[] = {"/v1/models/fake \"mini\"", "/v1/models/lammd"};
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        get(&r, names[i], NULL);
        json_t *same = rig_json(&r);
        CHECK(json_equal(same, one));
        json_decref(same);
    }
    get(&r, "/v1/models/gpt-4o", NULL);
    rig_check_problem(&r, 404, "model_not_found", NULL, "/v1/models");
    json_decref(root);
    rig_close(&r);
}

TEST(meta_page_and_its_parts) {
    struct rig r;
    rig_open(&r, 8);
    static const char *const pages[][3] = {
        {"/", "text/html; charset=utf-8", "<!doctype html>"},
        {"/ui/app.js", "text/javascript; charset=utf-8", "import"},
        {"/ui/style.css", "text/css; charset=utf-8", "color-scheme"},
        {"/ui/icon.svg", "image/svg+xml", "<svg"}};
    for (unsigned i = 0; i < ARRAY_LEN(pages); i++) {
        get(&r, pages[i][0], NULL);
        CHECK_EQ(r.reply->status, 200);
        CHECK(r.reply->is_static);
        CHECK_STR(r.reply->content_type, pages[i][1]);
        CHECK(memmem(r.reply->body, r.reply->body_len, pages[i][2], strlen(pages[i][2])) != NULL);
        CHECK_STR(rig_header(&r, "X-Content-Type-Options"), "nosniff");
    }
    get(&r, "/", NULL);
    CHECK_HAS(rig_header(&r, "Content-Security-Policy"), "default-src 'none'");
    get(&r, "/ui/nothing.js", NULL);
    rig_check_problem(&r, 404, "not_found", NULL, NULL);
    rig_close(&r);
}

TEST(meta_page_asks_nothing_from_outside) {
    for (const struct api_static *f = api_static_table; f->path; f++) {
        if (strcmp(f->path, "/openapi.yaml") == 0) continue;
        const char *at = (const char *)f->bytes, *end = at + f->len;
        while ((at = memmem(at, (size_t)(end - at), "://", 3)) != NULL) {
            int is_name = strncmp(at + 3, "www.w3.org/2000/svg", 19) == 0; /* of a namespace */
            if (!is_name) test_failed(__FILE__, __LINE__, "%s names a URL: %.40s", f->path, at - 5);
            at += 3;
        }
        CHECK(!memmem(f->bytes, f->len, "style=\"", 7)); /* the CSP would drop it */
    }
}

TEST(meta_etag) {
    struct rig r;
    rig_open(&r, 8);
    get(&r, "/", NULL);
    char etag[40], several[80];
    snprintf(etag, sizeof(etag), "%s", rig_header(&r, "ETag"));
    CHECK_EQ(strlen(etag), 18);
    snprintf(several, sizeof(several), "\"other\", %s", etag);
    const char *const matching[] = {etag, several, "*"};
    for (unsigned i = 0; i < ARRAY_LEN(matching); i++) {
        get(&r, "/", matching[i]);
        CHECK_EQ(r.reply->status, 304);
        CHECK(r.reply->body_len == 0 && r.reply->content_type == NULL);
        CHECK_STR(rig_header(&r, "ETag"), etag);
    }
    get(&r, "/", "\"0123456789abcdef\"");
    CHECK_EQ(r.reply->status, 200);
    get(&r, "/ui/app.js", etag);
    CHECK_EQ(r.reply->status, 200);
    rig_close(&r);
}

/* ---- metrics ---- */

static void server_stats(void *ud, struct api_server_stats *out) {
    *out = *(struct api_server_stats *)ud;
}

/* The value of the line that begins with `series` and a blank; -1 when there is none. */
static double value(const struct rig *r, const char *series) {
    char line[200];
    snprintf(line, sizeof(line), "\n%s ", series);
    const char *at = strstr((const char *)r->reply->body, line);
    return at ? atof(at + strlen(line)) : -1;
}

TEST(metrics_count_what_happened) {
    struct rig r;
    rig_open(&r, 8);
    struct api_server_stats stats = {.connections = 3, .connections_total = 17, .shed_total = 2};
    api_set_server(r.api, server_stats, &stats);
    size_t n;
    const struct api_route *t = api_route_table(&n);
    api_count(r.api, &t[0], 200, 300 * 1000 * 1000ull);
    api_count(r.api, &t[0], 200, 2000 * 1000 * 1000ull);
    api_count(r.api, &t[0], 422, 1000);
    api_count(r.api, NULL, 404, 1000);
    api_count(r.api, NULL, 418, 1000); /* no row of its own */
    rig_send_json(&r, "/v1/reconstruct", "{\"image\":\"Zm9v\"}");
    get(&r, "/metrics", NULL);
    CHECK_STR(r.reply->content_type, "text/plain; version=0.0.4; charset=utf-8");
#define ROUTE "method=\"POST\",route=\"/v1/reconstruct\""
    CHECK_EQ(value(&r, "lammd_http_requests_total{" ROUTE ",code=\"200\"}"), 2);
    CHECK_EQ(value(&r, "lammd_http_requests_total{" ROUTE ",code=\"422\"}"), 1);
    CHECK_EQ(value(&r, "lammd_http_requests_total{method=\"\",route=\"\",code=\"404\"}"), 1);
    CHECK_EQ(value(&r, "lammd_http_requests_total{method=\"\",route=\"\",code=\"0\"}"), 1);
    CHECK_EQ(value(&r, "lammd_http_request_duration_seconds_bucket{" ROUTE ",le=\"0.25\"}"), 1);
    CHECK_EQ(value(&r, "lammd_http_request_duration_seconds_bucket{" ROUTE ",le=\"0.5\"}"), 2);
    CHECK_EQ(value(&r, "lammd_http_request_duration_seconds_bucket{" ROUTE ",le=\"+Inf\"}"), 3);
    CHECK_EQ(value(&r, "lammd_http_request_duration_seconds_count{" ROUTE "}"), 3);
    CHECK_NEAR(value(&r, "lammd_http_request_duration_seconds_sum{" ROUTE "}"), 2.3, 0.001);
    CHECK_EQ(value(&r, "lammd_image_decode_seconds_count"), 1);
    CHECK_EQ(value(&r, "lammd_images_refused_total"), 1);
    CHECK_EQ(value(&r, "lammd_connections_total"), 17);
    CHECK_EQ(value(&r, "lammd_answers_total{task=\"segment\"}"), 7);
    CHECK_EQ(value(&r, "lammd_answers_total{task=\"chat\"}"), 0);
    CHECK_EQ(value(&r, "lammd_device_token_rows_total{device=\"0\"}"), 0);
    CHECK_EQ(value(&r, "lammd_device_token_rows_total{device=\"1\"}"), 1);
    CHECK_EQ(value(&r, "lammd_ready"), 1);
    CHECK(value(&r, "process_resident_memory_bytes") > 1e6);
    CHECK(value(&r, "process_open_fds") >= 3);
    CHECK_HAS((const char *)r.reply->body, "lammd_model_info{model=\"fake \\\"mini\\\"\",sha256=");
    rig_close(&r);
}

/* Every line is a comment or `name{labels} value`, every series has HELP and TYPE before it, once.
 * */
TEST(metrics_are_well_formed) {
    struct rig r;
    rig_open(&r, 8);
    get(&r, "/metrics", NULL);
    char line[400], name[100] = "", types[100][100];
    int n_types = 0;
    const char *next = (const char *)r.reply->body, *at;
    for (; (at = strchr(next, '\n')) != NULL; next = at + 1) {
        snprintf(line, sizeof(line), "%.*s", (int)(at - next), next);
        if (sscanf(line, "# HELP %99s", name) == 1) continue;
        char type[20], typed[100];
        if (sscanf(line, "# TYPE %99s %19s", typed, type) == 2) {
            CHECK_STR(typed, name);
            for (int i = 0; i < n_types; i++)
                CHECK(strcmp(types[i], typed) != 0);
            CHECK(n_types < 100);
            snprintf(types[n_types++], 100, "%s", typed);
            size_t len = strlen(typed);
            int is_total = len > 6 && strcmp(typed + len - 6, "_total") == 0;
            CHECK_EQ(is_total, strcmp(type, "counter") == 0);
            continue;
        }
        CHECK(strncmp(line, name, strlen(name)) == 0); /* the series of the last HELP */
        const char *blank = strrchr(line, ' ');
        char *end;
        CHECK(blank != NULL);
        strtod(blank + 1, &end);
        CHECK(*end == 0 && end > blank + 1);
    }
    CHECK(n_types > 30);
    CHECK(*next == 0);
    rig_close(&r);
}
