/* chat_turns.c - OpenAI's messages, made into turns of a question and its answer.
 *
 * People and programs write what they like: several messages of one speaker in a row are joined, a
 * blank between them. The model knows no third speaker and never speaks first. So a system message
 * becomes part of the question that follows it, or that it follows, and so does a greeting of the
 * assistant. Line breaks and tabs become blanks: the model has never seen them.
 *
 * What the model said may come back as it was: its control characters and the tags that would forge
 * a turn become blanks. In a user's message both are refused. Thread: a worker.
 */
#include <stdio.h>
#include <string.h>

#include "api/task/chat.h"
#include "api/wire/text.h"

enum { TEXT_MAX = 20000, TEXTS_MAX_BYTES = 200000 };

enum speaker { SYSTEM, USER, ASSISTANT };

struct reading {
    struct input *in;
    struct chat *chat;
    struct buf text;             /* of the message that is being read */
    struct buf question, answer; /* of the turn that is being put together */
    struct buf before;           /* what the question after this turn begins with */
    int n_pictures;              /* of this turn */
    int is_asked, is_answered; /* the user has spoken in this turn; the assistant has, after him */
    size_t text_bytes;         /* of all messages */
};

static int fault(struct reading *r, const char *name, const char *why) {
    return problem_set(r->in->problem, PROBLEM_INVALID_PARAMETER, name, "%s %s", name, why);
}

/* ---- the text of a message ---- */

static void add_text(struct buf *b, const char *s, size_t len) {
    if (b->len && len) buf_char(b, ' ');
    for (size_t i = 0; i < len; i++)
        buf_char(b, s[i] == '\n' || s[i] == '\r' || s[i] == '\t' ? ' ' : s[i]);
}

static void move_text(struct buf *to, struct buf *from) {
    add_text(to, (const char *)from->p, from->len);
    from->len = 0;
}

static void blank_controls(struct buf *b) {
    for (size_t i = 0; i < b->len; i++) {
        uint8_t *c = b->p + i;
        if (*c < ' ' || *c == 0x7f) *c = ' ';
        if (*c == 0xc2 && c[1] < 0xa0) c[0] = c[1] = ' '; /* UTF-8 of C1; a NUL ends the text */
    }
}

/* {"url": "data:..."}, or the URL alone */
static int take_image(struct reading *r, const char *name, const json_t *part) {
    const json_t *picture = json_object_get(part, "image_url");
    const json_t *url = json_is_string(picture) ? picture : json_object_get(picture, "url");
    if (!json_is_string(url)) return fault(r, name, "must have image_url: {\"url\": \"data:...\"}");
    r->n_pictures++;
    return input_take_url(r->in, name, json_string_value(url), json_string_length(url));
}

static int take_part(struct reading *r, const char *name, const json_t *part, enum speaker who) {
    const char *type = json_string_value(json_object_get(part, "type"));
    const json_t *text = json_is_string(part) ? part : json_object_get(part, "text");
    if (json_is_string(text) && (text == part || (type && strcmp(type, "text") == 0))) {
        add_text(&r->text, json_string_value(text), json_string_length(text));
        return 0;
    }
    if (type && strcmp(type, "image_url") == 0) {
        if (who == USER) return take_image(r, name, part);
        return fault(r, name, "has a picture; only the user's messages may have one");
    }
    return fault(r, name,
                 "must be {\"type\": \"text\", \"text\": ...} or {\"type\": \"image_url\", "
                 "\"image_url\": ...}");
}

/* `content` -> r->text and pictures. */
static int take_content(struct reading *r, const char *name, const json_t *content,
                        enum speaker who) {
    r->text.len = 0;
    if (json_is_string(content)) {
        add_text(&r->text, json_string_value(content), json_string_length(content));
    } else if (json_is_array(content)) {
        size_t i;
        json_t *part;
        json_array_foreach(content, i, part) {
            char at[64];
            snprintf(at, sizeof(at), "%.28s[%zu]", name, i);
            if (take_part(r, at, part, who)) return -1;
        }
    } else if (who == USER || !json_is_null(content)) {
        return fault(r, name, "must be a string or an array of parts");
    }
    return 0;
}

/* The text of a message is whole. `may_be_empty`: a blank one is an empty one. */
static int check_content(struct reading *r, const char *name, enum speaker who, int may_be_empty) {
    r->text_bytes += r->text.len;
    if (r->text.bad == E_TOO_BIG || r->text_bytes > TEXTS_MAX_BYTES)
        return problem_set(r->in->problem, PROBLEM_INVALID_PARAMETER, name,
                           "%s is too long: at most %d characters in a message, %d bytes in all",
                           name, TEXT_MAX, TEXTS_MAX_BYTES);
    if (r->text.bad) return problem_set(r->in->problem, PROBLEM_NO_MEMORY, NULL, NULL);
    if (!r->text.p || !r->text.len) return may_be_empty ? 0 : fault(r, name, "is empty");
    r->text.p[r->text.len] = '\0';
    char *text = (char *)r->text.p;
    if (who == ASSISTANT) {
        blank_controls(&r->text);
        eng_blank_tags(text);
    }
    if (may_be_empty && text_look(text, r->text.len).is_blank) {
        r->text.len = 0;
        return 0;
    }
    int rc = input_check_text(r->in, name, text, r->text.len, TEXT_MAX);
    return rc ? rc : input_check_tags(r->in, name, text, 1);
}

/* ---- turns ---- */

static int no_memory(struct reading *r) {
    return problem_set(r->in->problem, PROBLEM_NO_MEMORY, NULL, NULL);
}

/* The turn is whole; the next one begins with what was said before it. */
static int chat_end_turn(struct reading *r) {
    struct chat *q = r->chat;
    if (!r->question.len) return fault(r, "messages", "have a picture but no question");
    if (r->question.bad || r->answer.bad) return no_memory(r);
    struct eng_turn *t = &q->turns[q->n_turns++];
    *t = (struct eng_turn){.n_pictures = (uint32_t)r->n_pictures,
                           .question =
                               input_keep(r->in, (const char *)r->question.p, r->question.len)};
    if (r->is_answered)
        t->answer = r->answer.len ? input_keep(r->in, (const char *)r->answer.p, r->answer.len)
                                  : input_keep(r->in, "", 0);
    if (!t->question || (r->is_answered && !t->answer)) return -1;
    r->question.len = r->answer.len = 0;
    r->n_pictures = r->is_asked = r->is_answered = 0;
    move_text(&r->question, &r->before);
    return 0;
}

static int take_text(struct reading *r, enum speaker who) {
    if (who == ASSISTANT && r->is_asked) {
        r->is_answered = 1;
        move_text(&r->answer, &r->text);
    } else if (who == SYSTEM && r->is_answered) {
        move_text(&r->before, &r->text);
    } else {
        r->is_asked |= who == USER;
        move_text(&r->question, &r->text);
    }
    return r->question.bad || r->answer.bad || r->before.bad ? no_memory(r) : 0;
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

static int read_role(struct reading *r, const char *name, const json_t *m, enum speaker *who) {
    static const struct {
        const char *role;
        enum speaker who;
    } roles[] = {
        {"user", USER}, {"assistant", ASSISTANT}, {"system", SYSTEM}, {"developer", SYSTEM}};
    const char *role = json_string_value(json_object_get(m, "role"));
    for (size_t i = 0; role && i < ARRAY_LEN(roles); i++) {
        *who = roles[i].who;
        if (strcmp(role, roles[i].role) == 0) return 0;
    }
    return fault(r, name, "must have the role system, user or assistant");
}

static int take_message(struct reading *r, size_t i, json_t *m) {
    char name[48], content_name[48];
    enum speaker who = USER;
    snprintf(name, sizeof(name), "messages[%zu]", i);
    snprintf(content_name, sizeof(content_name), "messages[%zu].content", i);
    if (!json_is_object(m)) return fault(r, name, "must be an object with role and content");
    if (check_message(r, name, m) || read_role(r, name, m, &who)) return -1;
    if (who == USER && r->is_answered) {
        if (chat_end_turn(r)) return -1;
        if (r->chat->n_turns == ENG_TURNS_MAX)
            return problem_set(r->in->problem, PROBLEM_INVALID_PARAMETER, "messages",
                               "messages must have at most %d questions", ENG_TURNS_MAX);
    }
    int n_before = r->n_pictures;
    if (take_content(r, content_name, json_object_get(m, "content"), who)) return -1;
    int may_be_empty = who != USER || r->n_pictures > n_before;
    if (check_content(r, content_name, who, may_be_empty)) return -1;
    return take_text(r, who);
}

static int take_messages(struct reading *r, const json_t *list) {
    size_t i;
    json_t *m;
    json_array_foreach(list, i, m) {
        if (take_message(r, i, m)) {
            const struct problem *p = r->in->problem;
            return p->pointer[0] ? -1 : problem_point(r->in->problem, "/messages/%zu", i);
        }
    }
    if (r->is_asked && !r->is_answered) return chat_end_turn(r);
    return fault(r, "messages", "must end with the user's question");
}

int chat_turns(struct input *in, struct chat *q) {
    struct reading r = {.in = in, .chat = q};
    struct buf *const texts[] = {&r.text, &r.question, &r.answer, &r.before};
    const json_t *list = json_object_get(in->root, "messages");
    if (!list)
        return problem_set(in->problem, PROBLEM_MISSING_PARAMETER, "messages",
                           "messages is missing: [{\"role\": \"user\", \"content\": ...}]");
    if (!json_is_array(list) || json_array_size(list) == 0)
        return json_must_be(in->problem, "messages", list, "an array of at least one message");
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        buf_init(texts[i], 2 * TEXTS_MAX_BYTES); /* a blank may stand before each text */
    r.text.max = TEXTS_MAX_BYTES;
    int rc = take_messages(&r, list);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        buf_clear(texts[i]);
    return rc;
}
