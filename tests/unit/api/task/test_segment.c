/* POST /v1/segment without a socket: box first, then the bits inside it; one sentence or many. */
#include <stdio.h>

#include "kernels/base/mem.h"
#include "media/picture.h"
#include "tests/unit/api/rig.h"

enum { G = 16, W = 48, H = 32 };

static const char path[] = "/v1/segment";

static void open_rig(struct rig *r) {
    rig_open(r, G);
    fake_values(r->eng, 25, 10, 80, 60);
}

static void send(struct rig *r, const char *query, const char *accept) {
    rig_send_png(r, path, query, accept, W, H);
}

/* x1=25 %: place 4; x2=80 %: 12.8, so 13; y1=10 %: 1.6, so 1; y2=60 %: 9.6, so 10. */
static int inside(int gx, int gy) { return gx >= 4 && gx < 13 && gy >= 1 && gy < 10; }

static void check_grey(struct rig *r, int w, int h, double threshold, int is_soft, int whole) {
    struct picture pic;
    CHECK_EQ(r->reply->status, 200);
    CHECK_STR(r->reply->content_type, "image/png");
    CHECK_EQ(
        picture_decode(r->reply->body, r->reply->body_len, 1 << 20, &pic.rgb, &pic.w, &pic.h, NULL),
        0);
    CHECK(pic.w == w && pic.h == h);
    for (int y = 0; y < h; y++) {
        for (int x = 0; x < w; x++) {
            int gx = (2 * x + 1) * G / (2 * w), gy = (2 * y + 1) * G / (2 * h);
            float p = whole || inside(gx, gy) ? fake_chance(gx, gy) : 0;
            int is_asked = whole || inside(gx, gy);
            int want = is_soft                              ? (int)lrintf(p * 255)
                       : is_asked && (double)p >= threshold ? 255
                                                            : 0;
            CHECK_NEAR(pic.rgb[3 * (y * w + x)], want, is_soft ? 1 : 0);
        }
    }
    mem_free(pic.rgb);
}

TEST(segment_asks_for_a_box_then_for_every_place_in_it) {
    struct rig r;
    open_rig(&r);
    struct buf png;
    rig_png(&png, W, H);
    rig_begin(&r, &(struct rig_request){.path = path,
                                        .query = "sentence=the ball",
                                        .type = "image/png",
                                        .body = png.p,
                                        .len = png.len});
    CHECK_EQ(r.step, API_WAIT);
    CHECK_EQ(fake_asked(r.eng)->task, ENG_REFER);
    CHECK_EQ(fake_asked(r.eng)->urgency, ENG_MASK);
    CHECK_STR(fake_asked(r.eng)->text, "the ball");
    fake_answer_all(r.eng);
    CHECK_EQ(r.wakes, 1);
    rig_step(&r);
    CHECK_EQ(r.step, API_WAIT);
    const struct eng_ask *ask = fake_asked(r.eng);
    CHECK_EQ(ask->task, ENG_SEGMENT);
    CHECK_EQ(ask->urgency, ENG_MASK);
    CHECK(ask->distribution);
    CHECK_EQ(ask->n_points, 9 * 9);
    for (uint32_t i = 0; i < ask->n_points; i++)
        CHECK(inside(ask->points[i].x, ask->points[i].y));
    fake_answer(r.eng, 5);
    rig_step(&r);
    CHECK_EQ(r.step, API_WAIT);
    fake_answer_all(r.eng);
    rig_step(&r);
    CHECK_EQ(r.step, API_REPLY);
    check_grey(&r, W, H, 0.5, 0, 0);
    CHECK_STR(rig_header(&r, "X-Lammd-Box"), "12.00,3.20,38.40,19.20");
    buf_clear(&png);
    rig_close(&r);
}

TEST(segment_png_sizes_thresholds_soft) {
    struct rig r;
    open_rig(&r);
    send(&r, "sentence=a&size=grid", NULL);
    check_grey(&r, G, G, 0.5, 0, 0);
    send(&r, "sentence=a&size=full&threshold=0.75", "image/png");
    check_grey(&r, W, H, 0.75, 0, 0);
    send(&r, "sentence=a&threshold=0", NULL);
    check_grey(&r, W, H, 0, 0, 0);
    send(&r, "sentence=a&soft=true", NULL);
    check_grey(&r, W, H, 0, 1, 0);
    send(&r, "sentence=a&whole=true", NULL);
    check_grey(&r, W, H, 0.5, 0, 1);
    CHECK_EQ(fake_asked(r.eng)->n_points, G * G);
    rig_close(&r);
}

TEST(segment_takes_a_box_in_pixels) {
    struct rig r;
    open_rig(&r);
    send(&r, "sentence=a&box=12,3.2,38.4,19.2", NULL); /* the same as the model's */
    check_grey(&r, W, H, 0.5, 0, 0);
    CHECK_EQ(fake_asked(r.eng)->task, ENG_SEGMENT);
    send(&r, "sentence=a&box=47,31,48,32", NULL); /* the last pixel */
    CHECK_EQ(fake_asked(r.eng)->n_points, 1);
    CHECK_EQ(fake_asked(r.eng)->points[0].x, G - 1);
    rig_close(&r);
}

TEST(segment_reversed_answer_is_put_in_order) {
    struct rig r;
    open_rig(&r);
    fake_values(r.eng, 80, 60, 25, 10);
    send(&r, "sentence=a", NULL);
    check_grey(&r, W, H, 0.5, 0, 0);
    rig_close(&r);
}

static json_t *mask_of(json_t *root, size_t i) {
    return json_array_get(json_object_get(root, "masks"), i);
}

TEST(segment_json) {
    struct rig r;
    open_rig(&r);
    send(&r, "sentence=the ball&png=true", "application/json");
    json_t *root = rig_json(&r), *m = mask_of(root, 0);
    CHECK_STR(json_string_value(json_object_get(m, "sentence")), "the ball");
    json_t *box = json_object_get(m, "box"), *percent = json_object_get(m, "percent");
    CHECK_NEAR(json_number_value(json_object_get(box, "x1")), 12, 1e-9);
    CHECK_NEAR(json_number_value(json_object_get(box, "y2")), 19.2, 1e-9);
    CHECK_NEAR(json_number_value(json_array_get(percent, 3)), 60, 1e-9);
    CHECK_NEAR(json_number_value(json_object_get(m, "box_probability")), 0.0625, 1e-6);
    json_t *size = json_object_get(json_object_get(m, "mask"), "size");
    CHECK_EQ(json_integer_value(json_array_get(size, 0)), H);
    CHECK_EQ(json_integer_value(json_array_get(size, 1)), W);
    int area = 0, n = 0;
    double sum = 0;
    for (int i = 0; i < G * G; i++) {
        if (!inside(i % G, i / G) || fake_chance(i % G, i / G) < 0.5f) continue;
        area += W / G * (H / G);
        n++;
        sum += (double)fake_chance(i % G, i / G);
    }
    CHECK_EQ(json_integer_value(json_object_get(m, "area")), area);
    CHECK_NEAR(json_number_value(json_object_get(m, "mean_probability")), sum / n, 1e-4);
    CHECK(json_array_size(json_object_get(m, "polygon")) > 0);
    CHECK_HAS(json_string_value(json_object_get(m, "png")), "data:image/png;base64,");
    CHECK(json_object_get(root, "timing") && json_object_get(root, "usage"));
    CHECK_EQ(json_array_size(json_object_get(root, "masks")), 1);
    json_decref(root);
    rig_close(&r);
}

TEST(segment_nothing_is_a_legal_answer) {
    struct rig r;
    open_rig(&r);
    fake_values(r.eng, 50, 50, 50, 50); /* a box without an inside */
    for (int k = 0; k < 2; k++) {
        /* and a threshold that no place reaches: 0.3 at place (1, 0) */
        send(&r, k ? "sentence=a&box=3,0,6,2&threshold=0.9" : "sentence=a", "application/json");
        json_t *root = rig_json(&r), *m = mask_of(root, 0);
        json_t *box = json_object_get(m, "box"); /* where it was looked for is told all the same */
        CHECK_NEAR(json_number_value(json_object_get(box, "y2")), k ? 2 : H / 2, 1e-9);
        CHECK(json_is_null(json_object_get(m, "bbox")));
        CHECK_EQ(json_integer_value(json_object_get(m, "area")), 0);
        CHECK_EQ(json_array_size(json_object_get(m, "polygon")), 0);
        const char *counts =
            json_string_value(json_object_get(json_object_get(m, "mask"), "counts"));
        CHECK_STR(counts, "P`1"); /* 1536 zeros: the groups 0, 16, 1; see test_mask */
        json_decref(root);
    }
    send(&r, "sentence=a&threshold=1", NULL);
    CHECK_EQ(r.reply->status, 200);
    rig_close(&r);
}

/* ---- many sentences ---- */

static void send_many(struct rig *r, int n) {
    struct buf b;
    char *url = rig_data_url(W, H);
    buf_init(&b, 1 << 20);
    for (int i = 0; i < n; i++)
        buf_printf(&b, "%s\"thing %d\"", i ? "," : "", i);
    rig_send_jsonf(r, path, "{\"image\":\"%s\",\"sentences\":[%s]}", url, (const char *)b.p);
    buf_clear(&b);
    mem_free(url);
}

TEST(segment_many_sentences_in_one_request) {
    struct rig r;
    open_rig(&r);
    send_many(&r, 64);
    CHECK_EQ(r.reply->status, 200);
    CHECK_STR(r.reply->content_type, "application/json");
    json_t *root = rig_json(&r);
    CHECK_EQ(json_array_size(json_object_get(root, "masks")), 64);
    CHECK_STR(json_string_value(json_object_get(mask_of(root, 63), "sentence")), "thing 63");
    json_decref(root);
    send_many(&r, 65);
    rig_check_problem(&r, 400, "invalid_parameter", "sentences",
                      "1 to 64 strings; got an array of 65");
    rig_close(&r);
}

static struct rig_request several(char *text, size_t cap, const char *url) {
    int n = snprintf(text, cap,
                     "{\"image\":\"%s\",\"sentences\":[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\","
                     "\"h\",\"i\",\"j\",\"k\",\"l\"]}",
                     url);
    return (struct rig_request){
        .path = path, .type = "application/json", .body = text, .len = (size_t)n};
}

TEST(segment_runs_a_few_jobs_at_once) {
    static char text[100000];
    struct rig r;
    open_rig(&r);
    char *url = rig_data_url(W, H);
    struct rig_request q = several(text, sizeof(text), url);
    rig_begin(&r, &q);
    CHECK_EQ(fake_live(r.eng), 8);
    int rounds = 0;
    for (; r.step == API_WAIT && rounds < 10; rounds++) {
        CHECK(fake_live(r.eng) <= 8 && fake_live(r.eng) > 0);
        fake_answer_all(r.eng);
        rig_step(&r);
    }
    CHECK_EQ(rounds, 4); /* 8 boxes, their masks, 4 boxes, their masks */
    CHECK_EQ(r.reply->status, 200);
    mem_free(url);
    rig_close(&r);
}

TEST(segment_waits_for_its_own_jobs_when_the_queue_is_full) {
    static char text[100000];
    struct rig r;
    open_rig(&r);
    char *url = rig_data_url(W, H);
    struct rig_request q = several(text, sizeof(text), url);
    fake_full_at(r.eng, 1);
    rig_begin(&r, &q);
    CHECK_EQ(r.step, API_WAIT);
    CHECK_EQ(fake_live(r.eng), 1);
    fake_full_at(r.eng, 0);
    while (r.step == API_WAIT) {
        fake_answer_all(r.eng);
        rig_step(&r);
    }
    CHECK_EQ(r.reply->status, 200);
    fake_refuse(r.eng, E_BUSY); /* none of ours is in it */
    rig_begin(&r, &q);
    rig_check_problem(&r, 503, "queue_full", NULL, NULL);
    mem_free(url);
    rig_close(&r);
}

/* Likewise when the caller may have no more: what has ended counts no more. Who has too much in
 * other calls is told. */
TEST(segment_waits_for_its_own_jobs_when_its_quota_is_full) {
    static char text[100000];
    static const struct api_caller me = {.key = "k3v9", .scopes = API_SCOPES_OPEN};
    struct rig r;
    const char *arg, *allow;
    int status;
    rig_open_with(&r, G, &(struct api_options){.limits = {.tokens = 250}});
    fake_values(r.eng, 25, 10, 80, 60);
    const struct api_route *route = api_route("POST", path, &arg, &status, &allow);
    struct api_visit visit, other;
    CHECK_EQ(api_enter(r.api, route, &me, 0, &visit), 0);
    char *url = rig_data_url(W, H);
    struct rig_request q = several(text, sizeof(text), url);
    q.caller = &me;
    q.visit = &visit;
    rig_begin(&r, &q);
    CHECK_EQ(r.step, API_WAIT);
    CHECK_EQ(fake_live(r.eng), 2); /* of 100 tokens each: fake_engine.c */
    CHECK(fake_asked(r.eng)->owner != 0);
    CHECK_EQ(api_enter(r.api, route, &me, 0, &other), 0);
    struct rig_request small = q;
    struct api_call *first = r.call;
    r.call = NULL;
    small.visit = &other;
    rig_begin(&r, &small);
    rig_check_problem(&r, 429, "quota_exceeded", NULL, "one caller may have 250 tokens");
    CHECK_STR(rig_header(&r, "RateLimit-Policy"), "\"tokens\";q=250");
    CHECK_STR(rig_header(&r, "RateLimit"), "\"tokens\";r=0");
    CHECK(rig_header(&r, "Retry-After") != NULL);
    api_call_free(r.call);
    api_visit_end(r.api, &other);
    r.call = first;
    r.step = API_WAIT;
    while (r.step == API_WAIT) {
        fake_answer_all(r.eng);
        rig_step(&r);
        CHECK(fake_live(r.eng) <= 2);
    }
    CHECK_EQ(r.reply->status, 200);
    api_call_free(r.call);
    r.call = NULL;
    api_visit_end(r.api, &visit);
    mem_free(url);
    rig_close(&r);
}

TEST(segment_cancel_and_expire_reach_every_job) {
    static char text[100000];
    struct rig r;
    open_rig(&r);
    char *url = rig_data_url(W, H);
    struct rig_request q = several(text, sizeof(text), url);
    for (int k = 0; k < 3; k++) {
        rig_begin(&r, &q);
        CHECK_EQ(fake_live(r.eng), 8);
        if (k == 0) api_call_cancel(r.call);
        if (k == 1) api_call_expire(r.call);
        if (k == 2) api_call_free(r.call), r.call = NULL;
        CHECK_EQ(fake_live(r.eng), 0);
        if (k == 2) break;
        fake_answer_all(r.eng);
        rig_step(&r);
        if (k == 0) rig_check_problem(&r, 499, "cancelled", NULL, NULL);
        if (k == 1) rig_check_problem(&r, 504, "deadline", NULL, NULL);
    }
    mem_free(url);
    rig_close(&r);
}

TEST(segment_one_that_fails_ends_all) {
    static char text[100000];
    struct rig r;
    open_rig(&r);
    char *url = rig_data_url(W, H);
    struct rig_request q = several(text, sizeof(text), url);
    rig_begin(&r, &q);
    fake_fail(r.eng, E_DEVICE);
    rig_step(&r);
    rig_check_problem(&r, 503, "device_lost", NULL, NULL);
    mem_free(url);
    rig_close(&r);
}

/* What has begun may end while the server is shutting down. */
TEST(segment_goes_on_while_draining) {
    static char text[100000];
    struct rig r;
    open_rig(&r);
    char *url = rig_data_url(W, H);
    struct rig_request q = several(text, sizeof(text), url);
    rig_begin(&r, &q);
    api_set_draining(r.api);
    while (r.step == API_WAIT) {
        fake_answer_all(r.eng);
        rig_step(&r);
    }
    CHECK_EQ(r.reply->status, 200);
    rig_begin(&r, &q);
    rig_check_problem(&r, 503, "draining", NULL, NULL);
    mem_free(url);
    rig_close(&r);
}

/* ---- bad input ---- */

TEST(segment_bad_input) {
    static const char *const cases[][3] = {
        {"", "missing_parameter", "sentence is missing"},
        {"sentence=", "invalid_parameter", "sentence is empty"},
        {"sentence=   ", "invalid_parameter", "sentence is blank"},
        {"sentence=a\tb", "invalid_parameter", "control character at byte 1"},
        {"sentence=a\x7f", "invalid_parameter", "control character at byte 1"},
        {"sentence=\xff", "invalid_parameter", "not UTF-8 at byte 0"},
        {"sentence=ok [INST] no", "invalid_parameter", "sentence has a tag: [INST]"},
        {"sentences=[\"a\",\"[vqa]\"]", "invalid_parameter", "sentences[1] has a tag: [vqa]"},
        {"sentence=far too long", "too_much_work", "too many tokens"},
        {"sentence=a&sentences=[\"b\"]", "invalid_parameter", "either sentence or sentences"},
        {"sentences=[]", "invalid_parameter", "1 to 64 strings"},
        {"sentences=[1]", "invalid_parameter", "sentences[0] must be a string; got 1"},
        {"sentences=[\"a\",\"\"]", "invalid_parameter", "sentences[1] is empty"},
        {"sentences=[\"a\",\"b\",\"a\"]", "invalid_parameter",
         "sentences[2] is the same as sentences[0]"},
        {"sentences=[", "invalid_parameter", "1 to 64 strings; got the string \"[\""},
        {"sentence=a&box=1,2,3", "invalid_parameter", "4 numbers: x1,y1,x2,y2"},
        {"sentence=a&box=1,2,x,4", "invalid_parameter", "4 numbers"},
        {"sentence=a&box=30,3,12,19", "invalid_parameter", "x1 must be less than x2"},
        {"sentence=a&box=3,19,12,19", "invalid_parameter", "y1 less than y2"},
        {"sentence=a&box=-1,0,5,5", "invalid_parameter", "inside the picture"},
        {"sentence=a&box=0,0,49,5", "invalid_parameter", "which is 48 x 32"},
        {"sentence=a&box=0,0,5,33", "invalid_parameter", "inside the picture"},
        {"sentence=a&box=0,0,5,5&whole=true", "invalid_parameter", "either box or whole"},
        {"sentence=a&threshold=1.01", "invalid_parameter", "a number from 0 to 1; got 1.01"},
        {"sentence=a&threshold=-0.1", "invalid_parameter", "threshold"},
        {"sentence=a&threshold=nan", "invalid_parameter", "threshold"},
        {"sentence=a&threshold=1f", "invalid_parameter", "threshold"},
        {"sentence=a&threshold=", "invalid_parameter", "threshold"},
        {"sentence=a&size=half", "invalid_parameter", "full or grid"},
        {"sentence=a&soft=1", "invalid_parameter", "true or false"},
        {"sentence=a&colour=1", "unknown_parameter", "colour"},
    };
    struct rig r;
    open_rig(&r);
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        send(&r, cases[i][0], NULL);
        rig_check_problem(&r, strcmp(cases[i][1], "too_much_work") == 0 ? 422 : 400, cases[i][1],
                          NULL, cases[i][2]);
    }
    send(&r, "sentences=[\"a\"]", "image/png");
    rig_check_problem(&r, 406, "not_acceptable", NULL, "application/json");
    send(&r, "sentence=a", "text/html");
    rig_check_problem(&r, 406, "not_acceptable", NULL, "image/png or application/json");
    rig_close(&r);
}

TEST(segment_sentence_of_10000_characters) {
    static char text[10001];
    struct rig r;
    open_rig(&r);
    memset(text, 'x', 10000);
    char *url = rig_data_url(W, H);
    rig_send_jsonf(&r, path, "{\"image\":\"%s\",\"sentence\":\"%s\"}", url, text);
    rig_check_problem(&r, 400, "invalid_parameter", "sentence",
                      "at most 500 characters; got 10000");
    rig_send_jsonf(&r, path, "{\"image\":\"%s\",\"sentence\":\"a\\nb\"}", url);
    rig_check_problem(&r, 400, "invalid_parameter", "sentence", "control character at byte 1");
    mem_free(url);
    rig_close(&r);
}

TEST(segment_pngs_together_have_a_limit) {
    struct rig r;
    rig_open_with(&r, G, &(struct api_options){.pixels_max = 2 * W * H});
    send(&r, "sentences=[\"a\",\"b\",\"c\"]&png=true", NULL);
    rig_check_problem(&r, 400, "invalid_parameter", "png", "size=grid");
    send(&r, "sentences=[\"a\",\"b\"]&png=true", NULL);
    CHECK_EQ(r.reply->status, 200);
    rig_close(&r);
}

TEST(segment_every_failing_allocation) {
    struct rig r;
    struct buf png;
    open_rig(&r);
    rig_png(&png, W, H);
    for (int k = 0; k < 2; k++) {
        struct rig_request q = {.path = path,
                                .query = k ? "sentence=a" : "sentences=[\"a\",\"b\"]&png=true",
                                .type = "image/png",
                                .body = png.p,
                                .len = png.len};
        rig_starve(&r, &q);
    }
    buf_clear(&png);
    rig_close(&r);
}
