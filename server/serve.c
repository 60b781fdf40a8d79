/* serve.c - see serve.h: the order of start and stop.
 *
 * Start: signals, listening sockets, keys, model, API, HTTP, acceptor. Sockets and keys come before
 * the model, so that a port in use or a bad key file is reported at once. SIGHUP reads the keys
 * again. Then `listening on URL` goes to standard output, and
 * READY to systemd.
 *
 * Stop, at SIGTERM or SIGINT: /readyz says 503, the acceptor stops, idle connections are closed,
 * running requests may finish. At the deadline, or at a second signal, what is left is answered
 * with 503. Then everything is closed in the opposite order, and the exit status is 0. A lost
 * device ends the process in the same way but with status 1, so that its supervisor starts it
 * again.
 */
#include "server/serve.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/clock.h"
#include "kernels/base/log.h"
#include "server/accept.h"
#include "server/access.h"
#include "server/life.h"

enum { TICK_MS = 1000, DRAIN_TICK_MS = 20, LAST_WORDS_MS = 5000 };
enum { RELAY_SPARE = 64 }; /* connections that are answered 503, or end */

struct server {
    struct life life;
    struct listeners listeners;
    struct access access;
    int has_access; /* access is open */
    struct eng *eng;
    struct api *api;
    struct http *http;
    struct relay *relay;
    struct acceptor *acceptor;
};

static int open_listeners(struct server *s, const struct serve_options *o, struct err *e) {
    struct listeners *l = &s->listeners;
    int rc = life_inherit(l, e), n_public = 0;
    for (int i = 0; i < l->n; i++)
        n_public += !l->is_admin[i];
    if (!rc && !n_public && !o->n_listen && !o->n_listen_tls) rc = listeners_bind(l, "127.0.0.1:8080", e);
    for (int i = 0; !rc && !n_public && i < o->n_listen; i++)
        rc = listeners_bind(l, o->listen[i], e);
    for (int i = 0; !rc && !n_public && i < o->n_listen_tls; i++) {
        rc = listeners_bind(l, o->listen_tls[i], e);
        if (!rc) l->is_tls[l->n - 1] = 1;
    }
    if (!rc && o->admin_socket) rc = listeners_bind_admin(l, o->admin_socket, e);
    return rc;
}

static int open_relay(struct server *s, const struct serve_options *o, struct err *e) {
    int wants_tls = 0;
    for (int i = 0; i < s->listeners.n; i++)
        wants_tls |= s->listeners.is_tls[i];
    if (wants_tls && !(o->tls.cert && o->tls.key))
        return err_set(e, E_INVALID,
                       "TLS needs a certificate and its key: --tls-cert FILE --tls-key FILE");
    struct relay_options opt = {.connections = o->http.connections + RELAY_SPARE,
                                .shake_ns = o->http.limits.header_ns,
                                .tls = wants_tls ? &o->tls : NULL};
    return relay_open(&opt, s->http, &s->relay, e);
}

/* SIGHUP, and POST /v1/admin/reload: keys, audit file, certificate. What fails stays as it was. */
static int reload(void *ud, int *n_keys, struct err *e) {
    struct server *s = ud;
    struct err mine = {0};
    int rc = access_reload(&s->access, n_keys, e), tls = relay_reload(s->relay, &mine);
    if (!tls) return rc;
    log_event(LOG_LEVEL_ERROR, "reload", "the certificate stays as it was: %s", mine.text);
    return err_set(e, mine.code, "%s", mine.text);
}
static int serve_open_http(struct server *s, const struct serve_options *o, struct err *e) {
    struct http_options http = o->http;
    http.callers.keys = s->access.keys;
    http.callers.audit = s->access.audit;
    api_set_reload(s->api, reload, s);
    return http_open(&http, s->api, &s->http, e);
}

static int serve_open_all(struct server *s, const struct serve_options *o, struct err *e) {
    int rc = http_check(&o->http, e);
    if (!rc) rc = open_listeners(s, o, e);
    if (!rc) rc = access_open(&s->access, o, &s->listeners, e);
    if (rc) return rc;
    s->has_access = 1;
    uint64_t start = clock_ns();
    rc = eng_open(&o->engine, &s->eng, e);
    if (rc) return rc;
    const struct eng_info *info = eng_info(s->eng);
    log_event(LOG_LEVEL_INFO, "model",
              "name=%s parameters=%llu sha256=%.12s backend=\"%s\" ms=%.0f", info->name,
              (unsigned long long)info->parameters, info->digest, info->backend,
              (double)(clock_ns() - start) / 1e6);
    if (info->note[0]) log_event(LOG_LEVEL_INFO, "device", "using the CPU: %s", info->note);
    rc = api_new(&o->api, s->eng, &s->api, e);
    if (rc) return rc;
    rc = serve_open_http(s, o, e);
    if (rc) return rc;
    rc = open_relay(s, o, e);
    if (rc) return rc;
    s->acceptor = acceptor_start(&s->listeners, s->relay);
    return 0;
}

static void announce(const struct server *s) {
    char url[128], status[512];
    for (int i = 0; i < s->listeners.n; i++) {
        listeners_url(&s->listeners, i, url, sizeof(url));
        printf("listening on %s\n", url);
    }
    fflush(stdout);
    snprintf(status, sizeof(status), "READY=1\nSTATUS=serving %s", eng_info(s->eng)->name);
    life_tell(status);
}

/* The exit status: 0 at a signal that says stop, 1 when a device was lost. */
static int wait_for_end(struct server *s) {
    int tick = s->life.watchdog_ms ? s->life.watchdog_ms : TICK_MS;
    for (;;) {
        int signal = life_wait(&s->life, tick < TICK_MS ? tick : TICK_MS);
        if (signal == SIGTERM || signal == SIGINT) return 0;
        int n_keys;
        if (signal == SIGHUP) (void)reload(s, &n_keys, NULL);
        if (eng_health(s->eng)) {
            log_event(LOG_LEVEL_ERROR, "device_lost",
                      "no job can run any more, so the process ends: %s", eng_lost(s->eng));
            return 1;
        }
        life_tell("WATCHDOG=1");
    }
}

static void drain(struct server *s, unsigned drain_s) {
    log_event(LOG_LEVEL_INFO, "draining", "requests=%d", http_requests(s->http));
    life_tell("STOPPING=1");
    api_set_draining(s->api);
    acceptor_stop(s->acceptor);
    listeners_close(&s->listeners);
    relay_drain(s->relay);
    http_drain(s->http);
    uint64_t end = clock_ns() + (uint64_t)drain_s * CLOCK_S;
    while (http_requests(s->http) && clock_ns() < end) {
        int signal = life_wait(&s->life, DRAIN_TICK_MS);
        if (signal == SIGTERM || signal == SIGINT) break;
        life_tell("WATCHDOG=1");
    }
    if (!http_requests(s->http)) return;
    log_event(LOG_LEVEL_WARN, "cancelling", "requests=%d", http_requests(s->http));
    http_cancel(s->http);
    for (int ms = 0; http_requests(s->http) && ms < LAST_WORDS_MS; ms += DRAIN_TICK_MS)
        (void)life_wait(&s->life, DRAIN_TICK_MS);
}

int serve(const struct serve_options *o, struct err *e) {
    struct server s = {.listeners = {.n = 0}};
    int rc = life_begin(&s.life, e);
    if (rc) return rc;
    if (o->http.is_verbose) log_set_level(LOG_LEVEL_DEBUG);
    int status = 0;
    rc = serve_open_all(&s, o, e);
    if (rc == 0) {
        announce(&s);
        status = wait_for_end(&s);
        drain(&s, o->drain_s);
    }
    http_close(s.http);
    relay_close(s.relay);
    api_free(s.api);
    eng_close(s.eng);
    listeners_close(&s.listeners);
    if (s.has_access) access_close(&s.access);
    life_end(&s.life);
    if (rc) return rc;
    log_event(LOG_LEVEL_INFO, "stopped", "status=%d", status);
    return status;
}
