/* refine of POST /v1/segment: the mask is asked of the part around the box, and shown in its place.
 */
#include <stdio.h>

#include "kernels/base/mem.h"
#include "media/crop.h"
#include "media/picture.h"
#include "tests/unit/api/rig.h"

enum { G = 16, W = 400, H = 200 };

static const char path[] = "/v1/segment";

static void open_rig(struct rig *r) {
    rig_open(r, G);
    fake_values(r->eng, 40, 30, 50, 50); /* 160, 60, 200, 100 */
}

static void send(struct rig *r, const char *query, const char *accept) {
    rig_send_png(r, path, query, accept, W, H);
}

/* The picture that a client would make of the crop. */
static struct eng_picture *alone(struct rig *r, struct crop c) {
    static uint8_t rgb[3 * W * H], part[3 * W * H];
    struct eng_picture *picture;
    rig_rgb(rgb, W, H);
    for (int y = 0; y < c.h; y++)
        memcpy(part + 3 * (size_t)(y * c.w), rgb + 3 * (size_t)((c.y + y) * W + c.x),
               3 * (size_t)c.w);
    CHECK_EQ(eng_picture_new(r->eng, part, c.w, c.h, &picture, NULL), 0);
    return picture;
}

static struct crop crop_of(const double box[4]) {
    struct crop c;
    CHECK_EQ(crop_around(box, W, H, &c), 1);
    return c;
}

TEST(refine_asks_the_crop_at_every_place) {
    struct rig r;
    struct buf png;
    open_rig(&r);
    rig_png(&png, W, H);
    rig_begin(&r, &(struct rig_request){.path = path,
                                        .query = "sentence=the ball&refine=true",
                                        .type = "image/png",
                                        .body = png.p,
                                        .len = png.len});
    CHECK_EQ(fake_asked(r.eng)->task, ENG_REFER);
    CHECK_EQ(fake_asked(r.eng)->rest, eng_picture_cost(r.eng));
    fake_answer_all(r.eng);
    rig_step(&r);
    CHECK_EQ(r.step, API_WAIT);
    const struct eng_ask *ask = fake_asked(r.eng);
    CHECK_EQ(ask->task, ENG_SEGMENT);
    CHECK_STR(ask->text, "the ball");
    CHECK_EQ(ask->n_points, G * G);
    CHECK(ask->goes_on);
    struct eng_picture *want = alone(&r, crop_of((double[]){160, 60, 200, 100}));
    CHECK_STR(eng_picture_digest(ask->pictures[0]), eng_picture_digest(want));
    eng_picture_put(want);
    fake_answer_all(r.eng);
    rig_step(&r);
    CHECK_EQ(r.step, API_REPLY);
    CHECK_STR(rig_header(&r, "X-Lammd-Box"), "160.00,60.00,200.00,100.00");
    buf_clear(&png);
    rig_close(&r);
}

/* Every pixel of the crop has the bit of its place, every other none. */
TEST(refine_shows_the_mask_in_its_place) {
    struct rig r;
    struct picture pic;
    char want[64];
    open_rig(&r);
    struct crop c = crop_of((double[]){160, 60, 200, 100});
    for (int is_grid = 0; is_grid < 2; is_grid++) {
        send(&r, is_grid ? "sentence=a&refine=true&size=grid" : "sentence=a&refine=true", NULL);
        CHECK_EQ(r.reply->status, 200);
        snprintf(want, sizeof(want), "%d,%d,%d,%d", c.x, c.y, c.x + c.w, c.y + c.h);
        CHECK_STR(rig_header(&r, "X-Lammd-Crop"), want);
        CHECK_EQ(picture_decode(r.reply->body, r.reply->body_len, 1 << 20, &pic.rgb, &pic.w, &pic.h,
                                NULL),
                 0);
        CHECK(pic.w == (is_grid ? G : W) && pic.h == (is_grid ? G : H));
        struct crop at = is_grid ? (struct crop){0, 0, G, G} : c;
        for (int y = 0; y < pic.h; y++) {
            for (int x = 0; x < pic.w; x++) {
                int px = x - at.x, py = y - at.y, set = 0;
                if (px >= 0 && py >= 0 && px < at.w && py < at.h)
                    set = fake_chance((2 * px + 1) * G / (2 * at.w),
                                      (2 * py + 1) * G / (2 * at.h)) >= 0.5f;
                CHECK_EQ(pic.rgb[3 * (y * pic.w + x)], set * 255);
            }
        }
        mem_free(pic.rgb);
    }
    rig_close(&r);
}

static json_t *first_mask(struct rig *r, const char *query, json_t **root) {
    send(r, query, "application/json");
    CHECK_EQ(r->reply->status, 200);
    *root = rig_json(r);
    return json_array_get(json_object_get(*root, "masks"), 0);
}

TEST(refine_tells_the_crop) {
    struct rig r;
    json_t *root, *m;
    open_rig(&r);
    m = first_mask(&r, "sentence=a&refine=true&box=10,20,30,40", &root);
    struct crop c = crop_of((double[]){10, 20, 30, 40});
    json_t *crop = json_object_get(m, "crop");
    CHECK_EQ(rig_number(crop, "x1"), c.x);
    CHECK_EQ(rig_number(crop, "y1"), c.y);
    CHECK_EQ(rig_number(crop, "x2"), c.x + c.w);
    CHECK_EQ(rig_number(crop, "y2"), c.y + c.h);
    json_t *bbox = json_object_get(m, "bbox");
    CHECK(json_integer_value(json_array_get(bbox, 0)) >= c.x);
    CHECK(rig_number(m, "area") > 0 && rig_number(m, "area") <= c.w * c.h);
    json_decref(root);
    m = first_mask(&r, "sentence=a", &root);
    CHECK(json_is_null(json_object_get(m, "crop")));
    json_decref(root);
    rig_close(&r);
}

/* Nearly the whole picture is asked as it is; a box without an inside is an empty mask. */
TEST(refine_where_there_is_nothing_to_gain) {
    static const char *const queries[] = {"sentence=a&refine=true&whole=true",
                                          "sentence=a&refine=true&box=20,10,350,190",
                                          "sentence=a&refine=true"};
    struct rig r;
    json_t *root, *m;
    open_rig(&r);
    for (int k = 0; k < 3; k++) {
        if (k == 2) fake_values(r.eng, 50, 50, 50, 50);
        m = first_mask(&r, queries[k], &root);
        CHECK(json_is_null(json_object_get(m, "crop")));
        CHECK(json_is_null(json_object_get(m, "bbox")) == (k == 2));
        if (k < 2) CHECK_EQ(fake_asked(r.eng)->task, ENG_SEGMENT);
        if (k == 2) CHECK_EQ(fake_asked(r.eng)->task, ENG_REFER);
        json_decref(root);
    }
    rig_close(&r);
}

TEST(refine_many_sentences_share_what_is_decoded) {
    struct rig r;
    struct buf b;
    open_rig(&r);
    char *url = rig_data_url(W, H);
    buf_init(&b, 1 << 20);
    for (int i = 0; i < 20; i++)
        buf_printf(&b, "%s\"thing %d\"", i ? "," : "", i);
    rig_send_jsonf(&r, path, "{\"image\":\"%s\",\"sentences\":[%s],\"refine\":true}", url,
                   (const char *)b.p);
    CHECK_EQ(r.reply->status, 200);
    json_t *root = rig_json(&r), *masks = json_object_get(root, "masks");
    CHECK_EQ(json_array_size(masks), 20);
    for (size_t i = 0; i < 20; i++)
        CHECK(json_is_object(json_object_get(json_array_get(masks, i), "crop")));
    json_decref(root);
    buf_clear(&b);
    mem_free(url);
    rig_close(&r);
}

TEST(refine_cancels_what_it_asked) {
    struct rig r;
    struct buf png;
    open_rig(&r);
    rig_png(&png, W, H);
    struct rig_request q = {.path = path,
                            .query = "sentence=a&refine=true",
                            .type = "image/png",
                            .body = png.p,
                            .len = png.len};
    rig_begin(&r, &q);
    fake_answer_all(r.eng);
    rig_step(&r);
    CHECK_EQ(fake_live(r.eng), 1);
    api_call_cancel(r.call);
    CHECK_EQ(fake_live(r.eng), 0);
    fake_answer_all(r.eng);
    rig_step(&r);
    rig_check_problem(&r, 499, "cancelled", NULL, NULL);
    rig_starve(&r, &q);
    buf_clear(&png);
    rig_close(&r);
}

TEST(refine_bad_input) {
    struct rig r;
    open_rig(&r);
    send(&r, "sentence=a&refine=1", NULL);
    rig_check_problem(&r, 400, "invalid_parameter", "refine", "true or false");
    static const char id[] = "0f343b0931126a20f133d67c2b018a3b0f343b0931126a20f133d67c2b018a3b";
    rig_send_jsonf(&r, path, "{\"image\":{\"id\":\"%s\"},\"sentence\":\"a\",\"refine\":true}", id);
    rig_check_problem(&r, 400, "invalid_parameter", "refine", "send the picture itself");
    rig_close(&r);
}
