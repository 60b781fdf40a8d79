/* line.c - see line.h. */
#include "data/source/line.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "data/source/tar.h"
#include "data/source/url.h"
#include "kernels/base/jsonscan.h"
#include "kernels/base/utf8.h"

int line_bad(struct line_fault *f, const char *code, const char *field, const char *fmt, ...) {
    if (f->code) return E_FORMAT;
    va_list va;
    va_start(va, fmt);
    vsnprintf(f->reason, sizeof(f->reason), fmt, va);
    va_end(va);
    f->code = code;
    snprintf(f->field, sizeof(f->field), "%s", field);
    return E_FORMAT;
}

void *line_take(const struct line_reading *r, size_t n, size_t size) {
    size_t bytes;
    return mem_mul(n ? n : 1, size, &bytes) ? arena_take(r->line->mem, bytes) : NULL;
}

/* ---- which fields a task has ---- */

enum field {
    TASK,
    ID,
    ORIENT,
    IMAGE,
    IMAGES,
    SENTENCE,
    BOX,
    MASK,
    CAPTION,
    PHRASES,
    QUESTION,
    ANSWER,
    ABOUT,
    MESSAGES,
    GAME,
    ACTION,
    FIELDS
};
static const char *const names[FIELDS] = {
    "task",    "id",      "orient",   "image",  "images", "sentence", "box",  "mask",
    "caption", "phrases", "question", "answer", "about",  "messages", "game", "action"};
#define BIT(f) (1u << (f))

struct task_rule {
    const char *word;
    enum sample_task task;
    unsigned needs, may;  /* fields, beside those of all tasks */
    uint32_t least, most; /* pictures */
};
static const struct task_rule rules[] = {
    {"pixels", SAMPLE_PIXELS, 0, 0, 1, SAMPLE_PICTURES_MAX},
    {"mask", SAMPLE_MASK, BIT(SENTENCE) | BIT(MASK), 0, 1, 1},
    {"refer", SAMPLE_REFER, BIT(SENTENCE) | BIT(BOX), 0, 1, 1},
    {"identify", SAMPLE_IDENTIFY, BIT(SENTENCE) | BIT(BOX), 0, 1, 1},
    {"caption", SAMPLE_CAPTION, BIT(CAPTION), 0, 1, SAMPLE_PICTURES_MAX},
    {"grounding", SAMPLE_GROUNDING, BIT(CAPTION) | BIT(PHRASES), 0, 1, 1},
    {"detection", SAMPLE_DETECTION, BIT(PHRASES), BIT(CAPTION), 1, 1},
    {"vqa", SAMPLE_VQA, BIT(QUESTION) | BIT(ANSWER), BIT(ABOUT), 1, SAMPLE_PICTURES_MAX},
    {"chat", SAMPLE_CHAT, BIT(MESSAGES), 0, 0, SAMPLE_PICTURES_MAX},
    /* Which game decides between driving and shooting: line_read_action. */
    {"act", SAMPLE_TASKS, BIT(GAME) | BIT(ACTION), 0, 1, SAMPLE_PICTURES_MAX}};
static const unsigned of_all = BIT(TASK) | BIT(ID) | BIT(ORIENT) | BIT(IMAGE) | BIT(IMAGES);

/* The rules of a line's tasks together. */
struct wants {
    unsigned needs, may;
    uint32_t least, most;
    const char *words[ARRAY_LEN(rules)];
    unsigned n;
};

static int add_task(const struct line_reading *r, const json_t *v, struct wants *w) {
    const char *word = json_string_value(v);
    for (size_t i = 0; word && i < ARRAY_LEN(rules); i++) {
        const struct task_rule *rule = &rules[i];
        if (strcmp(word, rule->word) != 0) continue;
        for (unsigned k = 0; k < w->n; k++)
            if (w->words[k] == rule->word)
                return line_bad(r->why, "unknown_task", "task", "%s stands there twice", word);
        w->words[w->n++] = rule->word;
        w->needs |= rule->needs;
        w->may |= rule->may;
        if (rule->least > w->least) w->least = rule->least;
        if (rule->most < w->most) w->most = rule->most;
        if (rule->task < SAMPLE_TASKS) r->line->tasks |= 1u << rule->task;
        return 0;
    }
    if (!word) return line_bad(r->why, "wrong_type", "task", "must be a word or a list of words");
    return line_bad(r->why, "unknown_task", "task",
                    "\"%.40s\" is none of pixels, mask, refer, identify, caption, grounding, "
                    "detection, vqa, chat and act",
                    word);
}

static int read_tasks(const struct line_reading *r, struct wants *w) {
    const json_t *v = json_object_get(r->line->root, "task");
    *w = (struct wants){.most = SAMPLE_PICTURES_MAX};
    if (!v && json_object_get(r->line->root, "messages")) {
        json_t *chat = json_string("chat");
        int rc = add_task(r, chat, w);
        json_decref(chat);
        return rc;
    }
    if (!v)
        return line_bad(r->why, "missing_field", "task", "the line has neither task nor messages");
    if (!json_is_array(v)) return add_task(r, v, w);
    if (!json_array_size(v)) return line_bad(r->why, "unknown_task", "task", "names no task");
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < json_array_size(v); i++)
        rc = add_task(r, json_array_get(v, i), w);
    return rc;
}

static int line_check_fields(const struct line_reading *r, const struct wants *w) {
    unsigned have = 0;
    const char *key;
    json_t *v;
    json_object_foreach(r->line->root, key, v) {
        unsigned f = 0;
        while (f < FIELDS && strcmp(key, names[f]) != 0)
            f++;
        if (f == FIELDS || !((of_all | w->needs | w->may) & BIT(f)))
            return line_bad(r->why, "unknown_field", key, "%s has no field \"%.40s\"", w->words[0],
                            key);
        have |= BIT(f);
    }
    for (unsigned f = 0; f < FIELDS; f++)
        if ((w->needs & BIT(f)) && !(have & BIT(f)))
            return line_bad(r->why, "missing_field", names[f], "%s needs \"%s\"", w->words[0],
                            names[f]);
    return 0;
}

/* ---- the fields ---- */

int line_text(const struct line_reading *r, const json_t *v, const char *name, int in_chat,
              const char **out) {
    struct err why = {0};
    const char *text = json_string_value(v);
    if (!text) return line_bad(r->why, "wrong_type", name, "must be a text");
    if (!text[strspn(text, " \t\n")]) return line_bad(r->why, "bad_text", name, "is empty");
    if (r->check && r->check(text, in_chat, name, &why))
        return line_bad(r->why, "bad_text", name, "%s", why.text);
    *out = text;
    return 0;
}

int line_picture(const struct line_reading *r, const json_t *v, const char *name) {
    struct line *l = r->line;
    const char *text = json_string_value(v);
    if (!text) return line_bad(r->why, "wrong_type", name, "must be a file's name or a data URL");
    if (l->n_pictures == SAMPLE_PICTURES_MAX)
        return line_bad(r->why, "too_many_pictures", name, "the line has over %d pictures",
                        SAMPLE_PICTURES_MAX);
    if (strncmp(text, "http:", 5) == 0 || strncmp(text, "https:", 6) == 0)
        return line_bad(r->why, "unsupported_url", name,
                        "pictures are not fetched; store the file, or write it as a data URL");
    if (strncmp(text, "./", 2) == 0) text += 2;
    struct err why = {0};
    if (url_is(text) ? url_check(text, &why) : tar_name_check(text, &why))
        return line_bad(r->why, url_is(text) ? "bad_picture" : "no_such_picture", name, "%s",
                        why.text);
    l->pictures[l->n_pictures++] = text;
    return 0;
}

static int read_pictures(const struct line_reading *r) {
    const json_t *one = json_object_get(r->line->root, "image");
    const json_t *many = json_object_get(r->line->root, "images");
    int rc = 0;
    if (one && many) return line_bad(r->why, "unknown_field", "images", "beside image: take one");
    if (one) return line_picture(r, one, "image");
    if (many && !json_is_array(many))
        return line_bad(r->why, "wrong_type", "images", "must be a list");
    for (size_t i = 0; rc == 0 && i < json_array_size(many); i++)
        rc = line_picture(r, json_array_get(many, i), "images");
    return rc;
}

static int read_orient(const struct line_reading *r, const json_t *v) {
    const char *word = json_string_value(v);
    if (!v) return 0;
    if (!word || (strcmp(word, "stored") != 0 && strcmp(word, "shown") != 0))
        return line_bad(r->why, "out_of_range", "orient", "must be \"stored\" or \"shown\"");
    r->line->orient = word[1] == 't' ? LINE_ORIENT_STORED : LINE_ORIENT_SHOWN;
    return 0;
}

/* Fields that say themselves what they are; those of the pictures first. */
static int line_read_fields(const struct line_reading *r, const struct wants *w) {
    struct line *l = r->line;
    const json_t *v[FIELDS];
    for (int f = 0; f < FIELDS; f++)
        v[f] = json_object_get(l->root, names[f]);
    int rc = read_pictures(r);
    if (rc == 0) rc = read_orient(r, v[ORIENT]);
    if (rc == 0 && v[SENTENCE]) rc = line_text(r, v[SENTENCE], "sentence", 0, &l->sentence);
    if (rc == 0 && v[CAPTION]) rc = line_text(r, v[CAPTION], "caption", 0, &l->caption);
    if (rc == 0 && v[QUESTION]) rc = line_text(r, v[QUESTION], "question", 0, &l->question);
    if (rc == 0 && v[ANSWER]) rc = line_read_answers(r, v[ANSWER]);
    if (rc == 0 && v[ABOUT]) rc = line_read_about(r, v[ABOUT]);
    if (rc == 0 && v[BOX]) rc = line_box(r, v[BOX], "box", l->box);
    if (rc == 0 && v[MASK]) rc = line_read_mask(r, v[MASK]);
    if (rc == 0 && v[PHRASES]) rc = line_read_phrases(r, v[PHRASES]);
    if (rc == 0 && v[MESSAGES]) rc = line_read_messages(r, v[MESSAGES]);
    if (rc == 0 && v[ACTION]) rc = line_read_action(r, v[GAME], v[ACTION]);
    if (rc) return rc;
    if (l->n_pictures < w->least)
        return line_bad(r->why, "missing_field", "image", "%s needs a picture", w->words[0]);
    if (l->n_pictures > w->most)
        return line_bad(r->why, "too_many_pictures", "images", "%s takes one picture", w->words[0]);
    return 0;
}

/* ---- the line ---- */

static const char *json_code(const json_error_t *why) {
    enum json_error_code code = json_error_code(why);
    if (code == json_error_duplicate_key) return "duplicate_key";
    return code == json_error_invalid_utf8 ? "not_utf8" : "not_json";
}

static int read_json(const char *text, size_t len, struct line *l, struct line_fault *f) {
    json_error_t why;
    struct err e = {0};
    if (len > SOURCE_LINE_MAX)
        return line_bad(f, "too_long", "", "the line has over %d MiB", SOURCE_LINE_MAX >> 20);
    if (len > SOURCE_LINE_PLAIN_MAX && !memmem(text, len, "\"data:", 6))
        return line_bad(f, "too_long", "", "the line has over %d KiB and no picture inside",
                        SOURCE_LINE_PLAIN_MAX >> 10);
    if (jsonscan_bound(text, len, LINE_DEPTH_MAX, LINE_PARTS_MAX, &e))
        return line_bad(f, "not_json", "", "%s", e.text);
    l->root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
    if (!l->root)
        return line_bad(f, json_code(&why), "", "column %d: %.120s", why.column, why.text);
    if (!json_is_object(l->root))
        return line_bad(f, "wrong_type", "", "the line must be an object {...}");
    return 0;
}

int line_read(const char *text, size_t len, source_check_fn *check, struct line *out,
              struct line_fault *why) {
    struct wants w;
    memset(out, 0, sizeof(*out));
    memset(why, 0, sizeof(*why));
    out->mem = arena_new(LINE_ARENA_MAX);
    if (!out->mem) return E_NOMEM;
    const struct line_reading r = {out, check, why};
    int rc = read_json(text, len, out, why);
    if (rc == 0) rc = read_tasks(&r, &w);
    if (rc == 0) rc = line_check_fields(&r, &w);
    return rc ? rc : line_read_fields(&r, &w);
}

void line_clear(struct line *l) {
    json_decref(l->root);
    arena_free(l->mem);
    memset(l, 0, sizeof(*l));
}
