/* POST /v1/chat/completions without a socket: OpenAI's shape, whole and in chunks. */
#include <stdio.h>

#include "kernels/base/mem.h"
#include "tests/unit/api/rig.h"

static const char path[] = "/v1/chat/completions";

static json_t *choice_of(const json_t *root) {
    return json_array_get(json_object_get(root, "choices"), 0);
}

static const char *content_of(const json_t *root) {
    return rig_text(json_object_get(choice_of(root), "message"), "content");
}

/* One plain question and `more`, further fields with a comma in front. */
static void ask(struct rig *r, const char *more) {
    rig_send_jsonf(r, path, "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]%s}", more);
}

TEST(chat_answers_in_openai_s_shape) {
    struct rig r;
    rig_open(&r, 8);
    ask(&r,
        ",\"model\":\"lammd\",\"user\":\"me\",\"store\":false,\"metadata\":{\"a\":\"b\"},\"n\":1,"
        "\"presence_penalty\":0,\"frequency_penalty\":0.0,\"logit_bias\":{},\"seed\":null,"
        "\"response_format\":{\"type\":\"text\"}");
    CHECK_EQ(r.reply->status, 200);
    json_t *root = rig_json(&r), *usage = json_object_get(root, "usage");
    CHECK_STR(rig_text(root, "object"), "chat.completion");
    CHECK_STR(rig_text(root, "id"), "chatcmpl-req-1");
    CHECK_STR(rig_text(root, "model"), "fake \"mini\"");
    CHECK(json_integer_value(json_object_get(root, "created")) > 1700000000);
    CHECK_STR(content_of(root), "a fake answer");
    CHECK_STR(rig_text(choice_of(root), "finish_reason"), "stop");
    CHECK(json_is_null(json_object_get(choice_of(root), "logprobs")));
    CHECK_EQ(json_integer_value(json_object_get(usage, "prompt_tokens")), 7);
    CHECK_EQ(json_integer_value(json_object_get(usage, "completion_tokens")), 5);
    CHECK_EQ(json_integer_value(json_object_get(usage, "total_tokens")), 12);
    json_decref(root);
    const struct eng_ask *a = fake_asked(r.eng);
    CHECK(a->task == ENG_CHAT && a->urgency == ENG_ANSWER && a->n_turns == 1 && a->n_pictures == 0);
    CHECK(a->generate.temperature == 0 && a->generate.top_p == 1 && a->generate.max_tokens == 128);
    CHECK_STR(a->turns[0].question, "hi");
    rig_close(&r);
}

/* ---- stop strings ---- */

TEST(chat_stop_cuts_the_text_and_cancels) {
    struct rig r;
    rig_open(&r, 8);
    static const char body[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"stop\":[\"zebra\",\"dog\"],"
        "\"logprobs\":true}";
    fake_say(r.eng, "a big dog and a zebra that speaks on and on");
    rig_begin(&r, &(struct rig_request){
                      .path = path, .type = "application/json", .body = body, .len = strlen(body)});
    CHECK_EQ(r.step, API_WAIT);
    fake_answer(r.eng, 2); /* "a big " */
    CHECK_EQ(r.wakes, 1);
    rig_step(&r);
    CHECK_EQ(r.step, API_WAIT);
    fake_answer(r.eng, 2); /* "a big dog an" */
    rig_step(&r);
    CHECK_EQ(r.step, API_REPLY);
    CHECK(fake_is_cancelled(r.eng));
    json_t *root = rig_json(&r);
    CHECK_STR(content_of(root), "a big ");
    CHECK_STR(rig_text(choice_of(root), "finish_reason"), "stop");
    CHECK_EQ(
        json_integer_value(json_object_get(json_object_get(root, "usage"), "completion_tokens")),
        2);
    json_t *logprobs = json_object_get(json_object_get(choice_of(root), "logprobs"), "content");
    CHECK_EQ(json_array_size(logprobs), 2);
    json_decref(root);
    fake_answer_all(r.eng);
    ask(&r, ",\"stop\":\"never said\"");
    root = rig_json(&r);
    CHECK_STR(content_of(root), "a big dog and a zebra that speaks on and on");
    json_decref(root);
    ask(&r, ",\"stop\":\"a big\""); /* at the very beginning */
    root = rig_json(&r);
    CHECK_STR(content_of(root), "");
    json_decref(root);
    rig_close(&r);
}

/* ---- chunks ---- */

/* All texts of the stream's deltas put together; checks the frame on the way. */
static char *join(const char *all, int *n, const char **finish) {
    static char text[2000];
    static char reason[20];
    text[0] = reason[0] = 0;
    *n = 0;
    for (const char *at = all; (at = strstr(at, "data: ")) != NULL;) {
        at += 6;
        if (strncmp(at, "[DONE]", 6) == 0) break;
        json_t *chunk = json_loads(at, JSON_DISABLE_EOF_CHECK, NULL);
        CHECK(chunk);
        CHECK_STR(rig_text(chunk, "object"), "chat.completion.chunk");
        json_t *choice = choice_of(chunk);
        const char *piece = rig_text(json_object_get(choice, "delta"), "content");
        if (piece) snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s", piece);
        if (rig_text(choice, "finish_reason"))
            snprintf(reason, sizeof(reason), "%s", rig_text(choice, "finish_reason"));
        ++*n;
        json_decref(chunk);
    }
    *finish = reason;
    return text;
}

static void stream(struct rig *r, const char *more, int tokens, const char *want, const char *why) {
    static char body[1000];
    snprintf(body, sizeof(body),
             "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"stream\":true%s}", more);
    rig_begin(r, &(struct rig_request){
                     .path = path, .type = "application/json", .body = body, .len = strlen(body)});
    CHECK_EQ(r->step, API_STREAM);
    CHECK_STR(r->reply->content_type, "text/event-stream");
    char *all = rig_read_all(r, (uint32_t)tokens);
    int n;
    const char *finish;
    CHECK_STR(join(all, &n, &finish), want);
    CHECK_STR(finish, why);
    CHECK(n >= 3);
    CHECK_STR(all + strlen(all) - 14, "data: [DONE]\n\n");
    CHECK_HAS(all, "\"delta\":{\"role\":\"assistant\",\"content\":\"\"}");
    mem_free(all);
    fake_answer_all(r->eng);
}

TEST(chat_streams_chunks) {
    struct rig r;
    rig_open(&r, 8);
    for (int tokens = 1; tokens < 6; tokens++) {
        fake_say(r.eng, "gr\xc3\xbc\xc3\x9f dich \xf0\x9f\x98\x80 dog");
        stream(&r, "", tokens, "gr\xc3\xbc\xc3\x9f dich \xf0\x9f\x98\x80 dog", "stop");
        stream(&r, ",\"max_tokens\":2", tokens, "gr\xc3\xbc\xc3\x9f ", "length");
        stream(&r, ",\"stop\":\"ch \"", tokens, "gr\xc3\xbc\xc3\x9f di", "stop");
        stream(&r, ",\"stop\":\"dogma\"", tokens, "gr\xc3\xbc\xc3\x9f dich \xf0\x9f\x98\x80 dog",
               "stop");
        stream(&r, ",\"stop\":\"dog\"", tokens, "gr\xc3\xbc\xc3\x9f dich \xf0\x9f\x98\x80 ",
               "stop");
        fake_say(r.eng, "aaaaaaab");
        stream(&r, ",\"stop\":[\"aab\",\"aaab\"]", tokens, "aaaa", "stop");
    }
    rig_close(&r);
}

TEST(chat_stream_usage_and_logprobs) {
    static const char body[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"stream\":true,\"logprobs\":true,"
        "\"top_logprobs\":5,\"stream_options\":{\"include_usage\":true}}";
    struct rig r;
    rig_open(&r, 8);
    rig_begin(&r, &(struct rig_request){
                      .path = path, .type = "application/json", .body = body, .len = strlen(body)});
    char *all = rig_read_all(&r, 2);
    int tokens = 0, usages = 0;
    for (const char *at = all; (at = strstr(at, "data: {")) != NULL;) {
        at += 6;
        json_t *chunk = json_loads(at, JSON_DISABLE_EOF_CHECK, NULL);
        json_t *list = json_object_get(json_object_get(choice_of(chunk), "logprobs"), "content");
        json_t *usage = json_object_get(chunk, "usage");
        CHECK(usage != NULL);
        for (size_t i = 0; i < json_array_size(list); i++, tokens++) {
            json_t *t = json_array_get(list, i);
            CHECK_NEAR(json_number_value(json_object_get(t, "logprob")), -0.25, 1e-6);
            CHECK_EQ(json_array_size(json_object_get(t, "top_logprobs")), 3);
        }
        if (json_is_object(usage)) {
            usages++;
            CHECK_EQ(json_array_size(json_object_get(chunk, "choices")), 0);
            CHECK_EQ(json_integer_value(json_object_get(usage, "completion_tokens")), 5);
        }
        json_decref(chunk);
    }
    CHECK(tokens == 5 && usages == 1);
    mem_free(all);
    rig_close(&r);
}

TEST(chat_stream_that_fails_says_so) {
    static const char body[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"stream\":true}";
    struct rig r;
    rig_open(&r, 8);
    rig_begin(&r, &(struct rig_request){
                      .path = path, .type = "application/json", .body = body, .len = strlen(body)});
    fake_answer(r.eng, 2);
    fake_fail(r.eng, E_DEVICE);
    char *all = rig_read_all(&r, 0);
    CHECK_HAS(all, "\"content\":\"a fake\"");
    CHECK_HAS(all, "\"error\":{\"message\":");
    CHECK(!strstr(all, "[DONE]") && !strstr(all, "/a/path") && !strstr(all, "event:"));
    mem_free(all);
    rig_close(&r);
}

TEST(chat_logprobs) {
    struct rig r;
    rig_open(&r, 8);
    fake_say(r.eng, "a \"b\" c");
    ask(&r, ",\"logprobs\":true,\"top_logprobs\":2");
    json_t *root = rig_json(&r);
    json_t *list = json_object_get(json_object_get(choice_of(root), "logprobs"), "content");
    CHECK_EQ(json_array_size(list), 3);
    json_t *first = json_array_get(list, 0), *top = json_object_get(first, "top_logprobs");
    CHECK_STR(rig_text(first, "token"), "a \""); /* what it is in the text */
    CHECK_EQ(json_array_size(top), 2);
    CHECK_STR(rig_text(json_array_get(top, 0), "token"), " the");
    CHECK_EQ(json_array_size(json_object_get(json_array_get(top, 0), "bytes")), 4);
    json_t *byte = json_array_get(json_object_get(json_array_get(top, 1), "bytes"), 0);
    CHECK_EQ(json_integer_value(byte), 0xe2);
    json_decref(root);
    ask(&r, ",\"logprobs\":true");
    root = rig_json(&r);
    list = json_object_get(json_object_get(choice_of(root), "logprobs"), "content");
    CHECK_EQ(json_array_size(json_object_get(json_array_get(list, 0), "top_logprobs")), 0);
    json_decref(root);
    rig_close(&r);
}

TEST(chat_every_failing_allocation) {
    static const char *const more[] = {"\"stop\":[\"x\"]", "\"stream\":true",
                                       "\"logprobs\":true,\"top_logprobs\":5"};
    static char body[2000];
    struct rig r;
    rig_open(&r, 8);
    char *url = rig_data_url(3, 3);
    for (unsigned i = 0; i < ARRAY_LEN(more); i++) {
        snprintf(
            body, sizeof(body),
            "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":"
            "[{\"type\":\"image_url\",\"image_url\":{\"url\":\"%s\"}},{\"type\":\"text\",\"text\":"
            "\"x\"}]}],%s}",
            url, more[i]);
        struct rig_request q = {
            .path = path, .type = "application/json", .body = body, .len = strlen(body)};
        rig_starve(&r, &q);
    }
    mem_free(url);
    rig_close(&r);
}
