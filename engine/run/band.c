/* band.c - see band.h.
 *
 * Invariants
 *   1. Each place of the ask is in one band, so the whole has room for all answers.
 *   2. The whole is written under the mutex alone, and not any more once its end is decided.
 *   3. `job` of a band is written before bands_open, and read by others only after it.
 */
#include "engine/run/band.h"

#include <pthread.h>
#include <string.h>

struct band {
    struct bands *all;
    struct eng_job *job;      /* a reference; NULL: not submitted */
    struct eng_point *points; /* (n) */
    uint32_t *index;          /* (n) in the ask */
    uint32_t n, seen;         /* places; answers that the whole has */
    int has_ended;
};

struct bands {
    struct eng_job *whole;
    pthread_mutex_t mutex;
    int n, left; /* bands; of them, how many have not ended */
    int is_open, is_told;
    struct band band[ENG_DEVICES_MAX];
};

/* ---- cutting ---- */

/* band_of (grid): the band of each row. 0 if not every band has a place. */
static int cut_rows(const struct eng_ask *ask, int32_t grid, int n, int *band_of, uint32_t *count) {
    uint32_t before = 0;
    for (int32_t y = 0; y < grid; y++) {
        uint32_t in_row = (uint32_t)band_of[y];
        /* The band in which the middle of the row's places falls. */
        uint64_t middle = 2 * (uint64_t)before + in_row;
        int i = (int)(middle * (uint64_t)n / (2 * (uint64_t)ask->n_points));
        band_of[y] = i < n ? i : n - 1;
        count[band_of[y]] += in_row;
        before += in_row;
    }
    int is_whole = 1;
    for (int i = 0; i < n; i++)
        is_whole &= count[i] > 0;
    return is_whole;
}

/* Counts each row's places into band_of. 0: one is outside the grid. */
static int count_rows(const struct eng_ask *ask, int32_t grid, int *band_of) {
    for (uint32_t i = 0; i < ask->n_points; i++) {
        if (ask->points[i].x >= grid || ask->points[i].y >= grid) return 0;
        band_of[ask->points[i].y]++;
    }
    return 1;
}

static int bands_fill(struct bands *s, const struct eng_ask *ask, const int *band_of,
                      const uint32_t *count) {
    for (int i = 0; i < s->n; i++) {
        struct band *one = &s->band[i];
        one->all = s;
        one->points = arena_take(s->whole->mem, count[i] * sizeof one->points[0]);
        one->index = arena_take(s->whole->mem, count[i] * sizeof one->index[0]);
        if (!one->points || !one->index) return E_NOMEM;
    }
    for (uint32_t i = 0; i < ask->n_points; i++) {
        struct band *one = &s->band[band_of[ask->points[i].y]];
        one->points[one->n] = ask->points[i];
        one->index[one->n++] = i;
    }
    return 0;
}

int bands_new(const struct eng_ask *ask, int32_t grid, int n, struct eng_job **whole,
              struct err *e) {
    uint32_t count[ENG_DEVICES_MAX] = {0};
    *whole = NULL;
    must(n > 1 && n <= ENG_DEVICES_MAX);
    if (grid <= 0 || !ask->points || ask->n_points == 0 || ask->n_points > JOB_POINTS_MAX) return 0;
    struct eng_job *j = job_whole(ask);
    int *band_of = j ? arena_take(j->mem, (size_t)grid * sizeof *band_of) : NULL;
    struct bands *s = band_of ? arena_take(j->mem, sizeof *s) : NULL;
    if (!s) {
        if (j) job_put(j);
        return err_set(e, E_NOMEM, "no memory for a job");
    }
    if (!count_rows(ask, grid, band_of) || !cut_rows(ask, grid, n, band_of, count)) {
        job_put(j);
        return 0;
    }
    s->whole = j;
    s->n = s->left = n;
    int rc = bands_fill(s, ask, band_of, count);
    if (rc) {
        job_put(j);
        return err_set(e, rc, "no memory for a job");
    }
    rc = pthread_mutex_init(&s->mutex, NULL);
    must(rc == 0);
    j->bands = s;
    *whole = j;
    return 0;
}

/* ---- what the bands find ---- */

/* Under the mutex: the band's new answers, as answers of the whole. */
static void bands_take(struct band *one, const struct eng_job *part) {
    struct eng_job *whole = one->all->whole;
    uint32_t n;
    const struct eng_answer *a = eng_job_answers(part, &n);
    for (; one->seen < n; one->seen++) {
        struct eng_answer *to = &whole->answers[whole->n_answers++];
        *to = a[one->seen];
        to->point = one->index[a[one->seen].point];
    }
}

/* Under the mutex: the band has ended. */
static void bands_end(struct band *one, const struct eng_job *part) {
    struct bands *s = one->all;
    enum eng_state state = eng_job_state(part);
    one->has_ended = 1;
    s->left--;
    if (state == ENG_DONE && s->left > 0) return;
    s->whole->ending = state;
    if (state != ENG_DONE) s->whole->error = *eng_job_error(part);
}

/* Under the mutex: the asker learns what there is. */
static void bands_tell(struct bands *s) {
    if (!s->is_open || s->is_told) return;
    s->is_told = s->whole->ending != ENG_WAITING;
    job_announce(s->whole);
    if (s->is_told) bands_cancel(s); /* what is left, if one failed */
}

/* On the step thread of the band's unit. */
static void bands_wake(void *ud, struct eng_job *part) {
    struct band *one = ud;
    struct bands *s = one->all;
    (void)pthread_mutex_lock(&s->mutex);
    if (s->whole->ending == ENG_WAITING) {
        int has_ended = eng_job_state(part) >= ENG_DONE; /* then all its answers are there */
        bands_take(one, part);
        if (eng_job_state(s->whole) == ENG_WAITING) atomic_store(&s->whole->state, ENG_RUNNING);
        if (has_ended && !one->has_ended) bands_end(one, part);
        bands_tell(s);
    }
    (void)pthread_mutex_unlock(&s->mutex);
}

/* ---- the submitting thread ---- */

struct eng_ask bands_ask(const struct eng_job *whole, int i, const struct eng_ask *ask) {
    struct bands *s = whole->bands;
    struct eng_ask one = *ask;
    one.points = s->band[i].points;
    one.n_points = s->band[i].n;
    one.rest = ask->rest / (uint64_t)s->n;
    one.wake = bands_wake;
    one.ud = &s->band[i];
    return one;
}

void bands_add(struct eng_job *whole, int i, struct eng_job *job) {
    whole->bands->band[i].job = job;
    whole->cost += job->cost;
    whole->prompt_tokens = job->prompt_tokens;
    whole->stem_tokens = job->stem_tokens;
}

void bands_open(struct eng_job *whole) {
    struct bands *s = whole->bands;
    (void)pthread_mutex_lock(&s->mutex);
    s->is_open = 1;
    if (whole->n_answers > 0 || whole->ending != ENG_WAITING) bands_tell(s);
    (void)pthread_mutex_unlock(&s->mutex);
}

/* ---- for job.c ---- */

void bands_cancel(struct bands *s) {
    for (int i = 0; i < s->n; i++)
        if (s->band[i].job) eng_job_cancel(s->band[i].job);
}

void bands_put(struct bands *s) {
    for (int i = 0; i < s->n; i++)
        eng_job_put(s->band[i].job);
    (void)pthread_mutex_destroy(&s->mutex);
}

void bands_stats(const struct bands *s, struct eng_job_stats *out) {
    for (int i = 0; i < s->n; i++) {
        struct eng_job_stats one;
        eng_job_stats(s->band[i].job, &one);
        out->vision_ns += one.vision_ns;
        out->rows += one.rows;
        out->rows_plain += one.rows_plain;
        if (i == 0 || one.stem_cached < out->stem_cached) out->stem_cached = one.stem_cached;
    }
}
