/* question.c - see question.h. */
#include "batch/question.h"

#include <jansson.h>
#include <string.h>

#include "kernels/base/jsonscan.h"
#include "kernels/base/utf8.h"

static const char *const known[] = {"custom_id", "method", "url", "body"};

static int dump(const char *bytes, size_t n, void *ud) { return buf_add(ud, bytes, n) ? -1 : 0; }

static int read_custom_id(const json_t *root, struct question *q, struct err *e) {
    const char *id = json_string_value(json_object_get(root, "custom_id"));
    if (!id) return err_set(e, E_FORMAT, "custom_id is missing, or no text");
    if (!*id || strlen(id) > QUESTION_ID_MAX || !utf8_is_plain(id))
        return err_set(e, E_FORMAT, "custom_id must be 1 to %d bytes without control characters",
                       QUESTION_ID_MAX);
    memcpy(q->custom_id, id, strlen(id) + 1);
    return 0;
}

static int question_check_known(json_t *root, struct err *e) {
    const char *name;
    json_t *v;
    json_object_foreach(root, name, v) {
        size_t i = 0;
        while (i < ARRAY_LEN(known) && strcmp(known[i], name) != 0)
            i++;
        if (i == ARRAY_LEN(known))
            return err_set(e, E_FORMAT,
                           "\"%.*s\" is no field of a line; there are custom_id, method, url and "
                           "body",
                           utf8_cut(name, 40), name);
    }
    return 0;
}

static int question_find_route(const json_t *root, const char *endpoint, struct question *q,
                               struct err *e) {
    const char *method = json_string_value(json_object_get(root, "method"));
    const char *url = json_string_value(json_object_get(root, "url"));
    const char *arg, *allow;
    int status;
    if (!method || strcmp(method, "POST") != 0)
        return err_set(e, E_FORMAT, "method must be \"POST\"");
    if (!url) return err_set(e, E_FORMAT, "url is missing, or no text");
    if (endpoint && strcmp(endpoint, "*") != 0 && strcmp(endpoint, url) != 0)
        return err_set(e, E_FORMAT, "url is \"%.*s\", and the batch's endpoint is %s",
                       utf8_cut(url, 60), url, endpoint);
    const struct api_route *route = api_route("POST", url, &arg, &status, &allow);
    if (!route || !api_route_is_batchable(route))
        return err_set(e, E_FORMAT,
                       "url \"%.*s\" is no call with one answer, such as /v1/segment or "
                       "/v1/chat/completions",
                       utf8_cut(url, 60), url);
    q->route = route;
    return 0;
}

static int question_read_root(json_t *root, const char *endpoint, struct question *q,
                              struct err *e) {
    if (!json_is_object(root)) return err_set(e, E_FORMAT, "the line is no JSON object");
    int rc = read_custom_id(root, q, e);
    if (rc == 0) rc = question_check_known(root, e);
    if (rc == 0) rc = question_find_route(root, endpoint, q, e);
    if (rc) return rc;
    const json_t *body = json_object_get(root, "body");
    if (!json_is_object(body)) return err_set(e, E_FORMAT, "body is missing, or no JSON object");
    if (json_dump_callback(body, dump, &q->body, JSON_COMPACT))
        return err_set(e, E_FORMAT, "body is too large");
    return 0;
}

int question_read(const char *text, size_t len, const char *endpoint, struct question *q,
                  struct err *e) {
    *q = (struct question){.route = NULL};
    buf_init(&q->body, QUESTION_LINE_MAX + (QUESTION_LINE_MAX >> 1));
    if (len > QUESTION_LINE_MAX)
        return err_set(e, E_FORMAT, "the line is longer than %d MiB", QUESTION_LINE_MAX >> 20);
    if (jsonscan_bound(text, len, QUESTION_DEPTH_MAX, QUESTION_MARKS_MAX, NULL))
        return err_set(e, E_FORMAT, "the line has too many brackets and commas");
    json_error_t why;
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
    if (!root)
        return err_set(e, E_FORMAT, "no JSON: %.*s (at character %d)", utf8_cut(why.text, 120),
                       why.text, why.position);
    int rc = question_read_root(root, endpoint, q, e);
    json_decref(root);
    return rc;
}

void question_clear(struct question *q) { buf_clear(&q->body); }
