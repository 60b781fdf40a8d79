/* ask.c - see ask.h.
 *
 * What comes back from below is told in words of this room: a decoder's error and the engine's
 * refusal of a text were written for clients, everything else becomes the text of its code.
 */
#include "api/ask.h"

#include <sched.h>
#include <stdio.h>

#include "kernels/base/clock.h"
#include "media/picture.h"

/* ---- pictures ---- */

/* A decoder's error: its text was written for clients. `nth` 0: it is the only
 * one. */
static int refuse_picture(struct api_call *c, const struct input_picture *p, int nth, int rc,
                          const struct err *e) {
    char which[32] = "";
    enum problem_code code = rc == E_TOO_BIG ? PROBLEM_PICTURE_TOO_LARGE : problem_code_of(rc);
    if (nth) snprintf(which, sizeof(which), "picture %d: ", nth);
    return problem_set(&c->problem, code, p->name, "%s%s", which, e->text);
}

/* A picture on its way from the decoder to the engine. */
struct ask_way {
    struct eng *eng;
    struct eng_intake *rows;
    int is_stored, truth;
    int rc; /* the engine's, whose text is not for clients */
};

static int ask_begin(void *ud, const struct head *head, struct err *e) {
    struct ask_way *way = ud;
    int orientation = way->is_stored ? 1 : head->orientation;
    way->rc =
        eng_intake_open(way->eng, head->w, head->h, orientation, way->truth, &way->rows, NULL);
    return way->rc ? err_set(e, way->rc, "the engine takes no picture") : 0;
}

static void ask_row(void *ud, const uint8_t *rgb) {
    eng_intake_row(((struct ask_way *)ud)->rows, rgb);
}

struct picture_limits call_limits(const struct api_call *c, const struct input *in) {
    struct picture_limits l = {c->api->opt.pixels_max, c->api->opt.costly_max};
    uint64_t most = in->wants->pixels_max;
    if (most && most < l.pixels_max) l.pixels_max = most;
    if (l.costly_max > l.pixels_max) l.costly_max = l.pixels_max;
    return l;
}

/* One encoded picture -> the next of c->pictures, or a refusal. */
static int ask_decode(struct api_call *c, const struct input *in, const struct input_picture *p,
                      int nth) {
    struct err e = {0};
    struct ask_way way = {.eng = c->api->eng, .is_stored = in->is_stored, .truth = in->truth};
    const struct picture_limits limits = call_limits(c, in);
    const struct picture_sink sink = {ask_begin, ask_row, &way};
    uint64_t start = clock_ns();
    int rc = picture_read(p->bytes, p->len, &limits, &sink, &e);
    if (way.rows && rc)
        (void)eng_intake_close(way.rows, NULL, NULL);
    else if (way.rows)
        rc = way.rc = eng_intake_close(way.rows, &c->pictures[c->n_pictures], NULL);
    if (rc == 0)
        c->n_pictures++;
    else if (way.rc)
        problem_set(&c->problem, rc == E_TOO_BIG ? PROBLEM_PICTURE_TOO_LARGE : problem_code_of(rc),
                    NULL, NULL);
    else
        refuse_picture(c, p, nth, rc, &e);
    uint64_t ns = clock_ns() - start;
    c->decode_ns += ns;
    counters_decode(c->api->counters, ns, rc != 0);
    return rc ? -1 : 0;
}

/* The same, if these bytes were decoded before without that. */
static int ask_picture(struct api_call *c, const struct input *in, const struct input_picture *p,
                       int nth) {
    const struct picture_limits limits = call_limits(c, in);
    const struct decoded_how how = {limits.pixels_max, limits.costly_max, in->is_stored, in->truth};
    char key[DECODED_KEY_BYTES];
    struct eng_picture *known =
        decoded_find(c->api->decoded, c->owner, &how, p->bytes, p->len, key);
    if (known) {
        c->pictures[c->n_pictures++] = known;
        return 0;
    }
    if (ask_decode(c, in, p, nth)) return -1;
    decoded_keep(c->api->decoded, c->owner, key, c->pictures[c->n_pictures - 1]);
    return 0;
}

/* What the heads of the pictures tell is cheap. So nothing is decoded for a request that would be
 * refused anyway: too many pictures for any prompt, or one among them that isn't taken. */
static int ask_check_heads(struct api_call *c, const struct input *in) {
    const struct picture_limits limits = call_limits(c, in);
    for (int i = 0; i < in->n_pictures; i++) {
        const struct input_picture *p = &in->pictures[i];
        struct head head;
        struct err e = {0};
        int rc = p->id ? 0 : head_read(p->bytes, p->len, limits.pixels_max, &head, &e);
        if (rc == 0) continue;
        counters_decode(c->api->counters, 0, 1);
        return refuse_picture(c, p, in->n_pictures > 1 ? i + 1 : 0, rc, &e);
    }
    return 0;
}

static int ask_check_count(struct api_call *c, const struct input *in) {
    struct err e = {0};
    if (eng_check_pictures(c->api->eng, (uint32_t)in->n_pictures, &e) == 0) return 0;
    return problem_set(&c->problem, PROBLEM_TOO_MUCH_WORK, in->wants->pictures,
                       "%d pictures never fit into one prompt: %s", in->n_pictures, e.text);
}

int call_pictures(struct api_call *c, const struct input *in) {
    if (ask_check_count(c, in) || ask_check_heads(c, in)) return -1;
    for (int i = 0; i < in->n_pictures; i++) {
        const struct input_picture *p = &in->pictures[i];
        if (!p->id) {
            if (ask_picture(c, in, p, in->n_pictures > 1 ? i + 1 : 0)) return -1;
            continue;
        }
        struct eng_picture *picture = images_find(c->api->images, c->owner, p->id);
        if (!picture) return problem_set(&c->problem, PROBLEM_IMAGE_NOT_FOUND, p->name, NULL);
        c->pictures[c->n_pictures++] = picture;
    }
    return 0;
}

/* ---- jobs ---- */

/* The engine's callback, on its step thread. */
static void ask_on_wake(void *ud, struct eng_job *job) {
    struct api_call *c = ud;
    if (c->wakes_each_pass || eng_job_state(job) >= ENG_DONE) c->wake(c->ud);
}

/* What a text that came from outside may be refused for is told in the engine's own words, which
 * are about the text alone. */
static void refuse_ask(struct api_call *c, int rc, const struct err *e, const char *param) {
    if (param && (rc == E_INVALID || rc == E_TOO_BIG))
        problem_set(&c->problem,
                    rc == E_INVALID ? PROBLEM_INVALID_PARAMETER : PROBLEM_TOO_MUCH_WORK, param,
                    "%s can't be asked: %s", param, e->text);
    else
        problem_set(&c->problem,
                    rc == E_UNSUPPORTED ? PROBLEM_UNSUPPORTED_TASK : problem_code_of(rc), NULL,
                    NULL);
}

/* Those of the call's jobs that have ended count no more. */
static void ask_settle(struct api_call *c) {
    for (int i = 0; i < atomic_load(&c->n_jobs); i++) {
        if (!c->costs[i] || eng_job_state(call_job(c, i)) < ENG_DONE) continue;
        (void)quotas_tokens(c->api->quotas, c->in.visit->account, -(int64_t)c->costs[i]);
        c->costs[i] = 0;
    }
}

/* Does the n-th job fit into what the caller may have in the queue? Counts it. */
static int may_queue(struct api_call *c, const struct eng_job *job, int n) {
    if (!c->in.visit || !c->in.visit->account) return 1;
    uint64_t cost = eng_job_cost(job);
    ask_settle(c);
    if (quotas_tokens(c->api->quotas, c->in.visit->account, (int64_t)cost)) {
        call_over_quota(c, QUOTA_TOKENS);
        return 0;
    }
    c->costs[n] = cost;
    return 1;
}

/* A batch has a share and caches of its own: what it asks counts for nothing where its owner asks
 * something himself. */
static const uint64_t ask_batch_owner = UINT64_C(1) << 63;

/* Whose it is, and how long it may take. */
static void ask_place(const struct api_call *c, struct eng_ask *ask) {
    ask->owner = c->payer;
    if (c->in.batch && c->in.batch->is_background) {
        ask->urgency = ENG_BATCH;
        ask->owner ^= ask_batch_owner;
        ask->deadline_ns = 0;
    } else if (!ask->deadline_ns && c->api->opt.request_ns && ask->urgency != ENG_ACT) {
        ask->deadline_ns = c->born_ns + c->api->opt.request_ns;
    }
}

struct eng_job *call_ask(struct api_call *c, const struct eng_ask *what, const char *param) {
    int n = atomic_load(&c->n_jobs);
    /* What has begun may go on. */
    if (n == 0 && atomic_load(&c->api->draining)) {
        problem_set(&c->problem, PROBLEM_DRAINING, NULL, NULL);
        return NULL;
    }
    must(n < CALL_JOBS_MAX);
    struct eng_ask ask = *what;
    if (!ask.pictures) {
        ask.pictures = c->pictures;
        ask.n_pictures = c->n_pictures;
    }
    ask.adapter = c->model.adapter;
    ask.goes_on = n > 0;
    ask_place(c, &ask);
    ask.wake = ask_on_wake;
    ask.ud = c;
    struct eng_job *job = NULL;
    struct err e = {0};
    int rc = eng_submit(c->api->eng, &ask, &job, &e);
    if (rc) {
        refuse_ask(c, rc, &e, param);
        return NULL;
    }
    if (!may_queue(c, job, n)) {
        eng_job_put(job);
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
static enum problem_code why_cancelled(struct api_call *c) {
    if (atomic_load(&c->cancelled)) return PROBLEM_CANCELLED;
    return atomic_load(&c->expired) && !atomic_load(&c->api->draining) ? PROBLEM_DEADLINE
                                                                       : PROBLEM_DRAINING;
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

static void ask_add(struct eng_job_stats *sum, const struct eng_job *job) {
    struct eng_job_stats s;
    eng_job_stats(job, &s);
    sum->queued_ns = earlier(sum->queued_ns, s.queued_ns);
    sum->first_ns = earlier(sum->first_ns, s.first_ns);
    if (s.end_ns > sum->end_ns) sum->end_ns = s.end_ns;
    sum->vision_ns += s.vision_ns;
    sum->stem_tokens += s.stem_tokens;
    sum->stem_cached += s.stem_cached;
    sum->rows += s.rows;
    sum->rows_plain += s.rows_plain;
}

void call_stats(struct api_call *c, struct eng_job_stats *out) {
    *out = c->gone;
    for (int i = 0; i < atomic_load(&c->n_jobs); i++)
        if (call_job(c, i)) ask_add(out, call_job(c, i));
}

uint64_t api_call_rows(struct api_call *c) {
    struct eng_job_stats s;
    call_stats(c, &s);
    return s.rows;
}

void call_drop(struct api_call *c, int i) {
    struct eng_job *job = call_job(c, i);
    uint32_t n;
    must(job && eng_job_state(job) >= ENG_DONE);
    ask_settle(c);
    ask_add(&c->gone, job);
    (void)eng_job_answers(job, &n);
    c->gone_answers += n;
    atomic_store(&c->jobs[i], NULL);
    while (atomic_load(&c->n_stopping))
        sched_yield(); /* a few instructions: see stop() in call.c */
    eng_job_put(job);
}

static void summarize(struct api_call *c) {
    struct eng_job_stats s;
    uint32_t n, answers = c->gone_answers, tokens = 0;
    call_stats(c, &s);
    for (int i = 0; i < atomic_load(&c->n_jobs); i++) {
        if (!call_job(c, i)) continue;
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
        int outcome = call_job(c, i) ? call_job_outcome(c, call_job(c, i)) : 1;
        if (outcome < 0) return -1;
        n_done += outcome;
    }
    if (n_done < n) return 0;
    ask_settle(c);
    summarize(c);
    return 1;
}
