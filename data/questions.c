/* questions.c - see questions.h. */
#include "data/questions.h"

#include <string.h>

#include "data/annot.h"
#include "kernels/base/mem.h"

enum { ARENA_MAX = 512 << 20 };

/* ---- texts ---- */

static int is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

void questions_plain(const char *text, size_t len, char *out) {
    static const char unknown[] = "<unk>";
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (len - i >= 5 && memcmp(text + i, unknown, 5) == 0) {
            i += 4;
            continue;
        }
        char c = text[i];
        if (n == 0 && is_space(c)) continue;
        out[n++] = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
    }
    while (n > 0 && is_space(out[n - 1]))
        n--;
    out[n] = '\0';
}

/* ---- texts that live as long as the questions ---- */

static int keep_plain(struct questions *q, const char *text, const char **out, struct err *e) {
    size_t len = strlen(text);
    char *to = arena_take(q->mem, len + 1);
    if (!to) return err_set(e, E_NOMEM, "no memory for the answers");
    questions_plain(text, len, to);
    *out = to;
    return 0;
}

static int add_to(struct questions *q, const char **text, const char *more, struct err *e) {
    size_t n = strlen(*text), m = strlen(more);
    char *to = arena_take(q->mem, n + m + 1);
    if (!to) return err_set(e, E_NOMEM, "no memory for the answers");
    memcpy(to, *text, n);
    memcpy(to + n, more, m);
    *text = to;
    return 0;
}

static int take_list(struct questions *q, size_t n, const char ***out, struct err *e) {
    *out = arena_take(q->mem, (n + 1) * sizeof(**out));
    return *out ? 0 : err_set(e, E_NOMEM, "no memory for the answers");
}

static int one_answer(struct questions *q, struct question *to, const char *text, struct err *e) {
    int rc = take_list(q, 1, &to->answers, e);
    to->n = 1;
    return rc ? rc : keep_plain(q, text, &to->answers[0], e);
}

/* ---- the formats ---- */

static int read_gqa(struct questions *q, const json_t *o, const struct annot_at *at,
                    struct question *to, struct err *e) {
    const char *answer;
    const json_t *types = json_object_get(o, "types");
    int rc = annot_name(o, json_object_get(o, "imageId") ? "imageId" : "image", at, &to->file, e);
    if (rc == 0) rc = annot_text(o, "question", 1, at, &to->text, e);
    if (rc == 0) rc = annot_text(o, "answer", 1, at, &answer, e);
    if (rc == 0 && types)
        rc = annot_text(types, "structural", 0, at, &to->type, e);
    else if (rc == 0)
        rc = annot_text(o, "type", 0, at, &to->type, e);
    return rc ? rc : one_answer(q, to, answer, e);
}

static int read_vsr(struct questions *q, const json_t *o, const struct annot_at *at,
                    struct question *to, struct err *e) {
    int64_t label;
    int rc = annot_name(o, "image", at, &to->file, e);
    if (rc == 0) rc = annot_text(o, "caption", 1, at, &to->text, e);
    if (rc == 0) rc = annot_whole(o, "label", 0, 1, at, &label, e);
    if (rc == 0)
        rc = annot_text(o, json_object_get(o, "type") ? "type" : "relation", 0, at, &to->type, e);
    return rc ? rc : one_answer(q, to, label ? "true" : "false", e);
}

static int read_hm(struct questions *q, const json_t *o, const struct annot_at *at,
                   struct question *to, struct err *e) {
    int64_t label;
    int rc = annot_name(o, "img", at, &to->file, e);
    if (rc == 0) rc = annot_text(o, "text", 1, at, &to->text, e);
    if (rc == 0) rc = annot_whole(o, "label", 0, 1, at, &label, e);
    return rc ? rc : one_answer(q, to, label ? "yes" : "no", e);
}

static int read_vizwiz(struct questions *q, const json_t *o, const struct annot_at *at,
                       struct question *to, struct err *e) {
    const json_t *list = json_object_get(o, "answers");
    size_t n = json_array_size(list);
    int rc = annot_name(o, "image", at, &to->file, e);
    if (rc == 0) rc = annot_text(o, "question", 1, at, &to->text, e);
    if (rc == 0)
        rc =
            annot_text(o, json_object_get(o, "type") ? "type" : "answer_type", 0, at, &to->type, e);
    if (rc == 0 && (!json_is_array(list) || !n))
        rc = annot_bad(at, e, "\"answers\" must be an array that is not empty");
    if (rc == 0) rc = take_list(q, n, &to->answers, e);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        const char *text;
        rc = annot_text(json_array_get(list, i), "answer", 1, at, &text, e);
        if (rc == 0) rc = keep_plain(q, text, &to->answers[i], e);
    }
    to->n = (uint32_t)n;
    return rc;
}

static int read_names(struct questions *q, const json_t *o, const struct annot_at *at,
                      struct question *to, struct err *e) {
    const json_t *list = json_object_get(o, "names");
    size_t n = json_array_size(list);
    int rc = annot_name(o, "image", at, &to->file, e);
    if (rc == 0) rc = annot_text(o, "question", 0, at, &to->text, e);
    if (rc == 0) rc = annot_text(o, "type", 0, at, &to->type, e);
    if (rc == 0 && !n) rc = annot_bad(at, e, "\"names\" must be an array that is not empty");
    if (rc == 0) rc = take_list(q, n, &to->answers, e);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        const char *text = json_string_value(json_array_get(list, i));
        rc = text && *text ? keep_plain(q, text, &to->answers[i], e)
                           : annot_bad(at, e, "\"names\" must be texts that are not empty");
    }
    to->n = (uint32_t)n;
    return rc;
}

static int read_choices(struct questions *q, const json_t *o, const struct annot_at *at,
                        struct question *to, struct err *e) {
    const json_t *list = json_object_get(o, "choices"), *answer = json_object_get(o, "answer");
    size_t n = json_array_size(list), right = n;
    const char **choices;
    int is_icon = !json_object_get(o, "image") && json_object_get(o, "image_id");
    int rc = annot_name(o, is_icon ? "image_id" : "image", at, &to->file, e);
    if (rc == 0 && is_icon) rc = add_to(q, &to->file, "/image.png", e);
    if (rc == 0) rc = annot_text(o, "question", 1, at, &to->text, e);
    if (rc == 0) rc = annot_text(o, "type", 0, at, &to->type, e);
    if (rc == 0 && (!json_is_array(list) || n < 2 || n > QUESTIONS_CHOICES_MAX))
        rc = annot_bad(at, e, "\"choices\" must be an array of 2 .. %d", QUESTIONS_CHOICES_MAX);
    if (rc == 0) rc = take_list(q, n, &choices, e);
    if (rc) return rc;
    if (json_is_integer(answer) && json_integer_value(answer) >= 0)
        right = (size_t)json_integer_value(answer);
    for (size_t i = 0; i < n; i++) {
        choices[i] = json_string_value(json_array_get(list, i));
        if (!choices[i]) return annot_bad(at, e, "\"choices\" must be texts");
        if (json_is_string(answer) && strcmp(choices[i], json_string_value(answer)) == 0) right = i;
    }
    if (right >= n) return annot_bad(at, e, "\"answer\" is none of the choices");
    to->choices = choices;
    to->n_choices = (uint32_t)n;
    to->right = (uint32_t)right;
    return one_answer(q, to, choices[right], e);
}

/* ---- which one it is ---- */

static enum question_set set_of(const json_t *first) {
    if (json_object_get(first, "caption")) return SET_VSR;
    if (json_object_get(first, "answers")) return SET_VIZWIZ;
    if (json_object_get(first, "choices")) return SET_CHOICES;
    if (json_object_get(first, "names")) return SET_NAMES;
    if (json_object_get(first, "img")) return SET_HM;
    return SET_GQA;
}

static int read_one(struct questions *q, const json_t *o, const struct annot_at *at,
                    struct err *e) {
    static int (*const how[])(struct questions *, const json_t *, const struct annot_at *,
                              struct question *, struct err *) = {
        [SET_GQA] = read_gqa,         [SET_VSR] = read_vsr, [SET_VIZWIZ] = read_vizwiz,
        [SET_CHOICES] = read_choices, [SET_HM] = read_hm,   [SET_NAMES] = read_names};
    if (!json_is_object(o)) return annot_bad(at, e, "must be an object");
    return how[q->set](q, o, at, &q->at[q->n++], e);
}

static int read_all(struct questions *q, const char *path, size_t most, struct err *e) {
    const char *id;
    json_t *o;
    size_t i = 0;
    int rc = 0;
    if (json_is_array(q->root)) {
        q->set = set_of(json_array_get(q->root, 0));
        for (; rc == 0 && i < most; i++)
            rc = read_one(q, json_array_get(q->root, i), &(struct annot_at){path, "", i}, e);
        return rc;
    }
    json_object_foreach(q->root, id, o) {
        if (i == 0) q->set = set_of(o);
        if (i++ == most) break;
        rc = read_one(q, o, &(struct annot_at){path, "", i - 1}, e);
        if (rc) break;
    }
    return rc;
}

/* A single line is an object, like GQA's dictionary: make a list of it. */
static void wrap_single(struct questions *q) {
    if (!json_is_string(json_object_get(q->root, "image")) &&
        !json_is_string(json_object_get(q->root, "img")))
        return;
    json_t *list = json_array();
    json_array_append_new(list, q->root);
    q->root = list;
}

int questions_open(const char *path, int64_t limit, struct questions *out, struct err *e) {
    memset(out, 0, sizeof(*out));
    int rc = annot_open_lines(path, &out->root, e);
    if (rc) return rc;
    wrap_single(out);
    size_t n = json_is_array(out->root) ? json_array_size(out->root) : json_object_size(out->root);
    if (limit && n > (size_t)limit) n = (size_t)limit;
    if (n == 0) return err_set(e, E_FORMAT, "%s: no question", path);
    if (n > ANNOT_ITEMS_MAX)
        return err_set(e, E_TOO_BIG, "%s: over %d questions", path, ANNOT_ITEMS_MAX);
    out->mem = arena_new(ARENA_MAX);
    if (!out->mem) return err_set(e, E_NOMEM, "no memory for the questions");
    out->at = mem_must(n * sizeof(*out->at));
    return read_all(out, path, n, e);
}

void questions_close(struct questions *q) {
    mem_free(q->at);
    arena_free(q->mem);
    json_decref(q->root);
    memset(q, 0, sizeof(*q));
}
