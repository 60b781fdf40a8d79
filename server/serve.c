/* serve.c - see serve.h: the order of start and stop.
 *
 * Start: signals, listening sockets, keys, the folder of --state, API, HTTP, acceptor, and then the
 * model and its adapters, on a thread of their own (load.h). So a port in use and a bad file of
 * keys are reported at once, and until the model is there /livez says 200, /readyz and all
 * questions 503. Then `listening on URL` goes to standard output, and READY to systemd. SIGHUP
 * reads keys and certificate again.
 *
 * Meanwhile: a sign of life goes to systemd as long as the engine gets on with its jobs and the
 * HTTP loop answers. When one of them is stuck, /readyz says 503 and there is no sign of life,
 * until it gets on again or the supervisor has enough.
 *
 * Stop, at SIGTERM or SIGINT: /readyz says 503. The acceptor lets in who waits at the door, and
 * stops; at a socket that the supervisor holds they wait for the next process instead. A little
 * later idle connections are closed, among them those that have sent no whole request line. Running
 * requests may finish, and lines of batches that are on their way. At the deadline, or at a second
 * signal, what is left is answered with 503, whether all of it has come or not. Then everything is
 * closed in the opposite order; a run of a job gets SIGTERM, and goes on at the next start. The
 * exit status is 0. A lost device ends the process in the same way but with status 1, so that its
 * supervisor starts it again.
 */
#include "server/serve.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "batch/batches.h"
#include "kernels/base/clock.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "server/accept.h"
#include "server/access.h"
#include "server/finetune.h"
#include "server/http/pulse.h"
#include "server/http/spool.h"
#include "server/life.h"
#include "server/load.h"
#include "server/statedir.h"

/* A sign of life is due each second, or as often as systemd wants it. */
enum {
    TICK_MS = 1000,
    LOAD_TICK_MS = 10,
    DRAIN_TICK_MS = 20,
    FIRST_WORDS_MS = 200,
    LAST_WORDS_MS = 5000,
    LAST_LINES_MS = 1000
};
enum { RELAY_SPARE = 64 }; /* connections that are answered 503, or end */

struct server {
    struct life life;
    struct listeners listeners;
    struct access access;
    int has_access; /* access is open */
    int state_lock; /* of the folder of --state; -1: none */
    struct eng *eng;
    struct api *api;
    struct spool *spool;
    struct jobs *jobs;       /* NULL: there are none */
    struct batches *batches; /* NULL, too */
    struct http *http;
    struct relay *relay;
    struct acceptor *acceptor;
    struct pulse pulse;
    int is_stuck;
};

static const uint64_t stuck_ns = 15 * CLOCK_S, stuck_least_ns = 2 * CLOCK_S;

static int open_listeners(struct server *s, const struct serve_options *o, struct err *e) {
    struct listeners *l = &s->listeners;
    int rc = life_inherit(l, e), n_public = 0;
    for (int i = 0; i < l->n; i++)
        n_public += !l->is_admin[i];
    if (!rc && !n_public && !o->n_listen && !o->n_listen_tls)
        rc = listeners_bind(l, "127.0.0.1:8080", e);
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

/* The folder for what outlives a request. */
static int serve_open_state(struct server *s, const struct serve_options *o, struct err *e) {
    char path[4096];
    if (!o->state) return 0;
    int n = snprintf(path, sizeof(path), "%s/spool", o->state);
    if (n < 0 || (size_t)n >= sizeof(path))
        return err_set(e, E_INVALID, "--state: too long a path");
    int rc = finetune_open(&o->jobs, s->api, &s->jobs, e); /* from here on DIR is ours alone */
    return rc ? rc : spool_open(path, o->state_free, &s->spool, e);
}

static int serve_open_http(struct server *s, const struct http_options *opt, struct err *e) {
    struct http_options http = *opt;
    http.callers.keys = s->access.keys;
    http.callers.audit = s->access.audit;
    http.spool = s->spool;
    api_set_reload(s->api, reload, s);
    return http_open(&http, s->api, &s->http, e);
}

static int serve_open_api(struct server *s, const struct serve_options *o, struct err *e) {
    char adapters[4096];
    struct api_options opt = o->api;
    int rc = o->state ? statedir_open(o->state, &s->state_lock, e) : 0;
    if (rc) return rc;
    if (o->state) {
        if (snprintf(adapters, sizeof(adapters), "%s/adapters", o->state) >= (int)sizeof(adapters))
            return err_set(e, E_INVALID, "the name of --state's folder is too long");
        opt.adapters = adapters;
    }
    return api_new(&opt, NULL, &s->api, e);
}

static void say_loading(const struct server *s, const char *model) {
    char url[128] = "";
    if (s->listeners.n) listeners_url(&s->listeners, 0, url, sizeof(url));
    log_event(LOG_LEVEL_INFO, "loading", "listen=%s model=%s", url, model ? model : "");
}

/* All but the engine. */
static int serve_open_door(struct server *s, const struct serve_options *o, struct err *e) {
    struct http_options http = o->http;
    int rc = http_check(&http, e);
    if (!rc) rc = life_descriptors(&http.connections, e);
    if (!rc) rc = open_listeners(s, o, e);
    if (!rc) rc = access_open(&s->access, o, &s->listeners, e);
    if (rc) return rc;
    s->has_access = 1;
    rc = serve_open_api(s, o, e);
    if (!rc) rc = serve_open_state(s, o, e);
    if (!rc) rc = serve_open_http(s, &http, e);
    if (!rc) rc = open_relay(s, o, e);
    if (rc) return rc;
    say_loading(s, o->engine.model);
    s->acceptor = acceptor_start(&s->listeners, s->relay);
    return 0;
}

/* *is_stopped: a signal came meanwhile. */
static int serve_load(struct server *s, const struct serve_options *o, int *is_stopped,
                      struct err *e) {
    struct load l;
    load_start(&l, &o->engine, s->api);
    while (!load_is_over(&l) && !*is_stopped) {
        int signal = life_wait(&s->life, LOAD_TICK_MS);
        *is_stopped = signal == SIGTERM || signal == SIGINT;
        int n_keys;
        if (signal == SIGHUP) (void)reload(s, &n_keys, NULL);
    }
    if (*is_stopped) api_set_draining(s->api);
    return load_end(&l, &s->eng, e);
}

/* What was accepted before goes on. */
static void serve_start_state(struct server *s, const struct serve_options *o) {
    const struct batches_options opt = {s->api, s->eng, s->jobs, o->state_free};
    struct err e = {0};
    if (!s->jobs) return;
    finetune_start(s->jobs, eng_info(s->eng)->name);
    if (batches_open(&opt, &s->batches, &e))
        log_event(LOG_LEVEL_ERROR, "jobs", "no batch runs here: %s", e.text);
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

/* A sign of life, if there is life. */
static void beat(struct server *s) {
    uint64_t limit = (uint64_t)s->life.watchdog_ms * CLOCK_MS;
    if (limit == 0 || limit > stuck_ns) limit = stuck_ns;
    if (limit < stuck_least_ns) limit = stuck_least_ns;
    uint64_t engine = eng_stuck_ns(s->eng), loop = pulse_ask(&s->pulse, s->http);
    int is_stuck = engine > limit || loop > limit;
    if (is_stuck != s->is_stuck) {
        log_event(is_stuck ? LOG_LEVEL_ERROR : LOG_LEVEL_WARN, is_stuck ? "stuck" : "unstuck",
                  "engine_s=%.1f loop_s=%.1f", (double)engine / 1e9, (double)loop / 1e9);
        api_set_stuck(s->api, is_stuck);
        s->is_stuck = is_stuck;
    }
    if (!is_stuck) life_tell("WATCHDOG=1");
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
        beat(s);
    }
}

/* Also lines of batches that are on their way are waited for: they would be asked again. */
static int is_at_work(const struct server *s) {
    return http_requests(s->http) || !batches_is_idle(s->batches);
}

static void drain(struct server *s, unsigned drain_s) {
    log_event(LOG_LEVEL_INFO, "draining", "requests=%d", http_requests(s->http));
    life_tell("STOPPING=1");
    api_set_draining(s->api);
    acceptor_stop(s->acceptor);
    s->acceptor = NULL;
    listeners_close(&s->listeners);
    /* Who was let in a moment ago has not said yet what it wants. */
    int hurry = life_wait(&s->life, FIRST_WORDS_MS);
    relay_drain(s->relay);
    http_drain(s->http);
    batches_drain(s->batches);
    if (hurry == SIGTERM || hurry == SIGINT) drain_s = 0;
    uint64_t end = clock_ns() + (uint64_t)drain_s * CLOCK_S;
    while (is_at_work(s) && clock_ns() < end) {
        int signal = life_wait(&s->life, DRAIN_TICK_MS);
        if (signal == SIGTERM || signal == SIGINT) break;
        beat(s);
    }
    if (!http_requests(s->http)) return;
    log_event(LOG_LEVEL_WARN, "cancelling", "requests=%d", http_requests(s->http));
    for (int ms = 0; http_requests(s->http) && ms < LAST_WORDS_MS; ms += DRAIN_TICK_MS) {
        http_cancel(s->http); /* again and again: it does not meet who is busy */
        (void)life_wait(&s->life, DRAIN_TICK_MS);
    }
}

int serve(const struct serve_options *o, struct err *e) {
    struct server s = {.listeners = {.n = 0}, .state_lock = -1};
    mem_frugal();
    int rc = life_begin(&s.life, e);
    if (rc) return rc;
    if (o->http.is_verbose) log_set_level(LOG_LEVEL_DEBUG);
    log_begin();
    pulse_init(&s.pulse);
    int status = 0, is_stopped = 0;
    rc = serve_open_door(&s, o, e);
    if (rc == 0) rc = serve_load(&s, o, &is_stopped, e);
    if (rc == 0) {
        if (!is_stopped) serve_start_state(&s, o);
        if (!is_stopped) announce(&s);
        if (!is_stopped) status = wait_for_end(&s);
        drain(&s, o->drain_s);
    }
    acceptor_stop(s.acceptor);
    http_close(s.http);
    batches_close(s.batches);
    spool_close(s.spool);
    jobs_close(s.jobs);
    relay_close(s.relay);
    pulse_clear(&s.pulse);
    api_free(s.api);
    eng_close(s.eng);
    listeners_close(&s.listeners);
    statedir_close(s.state_lock);
    if (s.has_access) access_close(&s.access);
    life_end(&s.life);
    if (rc == 0) log_event(LOG_LEVEL_INFO, "stopped", "status=%d", status);
    log_end(LAST_LINES_MS);
    return rc ? rc : status;
}
