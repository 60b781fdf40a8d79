/* engine.c - the door: open and close, submit, statistics, and the step thread's loop.
 *
 * Two kinds of threads meet here. Callers make pictures and jobs out of their own time and push jobs
 * into one bounded queue. The step thread owns the device, the model, the KV pool, stems, lanes and
 * the schedule; eng_open hands them over by starting it, eng_close gets them back by joining it.
 *
 * Invariants
 *   1. Between open and close only the step thread touches what stands under "Owner: step".
 *   2. A job in the queue counts in `waiting` and `waiting_cost` until the step thread lets it in or ends
 *      it; so the bound holds for the queue and the waiting lists together.
 *   3. Counters are published before the job that they tell of is announced: who has seen a job end
 *      finds it in the statistics.
 *   4. A lost device is for good: every job fails with E_DEVICE, also those to come.
 *   5. A turn allocates nothing. What it did allocate is counted and shown, and a test wants 0.
 */
#include "engine/engine.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "engine/ask.h"
#include "engine/picture.h"
#include "engine/run/batch.h"
#include "engine/run/feats.h"
#include "engine/run/sched.h"
#include "kernels/base/clock.h"
#include "kernels/base/mem.h"
#include "kernels/base/queue.h"

enum {
    ROWS = 512, /* rows of a pass: as fast as more, and the first answers come sooner */
    ROWS_MAX = 65536,
    CACHED_IMAGES = 32,
    KV_TOKENS_MAX = 1 << 26,
    QUEUE_JOBS = 1024,   /* jobs that may wait */
    QUEUE_PICTURES = 16, /* whole pictures of questions that may wait */
    FEATS = 16,          /* pictures whose features are kept */
    SPARE_STEMS = 4,     /* beside the cached ones */
    STATS_WORDS = sizeof(struct eng_stats) / sizeof(uint64_t)
};
static const uint64_t KV_BYTES = (uint64_t)1 << 30; /* of a pool whose size nobody chose */
static const double RECENT_S = 2.0;                 /* what "recent" means to rates */

struct sizes {
    int32_t lanes, rows, runs, singles, cached;
    int32_t tail_max;   /* of a lane */
    int32_t answer_max; /* of numbers */
};

struct eng {
    /* ---- Fixed after open. ---- */
    struct eng_info info;
    struct picture_form picture_form;
    struct pixels *pixels;
    struct asker asker;
    struct sizes size;
    uint64_t queue_tokens_max;
    pthread_t thread;

    /* ---- Shared. ---- */
    struct queue *queue;
    atomic_int health;
    _Atomic uint64_t waiting_cost, refused, drain; /* drain: rows per second */
    atomic_uint waiting;
    _Atomic uint64_t rows_left, rate_ns; /* of running jobs; when the rate of pixels was counted */
    _Atomic uint64_t published[STATS_WORDS]; /* a struct eng_stats. One writer: step */

    /* ---- Owner: step. ---- */
    const struct kern_ops *ops;
    struct kern *kern;
    struct model *model;
    struct sptok *tok;
    struct forms *forms;
    struct model_head *numbers, *text; /* heads */
    struct kv kv;
    struct stems stems;
    struct feats feats;
    struct lanes lanes;
    struct batch batch;
    struct sched sched;
    struct eng_stats stats;
    uint64_t left, left_cost; /* of sched's counters, already taken off the queue's account */
    uint64_t shown_pixels, shown_ns;
};

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

/* Frames of a game at once; of all others one picture, so that nobody need wait long. */
static int see(struct eng *e, struct err *err) {
    int is_full = 0;
    for (enum eng_class c = 0; c < ENG_CLASSES && !is_full; c++) {
        struct eng_job *j;
        int looked = 0;
        while (!is_full && (j = sched_unseen(&e->sched, c)) != NULL) {
            looked += see_next(e, j, &is_full, err);
            if (err->code) return err->code;
            if (looked && c != ENG_ACT) return 0;
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

static void publish(struct eng *e) {
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
    uint64_t words[STATS_WORDS];
    memcpy(words, s, sizeof *s);
    for (size_t i = 0; i < STATS_WORDS; i++)
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
    if (!rc) rc = run_pass(e, &err);
    if (rc) lose_device(e, &err);
    e->stats.allocations_in_step += mem_thread_allocations() + backend_allocations(e) - before;
}

static void *step_main(void *arg) {
    struct eng *e = arg;
    for (;;) {
        int is_idle = sched_is_idle(&e->sched);
        void *item;
        int rc = queue_pop(e->queue, is_idle ? UINT64_MAX : 0, &item);
        if (rc == E_CANCELLED) break;
        if (rc == 0) sched_add(&e->sched, item);
        take_jobs(e, 0);
        turn(e);
        publish(e);
        sched_announce(&e->sched);
    }
    sched_end_all(&e->sched, E_CANCELLED, "the engine closes");
    publish(e);
    sched_announce(&e->sched);
    return NULL;
}

/* ---- open and close ---- */

static int32_t at_least(int32_t a, int32_t b) { return a > b ? a : b; }
static int32_t at_most(int32_t a, int32_t b) { return a < b ? a : b; }

/* Slots of the pool when nobody chose: lanes and branches for `lanes` questions, stems of the cached
 * pictures and some more, within KV_BYTES. */
static void default_slots(struct eng *e, const struct model_config *c) {
    struct sizes *z = &e->size;
    const struct pixels *p = e->pixels;
    int64_t most = (int64_t)(KV_BYTES / model_slot_bytes(c)), stem = p->form.stem_tokens;
    int64_t lane = p->tail_max + p->form.answer_max;
    int64_t branches = 4 * p->run_tokens + p->text_max + p->form.explore_max + 4 * ENG_TOKENS_MAX;
    int64_t runs = (z->cached + SPARE_STEMS) * stem + 2 * c->text.max_positions;
    int64_t singles = z->lanes * lane + branches;
    if (runs > most / 2) runs = most / 2 > 2 * stem ? most / 2 : 2 * stem;
    if (singles > most - runs) singles = most - runs;
    if (singles < lane + branches) singles = lane + branches;
    z->runs = (int32_t)runs;
    z->singles = (int32_t)singles;
}

static int choose_sizes(struct eng *e, const struct eng_options *o, struct err *err) {
    struct sizes *z = &e->size;
    const struct pixels *p = e->pixels;
    const struct job_form *f = &p->form;
    int32_t rows_least = at_least(STEM_CHUNK, z->tail_max + z->answer_max);
    rows_least = at_least(rows_least, f->explore_max);
    z->rows = at_most(o->rows_max > 0 ? o->rows_max : at_least(ROWS, o->width), ROWS_MAX);
    z->rows = at_least(z->rows, rows_least);
    z->lanes = at_most(o->width > 0 ? o->width : z->rows, z->rows);
    z->cached = o->cached_images < 0 ? 0 : o->cached_images > 0 ? o->cached_images : CACHED_IMAGES;
    z->cached = at_most(z->cached, 4096);
    if (o->kv_tokens <= 0) {
        default_slots(e, model_config(e->model));
    } else {
        int32_t all = at_most(o->kv_tokens, KV_TOKENS_MAX);
        int32_t least = f->stem_tokens + p->text_max + f->answer_max;
        if (all < least)
            return err_set(err, E_INVALID, "kv_tokens %d: one question needs %d", all, least);
        z->runs = at_most((z->cached + SPARE_STEMS) * f->stem_tokens, all / 2);
        z->runs = at_least(z->runs, f->stem_tokens);
        z->singles = all - z->runs;
    }
    z->lanes = at_most(z->lanes, z->singles);
    uint64_t answers = (uint64_t)(f->grid * f->grid) * (uint64_t)f->answer_max;
    e->queue_tokens_max =
        o->queue_tokens ? o->queue_tokens : QUEUE_PICTURES * (p->tree_tokens + answers);
    return 0;
}

static int open_device(struct eng *e, const struct eng_options *o, const struct kern_ops *ops,
                       struct err *err) {
    struct kern_config kc = {.threads = o->threads, .isa = o->isa};
    e->ops = ops;
    int rc = kern_check(ops, err);
    return rc ? rc : ops->open(&kc, &e->kern, err);
}

/* Another model's tokenizer would spell prompts that this one never read. Vocabularies are padded at
 * times, so a few rows more than pieces are taken for that. */
static int check_tokenizer(const struct sptok *t, const struct model_text *c, struct err *e) {
    enum { PADDING_MAX = 255 };
    int n = sptok_size(t), spare = c->vocab_size - n;
    if (spare < 0 || spare > PADDING_MAX)
        return err_set(e, E_FORMAT,
                       "tokenizer.model has %d pieces, the model %d: is it another model's?", n,
                       c->vocab_size);
    if (sptok_bos(t) != c->bos_id || sptok_eos(t) != c->eos_id)
        return err_set(e, E_FORMAT,
                       "tokenizer.model begins with id %d and ends with %d, config.json says %d "
                       "and %d: is it another model's?",
                       (int)sptok_bos(t), (int)sptok_eos(t), c->bos_id, c->eos_id);
    return 0;
}

static int open_tokenizer(struct eng *e, const char *dir, struct err *err) {
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/tokenizer.model", dir);
    if (n < 0 || (size_t)n >= sizeof path) return err_set(err, E_INVALID, "path too long");
    int rc = sptok_open(path, &e->tok, err);
    if (rc) return rc;
    rc = check_tokenizer(e->tok, &model_config(e->model)->text, err);
    if (rc) return rc;
    const struct model_text *c = &model_config(e->model)->text;
    rc = forms_new(e->tok, c->vocab_size, &e->forms, err);
    if (rc) return err_in(err, "tokenizer.model");
    for (int k = 0; k < FORM_NUMBERS; k++)
        if (!lane_can_walk(e->forms->g[k]))
            return err_set(err, E_UNSUPPORTED, "a number takes %d tokens, at most %d are supported",
                           e->forms->g[k]->depth_max, LANE_DEPTH_MAX);
    rc = model_head_new(e->model, e->forms->head_ids, e->forms->n_head, &e->numbers, err);
    return rc ? rc : model_head_new(e->model, e->forms->text_ids, c->vocab_size, &e->text, err);
}

/* What is asked, and how long its parts may be. */
static int open_prompts(struct eng *e, struct err *err) {
    const struct model_config *c = model_config(e->model);
    struct sizes *z = &e->size;
    int32_t mask;
    int rc = pixels_new(c, e->tok, e->forms->g[FORM_COLOUR], &e->pixels, err);
    if (!rc) rc = ask_mask_tail(c, e->tok, &mask, err);
    if (rc) return rc;
    z->tail_max = at_least(at_least(e->pixels->text_max, mask), LANE_CHOICE_MAX + 1);
    for (int k = 0; k < FORM_NUMBERS; k++)
        z->answer_max = at_least(z->answer_max, e->forms->g[k]->feed_max);
    e->asker = (struct asker){c, e->tok, e->forms, e->pixels, z->tail_max};
    return 0;
}

static void describe(struct eng *e, const char *dir) {
    struct eng_info *i = &e->info;
    const struct model_config *c = model_config(e->model);
    size_t end = strlen(dir);
    while (end > 1 && dir[end - 1] == '/')
        end--;
    size_t from = end;
    while (from > 0 && dir[from - 1] != '/')
        from--;
    (void)snprintf(i->name, sizeof i->name, "%.*s", (int)(end - from), dir + from);
    (void)snprintf(i->digest, sizeof i->digest, "%s", model_digest(e->model));
    (void)snprintf(i->backend, sizeof i->backend, "%s: %s", e->ops->name,
                   e->ops->describe(e->kern));
    i->parameters = model_parameters(e->model);
    i->grid = c->pixel_grid;
    i->image_size = c->vision.image_size;
    i->tokens_per_number = e->forms->g[FORM_COLOUR]->depth_max - 1; /* without comma or bracket */
    i->image_tokens = c->n_image_tokens;
    i->positions = c->text.max_positions;
    i->vocabulary = sptok_size(e->tok);
    e->picture_form = (struct picture_form){i->image_size, i->grid, i->digest};
}

/* Everything that the step thread will own; sizes are fixed here for good. */
static int open_run(struct eng *e, const struct eng_options *o, struct err *err) {
    int rc = choose_sizes(e, o, err);
    if (rc) return rc;
    const struct sizes *z = &e->size;
    const struct forms *f = e->forms;
    int32_t keys = z->tail_max + z->answer_max + e->pixels->form.explore_max;
    struct model_plan plan = {.rows_max = z->rows,
                              .picks_max = z->rows,
                              .kv_slots = z->runs + z->singles,
                              .feats_max = FEATS,
                              .spans_max = batch_spans_max(z->rows, SCHED_RUNNING),
                              .tails_max = batch_tails_max(z->rows, keys),
                              .sets_max = f->text_set + 1,
                              .cols_max = f->col_off[f->text_set + 1]};
    rc = model_plan(e->model, &plan, err);
    if (rc) return rc;
    kv_init(&e->kv, z->runs, z->singles, stem_parts_max(SCHED_RUNNING, z->cached));
    stem_init(&e->stems, &e->kv, SCHED_RUNNING, z->cached);
    feats_init(&e->feats, FEATS);
    lane_init(&e->lanes, f, &e->kv, z->lanes, z->tail_max);
    batch_init(&e->batch, z->rows, keys, SCHED_RUNNING, f, e->numbers, e->text);
    sched_init(&e->sched, &e->kv, &e->stems, &e->lanes);
    e->stats.kv_slots = (uint32_t)plan.kv_slots;
    e->shown_ns = clock_ns();
    e->queue = queue_new(QUEUE_JOBS);
    publish(e);
    return 0;
}

static void free_all(struct eng *e) {
    queue_free(e->queue);
    batch_clear(&e->batch);
    lane_clear(&e->lanes);
    feats_clear(&e->feats);
    stem_clear(&e->stems);
    kv_clear(&e->kv);
    pixels_free(e->pixels);
    if (e->model) model_head_free(e->model, e->numbers);
    if (e->model) model_head_free(e->model, e->text);
    forms_free(e->forms);
    sptok_close(e->tok);
    model_close(e->model);
    if (e->ops && e->kern) e->ops->close(e->kern);
    mem_free(e);
}

int eng_open_on(const struct eng_options *opt, const struct kern_ops *ops, struct eng **out,
                struct err *err) {
    *out = NULL;
    if (!opt->model_dir) return err_set(err, E_INVALID, "no model folder");
    struct eng *e = mem_must(sizeof *e);
    int rc = open_device(e, opt, ops, err);
    if (!rc) rc = model_open(opt->model_dir, ops, e->kern, &e->model, err);
    if (!rc) rc = open_tokenizer(e, opt->model_dir, err);
    if (!rc) rc = open_prompts(e, err);
    if (!rc) rc = open_run(e, opt, err);
    if (!rc) describe(e, opt->model_dir);
    if (!rc && pthread_create(&e->thread, NULL, step_main, e) != 0)
        rc = err_set(err, E_IO, "no thread for the engine");
    if (rc) {
        free_all(e);
        return rc;
    }
    *out = e;
    return 0;
}

int eng_open(const struct eng_options *opt, struct eng **out, struct err *err) {
    const struct kern_ops *ops;
    *out = NULL;
    int rc = kern_find(opt->backend ? opt->backend : "auto", &ops, err);
    return rc ? rc : eng_open_on(opt, ops, out, err);
}

void eng_close(struct eng *e) {
    if (!e) return;
    queue_close(e->queue);
    (void)pthread_join(e->thread, NULL);
    free_all(e);
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
    int rc = cost > e->queue_tokens_max || n > QUEUE_JOBS ? E_BUSY : queue_push(e->queue, j);
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
    uint64_t words[STATS_WORDS];
    for (size_t i = 0; i < STATS_WORDS; i++)
        words[i] = atomic_load_explicit(&e->published[i], memory_order_relaxed);
    memcpy(out, words, sizeof *out);
    double quiet = (double)(clock_ns() - atomic_load(&e->rate_ns)) * 1e-9 - RECENT_S;
    if (quiet > 0) out->pixels_per_second = smooth(out->pixels_per_second, 0, quiet);
    out->jobs_refused = atomic_load(&e->refused);
    out->jobs_waiting = atomic_load(&e->waiting);
    out->queue_tokens = atomic_load(&e->waiting_cost);
    out->queue_tokens_max = e->queue_tokens_max;
}
