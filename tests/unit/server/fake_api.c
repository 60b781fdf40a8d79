/* fake_api.c - see fake_api.h. */
#include "tests/unit/server/fake_api.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "kernels/base/clock.h"
#include "kernels/base/mem.h"
#include "tests/check.h"

enum { CALLS_MAX = 256 };

struct api {
    pthread_mutex_t mu; /* guards all below, and the calls */
    pthread_cond_t news;
    struct fake_counts n;
    int is_held;
    struct api_call *calls[CALLS_MAX];
    api_server_stats_fn *stats;
    void *stats_ud;
    api_reload_fn *reload; /* set before there are calls */
    void *reload_ud;
};

struct api_call {
    struct api *api;
    const struct api_route *route;
    struct api_input in;
    api_wake_fn *wake;
    void *ud;
    struct api_reply reply;
    struct buf body; /* of the reply, or what is left of the stream */
    int is_finished, is_stopped, steps, steps_now;
    int is_fresh; /* of /steps: stepped since the last piece was read */
};

static int step_reply(struct api_call *c), step_watch(struct api_call *c),
    step_wait(struct api_call *c), step_stream(struct api_call *c), step_echo(struct api_call *c),
    step_who(struct api_call *c), step_keep(struct api_call *c), step_steps(struct api_call *c);

struct endpoint {
    int (*step)(struct api_call *c);
    size_t body_max;
    int takes_file;
};
static const struct endpoint reply = {step_reply, 0, 0}, watch = {step_watch, 0, 0},
                             waiting = {step_wait, 0, 0}, stream = {step_stream, 0, 0},
                             steps = {step_steps, 0, 0}, echo = {step_echo, FAKE_BODY_MAX, 0},
                             who = {step_who, 0, 0}, keep = {step_keep, FAKE_FILE_MAX, 1};
static const struct api_route routes[] = {{"GET", "/reply", "GET", API_ASK, API_WORK, &reply},
                                          {"GET", "/quick", "GET", API_ASK, API_QUICK, &reply},
                                          {"GET", "/watch", "GET", API_ASK, API_WATCH, &watch},
                                          {"GET", "/wait", "GET", API_ASK, API_WORK, &waiting},
                                          {"GET", "/stream", "GET", API_ASK, API_WORK, &stream},
                                          {"GET", "/steps", "GET", API_ASK, API_WORK, &steps},
                                          {"POST", "/echo", "POST", API_ASK, API_WORK, &echo},
                                          {"POST", "/file", "POST", API_ASK, API_WORK, &keep},
                                          {"POST", "/act", "POST", API_ADMIN, API_WORK, &reply},
                                          {"GET", "/who", "GET", API_ANYBODY, API_WORK, &who}};

static struct api *last;

struct api *fake_last(void) {
    return last;
}

int api_new(const struct api_options *opt, struct eng *eng, struct api **out, struct err *e) {
    (void)opt, (void)eng, (void)e;
    struct api *a = mem_must(sizeof(*a));
    pthread_mutex_init(&a->mu, NULL);
    pthread_cond_init(&a->news, NULL);
    *out = last = a;
    return 0;
}

void api_free(struct api *a) {
    if (!a) return;
    CHECK_EQ(a->n.calls, a->n.freed); /* the server's promise */
    CHECK_EQ(a->n.visits, 0);
    pthread_cond_destroy(&a->news);
    pthread_mutex_destroy(&a->mu);
    mem_free(a);
}

const struct api_route *api_route(const char *method, const char *path, const char **arg,
                                  int *status, const char **allow) {
    *arg = *allow = NULL;
    *status = 404;
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        if (strcmp(routes[i].path, path) != 0) continue;
        *status = 405;
        *allow = routes[i].allow;
        if (strcmp(routes[i].method, method) == 0) return &routes[i];
    }
    return NULL;
}

const char *const api_scope_words[API_SCOPES] = {[API_ASK] = "ask",
                                                 [API_METRICS] = "metrics",
                                                 [API_TRAIN] = "train",
                                                 [API_PROMOTE] = "promote",
                                                 [API_ADMIN] = "admin"};

int api_route_is_open(const struct api_route *r, unsigned scopes) {
    return r->scope == API_ANYBODY || (scopes & API_SCOPE(r->scope)) != 0;
}

void api_set_jobs(struct api *a, struct jobs *jobs) {
    (void)a;
    (void)jobs;
}

void api_offer_adapter(struct api *a, const char *name, const char *by) {
    (void)a;
    (void)name;
    (void)by;
}

void api_set_reload(struct api *a, api_reload_fn *fn, void *ud) {
    a->reload = fn;
    a->reload_ud = ud;
}

int fake_reload(struct api *a, int *n_keys, struct err *e) {
    return a->reload(a->reload_ud, n_keys, e);
}

int api_enter(struct api *a, const struct api_route *r, const struct api_caller *by,
              uint64_t body_bytes, struct api_visit *visit) {
    (void)r, (void)by;
    *visit = (struct api_visit){.body_bytes = body_bytes};
    pthread_mutex_lock(&a->mu);
    visit->is_inside = !a->n.visits_max || a->n.visits < a->n.visits_max;
    a->n.visits += visit->is_inside;
    pthread_mutex_unlock(&a->mu);
    snprintf(visit->why, sizeof(visit->why), "too many");
    snprintf(visit->policy, sizeof(visit->policy), "\"requests\";q=1");
    snprintf(visit->left, sizeof(visit->left), "\"requests\";r=0");
    return visit->is_inside ? 0 : E_BUSY;
}

void api_leave(struct api *a, struct api_visit *visit) {
    pthread_mutex_lock(&a->mu);
    a->n.visits -= visit->is_inside;
    pthread_mutex_unlock(&a->mu);
    visit->is_inside = 0;
}

void api_visit_end(struct api *a, struct api_visit *visit) { api_leave(a, visit); }

void fake_visits(struct api *a, int most) {
    pthread_mutex_lock(&a->mu);
    a->n.visits_max = most;
    pthread_mutex_unlock(&a->mu);
}

size_t api_route_body_max(const struct api *a, const struct api_route *r) {
    (void)a;
    return r->endpoint->body_max;
}

int api_route_takes_file(const struct api_route *r) { return r->endpoint->takes_file; }

int api_route_follows(const struct api_route *r) {
    (void)r;
    return 0;
}

/* ---- steps; with the lock ---- */

static int reply_with(struct api_call *c) {
    c->reply = (struct api_reply){.status = 200,
                                  .content_type = "text/plain",
                                  .headers = {{"X-Fake", "yes"}},
                                  .n_headers = 1,
                                  .body = c->body.p,
                                  .body_len = c->body.len};
    return API_REPLY;
}

static int step_reply(struct api_call *c) {
    buf_str(&c->body, "hello");
    return reply_with(c);
}

static int step_watch(struct api_call *c) {
    buf_str(&c->body, "alive");
    return reply_with(c);
}

static int step_wait(struct api_call *c) {
    if (!c->is_finished) return API_WAIT;
    buf_str(&c->body, "done");
    return reply_with(c);
}

static int step_stream(struct api_call *c) {
    c->reply = (struct api_reply){.status = 200, .content_type = "text/event-stream"};
    return API_STREAM;
}

static int step_steps(struct api_call *c) {
    c->is_fresh = 1;
    return step_stream(c);
}

static int step_echo(struct api_call *c) {
    buf_add(&c->body, c->in.body, c->in.body_len);
    for (size_t i = 0; i < c->in.n_form; i++)
        buf_printf(&c->body, "%s=%.*s\n", c->in.form[i].name, (int)c->in.form[i].len,
                   (const char *)c->in.form[i].data);
    return reply_with(c);
}

static int step_keep(struct api_call *c) {
    const struct api_file *f = c->in.file;
    for (size_t i = 0; i < c->in.n_form; i++)
        buf_printf(&c->body, "%s=%.*s\n", c->in.form[i].name, (int)c->in.form[i].len,
                   (const char *)c->in.form[i].data);
    if (f)
        buf_printf(&c->body, "path=%s name=%s bytes=%llu sha256=%s end\n", f->path, f->name,
                   (unsigned long long)f->bytes, f->sha256);
    return reply_with(c);
}

static int step_who(struct api_call *c) {
    const struct api_caller *by = c->in.caller;
    buf_printf(&c->body, "key=%s peer=%s scopes=%x.\n", by->key, by->peer, by->scopes);
    return reply_with(c);
}

/* ---- calls ---- */

int api_call_new(struct api *a, const struct api_route *r, const struct api_input *in,
                 api_wake_fn *wake, void *ud, struct api_call **out, struct err *e) {
    (void)e;
    struct api_call *c = mem_must(sizeof(*c));
    *c = (struct api_call){.api = a, .route = r, .in = *in, .wake = wake, .ud = ud};
    buf_init(&c->body, 1 << 20);
    pthread_mutex_lock(&a->mu);
    CHECK(a->n.calls < CALLS_MAX);
    a->calls[a->n.calls++] = c;
    pthread_mutex_unlock(&a->mu);
    *out = c;
    return 0;
}

enum api_step api_call_step(struct api_call *c) {
    struct api *a = c->api;
    pthread_mutex_lock(&a->mu);
    a->n.steps++;
    c->steps++;
    if (++c->steps_now > a->n.steps_most) a->n.steps_most = c->steps_now;
    pthread_mutex_unlock(&a->mu);
    sched_yield(); /* let others come in between, if they may */
    pthread_mutex_lock(&a->mu);
    int is_over = c->is_stopped && c->route->endpoint != &steps;
    enum api_step step = is_over ? API_REPLY : (enum api_step)c->route->endpoint->step(c);
    a->n.held++;
    while (a->is_held && c->route->pace != API_WATCH)
        pthread_cond_wait(&a->news, &a->mu);
    a->n.held--;
    c->steps_now--;
    pthread_mutex_unlock(&a->mu);
    return step;
}

const struct api_reply *api_call_reply(const struct api_call *c) { return &c->reply; }

const char *api_call_problem(const struct api_call *c) {
    (void)c;
    return NULL;
}

long api_call_read(struct api_call *c, char *to, size_t max) {
    pthread_mutex_lock(&c->api->mu);
    size_t n = c->body.len < max ? c->body.len : max;
    long rc = n ? (long)n : c->is_finished ? API_END : 0;
    CHECK_EQ(c->steps_now, 0);
    if (n && c->route->endpoint == &steps && !c->is_fresh) {
        rc = API_STEP;
        n = 0;
    }
    if (n) c->is_fresh = 0;
    if (n) {
        memcpy(to, c->body.p, n);
        memmove(c->body.p, c->body.p + n, c->body.len - n);
        c->body.len -= n;
    }
    pthread_mutex_unlock(&c->api->mu);
    return rc;
}

/* What a real call does, too: its work stops, and the stream ends. */
static void stop(struct api_call *c, int *count) {
    pthread_mutex_lock(&c->api->mu);
    ++*count;
    c->is_stopped = c->is_finished = 1;
    pthread_mutex_unlock(&c->api->mu);
}

void api_call_cancel(struct api_call *c) { stop(c, &c->api->n.cancelled); }
void api_call_expire(struct api_call *c) { stop(c, &c->api->n.expired); }

void api_call_free(struct api_call *c) {
    if (!c) return;
    struct api *a = c->api;
    pthread_mutex_lock(&a->mu);
    CHECK_EQ(c->steps_now, 0);
    a->n.freed++;
    for (int i = 0; i < a->n.calls; i++)
        if (a->calls[i] == c) a->calls[i] = NULL;
    pthread_mutex_unlock(&a->mu);
    buf_clear(&c->body);
    mem_free(c);
}

void api_call_print(const struct api_call *c, char out[API_PRINT_BYTES]) {
    (void)c;
    out[0] = '\0';
}

uint64_t api_call_rows(struct api_call *c) {
    (void)c;
    return 0;
}

int api_route_is_batchable(const struct api_route *r) {
    (void)r;
    return 0;
}

const char *api_call_summary(const struct api_call *c) {
    (void)c;
    return "";
}

/* ---- what the server tells ---- */

int api_problem(enum problem_code code, const char *detail, const char *request_id,
                struct buf *body) {
    static const struct {
        enum problem_code code;
        int status;
        const char *word;
    } known[] = {{PROBLEM_HEADER_GATE, 400, "header_gate"},
                 {PROBLEM_BAD_MULTIPART, 400, "bad_multipart"},
                 {PROBLEM_UNAUTHORIZED, 401, "unauthorized"},
                 {PROBLEM_SCOPE_MISSING, 403, "scope_missing"},
                 {PROBLEM_AUDIT_UNAVAILABLE, 503, "audit_unavailable"},
                 {PROBLEM_FORBIDDEN, 403, "forbidden"},
                 {PROBLEM_NOT_FOUND, 404, "not_found"},
                 {PROBLEM_METHOD_NOT_ALLOWED, 405, "method_not_allowed"},
                 {PROBLEM_BODY_TOO_LARGE, 413, "body_too_large"},
                 {PROBLEM_URI_TOO_LONG, 414, "uri_too_long"},
                 {PROBLEM_UNSUPPORTED_MEDIA_TYPE, 415, "unsupported_media_type"},
                 {PROBLEM_HEADERS_TOO_LARGE, 431, "headers_too_large"},
                 {PROBLEM_NO_MEMORY, 503, "no_memory"},
                 {PROBLEM_NO_SPACE, 503, "no_space"},
                 {PROBLEM_NO_STATE, 503, "no_state"},
                 {PROBLEM_QUOTA_EXCEEDED, 429, "quota_exceeded"},
                 {PROBLEM_QUEUE_FULL, 503, "queue_full"},
                 {PROBLEM_DRAINING, 503, "draining"},
                 {PROBLEM_TOO_MANY_CONNECTIONS, 503, "too_many_connections"},
                 {PROBLEM_DEADLINE, 504, "deadline"}};
    (void)request_id;
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (known[i].code != code) continue;
        buf_printf(body, "%s: %s", known[i].word, detail ? detail : "");
        return known[i].status;
    }
    test_failed(__FILE__, __LINE__, "the server has no business with problem %d", (int)code);
}

void api_set_server(struct api *a, api_server_stats_fn *fn, void *ud) {
    pthread_mutex_lock(&a->mu);
    a->stats = fn;
    a->stats_ud = ud;
    pthread_mutex_unlock(&a->mu);
}

int api_set_engine(struct api *a, struct eng *eng, struct err *e) {
    (void)eng, (void)e;
    pthread_mutex_lock(&a->mu);
    a->n.engines++;
    pthread_mutex_unlock(&a->mu);
    return 0;
}

void api_set_stuck(struct api *a, int is_stuck) {
    pthread_mutex_lock(&a->mu);
    a->n.stuck = is_stuck;
    pthread_mutex_unlock(&a->mu);
}

void api_set_leaving(struct api *a) { (void)a; }

void api_set_draining(struct api *a) {
    pthread_mutex_lock(&a->mu);
    a->n.draining++;
    pthread_mutex_unlock(&a->mu);
}

void api_count(struct api *a, const struct api_route *route, int status, uint64_t duration_ns) {
    (void)route, (void)duration_ns;
    pthread_mutex_lock(&a->mu);
    a->n.counted++;
    a->n.last_status = status;
    pthread_mutex_unlock(&a->mu);
}

/* ---- for the test ---- */

struct fake_counts fake_counts(struct api *a) {
    pthread_mutex_lock(&a->mu);
    struct fake_counts n = a->n;
    pthread_mutex_unlock(&a->mu);
    return n;
}

struct api_server_stats fake_server_stats(struct api *a) {
    struct api_server_stats s = {0};
    CHECK(a->stats != NULL);
    a->stats(a->stats_ud, &s);
    return s;
}

struct api_call *fake_call(struct api *a, int n) {
    FAKE_WAIT(fake_counts(a).calls > n);
    pthread_mutex_lock(&a->mu);
    struct api_call *c = a->calls[n];
    pthread_mutex_unlock(&a->mu);
    CHECK(c != NULL);
    return c;
}

void fake_hold(struct api *a, int is_held) {
    pthread_mutex_lock(&a->mu);
    a->is_held = is_held;
    pthread_cond_broadcast(&a->news);
    pthread_mutex_unlock(&a->mu);
}

int fake_steps(struct api_call *c) {
    pthread_mutex_lock(&c->api->mu);
    int n = c->steps;
    pthread_mutex_unlock(&c->api->mu);
    return n;
}

void fake_wake(struct api_call *c) { c->wake(c->ud); }

void fake_finish(struct api_call *c) {
    pthread_mutex_lock(&c->api->mu);
    c->is_finished = 1;
    pthread_mutex_unlock(&c->api->mu);
    fake_wake(c);
}

void fake_say(struct api_call *c, const char *text) {
    pthread_mutex_lock(&c->api->mu);
    buf_str(&c->body, text);
    pthread_mutex_unlock(&c->api->mu);
    fake_wake(c);
}
