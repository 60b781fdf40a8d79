/* chat_read.c - OpenAI's request, made into turns.
 *
 * What this model can't do is refused by the field's name; what changes nothing is passed over. A
 * system message is put before the first question, for the model knows no third speaker. Line
 * breaks and tabs become blanks: the model has never seen them. Pictures come as data URLs or as
 * lammd:ID; a URL of the network is refused before anything else looks at it.
 * Thread: a worker.
 */
#include <stdio.h>
#include <string.h>

#include "api/task/chat.h"
#include "api/wire/input.h"

enum { TEXT_MAX = 20000, TEXTS_MAX_BYTES = 200000, STOP_MAX_BYTES = 200, TOKENS = 128 };

/* ---- messages ---- */

struct reading {
    struct input *in;
    struct chat *chat;
    struct buf text;   /* of the message that is being read */
    struct buf system; /* what comes before the first question */
    int n_pictures;    /* of this message */
    size_t text_bytes; /* of all messages */
};

static int fault(struct reading *r, const char *name, const char *why) {
    return problem_set(r->in->problem, PROBLEM_INVALID_PARAMETER, name, "%s %s", name, why);
}

static void add_text(struct buf *b, const char *s, size_t len) {
    if (b->len && len) buf_char(b, ' ');
    for (size_t i = 0; i < len; i++)
        buf_char(b, s[i] == '\n' || s[i] == '\r' || s[i] == '\t' ? ' ' : s[i]);
}

/* What the model said itself may come back, whatever it was. */
static void blank_controls(struct buf *b) {
    for (size_t i = 0; i < b->len; i++) {
        uint8_t *c = b->p + i;
        if (*c < ' ' || *c == 0x7f) *c = ' ';
        if (*c == 0xc2 && c[1] < 0xa0) c[0] = c[1] = ' '; /* UTF-8 of C1 */
    }
}

static int take_image(struct reading *r, const char *name, const json_t *part) {
    const json_t *picture = json_object_get(part, "image_url");
    const json_t *url = json_object_get(picture, "url");
    if (!json_is_string(url)) return fault(r, name, "must have image_url: {\"url\": \"data:...\"}");
    r->n_pictures++;
    return input_take_url(r->in, name, json_string_value(url), json_string_length(url));
}

static int take_part(struct reading *r, const char *name, const json_t *part, int is_user) {
    const char *type = json_string_value(json_object_get(part, "type"));
    const json_t *text = json_object_get(part, "text");
    if (type && strcmp(type, "text") == 0 && json_is_string(text)) {
        add_text(&r->text, json_string_value(text), json_string_length(text));
        return 0;
    }
    if (type && strcmp(type, "image_url") == 0) {
        if (is_user) return take_image(r, name, part);
        return fault(r, name, "has a picture; only the user's messages may have one");
    }
    return fault(r, name,
                 "must be {\"type\": \"text\", \"text\": ...} or {\"type\": \"image_url\", "
                 "\"image_url\": ...}");
}

/* `content` -> r->text and pictures. */
static int take_content(struct reading *r, const char *name, const json_t *content, int is_user) {
    r->text.len = 0;
    r->n_pictures = 0;
    if (json_is_string(content)) {
        add_text(&r->text, json_string_value(content), json_string_length(content));
    } else if (json_is_array(content)) {
        size_t i;
        json_t *part;
        json_array_foreach(content, i, part) {
            char at[64];
            snprintf(at, sizeof(at), "%.28s[%zu]", name, i);
            if (take_part(r, at, part, is_user)) return -1;
        }
    } else if (is_user || !json_is_null(content)) {
        return fault(r, name, "must be a string or an array of parts");
    }
    return 0;
}

/* The text of a message is whole. An answer may be empty: a model may have said nothing. */
static int check_content(struct reading *r, const char *name, int may_be_empty) {
    int bad = r->text.bad ? r->text.bad : r->system.bad;
    r->text_bytes += r->text.len;
    if (bad == E_TOO_BIG || r->text_bytes > TEXTS_MAX_BYTES)
        return problem_set(r->in->problem, PROBLEM_INVALID_PARAMETER, name,
                           "%s is too long: at most %d characters in a message, %d bytes in all",
                           name, TEXT_MAX, TEXTS_MAX_BYTES);
    if (bad) return problem_set(r->in->problem, PROBLEM_NO_MEMORY, NULL, NULL);
    if (r->n_pictures && !r->text.len) return fault(r, name, "has a picture but no question");
    if (may_be_empty && r->text.len == 0) return 0;
    const char *text = (const char *)r->text.p;
    int rc = input_check_text(r->in, name, text, r->text.len, TEXT_MAX);
    return rc ? rc : input_check_tags(r->in, name, text, 1);
}

static int take_question(struct reading *r, const char *name) {
    struct chat *q = r->chat;
    if (q->n_turns && !q->turns[q->n_turns - 1].answer)
        return fault(r, name, "is the user's again; user and assistant have to take turns");
    if (q->n_turns == ENG_TURNS_MAX)
        return problem_set(r->in->problem, PROBLEM_INVALID_PARAMETER, "messages",
                           "messages must have at most %d questions", ENG_TURNS_MAX);
    if (r->system.len) {
        add_text(&r->system, (const char *)r->text.p, r->text.len);
        struct buf whole = r->system;
        r->system = r->text;
        r->text = whole;
        r->system.len = 0;
    }
    if (r->text.bad) return problem_set(r->in->problem, PROBLEM_NO_MEMORY, NULL, NULL);
    const char *text = input_keep(r->in, (const char *)r->text.p, r->text.len);
    q->turns[q->n_turns++] =
        (struct eng_turn){.n_pictures = (uint32_t)r->n_pictures, .question = text};
    return text ? 0 : -1;
}

static int take_answer(struct reading *r, const char *name) {
    struct chat *q = r->chat;
    if (!q->n_turns || q->turns[q->n_turns - 1].answer)
        return fault(r, name, "is the assistant's, but answers no question");
    const char *text = input_keep(r->in, (const char *)r->text.p, r->text.len);
    q->turns[q->n_turns - 1].answer = text;
    return text ? 0 : -1;
}

/* Fields that the client's own library sends back are passed over when they say nothing. */
static int check_message(struct reading *r, const char *name, json_t *m) {
    static const char *const passed[] = {"role", "content", "name", "refusal", "annotations"};
    const char *key;
    json_t *v;
    json_object_foreach(m, key, v) {
        int is_fine = json_is_null(v) || (json_is_array(v) && json_array_size(v) == 0);
        for (size_t i = 0; i < ARRAY_LEN(passed); i++)
            is_fine |= strcmp(key, passed[i]) == 0;
        if (is_fine) continue;
        char shown[48];
        json_quote(key, strlen(key), shown, sizeof(shown));
        return problem_set(r->in->problem, PROBLEM_UNKNOWN_PARAMETER, name,
                           "%s has the field %s, which this model can't follow", name, shown);
    }
    return 0;
}

static int take_message(struct reading *r, size_t i, json_t *m) {
    char name[48], content_name[48];
    snprintf(name, sizeof(name), "messages[%zu]", i);
    snprintf(content_name, sizeof(content_name), "messages[%zu].content", i);
    if (!json_is_object(m)) return fault(r, name, "must be an object with role and content");
    if (check_message(r, name, m)) return -1;
    const char *role = json_string_value(json_object_get(m, "role"));
    const json_t *content = json_object_get(m, "content");
    int is_user = role && strcmp(role, "user") == 0;
    int is_assistant = role && strcmp(role, "assistant") == 0;
    int is_system = role && (strcmp(role, "system") == 0 || strcmp(role, "developer") == 0);
    if (!is_user && !is_assistant && !is_system)
        return fault(r, name, "must have the role system, user or assistant");
    if (is_system && r->chat->n_turns)
        return fault(r, name, "is the system's; it has to come before the first question");
    if (take_content(r, content_name, content, is_user)) return -1;
    if (is_assistant) blank_controls(&r->text);
    if (check_content(r, content_name, is_assistant)) return -1;
    if (is_user) return take_question(r, name);
    if (is_assistant) return take_answer(r, name);
    add_text(&r->system, (const char *)r->text.p, r->text.len);
    return r->system.bad ? problem_set(r->in->problem, PROBLEM_NO_MEMORY, NULL, NULL) : 0;
}

static int take_messages(struct reading *r) {
    const json_t *list = json_object_get(r->in->root, "messages");
    if (!list)
        return problem_set(r->in->problem, PROBLEM_MISSING_PARAMETER, "messages",
                           "messages is missing: [{\"role\": \"user\", \"content\": ...}]");
    if (!json_is_array(list) || json_array_size(list) == 0)
        return json_must_be(r->in->problem, "messages", list, "an array of at least one message");
    size_t i;
    json_t *m;
    json_array_foreach(list, i, m) {
        if (take_message(r, i, m)) {
            const struct problem *p = r->in->problem;
            return p->pointer[0] ? -1 : problem_point(r->in->problem, "/messages/%zu", i);
        }
    }
    const struct chat *q = r->chat;
    if (!q->n_turns || q->turns[q->n_turns - 1].answer)
        return problem_set(r->in->problem, PROBLEM_INVALID_PARAMETER, "messages",
                           "messages must end with the user's question");
    return 0;
}

/* ---- everything else ---- */

static int take_stops(struct input *in, struct chat *q, const json_t *v) {
    size_t n = json_is_string(v) ? 1 : json_is_array(v) ? json_array_size(v) : 0;
    int is_good = n >= 1 && n <= CHAT_STOPS_MAX;
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
                       "stop must be a string or 1 to %d of them, each of 1 to %d bytes",
                       CHAT_STOPS_MAX, STOP_MAX_BYTES);
}

/* Fields that may only be what they would be without being told. */
static int check_neutral(struct input *in) {
    const json_t *root = in->root;
    const char *name = NULL;
    const json_t *n = json_object_get(root, "n"),
                 *format = json_object_get(root, "response_format");
    const json_t *bias = json_object_get(root, "logit_bias");
    const char *type = json_string_value(json_object_get(format, "type"));
    static const char *const penalties[] = {"presence_penalty", "frequency_penalty"};
    for (size_t i = 0; i < ARRAY_LEN(penalties); i++) {
        const json_t *v = json_object_get(root, penalties[i]);
        if (v && !(json_is_number(v) && json_number_value(v) == 0)) name = penalties[i];
    }
    if (bias && !(json_is_object(bias) && json_object_size(bias) == 0)) name = "logit_bias";
    if (format && (!type || strcmp(type, "text") != 0)) name = "response_format";
    if (n && !(json_is_integer(n) && json_integer_value(n) == 1))
        return problem_set(in->problem, PROBLEM_INVALID_PARAMETER, "n",
                           "n must be 1: one answer is made");
    if (!name) return 0;
    return problem_set(in->problem, PROBLEM_INVALID_PARAMETER, name,
                       "%s can't be followed here; leave it out", name);
}

static int check_model(struct input *in, const char *ours) {
    const char *model = NULL;
    if (input_text(in, "model", 200, &model)) return -1;
    if (!model || strcmp(model, ours) == 0 || strcmp(model, "lammd") == 0) return 0;
    char shown[48];
    json_quote(model, strlen(model), shown, sizeof(shown));
    return problem_set(in->problem, PROBLEM_MODEL_NOT_FOUND, "model",
                       "there is no model %s here; ask for %s or lammd", shown, ours);
}

static int take_stream(struct input *in, struct chat *q) {
    if (input_flag(in, "stream", &q->is_stream)) return -1;
    json_t *options = json_object_get(in->root, "stream_options");
    if (!options) return 0;
    const json_t *usage = json_object_get(options, "include_usage");
    if (!q->is_stream || !json_is_object(options) || (usage && !json_is_boolean(usage)))
        return problem_set(in->problem, PROBLEM_INVALID_PARAMETER, "stream_options",
                           "stream_options is {\"include_usage\": true} and goes with stream");
    q->with_usage = json_is_true(usage);
    return 0;
}

static int take_speech(struct input *in, struct chat *q) {
    double temperature = 0, top_p = 1;
    int tokens = TOKENS;
    const json_t *seed = json_object_get(in->root, "seed");
    if (input_int(in, "max_tokens", 1, ENG_TOKENS_MAX, &tokens)) return -1;
    if (input_int(in, "max_completion_tokens", 1, ENG_TOKENS_MAX, &tokens)) return -1;
    if (input_has(in, "max_tokens") && input_has(in, "max_completion_tokens"))
        return problem_set(in->problem, PROBLEM_INVALID_PARAMETER, "max_tokens",
                           "give either max_tokens or max_completion_tokens");
    if (input_number(in, "temperature", 0, 2, &temperature)) return -1;
    if (input_number(in, "top_p", 0, 1, &top_p)) return -1;
    if (seed && !json_is_integer(seed))
        return json_must_be(in->problem, "seed", seed, "an integer");
    q->generate = (struct eng_generate){.max_tokens = (uint32_t)tokens,
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

/* OpenAI's clients send null for what they don't mean. */
static void drop_nulls(json_t *root) {
    const char *key;
    json_t *v;
    void *next;
    json_object_foreach_safe(root, next, key, v) {
        if (json_is_null(v)) json_object_del(root, key);
    }
}

static int take_fields(struct input *in, const char *model, struct chat *q) {
    if (check_model(in, model) || check_neutral(in)) return -1;
    return take_stream(in, q) || take_speech(in, q) ? -1 : 0;
}

static const char *const known[] = {
    "messages", "model", "stream", "stream_options", "logprobs", "top_logprobs", "stop",
    "max_tokens", "max_completion_tokens", "temperature", "top_p", "seed", "n", "orient",
    /* only as they would be anyway */
    "presence_penalty", "frequency_penalty", "logit_bias", "response_format",
    /* passed over */
    "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", NULL};
const struct input_wants chat_wants = {.known = known, .only_json = 1};

int chat_read(struct input *in, const char *model, struct chat *q) {
    struct reading r = {.in = in, .chat = q};
    if (!in->root)
        return problem_set(in->problem, PROBLEM_INVALID_JSON, NULL, "the JSON body is empty");
    drop_nulls(in->root);
    if (take_fields(in, model, q)) return -1;
    buf_init(&r.text, TEXTS_MAX_BYTES);
    buf_init(&r.system, TEXTS_MAX_BYTES);
    int rc = take_messages(&r);
    buf_clear(&r.text);
    buf_clear(&r.system);
    return rc;
}
