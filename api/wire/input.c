/* input.c - raw, multipart or JSON: the same picture, the same parameters, the same errors.
 *
 * A parameter's value is either a JSON value or a piece of text (query and form are text by
 * nature); each reader below takes both and ends in one message that says what would have been
 * right. Exactly one picture is taken. URLs other than data: are refused by their scheme before
 * anything else looks at them: this daemon opens no connection on a client's word.
 *
 * Thread: the worker that runs the call.
 */
#include "api/wire/input.h"

#include <string.h>

#include "api/wire/base64.h"
#include "api/call.h"
#include "kernels/base/mem.h"

struct value {
    const json_t *json; /* or NULL: */
    const char *text;
    size_t len;
};

/* ---- finding the picture ---- */

static int media_is(const char *content_type, const char *media) {
    size_t n = strlen(media);
    if (!content_type || strncasecmp(content_type, media, n) != 0) return 0;
    return strchr("; \t", content_type[n]) != NULL; /* the NUL counts */
}

static int take_picture(struct input *in, const struct api *a, const uint8_t *bytes, size_t len) {
    if (in->has_picture || in->image_id)
        return problem_set(in->problem, "too_many_pictures", "image", NULL);
    if (len == 0)
        return problem_set(in->problem, "bad_picture", "image", "the picture is empty (0 bytes)");
    if (len > a->opt.picture_max) {
        return problem_set(in->problem, "picture_too_large", "image",
                           "the picture has %zu bytes; at most %zu are taken", len,
                           a->opt.picture_max);
    }
    in->picture = bytes;
    in->picture_len = len;
    in->has_picture = 1;
    return 0;
}

static int take_string(struct input *in, const struct api *a, const char *s, size_t len) {
    static const char *const heads[] = {"data:image/png;base64,", "data:image/jpeg;base64,"};
    size_t skip = 0;
    const char *colon = memchr(s, ':', len < 32 ? len : 32);
    if (colon && strncasecmp(s, "data:", 5) != 0)
        return problem_set(in->problem, "unsupported_url", "image", NULL);
    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        if (strncasecmp(s, heads[i], strlen(heads[i])) == 0) skip = strlen(heads[i]);
    }
    if (colon && !skip) {
        return problem_set(in->problem, "unsupported_picture", "image",
                           "a data URL must begin with %s or %s", heads[0], heads[1]);
    }
    size_t n, at;
    int rc = base64_decode(s + skip, len - skip, &in->decoded, &n, &at);
    if (rc == E_NOMEM) return problem_set(in->problem, "no_memory", NULL, NULL);
    if (rc) {
        return problem_set(in->problem, "invalid_parameter", "image",
                           "image is not valid base64 at character %zu; encode the file's bytes "
                           "without line breaks, padded with =",
                           at);
    }
    return take_picture(in, a, in->decoded, n);
}

static int is_id(const char *s) { return strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64; }

static int take_json_image(struct input *in, const struct api *a, const json_t *v) {
    if (json_is_string(v)) return take_string(in, a, json_string_value(v), json_string_length(v));
    const json_t *id =
        json_is_object(v) && json_object_size(v) == 1 ? json_object_get(v, "id") : NULL;
    if (id && json_is_string(id) && is_id(json_string_value(id))) {
        in->image_id = json_string_value(id);
        return 0;
    }
    if (id)
        return problem_set(in->problem, "invalid_parameter", "image",
                           "image.id must be the id that PUT /v1/images gave: 64 hex digits");
    char got[64];
    json_describe(v, got, sizeof(got));
    return problem_set(in->problem, "invalid_parameter", "image",
                       "image must be a data URL, base64, or {\"id\": \"...\"}; got %s", got);
}

/* ---- checking names ---- */

static int unknown(struct input *in, const char *name, const char *const *known) {
    char list[160] = "image", shown[48];
    for (size_t i = 0, n = 5; known[i]; i++)
        n += (size_t)snprintf(list + n, sizeof(list) - n, ", %s", known[i]);
    json_quote(name, strlen(name), shown, sizeof(shown));
    problem_set(in->problem, "unknown_parameter", NULL, "%s is not a known field; known are: %s",
                shown, list);
    return -1;
}

static int is_known(const char *name, const char *const *known) {
    while (*known && strcmp(*known, name) != 0)
        known++;
    return *known != NULL;
}

static int check_pairs(struct input *in, const struct api_field *f, size_t n, int image_is_known,
                       const char *const *known) {
    for (size_t i = 0; i < n; i++) {
        if (image_is_known && strcmp(f[i].name, "image") == 0) continue;
        if (!is_known(f[i].name, known)) {
            if (strcmp(f[i].name, "image") == 0)
                return problem_set(in->problem, "invalid_parameter", "image",
                                   "the picture belongs in the body, not in the query");
            return unknown(in, f[i].name, known);
        }
    }
    return 0;
}

static int open_json(struct input *in, const struct api *a, const char *const *known) {
    if (json_open(in->from->body, in->from->body_len, &in->root, in->problem)) return -1;
    if (!json_is_object(in->root)) {
        char got[64];
        json_describe(in->root, got, sizeof(got));
        return problem_set(in->problem, "invalid_json", NULL,
                           "the body must be a JSON object; got %s", got);
    }
    const char *name;
    json_t *v;
    json_object_foreach(in->root, name, v) {
        if (strcmp(name, "image") == 0) {
            if (take_json_image(in, a, v)) {
                snprintf(in->problem->pointer, sizeof(in->problem->pointer), "/image");
                return -1;
            }
        } else if (!is_known(name, known)) {
            return unknown(in, name, known);
        }
    }
    return 0;
}

static int open_form(struct input *in, const struct api *a, const char *const *known) {
    const struct api_input *from = in->from;
    if (check_pairs(in, from->form, from->n_form, 1, known)) return -1;
    for (size_t i = 0; i < from->n_form; i++) {
        const struct api_field *f = &from->form[i];
        if (strcmp(f->name, "image") == 0 && take_picture(in, a, f->data, f->len)) return -1;
    }
    return 0;
}

int input_open(struct input *in, const struct api *a, const struct api_input *from,
               const char *const *known, struct problem *p) {
    *in = (struct input){.from = from, .problem = p};
    if (check_pairs(in, from->query, from->n_query, 0, known)) return -1;
    int rc;
    if (media_is(from->content_type, "application/json"))
        rc = open_json(in, a, known);
    else if (media_is(from->content_type, "multipart/form-data"))
        rc = open_form(in, a, known);
    else if (media_is(from->content_type, "image/png") ||
             media_is(from->content_type, "image/jpeg"))
        rc = take_picture(in, a, from->body, from->body_len);
    else if (!from->content_type && from->body_len == 0)
        rc = problem_set(p, "missing_picture", "image", NULL);
    else {
        char got[64] = "none";
        if (from->content_type)
            json_quote(from->content_type, strlen(from->content_type), got, sizeof(got));
        rc = problem_set(p, "unsupported_media_type", NULL,
                         "Content-Type must be image/png, image/jpeg, multipart/form-data or "
                         "application/json; got %s",
                         got);
    }
    if (rc == 0 && !in->has_picture && !in->image_id)
        rc = problem_set(p, "missing_picture", "image", NULL);
    return rc;
}

void input_close(struct input *in) {
    json_decref(in->root);
    mem_free(in->decoded);
    *in = (struct input){0};
}

/* ---- parameters ---- */

static void find_pairs(const struct api_field *f, size_t n, const char *name, struct value *v,
                       int *times) {
    for (size_t i = 0; i < n; i++) {
        if (strcmp(f[i].name, name) != 0) continue;
        *v = (struct value){.text = (const char *)f[i].data, .len = f[i].len};
        ++*times;
    }
}

/* 1: *v is its value; 0: absent; -1: there is a problem. */
static int find(struct input *in, const char *name, struct value *v) {
    if (in->problem->row) return -1;
    int times = 0;
    if (in->root && (v->json = json_object_get(in->root, name)) != NULL) times++;
    find_pairs(in->from->query, in->from->n_query, name, v, &times);
    find_pairs(in->from->form, in->from->n_form, name, v, &times);
    if (times > 1) problem_set(in->problem, "invalid_parameter", name, "%s is given twice", name);
    return in->problem->row ? -1 : times;
}

/* Text that can be quoted without quotes: a number, a word, a list. */
static int is_plain(const struct value *v) {
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
    else if (is_plain(v))
        snprintf(got, sizeof(got), "%.*s", (int)v->len, v->text);
    else
        json_quote(v->text, v->len, got, sizeof(got));
    problem_set(in->problem, "invalid_parameter", name, "%s must be %s; got %s", name, what, got);
    if (in->root) snprintf(in->problem->pointer, sizeof(in->problem->pointer), "/%s", name);
    return -1;
}

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
    int i = 0, got = find(in, name, &v);
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

static int text_is(const struct value *v, const char *word) {
    return v->len == strlen(word) && memcmp(v->text, word, v->len) == 0;
}

int input_flag(struct input *in, const char *name, int *out) {
    struct value v = {0};
    int got = find(in, name, &v);
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
    int got = find(in, name, &v);
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
    int got = find(in, name, &v), read[8];
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
    if (!p) return problem_set(in->problem, "no_memory", NULL, NULL);
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
            problem_set(in->problem, "invalid_parameter", name,
                        "%s[%zu] must be [x,y] with integers from 0 to %d; got %s", name, i,
                        grid - 1, text);
            snprintf(in->problem->pointer, sizeof(in->problem->pointer), "/%s/%zu", name, i);
            mem_free(p);
            return -1;
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
    int got = find(in, name, &v);
    if (got < 0) return -1;
    if (got == 0) {
        return problem_set(in->problem, "missing_parameter", name,
                           "%s is missing: an array of 1 to %d points [[x,y],...]", name, max);
    }
    if (v.json) return read_points(in, name, v.json, max, grid, points, n);
    json_t *root;
    if (json_open((const uint8_t *)v.text, v.len, &root, in->problem)) return -1;
    int rc = read_points(in, name, root, max, grid, points, n);
    json_decref(root);
    return rc;
}
