/* call.c - the life of a call, from the request's bytes to the reply's.
 *
 * Who touches a call: the worker that steps it, the thread that reads its stream (never both at a
 * time), and two that may come at any moment: whoever cancels it, and the engine's step thread,
 * which wakes it. Those two touch nothing but this:
 *   cancelled, jobs   atomics; cancel sets the flag, then walks the list of jobs; call_ask puts
 *                     the job on the list, then looks at the flag; so whoever comes second stops it.
 *   wake, ud          never change. The engine's door promises that no wake comes after the last put
 *                     of a job, and api_call_free puts them all before it frees anything.
 *
 * Thread: see api.h.
 */
#include "api/call.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "api/wire/input.h"
#include "kernels/base/clock.h"
#include "kernels/base/mem.h"
#include "media/picture.h"

enum { REPLY_BYTES_MAX = 64 << 20 };

/* ---- the API itself ---- */

int api_new(const struct api_options *opt, struct eng *eng, struct api **out, struct err *e) {
    *out = NULL;
    if (opt->stored_images < 0 || opt->stored_images > 100000)
        return err_set(e, E_INVALID, "stored images must be from 1 to 100000");
    if (opt->sessions < 0 || opt->sessions > 10000)
        return err_set(e, E_INVALID, "sessions must be from 1 to 10000");
    if (opt->pixels_max > ENG_PICTURE_PIXELS_MAX)
        return err_set(e, E_INVALID, "at most %d pixels can be allowed", ENG_PICTURE_PIXELS_MAX);
    struct api *a = mem_must(sizeof(*a));
    a->opt = *opt;
    if (!a->opt.json_max) a->opt.json_max = 16 << 20;
    if (!a->opt.picture_max) a->opt.picture_max = 12 << 20;
    if (!a->opt.pixels_max) a->opt.pixels_max = 40 * 1000 * 1000;
    if (!a->opt.stored_images) a->opt.stored_images = 64;
    if (!a->opt.image_ttl_s) a->opt.image_ttl_s = 3600;
    if (!a->opt.sessions) a->opt.sessions = 64;
    if (!a->opt.session_ttl_s) a->opt.session_ttl_s = 600;
    a->eng = eng;
    a->born_s = (long long)time(NULL);
    a->images = images_new(a->opt.stored_images, a->opt.image_ttl_s);
    a->sessions = sessions_new(a->opt.sessions, a->opt.session_ttl_s);
    a->metrics = metrics_new();
    pthread_mutex_init(&a->mu, NULL);
    json_object_seed(0);
    *out = a;
    return 0;
}

void api_free(struct api *a) {
    if (!a) return;
    images_free(a->images);
    sessions_free(a->sessions);
    metrics_free(a->metrics);
    pthread_mutex_destroy(&a->mu);
    mem_free(a);
}

void api_set_server(struct api *a, api_server_stats_fn *fn, void *ud) {
    pthread_mutex_lock(&a->mu);
    a->server_stats = fn;
    a->server_ud = ud;
    pthread_mutex_unlock(&a->mu);
}

void api_set_draining(struct api *a) { atomic_store(&a->draining, 1); }

void api_count(struct api *a, const struct api_route *route, int status, uint64_t duration_ns) {
    metrics_count_request(a->metrics, route, status, duration_ns);
}

/* ---- new, step, read, cancel, free ---- */

int api_call_new(struct api *a, const struct api_route *r, const struct api_input *in,
                 api_wake_fn *wake, void *ud, struct api_call **out, struct err *e) {
    *out = NULL;
    struct api_call *c = mem_try(sizeof(*c));
    if (!c) return err_set(e, E_NOMEM, "no memory for a call");
    c->api = a;
    c->route = r;
    c->in = *in;
    c->wake = wake;
    c->ud = ud;
    c->born_ns = clock_ns();
    snprintf(c->request_id, sizeof(c->request_id), "%s", in->request_id);
    buf_init(&c->body, REPLY_BYTES_MAX);
    *out = c;
    return 0;
}

enum api_step api_call_step(struct api_call *c) {
    if (atomic_load(&c->cancelled)) return (enum api_step)call_fail_as(c, "cancelled");
    return (enum api_step)c->route->step(c);
}

const struct api_reply *api_call_reply(const struct api_call *c) { return &c->reply; }

const char *api_call_problem(const struct api_call *c) {
    if (!c->problem.row) return NULL;
    return c->problem.detail[0] ? c->problem.detail : c->problem.row->detail;
}

static void stop(struct api_call *c, atomic_int *why) {
    atomic_store(why, 1);
    for (int i = atomic_load(&c->n_jobs) - 1; i >= 0; i--)
        eng_job_cancel(atomic_load(&c->jobs[i]));
}

void api_call_cancel(struct api_call *c) { stop(c, &c->cancelled); }

void api_call_expire(struct api_call *c) { stop(c, &c->expired); }

void api_call_free(struct api_call *c) {
    if (!c) return;
    for (int i = 0; i < atomic_load(&c->n_jobs); i++)
        eng_job_put(atomic_load(&c->jobs[i])); /* from here on it wakes nobody */
    for (uint32_t i = 0; i < c->n_pictures; i++)
        eng_picture_put(c->pictures[i]);
    if (c->state_clear) c->state_clear(c->state);
    mem_free(c->state);
    arena_free(c->texts);
    buf_clear(&c->body);
    mem_free(c);
}

const char *api_call_summary(const struct api_call *c) { return c->summary; }

/* ---- the reply ---- */

void call_header(struct api_call *c, const char *name, const char *value) {
    must(c->reply.n_headers < (int)ARRAY_LEN(c->reply.headers));
    c->reply.headers[c->reply.n_headers++] = (struct api_header){name, value};
}

void call_header_printf(struct api_call *c, const char *name, const char *fmt, ...) {
    must(c->n_header_text < (int)ARRAY_LEN(c->header_text));
    char *text = c->header_text[c->n_header_text++];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(c->header_text[0]), fmt, ap);
    va_end(ap);
    call_header(c, name, text);
}

int call_answer(struct api_call *c, int status, const char *content_type) {
    if (c->body.bad) return call_fail_as(c, "no_memory");
    c->reply.status = status;
    c->reply.content_type = content_type;
    c->reply.body = c->body.p;
    c->reply.body_len = c->body.len;
    return API_REPLY;
}

int call_fail(struct api_call *c) {
    const struct problem_row *row = c->problem.row;
    static const uint8_t last_resort[] = "{\"type\":\"about:blank\",\"status\":503}\n";
    c->reply =
        (struct api_reply){.status = row->status, .content_type = "application/problem+json"};
    c->n_header_text = 0;
    buf_clear(&c->body);
    if (row->status == 429 || row->status == 503)
        call_header_printf(c, "Retry-After", "%u", eng_retry_after(c->api->eng));
    if (problem_write(&c->problem, c->request_id, &c->body)) {
        c->reply.status = 503;
        c->reply.body = last_resort;
        c->reply.body_len = sizeof(last_resort) - 1;
        c->reply.is_static = 1;
        return API_REPLY;
    }
    c->reply.body = c->body.p;
    c->reply.body_len = c->body.len;
    snprintf(c->summary, sizeof(c->summary), "problem=%s", row->code);
    return API_REPLY;
}

int call_fail_as(struct api_call *c, const char *code) {
    c->problem = (struct problem){0};
    problem_set(&c->problem, code, NULL, NULL);
    return call_fail(c);
}

/* ---- towards the engine ---- */

/* A decoder's error: its text was written in this room, for clients. `nth` 0: it is the only one. */
static int refuse_picture(struct api_call *c, const struct input_picture *p, int nth, int rc,
                          const struct err *e) {
    char which[32] = "";
    const char *code = rc == E_TOO_BIG ? "picture_too_large" : problem_code_of(rc);
    if (nth) snprintf(which, sizeof(which), "picture %d: ", nth);
    return problem_set(&c->problem, code, p->name, "%s%s", which, e->text);
}

/* One encoded picture -> the next of c->images. */
static int decode(struct api_call *c, const struct input_picture *p, int nth) {
    struct err e = {0};
    uint8_t *rgb = NULL;
    int w, h;
    uint64_t start = clock_ns();
    int rc = picture_decode(p->bytes, p->len, c->api->opt.pixels_max, &rgb, &w, &h, &e);
    if (rc) {
        refuse_picture(c, p, nth, rc, &e);
    } else {
        rc = eng_picture_new(c->api->eng, rgb, w, h, &c->pictures[c->n_pictures], &e);
        if (rc == E_TOO_BIG)
            problem_set(&c->problem, "picture_too_large", p->name, NULL);
        else if (rc)
            problem_set(&c->problem, problem_code_of(rc), NULL, NULL);
        else
            c->n_pictures++;
    }
    mem_free(rgb);
    uint64_t ns = clock_ns() - start;
    c->decode_ns += ns;
    metrics_count_decode(c->api->metrics, ns, rc != 0);
    return rc ? -1 : 0;
}

int call_pictures(struct api_call *c, const struct input *in) {
    for (int i = 0; i < in->n_pictures; i++) {
        const struct input_picture *p = &in->pictures[i];
        if (!p->id) {
            if (decode(c, p, in->n_pictures > 1 ? i + 1 : 0)) return -1;
            continue;
        }
        struct eng_picture *picture = images_find(c->api->images, p->id);
        if (!picture) return problem_set(&c->problem, "image_not_found", p->name, NULL);
        c->pictures[c->n_pictures++] = picture;
    }
    return 0;
}

void *call_take(struct api_call *c, size_t bytes) {
    if (!c->texts) c->texts = arena_new(CALL_TEXT_BYTES_MAX);
    void *p = c->texts ? arena_take(c->texts, bytes) : NULL;
    if (!p) problem_set(&c->problem, "no_memory", NULL, NULL);
    return p;
}

char *call_keep(struct api_call *c, const char *text, size_t len) {
    char *p = call_take(c, len + 1);
    if (p && len) memcpy(p, text, len);
    return p;
}

/* The engine's callback, on its step thread. */
static void on_wake(void *ud, struct eng_job *job) {
    struct api_call *c = ud;
    if (c->wakes_each_pass || eng_job_state(job) >= ENG_DONE) c->wake(c->ud);
}

/* What a text that came from outside may be refused for is told in the engine's own words, which
 * are about the text alone. */
static void refuse_ask(struct api_call *c, int rc, const struct err *e, const char *param) {
    if (param && (rc == E_INVALID || rc == E_TOO_BIG))
        problem_set(&c->problem, rc == E_INVALID ? "invalid_parameter" : "too_much_work", param,
                    "%s can't be asked: %s", param, e->text);
    else
        problem_set(&c->problem, rc == E_UNSUPPORTED ? "unsupported_task" : problem_code_of(rc),
                    NULL, NULL);
}

struct eng_job *call_ask(struct api_call *c, const struct eng_ask *what, const char *param) {
    int n = atomic_load(&c->n_jobs);
    /* What has begun may go on. */
    if (n == 0 && atomic_load(&c->api->draining)) {
        problem_set(&c->problem, "draining", NULL, NULL);
        return NULL;
    }
    must(n < CALL_JOBS_MAX);
    struct eng_ask ask = *what;
    if (!ask.pictures) {
        ask.pictures = c->pictures;
        ask.n_pictures = c->n_pictures;
    }
    ask.wake = on_wake;
    ask.ud = c;
    struct eng_job *job = NULL;
    struct err e = {0};
    int rc = eng_submit(c->api->eng, &ask, &job, &e);
    if (rc) {
        refuse_ask(c, rc, &e, param);
        return NULL;
    }
    atomic_store(&c->jobs[n], job);
    atomic_store(&c->n_jobs, n + 1);
    if (atomic_load(&c->cancelled) || atomic_load(&c->expired)) eng_job_cancel(job);
    return job;
}

struct eng_job *call_job(struct api_call *c, int i) {
    return atomic_load(&c->jobs[i]);
}

/* By the client, by the clock, or by an engine that closes. */
static const char *why_cancelled(struct api_call *c) {
    if (atomic_load(&c->cancelled)) return "cancelled";
    return atomic_load(&c->expired) && !atomic_load(&c->api->draining) ? "deadline" : "draining";
}

int call_job_outcome(struct api_call *c, const struct eng_job *job) {
    switch (eng_job_state(job)) {
    case ENG_DONE: return 1;
    case ENG_FAILED:
        return problem_set(&c->problem, problem_code_of(eng_job_error(job)->code), NULL, NULL);
    case ENG_CANCELLED: return problem_set(&c->problem, why_cancelled(c), NULL, NULL);
    default: return 0;
    }
}

static uint64_t earlier(uint64_t a, uint64_t b) { return !a || (b && b < a) ? b : a; }

void call_stats(struct api_call *c, struct eng_job_stats *out) {
    *out = (struct eng_job_stats){0};
    for (int i = 0; i < atomic_load(&c->n_jobs); i++) {
        struct eng_job_stats s;
        eng_job_stats(call_job(c, i), &s);
        out->queued_ns = earlier(out->queued_ns, s.queued_ns);
        out->first_ns = earlier(out->first_ns, s.first_ns);
        if (s.end_ns > out->end_ns) out->end_ns = s.end_ns;
        out->vision_ns += s.vision_ns;
        out->stem_tokens += s.stem_tokens;
        out->stem_cached += s.stem_cached;
        out->rows += s.rows;
        out->rows_plain += s.rows_plain;
    }
}

static void summarize(struct api_call *c) {
    struct eng_job_stats s;
    uint32_t n, answers = 0, tokens = 0;
    call_stats(c, &s);
    for (int i = 0; i < atomic_load(&c->n_jobs); i++) {
        eng_job_answers(call_job(c, i), &n);
        answers += n;
        eng_job_tokens(call_job(c, i), &n);
        tokens += n;
    }
    snprintf(c->summary, sizeof(c->summary),
             "answers=%u tokens=%u rows=%llu cached=%u/%u first_ms=%.1f decode_ms=%.1f", answers,
             tokens, (unsigned long long)s.rows, s.stem_cached, s.stem_tokens,
             s.first_ns > s.queued_ns ? (double)(s.first_ns - s.queued_ns) / 1e6 : 0,
             (double)c->decode_ns / 1e6);
}

int call_outcome(struct api_call *c) {
    int n = atomic_load(&c->n_jobs), n_done = 0;
    for (int i = 0; i < n; i++) {
        int outcome = call_job_outcome(c, call_job(c, i));
        if (outcome < 0) return -1;
        n_done += outcome;
    }
    if (n_done < n) return 0;
    summarize(c);
    return 1;
}
