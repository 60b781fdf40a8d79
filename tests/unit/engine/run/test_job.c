/* test_job.c - what an ask may be, whose a job is, who is woken and when no more. */
#include <pthread.h>
#include <sched.h>

#include "kernels/base/clock.h"
#include "kernels/base/err.h"
#include "kernels/base/mem.h"
#include "tests/check.h"
#include "tests/unit/engine/run/run_rig.h"

static const struct rig_sizes SMALL = {400, 1000, 20, 128, 2};

TEST(job_refuses_bad_asks) {
    struct rig r;
    struct eng_job *j = (struct eng_job *)&r;
    struct eng_point in[] = {{0, 0}, {RIG_GRID - 1, RIG_GRID - 1}};
    struct eng_picture *none = NULL;
    struct eng_point right[] = {{0, 0}, {RIG_GRID, 0}}, below[] = {{0, RIG_GRID}};
    rig_open(&r, RIG_WHOLE, &SMALL);
    struct eng_picture *p = rig_picture(1);
    const struct {
        struct eng_ask ask;
        int code;
    } cases[] = {
        {{.pictures = &p, .n_pictures = 1, .points = in, .n_points = 0}, E_INVALID},
        {{.pictures = &p, .n_pictures = 1, .points = NULL, .n_points = 1}, E_INVALID},
        {{.pictures = &none, .n_pictures = 1, .points = in, .n_points = 1}, E_INVALID},
        {{.pictures = &p, .n_pictures = ENG_PICTURES_MAX + 1, .points = in, .n_points = 1},
         E_TOO_BIG},
        {{.pictures = &p, .n_pictures = 1, .points = right, .n_points = 2}, E_INVALID},
        {{.pictures = &p, .n_pictures = 1, .points = below, .n_points = 1}, E_INVALID},
        {{.pictures = &p, .n_pictures = 1, .points = in, .n_points = JOB_POINTS_MAX + 1},
         E_TOO_BIG},
        {{.pictures = &p,
          .n_pictures = 1,
          .points = in,
          .n_points = 1,
          .estimate = (enum eng_estimate)3},
         E_INVALID},
        {{.pictures = &p, .n_pictures = 1, .points = in, .n_points = 1, .urgency = ENG_CLASSES},
         E_INVALID},
        {{.pictures = &p,
          .n_pictures = 1,
          .points = in,
          .n_points = 1,
          .urgency = (enum eng_class) - 1},
         E_INVALID},
        {{.pictures = &p, .n_pictures = 1, .points = in, .n_points = 2}, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err e = {0};
        CHECK_EQ(job_new(&cases[i].ask, &r.questions, 0, job_arena(), &j, &e), cases[i].code);
        CHECK_EQ(e.code, cases[i].code);
        CHECK((j == NULL) == (cases[i].code != 0));
    }
    job_put(j);
    eng_job_put(j);
    eng_picture_put(p);
    rig_close(&r);
}

TEST(job_takes_as_many_points_as_it_says) {
    struct rig r;
    rig_open(&r, RIG_WHOLE, &SMALL);
    struct eng_picture *p = rig_picture(1);
    struct eng_point *points = mem_must(JOB_POINTS_MAX * sizeof points[0]);
    for (int i = 0; i < JOB_POINTS_MAX; i++)
        points[i] =
            (struct eng_point){(uint16_t)(i % RIG_GRID), (uint16_t)(i / RIG_GRID % RIG_GRID)};
    struct eng_ask ask = {
        .pictures = &p, .n_pictures = 1, .points = points, .n_points = JOB_POINTS_MAX};
    struct eng_job *j = rig_submit(&r, &ask);
    CHECK_EQ(j->tree.n_leaves, RIG_GRID * RIG_GRID);
    rig_finish(&r);
    rig_check_job(&r, j, 1, &ask);
    eng_job_put(j);
    eng_picture_put(p);
    mem_free(points);
    rig_close(&r);
}

TEST(job_without_memory_leaves_nothing_behind) {
    struct rig r;
    rig_open(&r, RIG_WHOLE, &SMALL);
    struct eng_picture *p = rig_picture(1);
    struct eng_point points[RIG_GRID * RIG_GRID];
    rig_all_points(points);
    struct eng_ask ask = {
        .pictures = &p, .n_pictures = 1, .points = points, .n_points = RIG_GRID * RIG_GRID};
    struct mem_stats before, after;
    mem_stats(&before);
    int rc = E_NOMEM, n = 0;
    while (rc == E_NOMEM) {
        struct eng_job *j;
        struct err e = {0};
        mem_fail_at((uint64_t)++n);
        rc = job_new(&ask, &r.questions, 0, job_arena(), &j, &e);
        mem_fail_at(0);
        CHECK(rc == 0 || (rc == E_NOMEM && e.code == E_NOMEM && !j));
        if (j) {
            job_put(j);
            eng_job_put(j);
        }
        mem_stats(&after);
        CHECK_EQ(after.live_bytes, before.live_bytes);
        CHECK_EQ(after.allocations - before.allocations, after.frees - before.frees);
    }
    CHECK(n > 5);
    eng_picture_put(p);
    rig_close(&r);
}

/* ---- waking ---- */

struct listener {
    int wakes, ends;
    uint32_t ready;
};

static void on_wake(void *ud, struct eng_job *j) {
    struct listener *l = ud;
    uint32_t n;
    (void)eng_job_answers(j, &n);
    l->wakes++;
    l->ends += eng_job_state(j) >= ENG_DONE;
    CHECK(n > l->ready || eng_job_state(j) >= ENG_DONE); /* never for nothing */
    l->ready = n;
}

TEST(job_wakes_once_a_pass_and_at_the_end) {
    struct rig r;
    struct listener l = {0};
    rig_open(&r, RIG_WHOLE, &SMALL);
    struct eng_picture *p = rig_picture(1);
    struct eng_point points[RIG_GRID * RIG_GRID];
    rig_all_points(points);
    struct eng_job *j = rig_submit(&r, &(struct eng_ask){.pictures = &p,
                                                         .n_pictures = 1,
                                                         .points = points,
                                                         .n_points = 100,
                                                         .wake = on_wake,
                                                         .ud = &l});
    while (!sched_is_idle(&r.sched)) {
        int before = l.wakes;
        uint32_t ready = l.ready;
        rig_turn(&r, 1);
        CHECK(l.wakes <= before + 1);
        CHECK_EQ(l.wakes > before, l.ready > ready);
    }
    CHECK_EQ(l.ends, 1);
    CHECK_EQ(l.ready, 100);
    CHECK(l.wakes > 3);
    eng_job_put(j);
    /* one that is put at once hears nothing */
    l = (struct listener){0};
    eng_job_put(rig_submit(&r, &(struct eng_ask){.pictures = &p,
                                                 .n_pictures = 1,
                                                 .points = points,
                                                 .n_points = 1,
                                                 .wake = on_wake,
                                                 .ud = &l}));
    rig_finish(&r);
    CHECK_EQ(l.wakes, 0);
    CHECK_EQ(r.sched.cancelled, 1);
    eng_picture_put(p);
    rig_check_empty(&r);
    rig_close(&r);
}

/* The asker's memory goes when its last put has returned, whatever the step thread is doing. */
static void wake_heap(void *ud, struct eng_job *j) {
    (void)j;
    int *cell = ud;
    CHECK_EQ(*cell, 42);
    sched_yield();
    CHECK_EQ(*cell, 42);
}

static void *announcer(void *arg) {
    struct eng_job *j = arg;
    for (int i = 0; i < 50; i++)
        job_announce(j);
    j->ending = ENG_CANCELLED;
    job_announce(j);
    job_put(j);
    return NULL;
}

TEST(job_put_waits_for_a_wake_that_is_under_way) {
    struct rig r;
    rig_open(&r, RIG_WHOLE, &SMALL);
    struct eng_picture *p = rig_picture(1);
    for (int round = 0; round < 200; round++) {
        int *cell = mem_must(sizeof *cell);
        *cell = 42;
        struct eng_job *j = rig_job(&r, &(struct eng_ask){.pictures = &p,
                                                          .n_pictures = 1,
                                                          .points = &(struct eng_point){0, 0},
                                                          .n_points = 1,
                                                          .wake = wake_heap,
                                                          .ud = cell});
        pthread_t t;
        CHECK_EQ(pthread_create(&t, NULL, announcer, j), 0);
        for (int i = 0; i < round % 20; i++)
            sched_yield();
        eng_job_put(j);
        *cell = 0;
        mem_free(cell);
        pthread_join(t, NULL);
    }
    eng_picture_put(p);
    rig_close(&r);
}

/* ---- waiting ---- */

static void *waiter(void *arg) {
    struct eng_job *j = arg;
    uint32_t seen = 0;
    while (eng_job_state(j) < ENG_DONE) {
        CHECK_EQ(eng_job_wait(j, seen, UINT64_MAX), 0);
        (void)eng_job_answers(j, &seen);
    }
    return NULL;
}

TEST(job_wait_sees_answers_and_the_end) {
    struct rig r;
    rig_open(&r, RIG_DIGITS, &SMALL);
    struct eng_picture *p = rig_picture(1);
    struct eng_point points[RIG_GRID * RIG_GRID];
    rig_all_points(points);
    struct eng_job *j = rig_submit(
        &r, &(struct eng_ask){.pictures = &p, .n_pictures = 1, .points = points, .n_points = 60});
    uint64_t start = clock_ns();
    CHECK_EQ(eng_job_wait(j, 0, 5000000), E_TIMEOUT);
    CHECK(clock_ns() - start >= 5000000);
    CHECK_EQ(eng_job_wait(j, 0, 0), E_TIMEOUT);
    pthread_t t[3];
    for (int i = 0; i < 3; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, waiter, j), 0);
    rig_finish(&r);
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    CHECK_EQ(eng_job_wait(j, 60, UINT64_MAX), 0); /* over: nothing to wait for */
    eng_job_put(j);
    eng_picture_put(p);
    rig_close(&r);
}
