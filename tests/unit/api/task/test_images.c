/* The store of pictures: put, use, forget, bounds, and pictures in use outliving their entry. */
#include <stdio.h>
#include <unistd.h>

#include "tests/unit/api/rig.h"

enum { G = 8 };

static void put_picture(struct rig *r, int w, int h, char id[65]) {
    struct buf png;
    rig_png(&png, w, h);
    rig_send(r, &(struct rig_request){.method = "PUT",
                                      .path = "/v1/images",
                                      .type = "image/png",
                                      .body = png.p,
                                      .len = png.len});
    CHECK_EQ(r->reply->status, 201);
    json_t *root = rig_json(r);
    CHECK_EQ(json_integer_value(json_object_get(root, "width")), w);
    CHECK_EQ(json_integer_value(json_object_get(root, "height")), h);
    snprintf(id, 65, "%s", json_string_value(json_object_get(root, "id")));
    CHECK_EQ(strlen(id), 64);
    CHECK_HAS(rig_header(r, "Location"), id);
    json_decref(root);
    buf_clear(&png);
}

static int use(struct rig *r, const char *id) {
    char json[128];
    snprintf(json, sizeof(json), "{\"image\":{\"id\":\"%s\"}}", id);
    rig_send_json(r, "/v1/reconstruct", json);
    return r->reply->status;
}

static int forget(struct rig *r, const char *id) {
    char path[128];
    snprintf(path, sizeof(path), "/v1/images/%s", id);
    rig_send(r, &(struct rig_request){.method = "DELETE", .path = path});
    return r->reply->status;
}

TEST(images_put_use_delete) {
    struct rig r;
    rig_open(&r, G);
    char id[65], again[65];
    put_picture(&r, 10, 20, id);
    CHECK_EQ(r.reply->status, 201);
    put_picture(&r, 10, 20, again);
    CHECK_EQ(r.reply->status, 201);
    CHECK_STR(id, again);
    CHECK_EQ(use(&r, id), 200);
    CHECK_STR(r.reply->content_type, "image/png");
    CHECK_EQ(forget(&r, id), 204);
    CHECK(r.reply->content_type == NULL && r.reply->body_len == 0);
    CHECK_EQ(forget(&r, id), 404);
    rig_check_problem(&r, 404, "image_not_found", NULL, "PUT /v1/images");
    CHECK_EQ(use(&r, id), 404);
    rig_check_problem(&r, 404, "image_not_found", "image", NULL);
    rig_close(&r);
}

TEST(images_least_recently_used_goes_first) {
    struct rig r;
    rig_open_with(&r, G, &(struct api_options){.stored_images = 2});
    char a[65], b[65], c[65];
    put_picture(&r, 3, 3, a);
    put_picture(&r, 4, 4, b);
    CHECK_EQ(use(&r, a), 200);
    put_picture(&r, 5, 5, c);
    CHECK_EQ(use(&r, b), 404);
    CHECK_EQ(use(&r, a), 200);
    CHECK_EQ(use(&r, c), 200);
    rig_close(&r);
}

TEST(images_expire) {
    struct rig r;
    rig_open_with(&r, G, &(struct api_options){.image_ttl_s = 2});
    char id[65];
    put_picture(&r, 3, 3, id);
    for (int i = 0; i < 6; i++) { /* use keeps it */
        usleep(400 * 1000);
        CHECK_EQ(use(&r, id), 200);
    }
    usleep(2100 * 1000);
    CHECK_EQ(use(&r, id), 404);
    rig_close(&r);
}

TEST(images_deleted_while_in_use) {
    struct rig r;
    rig_open(&r, G);
    char id[65], json[128];
    put_picture(&r, 6, 6, id);
    snprintf(json, sizeof(json), "{\"image\":{\"id\":\"%s\"}}", id);
    rig_begin(&r, &(struct rig_request){.path = "/v1/reconstruct",
                                        .type = "application/json",
                                        .body = json,
                                        .len = strlen(json)});
    struct api_call *running = r.call;
    r.call = NULL;
    CHECK_EQ(forget(&r, id), 204);
    fake_answer(r.eng, G * G);
    CHECK_EQ(api_call_step(running), API_REPLY);
    CHECK_EQ(api_call_reply(running)->status, 200);
    api_call_free(running);
    rig_close(&r);
}

TEST(images_put_takes_no_parameters) {
    struct rig r;
    rig_open(&r, G);
    struct buf png;
    rig_png(&png, 3, 3);
    rig_send(&r, &(struct rig_request){.method = "PUT",
                                       .path = "/v1/images",
                                       .query = "width=3",
                                       .type = "image/png",
                                       .body = png.p,
                                       .len = png.len});
    rig_check_problem(&r, 400, "unknown_parameter", NULL, "known are: image");
    buf_clear(&png);
    rig_close(&r);
}
