/* serve.c - see serve.h: the order of start and stop.
 *
 * Start: signals, listening sockets, model, API, HTTP, acceptor. Sockets come before the model, so
 * that a port in use is reported at once. Then `listening on URL` goes to standard output, and
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
#include "kernels/base/mem.h"
#include "server/http/accept.h"
#include "server/life.h"

enum { TICK_MS = 1000, DRAIN_TICK_MS = 20, LAST_WORDS_MS = 5000, LAST_LINES_MS = 1000 };

struct server {
    struct life life;
    struct listeners listeners;
    struct eng *eng;
    struct api *api;
    struct http *http;
    struct acceptor *acceptor;
};

static int open_listeners(struct server *s, const struct serve_options *o, struct err *e) {
    int rc = life_inherit(&s->listeners, e);
    if (rc || s->listeners.n) return rc;
    if (!o->n_listen) return listeners_bind(&s->listeners, "127.0.0.1:8080", e);
    for (int i = 0; rc == 0 && i < o->n_listen; i++)
        rc = listeners_bind(&s->listeners, o->listen[i], e);
    return rc;
}

static int serve_open_all(struct server *s, const struct serve_options *o, struct err *e) {
    int rc = open_listeners(s, o, e);
    if (rc) return rc;
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
    rc = http_open(&o->http, s->api, &s->http, e);
    if (rc) return rc;
    s->acceptor = acceptor_start(&s->listeners, s->http);
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
        if (signal == SIGHUP)
            log_event(LOG_LEVEL_INFO, "reload",
                      "there is nothing to reload; SIGTERM stops the server");
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
    mem_frugal();
    int rc = life_begin(&s.life, e);
    if (rc) return rc;
    if (o->http.is_verbose) log_set_level(LOG_LEVEL_DEBUG);
    log_begin();
    int status = 0;
    rc = serve_open_all(&s, o, e);
    if (rc == 0) {
        announce(&s);
        status = wait_for_end(&s);
        drain(&s, o->drain_s);
    }
    http_close(s.http);
    api_free(s.api);
    eng_close(s.eng);
    listeners_close(&s.listeners);
    life_end(&s.life);
    if (rc == 0) log_event(LOG_LEVEL_INFO, "stopped", "status=%d", status);
    log_end(LAST_LINES_MS);
    return rc ? rc : status;
}
