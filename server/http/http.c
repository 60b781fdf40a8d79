/* http.c - libmicrohttpd's side of a request: read it, park it, answer it.
 *
 * libmicrohttpd calls, all on its one loop thread: on_target (the request line is there; the
 * request begins), on_request (headers; pieces of the body; the end of the body; again after each
 * resume), read_stream, on_over. What happens in between is req.h's story.
 *
 * A request that is refused before its body was read is answered when the body has been read and
 * thrown away, for a few seconds at most, because a client that is still sending would see a reset
 * instead of the answer; when the framing itself is in doubt the answer goes out at once and the
 * connection is closed.
 * TRAPS: a connection must not be suspended when the loop is told to stop (it panics). A reader
 * that returns 0 without suspending burns a core. Headers lie in the connection's memory, which
 * ends before a worker may be done with them: they are copied (kept). 0.9.75 answers some malformed
 * requests by itself, in HTML; openapi.yaml lists them.
 */
#include "server/http/http.h"

#include <microhttpd.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <unistd.h>

#include "kernels/base/clock.h"
#include "kernels/base/err.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "server/http/gate.h"
#include "server/http/req.h"

#define MALFORMED_TARGET \
    "the request target is not properly percent-encoded, or has too many fields"
enum { CONNECTION_BYTES = 64 << 10, STREAM_BYTES = 8 << 10 };
static const uint64_t discard_max = 256u << 20; /* bytes of a refused body that are waited for */

struct http {
    struct desk desk;
    struct watch *watch;
    struct MHD_Daemon *daemon;
    struct http_options opt;
    atomic_int is_draining;
    atomic_int open; /* connections, counted when they are added */
    atomic_size_t bodies;
    atomic_ullong connections_total, shed, gate_refused, cancelled;
};

static struct http *http_of(struct req *r) { return (struct http *)(void *)r->desk; }

/* ---- answers ---- */

static enum MHD_Result queue(struct req *r, int status, struct MHD_Response *response,
                             int is_last) {
    if (!response) return MHD_NO;
    (void)MHD_add_response_header(response, "X-Request-Id", r->id);
    if (is_last || atomic_load(&http_of(r)->is_draining))
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    r->status = status;
    enum MHD_Result ok = MHD_queue_response(r->mhd, (unsigned)status, response);
    MHD_destroy_response(response);
    return ok;
}

/* An answer that needs no call. */
static enum MHD_Result refuse(struct req *r, const char *code, const char *detail, int is_last) {
    buf_clear(&r->problem);
    int status = api_problem(code, detail, r->id, &r->problem);
    struct MHD_Response *response =
        MHD_create_response_from_buffer(r->problem.len, r->problem.p, MHD_RESPMEM_PERSISTENT);
    if (!response) return MHD_NO;
    (void)MHD_add_response_header(response, "Content-Type", "application/problem+json");
    if (status == 503 || status == 429) (void)MHD_add_response_header(response, "Retry-After", "2");
    if (status == 405 && r->allow) (void)MHD_add_response_header(response, "Allow", r->allow);
    watch_enter(r->conn, WATCH_SEND, r);
    return queue(r, status, response, is_last);
}

static void add_headers(struct MHD_Response *response, const struct api_reply *reply) {
    if (reply->content_type)
        (void)MHD_add_response_header(response, "Content-Type", reply->content_type);
    for (int i = 0; i < reply->n_headers; i++)
        (void)MHD_add_response_header(response, reply->headers[i].name, reply->headers[i].value);
}

static ssize_t read_stream(void *ud, uint64_t pos, char *to, size_t max) {
    (void)pos;
    struct req *r = ud;
    for (;;) {
        if (req_view(r).is_gone) return MHD_CONTENT_READER_END_WITH_ERROR;
        long n = api_call_read(r->call, to, max);
        if (n > 0) return n;
        if (n == API_END) return MHD_CONTENT_READER_END_OF_STREAM;
        int parked = n == 0 ? req_park(r) : -1;
        if (parked < 0) return MHD_CONTENT_READER_END_WITH_ERROR;
        if (parked) return 0;
    }
}

static enum MHD_Result answer_whole(struct req *r) {
    const struct api_reply *reply = api_call_reply(r->call);
    /* The call outlives the answer: it is freed when libmicrohttpd is done with the request. */
    struct MHD_Response *response = MHD_create_response_from_buffer(
        reply->body_len, (void *)(uintptr_t)reply->body, MHD_RESPMEM_PERSISTENT);
    if (!response) return MHD_NO;
    add_headers(response, reply);
    watch_enter(r->conn, WATCH_SEND, r);
    return queue(r, reply->status, response, 0);
}

static enum MHD_Result answer_stream(struct req *r) {
    const struct api_reply *reply = api_call_reply(r->call);
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BYTES, read_stream, r, NULL);
    if (!response) return MHD_NO;
    add_headers(response, reply);
    return queue(r, reply->status, response, 0);
}

/* The request is at work: answer it, or park it until it can be answered. */
static enum MHD_Result proceed(struct req *r) {
    for (;;) {
        struct req_view v = req_view(r);
        if (v.is_gone) return MHD_NO;
        if (v.is_late && v.stage != REQ_REPLYING)
            return refuse(r, atomic_load(&http_of(r)->is_draining) ? "draining" : "deadline", NULL,
                          1);
        if (v.stage == REQ_REPLYING) return answer_whole(r);
        if (v.stage == REQ_STREAMING) return answer_stream(r);
        int parked = req_park(r);
        if (parked) return parked > 0 ? MHD_YES : MHD_NO;
    }
}

/* ---- the headers ---- */

struct header_list {
    struct gate_header at[GATE_HEADERS_MAX];
    size_t n;
};

static enum MHD_Result on_header(void *ud, enum MHD_ValueKind kind, const char *name,
                                 size_t name_len, const char *value, size_t value_len) {
    (void)kind;
    struct header_list *l = ud;
    if (l->n < GATE_HEADERS_MAX)
        l->at[l->n] = (struct gate_header){name, value ? value : "", name_len, value_len};
    l->n++;
    return MHD_YES;
}

static const char *header(struct req *r, const char *name) {
    return MHD_lookup_connection_value(r->mhd, MHD_HEADER_KIND, name);
}

/* The client's own id when it is a plain word, else a new one. */
static void name_request(struct req *r) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    const char *given = header(r, "X-Request-Id");
    size_t n = given ? strlen(given) : 0;
    if (n >= 1 && n <= 64 && strspn(given, plain) == n) {
        memcpy(r->id, given, n + 1);
        return;
    }
    uint64_t random = 0;
    if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random)) random = r->born_ns;
    snprintf(r->id, sizeof(r->id), "r-%016llx", (unsigned long long)random);
}

static char *keep(struct req *r, int slot, const char *name) {
    const char *value = header(r, name);
    size_t n = value ? strlen(value) : 0;
    if (!value || !(r->kept[slot] = mem_try(n + 1))) return NULL;
    memcpy(r->kept[slot], value, n);
    return r->kept[slot];
}

static struct gate_verdict pass_gate(struct req *r, const char *method, const char *version) {
    struct http *h = http_of(r);
    struct header_list headers = {.n = 0};
    (void)MHD_get_connection_values_n(r->mhd, MHD_HEADER_KIND, on_header, &headers);
    struct gate_request q = {.method = method,
                             .version = version,
                             .target = r->raw_target,
                             .headers = headers.at,
                             .n_headers = headers.n,
                             .hosts = h->opt.hosts,
                             .n_hosts = h->opt.n_hosts};
    return gate_check(&q);
}

/* Take the bytes of a body out of the budget before they come. */
static int reserve(struct req *r, size_t n) {
    struct http *h = http_of(r);
    size_t before = atomic_fetch_add(&h->bodies, n);
    if (before + n > h->opt.bodies_max) {
        atomic_fetch_sub(&h->bodies, n);
        return E_BUSY;
    }
    r->reserved_bytes = n;
    return 0;
}

static int is_multipart(const char *type) {
    return type && strncasecmp(type, "multipart/form-data", 19) == 0;
}

/* Refuse when the body has been read. */
static void refuse_later(struct req *r, const char *code, const char *detail) {
    if (r->problem_code) return;
    r->problem_code = code;
    r->problem_detail = detail;
    watch_enter(r->conn, WATCH_DISCARD, r);
}

/* The route says how much body there may be; `length` < 0: not known. */
static void expect_body(struct req *r, long long length) {
    size_t max = api_route_body_max(r->desk->api, r->route);
    if (length == 0 && max == 0) return;
    if (max == 0) {
        refuse_later(r, "body_too_large", "this call takes no body");
    } else if (length > (long long)max) {
        refuse_later(r, "body_too_large", NULL);
    } else if (reserve(r, length < 0 ? max : (size_t)length)) {
        refuse_later(r, "no_memory", "too many bodies are being received; come back later");
    } else if (is_multipart(r->input.content_type)) {
        r->form = form_new(r->mhd, max);
        if (!r->form)
            refuse_later(r, "bad_multipart", "the multipart boundary is missing or too short");
    } else {
        buf_init(&r->body, max);
    }
}

static enum MHD_Result first_look(struct req *r, const char *method, const char *version) {
    struct http *h = http_of(r);
    name_request(r);
    snprintf(r->method, sizeof(r->method), "%s", method);
    struct gate_verdict verdict = pass_gate(r, method, version);
    if (verdict.code) {
        atomic_fetch_add(&h->gate_refused, 1);
        return refuse(r, verdict.code, verdict.detail, 1);
    }
    const char *length = header(r, "Content-Length"), *coding = header(r, "Transfer-Encoding");
    long long n = coding ? -1 : 0;
    if (length && sscanf(length, "%18lld", &n) != 1) n = 0; /* the gate saw digits */
    watch_enter(r->conn, n ? WATCH_BODY : WATCH_WORK, r);
    int rc = target_read(&r->target, r->raw_target);
    if (rc) {
        refuse_later(r, rc == E_NOMEM ? "no_memory" : "header_gate", MALFORMED_TARGET);
    } else {
        int status;
        r->route = api_route(method, r->target.path, &r->input.arg, &status, &r->allow);
        if (!r->route) refuse_later(r, status == 405 ? "method_not_allowed" : "not_found", NULL);
    }
    r->input.content_type = keep(r, 0, "Content-Type");
    r->input.accept = keep(r, 1, "Accept");
    r->input.if_none_match = keep(r, 2, "If-None-Match");
    if (r->route) expect_body(r, n);
    int is_waiting = header(r, "Expect") != NULL;
    if (r->problem_code && (n == 0 || is_waiting))
        return refuse(r, r->problem_code, r->problem_detail, n != 0);
    return MHD_YES;
}

/* ---- the body ---- */

static const char *why_not_taken(const struct req *r, int rc) {
    _Static_assert(FORM_PARTS_MAX == 32, "told below");
    if (rc == E_UNSUPPORTED) return "parts are taken without Content-Transfer-Encoding";
    return rc == E_TOO_BIG && r->form
               ? "the form has over 32 parts, or more bytes than are taken here"
               : NULL;
}

static enum MHD_Result take_body(struct req *r, const char *bytes, size_t n) {
    watch_bytes(r->conn, n);
    r->body_bytes += n;
    if (!r->problem_code) {
        int rc = r->form ? form_feed(r->form, bytes, n) : buf_add(&r->body, bytes, n);
        if (rc == 0) return MHD_YES;
        refuse_later(r,
                     rc == E_TOO_BIG       ? "body_too_large"
                     : rc == E_NOMEM       ? "no_memory"
                     : rc == E_UNSUPPORTED ? "unsupported_media_type"
                                           : "bad_multipart",
                     why_not_taken(r, rc));
        buf_clear(&r->body);
        form_free(r->form);
        r->form = NULL;
    }
    r->discarded_bytes += n;
    return r->discarded_bytes > discard_max ? MHD_NO : MHD_YES;
}

static void wake(void *ud) { req_signal(ud); }

static enum MHD_Result begin_work(struct req *r) {
    if (!r->problem_code && r->form && form_end(r->form, &r->input.form, &r->input.n_form))
        refuse_later(r, "bad_multipart", NULL);
    if (r->problem_code) return refuse(r, r->problem_code, r->problem_detail, 1);
    if (!r->form) {
        r->input.body = r->body.p;
        r->input.body_len = r->body.len;
    }
    r->input.query = r->target.query;
    r->input.n_query = r->target.n_query;
    r->input.request_id = r->id;
    struct err e = {0};
    if (api_call_new(r->desk->api, r->route, &r->input, wake, r, &r->call, &e))
        return refuse(r, "no_memory", NULL, 1);
    if (req_work(r)) {
        api_call_free(r->call); /* it has done nothing yet */
        r->call = NULL;
        return refuse(r, "queue_full", NULL, 1);
    }
    watch_enter(r->conn, WATCH_WORK, r);
    return proceed(r);
}

/* ---- libmicrohttpd's callbacks ---- */

static void *on_target(void *ud, const char *target, struct MHD_Connection *mhd) {
    struct http *h = ud;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct req *r = info && info->socket_context ? req_new(&h->desk, target) : NULL;
    if (!r) return NULL;
    r->mhd = mhd;
    r->conn = info->socket_context;
    watch_enter(r->conn, WATCH_HEADERS, r);
    return r;
}

static enum MHD_Result on_request(void *ud, struct MHD_Connection *mhd, const char *url,
                                  const char *method, const char *version, const char *bytes,
                                  size_t *n_bytes, void **context) {
    (void)ud;
    (void)mhd;
    (void)url;
    struct req *r = *context;
    if (!r) return MHD_NO; /* no memory at its beginning */
    if (!r->is_seen) {
        r->is_seen = 1;
        return first_look(r, method, version);
    }
    if (*n_bytes) {
        size_t n = *n_bytes;
        *n_bytes = 0;
        return take_body(r, bytes, n);
    }
    return r->call ? proceed(r) : begin_work(r);
}

static void tell(const struct http *h, struct req *r, int status, int is_settled, uint64_t ns) {
    int is_loud = h->opt.is_verbose || !r->route || r->route->scope != API_SCOPE_OPEN;
    log_event(is_loud ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG, "request",
              "id=%s method=%s route=%s status=%d ms=%.1f bytes=%llu %s", r->id, r->method,
              r->route ? r->route->path : "-", status, (double)ns / 1e6,
              (unsigned long long)r->body_bytes, is_settled ? api_call_summary(r->call) : "");
}

static void on_over(void *ud, struct MHD_Connection *mhd, void **context,
                    enum MHD_RequestTerminationCode code) {
    (void)mhd;
    struct http *h = ud;
    struct req *r = *context;
    if (!r) return;
    *context = NULL;
    struct req_view v = req_view(r);
    int is_cut = code != MHD_REQUEST_TERMINATED_COMPLETED_OK && v.stage == REQ_STREAMING;
    int status = v.is_gone || is_cut || !r->status ? 499 : r->status;
    if (status == 499) atomic_fetch_add(&h->cancelled, 1);
    uint64_t ns = clock_ns() - r->born_ns;
    api_count(h->desk.api, r->route, status, ns);
    int is_settled = v.stage == REQ_REPLYING || v.stage == REQ_STREAMING;
    if (r->id[0]) tell(h, r, status, is_settled, ns);
    atomic_fetch_sub(&h->bodies, r->reserved_bytes);
    watch_enter(r->conn, WATCH_IDLE, NULL);
    req_over(r);
}

static void on_connection(void *ud, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode code) {
    struct http *h = ud;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
        *context = info ? watch_add(h->watch, info->connect_fd) : NULL;
    } else {
        if (*context) watch_remove(*context);
        atomic_fetch_sub(&h->open, 1);
    }
}

__attribute__((format(printf, 2, 0))) static void on_log(void *ud, const char *fmt, va_list ap) {
    (void)ud;
    char text[400];
    vsnprintf(text, sizeof(text), fmt, ap);
    log_event(LOG_LEVEL_DEBUG, "http", "%s", text);
}

static void on_panic(void *ud, const char *file, unsigned line, const char *why) {
    (void)ud;
    log_event(LOG_LEVEL_ERROR, "http_panic", "at=%s:%u %s", file, line, why ? why : "");
    must(!"libmicrohttpd gave up");
}

/* ---- suspend and resume, for req.c ---- */

static void suspend(struct req *r) {
    MHD_suspend_connection(r->mhd);
    watch_suspended(r->conn);
}

static void resume(struct req *r) {
    watch_resumed(r->conn);
    MHD_resume_connection(r->mhd);
}

/* ---- open, add, drain, close ---- */

static void read_stats(void *ud, struct api_server_stats *out) {
    struct http *h = ud;
    *out = (struct api_server_stats){.connections = (uint64_t)atomic_load(&h->open),
                                     .connections_total = atomic_load(&h->connections_total),
                                     .shed_total = atomic_load(&h->shed),
                                     .gate_refused_total = atomic_load(&h->gate_refused),
                                     .cancelled_total = atomic_load(&h->cancelled),
                                     .body_bytes = atomic_load(&h->bodies)};
}

static struct MHD_Daemon *start(struct http *h) {
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_NO_LISTEN_SOCKET |
                     MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_ERROR_LOG;
    return MHD_start_daemon(flags, 0, NULL, NULL, on_request, h, MHD_OPTION_EXTERNAL_LOGGER, on_log,
                            NULL, MHD_OPTION_NOTIFY_CONNECTION, on_connection, h,
                            MHD_OPTION_NOTIFY_COMPLETED, on_over, h, MHD_OPTION_URI_LOG_CALLBACK,
                            on_target, h, MHD_OPTION_CONNECTION_LIMIT,
                            (unsigned)h->opt.connections + 16, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                            (size_t)CONNECTION_BYTES, MHD_OPTION_CONNECTION_TIMEOUT, 0u,
                            MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
}

int http_open(const struct http_options *opt, struct api *api, struct http **out, struct err *e) {
    if (opt->connections < 1 || opt->connections > HTTP_CONNECTIONS_MAX)
        return err_set(e, E_INVALID, "connections must be from 1 to %d", HTTP_CONNECTIONS_MAX);
    if (opt->workers < 1 || opt->workers > HTTP_WORKERS_MAX)
        return err_set(e, E_INVALID, "workers must be from 1 to %d", HTTP_WORKERS_MAX);
    struct http *h = mem_must(sizeof(*h));
    h->opt = *opt;
    h->desk.suspend = suspend;
    h->desk.resume = resume;
    desk_open(&h->desk, api, opt->workers, 2 * opt->connections + 64);
    int rc = watch_open(&h->desk, &opt->limits, opt->connections + 16, &h->watch, e);
    if (rc == 0) {
        MHD_set_panic_func(on_panic, NULL);
        h->daemon = start(h);
        if (!h->daemon) {
            rc = err_set(e, E_IO, "libmicrohttpd does not start");
            watch_close(h->watch);
        }
    }
    if (rc) {
        desk_close(&h->desk);
        mem_free(h);
        return rc;
    }
    api_set_server(api, read_stats, h);
    *out = h;
    return 0;
}

/* Over the limit: a fixed answer, without libmicrohttpd. */
static void shed(struct http *h, int fd) {
    atomic_fetch_add(&h->shed, 1);
    struct buf body, all;
    buf_init(&body, 4096);
    buf_init(&all, 8192);
    (void)api_problem("too_many_connections", NULL, "none", &body);
    buf_printf(&all,
               "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n"
               "Content-Length: %zu\r\nRetry-After: 2\r\nConnection: close\r\n\r\n",
               body.len);
    buf_add(&all, body.p, body.len);
    char drop[4096];
    if (!all.bad) (void)send(fd, all.p, all.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    shutdown(fd, SHUT_WR);
    while (recv(fd, drop, sizeof(drop), MSG_DONTWAIT) > 0) {} /* unread bytes would mean a reset */
    close(fd);
    buf_clear(&body);
    buf_clear(&all);
}

void http_add(struct http *h, int fd, const struct sockaddr *addr, socklen_t len) {
    atomic_fetch_add(&h->connections_total, 1);
    if (atomic_load(&h->open) >= h->opt.connections) {
        shed(h, fd);
        return;
    }
    atomic_fetch_add(&h->open, 1);
    if (MHD_add_connection(h->daemon, fd, addr, len) != MHD_YES) /* it closes the socket */
        atomic_fetch_sub(&h->open, 1);
}

void http_drain(struct http *h) {
    atomic_store(&h->is_draining, 1);
    watch_drain(h->watch);
}

int http_requests(struct http *h) { return watch_count(h->watch).requests; }

void http_cancel(struct http *h) { watch_cancel(h->watch, 0); }

void http_close(struct http *h) {
    if (!h) return;
    pthread_mutex_lock(&h->desk.mu);
    h->desk.is_closing = 1;
    pthread_mutex_unlock(&h->desk.mu);
    watch_cancel(h->watch, 1); /* from here on nothing is parked */
    MHD_stop_daemon(h->daemon);
    watch_close(h->watch);
    api_set_server(h->desk.api, NULL, NULL);
    desk_close(&h->desk);
    mem_free(h);
}
