/* chat_read.c - the fields of OpenAI's request; chat_turns.c has its messages.
 *
 * Clients send many fields that say nothing: null, an empty list, a default. Those are passed over.
 * What this model can't do is refused by the field's name. Thread: a worker.
 */
#include <string.h>

#include "api/task/chat.h"
#include "api/task/speak.h"
#include "api/wire/input.h"

enum { STOP_MAX_BYTES = 200, TOKENS = 128 };

/* ---- fields that may only say nothing ---- */

static int chat_is_empty(const json_t *v) {
    return (json_is_array(v) && json_array_size(v) == 0) ||
           (json_is_object(v) && json_object_size(v) == 0);
}

static int is_flag(const json_t *v) { return json_is_boolean(v); }

static int is_zero(const json_t *v) { return json_is_number(v) && json_number_value(v) == 0; }

static int is_one(const json_t *v) { return json_is_number(v) && json_number_value(v) == 1; }

static int is_word(const json_t *v, const char *word) {
    return json_is_string(v) && strcmp(json_string_value(v), word) == 0;
}

/* There are no tools to choose from. */
static int is_no_choice(const json_t *v) { return is_word(v, "none") || is_word(v, "auto"); }

static int is_none(const json_t *v) { return is_word(v, "none"); }

static int is_medium(const json_t *v) { return is_word(v, "medium"); }

/* ["text"] */
static int is_only_text(const json_t *v) {
    return json_is_array(v) && json_array_size(v) == 1 && is_word(json_array_get(v, 0), "text");
}

/* {"type": "text"} */
static int is_text_format(const json_t *v) { return is_word(json_object_get(v, "type"), "text"); }

static const struct {
    const char *name;
    int (*is_neutral)(const json_t *v);
} neutral[] = {{"tools", chat_is_empty},
               {"tool_choice", is_no_choice},
               {"parallel_tool_calls", is_flag},
               {"functions", chat_is_empty},
               {"function_call", is_no_choice},
               {"reasoning_effort", is_none},
               {"verbosity", is_medium},
               {"modalities", is_only_text},
               {"response_format", is_text_format},
               {"logit_bias", chat_is_empty},
               {"presence_penalty", is_zero},
               {"frequency_penalty", is_zero},
               {"n", is_one}};

static int check_neutral(struct input *in) {
    for (size_t i = 0; i < ARRAY_LEN(neutral); i++) {
        const char *name = neutral[i].name;
        const json_t *v = json_object_get(in->root, name);
        if (!v || neutral[i].is_neutral(v)) continue;
        if (strcmp(name, "n") == 0)
            return problem_set(in->problem, PROBLEM_INVALID_PARAMETER, name,
                               "n must be 1: one answer is made");
        return problem_set(in->problem, PROBLEM_INVALID_PARAMETER, name,
                           "%s asks for what this model can't do; leave it out", name);
    }
    return 0;
}

/* ---- fields that are followed ---- */

static int take_stream(struct input *in, struct chat *q) {
    if (input_flag(in, "stream", &q->is_stream)) return -1;
    json_t *options = json_object_get(in->root, "stream_options");
    if (!options) return 0;
    const json_t *usage = json_object_get(options, "include_usage");
    if (!json_is_object(options) || (usage && !json_is_boolean(usage) && !json_is_null(usage)))
        return problem_set(in->problem, PROBLEM_INVALID_PARAMETER, "stream_options",
                           "stream_options is {\"include_usage\": true} or false");
    q->with_usage = json_is_true(usage); /* a whole answer has it anyway */
    return 0;
}

static int take_stops(struct input *in, struct chat *q, const json_t *v) {
    size_t n = json_is_string(v) ? 1 : json_is_array(v) ? json_array_size(v) : 0;
    int is_good = (n >= 1 || json_is_array(v)) && n <= CHAT_STOPS_MAX;
    for (size_t i = 0; is_good && i < n; i++) {
        const json_t *one = json_is_array(v) ? json_array_get(v, i) : v;
        size_t len = json_string_length(one);
        is_good = json_is_string(one) && len >= 1 && len <= STOP_MAX_BYTES;
        if (!is_good) break;
        q->stops[q->n_stops++] = input_keep(in, json_string_value(one), len);
        if (!q->stops[i]) return -1;
    }
    if (is_good) return 0;
    return problem_set(in->problem, PROBLEM_INVALID_PARAMETER, "stop",
                       "stop must be a string or up to %d of them, each of 1 to %d bytes",
                       CHAT_STOPS_MAX, STOP_MAX_BYTES);
}

static int take_speech(struct input *in, struct chat *q) {
    double temperature = 0, top_p = 1;
    int tokens = TOKENS;
    const json_t *seed = json_object_get(in->root, "seed");
    if (speak_read_most(in, "max_tokens", &tokens)) return -1;
    if (speak_read_most(in, "max_completion_tokens", &tokens)) return -1;
    if (input_has(in, "max_tokens") && input_has(in, "max_completion_tokens"))
        return problem_set(in->problem, PROBLEM_INVALID_PARAMETER, "max_tokens",
                           "give either max_tokens or max_completion_tokens");
    if (input_number(in, "temperature", 0, 2, &temperature)) return -1;
    if (input_number(in, "top_p", 0, 1, &top_p)) return -1;
    if (seed && !json_is_integer(seed))
        return json_must_be(in->problem, "seed", seed, "an integer");
    q->generate = (struct eng_generate){.max_tokens = (uint32_t)tokens,
                                        .may_be_shorter = 1,
                                        .temperature = (float)temperature,
                                        .top_p = top_p > 0 ? (float)top_p : 1e-6f,
                                        .seed = (uint64_t)json_integer_value(seed)};
    if (input_flag(in, "logprobs", &q->with_logprobs)) return -1;
    if (input_int(in, "top_logprobs", 0, ENG_TOP, &q->n_top)) return -1;
    if (q->n_top && !q->with_logprobs)
        return problem_set(in->problem, PROBLEM_INVALID_PARAMETER, "top_logprobs",
                           "top_logprobs goes with logprobs");
    const json_t *stop = json_object_get(in->root, "stop");
    return stop ? take_stops(in, q, stop) : 0;
}

static const char *const known[] = {
    "messages", "stream", "stream_options", "logprobs", "top_logprobs", "stop", "max_tokens",
    "max_completion_tokens", "temperature", "top_p", "seed", "orient",
    /* only as they would be anyway: `neutral` */
    "tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "reasoning_effort",
    "verbosity", "modalities", "response_format", "logit_bias", "presence_penalty",
    "frequency_penalty", "n",
    /* passed over */
    "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key",
    "prompt_cache_retention", NULL};
const struct input_wants chat_wants = {.known = known, .only_json = 1, .has_model = 1};

int chat_read(struct input *in, struct chat *q) {
    if (!in->root)
        return problem_set(in->problem, PROBLEM_INVALID_JSON, NULL, "the JSON body is empty");
    if (check_neutral(in)) return -1;
    if (take_stream(in, q) || take_speech(in, q)) return -1;
    return chat_turns(in, q);
}
