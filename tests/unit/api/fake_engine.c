/* fake_engine.c - see fake_engine.h. Thread: one turns the crank (fake_*), another
 * may be the asker at the same time. */
#include "tests/unit/api/fake_engine.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/clock.h"
#include "kernels/base/mem.h"

struct eng_image {
    struct eng *eng;
    atomic_int refs;
    char digest[65];
    int w, h;
    uint8_t *truth;
};

struct eng_job {
    struct eng *eng;
    atomic_int refs; /* the asker's and, while it runs, the engine's */
    atomic_int state, cancelled;
    pthread_mutex_t gate; /* of wake: held while it is called */
    int is_put;           /* the asker's reference is back. Lock: gate */
    struct eng_ask ask;
    struct eng_image *image; /* one reference */
    struct eng_answer *answers;
    _Atomic uint32_t ready;
    struct err error;
    uint64_t born_ns, first_ns, end_ns;
};

struct eng {
    struct eng_info info;
    struct eng_stats stats;
    struct eng_job *last; /* one reference */
    struct eng_point *points;
    int at_once, refuse, health, images, jobs;
};

struct eng *fake_open(int grid) {
    struct eng *e = mem_must(sizeof(*e));
    snprintf(e->info.name, sizeof(e->info.name), "fake \"mini\"");
    snprintf(e->info.backend, sizeof(e->info.backend), "fake");
    memset(e->info.digest, 'f', 64);
    e->info.grid = grid;
    e->info.image_size = grid;
    e->info.parameters = 1234567;
    e->stats.queue_tokens_max = 1000;
    return e;
}

static void job_put(struct eng_job *j) {
    if (!j || atomic_fetch_sub(&j->refs, 1) > 1) return;
    j->eng->jobs--;
    eng_image_put(j->image);
    pthread_mutex_destroy(&j->gate);
    mem_free(j->answers);
    mem_free(j);
}

static void wake(struct eng_job *j) {
    pthread_mutex_lock(&j->gate);
    if (j->ask.wake && !j->is_put) j->ask.wake(j->ask.ud, j);
    pthread_mutex_unlock(&j->gate);
}

static void end(struct eng_job *j, enum eng_state state) {
    j->end_ns = clock_ns();
    atomic_store(&j->state, state);
    wake(j);
    job_put(j);
}

void fake_close(struct eng *e) {
    if (e->last && atomic_load(&e->last->state) < ENG_DONE) end(e->last, ENG_CANCELLED);
    job_put(e->last);
    must(e->images == 0 && e->jobs == 0);
    mem_free(e->points);
    mem_free(e);
}

void fake_answer_at_once(struct eng *e, int is_on) { e->at_once = is_on; }

void fake_refuse(struct eng *e, int code) { e->refuse = code; }

void fake_break(struct eng *e, int code) { e->health = code; }

void fake_queue(struct eng *e, uint64_t tokens, uint64_t max) {
    e->stats.queue_tokens = tokens;
    e->stats.queue_tokens_max = max;
}

int fake_images(const struct eng *e) { return e->images; }

int fake_jobs(const struct eng *e) { return e->jobs; }

const struct eng_ask *fake_asked(struct eng *e) { return &e->last->ask; }

int fake_is_cancelled(struct eng *e) { return atomic_load(&e->last->cancelled); }

void fake_rgb(const uint8_t truth[3], uint8_t rgb[3]) {
    rgb[0] = (uint8_t)(truth[0] ^ 1);
    rgb[1] = truth[1];
    rgb[2] = (uint8_t)(truth[2] > 250 ? 250 : truth[2] + 5);
}

/* ---- the engine's door ---- */

const struct eng_info *eng_info(const struct eng *e) { return &e->info; }

int eng_health(const struct eng *e) { return e->health; }

unsigned eng_retry_after(const struct eng *e) {
    (void)e;
    return 7;
}

void eng_stats(const struct eng *e, struct eng_stats *out) { *out = e->stats; }

int eng_image_new(struct eng *e, const uint8_t *rgb, int w, int h, struct eng_image **out,
                  struct err *err) {
    *out = NULL;
    struct eng_image *i = mem_try(sizeof(*i));
    int g = e->info.grid;
    uint8_t *truth = i ? mem_try((size_t)g * (size_t)g * 3) : NULL;
    if (!truth) {
        mem_free(i);
        return err_set(err, E_NOMEM, "no memory");
    }
    uint64_t hash = 14695981039346656037u + (uint64_t)w * 65536 + (uint64_t)h;
    for (size_t k = 0; k < (size_t)w * (size_t)h * 3; k++)
        hash = (hash ^ rgb[k]) * 1099511628211u;
    for (int k = 0; k < 4; k++)
        snprintf(i->digest + 16 * k, 17, "%016llx", (unsigned long long)(hash + (uint64_t)k));
    for (int y = 0; y < g; y++) {
        for (int x = 0; x < g; x++)
            memcpy(truth + 3 * (y * g + x),
                   rgb + 3 * ((size_t)(y * h / g) * (size_t)w + (size_t)(x * w / g)), 3);
    }
    i->eng = e;
    i->truth = truth;
    i->w = w;
    i->h = h;
    atomic_init(&i->refs, 1);
    e->images++;
    *out = i;
    return 0;
}

struct eng_image *eng_image_get(struct eng_image *i) {
    atomic_fetch_add(&i->refs, 1);
    return i;
}

void eng_image_put(struct eng_image *i) {
    if (!i || atomic_fetch_sub(&i->refs, 1) > 1) return;
    i->eng->images--;
    mem_free(i->truth);
    mem_free(i);
}

const char *eng_image_digest(const struct eng_image *i) { return i->digest; }

const uint8_t *eng_image_truth(const struct eng_image *i) { return i->truth; }

void eng_image_size(const struct eng_image *i, int *w, int *h) {
    *w = i->w;
    *h = i->h;
}

int eng_submit(struct eng *e, const struct eng_ask *ask, struct eng_job **out, struct err *err) {
    *out = NULL;
    if (e->refuse) return err_set(err, e->refuse, "/a/path at 0x1234 that no client may see");
    struct eng_job *j = mem_must(sizeof(*j));
    j->eng = e;
    j->ask = *ask;
    pthread_mutex_init(&j->gate, NULL);
    j->image = eng_image_get(ask->images[0]);
    j->answers = mem_must(ask->n_points * sizeof(j->answers[0]));
    mem_free(e->points);
    e->points = mem_must(ask->n_points * sizeof(e->points[0]));
    memcpy(e->points, ask->points, ask->n_points * sizeof(e->points[0]));
    j->ask.points = e->points;
    j->born_ns = clock_ns();
    atomic_init(&j->refs, 3); /* the asker's, the engine's, the fake's own */
    e->jobs++;
    if (e->last && atomic_load(&e->last->state) < ENG_DONE) end(e->last, ENG_CANCELLED);
    job_put(e->last);
    e->last = j;
    if (e->at_once) fake_answer(e, ask->n_points);
    *out = j;
    return 0;
}

int fake_answer(struct eng *e, uint32_t n) {
    struct eng_job *j = e->last;
    must(j && atomic_load(&j->state) < ENG_DONE);
    if (atomic_load(&j->cancelled)) {
        end(j, ENG_CANCELLED);
        return 1;
    }
    if (!j->first_ns) j->first_ns = clock_ns();
    int g = e->info.grid;
    uint32_t ready = atomic_load(&j->ready);
    for (; n > 0 && ready < j->ask.n_points; n--) {
        /* in pairs the wrong way round: answers come in the order they were found */
        uint32_t p = (ready ^ 1) < j->ask.n_points ? ready ^ 1 : ready;
        struct eng_answer *a = &j->answers[ready];
        *a = (struct eng_answer){.point = p};
        fake_rgb(j->image->truth + 3 * (e->points[p].y * g + e->points[p].x), a->rgb);
        for (int c = 0; c < 3 && j->ask.distribution; c++) {
            a->prob[c] = 0.25f;
            a->entropy[c] = (float)(p % 9);
            a->mean_abs[c] = 1.5f;
        }
        atomic_store(&j->ready, ++ready);
    }
    int is_over = ready == j->ask.n_points;
    if (is_over)
        end(j, ENG_DONE);
    else
        wake(j);
    return is_over;
}

void fake_fail(struct eng *e, int code) {
    err_set(&e->last->error, code, "/a/path at 0x1234 that no client may see");
    end(e->last, ENG_FAILED);
}

enum eng_state eng_job_state(const struct eng_job *j) {
    return (enum eng_state)atomic_load(&j->state);
}

const struct eng_answer *eng_job_answers(const struct eng_job *j, uint32_t *n_ready) {
    *n_ready = atomic_load(&j->ready);
    return j->answers;
}

const struct err *eng_job_error(const struct eng_job *j) { return &j->error; }

void eng_job_cancel(struct eng_job *j) { atomic_store(&j->cancelled, 1); }

void eng_job_put(struct eng_job *j) {
    if (!j) return;
    eng_job_cancel(j);
    pthread_mutex_lock(&j->gate);
    j->is_put = 1;
    pthread_mutex_unlock(&j->gate);
    job_put(j);
}

void eng_job_stats(const struct eng_job *j, struct eng_job_stats *out) {
    *out = (struct eng_job_stats){.queued_ns = j->born_ns,
                                  .first_ns = j->first_ns,
                                  .end_ns = j->end_ns,
                                  .see_ns = 2000000,
                                  .stem_tokens = 20,
                                  .stem_cached = 20,
                                  .rows = 100,
                                  .rows_plain = 900};
}
