/* input.c - raw, multipart or JSON: the same pictures, the same parameters, the same errors.
 *
 * A parameter's value is either a JSON value or a piece of text (query and form are text by
 * nature); each reader in value.c takes both and ends in one message that says what would have been
 * right. URLs other than data: are refused by their scheme before anything else looks at them: this
 * daemon opens no connection on a client's word.
 *
 * Thread: its owner's.
 */
#include "api/wire/input.h"

#include <string.h>

#include "api/wire/base64.h"
#include "api/wire/picture_file.h"
#include "kernels/base/mem.h"

/* ---- finding the pictures ---- */

enum { SCHEME_MAX = 32, URL_HEAD_MAX = 256 };

static int media_is(const char *content_type, const char *media) {
    size_t n = strlen(media);
    if (!content_type || strncasecmp(content_type, media, n) != 0) return 0;
    return strchr("; \t", content_type[n]) != NULL; /* the NUL counts */
}

/* May a body of this type be a picture? Its bytes say whether it is. */
static int media_may_be_picture(const char *content_type) {
    static const char *const types[] = {"application/octet-stream", "binary/octet-stream"};
    if (!content_type || strncasecmp(content_type, "image/", 6) == 0) return 1;
    return media_is(content_type, types[0]) || media_is(content_type, types[1]);
}

/* Room for one more. */
static struct input_picture *next_picture(struct input *in, const char *name) {
    int max = in->wants->picture && !in->wants->pictures ? 1 : ENG_PICTURES_MAX;
    if (in->n_pictures < max) return &in->pictures[in->n_pictures];
    if (max == 1)
        problem_set(in->problem, PROBLEM_TOO_MANY_PICTURES, name, NULL);
    else
        problem_set(in->problem, PROBLEM_TOO_MANY_PICTURES, name,
                    "at most %d pictures are taken in one request", max);
    return NULL;
}

static int take_picture(struct input *in, const char *name, const uint8_t *bytes, size_t len,
                        uint8_t *decoded) {
    struct input_picture *p = next_picture(in, name);
    if (p && len == 0)
        problem_set(in->problem, PROBLEM_BAD_PICTURE, name, "the picture is empty (0 bytes)");
    else if (p && len > in->picture_max)
        problem_set(in->problem, PROBLEM_PICTURE_TOO_LARGE, name,
                    "the picture has %zu bytes; at most %zu are taken", len, in->picture_max);
    if (in->problem->code) {
        mem_free(decoded);
        return -1;
    }
    *p = (struct input_picture){.bytes = bytes, .len = len, .decoded = decoded};
    snprintf(p->name, sizeof(p->name), "%s", name);
    in->n_pictures++;
    return 0;
}

static int take_id(struct input *in, const char *name, const char *id) {
    struct input_picture *p = next_picture(in, name);
    if (!p) return -1;
    *p = (struct input_picture){.id = id};
    snprintf(p->name, sizeof(p->name), "%s", name);
    in->n_pictures++;
    return 0;
}

/* api/store/ids.h */
static int is_id(const char *s) {
    const char *dash = strchr(s, '-');
    size_t n = dash ? (size_t)(dash - s) : 0;
    if (dash && (n < 1 || n > 16 || strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789") != n))
        return 0;
    const char *hex = dash ? dash + 1 : s;
    return strlen(hex) == 64 && strspn(hex, "0123456789abcdef") == 64;
}

/* Characters of a data URL before its base64: data:, any type and parameters, ";base64,". 0: it is
 * another data URL. */
static size_t data_url_head(const char *s, size_t len) {
    static const char mark[] = ";base64";
    const char *comma = memchr(s, ',', len < URL_HEAD_MAX ? len : URL_HEAD_MAX);
    size_t n = comma ? (size_t)(comma - s) : 0, m = sizeof(mark) - 1;
    return n >= m && strncasecmp(s + n - m, mark, m) == 0 ? n + 1 : 0;
}

/* A picture in the folder of pictures. */
static int take_file(struct input *in, const char *name, const char *path) {
    uint8_t *bytes;
    size_t len;
    struct err e = {0};
    int rc = picture_file_read(in->picture_folder, path, in->picture_max, &bytes, &len, &e);
    if (rc == 0) return take_picture(in, name, bytes, len, bytes);
    if (rc == E_NOMEM) return problem_set(in->problem, PROBLEM_NO_MEMORY, NULL, NULL);
    return problem_set(in->problem,
                       rc == E_TOO_BIG ? PROBLEM_PICTURE_TOO_LARGE : PROBLEM_INVALID_PARAMETER,
                       name, "%s", e.text);
}

static int take_string(struct input *in, const char *name, const char *s, size_t len) {
    size_t skip = 0;
    if (in->picture_folder && len > 5 && strncasecmp(s, "file:", 5) == 0)
        return take_file(in, name, s + 5);
    if (memchr(s, ':', len < SCHEME_MAX ? len : SCHEME_MAX)) {
        if (strncasecmp(s, "data:", 5) != 0)
            return problem_set(in->problem, PROBLEM_UNSUPPORTED_URL, name, NULL);
        skip = data_url_head(s, len);
        if (!skip)
            return problem_set(in->problem, PROBLEM_INVALID_PARAMETER, name,
                               "a data URL has to be in base64: data:image/png;base64,...");
    }
    uint8_t *decoded;
    size_t n, at;
    int rc = base64_decode(s + skip, len - skip, &decoded, &n, &at);
    if (rc == E_NOMEM) return problem_set(in->problem, PROBLEM_NO_MEMORY, NULL, NULL);
    if (rc) {
        return problem_set(in->problem, PROBLEM_INVALID_PARAMETER, name,
                           "%s is not valid base64 at character %zu; encode the file's bytes as "
                           "they are",
                           name, at);
    }
    return take_picture(in, name, decoded, n, decoded);
}

int input_take_url(struct input *in, const char *name, const char *url, size_t len) {
    if (len > 6 && memcmp(url, "lammd:", 6) == 0) {
        if (is_id(url + 6)) return take_id(in, name, url + 6);
        return problem_set(in->problem, PROBLEM_INVALID_PARAMETER, name,
                           "lammd: must be followed by the id that PUT /v1/images gave: 64 hex "
                           "digits");
    }
    if (!memchr(url, ':', len < SCHEME_MAX ? len : SCHEME_MAX)) {
        return problem_set(in->problem, PROBLEM_INVALID_PARAMETER, name,
                           "%s must be a data URL (data:image/png;base64,...) or lammd:ID", name);
    }
    return take_string(in, name, url, len);
}

static int take_json_picture(struct input *in, const char *name, const json_t *v) {
    if (json_is_string(v))
        return take_string(in, name, json_string_value(v), json_string_length(v));
    const json_t *id =
        json_is_object(v) && json_object_size(v) == 1 ? json_object_get(v, "id") : NULL;
    if (id && json_is_string(id) && is_id(json_string_value(id)))
        return take_id(in, name, json_string_value(id));
    if (id)
        return problem_set(in->problem, PROBLEM_INVALID_PARAMETER, name,
                           "%s.id must be the id that PUT /v1/images gave: 64 hex digits", name);
    return json_must_be(in->problem, name, v, "a data URL, base64, or {\"id\": \"...\"}");
}

static int take_json_pictures(struct input *in, const char *name, const json_t *v) {
    if (!json_is_array(v)) return json_must_be(in->problem, name, v, "an array of pictures");
    if (json_array_size(v) > ENG_PICTURES_MAX) {
        return problem_set(in->problem, PROBLEM_TOO_MANY_PICTURES, name,
                           "at most %d pictures are taken in one request; got %zu",
                           ENG_PICTURES_MAX, json_array_size(v));
    }
    size_t i;
    json_t *one;
    json_array_foreach(v, i, one) {
        char at[64];
        snprintf(at, sizeof(at), "%.24s[%zu]", name, i);
        if (take_json_picture(in, at, one)) return problem_point(in->problem, "/%s/%zu", name, i);
    }
    return 0;
}

/* ---- checking names ---- */

static const char orient[] = "orient", model[] = "model";

static int is_name(const char *name, const char *wanted) {
    return wanted && strcmp(name, wanted) == 0;
}

static int unknown(struct input *in, const char *name) {
    struct buf list;
    char shown[48];
    const struct input_wants *w = in->wants;
    const char *picture = in->root && w->pictures ? w->pictures : w->picture;
    buf_init(&list, 1000);
    if (picture) buf_str(&list, picture);
    for (size_t i = 0; w->known[i]; i++)
        buf_printf(&list, "%s%s", list.len ? ", " : "", w->known[i]);
    if (picture) buf_printf(&list, ", %s", orient);
    if (w->has_model) buf_printf(&list, "%s%s", list.len ? ", " : "", model);
    json_quote(name, strlen(name), shown, sizeof(shown));
    if (list.len > 0 && list.len < 180)
        problem_set(in->problem, PROBLEM_UNKNOWN_PARAMETER, name,
                    "%s is not a known field; known are: %s", shown, (const char *)list.p);
    else
        problem_set(in->problem, PROBLEM_UNKNOWN_PARAMETER, name,
                    "%s is not a known field here; see /openapi.yaml", shown);
    buf_clear(&list);
    return -1;
}

static int is_known(const char *name, const struct input_wants *w) {
    const char *const *known = w->known;
    if (w->picture && strcmp(name, orient) == 0) return 1;
    if (w->has_model && strcmp(name, model) == 0) return 1;
    while (*known && strcmp(*known, name) != 0)
        known++;
    return *known != NULL;
}

static int check_query(struct input *in) {
    for (size_t i = 0; i < in->from->n_query; i++) {
        const char *name = in->from->query[i].name;
        if (is_name(name, in->wants->picture) || is_name(name, in->wants->pictures))
            return problem_set(in->problem, PROBLEM_INVALID_PARAMETER, name,
                               "the picture belongs in the body, not in the query");
        if (in->wants->only_json || !is_known(name, in->wants)) return unknown(in, name);
    }
    return 0;
}

/* Many clients write null for what they leave out. */
static void drop_nulls(json_t *root) {
    const char *key;
    json_t *v;
    void *next;
    json_object_foreach_safe(root, next, key, v) {
        if (json_is_null(v)) json_object_del(root, key);
    }
}

static int open_json(struct input *in) {
    if (json_open(in->from->body, in->from->body_len, &in->root, in->problem)) return -1;
    if (!json_is_object(in->root)) {
        char got[64];
        json_describe(in->root, got, sizeof(got));
        return problem_set(in->problem, PROBLEM_INVALID_JSON, NULL,
                           "the body must be a JSON object; got %s", got);
    }
    const struct input_wants *w = in->wants;
    const char *name;
    json_t *v;
    drop_nulls(in->root);
    json_object_foreach(in->root, name, v) {
        if (is_name(name, w->pictures)) {
            if (take_json_pictures(in, name, v)) return -1;
        } else if (is_name(name, w->picture) && !w->pictures) {
            if (take_json_picture(in, name, v)) return problem_point(in->problem, "/%s", name);
        } else if (!is_known(name, w)) {
            return unknown(in, name);
        }
    }
    return 0;
}

static int input_is_address(const struct api_field *f) {
    return f->len > 8 && (strncasecmp((const char *)f->data, "http://", 7) == 0 ||
                          strncasecmp((const char *)f->data, "https://", 8) == 0);
}

static int open_form(struct input *in) {
    for (size_t i = 0; i < in->from->n_form; i++) {
        const struct api_field *f = &in->from->form[i];
        if (is_name(f->name, in->wants->picture)) {
            if (input_is_address(f))
                return problem_set(in->problem, PROBLEM_UNSUPPORTED_URL, f->name, NULL);
            if (take_picture(in, f->name, f->data, f->len, NULL)) return -1;
        } else if (!is_known(f->name, in->wants)) {
            return unknown(in, f->name);
        }
    }
    return 0;
}

static int refuse_type(struct input *in) {
    char got[64] = "none";
    const struct input_wants *w = in->wants;
    const char *type = in->from->content_type;
    if (type) json_quote(type, strlen(type), got, sizeof(got));
    return problem_set(in->problem, PROBLEM_UNSUPPORTED_MEDIA_TYPE, NULL,
                       "Content-Type must be %s%sapplication/json; got %s",
                       w->picture ? "that of a picture, " : "",
                       w->only_json ? "" : "multipart/form-data or ", got);
}

static int input_read_orient(struct input *in) {
    static const char *const words[] = {"shown", "stored", NULL};
    return input_word(in, orient, words, &in->is_stored);
}

int input_open(struct input *in) {
    const struct api_input *from = in->from;
    const struct input_wants *wants = in->wants;
    const char *type = from->content_type, *picture = wants->picture;
    if (check_query(in)) return -1;
    int rc = 0;
    if (media_is(type, "application/json"))
        rc = from->body_len ? open_json(in) : 0; /* some name the type of no body, too */
    else if (!wants->only_json && media_is(type, "multipart/form-data"))
        rc = open_form(in);
    else if (picture && media_may_be_picture(type) && (type || from->body_len) && !from->n_form)
        rc = take_picture(in, picture, from->body, from->body_len, NULL);
    else if (from->body_len || from->n_form || (type && picture))
        rc = refuse_type(in); /* nothing may be of any type, where no picture has to come */
    if (rc == 0 && picture && !wants->pictures && in->n_pictures == 0)
        rc = problem_set(in->problem, PROBLEM_MISSING_PICTURE, picture,
                         "the request has no picture: send it as %s in a form or in JSON, or as "
                         "the body itself",
                         picture);
    return rc ? rc : input_read_orient(in);
}

void input_close(struct input *in) {
    json_decref(in->root);
    for (int i = 0; i < in->n_pictures; i++)
        mem_free(in->pictures[i].decoded);
    *in = (struct input){0};
}
