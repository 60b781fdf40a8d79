/* unit.c - one device at work: the loop of its step thread, and what callers ask of it meanwhile.
 *
 * Two kinds of threads meet here. Callers make jobs on their own time and push them into one
 * bounded queue. The step thread owns the device, the model, the KV pool, stems, lanes and the
 * schedule. unit_open hands them over by starting it, unit_close gets them back by joining it
 * (open.c; invariants in unit.h).
 */

#include <math.h>
#include <string.h>

#include "engine/run/band.h"
#include "engine/unit/unit.h"
#include "kernels/base/clock.h"
#include "kernels/base/mem.h"

enum { WAITED_TURNS_MAX = 64 };
static const double RECENT_S = 2.0; /* what "recent" means to rates */

_Static_assert(sizeof(struct eng_stats) % sizeof(uint64_t) == 0, "published word by word");

/* ---- the step thread ---- */

/* An exponential average over about RECENT_S seconds. */
static double smooth(double old, double now, double seconds) {
    return old + (now - old) * (1 - exp(-seconds / RECENT_S));
}

static void lose_device(struct unit *u, const struct err *why) {
    u->lost = *why;
    atomic_store(&u->health, E_DEVICE);
    sched_end_all(&u->sched, E_DEVICE, why->text);
}

static const uint8_t *rgb_of(const struct eng_job *j, const char *digest) {
    for (uint32_t i = 0; i < j->n_pictures; i++)
        if (strcmp(eng_picture_digest(j->pictures[i]), digest) == 0)
            return picture_rgb(j->pictures[i]);
    must(!"a part's picture is one of its job's");
    return NULL;
}

/* Pictures that go through the vision tower together. */
struct looks {
    int n, berth;
    struct model_view views[KERN_PICTURES_MOST];
    struct eng_job *jobs[KERN_PICTURES_MOST];
};

/* They go, and the looks are empty again. */
static int unit_look(struct unit *u, struct looks *l, struct err *err) {
    if (l->n == 0) return 0;
    uint64_t start = clock_ns();
    model_encode_all(u->model, l->berth, l->views, l->n);
    int rc = u->ops->sync(u->kern, err);
    uint64_t spent = clock_ns() - start;
    for (int i = 0; i < l->n; i++)
        atomic_fetch_add(&l->jobs[i]->vision_ns, spent / (uint64_t)l->n);
    u->stats.vision_ns += spent;
    u->stats.pictures += (uint64_t)l->n;
    l->n = 0;
    return rc;
}

/* The next picture of a job joins the looks, unless its features are still there. When these are
 * full, or of another tower, they go first. *is_full: no entry for features was free. */
static int encode_next(struct unit *u, struct eng_job *j, struct looks *l, int *is_full,
                       struct err *err) {
    struct stem_part *part = stem_next_picture(j->stem);
    int is_filled, rc = 0;
    const char *vision;
    int berth = job_tower(j, &vision);
    int32_t feat = feats_take(&u->feats, &u->stems, part->owner, vision, part->digest, &is_filled);
    *is_full = feat < 0;
    if (feat < 0) return 0;
    part->feat = feat;
    sched_saw(&u->sched, j, !is_filled);
    if (is_filled) return 0;
    if (l->berth != berth || l->n == u->ops->pass_pictures(u->kern)) rc = unit_look(u, l, err);
    l->berth = berth;
    l->views[l->n] = (struct model_view){rgb_of(j, part->digest), feat};
    l->jobs[l->n++] = j;
    return rc;
}

/* All frames of games, as many at once as the device likes; of the others one picture a turn, so
 * that nobody has to wait long. While an act job runs, the pictures of others wait, for
 * WAITED_TURNS_MAX turns at most. */
static int encode(struct unit *u, struct err *err) {
    struct looks l = {0};
    int is_full = 0, rc = 0;
    int may_others = !sched_has_act(&u->sched) || ++u->waited_turns >= WAITED_TURNS_MAX;
    struct eng_job *j;
    while (!rc && !is_full && (j = sched_next_picture(&u->sched, 1)) != NULL)
        rc = encode_next(u, j, &l, &is_full, err);
    if (!rc) rc = unit_look(u, &l, err);
    while (!rc && may_others && !l.n && !is_full && (j = sched_next_picture(&u->sched, 0)) != NULL)
        rc = encode_next(u, j, &l, &is_full, err);
    if (l.n) u->waited_turns = 0;
    return rc ? rc : unit_look(u, &l, err);
}

static int run_pass(struct unit *u, struct err *err) {
    struct batch *b = &u->batch;
    b->rows_most = atomic_load(&u->rows_most);
    batch_begin(b);
    sched_fill(&u->sched, b);
    int32_t rows = batch_rows(b);
    must(rows > 0 || u->sched.n_running == 0); /* sched.c, invariant 3 */
    if (rows == 0) return 0;
    uint64_t start = clock_ns();
    batch_build(b, &u->lanes);
    int rc = model_run(u->model, &b->rows.pass, err);
    batch_end(b);
    if (rc) return rc;
    sched_advance(&u->sched, b);
    uint64_t spent = clock_ns() - start;
    u->stats.passes++;
    u->stats.rows += (uint64_t)rows;
    u->stats.picks += (uint64_t)b->rows.pass.picks;
    u->stats.pass_ns += spent;
    return 0;
}

static void unit_take(struct unit *u, void *item) {
    if (*(const enum mail *)item == MAIL_JOB)
        sched_add(&u->sched, item);
    else
        load_take(u, item);
}

/* What waits in the queue. */
static void take_all(struct unit *u) {
    void *item;
    while (queue_pop(u->queue, 0, &item) == 0)
        unit_take(u, item);
}

static void count_rate(struct unit *u) {
    uint64_t now = clock_ns(), pixels = u->sched.answers[ENG_PIXELS] - u->shown_pixels;
    double seconds = (double)(now - u->shown_ns) * 1e-9;
    if (pixels == 0 && seconds < RECENT_S) return;
    u->stats.pixels_per_second =
        smooth(u->stats.pixels_per_second, (double)pixels / seconds, seconds);
    u->shown_pixels = u->sched.answers[ENG_PIXELS];
    u->shown_ns = now;
    atomic_store(&u->rate_ns, now);
}

/* Who stopped waiting, and what runs. */
static void publish_load(struct unit *u) {
    const struct sched *d = &u->sched;
    struct wait_owner of[WAIT_OWNERS];
    uint64_t running = 0;
    sched_load(d, of);
    for (int i = 0; i < WAIT_OWNERS; i++) {
        for (int c = 0; c < ENG_CLASSES; c++) {
            uint64_t cost = d->left_cost[i][c] - u->left_cost[i][c];
            atomic_store_explicit(&u->load[i].left[c], of[i].left[c], memory_order_relaxed);
            atomic_store_explicit(&u->load[i].running[c], of[i].running[c], memory_order_relaxed);
            if (c != ENG_BATCH) running += of[i].left[c];
            if (!cost) continue;
            atomic_fetch_sub(&u->load[i].waiting[c], cost);
            if (c != ENG_BATCH) atomic_fetch_sub(&u->waiting_cost, cost);
            u->left_cost[i][c] = d->left_cost[i][c];
        }
    }
    atomic_store(&u->running_cost, running);
    atomic_fetch_sub(&u->waiting, (unsigned)(d->left - u->left));
    u->left = d->left;
}

/* The turn that began at `start` has ended. */
static void unit_measure(struct unit *u, uint64_t start) {
    const struct sched *d = &u->sched;
    int n_waiting = 0;
    for (int c = 0; c < ENG_BATCH; c++) /* a batch waits also where there is room */
        n_waiting += d->n_waiting[c];
    int is_full = n_waiting > 0 || u->batch.rows_left < u->size.rows / 4;
    wait_turn(&u->measured, (double)(clock_ns() - start) * 1e-9, d->retired - u->retired, is_full);
    u->retired = d->retired;
    atomic_store(&u->pace, (uint64_t)u->measured.rate);
}

void unit_publish(struct unit *u) {
    struct eng_stats *s = &u->stats;
    struct kern_stats device;
    u->ops->stats(u->kern, &device);
    s->bits = device.bits;
    const struct sched *d = &u->sched;
    s->pixels = d->answers[ENG_PIXELS];
    memcpy(s->answers, d->answers, sizeof s->answers);
    s->tokens = d->tokens;
    s->jobs_done = d->done;
    s->jobs_failed = d->failed;
    s->jobs_cancelled = d->cancelled;
    s->stem_hits = u->stems.counts.hits;
    s->stem_misses = u->stems.counts.misses;
    s->stem_evicted = u->stems.counts.evicted;
    s->jobs_running = (uint32_t)d->n_running;
    s->lanes = (uint32_t)u->lanes.n_busy;
    s->kv_cached = (uint32_t)stem_cached_slots(&u->stems);
    s->kv_used = (uint32_t)kv_used(&u->kv) - s->kv_cached;
    count_rate(u);
    uint64_t words[ENG_STATS_WORDS];
    memcpy(words, s, sizeof *s);
    for (size_t i = 0; i < ENG_STATS_WORDS; i++)
        atomic_store_explicit(&u->published[i], words[i], memory_order_relaxed);
    publish_load(u);
}

static uint64_t backend_allocations(const struct unit *u) {
    struct kern_stats s;
    u->ops->stats(u->kern, &s);
    return s.allocations;
}

/* One turn of the loop. The caller announces what comes out of it. */
static void unit_turn(struct unit *u) {
    struct err err = {0};
    uint64_t before = mem_thread_allocations() + backend_allocations(u);
    if (atomic_load(&u->health)) {
        sched_end_all(&u->sched, E_DEVICE, "the device was lost");
        load_end_all(u, E_DEVICE, "the device was lost");
        return;
    }
    load_turn(u);
    sched_reap(&u->sched, clock_ns());
    sched_admit(&u->sched);
    int rc = encode(u, &err);
    /* The tower takes as long as a pass. So an act job that came meanwhile joins this pass. When
     * nothing runs there was no such wait, and a job that came now would run without its picture:
     * it waits for the next turn. */
    if (u->sched.n_running > 0) {
        take_all(u);
        sched_admit(&u->sched);
        if (!rc && sched_has_act(&u->sched)) rc = encode(u, &err);
    }
    if (!rc) rc = run_pass(u, &err);
    if (rc) lose_device(u, &err);
    u->stats.allocations_in_step += mem_thread_allocations() + backend_allocations(u) - before;
}

void *unit_step_main(void *arg) {
    struct unit *u = arg;
    (void)pthread_setname_np(pthread_self(), "lammd-step");
    for (;;) {
        int is_idle = sched_is_idle(&u->sched) && !u->n_loading;
        void *item;
        int rc = queue_pop(u->queue, is_idle ? UINT64_MAX : 0, &item);
        if (rc == E_CANCELLED) break;
        if (rc == 0) unit_take(u, item);
        take_all(u);
        uint64_t start = clock_ns();
        unit_turn(u);
        unit_measure(u, start);
        atomic_fetch_add(&u->turns, 1);
        unit_publish(u);
        sched_announce(&u->sched);
    }
    sched_end_all(&u->sched, E_CANCELLED, "the engine closes");
    load_end_all(u, E_CANCELLED, "the engine closes");
    unit_publish(u);
    sched_announce(&u->sched);
    return NULL;
}

/* ---- callers ---- */

int32_t unit_stem_max(const struct unit *u) { return u->size.range_slots; }

int unit_is_like(const struct unit *u, const struct unit *other) {
    struct eng_stats a, b;
    unit_stats(u, &a);
    unit_stats(other, &b);
    return !strcmp(u->ops->name, other->ops->name) && a.bits == b.bits;
}

int unit_health(const struct unit *u) { return atomic_load(&u->health); }

const char *unit_lost(const struct unit *u) { return unit_health(u) ? u->lost.text : ""; }

uint64_t unit_stuck_ns(struct unit *u) {
    struct eng_stats s;
    unit_stats(u, &s);
    uint64_t now = clock_ns(), beats = model_beats(u->model) + atomic_load(&u->turns);
    int is_busy = s.jobs_waiting || s.jobs_running;
    if (is_busy && beats == u->seen_beats && u->seen_ns) return now - u->seen_ns;
    u->seen_beats = beats;
    u->seen_ns = now;
    return 0;
}

/* Could it run if the device had nothing else to do? */
static int check_fit(const struct unit *u, const struct eng_job *j, struct err *err) {
    int32_t slots = j->tree.branch_tokens + j->lane_slots;
    if (j->questions->stem_tokens > u->size.range_slots)
        return err_set(err, E_TOO_BIG, "the prompt needs %d KV slots, there are %d",
                       j->questions->stem_tokens, u->size.range_slots);
    if (slots > u->size.single_slots)
        return err_set(err, E_TOO_BIG, "the questions need %d KV slots, there are %d", slots,
                       u->size.single_slots);
    if (j->cost > u->queue_tokens_max)
        return err_set(err, E_TOO_BIG, "the questions cost %llu tokens, the queue takes %llu",
                       (unsigned long long)j->cost, (unsigned long long)u->queue_tokens_max);
    return 0;
}

static struct wait_load unit_load(const struct unit *u) {
    struct wait_load l = {.pace = (double)atomic_load(&u->pace)};
    for (int i = 0; i < WAIT_OWNERS; i++) {
        for (int c = 0; c < ENG_CLASSES; c++) {
            l.of[i].waiting[c] = atomic_load_explicit(&u->load[i].waiting[c], memory_order_relaxed);
            l.of[i].left[c] = atomic_load_explicit(&u->load[i].left[c], memory_order_relaxed);
            l.of[i].running[c] = atomic_load_explicit(&u->load[i].running[c], memory_order_relaxed);
        }
    }
    return l;
}

static uint64_t waiting_at(const struct unit *u, int place) {
    uint64_t waiting = 0;
    for (int c = 0; c < ENG_CLASSES; c++)
        waiting |= atomic_load(&u->load[place].waiting[c]);
    return waiting;
}

static int is_free(const struct unit *u, int place) {
    uint32_t running = 0;
    for (int c = 0; c < ENG_CLASSES; c++)
        running |= atomic_load(&u->load[place].running[c]);
    return !waiting_at(u, place) && !running;
}

/* Where an owner is counted: where it is already, or at the first free place from its own on. A
 * place is taken without a lock, so two who come at once may get the same one, and all share theirs
 * while there are more owners than places. Then these count as one; each job keeps the place that
 * it got, so the sums stay right. */
static int unit_place(struct unit *u, uint64_t owner) {
    int first = (int)(owner % WAIT_OWNERS), unused = -1;
    for (int i = 0; i < WAIT_OWNERS; i++) {
        int place = (first + i) % WAIT_OWNERS;
        if (atomic_load(&u->load[place].owner) == owner) return place;
        if (unused < 0 && is_free(u, place)) unused = place;
    }
    if (unused < 0) return first;
    atomic_store(&u->load[unused].owner, owner);
    return unused;
}

/* Has the owner nothing in the queue? Then another one who fills it doesn't keep it out: one job of
 * an owner finds room in as much again. */
static int is_guest(const struct unit *u, const struct eng_job *j) {
    return waiting_at(u, j->place) == 0;
}

/* Would it, and the rest of its request, wait too long, or so long that they can't be done in time?
 * As long as the pace is not known, as many jobs may wait as may run, and one of each other owner.
 * Acts are never refused for it: they overtake, and have an answer for being late. Nor are batches:
 * they have time. */
static int check_wait(const struct unit *u, const struct eng_job *j, uint64_t rest,
                      struct err *err) {
    static const double margin = 3; /* estimates are as wrong as that, and devices get slower */
    struct wait_load l = unit_load(u);
    if (j->urgency == ENG_ACT || j->urgency == ENG_BATCH || wait_is_idle(&l)) return 0;
    if (l.pace <= 0 && u->queue_ns && atomic_load(&u->waiting) >= SCHED_RUNNING && !is_guest(u, j))
        return err_set(err, E_BUSY, "the pace is not known yet, and %d jobs wait", SCHED_RUNNING);
    if (l.pace <= 0) return 0;
    double before = wait_before(&l, j->place, j->urgency, j->cost + rest);
    double all = before + (double)(j->cost + rest) / l.pace;
    uint64_t now = clock_ns();
    double left = j->deadline_ns > now ? (double)(j->deadline_ns - now) * 1e-9 : 0;
    if (u->queue_ns && before > (double)u->queue_ns * 1e-9)
        return err_set(err, E_BUSY, "the job would wait %.1f s", before);
    if (j->deadline_ns && all * margin > left)
        return err_set(err, E_BUSY, "the job would take %.1f s and has %.1f s", all, left);
    return 0;
}

/* A batch takes no room of the queue's: whoever runs it bounds what is on its way. */
static int enqueue_batch(struct unit *u, struct eng_job *j, struct err *err) {
    _Atomic uint64_t *waiting = &u->load[j->place].waiting[ENG_BATCH];
    atomic_fetch_add(waiting, j->cost);
    unsigned n = atomic_fetch_add(&u->waiting, 1) + 1;
    int rc = n > ENG_QUEUE_JOBS / 2 ? E_BUSY : queue_push(u->queue, j);
    if (!rc) return 0;
    atomic_fetch_sub(&u->waiting, 1);
    atomic_fetch_sub(waiting, j->cost);
    return err_set(err, rc, rc == E_BUSY ? "the queue is full" : "the engine closes");
}

/* Count it as waiting and push it into the queue. */
static int enqueue(struct unit *u, struct eng_job *j, struct err *err) {
    if (j->urgency == ENG_BATCH) return enqueue_batch(u, j, err);
    uint64_t most = u->queue_tokens_max * (is_guest(u, j) ? 2 : 1);
    _Atomic uint64_t *waiting = &u->load[j->place].waiting[j->urgency];
    atomic_fetch_add(waiting, j->cost);
    uint64_t cost = atomic_fetch_add(&u->waiting_cost, j->cost) + j->cost;
    unsigned n = atomic_fetch_add(&u->waiting, 1) + 1;
    int rc = cost > most || n > ENG_QUEUE_JOBS ? E_BUSY : queue_push(u->queue, j);
    if (!rc) return 0;
    atomic_fetch_sub(&u->waiting, 1);
    atomic_fetch_sub(&u->waiting_cost, j->cost);
    atomic_fetch_sub(waiting, j->cost);
    return err_set(err, rc, rc == E_BUSY ? "the queue is full" : "the engine closes");
}

int unit_submit(struct unit *u, const struct eng_ask *ask, struct eng_job **out, struct err *err) {
    *out = NULL;
    int rc = unit_health(u);
    if (rc) return err_set(err, rc, "the device was lost");
    struct eng_job *j;
    rc = ask_job(&u->asker, ask, &j, err);
    if (rc) return rc;
    j->place = unit_place(u, j->owner);
    rc = check_fit(u, j, err);
    if (!rc && !ask->goes_on) rc = check_wait(u, j, ask->rest, err);
    if (!rc) rc = enqueue(u, j, err);
    if (rc) {
        if (rc == E_BUSY) atomic_fetch_add(&u->refused, 1);
        job_put(j);
        job_put(j);
        return rc;
    }
    *out = j;
    return 0;
}

int unit_submit_bands(struct unit *const *units, int n, const struct eng_ask *ask,
                      struct eng_job **out, struct err *err) {
    struct eng_job *whole;
    int rc = bands_new(ask, units[0]->config.pixel_grid, n, &whole, err);
    *out = NULL;
    for (int i = 0; i < n && whole && !rc; i++) {
        struct eng_ask one = bands_ask(whole, i, ask);
        struct eng_job *job;
        rc = unit_submit(units[i], &one, &job, err);
        if (!rc) bands_add(whole, i, job);
    }
    if (rc) {
        eng_job_put(whole);
        return rc == E_BUSY ? 0 : rc;
    }
    if (whole) bands_open(whole);
    *out = whole;
    return 0;
}

uint64_t unit_backlog(const struct unit *u) {
    return atomic_load(&u->waiting_cost) + atomic_load(&u->running_cost);
}

double unit_pace(const struct unit *u) { return (double)atomic_load(&u->pace); }

unsigned unit_retry_after(const struct unit *u) {
    uint64_t rows = unit_backlog(u), rate = atomic_load(&u->pace);
    uint64_t seconds = rate > 0 ? (rows + rate - 1) / rate : 1;
    return seconds < 1 ? 1 : seconds > 600 ? 600 : (unsigned)seconds;
}

int unit_limit_rows(struct unit *u, int rows) {
    int32_t least = unit_rows_least(u), most = u->size.rows;
    if (rows <= 0 || rows > most) rows = most;
    if (rows < least) rows = least;
    atomic_store(&u->rows_most, rows);
    return rows;
}

void unit_stats(const struct unit *u, struct eng_stats *out) {
    uint64_t words[ENG_STATS_WORDS];
    for (size_t i = 0; i < ENG_STATS_WORDS; i++)
        words[i] = atomic_load_explicit(&u->published[i], memory_order_relaxed);
    memcpy(out, words, sizeof *out);
    uint64_t counted = atomic_load(&u->rate_ns); /* before the clock, so that it lies in the past */
    double quiet = (double)(clock_ns() - counted) * 1e-9 - RECENT_S;
    if (quiet > 0) out->pixels_per_second = smooth(out->pixels_per_second, 0, quiet);
    out->jobs_refused = atomic_load(&u->refused);
    out->jobs_waiting = atomic_load(&u->waiting);
    out->queue_tokens = atomic_load(&u->waiting_cost);
    out->queue_tokens_max = u->queue_tokens_max;
    struct wait_load l = unit_load(u);
    out->queue_seconds = wait_is_idle(&l) ? 0 : wait_of_all(&l);
    out->queue_seconds_max = (double)u->queue_ns * 1e-9;
}
