/* annot.c - see annot.h. */
#include "data/annot.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "data/files.h"
#include "kernels/base/jsonscan.h"

enum { DEPTH_MAX = 16 };

int annot_bad(const struct annot_at *at, struct err *e, const char *fmt, ...) {
    char text[160];
    va_list va;
    va_start(va, fmt);
    vsnprintf(text, sizeof(text), fmt, va);
    va_end(va);
    return err_set(e, E_FORMAT, "%s: %s[%zu]: %s", at->file, at->list, at->i, text);
}

int annot_parse(const char *file, const char *text, size_t len, json_t **root, struct err *e) {
    json_error_t why;
    *root = NULL;
    if (jsonscan_bound(text, len, DEPTH_MAX, ANNOT_PARTS_MAX, e)) return err_in(e, "%s", file);
    *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
    return *root ? 0
                 : err_set(e, E_FORMAT, "%s: line %d, column %d: %s", file, why.line, why.column,
                           why.text);
}

static int annot_read_file(const char *path, struct buf *text, struct err *e) {
    buf_init(text, ANNOT_BYTES_MAX);
    int rc = file_read(path, text, e);
    if (rc == 0 && !text->len) rc = err_set(e, E_FORMAT, "%s: the file is empty", path);
    return rc;
}

int annot_open(const char *path, json_t **root, struct err *e) {
    struct buf text;
    *root = NULL;
    int rc = annot_read_file(path, &text, e);
    if (rc == 0) rc = annot_parse(path, (const char *)text.p, text.len, root, e);
    buf_clear(&text);
    return rc;
}

static int parse_lines(const char *path, const struct buf *text, json_t **root, struct err *e) {
    const char *at = (const char *)text->p, *end = at + text->len;
    json_t *list = json_array();
    int rc = list ? 0 : err_set(e, E_NOMEM, "%s: no memory", path);
    if (rc == 0) rc = jsonscan_bound(at, text->len, DEPTH_MAX, ANNOT_PARTS_MAX, e);
    for (size_t line = 1; rc == 0 && at < end; line++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t len = stop ? (size_t)(stop - at) : (size_t)(end - at);
        char name[300];
        snprintf(name, sizeof(name), "%.240s, line %zu", path, line);
        json_t *o = NULL;
        if (len && strspn(at, " \t\r") < len) rc = annot_parse(name, at, len, &o, e);
        if (o && json_array_append_new(list, o)) rc = err_set(e, E_NOMEM, "%s: no memory", path);
        at += len + 1;
    }
    if (rc == 0)
        *root = list;
    else
        json_decref(list);
    return rc;
}

/* Does the first line hold a whole object, and does something follow? */
static int is_lines(const struct buf *text) {
    const char *at = (const char *)text->p, *stop = memchr(at, '\n', text->len);
    if (at[0] != '{' || !stop) return 0;
    while (stop > at && strchr(" \t\r\n", *stop))
        stop--;
    size_t more = strspn(stop + 1, " \t\r\n");
    if (*stop != '}' || stop[1 + more] != '{') return 0;
    json_t *o = NULL;
    int rc = annot_parse("", at, (size_t)(stop + 1 - at), &o, NULL);
    json_decref(o);
    return rc == 0;
}

int annot_open_lines(const char *path, json_t **root, struct err *e) {
    struct buf text;
    *root = NULL;
    int rc = annot_read_file(path, &text, e);
    if (rc == 0 && is_lines(&text))
        rc = parse_lines(path, &text, root, e);
    else if (rc == 0)
        rc = annot_parse(path, (const char *)text.p, text.len, root, e);
    buf_clear(&text);
    return rc;
}

/* ---- fields ---- */

static int annot_text_of(const json_t *v, const char *key, int required, const struct annot_at *at,
                         const char **out, struct err *e) {
    *out = json_string_value(v);
    if (!*out || (required && !**out)) return annot_bad(at, e, "\"%s\" must be a text", key);
    return 0;
}

int annot_text(const json_t *o, const char *key, int required, const struct annot_at *at,
               const char **out, struct err *e) {
    const json_t *v = json_object_get(o, key);
    *out = NULL;
    return !v && !required ? 0 : annot_text_of(v, key, required, at, out, e);
}

int annot_whole(const json_t *o, const char *key, int64_t least, int64_t most,
                const struct annot_at *at, int64_t *out, struct err *e) {
    const json_t *v = json_object_get(o, key);
    if (!json_is_integer(v)) return annot_bad(at, e, "\"%s\" must be a whole number", key);
    *out = json_integer_value(v);
    if (*out < least || *out > most)
        return annot_bad(at, e, "\"%s\" is %lld, not in %lld .. %lld", key, (long long)*out,
                         (long long)least, (long long)most);
    return 0;
}

int annot_numbers(const json_t *o, const char *key, size_t n, const struct annot_at *at,
                  double *out, struct err *e) {
    const json_t *v = json_object_get(o, key);
    int good = json_is_array(v) && json_array_size(v) == n;
    for (size_t i = 0; good && i < n; i++) {
        const json_t *x = json_array_get(v, i);
        out[i] = json_number_value(x);
        good = json_is_number(x) && isfinite(out[i]);
    }
    return good ? 0 : annot_bad(at, e, "\"%s\" must be %zu numbers", key, n);
}

int annot_array(const json_t *o, const char *key, const char *file, const json_t **out,
                struct err *e) {
    *out = key ? json_object_get(o, key) : o;
    if (!json_is_array(*out))
        return err_set(e, E_FORMAT, "%s: %s%s%s must be an array", file, key ? "\"" : "",
                       key ? key : "the content", key ? "\"" : "");
    if (json_array_size(*out) > ANNOT_ITEMS_MAX)
        return err_set(e, E_TOO_BIG, "%s: over %d entries", file, ANNOT_ITEMS_MAX);
    const json_t *v;
    size_t i;
    json_array_foreach(*out, i, v) {
        const struct annot_at at = {file, key ? key : "", i};
        if (!json_is_object(v)) return annot_bad(&at, e, "must be an object");
    }
    return 0;
}

static int name_of(const json_t *v, const char *key, const struct annot_at *at, const char **out,
                   struct err *e) {
    int rc = annot_text_of(v, key, 1, at, out, e);
    if (rc) return rc;
    const char *s = *out;
    if (*s == '/' || strcmp(s, "..") == 0 || strncmp(s, "../", 3) == 0 || strstr(s, "/../"))
        return annot_bad(at, e, "\"%s\" must be a file below the pictures' folder", key);
    if (strlen(s) > ANNOT_NAME_MAX)
        return annot_bad(at, e, "\"%s\" has over %d bytes", key, ANNOT_NAME_MAX);
    return 0;
}

int annot_name(const json_t *o, const char *key, const struct annot_at *at, const char **out,
               struct err *e) {
    return name_of(json_object_get(o, key), key, at, out, e);
}

int annot_names(const json_t *o, const char *key, size_t n, const struct annot_at *at,
                const char **out, struct err *e) {
    const json_t *list = json_object_get(o, key);
    int rc = 0;
    if (json_array_size(list) != n) return annot_bad(at, e, "\"%s\" must be %zu names", key, n);
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = name_of(json_array_get(list, i), key, at, &out[i], e);
    return rc;
}
