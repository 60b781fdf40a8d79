/* line_chat.c - OpenAI's messages, made into turns: see line.h.
 *
 * Read as api/task/chat_read.c reads a request: a system message is put before the first question,
 * for the model knows no third speaker, and line breaks become blanks. User and assistant take
 * turns; the assistant has the last word, for answers are what is learnt.
 */
#include <stdio.h>
#include <string.h>

#include "data/source/line.h"
#include "kernels/base/buf.h"

struct chat {
    const struct line_reading *r;
    struct sample_turn *turns; /* (SAMPLE_TURNS_MAX) */
    uint32_t n;
    struct buf text;   /* of the message at hand */
    struct buf system; /* what comes before the first question */
    uint32_t n_pictures;
};

static void chat_add(struct buf *b, const char *s) {
    if (b->len && *s) buf_char(b, ' ');
    for (; *s; s++)
        buf_char(b, *s == '\n' || *s == '\r' || *s == '\t' ? ' ' : *s);
}

static int chat_part(struct chat *c, const json_t *part, const char *name, int is_user) {
    const char *type = json_string_value(json_object_get(part, "type"));
    const char *text = json_string_value(json_object_get(part, "text"));
    if (type && strcmp(type, "text") == 0 && text) {
        chat_add(&c->text, text);
        return 0;
    }
    if (!type || strcmp(type, "image_url") != 0)
        return line_bad(c->r->why, "wrong_type", name, "must be a text or an image_url");
    if (!is_user)
        return line_bad(c->r->why, "bad_turns", name, "only the user's messages have pictures");
    const json_t *url = json_object_get(json_object_get(part, "image_url"), "url");
    c->n_pictures++;
    return line_picture(c->r, url, name);
}

/* `content` -> c->text, and pictures. */
static int chat_content(struct chat *c, const json_t *content, const char *name, int is_user) {
    int rc = 0;
    c->text.len = 0;
    if (json_is_string(content)) {
        chat_add(&c->text, json_string_value(content));
    } else if (json_is_array(content)) {
        for (size_t i = 0; rc == 0 && i < json_array_size(content); i++)
            rc = chat_part(c, json_array_get(content, i), name, is_user);
    } else {
        return line_bad(c->r->why, "wrong_type", name, "must be a text or a list of parts");
    }
    if (rc == 0 && (c->text.bad == E_NOMEM || c->system.bad == E_NOMEM)) rc = E_NOMEM;
    if (rc == 0 && (c->text.bad || c->system.bad))
        rc = line_bad(c->r->why, "too_long", name, "the texts are too long");
    return rc;
}

/* The text at hand, checked, as the line's own. */
static int chat_keep(struct chat *c, const char *name, const char **out) {
    const struct buf *b = &c->text;
    if (b->bad == E_NOMEM) return E_NOMEM;
    if (b->bad) return line_bad(c->r->why, "too_long", name, "the texts are too long");
    if (!b->len || strspn((const char *)b->p, " ") == b->len)
        return line_bad(c->r->why, "bad_text", name, "is empty");
    struct err why = {0};
    if (c->r->check && c->r->check((const char *)b->p, 1, name, &why))
        return line_bad(c->r->why, "bad_text", name, "%s", why.text);
    *out = arena_strdup(c->r->line->mem, (const char *)b->p, b->len);
    return *out ? 0 : E_NOMEM;
}

static int chat_question(struct chat *c, const char *name) {
    if (c->n && !c->turns[c->n - 1].answer)
        return line_bad(c->r->why, "bad_turns", name, "user and assistant have to take turns");
    if (c->n == SAMPLE_TURNS_MAX)
        return line_bad(c->r->why, "bad_turns", name, "over %d questions", SAMPLE_TURNS_MAX);
    if (c->system.len) {
        struct buf whole = c->system;
        chat_add(&whole, c->text.len ? (const char *)c->text.p : "");
        c->system = c->text;
        c->system.len = 0;
        c->text = whole;
    }
    struct sample_turn *t = &c->turns[c->n++];
    /* Those of the line's own `image` come with the first question. */
    t->n_pictures = c->n == 1 ? c->r->line->n_pictures : c->n_pictures;
    return chat_keep(c, name, &t->question);
}

static int line_chat_answer(struct chat *c, const char *name) {
    if (!c->n || c->turns[c->n - 1].answer)
        return line_bad(c->r->why, "bad_turns", name, "the assistant answers no question");
    return chat_keep(c, name, &c->turns[c->n - 1].answer);
}

static int chat_message(struct chat *c, const json_t *m, size_t i) {
    char name[40];
    snprintf(name, sizeof(name), "messages[%zu]", i);
    const char *key, *role = json_string_value(json_object_get(m, "role"));
    json_t *v;
    json_object_foreach((json_t *)m, key, v) {
        int is_one = strcmp(key, "weight") == 0 && json_number_value(v) == 1;
        if (strcmp(key, "role") != 0 && strcmp(key, "content") != 0 && strcmp(key, "name") != 0 &&
            !is_one)
            return line_bad(c->r->why, "unknown_field", name, "has the field \"%.40s\"%s", key,
                            strcmp(key, "weight") == 0 ? " other than 1" : "");
    }
    int is_user = role && strcmp(role, "user") == 0;
    int is_assistant = role && strcmp(role, "assistant") == 0;
    int is_system = role && (strcmp(role, "system") == 0 || strcmp(role, "developer") == 0);
    if (!is_user && !is_assistant && !is_system)
        return line_bad(c->r->why, "bad_turns", name, "its role must be system, user or assistant");
    if (is_system && c->n)
        return line_bad(c->r->why, "bad_turns", name, "the system comes before the first question");
    c->n_pictures = 0;
    int rc = chat_content(c, json_object_get(m, "content"), name, is_user);
    if (rc == 0 && is_user) rc = chat_question(c, name);
    if (rc == 0 && is_assistant) rc = line_chat_answer(c, name);
    if (rc == 0 && is_system) chat_add(&c->system, c->text.len ? (const char *)c->text.p : "");
    return rc;
}

static int chat_messages(struct chat *c, const json_t *v) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < json_array_size(v); i++)
        rc = chat_message(c, json_array_get(v, i), i);
    if (rc) return rc;
    if (!c->n || !c->turns[c->n - 1].answer)
        return line_bad(c->r->why, "bad_turns", "messages",
                        "the assistant must have the last word");
    c->r->line->turns = c->turns;
    c->r->line->n_turns = c->n;
    return 0;
}

int line_read_messages(const struct line_reading *r, const json_t *v) {
    if (!json_is_array(v))
        return line_bad(r->why, "wrong_type", "messages", "must be a list of messages");
    struct chat c = {.r = r, .turns = line_take(r, SAMPLE_TURNS_MAX, sizeof(*c.turns))};
    if (!c.turns) return E_NOMEM;
    buf_init(&c.text, SOURCE_LINE_PLAIN_MAX);
    buf_init(&c.system, SOURCE_LINE_PLAIN_MAX);
    int rc = chat_messages(&c, v);
    buf_clear(&c.text);
    buf_clear(&c.system);
    return rc;
}
