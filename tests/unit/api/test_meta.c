/* What is not about pictures: health, the model, the page and its ETags. */
#include <stdio.h>

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
    json_t *most = json_object_get(one, "limits");
    CHECK_EQ(json_integer_value(json_object_get(most, "picture_bytes")), 12 << 20);
    CHECK_EQ(json_integer_value(json_object_get(most, "pixels")), 16000000);
    CHECK_EQ(json_integer_value(json_object_get(most, "pixels_costly")), 4000000);
    json_t *alias = json_array_get(json_object_get(root, "data"), 1);
    CHECK_STR(rig_text(alias, "id"), "lammd");
    CHECK_STR(rig_text(alias, "stands_for"), "fake \"mini\"");
    CHECK_STR(rig_text(alias, "sha256"), rig_text(one, "sha256"));
    CHECK_EQ(json_array_size(json_object_get(root, "data")), 2);
    static const char *const names[] = {"/v1/models/fake \"mini\"", "/v1/models/lammd"};
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        get(&r, names[i], NULL);
        json_t *same = rig_json(&r);
        CHECK(json_equal(same, i ? alias : one));
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
