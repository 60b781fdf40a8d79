/* POST /v1/vqa without a socket: a spoken answer, or choices scored. */
#include "kernels/base/mem.h"
#include "tests/unit/api/rig.h"

enum { W = 96, H = 72 };

static void send(struct rig *r, const char *path, const char *query, const char *accept) {
    rig_send_png(r, path, query, accept, W, H);
}

TEST(vqa_speaks) {
    struct rig r;
    rig_open(&r, 8);
    fake_say(r.eng, "yes");
    send(&r, "/v1/vqa", "question=is it red?", NULL);
    const struct eng_ask *ask = fake_asked(r.eng);
    CHECK(ask->task == ENG_VQA && ask->generate.max_tokens == 20 && ask->n_choices == 0);
    CHECK_STR(ask->text, "is it red?");
    json_t *root = rig_json(&r);
    CHECK_STR(rig_text(root, "answer"), "yes");
    CHECK_NEAR(rig_number(root, "probability"), exp(-0.25), 1e-5);
    CHECK(json_object_get(root, "choices") == NULL);
    json_decref(root);
    rig_close(&r);
}

/* As in a chat: null says nothing, and more tokens than there can be are all that there can be. */
TEST(vqa_takes_what_a_chat_takes) {
    struct rig r;
    rig_open(&r, 8);
    char *url = rig_data_url(W, H);
    rig_send_jsonf(&r, "/v1/vqa",
                   "{\"image\":\"%s\",\"question\":\"a\",\"choices\":null,\"max_tokens\":128000,"
                   "\"temperature\":null,\"top_p\":null,\"seed\":null,\"orient\":null}",
                   url);
    CHECK_EQ(r.reply->status, 200);
    CHECK_EQ(fake_asked(r.eng)->generate.max_tokens, ENG_TOKENS_MAX);
    rig_send_jsonf(&r, "/v1/vqa",
                   "{\"image\":\"%s\",\"question\":\"a\",\"choices\":[\"b\"],\"max_tokens\":null}",
                   url);
    CHECK_EQ(r.reply->status, 200);
    CHECK_EQ(fake_asked(r.eng)->n_choices, 1);
    rig_send_jsonf(&r, "/v1/vqa", "{\"image\":\"%s\",\"question\":null}", url);
    rig_check_problem(&r, 400, "missing_parameter", "question", NULL);
    mem_free(url);
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
        CHECK_STR(rig_text(one, "text"), order[i]);
        CHECK_NEAR(rig_number(one, "logprob"), -1.0 - (double)i, 1e-6);
        CHECK_NEAR(rig_number(one, "probability"), exp(-1.0 - (double)i) / sum, 1e-5);
        total += rig_number(one, "probability");
    }
    CHECK_NEAR(total, 1, 1e-5);
    CHECK_STR(rig_text(root, "answer"), "blue");
    json_decref(root);
    send(&r, "/v1/vqa", "question=which?&choices=[\"only\"]", "text/event-stream");
    CHECK_EQ(r.step, API_STREAM);
    char *all = rig_read_all(&r, 0);
    json_t *done = rig_event(all, "done", 0);
    CHECK_STR(rig_text(done, "answer"), "only");
    CHECK_NEAR(rig_number(done, "probability"), 1, 1e-9);
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

TEST(vqa_every_failing_allocation) {
    static const char *const accepts[] = {"application/json", "text/event-stream"};
    struct rig r;
    struct buf png;
    rig_open(&r, 8);
    rig_png(&png, 8, 8);
    fake_say(r.eng, "<p>a</p> {<1><2><3><4>}");
    for (unsigned i = 0; i < ARRAY_LEN(accepts); i++) {
        rig_starve(&r, &(struct rig_request){.path = "/v1/vqa",
                                             .query = "question=a&choices=[\"x\",\"y\"]",
                                             .type = "image/png",
                                             .accept = accepts[i],
                                             .body = png.p,
                                             .len = png.len});
    }
    buf_clear(&png);
    rig_close(&r);
}
