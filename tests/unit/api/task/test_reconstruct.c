/* POST /v1/reconstruct without a socket: its three forms, its order, its bad input, its ends. */
#include <stdio.h>
#include <stdlib.h>

#include "api/wire/base64.h"
#include "kernels/base/mem.h"
#include "tests/unit/api/task/recon.h"

TEST(reconstruct_png_is_what_the_model_said) {
    struct recon s;
    recon_open(&s);
    static const char *const png_please[] = {
        NULL, "", "*/*", "image/*", "image/png", "text/html,image/avif,*/*;q=0.8"};
    for (unsigned i = 0; i < ARRAY_LEN(png_please); i++) {
        recon_send(&s, "", png_please[i]);
        CHECK_EQ(s.r.reply->status, 200);
        CHECK_STR(s.r.reply->content_type, "image/png");
        CHECK_STR(rig_header(&s.r, "Vary"), "Accept");
        recon_check_png(s.r.reply->body, s.r.reply->body_len, s.said, G, G);
    }
    CHECK_HAS(api_call_summary(s.r.call), "answers=1024");
    recon_close(&s);
}

TEST(reconstruct_waits_without_spinning) {
    struct recon s;
    recon_open(&s);
    struct rig_request q = recon_raw(&s, "", NULL);
    rig_begin(&s.r, &q);
    CHECK_EQ(s.r.step, API_WAIT);
    fake_answer(s.r.eng, 1000);
    CHECK_EQ(s.r.wakes, 0); /* nothing can be rendered yet */
    rig_step(&s.r);
    CHECK_EQ(s.r.step, API_WAIT);
    fake_answer(s.r.eng, 24);
    CHECK_EQ(s.r.wakes, 1);
    rig_step(&s.r);
    CHECK_EQ(s.r.step, API_REPLY);
    recon_check_png(s.r.reply->body, s.r.reply->body_len, s.said, G, G);
    recon_close(&s);
}

TEST(reconstruct_asks_coarse_to_fine) {
    struct recon s;
    recon_open(&s);
    recon_send(&s, "", NULL);
    const struct eng_ask *ask = fake_asked(s.r.eng);
    CHECK_EQ(ask->n_points, G * G);
    static uint8_t asked[G][G];
    int last = 16;
    for (uint32_t i = 0; i < ask->n_points; i++) {
        struct eng_point p = ask->points[i];
        int step = 16;
        while (p.x % step || p.y % step)
            step /= 2;
        CHECK(step <= last); /* never back to a coarser grid */
        last = step;
        CHECK_EQ(asked[p.y][p.x]++, 0);
    }
    CHECK_EQ(ask->points[0].x + ask->points[0].y, 0);
    CHECK_EQ(ask->points[3].x, 16);
    CHECK_EQ(ask->points[3].y, 16);
    CHECK_EQ(ask->estimate, ENG_MODE);
    CHECK_EQ(ask->distribution, 0);
    recon_close(&s);
}

TEST(reconstruct_width_height_region_pick_places) {
    struct recon s;
    recon_open(&s);
    static const struct {
        const char *query;
        int w, h, region[4];
    } cases[] = {{"width=8&height=4", 8, 4, {0, 0, 32, 32}},
                 {"width=1&height=1", 1, 1, {0, 0, 32, 32}},
                 {"width=32&height=1", 32, 1, {0, 0, 32, 32}},
                 {"region=3,5,7,11", 7, 11, {3, 5, 7, 11}},
                 {"region=0,0,32,32", 32, 32, {0, 0, 32, 32}},
                 {"region=31,31,1,1", 1, 1, {31, 31, 1, 1}},
                 {"region=4,8,20,10&width=5&height=3", 5, 3, {4, 8, 20, 10}},
                 {"region=4,8,2,2&width=32&height=5", 32, 5, {4, 8, 2, 2}}};
    for (unsigned k = 0; k < ARRAY_LEN(cases); k++) {
        recon_send(&s, cases[k].query, NULL);
        CHECK_EQ(s.r.reply->status, 200);
        int w = cases[k].w, h = cases[k].h;
        const int *g = cases[k].region;
        uint8_t want[G * G * 3];
        for (int i = 0; i < w * h; i++) {
            int x = g[0] + (int)((i % w + 0.5) * g[2] / w),
                y = g[1] + (int)((i / w + 0.5) * g[3] / h);
            memcpy(want + 3 * i, s.said + 3 * (y * G + x), 3);
        }
        recon_check_png(s.r.reply->body, s.r.reply->body_len, want, w, h);
    }
    recon_close(&s);
}

TEST(reconstruct_json_tells_everything) {
    struct recon s;
    recon_open(&s);
    recon_send(&s, "estimate=median&uncertainty=true&compare=true", "application/json");
    CHECK_EQ(s.r.reply->status, 200);
    CHECK_STR(s.r.reply->content_type, "application/json");
    CHECK_EQ(fake_asked(s.r.eng)->estimate, ENG_MEDIAN);
    CHECK_EQ(fake_asked(s.r.eng)->distribution, 1);
    json_t *root = rig_json(&s.r);
    CHECK_STR(json_string_value(json_object_get(root, "id")), "req-1");
    CHECK_STR(json_string_value(json_object_get(root, "model")), "fake \"mini\"");
    CHECK_STR(json_string_value(json_object_get(root, "estimate")), "median");
    CHECK_EQ(json_integer_value(json_object_get(root, "width")), G);
    recon_check_url(json_string_value(json_object_get(root, "image")), s.said, G, G);
    json_t *compare = json_object_get(root, "compare");
    recon_check_url(json_string_value(json_object_get(compare, "original")), s.truth, G, G);
    double sum = 0;
    for (int i = 0; i < G * G * 3; i++)
        sum += abs(s.said[i] - s.truth[i]);
    double mae = json_number_value(json_object_get(compare, "mae_levels"));
    CHECK_NEAR(mae, sum / (G * G * 3), 0.001);
    CHECK_NEAR(json_number_value(json_object_get(compare, "re_percent")), mae * 300 / 255, 0.002);
    CHECK_EQ(json_integer_value(json_object_get(json_object_get(root, "usage"), "rows_plain")),
             900);
    CHECK(json_number_value(json_object_get(json_object_get(root, "timing"), "total_ms")) >= 0);
    /* point p has 3 * (p % 9) bits: white is 24 */
    uint8_t grey[G * G * 3];
    const struct eng_ask *ask = fake_asked(s.r.eng);
    for (uint32_t p = 0; p < ask->n_points; p++)
        memset(grey + 3 * (ask->points[p].y * G + ask->points[p].x),
               (int)(p % 9 * 3 * 255 / 24.0 + 0.5), 3);
    recon_check_url(json_string_value(json_object_get(root, "uncertainty")), grey, G, G);
    json_decref(root);
    recon_close(&s);
}

TEST(reconstruct_json_leaves_out_what_was_not_asked) {
    struct recon s;
    recon_open(&s);
    recon_send(&s, "width=2&height=2", "application/json");
    json_t *root = rig_json(&s.r);
    CHECK(!json_object_get(root, "uncertainty") && !json_object_get(root, "compare"));
    json_decref(root);
    recon_close(&s);
}

TEST(reconstruct_png_carries_the_error_as_a_header) {
    struct recon s;
    recon_open(&s);
    recon_send(&s, "compare=true", "image/png");
    double mae = atof(rig_header(&s.r, "X-Lammd-Mae-Levels"));
    CHECK(mae > 1 && mae < 3);
    recon_close(&s);
}

/* ---- the three ways in ---- */

TEST(reconstruct_same_answer_by_every_way_in) {
    struct recon s;
    recon_open(&s);
    recon_send(&s, "width=5&height=3&estimate=mean", NULL);
    size_t len = s.r.reply->body_len;
    uint8_t *want = mem_must(len);
    memcpy(want, s.r.reply->body, len);

    struct api_field form[] = {{"image", "image/png", s.png.p, s.png.len},
                               {"width", NULL, (const uint8_t *)"5", 1},
                               {"height", "text/plain", (const uint8_t *)"3", 1},
                               {"estimate", NULL, (const uint8_t *)"mean", 4}};
    rig_send(&s.r, &(struct rig_request){.path = "/v1/reconstruct",
                                         .type = "multipart/form-data; boundary=x",
                                         .form = form,
                                         .n_form = 4});
    CHECK_EQ(s.r.reply->body_len, len);
    CHECK_MEM(s.r.reply->body, want, len);

    for (int is_url = 0; is_url < 2; is_url++) {
        struct buf json;
        buf_init(&json, 1 << 20);
        buf_str(&json, "{\"width\":5,\"height\":3,\"estimate\":\"mean\",\"image\":\"");
        if (is_url) buf_str(&json, "data:image/png;base64,");
        base64_encode(&json, s.png.p, s.png.len);
        buf_str(&json, "\"}");
        rig_send(&s.r, &(struct rig_request){.path = "/v1/reconstruct",
                                             .type = "Application/JSON ; charset=utf-8",
                                             .body = json.p,
                                             .len = json.len});
        CHECK_EQ(s.r.reply->body_len, len);
        CHECK_MEM(s.r.reply->body, want, len);
        buf_clear(&json);
    }
    mem_free(want);
    recon_close(&s);
}

/* ---- bad input: one line each, with the words that the client reads ---- */

TEST(reconstruct_bad_parameters_in_the_query) {
    static const char *const cases[][3] = {
        {"width=0", "width", "width must be an integer from 1 to 32; got 0"},
        {"width=-1", "width", "from 1 to 32; got -1"},
        {"width=33", "width", "from 1 to 32; got 33"},
        {"width=1e999", "width", "got 1e999"},
        {"width=", "width", "got \"\""},
        {"width=8.0", "width", "got 8.0"},
        {"width=+8", "width", "got +8"},
        {"width=08", "width", "got 08"},
        {"width= 8", "width", "got \" 8\""},
        {"width=99999999999999999999", "width", "got 99999999999999999999"},
        {"width=nan", "width", "got nan"},
        {"height=-0", "height", "got -0"},
        {"width=4&width=4", "width", "width is given twice"},
        {"region=0,0,33,1", "region", "inside the model's 32 x 32 grid"},
        {"region=-1,0,4,4", "region", "got -1,0,4,4"},
        {"region=30,0,4,4", "region", "got 30,0,4,4"},
        {"region=0,0,0,4", "region", "got 0,0,0,4"},
        {"region=0,0,4", "region", "region must be 4 integers: x,y,width,height; got 0,0,4"},
        {"region=0,0,4,4,4", "region", "must be 4 integers"},
        {"region=0,,4,4", "region", "must be 4 integers"},
        {"region=99999999,99999999,99999999,99999999", "region", "grid"},
        {"region=999999999,0,1,1", "region", "must be 4 integers"},
        {"estimate=best", "estimate", "estimate must be mode, median or mean; got best"},
        {"estimate=MODE", "estimate", "mode, median or mean; got \"MODE\""},
        {"uncertainty=1", "uncertainty", "uncertainty must be true or false; got 1"},
        {"compare=yes", "compare", "true or false; got yes"},
        {"compare", "compare", "true or false"},
    };
    struct recon s;
    recon_open(&s);
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        recon_send(&s, cases[i][0], NULL);
        rig_check_problem(&s.r, 400, "invalid_parameter", cases[i][1], cases[i][2]);
    }
    recon_send(&s, "widht=4", NULL);
    rig_check_problem(&s.r, 400, "unknown_parameter", NULL,
                      "\"widht\" is not a known field; known are: image, width, height, region");
    recon_send(&s, "image=x", NULL);
    rig_check_problem(&s.r, 400, "invalid_parameter", "image", "belongs in the body");
    CHECK_EQ(fake_jobs(s.r.eng), 0);
    recon_close(&s);
}

TEST(reconstruct_bad_json) {
    static const char *const cases[][3] = {
        {"", "missing_picture", "send it as image in a form or in JSON"},
        {"{", "invalid_json", "ends too early"},
        {"[]", "invalid_json", "must be a JSON object; got an array of 0"},
        {"{\"width\":1e999}", "invalid_json", "number is far too large"},
        {"{\"width\":NaN}", "invalid_json", "not valid JSON"},
        {"{\"width\":4,\"width\":4}", "invalid_json", "given twice"},
        {"{}", "missing_picture", "send it as image in a form or in JSON"},
        {"{\"width\":4}", "missing_picture", "has no picture"},
        {"{\"image\":\"\"}", "bad_picture", "0 bytes"},
        {"{\"image\":5}", "invalid_parameter", "a data URL, base64, or {\"id\": \"...\"}; got 5"},
        {"{\"image\":null}", "missing_picture", "has no picture"},
        {"{\"image\":[]}", "invalid_parameter", "got an array"},
        {"{\"image\":{}}", "invalid_parameter", "got an object"},
        {"{\"image\":{\"id\":\"x\"}}", "invalid_parameter", "64 hex digits"},
        {"{\"image\":{\"id\":7}}", "invalid_parameter", "64 hex digits"},
        {"{\"image\":{\"url\":\"x\"}}", "invalid_parameter", "got an object"},
        {"{\"image\":\"Zm9v*A==\"}", "invalid_parameter", "not valid base64 at character 4"},
        {"{\"image\":\"data:image/gif;base64,R0lGODlh\"}", "unsupported_picture",
         "this is a GIF; send it as PNG, JPEG or WebP"},
        {"{\"image\":\"data:image/png,xyz\"}", "invalid_parameter", "has to be in base64"},
        {"{\"image\":\"http://127.0.0.1/x.png\"}", "unsupported_url", "never fetched"},
        {"{\"image\":\"HTTPS://example.org/\"}", "unsupported_url", "never fetched"},
        {"{\"image\":\"file:///etc/passwd\"}", "unsupported_url", "never fetched"},
        {"{\"image\":\"Zm9v\",\"prompt\":\"x\"}", "unknown_parameter",
         "\"prompt\" is not a known field"},
        {"{\"image\":\"Zm9v\"}", "unsupported_picture", "neither a PNG, a JPEG nor"},
        {"{\"image\":\"Zm9v\",\"width\":\"64\"}", "invalid_parameter", "got the string \"64\""},
        {"{\"image\":\"Zm9v\",\"width\":16.0}", "invalid_parameter", "got 16.0"},
        {"{\"image\":\"Zm9v\",\"width\":0}", "invalid_parameter", "got 0"},
        {"{\"image\":\"Zm9v\",\"width\":-1}", "invalid_parameter", "got -1"},
        {"{\"image\":\"Zm9v\",\"width\":65}", "invalid_parameter", "got 65"},
        {"{\"image\":\"Zm9v\",\"width\":9007199254740993}", "invalid_parameter",
         "got 9007199254740993"},
        {"{\"image\":\"Zm9v\",\"compare\":1}", "invalid_parameter", "true or false; got 1"},
        {"{\"image\":\"Zm9v\",\"compare\":\"true\"}", "invalid_parameter",
         "got the string \"true\""},
        {"{\"image\":\"Zm9v\",\"estimate\":2}", "invalid_parameter", "mode, median or mean; got 2"},
        {"{\"image\":\"Zm9v\",\"region\":[0,0,4]}", "invalid_parameter", "4 integers"},
        {"{\"image\":\"Zm9v\",\"region\":\"0,0,4,4\"}", "invalid_parameter", "got the string"},
        {"{\"image\":\"Zm9v\",\"region\":[0,0,4,\"4\"]}", "invalid_parameter", "4 integers"},
    };
    struct recon s;
    recon_open(&s);
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        rig_send_json(&s.r, "/v1/reconstruct", cases[i][0]);
        int status = strcmp(cases[i][1], "bad_picture") == 0           ? 422
                     : strcmp(cases[i][1], "unsupported_picture") == 0 ? 415
                                                                       : 400;
        rig_check_problem(&s.r, status, cases[i][1], NULL, cases[i][2]);
    }
    recon_close(&s);
}

TEST(reconstruct_json_fault_has_a_pointer) {
    struct recon s;
    recon_open(&s);
    rig_send_json(&s.r, "/v1/reconstruct", "{\"image\":\"Zm9v\",\"width\":65}");
    json_t *root = rig_json(&s.r);
    CHECK_STR(json_string_value(json_object_get(root, "pointer")), "/width");
    json_decref(root);
    recon_close(&s);
}

TEST(reconstruct_bad_bodies) {
    static const char *const types[] = {"none",
                                        "image/png",
                                        "image/jpg",
                                        "image/pjpeg",
                                        "image/x-png",
                                        "IMAGE/PNG; name=\"a.png\"",
                                        "image/webp",
                                        "application/octet-stream",
                                        "application/octet-stream; charset=binary",
                                        NULL};
    struct recon s;
    recon_open(&s);
    struct rig_request q = recon_raw(&s, "", NULL);
    q.type = "text/plain";
    rig_send(&s.r, &q);
    rig_check_problem(&s.r, 415, "unsupported_media_type", NULL, "got \"text/plain\"");
    for (int i = 0; types[i]; i++) { /* what is declared is advice: the bytes decide */
        q.type = i ? types[i] : NULL;
        rig_send(&s.r, &q);
        CHECK_EQ(s.r.reply->status, 200);
    }
    q.type = "application/x-www-form-urlencoded";
    rig_send(&s.r, &q);
    rig_check_problem(&s.r, 415, "unsupported_media_type", NULL, "must be that of a picture");
    q.type = "image/png";
    q.len = 0;
    rig_send(&s.r, &q);
    rig_check_problem(&s.r, 422, "bad_picture", "image", "empty (0 bytes)");
    q.len = s.png.len - 20;
    rig_send(&s.r, &q);
    rig_check_problem(&s.r, 422, "bad_picture", "image", "cut short");
    q.body = "this is a text file called .png\n";
    q.len = 32;
    rig_send(&s.r, &q);
    rig_check_problem(&s.r, 415, "unsupported_picture", "image", "neither a PNG, a JPEG nor");
    q = (struct rig_request){.path = "/v1/reconstruct"};
    rig_send(&s.r, &q);
    rig_check_problem(&s.r, 400, "missing_picture", "image", NULL);
    recon_close(&s);
}

TEST(reconstruct_exactly_one_picture_in_a_form) {
    struct recon s;
    recon_open(&s);
    struct api_field form[] = {{"image", NULL, s.png.p, s.png.len},
                               {"image", NULL, s.png.p, s.png.len},
                               {"width", NULL, (const uint8_t *)"4", 1},
                               {"picture", NULL, s.png.p, s.png.len}};
    struct rig_request q = {.path = "/v1/reconstruct", .type = "multipart/form-data", .form = form};
    q.n_form = 2;
    rig_send(&s.r, &q);
    rig_check_problem(&s.r, 400, "too_many_pictures", "image", "exactly one");
    q.form = form + 2;
    q.n_form = 1;
    rig_send(&s.r, &q);
    rig_check_problem(&s.r, 400, "missing_picture", "image", NULL);
    q.n_form = 2;
    rig_send(&s.r, &q);
    rig_check_problem(&s.r, 400, "unknown_parameter", NULL, "\"picture\" is not a known field");
    q.form = form + 1;
    q.query = "width=4";
    rig_send(&s.r, &q);
    rig_check_problem(&s.r, 400, "invalid_parameter", "width", "given twice");
    recon_close(&s);
}

TEST(reconstruct_picture_too_large) {
    struct recon s;
    rig_open_with(&s.r, G, &(struct api_options){.picture_max = 5000, .pixels_max = 1000});
    static uint8_t large[5001];
    s.png = (struct buf){.p = large, .len = sizeof(large)};
    recon_send(&s, "", NULL);
    rig_check_problem(&s.r, 413, "picture_too_large", "image", "has 5001 bytes; at most 5000");
    rig_png(&s.png, 1, 1001);
    recon_send(&s, "", NULL);
    rig_check_problem(&s.r, 413, "picture_too_large", "image", "1 x 1001; at most 1000 pixels");
    recon_close(&s);
}

TEST(reconstruct_not_acceptable) {
    struct recon s;
    recon_open(&s);
    static const char *const none[] = {"text/html",           "image/jpeg", "image/png;q=0",
                                       "application/*;q=0.0", "*/*;q=0",    "nonsense"};
    for (unsigned i = 0; i < ARRAY_LEN(none); i++) {
        recon_send(&s, "", none[i]);
        rig_check_problem(&s.r, 406, "not_acceptable", NULL, "image/png, application/json");
    }
    static const char *const json[] = {"application/json",
                                       "application/*",
                                       "image/png;q=0.5, application/json",
                                       "*/*;q=0.1,application/json;q=0.2",
                                       "APPLICATION/JSON;v=1",
                                       "application/json, */*",
                                       "text/html, application/json;q=0.9, image/png;q=0.8"};
    for (unsigned i = 0; i < ARRAY_LEN(json); i++) {
        recon_send(&s, "width=1&height=1", json[i]);
        CHECK_EQ(s.r.reply->status, 200);
        CHECK_STR(s.r.reply->content_type, "application/json");
    }
    recon_close(&s);
}

/* ---- the engine says no ---- */

TEST(reconstruct_engine_refuses) {
    static const struct {
        int code, status;
        const char *word;
    } cases[] = {{E_BUSY, 503, "queue_full"},        {E_TOO_BIG, 422, "too_much_work"},
                 {E_CANCELLED, 503, "draining"},     {E_DEVICE, 503, "device_lost"},
                 {E_NOMEM, 503, "no_memory"},        {E_INVALID, 500, "internal_error"},
                 {E_INTERNAL, 500, "internal_error"}};
    struct recon s;
    recon_open(&s);
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        fake_refuse(s.r.eng, cases[i].code);
        recon_send(&s, "", NULL);
        rig_check_problem(&s.r, cases[i].status, cases[i].word, NULL, NULL);
        if (cases[i].status == 503) CHECK_STR(rig_header(&s.r, "Retry-After"), "7");
    }
    recon_close(&s);
}

TEST(reconstruct_job_fails) {
    struct recon s;
    recon_open(&s);
    struct rig_request q = recon_raw(&s, "", NULL);
    rig_begin(&s.r, &q);
    fake_answer(s.r.eng, 5);
    fake_fail(s.r.eng, E_DEVICE);
    CHECK_EQ(s.r.wakes, 1);
    rig_step(&s.r);
    rig_check_problem(&s.r, 503, "device_lost", NULL, NULL);
    rig_begin(&s.r, &q);
    fake_fail(s.r.eng, E_TIMEOUT);
    rig_step(&s.r);
    rig_check_problem(&s.r, 504, "deadline", NULL, NULL);
    recon_close(&s);
}

TEST(reconstruct_draining_takes_nothing_new_but_ends_what_runs) {
    struct recon s;
    recon_open(&s);
    struct rig_request q = recon_raw(&s, "", NULL);
    rig_begin(&s.r, &q);
    api_set_draining(s.r.api);
    fake_answer(s.r.eng, G * G);
    rig_step(&s.r);
    CHECK_EQ(s.r.reply->status, 200);
    rig_send(&s.r, &q);
    rig_check_problem(&s.r, 503, "draining", NULL, "shutting down");
    recon_close(&s);
}

TEST(reconstruct_cancel_stops_the_job) {
    struct recon s;
    recon_open(&s);
    struct rig_request q = recon_raw(&s, "", NULL);
    rig_begin(&s.r, &q);
    api_call_cancel(s.r.call);
    CHECK(fake_is_cancelled(s.r.eng));
    fake_answer(s.r.eng, 1);
    rig_step(&s.r);
    rig_check_problem(&s.r, 499, "cancelled", NULL, NULL);
    recon_close(&s);
}

TEST(reconstruct_free_before_the_end_cancels_and_leaks_nothing) {
    struct recon s;
    recon_open(&s);
    struct rig_request q = recon_raw(&s, "", NULL);
    rig_begin(&s.r, &q);
    api_call_free(s.r.call);
    s.r.call = NULL;
    CHECK(fake_is_cancelled(s.r.eng));
    CHECK_EQ(fake_jobs(s.r.eng), 1); /* the engine still has it */
    recon_close(&s);
}

/* ---- no memory: wherever it runs out, a clear answer and nothing left behind ---- */

TEST(reconstruct_every_failing_allocation) {
    struct recon s;
    recon_open(&s);
    static const char *const accepts[] = {"image/png", "application/json", "text/event-stream"};
    for (int a = 0; a < 3; a++) {
        struct rig_request q = recon_raw(&s, "uncertainty=true&compare=true", accepts[a]);
        rig_starve(&s.r, &q);
    }
    recon_close(&s);
}
