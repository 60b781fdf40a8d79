/* engine.c - the step thread's loop, and what callers ask of a running engine.
 *
 * Two kinds of threads meet here. Callers make pictures and jobs out of their own time and push jobs
 * into one bounded queue. The step thread owns the device, the model, the KV pool, stems, lanes and
 * the schedule; eng_open hands them over by starting it, eng_close gets them back by joining it
 * (open.c; invariants in eng.h).
 */
#include "engine/engine.h"

#include <math.h>
#include <string.h>

#include "engine/eng.h"
#include "kernels/base/clock.h"
#include "kernels/base/mem.h"

enum { SEE_TURNS = 64 };
static const double RECENT_S = 2.0; /* what "recent" means to rates */

_Static_assert(sizeof(struct eng_stats) % sizeof(uint64_t) == 0, "published word by word");

/* ---- the step thread ---- */

/* Whoever waits long enough pays: an average over RECENT_S seconds of work. */
static double smooth(double old, double now, double seconds) {
    return old + (now - old) * (1 - exp(-seconds / RECENT_S));
}

static void lose_device(struct eng *e, const struct err *why) {
    atomic_store(&e->health, E_DEVICE);
    sched_end_all(&e->sched, E_DEVICE, why->text);
}

static const uint8_t *rgb_of(const struct eng_job *j, const char *digest) {
    for (uint32_t i = 0; i < j->n_images; i++)
        if (strcmp(eng_image_digest(j->images[i]), digest) == 0) return picture_rgb(j->images[i]);
    must(!"a part's picture is one of its job's");
    return NULL;
}

/* The job's next picture goes through the vision tower, unless its features are still there.
 * *places: no place was left. Returns the number of pictures that were looked at. */
static int see_next(struct eng *e, struct eng_job *j, int *is_full, struct err *err) {
    struct stem_part *part = stem_unseen(j->stem);
    int is_seen;
    int32_t feat = feats_take(&e->feats, &e->stems, part->digest, &is_seen);
    *is_full = feat < 0;
    if (feat < 0) return 0;
    part->feat = feat;
    if (is_seen) return 0;
    uint64_t start = clock_ns();
    model_see(e->model, rgb_of(j, part->digest), feat);
    (void)e->ops->sync(e->kern, err);
    uint64_t spent = clock_ns() - start;
    atomic_fetch_add(&j->see_ns, spent);
    e->stats.see_ns += spent;
    e->stats.see++;
    return 1;
}

/* Frames of a game at once; of all others one picture, so that nobody need wait long. While an action
 * is on its way the others' pictures wait, SEE_TURNS turns at most. */
static int see(struct eng *e, struct err *err) {
    int is_full = 0, may_others = !sched_has_act(&e->sched) || ++e->unseen_turns >= SEE_TURNS;
    for (enum eng_class c = 0; c < ENG_CLASSES && !is_full; c++) {
        struct eng_job *j;
        int looked = 0;
        if (c != ENG_ACT && !may_others) return 0;
        while (!is_full && (j = sched_unseen(&e->sched, c)) != NULL) {
            looked += see_next(e, j, &is_full, err);
            if (err->code) return err->code;
            if (looked && c != ENG_ACT) {
                e->unseen_turns = 0;
                return 0;
            }
        }
    }
    return 0;
}

static int run_pass(struct eng *e, struct err *err) {
    struct batch *b = &e->batch;
    batch_begin(b);
    sched_fill(&e->sched, b);
    int32_t rows = b->rows_max - b->rows_left;
    must(rows > 0 || e->sched.n_running == 0); /* sched.c, invariant 3 */
    if (rows == 0) return 0;
    uint64_t start = clock_ns();
    batch_build(b, &e->lanes);
    int rc = model_run(e->model, &b->pass, err);
    batch_end(b);
    if (rc) return rc;
    sched_advance(&e->sched, b);
    uint64_t spent = clock_ns() - start;
    double seconds = (double)spent * 1e-9;
    e->stats.passes++;
    e->stats.rows += (uint64_t)rows;
    e->stats.picks += (uint64_t)b->pass.picks;
    e->stats.pass_ns += spent;
    double rate = (double)atomic_load(&e->drain), now = rows / seconds;
    atomic_store(&e->drain, (uint64_t)(rate > 0 ? smooth(rate, now, seconds) : now));
    return 0;
}

static void take_jobs(struct eng *e, uint64_t timeout_ns) {
    void *item;
    while (queue_pop(e->queue, timeout_ns, &item) == 0) {
        sched_add(&e->sched, item);
        timeout_ns = 0;
    }
}

static void count_rate(struct eng *e) {
    uint64_t now = clock_ns(), pixels = e->sched.answers[ENG_PIXELS] - e->shown_pixels;
    double seconds = (double)(now - e->shown_ns) * 1e-9;
    if (pixels == 0 && seconds < RECENT_S) return;
    e->stats.pixels_per_second =
        smooth(e->stats.pixels_per_second, (double)pixels / seconds, seconds);
    e->shown_pixels = e->sched.answers[ENG_PIXELS];
    e->shown_ns = now;
    atomic_store(&e->rate_ns, now);
}

void eng_publish(struct eng *e) {
    struct eng_stats *s = &e->stats;
    const struct sched *d = &e->sched;
    s->pixels = d->answers[ENG_PIXELS];
    memcpy(s->answers, d->answers, sizeof s->answers);
    s->tokens = d->tokens;
    s->jobs_done = d->done;
    s->jobs_failed = d->failed;
    s->jobs_cancelled = d->cancelled;
    s->stem_hits = e->stems.counts.hits;
    s->stem_misses = e->stems.counts.misses;
    s->stem_evicted = e->stems.counts.evicted;
    s->jobs_running = (uint32_t)d->n_running;
    s->lanes = (uint32_t)e->lanes.n_busy;
    s->kv_cached = (uint32_t)stem_cached_slots(&e->stems);
    s->kv_used = (uint32_t)kv_used(&e->kv) - s->kv_cached;
    count_rate(e);
    uint64_t words[ENG_STATS_WORDS];
    memcpy(words, s, sizeof *s);
    for (size_t i = 0; i < ENG_STATS_WORDS; i++)
        atomic_store_explicit(&e->published[i], words[i], memory_order_relaxed);
    atomic_store(&e->rows_left, sched_rows_left(d));
    atomic_fetch_sub(&e->waiting, (unsigned)(d->left - e->left));
    atomic_fetch_sub(&e->waiting_cost, d->left_cost - e->left_cost);
    e->left = d->left;
    e->left_cost = d->left_cost;
}

static uint64_t backend_allocations(const struct eng *e) {
    struct kern_stats s;
    e->ops->stats(e->kern, &s);
    return s.allocations;
}

/* One turn of the loop; what comes out of it is announced by the caller. */
static void turn(struct eng *e) {
    struct err err = {0};
    uint64_t before = mem_thread_allocations() + backend_allocations(e);
    if (atomic_load(&e->health)) {
        sched_end_all(&e->sched, E_DEVICE, "the device was lost");
        return;
    }
    sched_reap(&e->sched, clock_ns());
    sched_admit(&e->sched);
    int rc = see(e, &err);
    /* The tower takes as long as a pass: an action that came meanwhile joins this one. Where nothing
     * runs there was no such wait, and whoever came now has not been seen: it begins the next turn. */
    if (e->sched.n_running > 0) {
        take_jobs(e, 0);
        sched_admit(&e->sched);
        if (!rc && sched_has_act(&e->sched)) rc = see(e, &err);
    }
    if (!rc) rc = run_pass(e, &err);
    if (rc) lose_device(e, &err);
    e->stats.allocations_in_step += mem_thread_allocations() + backend_allocations(e) - before;
}

void *eng_step_main(void *arg) {
    struct eng *e = arg;
    for (;;) {
        int is_idle = sched_is_idle(&e->sched);
        void *item;
        int rc = queue_pop(e->queue, is_idle ? UINT64_MAX : 0, &item);
        if (rc == E_CANCELLED) break;
        if (rc == 0) sched_add(&e->sched, item);
        take_jobs(e, 0);
        turn(e);
        eng_publish(e);
        sched_announce(&e->sched);
    }
    sched_end_all(&e->sched, E_CANCELLED, "the engine closes");
    eng_publish(e);
    sched_announce(&e->sched);
    return NULL;
}

/* ---- callers ---- */

const struct eng_info *eng_info(const struct eng *e) { return &e->info; }

int eng_health(const struct eng *e) { return atomic_load(&e->health); }

int eng_image_new(struct eng *e, const uint8_t *rgb, int w, int h, struct eng_image **out,
                  struct err *err) {
    return picture_new(&e->picture_form, rgb, w, h, out, err);
}

/* Can it run on an engine that has nothing else to do? */
static int check_fit(const struct eng *e, const struct eng_job *j, struct err *err) {
    int32_t singles = j->tree.run_tokens + j->lane_slots;
    if (j->form->stem_tokens > e->size.runs)
        return err_set(err, E_TOO_BIG, "the prompt needs %d KV slots, there are %d",
                       j->form->stem_tokens, e->size.runs);
    if (singles > e->size.singles)
        return err_set(err, E_TOO_BIG, "the questions need %d KV slots, there are %d", singles,
                       e->size.singles);
    if (j->cost > e->queue_tokens_max)
        return err_set(err, E_TOO_BIG, "the questions cost %llu tokens, the queue takes %llu",
                       (unsigned long long)j->cost, (unsigned long long)e->queue_tokens_max);
    return 0;
}

/* Put it on the queue's account and into the queue. */
static int enqueue(struct eng *e, struct eng_job *j, struct err *err) {
    uint64_t cost = atomic_fetch_add(&e->waiting_cost, j->cost) + j->cost;
    unsigned n = atomic_fetch_add(&e->waiting, 1) + 1;
    int rc = cost > e->queue_tokens_max || n > ENG_QUEUE_JOBS ? E_BUSY : queue_push(e->queue, j);
    if (!rc) return 0;
    atomic_fetch_sub(&e->waiting, 1);
    atomic_fetch_sub(&e->waiting_cost, j->cost);
    return err_set(err, rc, rc == E_BUSY ? "the queue is full" : "the engine closes");
}

int eng_submit(struct eng *e, const struct eng_ask *ask, struct eng_job **out, struct err *err) {
    *out = NULL;
    int rc = eng_health(e);
    if (rc) return err_set(err, rc, "the device was lost");
    struct eng_job *j;
    rc = ask_job(&e->asker, ask, &j, err);
    if (rc) return rc;
    rc = check_fit(e, j, err);
    if (!rc) rc = enqueue(e, j, err);
    if (rc) {
        if (rc == E_BUSY) atomic_fetch_add(&e->refused, 1);
        job_put(j);
        job_put(j);
        return rc;
    }
    *out = j;
    return 0;
}

const char *eng_piece(const struct eng *e, int32_t token) { return sptok_piece(e->tok, token); }

unsigned eng_retry_after(const struct eng *e) {
    uint64_t rows = atomic_load(&e->waiting_cost) + atomic_load(&e->rows_left);
    uint64_t rate = atomic_load(&e->drain);
    uint64_t seconds = rate > 0 ? (rows + rate - 1) / rate : 1;
    return seconds < 1 ? 1 : seconds > 600 ? 600 : (unsigned)seconds;
}

void eng_stats(const struct eng *e, struct eng_stats *out) {
    uint64_t words[ENG_STATS_WORDS];
    for (size_t i = 0; i < ENG_STATS_WORDS; i++)
        words[i] = atomic_load_explicit(&e->published[i], memory_order_relaxed);
    memcpy(out, words, sizeof *out);
    uint64_t counted = atomic_load(&e->rate_ns); /* first, so that it lies in the past */
    double quiet = (double)(clock_ns() - counted) * 1e-9 - RECENT_S;
    if (quiet > 0) out->pixels_per_second = smooth(out->pixels_per_second, 0, quiet);
    out->jobs_refused = atomic_load(&e->refused);
    out->jobs_waiting = atomic_load(&e->waiting);
    out->queue_tokens = atomic_load(&e->waiting_cost);
    out->queue_tokens_max = e->queue_tokens_max;
}
