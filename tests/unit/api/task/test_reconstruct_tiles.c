/* tiles of POST /v1/reconstruct: each tile is a picture of its own, and all together are one. */
#include <stdio.h>

#include "kernels/base/clock.h"
#include "kernels/base/mem.h"
#include "media/crop.h"
#include "media/picture.h"
#include "tests/unit/api/rig.h"

enum { G = 8, W = 50, H = 37 };

static const char path[] = "/v1/reconstruct";

struct tiled {
    struct rig r;
    struct buf png;
    uint8_t rgb[3 * W * H];
};

static void tiled_open(struct tiled *s, const struct api_options *opt) {
    rig_open_with(&s->r, G, opt);
    rig_rgb(s->rgb, W, H);
    rig_png(&s->png, W, H);
}

static void tiled_close(struct tiled *s) {
    buf_clear(&s->png);
    rig_close(&s->r);
}

static struct rig_request raw(const struct tiled *s, const char *query, const char *accept) {
    return (struct rig_request){.path = path,
                                .query = query,
                                .type = "image/png",
                                .accept = accept,
                                .body = s->png.p,
                                .len = s->png.len};
}

static void tiled_send(struct tiled *s, const char *query, const char *accept) {
    struct rig_request q = raw(s, query, accept);
    rig_send(&s->r, &q);
}

/* The picture that a client would make of tile i. */
static struct eng_picture *alone(struct tiled *s, int tiles, int i) {
    struct crop c = crop_tile(tiles, i, W, H);
    uint8_t part[3 * W * H];
    struct eng_picture *picture;
    for (int y = 0; y < c.h; y++)
        memcpy(part + 3 * (size_t)(y * c.w), s->rgb + 3 * (size_t)((c.y + y) * W + c.x),
               3 * (size_t)c.w);
    CHECK_EQ(eng_picture_new(s->r.eng, part, c.w, c.h, &picture, NULL), 0);
    return picture;
}

/* What the fake says of all tiles: (tiles * G, tiles * G, 3). */
static void said(struct tiled *s, int tiles, uint8_t *rgb) {
    for (int i = 0; i < tiles * tiles; i++) {
        struct eng_picture *picture = alone(s, tiles, i);
        for (int k = 0; k < G * G; k++) {
            int x = i % tiles * G + k % G, y = i / tiles * G + k / G;
            fake_rgb(eng_picture_truth(picture) + 3 * k, rgb + 3 * (y * tiles * G + x));
        }
        eng_picture_put(picture);
    }
}

static void check_png(const uint8_t *png, size_t len, const uint8_t *rgb, int side) {
    struct picture pic;
    CHECK_EQ(picture_decode(png, len, 1 << 20, &pic.rgb, &pic.w, &pic.h, NULL), 0);
    CHECK(pic.w == side && pic.h == side);
    CHECK_MEM(pic.rgb, rgb, (size_t)(side * side * 3));
    mem_free(pic.rgb);
}

TEST(tiles_one_is_the_picture_as_it_was) {
    struct tiled s;
    tiled_open(&s, &(struct api_options){0});
    tiled_send(&s, "", NULL);
    size_t len = s.r.reply->body_len;
    uint8_t *plain = mem_must(len);
    memcpy(plain, s.r.reply->body, len);
    tiled_send(&s, "tiles=1", NULL);
    CHECK_EQ(s.r.reply->body_len, len);
    CHECK_MEM(s.r.reply->body, plain, len);
    tiled_send(&s, "tiles=1&width=3&height=2", NULL);
    CHECK_EQ(s.r.reply->status, 200);
    mem_free(plain);
    tiled_close(&s);
}

TEST(tiles_are_pictures_of_their_own) {
    static uint8_t want[3 * 64 * 64];
    struct tiled s;
    char query[32];
    tiled_open(&s, &(struct api_options){0});
    for (int tiles = 2; tiles <= 8; tiles += tiles == 3 ? 5 : 1) {
        snprintf(query, sizeof(query), "tiles=%d", tiles);
        tiled_send(&s, query, NULL);
        CHECK_EQ(s.r.reply->status, 200);
        said(&s, tiles, want);
        check_png(s.r.reply->body, s.r.reply->body_len, want, tiles * G);
    }
    CHECK_HAS(api_call_summary(s.r.call), "answers=4096");
    tiled_close(&s);
}

TEST(tiles_in_json) {
    struct tiled s;
    tiled_open(&s, &(struct api_options){0});
    tiled_send(&s, "tiles=2&compare=true&uncertainty=true&estimate=median", "application/json");
    json_t *root = rig_json(&s.r);
    CHECK_EQ(rig_number(root, "tiles"), 2);
    CHECK_EQ(rig_number(root, "width"), 2 * G);
    CHECK_EQ(rig_number(json_object_get(root, "usage"), "pixels"), 4 * G * G);
    CHECK(rig_text(root, "image") && rig_text(root, "uncertainty"));
    CHECK(rig_number(json_object_get(root, "compare"), "mae_levels") > 0);
    CHECK_EQ(fake_asked(s.r.eng)->estimate, ENG_MEDIAN);
    json_decref(root);
    tiled_close(&s);
}

/* A few jobs at a time, and neither pictures nor answers of all tiles. */
TEST(tiles_are_asked_a_few_at_a_time) {
    struct tiled s;
    tiled_open(&s, &(struct api_options){0});
    struct rig_request q = raw(&s, "tiles=8", NULL);
    rig_begin(&s.r, &q);
    CHECK_EQ(fake_asked(s.r.eng)->rest, 63 * eng_picture_cost(s.r.eng));
    int rounds = 0;
    for (; s.r.step == API_WAIT; rounds++) {
        CHECK(fake_live(s.r.eng) > 0 && fake_live(s.r.eng) <= 4);
        CHECK(fake_pictures(s.r.eng) <= 1 + 8 + 4 + 4);
        CHECK(fake_jobs(s.r.eng) <= 8);
        fake_answer_all(s.r.eng);
        rig_step(&s.r);
    }
    CHECK_EQ(rounds, 16);
    CHECK_EQ(s.r.reply->status, 200);
    tiled_close(&s);
}

TEST(tiles_wait_for_their_own_when_the_queue_is_full) {
    struct tiled s;
    tiled_open(&s, &(struct api_options){0});
    struct rig_request q = raw(&s, "tiles=3", "text/event-stream");
    fake_full_at(s.r.eng, 2);
    rig_begin(&s.r, &q);
    CHECK_EQ(s.r.step, API_STREAM);
    char *all = rig_read_all(&s.r, 30);
    CHECK_HAS(all, "event: done");
    mem_free(all);
    fake_full_at(s.r.eng, 0);
    fake_refuse(s.r.eng, E_BUSY);
    rig_begin(&s.r, &q);
    rig_check_problem(&s.r, 503, "queue_full", NULL, NULL);
    tiled_close(&s);
}

/* ---- the stream ---- */

/* The flat values of the n-th event of pixels; NULL: there are fewer. */
static json_t *values_of(const char *stream, int n, json_t **event) {
    *event = rig_event(stream, "pixels", n);
    return json_object_get(*event, "values");
}

TEST(tiles_stream_every_pixel_once_the_coarse_first) {
    enum { TILES = 3, SIDE = TILES * G, COARSE = TILES * TILES };
    static uint8_t want[3 * SIDE * SIDE], got[3 * SIDE * SIDE], times[SIDE * SIDE];
    struct tiled s;
    tiled_open(&s, &(struct api_options){0});
    struct rig_request q = raw(&s, "tiles=3&compare=true", "text/event-stream");
    rig_begin(&s.r, &q);
    char *all = rig_read_all(&s.r, 17);
    json_t *event = rig_event(all, "start", 0), *values;
    CHECK_EQ(rig_number(event, "tiles"), TILES);
    CHECK_EQ(rig_number(event, "width"), SIDE);
    CHECK_EQ(rig_number(event, "pixels"), SIDE * SIDE);
    json_decref(event);
    int n = 0;
    for (int k = 0; (values = values_of(all, k, &event)) != NULL; k++) {
        for (size_t i = 0; i < json_array_size(values); i += 5, n++) {
            int v[5];
            for (size_t j = 0; j < 5; j++)
                v[j] = (int)json_integer_value(json_array_get(values, i + j));
            int at = v[1] * SIDE + v[0];
            if (n < COARSE) CHECK(v[0] % G == 0 && v[1] % G == 0); /* a place of each tile */
            times[at]++;
            for (int c = 0; c < 3; c++)
                got[3 * at + c] = (uint8_t)v[2 + c];
        }
        CHECK_EQ(rig_number(event, "done"), n);
        json_decref(event);
    }
    for (int i = 0; i < SIDE * SIDE; i++)
        CHECK_EQ(times[i], 1);
    said(&s, TILES, want);
    CHECK_MEM(got, want, sizeof(want));
    event = rig_event(all, "done", 0);
    double mae = rig_number(json_object_get(event, "compare"), "mae_levels");
    json_decref(event);
    mem_free(all);
    tiled_send(&s, "tiles=3&compare=true", NULL); /* the same in every form */
    char text[32];
    snprintf(text, sizeof(text), "%.3f", mae);
    CHECK_STR(rig_header(&s.r, "X-Lammd-Mae-Levels"), text);
    tiled_close(&s);
}

TEST(tiles_stream_that_fails_or_is_late_says_so) {
    struct tiled s;
    tiled_open(&s, &(struct api_options){0});
    for (int k = 0; k < 2; k++) {
        struct rig_request q = raw(&s, "tiles=2", "text/event-stream");
        rig_begin(&s.r, &q);
        if (k == 0) fake_fail(s.r.eng, E_TIMEOUT);
        if (k == 1) api_call_expire(s.r.call);
        char *all = rig_read_all(&s.r, 30);
        CHECK_HAS(all, "event: error");
        CHECK_HAS(all, "deadline");
        mem_free(all);
    }
    tiled_close(&s);
}

TEST(tiles_cancel_and_starve) {
    struct tiled s;
    tiled_open(&s, &(struct api_options){0});
    struct rig_request q = raw(&s, "tiles=3", NULL);
    rig_begin(&s.r, &q);
    CHECK_EQ(fake_live(s.r.eng), 4);
    fake_answer_all(s.r.eng);
    rig_step(&s.r);
    api_call_cancel(s.r.call);
    CHECK_EQ(fake_live(s.r.eng), 0);
    fake_answer_all(s.r.eng);
    rig_step(&s.r);
    rig_check_problem(&s.r, 499, "cancelled", NULL, NULL);
    rig_starve(&s.r, &q);
    q = raw(&s, "tiles=2", "text/event-stream");
    rig_starve(&s.r, &q);
    tiled_close(&s);
}

/* ---- limits ---- */

TEST(tiles_that_never_fit_the_time_are_refused) {
    struct tiled s;
    tiled_open(&s, &(struct api_options){.request_ns = 10 * CLOCK_S});
    fake_pace(s.r.eng, G * G); /* a tile a second */
    tiled_send(&s, "tiles=4", NULL);
    rig_check_problem(&s.r, 422, "too_much_work", "tiles",
                      "tiles=4 would take about 16 s here, and a request has 10 s; the largest "
                      "that fits is tiles=3");
    fake_pace(s.r.eng, G);
    tiled_send(&s, "tiles=2", NULL);
    rig_check_problem(&s.r, 422, "too_much_work", "tiles", "the largest that fits is tiles=1");
    fake_pace(s.r.eng, 0); /* not known yet */
    tiled_send(&s, "tiles=8", NULL);
    CHECK_EQ(s.r.reply->status, 200);
    fake_pace(s.r.eng, G); /* what tiles were seen to take counts, where it is less */
    tiled_send(&s, "tiles=8", NULL);
    CHECK_EQ(s.r.reply->status, 200);
    tiled_close(&s);
}

/* Of all tiles together there are 256, of one caller half of that. */
TEST(tiles_of_one_caller_leave_room_for_others) {
    static const struct api_caller who[3] = {{.key = "k1", .scopes = API_SCOPES_OPEN},
                                             {.key = "k2", .scopes = API_SCOPES_OPEN},
                                             {.key = "k3", .scopes = API_SCOPES_OPEN}};
    struct tiled s;
    struct api_visit visits[6];
    struct api_call *calls[6];
    const char *arg, *allow;
    int status;
    tiled_open(&s, &(struct api_options){0});
    const struct api_route *route = api_route("POST", path, &arg, &status, &allow);
    for (int i = 0; i < 6; i++) {
        struct rig_request q = raw(&s, "tiles=8", NULL);
        q.caller = &who[i == 5 ? 2 : i / 3];
        q.visit = &visits[i];
        CHECK_EQ(api_enter(s.r.api, route, q.caller, 0, &visits[i]), 0);
        rig_begin(&s.r, &q);
        if (i == 2) rig_check_problem(&s.r, 429, "quota_exceeded", NULL, "128 tiles at once");
        if (i == 5) rig_check_problem(&s.r, 503, "queue_full", NULL, "tiles of other requests");
        if (i != 2 && i != 5) CHECK_EQ(s.r.step, API_WAIT);
        calls[i] = s.r.call;
        s.r.call = NULL;
    }
    for (int i = 0; i < 6; i++) {
        api_call_free(calls[i]);
        api_visit_end(s.r.api, &visits[i]);
    }
    tiled_send(&s, "tiles=8", NULL); /* all were given back */
    CHECK_EQ(s.r.reply->status, 200);
    tiled_close(&s);
}

TEST(tiles_bad_input) {
    static const char *const cases[][3] = {
        {"tiles=0", "tiles", "1 to 8; got 0"},
        {"tiles=9", "tiles", "1 to 8; got 9"},
        {"tiles=2.5", "tiles", "1 to 8"},
        {"tiles=", "tiles", "1 to 8"},
        {"tiles=2&width=8", "width", "give either tiles or width"},
        {"tiles=2&height=8", "height", "the picture has 16 x 16 pixels"},
        {"tiles=2&region=0,0,4,4", "region", "give either tiles or region"},
    };
    struct tiled s;
    tiled_open(&s, &(struct api_options){0});
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        tiled_send(&s, cases[i][0], NULL);
        rig_check_problem(&s.r, 400, "invalid_parameter", cases[i][1], cases[i][2]);
    }
    rig_send_png(&s.r, path, "tiles=4", NULL, 90, 3);
    rig_check_problem(&s.r, 400, "invalid_parameter", "tiles",
                      "a picture of 90 x 3 can be cut into tiles=3 at most");
    static const char id[] = "0f343b0931126a20f133d67c2b018a3b0f343b0931126a20f133d67c2b018a3b";
    rig_send_jsonf(&s.r, path, "{\"image\":{\"id\":\"%s\"},\"tiles\":2}", id);
    rig_check_problem(&s.r, 400, "invalid_parameter", "tiles", "send the picture itself");
    tiled_close(&s);
}
