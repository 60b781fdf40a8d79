/* POST /v1/refer, /v1/describe and /v1/vqa without a socket: boxes, texts, choices, streams. */
#include <stdio.h>

#include "kernels/base/mem.h"
#include "tests/unit/api/rig.h"

enum { W = 96, H = 72 };

static void send(struct rig *r, const char *path, const char *query, const char *accept) {
    rig_send_png(r, path, query, accept, W, H);
}

static const char *text_of(const json_t *root, const char *key) {
    return json_string_value(json_object_get(root, key));
}

static double number_of(const json_t *root, const char *key) {
    return json_number_value(json_object_get(root, key));
}

/* ---- refer ---- */

TEST(refer_box_in_pixels_and_percent) {
    struct rig r;
    rig_open(&r, 8);
    fake_values(r.eng, 90, 50, 10, 20); /* reversed */
    send(&r, "/v1/refer", "sentence=the dog&estimate=median", NULL);
    CHECK_EQ(r.reply->status, 200);
    const struct eng_ask *ask = fake_asked(r.eng);
    CHECK(ask->task == ENG_REFER && ask->estimate == ENG_MEDIAN && ask->urgency == ENG_ANSWER);
    CHECK_STR(ask->text, "the dog");
    json_t *root = rig_json(&r), *box = json_object_get(root, "box");
    CHECK_NEAR(number_of(box, "x1"), 9.6, 1e-9);
    CHECK_NEAR(number_of(box, "y1"), 14.4, 1e-9);
    CHECK_NEAR(number_of(box, "x2"), 86.4, 1e-9);
    CHECK_NEAR(number_of(box, "y2"), 36, 1e-9);
    CHECK_EQ(json_integer_value(json_array_get(json_object_get(root, "percent"), 0)), 10);
    CHECK_NEAR(number_of(root, "probability"), 0.0625, 1e-6);
    CHECK_STR(text_of(root, "sentence"), "the dog");
    CHECK_NEAR(number_of(json_object_get(root, "usage"), "prompt_tokens"), 27, 0);
    json_decref(root);
    rig_close(&r);
}

TEST(refer_bad_input) {
    struct rig r;
    rig_open(&r, 8);
    send(&r, "/v1/refer", "", NULL);
    rig_check_problem(&r, 400, "missing_parameter", "sentence", NULL);
    send(&r, "/v1/refer", "sentence=", NULL);
    rig_check_problem(&r, 400, "invalid_parameter", "sentence", "is empty");
    send(&r, "/v1/refer", "sentence=a [INST]", NULL);
    rig_check_problem(&r, 400, "invalid_parameter", "sentence", "sentence has a tag: [INST]");
    send(&r, "/v1/refer", "sentence=a&estimate=best", NULL);
    rig_check_problem(&r, 400, "invalid_parameter", "estimate", "mode, median or mean");
    send(&r, "/v1/refer", "sentence=a", "image/png");
    rig_check_problem(&r, 406, "not_acceptable", NULL, NULL);
    /* a refusal that is not about the text tells nothing of ours */
    fake_refuse(r.eng, E_INTERNAL);
    send(&r, "/v1/refer", "sentence=a", NULL);
    rig_check_problem(&r, 500, "internal_error", NULL, NULL);
    rig_close(&r);
}

/* ---- describe ---- */

TEST(describe_asks_the_four_tasks) {
    static const struct {
        const char *query;
        enum eng_task task;
        unsigned max_tokens;
    } cases[] = {{"", ENG_CAPTION, 64},
                 {"task=caption&max_tokens=5", ENG_CAPTION, 5},
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
    CHECK_STR(text_of(root, "text"), "<p>a \"dog\"</p> {<10><20><90><50>}<delim>{<0><0><1><1>}");
    CHECK_STR(text_of(root, "finish"), "stop");
    CHECK_EQ(json_array_size(boxes), 2);
    CHECK_STR(text_of(json_array_get(boxes, 1), "phrase"), "a \"dog\"");
    CHECK_NEAR(number_of(json_object_get(json_array_get(boxes, 0), "box"), "x2"), 86.4, 1e-9);
    json_decref(root);
    send(&r, "/v1/describe", "max_tokens=2&temperature=0.7&top_p=0.9&seed=99", NULL);
    root = rig_json(&r);
    CHECK_STR(text_of(root, "finish"), "length");
    CHECK_STR(text_of(root, "text"), "<p>a \"");
    CHECK_NEAR(number_of(root, "probability"), exp(-0.5), 1e-5);
    CHECK_NEAR(number_of(json_object_get(root, "usage"), "completion_tokens"), 2, 0);
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
        text_of(root, "text"),
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
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s", text_of(e, "text"));
        json_decref(e);
    }
    CHECK(n >= 3 && n < 10);
    CHECK_STR(text, "\xc3\xa4 dog and \xf0\x9f\x98\x80 a cat");
    e = rig_event(all, "done", 0);
    CHECK_STR(text_of(e, "text"), text);
    CHECK_STR(text_of(e, "finish"), "stop");
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
    CHECK_NEAR(number_of(error, "status"), 503, 0);
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
        {"max_tokens=0", "invalid_parameter", "from 1 to 1024"},
        {"max_tokens=1025", "invalid_parameter", "from 1 to 1024"},
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

/* ---- vqa ---- */

TEST(vqa_speaks) {
    struct rig r;
    rig_open(&r, 8);
    fake_say(r.eng, "yes");
    send(&r, "/v1/vqa", "question=is it red?", NULL);
    const struct eng_ask *ask = fake_asked(r.eng);
    CHECK(ask->task == ENG_VQA && ask->generate.max_tokens == 20 && ask->n_choices == 0);
    CHECK_STR(ask->text, "is it red?");
    json_t *root = rig_json(&r);
    CHECK_STR(text_of(root, "answer"), "yes");
    CHECK_NEAR(number_of(root, "probability"), exp(-0.25), 1e-5);
    CHECK(json_object_get(root, "choices") == NULL);
    json_decref(root);
    rig_close(&r);
}

TEST(vqa_choices_best_first) {
    struct rig r;
    rig_open(&r, 8);
    send(&r, "/v1/vqa", "question=which?&choices=[\"red\",\"green\",\"blue\"]", NULL);
    CHECK_EQ(fake_asked(r.eng)->n_choices, 3);
    CHECK_STR(fake_asked(r.eng)->choices[1], "green");
    json_t *root = rig_json(&r), *list = json_object_get(root, "choices");
    /* the fake's log likelihoods: red -2, green -3, blue -1 */
    static const char *const order[] = {"blue", "red", "green"};
    double sum = exp(-1) + exp(-2) + exp(-3), total = 0;
    for (size_t i = 0; i < 3; i++) {
        json_t *one = json_array_get(list, i);
        CHECK_STR(text_of(one, "text"), order[i]);
        CHECK_NEAR(number_of(one, "logprob"), -1.0 - (double)i, 1e-6);
        CHECK_NEAR(number_of(one, "probability"), exp(-1.0 - (double)i) / sum, 1e-5);
        total += number_of(one, "probability");
    }
    CHECK_NEAR(total, 1, 1e-5);
    CHECK_STR(text_of(root, "answer"), "blue");
    json_decref(root);
    send(&r, "/v1/vqa", "question=which?&choices=[\"only\"]", "text/event-stream");
    CHECK_EQ(r.step, API_STREAM);
    char *all = rig_read_all(&r, 0);
    json_t *done = rig_event(all, "done", 0);
    CHECK_STR(text_of(done, "answer"), "only");
    CHECK_NEAR(number_of(done, "probability"), 1, 1e-9);
    CHECK(!strstr(all, "event: token"));
    json_decref(done);
    mem_free(all);
    rig_close(&r);
}

TEST(vqa_bad_input) {
    static const char *const cases[][3] = {
        {"", "missing_parameter", "question is missing"},
        {"question=", "invalid_parameter", "question is empty"},
        {"question=a\x01", "invalid_parameter", "control character"},
        {"question=a [INST]", "invalid_parameter", "question has a tag: [INST]"},
        {"question=a&choices=[\"x\",\"[INST]\"]", "invalid_parameter",
         "choices[1] has a tag: [INST]"},
        {"question=a&choices=[]", "invalid_parameter", "1 to 64 strings; got an array of 0"},
        {"question=a&choices=\"x\"", "invalid_parameter", "1 to 64 strings; got the string \"x\""},
        {"question=a&choices=yes,no", "invalid_parameter",
         "choices must be an array of 1 to 64 strings; got the string \"yes,no\""},
        {"question=a&choices={}", "invalid_parameter", "1 to 64 strings; got an object"},
        {"question=a&choices=[\"x\",\"\"]", "invalid_parameter", "choices[1] is empty"},
        {"question=a&choices=[\"x\",\"x\"]", "invalid_parameter",
         "choices[1] is the same as choices[0]"},
        {"question=a&choices=[\"x\"]&max_tokens=3", "invalid_parameter", "does not go together"},
        {"question=a&choices=[\"x\"]&seed=3", "invalid_parameter", "does not go together"},
    };
    struct rig r;
    rig_open(&r, 8);
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        send(&r, "/v1/vqa", cases[i][0], NULL);
        rig_check_problem(&r, 400, cases[i][1], NULL, cases[i][2]);
    }
    rig_close(&r);
}

/* ---- no memory ---- */

TEST(words_every_failing_allocation) {
    static const char *const asks[][2] = {{"/v1/refer", "sentence=a"},
                                          {"/v1/describe", "task=detection&phrase=a"},
                                          {"/v1/vqa", "question=a&choices=[\"x\",\"y\"]"}};
    struct rig r;
    struct buf png;
    rig_open(&r, 8);
    rig_png(&png, 8, 8);
    fake_say(r.eng, "<p>a</p> {<1><2><3><4>}");
    for (unsigned i = 0; i < 2 * ARRAY_LEN(asks) - 1; i++) {
        struct rig_request q = {.path = asks[(i + 1) / 2][0],
                                .query = asks[(i + 1) / 2][1],
                                .type = "image/png",
                                .accept = i % 2 ? "text/event-stream" : "application/json",
                                .body = png.p,
                                .len = png.len};
        if (i % 2 == 1 && i / 2 == 2) q.accept = NULL;
        rig_starve(&r, &q);
    }
    buf_clear(&png);
    rig_close(&r);
}
