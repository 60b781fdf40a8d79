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

/* `messages` as they are. */
static void say(struct rig *r, const char *messages) {
    rig_send_jsonf(r, path, "{\"messages\":%s}", messages);
}

#define USER(text)   "{\"role\":\"user\",\"content\":\"" text "\"}"
#define MODEL(text)  "{\"role\":\"assistant\",\"content\":\"" text "\"}"
#define SYSTEM(text) "{\"role\":\"system\",\"content\":\"" text "\"}"

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

TEST(chat_reads_speech) {
    struct rig r;
    rig_open(&r, 8);
    ask(&r, ",\"model\":\"fake "
            "\\\"mini\\\"\",\"max_completion_tokens\":2,\"temperature\":0.5,\"top_p\":0,"
            "\"seed\":-1");
    json_t *root = rig_json(&r);
    CHECK_STR(rig_text(choice_of(root), "finish_reason"), "length");
    CHECK_STR(content_of(root), "a fake");
    json_decref(root);
    const struct eng_generate *s = &fake_asked(r.eng)->generate;
    CHECK(s->max_tokens == 2 && s->seed == UINT64_MAX && s->temperature == 0.5f);
    CHECK(s->top_p > 0 && s->top_p < 0.001f);
    rig_close(&r);
}

TEST(chat_turns_and_pictures) {
    struct rig r;
    rig_open(&r, 8);
    char *url = rig_data_url(9, 7);
    rig_send_jsonf(
        &r, path,
        "{\"messages\":["
        "{\"role\":\"system\",\"content\":\"be brief\"},{\"role\":\"developer\",\"content\":\"be "
        "kind\"},"
        "{\"role\":\"user\",\"name\":\"x\",\"content\":["
        "{\"type\":\"image_url\",\"image_url\":{\"url\":\"%s\",\"detail\":\"low\"}},"
        "{\"type\":\"text\",\"text\":\"one\\ntwo\"},{\"type\":\"text\",\"text\":\"three\"}]},"
        "{\"role\":\"assistant\",\"content\":\"yes\",\"refusal\":null,\"annotations\":[],"
        "\"tool_calls\":null},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"and\"},"
        "{\"type\":\"image_url\",\"image_url\":{\"url\":\"%s\"}},"
        "{\"type\":\"image_url\",\"image_url\":{\"url\":\"%s\"}}]}]}",
        url, url, url);
    CHECK_EQ(r.reply->status, 200);
    const struct eng_ask *a = fake_asked(r.eng);
    CHECK(a->n_turns == 2 && a->n_pictures == 3);
    CHECK(a->turns[0].n_pictures == 1 && a->turns[1].n_pictures == 2);
    CHECK_STR(a->turns[0].question, "be brief be kind one two three");
    CHECK_STR(a->turns[0].answer, "yes");
    CHECK_STR(a->turns[1].question, "and");
    CHECK(a->turns[1].answer == NULL);
    /* what the model said may come back, whatever it was */
    say(&r, "[" USER("a") "," MODEL("b\\u0001\\u0085\\u00e4\\u007f") "," USER("c") "]");
    CHECK_STR(fake_asked(r.eng)->turns[0].answer, "b   \xc3\xa4 ");
    mem_free(url);
    rig_close(&r);
}

/* Each field as clients send it when they mean nothing by it. */
TEST(chat_neutral_values_are_neutral) {
    static const char *const cases[] = {
        "\"tools\":[]", "\"tool_choice\":\"none\"", "\"tool_choice\":\"auto\"",
        "\"tools\":[],\"tool_choice\":\"auto\"", "\"parallel_tool_calls\":false",
        "\"parallel_tool_calls\":true", "\"functions\":[]", "\"function_call\":\"none\"",
        "\"function_call\":\"auto\"", "\"reasoning_effort\":\"none\"",
        "\"verbosity\":\"medium\"", "\"modalities\":[\"text\"]", "\"stop\":[]",
        "\"response_format\":{\"type\":\"text\"}", "\"store\":true", "\"metadata\":{}",
        "\"user\":\"me\"", "\"service_tier\":\"auto\"", "\"n\":1", "\"logit_bias\":{}",
        "\"presence_penalty\":0", "\"frequency_penalty\":0.0", "\"logprobs\":false",
        "\"top_logprobs\":0", "\"stream\":false", "\"stream_options\":{}",
        "\"stream_options\":{\"include_usage\":true}",
        "\"stream_options\":{\"include_usage\":null,\"include_obfuscation\":false}",
        "\"prompt_cache_retention\":\"24h\"", "\"safety_identifier\":\"x\""};
    static const char *const nulls[] = {
        "tools", "tool_choice", "parallel_tool_calls", "functions", "function_call",
        "reasoning_effort", "verbosity", "modalities", "audio", "prediction", "web_search_options",
        "stop", "response_format", "store", "metadata", "user", "service_tier", "n", "logit_bias",
        "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs", "stream",
        "stream_options", "max_tokens", "max_completion_tokens", "temperature", "top_p", "seed",
        "model", "whatever"};
    char more[120];
    struct rig r;
    rig_open(&r, 8);
    for (unsigned i = 0; i < ARRAY_LEN(cases) + ARRAY_LEN(nulls); i++) {
        if (i < ARRAY_LEN(cases))
            snprintf(more, sizeof(more), ",%s", cases[i]);
        else
            snprintf(more, sizeof(more), ",\"%s\":null", nulls[i - ARRAY_LEN(cases)]);
        ask(&r, more);
        if (r.reply->status != 200) printf("%s\n", more);
        CHECK_EQ(r.reply->status, 200);
    }
    rig_send_json(&r, path, "{\"messages\":null}");
    rig_check_problem(&r, 400, "missing_parameter", "messages", NULL);
    rig_close(&r);
}

TEST(chat_long_answers_are_clamped) {
    struct rig r;
    rig_open(&r, 8);
    static const char *const cases[] = {",\"max_tokens\":4096", ",\"max_completion_tokens\":2000000"};
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        ask(&r, cases[i]);
        CHECK_EQ(r.reply->status, 200);
        CHECK_EQ(fake_asked(r.eng)->generate.max_tokens, ENG_TOKENS_MAX);
        CHECK(fake_asked(r.eng)->generate.may_be_shorter);
    }
    rig_close(&r);
}

/* The turns of `messages`, as `question>answer|question`. */
static void check_turns(struct rig *r, const char *messages, const char *want) {
    char got[400] = "";
    say(r, messages);
    if (r->reply->status != 200) printf("%s\n", messages);
    CHECK_EQ(r->reply->status, 200);
    const struct eng_ask *a = fake_asked(r->eng);
    for (uint32_t i = 0; i < a->n_turns; i++) {
        size_t n = strlen(got);
        const struct eng_turn *t = &a->turns[i];
        snprintf(got + n, sizeof(got) - n, "%s%s%s%s", i ? "|" : "", t->question,
                 t->answer ? ">" : "", t->answer ? t->answer : "");
    }
    CHECK_STR(got, want);
}

TEST(chat_as_people_write_it) {
    static const char *const cases[][2] = {
        {USER("a") "," USER("b"), "a b"},
        {USER("a") "," USER("b") "," MODEL("c") "," MODEL("d") "," USER("e"), "a b>c d|e"},
        {MODEL("Hello!") "," USER("a"), "Hello! a"},
        {SYSTEM("s") "," MODEL("Hello!") "," USER("a") "," MODEL("") "," USER("b"), "s Hello! a>|b"},
        {USER("a") "," MODEL("b") "," SYSTEM("s") "," USER("c"), "a>b|s c"},
        {USER("a") "," SYSTEM("s"), "a s"},
        {USER("a") "," MODEL("b") "," SYSTEM("s") "," MODEL("c") "," USER("d"), "a>b c|s d"},
        {SYSTEM("") "," USER("a") "," SYSTEM(" "), "a"},
        {"{\"role\":\"developer\",\"content\":[\"s\",\"t\"]}," USER("a"), "s t a"},
        {"{\"role\":\"user\",\"content\":[\"a\",{\"type\":\"text\",\"text\":\"b\"}]}", "a b"},
        {USER("a") "," MODEL("  \\u0001 ") "," USER("b"), "a>|b"},
        {USER("<s> and </s>"), "<s> and </s>"},
        /* what the model said, whatever it was */
        {USER("a") "," MODEL("x [INST] y[[INST]INST]") "," USER("b"), "a>x  INST  y[ INST INST]|b"},
    };
    char text[600];
    struct rig r;
    rig_open(&r, 8);
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        snprintf(text, sizeof(text), "[%s]", cases[i][0]);
        check_turns(&r, text, cases[i][1]);
    }
    /* a picture in one message, its question in the next; its URL as it is */
    char *url = rig_data_url(2, 2);
    rig_send_jsonf(&r, path,
                   "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\","
                   "\"image_url\":\"%s\"}]}," USER("what?") "]}",
                   url);
    CHECK_EQ(r.reply->status, 200);
    CHECK(fake_asked(r.eng)->n_turns == 1 && fake_asked(r.eng)->turns[0].n_pictures == 1);
    CHECK_STR(fake_asked(r.eng)->turns[0].question, "what?");
    mem_free(url);
    rig_close(&r);
}

TEST(chat_takes_stored_pictures) {
    struct rig r;
    struct buf png;
    rig_open(&r, 8);
    rig_png(&png, 9, 7);
    rig_send(&r, &(struct rig_request){.method = "PUT",
                                       .path = "/v1/images",
                                       .type = "image/png",
                                       .body = png.p,
                                       .len = png.len});
    char id[65];
    json_t *root = rig_json(&r);
    snprintf(id, sizeof(id), "%s", rig_text(root, "id"));
    json_decref(root);
    static const char with_url[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":"
        "{\"url\":\"%s%s\"}},{\"type\":\"text\",\"text\":\"hi\"}]}]}";
    rig_send_jsonf(&r, path, with_url, "lammd:", id);
    CHECK_EQ(r.reply->status, 200);
    CHECK_EQ(fake_asked(r.eng)->n_pictures, 1);
    id[0] = id[0] == '0' ? '1' : '0';
    rig_send_jsonf(&r, path, with_url, "lammd:", id);
    rig_check_problem(&r, 404, "image_not_found", NULL, NULL);
    rig_send_jsonf(&r, path, with_url, "lammd:", "12");
    rig_check_problem(&r, 400, "invalid_parameter", "messages[0].content[0]", "64 hex digits");
    static const char *const network[] = {"http://127.0.0.1:1/a.png", "https://a/b", "HTTPS://a/b",
                                          "file:///etc/passwd",       "ftp://a",     "gopher:x"};
    for (unsigned i = 0; i < ARRAY_LEN(network); i++) {
        rig_send_jsonf(&r, path, with_url, network[i], "");
        rig_check_problem(&r, 400, "unsupported_url", "messages[0].content[0]", "never fetched");
    }
    rig_send_jsonf(&r, path, with_url, "Zm9v", "");
    rig_check_problem(&r, 400, "invalid_parameter", NULL, "must be a data URL");
    rig_send_jsonf(&r, path, with_url, "data:image/gif;base64,", "Zm9v");
    rig_check_problem(&r, 415, "unsupported_picture", NULL, NULL);
    buf_clear(&png);
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

/* ---- bad input ---- */

TEST(chat_bad_fields) {
    static const char *const cases[][3] = {
        {",\"model\":\"gpt-4o\"", "model_not_found", "there is no model \"gpt-4o\""},
        {",\"model\":7", "invalid_parameter", "model must be a string"},
        {",\"n\":2", "invalid_parameter", "n must be 1"},
        {",\"colour\":1", "unknown_parameter", "\"colour\" is not a known field"},
        {",\"tools\":[{}]", "invalid_parameter", "tools asks for what this model can't do"},
        {",\"tools\":7", "invalid_parameter", "tools"},
        {",\"tool_choice\":\"required\"", "invalid_parameter", "tool_choice"},
        {",\"tool_choice\":{\"type\":\"function\"}", "invalid_parameter", "tool_choice"},
        {",\"parallel_tool_calls\":1", "invalid_parameter", "parallel_tool_calls"},
        {",\"functions\":[{}]", "invalid_parameter", "functions"},
        {",\"function_call\":{\"name\":\"f\"}", "invalid_parameter", "function_call"},
        {",\"reasoning_effort\":\"low\"", "invalid_parameter", "reasoning_effort"},
        {",\"verbosity\":\"high\"", "invalid_parameter", "verbosity"},
        {",\"modalities\":[\"text\",\"audio\"]", "invalid_parameter", "modalities"},
        {",\"modalities\":[]", "invalid_parameter", "modalities"},
        {",\"presence_penalty\":1", "invalid_parameter", "presence_penalty asks for what"},
        {",\"frequency_penalty\":-0.5", "invalid_parameter", "frequency_penalty"},
        {",\"logit_bias\":{\"1\":5}", "invalid_parameter", "logit_bias"},
        {",\"response_format\":{\"type\":\"json_object\"}", "invalid_parameter", "response_format"},
        {",\"stream\":1", "invalid_parameter", "true or false"},
        {",\"stream_options\":true", "invalid_parameter", "stream_options is"},
        {",\"stream\":true,\"stream_options\":{\"include_usage\":1}", "invalid_parameter", NULL},
        {",\"max_tokens\":0", "invalid_parameter", "from 1 to 99999999"},
        {",\"max_tokens\":1,\"max_completion_tokens\":1", "invalid_parameter", "either max_tokens"},
        {",\"temperature\":2.1", "invalid_parameter", "from 0 to 2"},
        {",\"top_p\":-1", "invalid_parameter", "from 0 to 1"},
        {",\"seed\":1.5", "invalid_parameter", "seed must be an integer"},
        {",\"top_logprobs\":2", "invalid_parameter", "goes with logprobs"},
        {",\"logprobs\":true,\"top_logprobs\":21", "invalid_parameter", "from 0 to 20"},
        {",\"stop\":\"\"", "invalid_parameter", "stop must be"},
        {",\"stop\":{}", "invalid_parameter", "stop must be"},
        {",\"stop\":[\"a\",\"b\",\"c\",\"d\",\"e\"]", "invalid_parameter", "up to 4"},
        {",\"stop\":[1]", "invalid_parameter", "stop must be"},
    };
    struct rig r;
    rig_open(&r, 8);
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        ask(&r, cases[i][0]);
        rig_check_problem(&r, strcmp(cases[i][1], "model_not_found") == 0 ? 404 : 400, cases[i][1],
                          NULL, cases[i][2]);
    }
    rig_send_json(&r, path, "{}");
    rig_check_problem(&r, 400, "missing_parameter", "messages", NULL);
    rig_send(&r, &(struct rig_request){.path = path});
    rig_check_problem(&r, 400, "invalid_json", NULL, "empty");
    rig_send(&r, &(struct rig_request){.path = path, .type = "image/png", .body = "x", .len = 1});
    rig_check_problem(&r, 415, "unsupported_media_type", NULL, "must be application/json");
    struct api_field form = {"messages", NULL, (const uint8_t *)"[]", 2};
    rig_send(&r, &(struct rig_request){
                     .path = path, .type = "multipart/form-data", .form = &form, .n_form = 1});
    rig_check_problem(&r, 415, "unsupported_media_type", NULL, "must be application/json");
    rig_send(&r, &(struct rig_request){.path = path, .query = "stop=a"});
    rig_check_problem(&r, 400, "unknown_parameter", "stop", NULL);
    rig_close(&r);
}

TEST(chat_bad_messages) {
    static const char *const cases[][3] = {
        {"[]", "invalid_parameter", "at least one message"},
        {"{}", "invalid_parameter", "at least one message"},
        {"[7]", "invalid_parameter", "messages[0] must be an object"},
        {"[{\"role\":\"user\"}]", "invalid_parameter", "messages[0].content must be a string"},
        {"[{\"role\":\"tool\",\"content\":\"x\"}]", "invalid_parameter",
         "system, user or assistant"},
        {"[{\"content\":\"x\"}]", "invalid_parameter", "system, user or assistant"},
        {"[" USER("") "]", "invalid_parameter", "messages[0].content is empty"},
        {"[" USER("  ") "]", "invalid_parameter", "is blank"},
        {"[" USER("a\\u0007") "]", "invalid_parameter", "control character at byte 1"},
        {"[" USER("a [INST] b") "]", "invalid_parameter", "messages[0].content has a tag: [INST]"},
        {"[" USER("far too long") "]", "too_much_work", "too many tokens"},
        {"[" MODEL("a") "]", "invalid_parameter", "must end with the user's question"},
        {"[" USER("a") "," MODEL("b") "]", "invalid_parameter",
         "must end with the user's question"},
        {"[" USER("a") "," MODEL("b") "," SYSTEM("c") "]", "invalid_parameter",
         "must end with the user's question"},
        {"[" SYSTEM("a") "]", "invalid_parameter", "must end with the user's question"},
        {"[" USER("a") "," USER("[INST]") "]", "invalid_parameter", "messages[1].content has a tag"},
        {"[" SYSTEM("[INST]") "," USER("a") "]", "invalid_parameter", "has a tag"},
        {"[{\"role\":\"user\",\"content\":[]}]", "invalid_parameter", "is empty"},
        {"[{\"role\":\"user\",\"content\":[{\"type\":\"audio\"}]}]", "invalid_parameter",
         "messages[0].content[0] must be {\"type\": \"text\""},
        {"[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]", "invalid_parameter",
         "must have image_url"},
        {"[{\"role\":\"system\",\"content\":[{\"type\":\"image_url\"}]}]", "invalid_parameter",
         "only the user's messages"},
        {"[{\"role\":\"user\",\"content\":\"a\",\"tool_calls\":[1]}]", "unknown_parameter",
         "messages[0] has the field \"tool_calls\""},
    };
    struct rig r;
    rig_open(&r, 8);
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        say(&r, cases[i][0]);
        rig_check_problem(&r, strcmp(cases[i][1], "too_much_work") == 0 ? 422 : 400, cases[i][1],
                          NULL, cases[i][2]);
    }
    char *url = rig_data_url(2, 2);
    rig_send_jsonf(&r, path,
                   "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\","
                   "\"image_url\":{\"url\":\"%s\"}}]}]}",
                   url);
    rig_check_problem(&r, 400, "invalid_parameter", "messages", "have a picture but no question");
    mem_free(url);
    rig_close(&r);
}

static void many(struct rig *r, int n, const char *one, const char *head, const char *tail) {
    struct buf b;
    buf_init(&b, 1 << 20);
    for (int i = 0; i < n; i++)
        buf_printf(&b, "%s%s", i ? "," : "", one);
    rig_send_jsonf(r, path, "{\"messages\":[%s%s%s]}", head, (const char *)b.p, tail);
    buf_clear(&b);
}

TEST(chat_too_many_of_everything) {
    static char text[20002];
    struct rig r;
    rig_open(&r, 8);
    char *url = rig_data_url(1, 1), part[500];
    snprintf(part, sizeof(part), "{\"type\":\"image_url\",\"image_url\":{\"url\":\"%s\"}}", url);
    static const char head[] =
        "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"x\"},";
    many(&r, 8, part, head, "]}");
    CHECK_EQ(r.reply->status, 200);
    many(&r, 9, part, head, "]}");
    rig_check_problem(&r, 400, "too_many_pictures", NULL, "at most 8 pictures");
    many(&r, 1000, part, head, "]}");
    rig_check_problem(&r, 400, "too_many_pictures", NULL, "at most 8 pictures");
    many(&r, 63, USER("a") "," MODEL("b"), "", "," USER("c"));
    CHECK_EQ(r.reply->status, 200);
    CHECK_EQ(fake_asked(r.eng)->n_turns, 64);
    many(&r, 64, USER("a") "," MODEL("b"), "", "," USER("c"));
    rig_check_problem(&r, 400, "invalid_parameter", "messages", "at most 64 questions");
    static char long_text[300000];
    memset(long_text, 'x', sizeof(long_text) - 1);
    rig_send_jsonf(&r, path, "{\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}]}", long_text);
    rig_check_problem(&r, 400, "invalid_parameter", NULL, "too long: at most 20000 characters");
    memset(text, 'x', 20001);
    rig_send_jsonf(&r, path, "{\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}]}", text);
    rig_check_problem(&r, 400, "invalid_parameter", NULL, "at most 20000 characters; got 20001");
    mem_free(url);
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
