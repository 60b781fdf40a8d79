/* A call's way to the engine: pictures by bytes and by id, several jobs together, refusals. */
#include "api/ask.h"

#include <stdio.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "tests/unit/api/rig.h"

enum { G = 4 };

struct asking {
    struct rig r;
    struct api_call *call;
    struct buf png;
    struct input in;
    int wakes;
};

static const char *const known[] = {NULL};
static const struct input_wants wants = {.picture = "frame", .pictures = "frames", .known = known};

/* The checksum of a PNG's chunk behind its name and bytes. */
static void put_crc(uint8_t *p, size_t n) {
    uint32_t c = 0xffffffff;
    for (size_t i = 0; i < n; i++) {
        c ^= p[i];
        for (int k = 0; k < 8; k++)
            c = c >> 1 ^ (c & 1 ? 0xedb88320 : 0);
    }
    for (int k = 0; k < 4; k++)
        p[n + (size_t)k] = (uint8_t)(~c >> (24 - 8 * k));
}

static void on_wake(void *ud) { ++*(int *)ud; }

static void open_asking_with(struct asking *a, const struct api_options *opt) {
    static const struct api_route route = {.method = "POST", .path = "/x", .allow = "POST"};
    static const struct api_input in = {.request_id = "req-1"};
    memset(a, 0, sizeof(*a));
    rig_open_with(&a->r, G, opt);
    rig_png(&a->png, G, G);
    a->in.wants = &wants;
    CHECK_EQ(api_call_new(a->r.api, &route, &in, on_wake, &a->wakes, &a->r.call, NULL), 0);
    a->call = a->r.call;
}

static void open_asking(struct asking *a) { open_asking_with(a, &(struct api_options){0}); }

static void close_asking(struct asking *a) {
    buf_clear(&a->png);
    rig_close(&a->r);
}

static void add(struct asking *a, const uint8_t *bytes, size_t len, const char *id) {
    struct input_picture *p = &a->in.pictures[a->in.n_pictures];
    *p = (struct input_picture){.bytes = bytes, .len = len, .id = id};
    snprintf(p->name, sizeof(p->name), "frames[%d]", a->in.n_pictures++);
}

static struct eng_job *ask(struct asking *a, const char *text, const char *param) {
    struct eng_ask ask = {.task = ENG_REFER, .text = text, .urgency = ENG_ANSWER};
    return call_ask(a->call, &ask, param);
}

TEST(ask_pictures_in_order_by_bytes_and_by_id) {
    struct asking a;
    struct buf other;
    open_asking(&a);
    rig_png(&other, 2, 3);
    struct eng_picture *stored;
    uint8_t rgb[3] = {1, 2, 3};
    CHECK_EQ(eng_picture_new(a.r.eng, rgb, 1, 1, &stored, NULL), 0);
    images_put(a.r.api->images, 0, 0, eng_picture_digest(stored), stored);
    eng_picture_put(stored);
    add(&a, a.png.p, a.png.len, NULL);
    add(&a, NULL, 0, eng_picture_digest(stored));
    add(&a, other.p, other.len, NULL);
    CHECK_EQ(call_pictures(a.call, &a.in), 0);
    CHECK_EQ(a.call->n_pictures, 3);
    static const int sizes[][2] = {{G, G}, {1, 1}, {2, 3}};
    for (int i = 0; i < 3; i++) {
        int w, h;
        eng_picture_size(a.call->pictures[i], &w, &h);
        CHECK(w == sizes[i][0] && h == sizes[i][1]);
    }
    CHECK(a.call->decode_ns > 0);
    buf_clear(&other);
    close_asking(&a);
}

TEST(ask_picture_at_fault_is_named) {
    struct asking a;
    open_asking(&a);
    add(&a, a.png.p, a.png.len, NULL);
    add(&a, a.png.p, 20, NULL);
    CHECK_EQ(call_pictures(a.call, &a.in), -1);
    CHECK_EQ(a.call->problem.code, PROBLEM_BAD_PICTURE);
    CHECK_STR(a.call->problem.param, "frames[1]");
    CHECK_HAS(a.call->problem.detail, "picture 2: ");
    CHECK_EQ(a.call->n_pictures, 0); /* their heads are looked at first */
    a.call->problem = (struct problem){0};
    a.in.n_pictures = 0;
    add(&a, NULL, 0, "nobody");
    CHECK_EQ(call_pictures(a.call, &a.in), -1);
    CHECK_EQ(a.call->problem.code, PROBLEM_IMAGE_NOT_FOUND);
    close_asking(&a);
}

/* Eight pictures of 64 tokens take all 512 positions of the fake engine. */
TEST(ask_too_many_pictures_are_not_decoded) {
    struct asking a;
    open_asking(&a);
    ((struct eng_info *)(uintptr_t)eng_info(a.r.eng))->image_tokens = 64;
    for (int i = 0; i < 8; i++)
        add(&a, a.png.p, a.png.len, NULL);
    CHECK_EQ(call_pictures(a.call, &a.in), -1);
    CHECK_EQ(a.call->problem.code, PROBLEM_TOO_MUCH_WORK);
    CHECK_HAS(a.call->problem.detail, "8 pictures never fit into one prompt: too many pictures");
    CHECK(a.call->decode_ns == 0 && a.call->n_pictures == 0);
    close_asking(&a);
}

TEST(ask_endpoint_may_take_smaller_pictures_only) {
    struct asking a;
    struct input_wants small = wants;
    open_asking(&a);
    small.pixels_max = G * G - 1;
    a.in.wants = &small;
    add(&a, a.png.p, a.png.len, NULL);
    CHECK_EQ(call_pictures(a.call, &a.in), -1);
    CHECK_EQ(a.call->problem.code, PROBLEM_PICTURE_TOO_LARGE);
    CHECK_HAS(a.call->problem.detail, "at most 15 pixels");
    close_asking(&a);
}

/* A PNG of 2 x 3 that is to be shown turned to the right: its first row becomes the last column. */
TEST(ask_pictures_are_turned_unless_they_are_to_stay) {
    static const uint8_t exif[] = "\0\0\0\x1a"
                                  "eXIfMM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0"
                                  "\0\0\0\0";
    struct asking a;
    struct buf png;
    int w, h;
    open_asking(&a);
    rig_png(&png, 2, 3);
    struct buf turned;
    buf_init(&turned, 10000);
    buf_add(&turned, png.p, 33);
    buf_add(&turned, exif, sizeof(exif) - 1);
    buf_add(&turned, "crc!", 4);
    buf_add(&turned, png.p + 33, png.len - 33);
    put_crc(turned.p + 33 + 4, 26 + 4);
    add(&a, turned.p, turned.len, NULL);
    CHECK_EQ(call_pictures(a.call, &a.in), 0);
    eng_picture_size(a.call->pictures[0], &w, &h);
    CHECK(w == 3 && h == 2);
    a.in.is_stored = 1;
    CHECK_EQ(call_pictures(a.call, &a.in), 0);
    eng_picture_size(a.call->pictures[1], &w, &h);
    CHECK(w == 2 && h == 3);
    buf_clear(&png);
    buf_clear(&turned);
    close_asking(&a);
}

/* The same bytes are the same picture, as long as nothing else would become of them. */
TEST(ask_uploads_are_decoded_once) {
    struct asking a;
    open_asking_with(&a, &(struct api_options){.decoded_max = 1 << 20});
    add(&a, a.png.p, a.png.len, NULL);
    add(&a, a.png.p, a.png.len, NULL);
    CHECK_EQ(call_pictures(a.call, &a.in), 0);
    CHECK(a.call->pictures[0] == a.call->pictures[1]);
    a.in.n_pictures = 1;
    a.in.is_stored = 1;
    CHECK_EQ(call_pictures(a.call, &a.in), 0);
    a.in.truth = 2;
    CHECK_EQ(call_pictures(a.call, &a.in), 0);
    CHECK_EQ(fake_pictures(a.r.eng), 3);
    a.in.is_stored = a.in.truth = 0;
    CHECK_EQ(call_pictures(a.call, &a.in), 0);
    CHECK(a.call->pictures[4] == a.call->pictures[0]);
    a.call->owner++; /* what others sent is nobody's business */
    CHECK_EQ(call_pictures(a.call, &a.in), 0);
    CHECK(a.call->pictures[5] != a.call->pictures[0]);
    close_asking(&a);
}

/* An endpoint that takes less refuses what another one has decoded; and bytes that are refused are
 * refused each time, by the same words, and kept nowhere. */
TEST(ask_known_uploads_are_refused_as_ever) {
    struct asking a;
    struct decoded_stats s;
    struct input_wants small = wants;
    char first[sizeof(a.call->problem.detail)] = "";
    open_asking_with(&a, &(struct api_options){.decoded_max = 1 << 20});
    add(&a, a.png.p, a.png.len, NULL);
    CHECK_EQ(call_pictures(a.call, &a.in), 0);
    small.pixels_max = G * G - 1;
    a.in.wants = &small;
    CHECK_EQ(call_pictures(a.call, &a.in), -1);
    CHECK_EQ(a.call->problem.code, PROBLEM_PICTURE_TOO_LARGE);
    a.in.wants = &wants;
    a.in.pictures[0].len -= 20; /* its head is whole, its rows are not */
    for (int i = 0; i < 2; i++) {
        a.call->problem = (struct problem){0};
        CHECK_EQ(call_pictures(a.call, &a.in), -1);
        CHECK_EQ(a.call->problem.code, PROBLEM_BAD_PICTURE);
        if (i) CHECK_STR(a.call->problem.detail, first);
        snprintf(first, sizeof(first), "%s", a.call->problem.detail);
    }
    decoded_stats(a.r.api->decoded, &s);
    CHECK(s.pictures == 1 && s.hits == 0 && s.misses == 3);
    close_asking(&a);
}

TEST(ask_jobs_count_together) {
    struct asking a;
    struct eng_job_stats s;
    open_asking(&a);
    CHECK(ask(&a, "one", NULL) && ask(&a, "two", NULL));
    CHECK(call_job(a.call, 0) != call_job(a.call, 1));
    CHECK_EQ(call_outcome(a.call), 0);
    fake_answer(a.r.eng, 1); /* the last one asked */
    CHECK_EQ(a.wakes, 1);
    CHECK_EQ(call_job_outcome(a.call, call_job(a.call, 0)), 0);
    CHECK_EQ(call_job_outcome(a.call, call_job(a.call, 1)), 1);
    CHECK_EQ(call_outcome(a.call), 0);
    CHECK_STR(api_call_summary(a.call), "");
    fake_answer_all(a.r.eng);
    CHECK_EQ(call_outcome(a.call), 1);
    CHECK_HAS(api_call_summary(a.call), "answers=2");
    call_stats(a.call, &s);
    CHECK(s.rows == 200 && s.rows_plain == 1800 && s.stem_tokens == 40); /* 100 and so on each */
    CHECK(s.queued_ns <= s.first_ns && s.first_ns <= s.end_ns);
    close_asking(&a);
}

TEST(ask_wakes_after_each_pass_only_when_wanted) {
    struct asking a;
    open_asking(&a);
    struct eng_point points[4] = {{0, 0}, {1, 0}, {2, 0}, {3, 0}};
    add(&a, a.png.p, a.png.len, NULL);
    CHECK_EQ(call_pictures(a.call, &a.in), 0);
    struct eng_ask ask = {.task = ENG_PIXELS, .points = points, .n_points = 4};
    CHECK(call_ask(a.call, &ask, NULL));
    fake_answer(a.r.eng, 1);
    CHECK_EQ(a.wakes, 0);
    a.call->wakes_each_pass = 1;
    fake_answer(a.r.eng, 1);
    CHECK_EQ(a.wakes, 1);
    close_asking(&a);
}

/* The engine's words about a text reach the client, under the field's name; nothing else of it
 * does. */
TEST(ask_refusals) {
    static const struct {
        int refuse;
        const char *param;
        enum problem_code code;
    } cases[] = {{E_INVALID, "sentence", PROBLEM_INVALID_PARAMETER},
                 {E_TOO_BIG, "sentence", PROBLEM_TOO_MUCH_WORK},
                 {E_INVALID, NULL, PROBLEM_INTERNAL_ERROR},
                 {E_TOO_BIG, NULL, PROBLEM_TOO_MUCH_WORK},
                 {E_UNSUPPORTED, "sentence", PROBLEM_UNSUPPORTED_TASK},
                 {E_BUSY, "sentence", PROBLEM_QUEUE_FULL},
                 {E_DEVICE, "sentence", PROBLEM_DEVICE_LOST}};
    struct asking a;
    open_asking(&a);
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        int is_told = cases[i].param && cases[i].refuse >= E_TOO_BIG; /* E_INVALID, E_TOO_BIG */
        a.call->problem = (struct problem){0};
        fake_refuse(a.r.eng, cases[i].refuse);
        CHECK(ask(&a, "x", cases[i].param) == NULL);
        CHECK_EQ(a.call->problem.code, cases[i].code);
        CHECK_EQ(strstr(a.call->problem.detail, "sentence can't be asked: ") != NULL, is_told);
        CHECK_STR(a.call->problem.param, is_told ? "sentence" : "");
    }
    close_asking(&a);
}

TEST(ask_draining_stops_the_first_job_alone) {
    struct asking a;
    open_asking(&a);
    CHECK(ask(&a, "one", NULL));
    api_set_draining(a.r.api);
    CHECK(ask(&a, "two", NULL)); /* what has begun may go on */
    close_asking(&a);
    open_asking(&a);
    api_set_draining(a.r.api);
    CHECK(ask(&a, "one", NULL) == NULL);
    CHECK_EQ(a.call->problem.code, PROBLEM_DRAINING);
    close_asking(&a);
}

/* Whoever cancels between two jobs reaches the one that comes after him, too. */
TEST(ask_of_a_cancelled_call_is_cancelled) {
    struct asking a;
    open_asking(&a);
    CHECK(ask(&a, "one", NULL));
    api_call_expire(a.call);
    CHECK(ask(&a, "two", NULL));
    CHECK(fake_is_cancelled(a.r.eng));
    fake_answer_all(a.r.eng);
    CHECK_EQ(call_outcome(a.call), -1);
    CHECK_EQ(a.call->problem.code, PROBLEM_DEADLINE);
    close_asking(&a);
}
