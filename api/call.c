/* call.c - the life of a call, from the request's bytes to the reply's.
 *
 * Who touches a call: the worker that steps it, the thread that reads its stream (never both at a
 * time), and two that may come at any moment: whoever cancels it, and the engine's step thread,
 * which wakes it. Those two touch nothing but this:
 *   cancelled, job   atomics; cancel sets the flag, then looks for a job; submit publishes the
 *                    job, then looks at the flag; so whoever comes second stops the job.
 *   wake, ud         never change. The engine's door promises that no wake comes after the last put
 *                    of a job, and api_call_free puts it before it frees anything.
 *
 * Thread: see api.h.
 */
#include "api/call.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "api/input.h"
#include "kernels/base/clock.h"
#include "kernels/base/mem.h"

enum { REPLY_BYTES_MAX = 64 << 20 };

/* ---- the API itself ---- */

int api_new(const struct api_options *opt, struct eng *eng, struct api **out, struct err *e) {
    *out = NULL;
    if (opt->stored_images < 0 || opt->stored_images > 100000)
        return err_set(e, E_INVALID, "stored images must be from 1 to 100000");
    if (opt->pixels_max > ENG_IMAGE_PIXELS_MAX)
        return err_set(e, E_INVALID, "at most %d pixels can be allowed", ENG_IMAGE_PIXELS_MAX);
    struct api *a = mem_must(sizeof(*a));
    a->opt = *opt;
    if (!a->opt.json_max) a->opt.json_max = 16 << 20;
    if (!a->opt.picture_max) a->opt.picture_max = 12 << 20;
    if (!a->opt.pixels_max) a->opt.pixels_max = 40 * 1000 * 1000;
    if (!a->opt.stored_images) a->opt.stored_images = 64;
    if (!a->opt.image_ttl_s) a->opt.image_ttl_s = 3600;
    a->eng = eng;
    a->images = images_new(a->opt.stored_images, a->opt.image_ttl_s);
    a->metrics = metrics_new();
    pthread_mutex_init(&a->mu, NULL);
    json_object_seed(0);
    *out = a;
    return 0;
}

void api_free(struct api *a) {
    if (!a) return;
    images_free(a->images);
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

long api_call_read(struct api_call *c, char *to, size_t max) {
    if (max == 0) return 0;
    return c->read ? c->read(c, to, max) : API_END;
}

static void stop(struct api_call *c, atomic_int *why) {
    atomic_store(why, 1);
    struct eng_job *job = atomic_load(&c->job);
    if (job) eng_job_cancel(job);
}

void api_call_cancel(struct api_call *c) { stop(c, &c->cancelled); }

void api_call_expire(struct api_call *c) { stop(c, &c->expired); }

void api_call_free(struct api_call *c) {
    if (!c) return;
    eng_job_put(atomic_load(&c->job)); /* from here on nothing wakes it */
    eng_image_put(c->image);
    if (c->state_clear) c->state_clear(c->state);
    mem_free(c->state);
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

/* A decoder's error: its text was written in this room, for clients. */
static int refuse_picture(struct api_call *c, int rc, const struct err *e) {
    const char *code = rc == E_TOO_BIG ? "picture_too_large" : problem_code_of(rc);
    return problem_set(&c->problem, code, "image", "%s", e->text);
}

int call_image(struct api_call *c, const struct input *in) {
    if (in->image_id) {
        c->image = images_find(c->api->images, in->image_id);
        return c->image ? 0 : problem_set(&c->problem, "image_not_found", "image", NULL);
    }
    struct err e = {0};
    uint8_t *rgb = NULL;
    int w, h;
    uint64_t start = clock_ns();
    int rc =
        api_picture_decode(in->picture, in->picture_len, c->api->opt.pixels_max, &rgb, &w, &h, &e);
    if (rc) {
        refuse_picture(c, rc, &e);
    } else {
        rc = eng_image_new(c->api->eng, rgb, w, h, &c->image, &e);
        if (rc == E_TOO_BIG)
            problem_set(&c->problem, "picture_too_large", "image", NULL);
        else if (rc)
            problem_set(&c->problem, problem_code_of(rc), NULL, NULL);
    }
    mem_free(rgb);
    c->decode_ns = clock_ns() - start;
    metrics_count_decode(c->api->metrics, c->decode_ns, rc != 0);
    return rc ? -1 : 0;
}

/* The engine's callback, on its step thread. */
static void on_wake(void *ud, struct eng_job *job) {
    struct api_call *c = ud;
    if (c->wakes_each_pass || eng_job_state(job) >= ENG_DONE) c->wake(c->ud);
}

int call_submit(struct api_call *c, const struct eng_point *points, uint32_t n,
                enum eng_estimate estimate, int distribution, int each_pass) {
    if (atomic_load(&c->api->draining)) return problem_set(&c->problem, "draining", NULL, NULL);
    struct eng_ask ask = {.images = &c->image,
                          .n_images = 1,
                          .points = points,
                          .n_points = n,
                          .estimate = estimate,
                          .distribution = distribution,
                          .urgency = ENG_PICTURE,
                          .wake = on_wake,
                          .ud = c};
    struct eng_job *job = NULL;
    c->wakes_each_pass = each_pass;
    struct err e = {0};
    int rc = eng_submit(c->api->eng, &ask, &job, &e);
    if (rc) return problem_set(&c->problem, problem_code_of(rc), NULL, NULL);
    atomic_store(&c->job, job);
    if (atomic_load(&c->cancelled) || atomic_load(&c->expired)) eng_job_cancel(job);
    return 0;
}

/* By the client, by the clock, or by an engine that closes. */
static const char *why_cancelled(struct api_call *c) {
    if (atomic_load(&c->cancelled)) return "cancelled";
    return atomic_load(&c->expired) && !atomic_load(&c->api->draining) ? "deadline" : "draining";
}

int call_outcome(struct api_call *c) {
    struct eng_job *job = atomic_load(&c->job);
    switch (eng_job_state(job)) {
    case ENG_DONE: break;
    case ENG_FAILED:
        return problem_set(&c->problem, problem_code_of(eng_job_error(job)->code), NULL, NULL);
    case ENG_CANCELLED: return problem_set(&c->problem, why_cancelled(c), NULL, NULL);
    default: return 0;
    }
    struct eng_job_stats s;
    uint32_t n;
    eng_job_answers(job, &n);
    eng_job_stats(job, &s);
    snprintf(c->summary, sizeof(c->summary),
             "pixels=%u rows=%llu cached=%u/%u first_ms=%.1f decode_ms=%.1f", n,
             (unsigned long long)s.rows, s.stem_cached, s.stem_tokens,
             (double)(s.first_ns - s.queued_ns) / 1e6, (double)c->decode_ns / 1e6);
    return 1;
}

/* ---- Accept (RFC 9110 section 12.5.1) ---- */

/* `0.5` -> 500; anything odd counts as 0. */
static int read_quality(const char *s, const char *end) {
    if (s == end || (*s != '0' && *s != '1')) return 0;
    int q = *s == '1' ? 1000 : 0, scale = 100;
    if (q || ++s == end || *s++ != '.') return q;
    for (; s < end && scale && *s >= '0' && *s <= '9'; s++, scale /= 10)
        q += (*s - '0') * scale;
    return q;
}

/* One range `type/sub;q=0.5` from s to end: how exactly it names `type` (0: not at all, 1: any, 2:
 * any of the kind, 3: itself), and its quality in thousandths. */
static int range_fits(const char *s, const char *end, const char *type, int *q) {
    const char *semi = memchr(s, ';', (size_t)(end - s));
    const char *stop = semi ? semi : end;
    while (stop > s && (stop[-1] == ' ' || stop[-1] == '\t'))
        stop--;
    *q = 1000;
    while (semi) {
        const char *p = semi + 1;
        p += strspn(p, " \t");
        if (end - p >= 2 && (*p == 'q' || *p == 'Q') && p[1] == '=') *q = read_quality(p + 2, end);
        semi = memchr(semi + 1, ';', (size_t)(end - semi - 1));
    }
    size_t n = (size_t)(stop - s), kind = (size_t)(strchr(type, '/') - type) + 1;
    if (n == strlen(type) && strncasecmp(s, type, n) == 0) return 3;
    if (n == kind + 1 && strncasecmp(s, type, kind) == 0 && s[kind] == '*') return 2;
    return n == 3 && memcmp(s, "*/*", 3) == 0;
}

int call_accept(const char *accept, const char *const *types, int n) {
    if (!accept || !*accept) return 0;
    int best = -1, best_q = 0, best_fit = 0;
    for (int i = 0; i < n; i++) {
        int q = 0, fit = 0;
        for (const char *s = accept; *s;) {
            s += strspn(s, " \t,");
            const char *end = s + strcspn(s, ",");
            int this_q, this_fit = range_fits(s, end, types[i], &this_q);
            if (this_fit > fit) {
                fit = this_fit;
                q = this_q;
            }
            s = end;
        }
        if (q > best_q || (q == best_q && q > 0 && fit > best_fit)) {
            best = i;
            best_q = q;
            best_fit = fit;
        }
    }
    return best;
}
