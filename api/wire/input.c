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
#include "kernels/base/mem.h"

/* ---- finding the pictures ---- */

static int media_is(const char *content_type, const char *media) {
    size_t n = strlen(media);
    if (!content_type || strncasecmp(content_type, media, n) != 0) return 0;
    return strchr("; \t", content_type[n]) != NULL; /* the NUL counts */
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

static int take_string(struct input *in, const char *name, const char *s, size_t len) {
    static const char *const heads[] = {"data:image/png;base64,", "data:image/jpeg;base64,"};
    size_t skip = 0;
    const char *colon = memchr(s, ':', len < 32 ? len : 32);
    if (colon && strncasecmp(s, "data:", 5) != 0)
        return problem_set(in->problem, PROBLEM_UNSUPPORTED_URL, name, NULL);
    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        if (strncasecmp(s, heads[i], strlen(heads[i])) == 0) skip = strlen(heads[i]);
    }
    if (colon && !skip) {
        return problem_set(in->problem, PROBLEM_UNSUPPORTED_PICTURE, name,
                           "a data URL must begin with %s or %s", heads[0], heads[1]);
    }
    uint8_t *decoded;
    size_t n, at;
    int rc = base64_decode(s + skip, len - skip, &decoded, &n, &at);
    if (rc == E_NOMEM) return problem_set(in->problem, PROBLEM_NO_MEMORY, NULL, NULL);
    if (rc) {
        return problem_set(in->problem, PROBLEM_INVALID_PARAMETER, name,
                           "%s is not valid base64 at character %zu; encode the file's bytes "
                           "without line breaks, padded with =",
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
    if (!memchr(url, ':', len < 32 ? len : 32)) {
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

static int is_known(const char *name, const char *const *known) {
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
        if (in->wants->only_json || !is_known(name, in->wants->known)) return unknown(in, name);
    }
    return 0;
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
    json_object_foreach(in->root, name, v) {
        if (is_name(name, w->pictures)) {
            if (take_json_pictures(in, name, v)) return -1;
        } else if (is_name(name, w->picture) && !w->pictures) {
            if (take_json_picture(in, name, v)) return problem_point(in->problem, "/%s", name);
        } else if (!is_known(name, w->known)) {
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
        } else if (!is_known(f->name, in->wants->known)) {
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
                       w->picture ? "image/png, image/jpeg, " : "",
                       w->only_json ? "" : "multipart/form-data or ", got);
}

int input_open(struct input *in) {
    const struct api_input *from = in->from;
    const struct input_wants *wants = in->wants;
    const char *type = from->content_type, *picture = wants->picture;
    if (check_query(in)) return -1;
    int rc = 0;
    if (media_is(type, "application/json"))
        rc = open_json(in);
    else if (!wants->only_json && media_is(type, "multipart/form-data"))
        rc = open_form(in);
    else if (picture && (media_is(type, "image/png") || media_is(type, "image/jpeg")))
        rc = take_picture(in, picture, from->body, from->body_len, NULL);
    else if (from->body_len || from->n_form || (type && picture))
        rc = refuse_type(in); /* nothing may be of any type, where no picture has to come */
    if (rc == 0 && picture && !wants->pictures && in->n_pictures == 0)
        rc = problem_set(in->problem, PROBLEM_MISSING_PICTURE, picture,
                         "the request has no picture: send it as %s in a form or in JSON, or as "
                         "the body itself",
                         picture);
    return rc;
}

void input_close(struct input *in) {
    json_decref(in->root);
    for (int i = 0; i < in->n_pictures; i++)
        mem_free(in->pictures[i].decoded);
    *in = (struct input){0};
}
