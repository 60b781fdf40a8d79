/* value.c - a parameter's value, read strictly from JSON or from text; the readers of input.h.
 *
 * Thread: its owner's.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/wire/input.h"
#include "api/wire/text.h"
#include "kernels/base/mem.h"

struct value {
    const json_t *json; /* or NULL: */
    const char *text;
    size_t len;
};

static void find_pairs(const struct api_field *f, size_t n, const char *name, struct value *v,
                       int *times) {
    for (size_t i = 0; i < n; i++) {
        if (strcmp(f[i].name, name) != 0) continue;
        *v = (struct value){.text = (const char *)f[i].data, .len = f[i].len};
        ++*times;
    }
}

/* A file that becomes a field, as curl -F 'sentence=<file' makes one, ends with a line break. */
static size_t trim_line_ends(const char *text, size_t len) {
    while (len && (text[len - 1] == '\n' || text[len - 1] == '\r'))
        len--;
    return len;
}

/* 1: *v is its value; 0: absent; -1: there is a problem. */
static int value_find(struct input *in, const char *name, struct value *v) {
    if (in->problem->code) return -1;
    int times = 0;
    if (in->root && (v->json = json_object_get(in->root, name)) != NULL) times++;
    find_pairs(in->from->query, in->from->n_query, name, v, &times);
    find_pairs(in->from->form, in->from->n_form, name, v, &times);
    if (times > 1)
        problem_set(in->problem, PROBLEM_INVALID_PARAMETER, name,
                    "%s is given twice; query and body count together", name);
    if (!v->json && v->text) v->len = trim_line_ends(v->text, v->len);
    return in->problem->code ? -1 : times;
}

/* Text that can be quoted without quotes: a number, a word, a list. */
static int value_is_plain(const struct value *v) {
    for (size_t i = 0; i < v->len; i++) {
        if (!strchr("0123456789abcdefghijklmnopqrstuvwxyz+-.,", v->text[i]) || !v->text[i])
            return 0;
    }
    return v->len > 0 && v->len < 32;
}

/* "NAME must be WHAT; got GOT" */
static int must_be(struct input *in, const char *name, const struct value *v, const char *what) {
    char got[64];
    if (v->json)
        json_describe(v->json, got, sizeof(got));
    else if (value_is_plain(v))
        snprintf(got, sizeof(got), "%.*s", (int)v->len, v->text);
    else
        json_quote(v->text, v->len, got, sizeof(got));
    problem_set(in->problem, PROBLEM_INVALID_PARAMETER, name, "%s must be %s; got %s", name, what,
                got);
    return in->root ? problem_point(in->problem, "/%s", name) : -1;
}

int input_has(const struct input *in, const char *name) {
    struct value v;
    int times = 0;
    find_pairs(in->from->query, in->from->n_query, name, &v, &times);
    find_pairs(in->from->form, in->from->n_form, name, &v, &times);
    return times > 0 || json_object_get(in->root, name) != NULL;
}

/* ---- numbers ---- */

/* Digits, perhaps behind a minus, nothing else: no leading zero, no -0. 0 on success. */
static int read_text_int(const char *s, size_t len, int *out) {
    size_t i = len > 0 && s[0] == '-';
    int v = 0;
    if (i == len || len - i > 8 || (s[i] == '0' && len > 1)) return -1;
    for (; i < len; i++) {
        if (s[i] < '0' || s[i] > '9') return -1;
        v = v * 10 + (s[i] - '0');
    }
    *out = s[0] == '-' ? -v : v;
    return 0;
}

static int read_json_int(const json_t *v, int *out) {
    if (!json_is_integer(v)) return -1;
    json_int_t i = json_integer_value(v);
    if (i < -99999999 || i > 99999999) return -1;
    *out = (int)i;
    return 0;
}

int input_int(struct input *in, const char *name, int lo, int hi, int *out) {
    struct value v = {0};
    int i = 0, got = value_find(in, name, &v);
    if (got <= 0) return got;
    int rc = v.json ? read_json_int(v.json, &i) : read_text_int(v.text, v.len, &i);
    if (rc || i < lo || i > hi) {
        char what[64];
        snprintf(what, sizeof(what), "an integer from %d to %d", lo, hi);
        return must_be(in, name, &v, what);
    }
    *out = i;
    return 0;
}

/* A decimal number and nothing else: no blanks, no hex, no "nan". */
static int read_text_number(const char *s, size_t len, double *out) {
    char copy[32], *end;
    if (len == 0 || len >= sizeof(copy)) return -1;
    for (size_t i = 0; i < len; i++) {
        if (!s[i] || !strchr("0123456789.-e", s[i])) return -1;
    }
    memcpy(copy, s, len);
    copy[len] = 0;
    *out = strtod(copy, &end);
    return *end || !isfinite(*out) ? -1 : 0;
}

static int read_json_number(const json_t *v, double *out) {
    if (!json_is_number(v)) return -1;
    *out = json_number_value(v);
    return 0;
}

int input_number(struct input *in, const char *name, double lo, double hi, double *out) {
    struct value v = {0};
    double x = 0;
    int got = value_find(in, name, &v);
    if (got <= 0) return got;
    int rc = v.json ? read_json_number(v.json, &x) : read_text_number(v.text, v.len, &x);
    if (rc || x < lo || x > hi) {
        char what[64];
        snprintf(what, sizeof(what), "a number from %g to %g", lo, hi);
        return must_be(in, name, &v, what);
    }
    *out = x;
    return 0;
}

int input_seed(struct input *in, const char *name, uint64_t *out) {
    struct value v = {0};
    int got = value_find(in, name, &v);
    if (got <= 0) return got;
    uint64_t seed = 0;
    int is_good = v.json ? json_is_integer(v.json) && json_integer_value(v.json) >= 0
                         : v.len > 0 && v.len <= 18;
    if (v.json && is_good) seed = (uint64_t)json_integer_value(v.json);
    for (size_t i = 0; !v.json && is_good && i < v.len; i++) {
        is_good = v.text[i] >= '0' && v.text[i] <= '9';
        seed = seed * 10 + (uint64_t)(v.text[i] - '0');
    }
    if (!is_good) return must_be(in, name, &v, "an integer from 0 up, of at most 18 digits");
    *out = seed;
    return 0;
}

/* ---- words ---- */

static int text_is(const struct value *v, const char *word) {
    return v->len == strlen(word) && memcmp(v->text, word, v->len) == 0;
}

int input_flag(struct input *in, const char *name, int *out) {
    struct value v = {0};
    int got = value_find(in, name, &v);
    if (got <= 0) return got;
    if (v.json ? json_is_true(v.json) : text_is(&v, "true"))
        *out = 1;
    else if (v.json ? json_is_false(v.json) : text_is(&v, "false"))
        *out = 0;
    else
        return must_be(in, name, &v, "true or false");
    return 0;
}

int input_word(struct input *in, const char *name, const char *const *words, int *out) {
    struct value v = {0};
    int got = value_find(in, name, &v);
    if (got <= 0) return got;
    struct value text = v;
    if (v.json && json_is_string(v.json)) {
        text.text = json_string_value(v.json);
        text.len = json_string_length(v.json);
    }
    char what[64] = "";
    for (int i = 0; words[i]; i++) {
        if (text.text && text_is(&text, words[i])) {
            *out = i;
            return 0;
        }
        size_t n = strlen(what);
        snprintf(what + n, sizeof(what) - n, "%s%s",
                 i == 0         ? ""
                 : words[i + 1] ? ", "
                                : " or ",
                 words[i]);
    }
    return must_be(in, name, &v, what);
}

static int read_text_ints(const struct value *v, int n, int *out) {
    const char *s = v->text, *end = v->text + v->len;
    for (int i = 0; i < n; i++) {
        const char *comma = memchr(s, ',', (size_t)(end - s));
        const char *stop = comma ? comma : end;
        if ((comma != NULL) != (i + 1 < n) || read_text_int(s, (size_t)(stop - s), &out[i]))
            return -1;
        s = stop + 1;
    }
    return 0;
}

static int read_json_ints(const json_t *v, int n, int *out) {
    if (!json_is_array(v) || json_array_size(v) != (size_t)n) return -1;
    for (int i = 0; i < n; i++) {
        if (read_json_int(json_array_get(v, (size_t)i), &out[i])) return -1;
    }
    return 0;
}

int input_ints(struct input *in, const char *name, const char *form, int n, int *out) {
    struct value v = {0};
    int got = value_find(in, name, &v), read[8];
    if (got <= 0) return got;
    must(n <= 8);
    if (v.json ? read_json_ints(v.json, n, read) : read_text_ints(&v, n, read)) {
        char what[80];
        snprintf(what, sizeof(what), "%d integers: %s", n, form);
        return must_be(in, name, &v, what);
    }
    memcpy(out, read, (size_t)n * sizeof(read[0]));
    return 0;
}

static int read_text_numbers(const struct value *v, int n, double *out) {
    const char *s = v->text, *end = v->text + v->len;
    for (int i = 0; i < n; i++) {
        const char *comma = memchr(s, ',', (size_t)(end - s));
        const char *stop = comma ? comma : end;
        if ((comma != NULL) != (i + 1 < n) || read_text_number(s, (size_t)(stop - s), &out[i]))
            return -1;
        s = stop + 1;
    }
    return 0;
}

static int read_json_numbers(const json_t *v, int n, double *out) {
    if (!json_is_array(v) || json_array_size(v) != (size_t)n) return -1;
    for (int i = 0; i < n; i++) {
        if (read_json_number(json_array_get(v, (size_t)i), &out[i])) return -1;
    }
    return 0;
}

int input_numbers(struct input *in, const char *name, const char *form, int n, double *out) {
    struct value v = {0};
    double read[8];
    int got = value_find(in, name, &v);
    if (got <= 0) return got;
    must(n <= 8);
    if (v.json ? read_json_numbers(v.json, n, read) : read_text_numbers(&v, n, read)) {
        char what[80];
        snprintf(what, sizeof(what), "%d numbers: %s", n, form);
        return must_be(in, name, &v, what);
    }
    memcpy(out, read, (size_t)n * sizeof(read[0]));
    return 0;
}

/* What JSON has as a list or an object is JSON text in a form or a query. What can't be read as
 * that is a string, and its reader says what it should have been. */
static int read_json_text(struct input *in, const char *name, const struct value *v, json_t **out) {
    struct problem inner = {0};
    if (json_open((const uint8_t *)v->text, v->len, out, &inner) == 0) return 0;
    if (!memchr(v->text, 0, v->len)) *out = json_stringn(v->text, v->len);
    return *out ? 0 : must_be(in, name, v, "JSON text");
}

static int read_points(struct input *in, const char *name, const json_t *v, int max, int grid,
                       struct eng_point **points, uint32_t *n) {
    size_t count = json_is_array(v) ? json_array_size(v) : 0;
    if (count < 1 || count > (size_t)max) {
        struct value whole = {.json = v};
        char what[96];
        snprintf(what, sizeof(what), "an array of 1 to %d points [[x,y],...]", max);
        return must_be(in, name, &whole, what);
    }
    struct eng_point *p = mem_try(count * sizeof(*p));
    if (!p) return problem_set(in->problem, PROBLEM_NO_MEMORY, NULL, NULL);
    for (size_t i = 0; i < count; i++) {
        int xy[2];
        const json_t *one = json_array_get(v, i);
        if (read_json_ints(one, 2, xy) || xy[0] < 0 || xy[0] >= grid || xy[1] < 0 ||
            xy[1] >= grid) {
            char text[64];
            if (read_json_ints(one, 2, xy) == 0)
                snprintf(text, sizeof(text), "[%d,%d]", xy[0], xy[1]);
            else
                json_describe(one, text, sizeof(text));
            problem_set(in->problem, PROBLEM_INVALID_PARAMETER, name,
                        "%s[%zu] must be [x,y] with integers from 0 to %d; got %s", name, i,
                        grid - 1, text);
            mem_free(p);
            return problem_point(in->problem, "/%s/%zu", name, i);
        }
        p[i] = (struct eng_point){.x = (uint16_t)xy[0], .y = (uint16_t)xy[1]};
    }
    *points = p;
    *n = (uint32_t)count;
    return 0;
}

int input_points(struct input *in, const char *name, int max, int grid, struct eng_point **points,
                 uint32_t *n) {
    struct value v = {0};
    int got = value_find(in, name, &v);
    if (got < 0) return -1;
    if (got == 0) {
        return problem_set(in->problem, PROBLEM_MISSING_PARAMETER, name,
                           "%s is missing: an array of 1 to %d points [[x,y],...]", name, max);
    }
    if (v.json) return read_points(in, name, v.json, max, grid, points, n);
    json_t *root;
    if (read_json_text(in, name, &v, &root)) return -1;
    int rc = read_points(in, name, root, max, grid, points, n);
    json_decref(root);
    return rc;
}

/* ---- texts, and anything else ---- */

int input_check_text(struct input *in, const char *name, const char *text, size_t len, size_t max) {
    struct text_look look = text_look(text, len);
    if (look.bad_at < len)
        return problem_set(in->problem, PROBLEM_INVALID_PARAMETER, name,
                           "%s is not UTF-8 at byte %zu", name, look.bad_at);
    if (look.is_blank)
        return problem_set(in->problem, PROBLEM_INVALID_PARAMETER, name, "%s is %s", name,
                           len ? "blank" : "empty");
    if (look.characters > max)
        return problem_set(in->problem, PROBLEM_INVALID_PARAMETER, name,
                           "%s must have at most %zu characters; got %zu", name, max,
                           look.characters);
    if (look.control_at < len)
        return problem_set(in->problem, PROBLEM_INVALID_PARAMETER, name,
                           "%s has a control character at byte %zu", name, look.control_at);
    return 0;
}

int input_check_tags(struct input *in, const char *name, const char *text, int in_chat) {
    struct err e = {0};
    if (eng_check_text(text, in_chat, name, &e) == 0) return 0;
    return problem_set(in->problem, PROBLEM_INVALID_PARAMETER, name, "%s", e.text);
}

void *input_take(struct input *in, size_t bytes) {
    void *p = arena_take(in->texts, bytes);
    if (!p) problem_set(in->problem, PROBLEM_NO_MEMORY, NULL, NULL);
    return p;
}

char *input_keep(struct input *in, const char *text, size_t len) {
    char *p = arena_strdup(in->texts, text, len);
    if (!p) problem_set(in->problem, PROBLEM_NO_MEMORY, NULL, NULL);
    return p;
}

int input_text(struct input *in, const char *name, size_t max, const char **out) {
    struct value v = {0};
    int got = value_find(in, name, &v);
    if (got <= 0) return got;
    if (v.json && !json_is_string(v.json)) return must_be(in, name, &v, "a string");
    const char *text = v.json ? json_string_value(v.json) : v.text;
    size_t len = v.json ? trim_line_ends(text, json_string_length(v.json)) : v.len;
    if (input_check_text(in, name, text, len, max) == 0) *out = input_keep(in, text, len);
    if (!in->problem->code && input_check_tags(in, name, *out, 0) == 0) return 0;
    return in->root ? problem_point(in->problem, "/%s", name) : -1;
}

static int read_texts(struct input *in, const char *name, const json_t *v, size_t max,
                      const char **texts) {
    size_t i;
    json_t *one;
    json_array_foreach(v, i, one) {
        char at[64];
        snprintf(at, sizeof(at), "%.24s[%zu]", name, i);
        if (!json_is_string(one))
            json_must_be(in->problem, at, one, "a string");
        else
            input_check_text(in, at, json_string_value(one), json_string_length(one), max);
        for (size_t k = 0; !in->problem->code && k < i; k++) {
            if (strcmp(texts[k], json_string_value(one)) == 0)
                problem_set(in->problem, PROBLEM_INVALID_PARAMETER, at, "%s is the same as %s[%zu]",
                            at, name, k);
        }
        if (!in->problem->code)
            texts[i] = input_keep(in, json_string_value(one), json_string_length(one));
        if (in->problem->code || input_check_tags(in, at, texts[i], 0)) {
            return problem_point(in->problem, "/%s/%zu", name, i);
        }
    }
    return 0;
}

int input_texts(struct input *in, const char *name, uint32_t max_n, size_t max,
                const char *const **out, uint32_t *n) {
    json_t *v = NULL;
    if (input_json(in, name, &v)) return -1;
    if (!v) return 0;
    size_t count = json_is_array(v) ? json_array_size(v) : 0;
    int rc = -1;
    if (count < 1 || count > max_n) {
        char what[64];
        snprintf(what, sizeof(what), "an array of 1 to %u strings", max_n);
        json_must_be(in->problem, name, v, what);
    } else {
        const char **texts = input_take(in, count * sizeof(*texts));
        rc = texts ? read_texts(in, name, v, max, texts) : -1;
        *out = texts;
        *n = (uint32_t)count;
    }
    json_decref(v);
    return rc;
}

int input_json(struct input *in, const char *name, json_t **out) {
    struct value v = {0};
    *out = NULL;
    int got = value_find(in, name, &v);
    if (got <= 0) return got;
    if (v.json) {
        *out = json_incref((json_t *)(uintptr_t)v.json);
        return 0;
    }
    return read_json_text(in, name, &v, out);
}
