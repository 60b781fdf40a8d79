/* answer.c - what goes out: the reply of a call, whole or as a stream, or a problem. See loop.h.
 *
 * A whole reply is not copied: the call outlives it, since it is freed only when libmicrohttpd is
 * done with the request (req.h). TRAPS: a stream's reader that returns 0 without suspending its
 * connection burns a core.
 */
#include <unistd.h>

#include "server/http/loop.h"

enum { STREAM_BYTES = 8 << 10, FILE_BYTES = 64 << 10, PROBLEM_BYTES_MAX = 16 << 10 };

enum MHD_Result answer_sorry(struct http *h, struct MHD_Connection *mhd) {
    return MHD_queue_response(mhd, MHD_HTTP_SERVICE_UNAVAILABLE, h->sorry);
}

/* No response: there was no memory for it. */
static enum MHD_Result send_response(struct req *r, int status, struct MHD_Response *response,
                                     int is_last) {
    if (!response) {
        r->status = MHD_HTTP_SERVICE_UNAVAILABLE;
        return answer_sorry(http_of(r), r->mhd);
    }
    (void)MHD_add_response_header(response, "X-Request-Id", r->id);
    if (is_last || atomic_load(&http_of(r)->is_draining))
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    r->status = status;
    enum MHD_Result ok = MHD_queue_response(r->mhd, (unsigned)status, response);
    MHD_destroy_response(response);
    return ok;
}

void answer_text(enum problem_code code, const char *detail, const char *id, struct buf *out) {
    struct buf body;
    buf_init(&body, PROBLEM_BYTES_MAX);
    int status = api_problem(code, detail, id, &body);
    if (body.bad) out->bad = body.bad;
    buf_printf(out,
               "HTTP/1.1 %d %s\r\nContent-Type: application/problem+json\r\n"
               "Content-Length: %zu\r\n%s%s%s%sConnection: close\r\n\r\n",
               status, MHD_get_reason_phrase_for((unsigned)status), body.len,
               status == 503 || status == 429 ? "Retry-After: 2\r\n" : "",
               id ? "X-Request-Id: " : "", id ? id : "", id ? "\r\n" : "");
    buf_add(out, body.p, body.len);
    buf_clear(&body);
}

enum MHD_Result answer_problem(struct req *r, enum problem_code code, const char *detail,
                               int is_last) {
    buf_clear(&r->problem);
    int status = api_problem(code, detail, r->id, &r->problem);
    struct MHD_Response *response =
        r->problem.bad
            ? NULL
            : MHD_create_response_from_buffer(r->problem.len, r->problem.p, MHD_RESPMEM_PERSISTENT);
    watch_enter(r->conn, WATCH_SEND, r);
    if (!response) return send_response(r, status, NULL, 1);
    (void)MHD_add_response_header(response, "Content-Type", "application/problem+json");
    if (status == 503 || status == 429) (void)MHD_add_response_header(response, "Retry-After", "2");
    if (code == PROBLEM_QUOTA_EXCEEDED) {
        (void)MHD_add_response_header(response, "RateLimit-Policy", r->visit.policy);
        (void)MHD_add_response_header(response, "RateLimit", r->visit.left);
    }
    if (r->caller.challenge[0] && code == r->problem_code)
        (void)MHD_add_response_header(response, "WWW-Authenticate", r->caller.challenge);
    if (status == 405 && r->allow) (void)MHD_add_response_header(response, "Allow", r->allow);
    return send_response(r, status, response, is_last);
}

static void add_headers(struct MHD_Response *response, const struct api_reply *reply) {
    if (reply->content_type)
        (void)MHD_add_response_header(response, "Content-Type", reply->content_type);
    for (int i = 0; i < reply->n_headers; i++)
        (void)MHD_add_response_header(response, reply->headers[i].name, reply->headers[i].value);
}

/* libmicrohttpd wants up to `max` bytes of the reply's file. The kernel reads ahead, so this seldom
 * waits for the disk. */
static ssize_t read_reply_file(void *ud, uint64_t pos, char *to, size_t max) {
    struct req *r = ud;
    ssize_t n = pread(api_call_reply(r->call)->file->fd, to, max, (off_t)pos);
    if (n <= 0) return MHD_CONTENT_READER_END_WITH_ERROR; /* it became shorter */
    watch_bytes(r->conn, (uint64_t)n);
    return n;
}

static enum MHD_Result send_reply_file(struct req *r) {
    const struct api_reply *reply = api_call_reply(r->call);
    struct MHD_Response *response =
        MHD_create_response_from_callback(reply->file->bytes, FILE_BYTES, read_reply_file, r, NULL);
    if (response) add_headers(response, reply);
    watch_enter(r->conn, WATCH_SEND, r);
    watch_long(r->conn);
    return send_response(r, reply->status, response, 0);
}

static enum MHD_Result send_whole(struct req *r) {
    const struct api_reply *reply = api_call_reply(r->call);
    struct MHD_Response *response = MHD_create_response_from_buffer(
        reply->body_len, (void *)(uintptr_t)reply->body, MHD_RESPMEM_PERSISTENT);
    if (response) add_headers(response, reply);
    watch_enter(r->conn, WATCH_SEND, r);
    return send_response(r, reply->status, response, 0);
}

/* libmicrohttpd wants up to `max` bytes of the stream. */
static ssize_t read_stream(void *ud, uint64_t pos, char *to, size_t max) {
    (void)pos;
    struct req *r = ud;
    for (;;) {
        struct req_view v = req_view(r);
        if (v.is_gone) return MHD_CONTENT_READER_END_WITH_ERROR;
        /* While a worker steps the call, nobody reads it. */
        long n = v.stage == REQ_STREAMING ? api_call_read(r->call, to, max) : 0;
        if (n > 0) return n;
        if (n == API_END) return MHD_CONTENT_READER_END_OF_STREAM;
        if (n == API_STEP) req_step(r);
        int parked = n == API_BROKEN ? -1 : req_park(r);
        if (parked < 0) return MHD_CONTENT_READER_END_WITH_ERROR;
        if (parked) return 0;
    }
}

static enum MHD_Result send_stream(struct req *r) {
    const struct api_reply *reply = api_call_reply(r->call);
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BYTES, read_stream, r, NULL);
    if (response) add_headers(response, reply);
    return send_response(r, reply->status, response, 0);
}

enum MHD_Result answer_call(struct req *r) {
    for (;;) {
        struct req_view v = req_view(r);
        if (v.is_gone) return MHD_NO;
        if (v.is_late && v.stage != REQ_REPLYING)
            return answer_problem(
                r, atomic_load(&http_of(r)->is_draining) ? PROBLEM_DRAINING : PROBLEM_DEADLINE,
                NULL, 1);
        if (v.stage == REQ_REPLYING)
            return api_call_reply(r->call)->file ? send_reply_file(r) : send_whole(r);
        if (v.stage == REQ_STREAMING) return send_stream(r);
        int parked = req_park(r);
        if (parked) return parked > 0 ? MHD_YES : MHD_NO;
    }
}
