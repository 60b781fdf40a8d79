/* rig.c - see rig.h. */
#include "tests/unit/api/rig.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "api/wire/base64.h"
#include "kernels/base/mem.h"
#include "media/picture.h"

static void on_wake(void *ud) { atomic_fetch_add((atomic_int *)ud, 1); }

void rig_open_with(struct rig *r, int grid, const struct api_options *opt) {
    memset(r, 0, sizeof(*r));
    r->eng = fake_open(grid);
    CHECK(api_new(opt, r->eng, &r->api, NULL) == 0);
}

void rig_open(struct rig *r, int grid) { rig_open_with(r, grid, &(struct api_options){0}); }

void rig_close(struct rig *r) {
    api_call_free(r->call);
    api_free(r->api);
    fake_close(r->eng);
}

static size_t split_query(struct rig *r, const char *q) {
    size_t n = 0;
    while (q && *q && n < 16) {
        const char *amp = strchr(q, '&'), *end = amp ? amp : q + strlen(q);
        const char *eq = memchr(q, '=', (size_t)(end - q));
        if (!eq) eq = end;
        const char *value = eq < end ? eq + 1 : end;
        snprintf(r->text[n][0], 256, "%.*s", (int)(eq - q), q);
        snprintf(r->text[n][1], 256, "%.*s", (int)(end - value), value);
        r->query[n] = (struct api_field){.name = r->text[n][0],
                                         .data = (const uint8_t *)r->text[n][1],
                                         .len = (size_t)(end - value)};
        n++;
        q = amp ? amp + 1 : end;
    }
    return n;
}

void rig_begin(struct rig *r, const struct rig_request *q) {
    api_call_free(r->call);
    r->call = NULL;
    r->reply = NULL;
    r->wakes = 0;
    struct api_input in = {.content_type = q->type,
                           .accept = q->accept,
                           .if_none_match = q->if_none_match,
                           .request_id = "req-1",
                           .body = q->body,
                           .body_len = q->len,
                           .form = q->form,
                           .n_form = q->n_form,
                           .query = r->query,
                           .caller = q->caller,
                           .visit = q->visit};
    in.n_query = split_query(r, q->query);
    const char *allow;
    int status;
    const struct api_route *route =
        api_route(q->method ? q->method : "POST", q->path, &in.arg, &status, &allow);
    CHECK(route);
    struct err e = {0};
    if (api_call_new(r->api, route, &in, on_wake, &r->wakes, &r->call, &e)) return;
    rig_step(r);
}

void rig_step(struct rig *r) {
    r->step = api_call_step(r->call);
    if (r->step != API_WAIT) r->reply = api_call_reply(r->call);
}

void rig_send(struct rig *r, const struct rig_request *q) {
    fake_answer_at_once(r->eng, 1);
    rig_begin(r, q);
    fake_answer_at_once(r->eng, 0);
    CHECK(!r->call || r->step != API_WAIT);
}

void rig_send_json(struct rig *r, const char *path, const char *json) {
    rig_send(r, &(struct rig_request){
                    .path = path, .type = "application/json", .body = json, .len = strlen(json)});
}

void rig_send_jsonf(struct rig *r, const char *path, const char *fmt, ...) {
    static char text[1 << 20]; /* a call borrows its body */
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    rig_send_json(r, path, text);
}

void rig_send_png(struct rig *r, const char *path, const char *query, const char *accept, int w,
                  int h) {
    struct buf png;
    rig_png(&png, w, h);
    rig_send(r, &(struct rig_request){.path = path,
                                      .query = query,
                                      .type = "image/png",
                                      .accept = accept,
                                      .body = png.p,
                                      .len = png.len});
    buf_clear(&png);
}

char *rig_data_url(int w, int h) {
    struct buf png, url;
    size_t len;
    rig_png(&png, w, h);
    buf_init(&url, 1 << 20);
    buf_str(&url, "data:image/png;base64,");
    base64_encode(&url, png.p, png.len);
    buf_clear(&png);
    return (char *)buf_take(&url, &len);
}

json_t *rig_event(const char *stream, const char *name, int n) {
    char head[64];
    snprintf(head, sizeof(head), "event: %s\ndata: ", name);
    const char *at = stream;
    while ((at = strstr(at, head)) != NULL) {
        at += strlen(head);
        if (n-- == 0) return json_loads(at, JSON_DISABLE_EOF_CHECK, NULL);
    }
    return NULL;
}

/* 1: it went well to the end. */
static int try_once(struct rig *r, const struct rig_request *q) {
    rig_begin(r, q);
    if (!r->call) return 0;
    if (r->step == API_STREAM) {
        char piece[512];
        long got;
        while ((got = api_call_read(r->call, piece, sizeof(piece))) > 0 || got == API_STEP)
            if (got == API_STEP) CHECK_EQ(api_call_step(r->call), API_STREAM);
        CHECK(got == API_END || got == API_BROKEN);
        return got == API_END;
    }
    CHECK_EQ(r->step, API_REPLY);
    int status = r->reply->status;
    CHECK(status == 200 || status == 503 || status == 422);
    return status == 200;
}

void rig_starve(struct rig *r, const struct rig_request *q) {
    int failed = 0, done = 0;
    fake_answer_at_once(r->eng, 1);
    for (uint64_t n = 1; !done && n < 1000; n++) {
        mem_fail_at(n);
        done = try_once(r, q);
        mem_fail_at(0);
        failed += !done;
    }
    fake_answer_at_once(r->eng, 0);
    CHECK(done);
    CHECK(failed > 5);
    api_call_free(r->call);
    r->call = NULL;
}

char *rig_read_all(struct rig *r, uint32_t n) {
    struct buf all;
    buf_init(&all, 64 << 20);
    for (;;) {
        char piece[100]; /* smaller than an event, so that events come in parts */
        long got = api_call_read(r->call, piece, sizeof(piece));
        if (got == API_STEP) {
            CHECK_EQ(api_call_step(r->call), API_STREAM);
            continue;
        }
        if (got == 0) {
            CHECK(n > 0);
            fake_answer_some(r->eng, n);
            continue;
        }
        if (got < 0) {
            CHECK_EQ(got, API_END);
            break;
        }
        buf_add(&all, piece, (size_t)got);
    }
    buf_char(&all, 0);
    size_t len;
    return (char *)buf_take(&all, &len);
}

const char *rig_header(const struct rig *r, const char *name) {
    for (int i = 0; i < r->reply->n_headers; i++) {
        if (strcmp(r->reply->headers[i].name, name) == 0) return r->reply->headers[i].value;
    }
    return NULL;
}

json_t *rig_json(const struct rig *r) {
    json_t *root = json_loadb((const char *)r->reply->body, r->reply->body_len, 0, NULL);
    CHECK(root);
    return root;
}

const char *rig_text(const json_t *object, const char *key) {
    return json_string_value(json_object_get(object, key));
}

double rig_number(const json_t *object, const char *key) {
    return json_number_value(json_object_get(object, key));
}

void rig_check_problem(struct rig *r, int status, const char *code, const char *param,
                       const char *piece) {
    CHECK(r->reply);
    CHECK_EQ(r->reply->status, status);
    CHECK(r->reply->content_type);
    CHECK(strcmp(r->reply->content_type, "application/problem+json") == 0);
    json_t *root = rig_json(r), *error = json_object_get(root, "error");
    CHECK_STR(json_string_value(json_object_get(error, "code")), code);
    CHECK_EQ(json_integer_value(json_object_get(root, "status")), status);
    CHECK_STR(json_string_value(json_object_get(root, "instance")), "req-1");
    const char *detail = json_string_value(json_object_get(root, "detail"));
    CHECK_STR(json_string_value(json_object_get(error, "message")), detail);
    if (param) CHECK_STR(json_string_value(json_object_get(error, "param")), param);
    if (piece) CHECK_HAS(detail, piece);
    /* No path, no address, nothing of a library. */
    CHECK(!strstr(detail, "0x") && !strstr(detail, "/a/path") && !strstr(detail, "libpng"));
    int is_later = status == 503 || status == 429;
    CHECK((rig_header(r, "Retry-After") != NULL) == is_later);
    json_decref(root);
}
