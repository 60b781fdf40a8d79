/* POST /v1/pixels: points in, colours with probabilities out, in the order asked. */
#include "api/wire/base64.h"
#include "tests/unit/api/rig.h"

enum { G = 16 };

static void body_with(struct buf *b, const char *fields) {
    struct buf png;
    rig_png(&png, G, G);
    buf_init(b, 1 << 20);
    buf_str(b, "{\"image\":\"");
    base64_encode(b, png.p, png.len);
    buf_printf(b, "\"%s}", fields);
    buf_clear(&png);
}

static void send(struct rig *r, const char *fields) {
    struct buf b;
    body_with(&b, fields);
    rig_send_json(r, "/v1/pixels", (char *)b.p);
    buf_clear(&b);
}

TEST(pixels_answers_in_the_order_asked) {
    struct rig r;
    rig_open(&r, G);
    send(&r, ",\"points\":[[3,4],[0,0],[15,15],[3,4],[15,0]]");
    CHECK_EQ(r.reply->status, 200);
    CHECK_STR(r.reply->content_type, "application/json");
    CHECK_EQ(fake_asked(r.eng)->estimate, ENG_MODE);
    CHECK_EQ(fake_asked(r.eng)->distribution, 1);
    static const int points[][2] = {{3, 4}, {0, 0}, {15, 15}, {3, 4}, {15, 0}};
    uint8_t truth[G * G * 3];
    rig_rgb(truth, G, G);
    json_t *root = rig_json(&r);
    CHECK_EQ(json_array_size(root), 5);
    for (size_t i = 0; i < 5; i++) {
        json_t *one = json_array_get(root, i), *rgb = json_object_get(one, "rgb");
        CHECK_EQ(json_integer_value(json_object_get(one, "x")), points[i][0]);
        CHECK_EQ(json_integer_value(json_object_get(one, "y")), points[i][1]);
        uint8_t want[3];
        fake_rgb(truth + 3 * (points[i][1] * G + points[i][0]), want);
        for (size_t c = 0; c < 3; c++) {
            CHECK_EQ(json_integer_value(json_array_get(rgb, c)), want[c]);
            CHECK_NEAR(json_number_value(json_array_get(json_object_get(one, "prob"), c)), 0.25,
                       1e-6);
            CHECK_NEAR(json_number_value(json_array_get(json_object_get(one, "entropy"), c)), i % 9,
                       1e-6);
        }
    }
    json_decref(root);
    rig_close(&r);
}

TEST(pixels_most_points) {
    struct rig r;
    rig_open(&r, G);
    for (int n = 4096; n <= 4097; n++) {
        struct buf f;
        buf_init(&f, 1 << 20);
        buf_str(&f, ",\"points\":[");
        for (int i = 0; i < n; i++)
            buf_printf(&f, "%s[%d,%d]", i ? "," : "", i % G, i / G % G);
        buf_char(&f, ']');
        send(&r, (char *)f.p);
        buf_clear(&f);
        if (n == 4096)
            CHECK_EQ(r.reply->status, 200);
        else
            rig_check_problem(&r, 400, "invalid_parameter", "points", "1 to 4096 points");
    }
    rig_close(&r);
}

TEST(pixels_by_multipart) {
    struct rig r;
    rig_open(&r, G);
    struct buf png;
    rig_png(&png, G, G);
    struct api_field form[] = {{"image", "image/png", png.p, png.len},
                               {"points", NULL, (const uint8_t *)"[[1,2]]", 7}};
    struct rig_request q = {
        .path = "/v1/pixels", .type = "multipart/form-data", .form = form, .n_form = 2};
    rig_send(&r, &q);
    CHECK_EQ(r.reply->status, 200);
    form[1] = (struct api_field){"points", NULL, (const uint8_t *)"[[1,2]", 6};
    rig_send(&r, &q);
    rig_check_problem(&r, 400, "invalid_parameter", "points",
                      "points [[x,y],...]; got the string \"[[1,2]\"");
    q.accept = "image/png";
    rig_send(&r, &q);
    rig_check_problem(&r, 406, "not_acceptable", NULL, "application/json");
    buf_clear(&png);
    rig_close(&r);
}

TEST(pixels_bad_points) {
    static const char *const cases[][2] = {
        {",\"points\":[]", "an array of 1 to 4096 points [[x,y],...]; got an array of 0"},
        {",\"points\":7", "got 7"},
        {",\"points\":\"[[1,2]]\"", "got the string"},
        {",\"points\":{}", "got an object"},
        {",\"points\":[[1,2],[16,0]]",
         "points[1] must be [x,y] with integers from 0 to 15; got [16,0]"},
        {",\"points\":[[0,-1]]", "points[0] must be [x,y] with integers from 0 to 15; got [0,-1]"},
        {",\"points\":[[1]]", "got an array of 1"},
        {",\"points\":[[1,2,3]]", "got an array of 3"},
        {",\"points\":[[\"1\",2]]", "got an array of 2"},
        {",\"points\":[[1.0,2]]", "got an array of 2"},
        {",\"points\":[1,2]", "points[0] must be [x,y]"},
        {",\"points\":[[4294967296,0]]", "points[0]"},
    };
    struct rig r;
    rig_open(&r, G);
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        send(&r, cases[i][0]);
        rig_check_problem(&r, 400, "invalid_parameter", "points", cases[i][1]);
    }
    send(&r, "");
    rig_check_problem(&r, 400, "missing_parameter", "points", "points is missing");
    send(&r, ",\"points\":[[1,2]],\"width\":3");
    rig_check_problem(&r, 400, "unknown_parameter", NULL, "known are: image, points");
    send(&r, ",\"points\":[[1,2],[99,0]]");
    json_t *root = rig_json(&r);
    CHECK_STR(json_string_value(json_object_get(root, "pointer")), "/points/1");
    json_decref(root);
    rig_close(&r);
}
