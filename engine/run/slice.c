/* slice.c - see slice.h.
 *
 * Invariants
 *   1. Each place of the ask is in one slice, so the whole has room for all answers.
 *   2. The whole is written under the mutex alone, and not any more once its end is decided.
 *   3. `job` of a slice is written before slices_open, and read by others only after it.
 */
#include "engine/run/slice.h"

#include <pthread.h>
#include <string.h>

struct slice {
    struct slices *all;
    struct eng_job *job;      /* a reference; NULL: not submitted */
    struct eng_point *points; /* (n) */
    uint32_t *index;          /* (n) in the ask */
    uint32_t n, seen;         /* places; answers that the whole has */
    int has_ended;
};

struct slices {
    struct eng_job *whole;
    pthread_mutex_t mutex;
    int n, left; /* slices; of them, how many have not ended */
    int is_open, is_told;
    struct slice slice[ENG_DEVICES_MAX];
};

/* ---- cutting ---- */

/* slice_of (grid): the slice of each row. 0 if not every slice has a place. */
static int cut_rows(const struct eng_ask *ask, int32_t grid, int n, int *slice_of,
                    uint32_t *count) {
    uint32_t before = 0;
    for (int32_t y = 0; y < grid; y++) {
        uint32_t in_row = (uint32_t)slice_of[y];
        /* The slice in which the middle of the row's places falls. */
        uint64_t middle = 2 * (uint64_t)before + in_row;
        int i = (int)(middle * (uint64_t)n / (2 * (uint64_t)ask->n_points));
        slice_of[y] = i < n ? i : n - 1;
        count[slice_of[y]] += in_row;
        before += in_row;
    }
    int is_whole = 1;
    for (int i = 0; i < n; i++)
        is_whole &= count[i] > 0;
    return is_whole;
}

/* Counts each row's places into slice_of. 0: one is outside the grid. */
static int count_rows(const struct eng_ask *ask, int32_t grid, int *slice_of) {
    for (uint32_t i = 0; i < ask->n_points; i++) {
        if (ask->points[i].x >= grid || ask->points[i].y >= grid) return 0;
        slice_of[ask->points[i].y]++;
    }
    return 1;
}

static int slices_fill(struct slices *s, const struct eng_ask *ask, const int *slice_of,
                       const uint32_t *count) {
    for (int i = 0; i < s->n; i++) {
        struct slice *one = &s->slice[i];
        one->all = s;
        one->points = arena_take(s->whole->mem, count[i] * sizeof one->points[0]);
        one->index = arena_take(s->whole->mem, count[i] * sizeof one->index[0]);
        if (!one->points || !one->index) return E_NOMEM;
    }
    for (uint32_t i = 0; i < ask->n_points; i++) {
        struct slice *one = &s->slice[slice_of[ask->points[i].y]];
        one->points[one->n] = ask->points[i];
        one->index[one->n++] = i;
    }
    return 0;
}

int slices_new(const struct eng_ask *ask, int32_t grid, int n, struct eng_job **whole,
               struct err *e) {
    uint32_t count[ENG_DEVICES_MAX] = {0};
    *whole = NULL;
    must(n > 1 && n <= ENG_DEVICES_MAX);
    if (grid <= 0 || !ask->points || ask->n_points == 0 || ask->n_points > JOB_POINTS_MAX) return 0;
    struct eng_job *j = job_whole(ask);
    int *slice_of = j ? arena_take(j->mem, (size_t)grid * sizeof *slice_of) : NULL;
    struct slices *s = slice_of ? arena_take(j->mem, sizeof *s) : NULL;
    if (!s) {
        if (j) job_put(j);
        return err_set(e, E_NOMEM, "no memory for a job");
    }
    if (!count_rows(ask, grid, slice_of) || !cut_rows(ask, grid, n, slice_of, count)) {
        job_put(j);
        return 0;
    }
    s->whole = j;
    s->n = s->left = n;
    int rc = slices_fill(s, ask, slice_of, count);
    if (rc) {
        job_put(j);
        return err_set(e, rc, "no memory for a job");
    }
    rc = pthread_mutex_init(&s->mutex, NULL);
    must(rc == 0);
    j->slices = s;
    *whole = j;
    return 0;
}

/* ---- what the slices find ---- */

/* Under the mutex: the slice's new answers, as answers of the whole. */
static void slices_take(struct slice *one, const struct eng_job *part) {
    struct eng_job *whole = one->all->whole;
    uint32_t n;
    const struct eng_answer *a = eng_job_answers(part, &n);
    for (; one->seen < n; one->seen++) {
        struct eng_answer *to = &whole->answers[whole->n_answers++];
        *to = a[one->seen];
        to->point = one->index[a[one->seen].point];
    }
}

/* Under the mutex: the slice has ended. */
static void slices_end(struct slice *one, const struct eng_job *part) {
    struct slices *s = one->all;
    enum eng_state state = eng_job_state(part);
    one->has_ended = 1;
    s->left--;
    if (state == ENG_DONE && s->left > 0) return;
    s->whole->ending = state;
    if (state != ENG_DONE) s->whole->error = *eng_job_error(part);
}

/* Under the mutex: the asker learns what there is. */
static void slices_tell(struct slices *s) {
    if (!s->is_open || s->is_told) return;
    s->is_told = s->whole->ending != ENG_WAITING;
    job_announce(s->whole);
    if (s->is_told) slices_cancel(s); /* what is left, if one failed */
}

/* On the step thread of the slice's unit. */
static void slices_wake(void *ud, struct eng_job *part) {
    struct slice *one = ud;
    struct slices *s = one->all;
    (void)pthread_mutex_lock(&s->mutex);
    if (s->whole->ending == ENG_WAITING) {
        int has_ended = eng_job_state(part) >= ENG_DONE; /* then all its answers are there */
        slices_take(one, part);
        if (eng_job_state(s->whole) == ENG_WAITING) atomic_store(&s->whole->state, ENG_RUNNING);
        if (has_ended && !one->has_ended) slices_end(one, part);
        slices_tell(s);
    }
    (void)pthread_mutex_unlock(&s->mutex);
}

/* ---- the submitting thread ---- */

struct eng_ask slices_ask(const struct eng_job *whole, int i, const struct eng_ask *ask) {
    struct slices *s = whole->slices;
    struct eng_ask one = *ask;
    one.points = s->slice[i].points;
    one.n_points = s->slice[i].n;
    one.rest = ask->rest / (uint64_t)s->n;
    one.wake = slices_wake;
    one.ud = &s->slice[i];
    return one;
}

void slices_add(struct eng_job *whole, int i, struct eng_job *job) {
    whole->slices->slice[i].job = job;
    whole->cost += job->cost;
    whole->prompt_tokens = job->prompt_tokens;
    whole->stem_tokens = job->stem_tokens;
}

void slices_open(struct eng_job *whole) {
    struct slices *s = whole->slices;
    (void)pthread_mutex_lock(&s->mutex);
    s->is_open = 1;
    if (whole->n_answers > 0 || whole->ending != ENG_WAITING) slices_tell(s);
    (void)pthread_mutex_unlock(&s->mutex);
}

/* ---- for job.c ---- */

void slices_cancel(struct slices *s) {
    for (int i = 0; i < s->n; i++)
        if (s->slice[i].job) eng_job_cancel(s->slice[i].job);
}

void slices_put(struct slices *s) {
    for (int i = 0; i < s->n; i++)
        eng_job_put(s->slice[i].job);
    (void)pthread_mutex_destroy(&s->mutex);
}

void slices_stats(const struct slices *s, struct eng_job_stats *out) {
    for (int i = 0; i < s->n; i++) {
        struct eng_job_stats one;
        eng_job_stats(s->slice[i].job, &one);
        out->vision_ns += one.vision_ns;
        out->rows += one.rows;
        out->rows_plain += one.rows_plain;
        if (i == 0 || one.stem_cached < out->stem_cached) out->stem_cached = one.stem_cached;
    }
}
