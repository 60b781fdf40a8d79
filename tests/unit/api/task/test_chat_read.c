/* The fields of a chat besides its messages: what says nothing, is followed, or is refused. */
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

/* Each field as clients send it when they mean nothing by it. */
TEST(chat_neutral_values_are_neutral) {
    static const char *const cases[] = {
        "\"tools\":[]",
        "\"tool_choice\":\"none\"",
        "\"tool_choice\":\"auto\"",
        "\"tools\":[],\"tool_choice\":\"auto\"",
        "\"parallel_tool_calls\":false",
        "\"parallel_tool_calls\":true",
        "\"functions\":[]",
        "\"function_call\":\"none\"",
        "\"function_call\":\"auto\"",
        "\"reasoning_effort\":\"none\"",
        "\"verbosity\":\"medium\"",
        "\"modalities\":[\"text\"]",
        "\"stop\":[]",
        "\"response_format\":{\"type\":\"text\"}",
        "\"store\":true",
        "\"metadata\":{}",
        "\"user\":\"me\"",
        "\"service_tier\":\"auto\"",
        "\"n\":1",
        "\"logit_bias\":{}",
        "\"presence_penalty\":0",
        "\"frequency_penalty\":0.0",
        "\"logprobs\":false",
        "\"top_logprobs\":0",
        "\"stream\":false",
        "\"stream_options\":{}",
        "\"stream_options\":{\"include_usage\":true}",
        "\"stream_options\":{\"include_usage\":null,\"include_obfuscation\":false}",
        "\"prompt_cache_retention\":\"24h\"",
        "\"safety_identifier\":\"x\""};
    static const char *const nulls[] = {"tools",
                                        "tool_choice",
                                        "parallel_tool_calls",
                                        "functions",
                                        "function_call",
                                        "reasoning_effort",
                                        "verbosity",
                                        "modalities",
                                        "audio",
                                        "prediction",
                                        "web_search_options",
                                        "stop",
                                        "response_format",
                                        "store",
                                        "metadata",
                                        "user",
                                        "service_tier",
                                        "n",
                                        "logit_bias",
                                        "presence_penalty",
                                        "frequency_penalty",
                                        "logprobs",
                                        "top_logprobs",
                                        "stream",
                                        "stream_options",
                                        "max_tokens",
                                        "max_completion_tokens",
                                        "temperature",
                                        "top_p",
                                        "seed",
                                        "model",
                                        "whatever"};
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
    static const char *const cases[] = {",\"max_tokens\":4096",
                                        ",\"max_completion_tokens\":2000000"};
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        ask(&r, cases[i]);
        CHECK_EQ(r.reply->status, 200);
        CHECK_EQ(fake_asked(r.eng)->generate.max_tokens, ENG_TOKENS_MAX);
        CHECK(fake_asked(r.eng)->generate.may_be_shorter);
    }
    rig_close(&r);
}

/* What this model can't do is refused by its name. */
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
