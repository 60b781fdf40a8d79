/* GET /metrics: what is counted, and that Prometheus can read it. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/api/rig.h"

static void get_metrics(struct rig *r) {
    rig_send(r, &(struct rig_request){.method = "GET", .path = "/metrics"});
}

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

/* Both kinds of upload, and nothing of one that was refused. */
TEST(metrics_count_pictures_found_again) {
    struct rig r;
    rig_open_with(&r, 8, &(struct api_options){.decoded_max = 1 << 20});
    for (int i = 0; i < 3; i++)
        rig_send_png(&r, "/v1/reconstruct", "", NULL, 8, 8);
    rig_send_json(&r, "/v1/reconstruct", "{\"image\":\"Zm9v\"}");
    get_metrics(&r);
    CHECK_EQ(value(&r, "lammd_image_cache_hits_total"), 2);
    CHECK_EQ(value(&r, "lammd_image_cache_misses_total"), 1);
    CHECK_EQ(value(&r, "lammd_image_decode_seconds_count"), 2);
    double bytes = value(&r, "lammd_image_cache_bytes");
    CHECK(bytes > 8 * 8 * 3 && bytes < 2000);
    rig_close(&r);
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
    get_metrics(&r);
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
    CHECK_EQ(value(&r, "lammd_device_info{device=\"1\",bits=\"0000000000000000\"}"), 1);
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
    get_metrics(&r);
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
