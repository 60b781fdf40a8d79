/* http.c - the daemon: connections come and go, and libmicrohttpd's callbacks. See http.h.
 *
 * libmicrohttpd has one thread, the HTTP loop. For a request it calls on_target when the request
 * line is there; on_request when the headers are there, for each piece of the body, at its end, and
 * again after each resume; on_over when it is done. req.h tells what happens in between. TRAPS: a
 * connection must not be suspended when the loop is told to stop, or libmicrohttpd panics. 0.9.75
 * answers some malformed requests by itself, in HTML; openapi.yaml lists them. It also forgets
 * connections that it closes: see_off.
 */
#include "server/http/http.h"

#include <stdio.h>
#include <sys/un.h>
#include <unistd.h>

#include "kernels/base/clock.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "server/http/loop.h"

enum { CONNECTION_BYTES = 64 << 10, SPARE_ROWS = 16 /* for those that are closing */ };
enum { ENDING_MAX = 8192 };

/* 0.9.75, when it is strict, closes without an answer where a target has a blank; the gate answers.
 * Later editions are stricter in what matters at level 1. */
#if MHD_VERSION >= 0x00097701
#define CLIENT_DISCIPLINE MHD_OPTION_CLIENT_DISCIPLINE_LVL, 1
#else
#define CLIENT_DISCIPLINE MHD_OPTION_STRICT_FOR_CLIENT, 0
#endif

/* ---- libmicrohttpd's callbacks ---- */

static void *on_target(void *ud, const char *target, struct MHD_Connection *mhd) {
    struct http *h = ud;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct req *r = info && info->socket_context ? req_new(&h->desk, target) : NULL; /* or sorry */
    if (!r) return NULL;
    r->mhd = mhd;
    r->conn = info->socket_context;
    watch_enter(r->conn, WATCH_HEADERS, r);
    return r;
}

static enum MHD_Result on_request(void *ud, struct MHD_Connection *mhd, const char *url,
                                  const char *method, const char *version, const char *bytes,
                                  size_t *n_bytes, void **context) {
    (void)url;
    struct req *r = *context;
    if (!r) return answer_sorry(ud, mhd);
    if (!r->is_seen) {
        r->is_seen = 1;
        return intake_begin(r, method, version);
    }
    if (*n_bytes) return intake_body(r, bytes, n_bytes);
    return r->call ? answer_call(r) : intake_end(r);
}

static void tell(const struct http *h, struct req *r, int status, int is_settled, uint64_t ns) {
    char peer[PEER_TEXT];
    peer_text(&r->conn->from, peer);
    int is_loud = h->opt.is_verbose || !r->route || r->route->pace != API_WATCH;
    log_event(is_loud ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG, "request",
              "id=%s peer=%s key=%s method=%s route=%s status=%d ms=%.1f bytes=%llu %s", r->id,
              r->caller.address[0] ? r->caller.address : peer,
              r->caller.who.key[0] ? r->caller.who.key : "-", r->method,
              r->route ? r->route->path : "-", status, (double)ns / 1e6,
              (unsigned long long)r->body_bytes, is_settled ? api_call_summary(r->call) : "");
}

/* Is the connection closed with its request? */
static int is_last(struct req *r, enum MHD_RequestTerminationCode code) {
    if (code != MHD_REQUEST_TERMINATED_COMPLETED_OK) return 1;
    return r && r->is_http10 && req_view(r).stage == REQ_STREAMING;
}

/* libmicrohttpd 0.9.75 forgets a connection that it closes because the reader of its content said
 * END: MHD_connection_handle_idle marks it as closed, and leaves before it comes to the clean-up.
 * It is then not in the list of what is ready, and since it was suspended before, its socket is not
 * in the epoll set either. Client and relay are gone, but its socket and its row would stay for
 * good. What the loop looks at in each round is its oldest connection, which is the server's own
 * (pulse.h), and those with a timeout of their own: if they are closed, they are cleaned up. So
 * what is about to be closed gets such a timeout. It also ends the wait for the next round. */
static void see_off(struct MHD_Connection *mhd) {
    (void)MHD_set_connection_option(mhd, MHD_CONNECTION_OPTION_TIMEOUT, 1u); /* second */
}

static void on_over(void *ud, struct MHD_Connection *mhd, void **context,
                    enum MHD_RequestTerminationCode code) {
    struct http *h = ud;
    struct req *r = *context;
    if (is_last(r, code)) see_off(mhd);
    if (!r) return;
    *context = NULL;
    struct req_view v = req_view(r);
    int is_stream = v.stage == REQ_STREAMING || v.stage == REQ_WORKING;
    int is_cut = code != MHD_REQUEST_TERMINATED_COMPLETED_OK && is_stream;
    int status = v.is_gone || is_cut || !r->status ? 499 : r->status;
    if (status == 499 && !r->conn->is_own) atomic_fetch_add(&h->cancelled, 1);
    uint64_t ns = clock_ns() - r->born_ns;
    if (!r->conn->is_own) api_count(h->desk.api, r->route, status, ns);
    int is_settled = v.stage == REQ_REPLYING || v.stage == REQ_STREAMING;
    if (r->id[0] && !r->conn->is_own) tell(h, r, status, is_settled, ns);
    api_leave(h->desk.api, &r->visit);
    (void)watch_book(r->conn, 0, 0, 0); /* giving back is always possible */
    watch_enter(r->conn, WATCH_IDLE, NULL);
    req_over(r);
}

static void on_connection(void *ud, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode code) {
    struct http *h = ud;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
        *context = info ? watch_begin(h->watch, info->connect_fd) : NULL;
    } else if (*context) {
        watch_remove(*context);
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
    struct watch_count n = watch_count(h->watch);
    *out = (struct api_server_stats){.connections = (uint64_t)n.connections,
                                     .connections_total = atomic_load(&h->connections_total),
                                     .shed_total = atomic_load(&h->shed),
                                     .gate_refused_total = atomic_load(&h->gate_refused),
                                     .cancelled_total = atomic_load(&h->cancelled),
                                     .body_bytes = n.booked};
}

static struct MHD_Daemon *http_start(struct http *h) {
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_NO_LISTEN_SOCKET |
                     MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_ERROR_LOG;
    return MHD_start_daemon(flags, 0, NULL, NULL, on_request, h, MHD_OPTION_EXTERNAL_LOGGER, on_log,
                            NULL, MHD_OPTION_NOTIFY_CONNECTION, on_connection, h,
                            MHD_OPTION_NOTIFY_COMPLETED, on_over, h, MHD_OPTION_URI_LOG_CALLBACK,
                            on_target, h, MHD_OPTION_CONNECTION_LIMIT,
                            (unsigned)(h->opt.connections + SPARE_ROWS),
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES,
                            MHD_OPTION_CONNECTION_TIMEOUT, 0u, CLIENT_DISCIPLINE, MHD_OPTION_END);
}

/* Made at the start, since it is for when nothing can be made. */
static struct MHD_Response *make_sorry(void) {
    static const char text[] =
        "{\"type\":\"about:blank\",\"status\":503,\"title\":\"Out of memory\"}\n";
    struct MHD_Response *r = MHD_create_response_from_buffer(
        sizeof(text) - 1, (void *)(uintptr_t)text, MHD_RESPMEM_PERSISTENT);
    if (!r) return NULL;
    (void)MHD_add_response_header(r, "Content-Type", "application/problem+json");
    (void)MHD_add_response_header(r, "Retry-After", "2");
    (void)MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close");
    return r;
}

int http_check(const struct http_options *opt, struct err *e) {
    if (opt->connections < 1 || opt->connections > HTTP_CONNECTIONS_MAX)
        return err_set(e, E_INVALID, "connections must be from 1 to %d", HTTP_CONNECTIONS_MAX);
    if (opt->workers < 1 || opt->workers > HTTP_WORKERS_MAX)
        return err_set(e, E_INVALID, "workers must be from 1 to %d", HTTP_WORKERS_MAX);
    return origin_check_rules(&opt->origins, e);
}

int http_open(const struct http_options *opt, struct api *api, struct http **out, struct err *e) {
    int rc = http_check(opt, e);
    if (rc) return rc;
    struct http *h = mem_must(sizeof(*h));
    h->opt = *opt;
    h->desk.suspend = suspend;
    h->desk.resume = resume;
    desk_open(&h->desk, api, opt->workers, 2 * opt->connections + 64);
    rc = watch_open(&h->desk, &opt->limits, opt->connections + SPARE_ROWS, &h->watch, e);
    if (rc == 0) {
        MHD_set_panic_func(on_panic, NULL);
        h->sorry = make_sorry();
        buf_init(&h->ending, ENDING_MAX);
        answer_text(PROBLEM_DRAINING, NULL, "none", &h->ending);
        h->daemon = h->sorry ? http_start(h) : NULL;
        if (!h->daemon) {
            rc = err_set(e, E_IO, "libmicrohttpd does not start");
            watch_close(h->watch);
            if (h->sorry) MHD_destroy_response(h->sorry);
            buf_clear(&h->ending);
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

/* A fixed answer, without libmicrohttpd. */
static void turn_away(int fd, enum problem_code code, const char *detail) {
    struct buf all;
    buf_init(&all, 8192);
    answer_text(code, detail, "none", &all);
    char drop[4096];
    if (!all.bad) (void)send(fd, all.p, all.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    shutdown(fd, SHUT_WR);
    while (recv(fd, drop, sizeof(drop), MSG_DONTWAIT) > 0) {} /* unread bytes would mean a reset */
    close(fd);
    buf_clear(&all);
}

void http_add(struct http *h, int fd, const struct sockaddr *addr, socklen_t len) {
    atomic_fetch_add(&h->connections_total, 1);
    struct sockaddr_un nameless = peer_unix(PEER_UNIX);
    if (!len) { /* libmicrohttpd keeps a copy, and gives it out without its length */
        addr = (struct sockaddr *)&nameless;
        len = sizeof(nameless);
    }
    struct peer from = peer_of(addr);
    const struct caller_rules *rules = &h->opt.callers;
    if (rules->n_proxies && !peer_is_loopback(&from) &&
        !peer_is_in(&from, rules->proxies, rules->n_proxies)) {
        turn_away(fd, PROBLEM_FORBIDDEN,
                  "only the proxy in front of this server may connect to it");
        return;
    }
    int max = h->opt.connections + (from.kind == PEER_ADMIN ? SPARE_ROWS / 2 : 0);
    struct conn *c = watch_add(h->watch, fd, &from, max);
    if (!c) {
        atomic_fetch_add(&h->shed, 1);
        turn_away(fd, PROBLEM_TOO_MANY_CONNECTIONS, NULL);
    } else if (MHD_add_connection(h->daemon, fd, addr, len) != MHD_YES) { /* it closes the socket */
        watch_remove(c);
    }
}

void http_add_own(struct http *h, int fd) {
    static const struct sockaddr_un nowhere = {.sun_family = AF_UNIX};
    struct conn *c = watch_add_own(h->watch, fd);
    if (!c)
        close(fd);
    else if (MHD_add_connection(h->daemon, fd, (const struct sockaddr *)&nowhere,
                                sizeof(nowhere)) != MHD_YES)
        watch_remove(c);
}

void http_drain(struct http *h) {
    atomic_store(&h->is_draining, 1);
    watch_drain(h->watch);
}

int http_requests(struct http *h) { return watch_count(h->watch).requests; }

void http_cancel(struct http *h) { watch_cancel(h->watch, &h->ending); }

void http_close(struct http *h) {
    if (!h) return;
    pthread_mutex_lock(&h->desk.mu);
    h->desk.is_closing = 1;
    pthread_mutex_unlock(&h->desk.mu);
    watch_cancel(h->watch, NULL); /* from here on nothing is parked */
    MHD_stop_daemon(h->daemon);
    MHD_destroy_response(h->sorry);
    buf_clear(&h->ending);
    watch_close(h->watch);
    api_set_server(h->desk.api, NULL, NULL);
    desk_close(&h->desk);
    mem_free(h);
}
