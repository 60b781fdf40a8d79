/* POST /v1/describe without a socket: four tasks, boxes in texts, streams. */
#include <stdio.h>

#include "kernels/base/mem.h"
#include "tests/unit/api/rig.h"

enum { W = 96, H = 72 };

static void send(struct rig *r, const char *path, const char *query, const char *accept) {
    rig_send_png(r, path, query, accept, W, H);
}

TEST(describe_asks_the_four_tasks) {
    static const struct {
        const char *query;
        enum eng_task task;
        unsigned max_tokens;
    } cases[] = {{"", ENG_CAPTION, 64},
                 {"task=caption&max_tokens=5", ENG_CAPTION, 5},
                 {"max_tokens=4096", ENG_CAPTION, ENG_TOKENS_MAX}, /* no more than there can be */
                 {"task=grounding", ENG_GROUNDING, 256},
                 {"task=detection&phrase=a ball", ENG_DETECTION, 256},
                 {"task=identify&box=0,9.5,96,71.9", ENG_IDENTIFY, 64}};
    struct rig r;
    rig_open(&r, 8);
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        send(&r, "/v1/describe", cases[i].query, NULL);
        CHECK_EQ(r.reply->status, 200);
        const struct eng_ask *ask = fake_asked(r.eng);
        CHECK_EQ(ask->task, cases[i].task);
        CHECK_EQ(ask->generate.max_tokens, cases[i].max_tokens);
        CHECK_EQ(ask->urgency, ENG_ANSWER);
        CHECK(ask->generate.temperature == 0 && ask->generate.top_p == 1);
        CHECK(ask->generate.may_be_shorter);
    }
    const int *box = fake_asked(r.eng)->box; /* truncated, as in training */
    CHECK(box[0] == 0 && box[1] == 13 && box[2] == 100 && box[3] == 99);
    rig_close(&r);
}

TEST(describe_tells_text_and_boxes) {
    struct rig r;
    rig_open(&r, 8);
    fake_say(r.eng, "<p>a \"dog\"</p> {<10><20><90><50>}<delim>{<0><0><1><1>}");
    send(&r, "/v1/describe", "task=grounding", NULL);
    json_t *root = rig_json(&r), *boxes = json_object_get(root, "boxes");
    CHECK_STR(rig_text(root, "text"), "<p>a \"dog\"</p> {<10><20><90><50>}<delim>{<0><0><1><1>}");
    CHECK_STR(rig_text(root, "finish"), "stop");
    CHECK_EQ(json_array_size(boxes), 2);
    CHECK_STR(rig_text(json_array_get(boxes, 1), "phrase"), "a \"dog\"");
    CHECK_NEAR(rig_number(json_object_get(json_array_get(boxes, 0), "box"), "x2"), 86.4, 1e-9);
    json_decref(root);
    send(&r, "/v1/describe", "max_tokens=2&temperature=0.7&top_p=0.9&seed=99", NULL);
    root = rig_json(&r);
    CHECK_STR(rig_text(root, "finish"), "length");
    CHECK_STR(rig_text(root, "text"), "<p>a \"");
    CHECK_NEAR(rig_number(root, "probability"), exp(-0.5), 1e-5);
    CHECK_NEAR(rig_number(json_object_get(root, "usage"), "completion_tokens"), 2, 0);
    const struct eng_generate *s = &fake_asked(r.eng)->generate;
    CHECK_NEAR(s->temperature, 0.7, 1e-6);
    CHECK_NEAR(s->top_p, 0.9, 1e-6);
    CHECK_EQ(s->seed, 99);
    json_decref(root);
    rig_close(&r);
}

TEST(describe_any_text_is_valid_json) {
    struct rig r;
    rig_open(&r, 8);
    fake_say(
        r.eng,
        "line\n\ttab\x01 \x7f \"quote\" back\\slash \xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80 \xc2\x85");
    send(&r, "/v1/describe", "", NULL);
    json_t *root = rig_json(&r);
    CHECK_STR(
        rig_text(root, "text"),
        "line\n\ttab\x01 \x7f \"quote\" back\\slash \xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80 \xc2\x85");
    json_decref(root);
    rig_close(&r);
}

TEST(describe_streams_what_was_spoken_and_nothing_twice) {
    struct rig r;
    struct buf png;
    rig_open(&r, 8);
    rig_png(&png, W, H);
    fake_say(r.eng, "\xc3\xa4 dog and \xf0\x9f\x98\x80 a cat");
    rig_begin(&r, &(struct rig_request){.path = "/v1/describe",
                                        .type = "image/png",
                                        .accept = "text/event-stream",
                                        .body = png.p,
                                        .len = png.len});
    CHECK_EQ(r.step, API_STREAM);
    char *all = rig_read_all(&r, 2);
    char text[200] = "";
    json_t *e;
    int n = 0;
    for (; (e = rig_event(all, "token", n)) != NULL; n++) {
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s", rig_text(e, "text"));
        json_decref(e);
    }
    CHECK(n >= 3 && n < 10);
    CHECK_STR(text, "\xc3\xa4 dog and \xf0\x9f\x98\x80 a cat");
    e = rig_event(all, "done", 0);
    CHECK_STR(rig_text(e, "text"), text);
    CHECK_STR(rig_text(e, "finish"), "stop");
    CHECK(json_object_get(e, "usage") && json_object_get(e, "boxes"));
    json_decref(e);
    mem_free(all);
    buf_clear(&png);
    rig_close(&r);
}

TEST(describe_stream_that_fails_says_so) {
    struct rig r;
    struct buf png;
    rig_open(&r, 8);
    rig_png(&png, W, H);
    rig_begin(&r, &(struct rig_request){.path = "/v1/describe",
                                        .type = "image/png",
                                        .accept = "text/event-stream",
                                        .body = png.p,
                                        .len = png.len});
    fake_answer(r.eng, 1);
    fake_fail(r.eng, E_DEVICE);
    char *all = rig_read_all(&r, 0);
    json_t *token = rig_event(all, "token", 0), *error = rig_event(all, "error", 0);
    CHECK(token && error && !strstr(all, "event: done") && !strstr(all, "/a/path"));
    CHECK_NEAR(rig_number(error, "status"), 503, 0);
    json_decref(token);
    json_decref(error);
    mem_free(all);
    buf_clear(&png);
    rig_close(&r);
}

TEST(describe_bad_input) {
    static const char *const cases[][3] = {
        {"task=poem", "invalid_parameter", "caption, identify, grounding or detection"},
        {"task=identify", "missing_parameter", "box is missing"},
        {"task=detection", "missing_parameter", "phrase is missing"},
        {"box=0,0,5,5", "invalid_parameter", "belongs to the task identify"},
        {"phrase=a", "invalid_parameter", "belongs to the task detection"},
        {"task=identify&box=5,0,5,5", "invalid_parameter", "x1 must be less"},
        {"task=identify&box=0,0,97,5", "invalid_parameter", "which is 96 x 72"},
        {"task=detection&phrase=", "invalid_parameter", "phrase is empty"},
        {"task=detection&phrase=[INST]", "invalid_parameter", "phrase has a tag: [INST]"},
        {"max_tokens=0", "invalid_parameter", "from 1 to 99999999"},
        {"max_tokens=100000000", "invalid_parameter", "from 1 to 99999999"},
        {"temperature=2.5", "invalid_parameter", "from 0 to 2"},
        {"temperature=-1", "invalid_parameter", "from 0 to 2"},
        {"top_p=1.5", "invalid_parameter", "from 0 to 1"},
        {"seed=-1", "invalid_parameter", "an integer from 0"},
        {"seed=1234567890123456789", "invalid_parameter", "at most 18 digits"},
        {"seed=", "invalid_parameter", "an integer from 0"},
    };
    struct rig r;
    rig_open(&r, 8);
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        send(&r, "/v1/describe", cases[i][0], NULL);
        rig_check_problem(&r, 400, cases[i][1], NULL, cases[i][2]);
    }
    send(&r, "/v1/describe", "", "image/png");
    rig_check_problem(&r, 406, "not_acceptable", NULL, "text/event-stream");
    rig_close(&r);
}

TEST(describe_every_failing_allocation) {
    static const char *const accepts[] = {"application/json", "text/event-stream"};
    struct rig r;
    struct buf png;
    rig_open(&r, 8);
    rig_png(&png, 8, 8);
    fake_say(r.eng, "<p>a</p> {<1><2><3><4>}");
    for (unsigned i = 0; i < ARRAY_LEN(accepts); i++) {
        rig_starve(&r, &(struct rig_request){.path = "/v1/describe",
                                             .query = "task=detection&phrase=a",
                                             .type = "image/png",
                                             .accept = accepts[i],
                                             .body = png.p,
                                             .len = png.len});
    }
    buf_clear(&png);
    rig_close(&r);
}
