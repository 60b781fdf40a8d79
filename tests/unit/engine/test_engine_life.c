/* test_engine_life.c - crowds, full queues, leavers, lost devices and short memory. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "engine/engine.h"
#include "engine/run/sched.h"
#include "kernels/base/clock.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "kernels/kern.h"
#include "tests/check.h"
#include "tests/unit/engine/eng_rig.h"

/* `picture` is borrowed for the life of the ask. */
static struct eng_ask all_of(struct eng_picture *const *picture) {
    return (struct eng_ask){.pictures = picture,
                            .n_pictures = 1,
                            .points = eng_rig_points(),
                            .n_points = ENG_RIG_ALL,
                            .urgency = ENG_PICTURE};
}

static void wait_end(struct eng_job *j) {
    uint32_t seen = 0;
    while (eng_job_state(j) < ENG_DONE) {
        CHECK_EQ(eng_job_wait(j, seen, UINT64_MAX), 0);
        (void)eng_job_answers(j, &seen);
    }
}

/* ---- information and statistics ---- */

TEST(engine_info_and_empty_statistics) {
    struct eng *e = eng_rig_open(&(struct eng_options){.model = TINY "/", .kv_tokens = 1000});
    const struct eng_info *i = eng_info(e);
    CHECK_STR(i->name, "tiny");
    CHECK_EQ(strlen(i->digest), 64);
    CHECK_HAS(i->backend, eng_rig_backend());
    CHECK_EQ(i->image_size, 32);
    CHECK(i->parameters > 100000);
    CHECK_EQ(eng_health(e), 0);
    CHECK_STR(eng_lost(e), "");
    CHECK_EQ(eng_retry_after(e), 1);
    struct eng_stats s;
    eng_stats(e, &s);
    CHECK_EQ(s.kv_slots, 1000);
    CHECK_EQ(s.passes + s.kv_used + s.kv_cached + s.jobs_waiting + s.jobs_running, 0);
    eng_close(e);
    eng_close(NULL);
}

TEST(engine_refuses_bad_options) {
    const struct {
        struct eng_options o;
        int code;
        const char *text;
    } cases[] = {
        {{.model = NULL}, E_INVALID, "model folder"},
        {{.model = "tests/golden/absent"}, E_NOT_FOUND, "absent"},
        {{.model = TINY, .device = "abacus"}, E_NOT_FOUND, "abacus"},
        {{.model = TINY, .kv_tokens = 20}, E_INVALID, "kv_tokens 20"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {0};
        struct eng *e = (struct eng *)&err;
        int rc = eng_open(&cases[i].o, &e, &err);
        if (rc != cases[i].code) printf("case %zu: %s\n", i, err.text);
        CHECK_EQ(rc, cases[i].code);
        CHECK(e == NULL);
        CHECK_HAS(err.text, cases[i].text);
    }
}

/* ---- full ---- */

/* Jobs that the step thread can't have finished yet: it is held in a wake. */
struct gate {
    atomic_int is_open, is_in;
};

static void hold(void *ud, struct eng_job *j) {
    struct gate *g = ud;
    (void)j;
    atomic_store(&g->is_in, 1);
    while (!atomic_load(&g->is_open))
        usleep(200);
}

static struct eng_job *hold_engine(struct eng *e, struct eng_picture *picture, struct gate *g) {
    struct eng_job *j;
    struct eng_ask ask = {.pictures = &picture,
                          .n_pictures = 1,
                          .points = eng_rig_points(),
                          .n_points = 1,
                          .wake = hold,
                          .ud = g};
    CHECK_EQ(eng_submit(e, &ask, &j, NULL), 0);
    while (!atomic_load(&g->is_in))
        usleep(200);
    return j;
}

TEST(engine_full_queue_is_busy_and_says_when) {
    struct eng *e = eng_rig_open(&(struct eng_options){.model = TINY, .queue_tokens = 10000});
    struct eng_picture *picture = eng_rig_picture(e, 1);
    struct gate g = {0};
    struct eng_job *first = hold_engine(e, picture, &g), *j[100] = {0}, *none;
    struct eng_ask ask = all_of(&picture);
    struct err err = {0};
    int n = 0, rc;
    while ((rc = eng_submit(e, &ask, &j[n], &err)) == 0)
        n++;
    CHECK_EQ(rc, E_BUSY);
    CHECK_EQ(err.code, E_BUSY);
    CHECK(n >= 2 && n < 20);
    CHECK(j[n] == NULL);
    struct eng_stats s;
    eng_stats(e, &s);
    CHECK_EQ(s.jobs_refused, 1);
    CHECK_EQ(s.jobs_waiting, n);
    CHECK(s.queue_tokens <= 10000 && s.queue_tokens > 5000);
    CHECK_EQ(s.queue_tokens_max, 10000);
    unsigned seconds = eng_retry_after(e);
    CHECK(seconds >= 1 && seconds <= 600);
    /* another owner's first job finds room, the second one doesn't; the next one's place in the
     * table would be the same */
    for (ask.owner = 7; ask.owner < 2 * WAIT_OWNERS; ask.owner += WAIT_OWNERS) {
        CHECK_EQ(eng_submit(e, &ask, &j[n++], NULL), 0);
        CHECK_EQ(eng_submit(e, &ask, &none, NULL), E_BUSY);
    }
    ask.owner = 0;
    CHECK_EQ(eng_submit(e, &ask, &none, NULL), E_BUSY);
    /* another estimate of the same size costs more, and more than the whole queue can never fit */
    ask.n_points = 0;
    CHECK_EQ(eng_submit(e, &ask, &none, NULL), E_INVALID);
    atomic_store(&g.is_open, 1);
    for (int i = 0; i < n; i++) {
        wait_end(j[i]);
        CHECK_EQ(eng_job_state(j[i]), ENG_DONE);
        eng_job_put(j[i]);
    }
    eng_rig_idle(e, &s);
    CHECK_EQ(s.queue_tokens, 0);
    CHECK_EQ(s.jobs_done, n + 1);
    ask.n_points = ENG_RIG_ALL;
    CHECK_EQ(eng_submit(e, &ask, &none, NULL), 0); /* room again */
    eng_job_put(none);
    eng_job_put(first);
    eng_picture_put(picture);
    eng_close(e);
}

/* Submit until the queue is full; returns why. */
static struct err fill_up(struct eng *e, const struct eng_ask *ask, struct eng_job **j, int *n,
                          int most) {
    struct err err = {0};
    while (*n < most && eng_submit(e, ask, &j[*n], &err) == 0)
        ++*n;
    return err;
}

static void end_all(struct eng_job **j, int *n) {
    while (*n) {
        wait_end(j[--*n]);
        CHECK_EQ(eng_job_state(j[*n]), ENG_DONE);
        eng_job_put(j[*n]);
    }
}

TEST(engine_refuses_what_would_wait_too_long) {
    struct eng *e =
        eng_rig_open(&(struct eng_options){.model = TINY, .queue_ns = 1, .queue_tokens = 1 << 30});
    struct eng_picture *picture = eng_rig_picture(e, 1);
    struct gate g = {0};
    struct eng_job *first = hold_engine(e, picture, &g), *j[200], *more;
    struct eng_ask ask = all_of(&picture);
    int n = 0;
    struct err why = fill_up(e, &ask, j, &n, 200);
    CHECK_EQ(n, SCHED_RUNNING); /* nobody knows how fast it is, so as many wait as may run */
    CHECK_EQ(why.code, E_BUSY);
    CHECK_HAS(why.text, "the pace is not known yet");
    ask.goes_on = 1; /* a call that has begun, and games, are not refused for that */
    CHECK_EQ(eng_submit(e, &ask, &j[n++], NULL), 0);
    ask.goes_on = 0;
    ask.urgency = ENG_ACT;
    CHECK_EQ(eng_submit(e, &ask, &j[n++], NULL), 0);
    ask.urgency = ENG_PICTURE;
    atomic_store(&g.is_open, 1);
    end_all(j, &n);
    struct eng_stats s;
    for (int round = 0; round < 1000; round++) { /* until it is known */
        eng_rig_idle(e, &s);
        CHECK_EQ(eng_submit(e, &ask, &j[n++], NULL), 0); /* idle: nothing is refused */
        ask.goes_on = 1;
        (void)fill_up(e, &ask, j, &n, 100);
        ask.goes_on = 0;
        why = (struct err){0};
        if (eng_submit(e, &ask, &more, &why) == 0) j[n++] = more;
        end_all(j, &n);
        if (strstr(why.text, "the job would wait")) break;
    }
    CHECK_HAS(why.text, "the job would wait");
    eng_job_put(first);
    eng_picture_put(picture);
    eng_close(e);
}

/* What follows a job counts with it; a picture costs what its job does. */
TEST(engine_counts_the_rest_of_a_request) {
    struct eng *e = eng_rig_open(&(struct eng_options){.model = TINY, .queue_tokens = 1 << 30});
    struct eng_picture *picture = eng_rig_picture(e, 1);
    struct gate g = {0};
    struct eng_job *j[100], *none;
    struct eng_ask ask = all_of(&picture);
    int n = 0;
    CHECK_EQ(eng_pace(e), 0);
    for (int round = 0; round < 1000 && !(eng_pace(e) > 0); round++) {
        (void)fill_up(e, &ask, j, &n, 60);
        end_all(j, &n);
    }
    struct eng_job *first = hold_engine(e, picture, &g);
    struct err why = {0};
    ask.deadline_ns = clock_ns() + 600 * CLOCK_S;
    CHECK_EQ(eng_submit(e, &ask, &j[n++], NULL), 0);
    CHECK_EQ(eng_picture_cost(e), eng_job_cost(j[0]));
    ask.rest = (uint64_t)(eng_pace(e) * 600);
    CHECK_EQ(eng_submit(e, &ask, &none, &why), E_BUSY);
    CHECK_HAS(why.text, "the job would take");
    ask.goes_on = 1;
    CHECK_EQ(eng_submit(e, &ask, &j[n++], NULL), 0);
    atomic_store(&g.is_open, 1);
    end_all(j, &n);
    eng_job_put(first);
    eng_picture_put(picture);
    eng_close(e);
}

TEST(engine_too_big_is_refused_at_once) {
    struct eng *e = eng_rig_open(&(struct eng_options){.model = TINY_DIGITS, .kv_tokens = 110});
    struct eng_picture *picture = eng_rig_picture(e, 1);
    struct eng_job *j = (struct eng_job *)e;
    struct eng_ask ask = all_of(&picture);
    struct err err = {0};
    CHECK_EQ(eng_submit(e, &ask, &j, &err), E_TOO_BIG); /* too many branches */
    CHECK_HAS(err.text, "KV slots");
    CHECK(j == NULL);
    ask.n_points = 3;
    CHECK_EQ(eng_submit(e, &ask, &j, NULL), 0); /* others go on */
    wait_end(j);
    CHECK_EQ(eng_job_state(j), ENG_DONE);
    eng_job_put(j);
    eng_picture_put(picture);
    eng_close(e);
    e = eng_rig_open(&(struct eng_options){.model = TINY, .queue_tokens = 500});
    picture = eng_rig_picture(e, 1);
    ask = all_of(&picture);
    err = (struct err){0};
    CHECK_EQ(eng_submit(e, &ask, &j, &err), E_TOO_BIG); /* more than the queue ever takes */
    CHECK_HAS(err.text, "queue");
    ask.n_points = 65537;
    CHECK_EQ(eng_submit(e, &ask, &j, NULL), E_TOO_BIG);
    eng_picture_put(picture);
    eng_close(e);
}

/* ---- ends ---- */

TEST(engine_deadlines) {
    struct eng *e = eng_rig_open(&(struct eng_options){.model = TINY, .lanes = 1});
    struct eng_picture *picture = eng_rig_picture(e, 1);
    struct eng_ask ask = all_of(&picture);
    struct eng_job *late, *fine;
    ask.deadline_ns = 1; /* long ago */
    CHECK_EQ(eng_submit(e, &ask, &late, NULL), 0);
    ask.n_points = 4;
    ask.deadline_ns = clock_ns() + 600ull * 1000000000;
    CHECK_EQ(eng_submit(e, &ask, &fine, NULL), 0);
    wait_end(late);
    wait_end(fine);
    CHECK_EQ(eng_job_state(late), ENG_FAILED);
    CHECK_EQ(eng_job_error(late)->code, E_TIMEOUT);
    CHECK_EQ(eng_job_state(fine), ENG_DONE);
    CHECK_EQ(eng_job_error(fine)->code, 0);
    eng_job_put(late);
    eng_job_put(fine);
    eng_picture_put(picture);
    eng_close(e);
}

TEST(engine_leavers_free_what_they_held) {
    struct eng *e =
        eng_rig_open(&(struct eng_options){.model = TINY_DIGITS, .lanes = 40, .cached_images = -1});
    struct eng_stats s;
    int leavers = test_count(150, 1000);
    for (uint64_t i = 0; i < (uint64_t)leavers; i++) {
        uint64_t r = rng_u64(test_seed(), i);
        struct eng_picture *picture = eng_rig_picture(e, (int)(r % 4));
        struct eng_ask ask = all_of(&picture);
        ask.estimate = (enum eng_estimate)(r / 4 % 3);
        struct eng_job *j;
        int rc = eng_submit(e, &ask, &j, NULL);
        CHECK(rc == 0 || rc == E_BUSY);
        eng_picture_put(picture);
        if (rc) continue;
        if (r & 1 << 8) (void)eng_job_wait(j, 0, r / 512 % 3000000);
        if (r & 1 << 9) eng_job_cancel(j);
        eng_job_put(j);
    }
    eng_rig_idle(e, &s);
    CHECK_EQ(s.kv_used + s.kv_cached, 0);
    CHECK_EQ(s.lanes, 0);
    CHECK_EQ(s.queue_tokens, 0);
    CHECK_EQ(s.jobs_done + s.jobs_cancelled + s.jobs_refused, leavers);
    CHECK_EQ(s.jobs_failed, 0);
    CHECK(s.jobs_cancelled > 10);
    eng_close(e);
}

/* ---- one leaves and another comes in the same turn ---- */

static struct eng *turning;
static struct eng_ask coming;
static _Atomic(struct eng_job *) leaver;
static struct eng_job *comer;
static atomic_int is_armed;
static void (*real_stats)(struct kern *k, struct kern_stats *out);

/* The first thing a turn asks: now the only job is cancelled, and the next one submitted. */
static void stats_and_change(struct kern *k, struct kern_stats *out) {
    real_stats(k, out);
    if (!atomic_exchange(&is_armed, 0)) return;
    while (!atomic_load(&leaver))
        usleep(100);
    eng_job_cancel(atomic_load(&leaver));
    CHECK_EQ(eng_submit(turning, &coming, &comer, NULL), 0);
}

TEST(engine_leaver_and_comer_in_one_turn) {
    const struct kern_ops *ops;
    CHECK_EQ(kern_find(eng_rig_backend(), &ops, NULL), 0);
    struct kern_ops watched = *ops;
    real_stats = ops->stats;
    watched.stats = stats_and_change;
    struct eng_options opt = {.model = TINY, .threads = 1};
    CHECK_EQ(eng_open_on(&opt, &(const struct kern_ops *){&watched}, 1, &turning, NULL), 0);
    struct eng_picture *picture = eng_rig_picture(turning, 1);
    coming = all_of(&picture);
    struct eng_job *j;
    atomic_store(&is_armed, 1);
    CHECK_EQ(eng_submit(turning, &coming, &j, NULL), 0);
    atomic_store(&leaver, j);
    wait_end(j);
    CHECK_EQ(eng_job_state(j), ENG_CANCELLED);
    wait_end(comer);
    CHECK_EQ(eng_job_state(comer), ENG_DONE);
    eng_job_put(j);
    eng_job_put(comer);
    eng_picture_put(picture);
    eng_close(turning);
}

TEST(engine_closes_with_jobs_in_flight) {
    for (int round = 0; round < 6; round++) {
        struct eng *e = eng_rig_open(&(struct eng_options){.model = TINY, .lanes = 20});
        struct eng_picture *picture = eng_rig_picture(e, round);
        struct eng_ask ask = all_of(&picture);
        struct eng_job *j[5];
        for (int i = 0; i < 5; i++)
            CHECK_EQ(eng_submit(e, &ask, &j[i], NULL), 0);
        if (round % 2) (void)eng_job_wait(j[0], 0, UINT64_MAX);
        eng_close(e);
        for (int i = 0; i < 5; i++) { /* jobs and pictures outlive the engine */
            struct eng_job_stats s;
            uint32_t n;
            CHECK(eng_job_state(j[i]) == ENG_CANCELLED || eng_job_state(j[i]) == ENG_DONE);
            CHECK(eng_job_answers(j[i], &n) != NULL);
            eng_job_stats(j[i], &s);
            CHECK(s.end_ns >= s.queued_ns && s.stem_tokens > 16);
            CHECK_EQ(eng_job_wait(j[i], 1000, UINT64_MAX), 0);
            eng_job_put(j[i]);
        }
        CHECK_EQ(strlen(eng_picture_digest(picture)), 64);
        eng_picture_put(picture);
    }
}

/* ---- a lost device ---- */

static atomic_int gets_left;
static int (*real_get)(struct kern *k, void *dst, struct kern_ptr src, size_t bytes, struct err *e);

static int get_or_lose(struct kern *k, void *dst, struct kern_ptr src, size_t bytes,
                       struct err *e) {
    if (atomic_fetch_sub(&gets_left, 1) <= 0) return err_set(e, E_DEVICE, "it fell off the bus");
    return real_get(k, dst, src, bytes, e);
}

TEST(engine_lost_device_fails_every_job) {
    const struct kern_ops *ops;
    CHECK_EQ(kern_find(eng_rig_backend(), &ops, NULL), 0);
    struct kern_ops broken = *ops;
    real_get = ops->get;
    broken.get = get_or_lose;
    atomic_store(&gets_left, 1 << 30);
    struct eng *e;
    struct eng_options opt = {.model = TINY, .threads = 1};
    CHECK_EQ(eng_open_on(&opt, &(const struct kern_ops *){&broken}, 1, &e, NULL), 0);
    struct eng_picture *picture = eng_rig_picture(e, 1);
    struct eng_ask ask = all_of(&picture);
    struct eng_job *running, *none;
    atomic_store(&gets_left, 2);
    CHECK_EQ(eng_submit(e, &ask, &running, NULL), 0);
    wait_end(running);
    CHECK_EQ(eng_job_state(running), ENG_FAILED);
    CHECK_EQ(eng_job_error(running)->code, E_DEVICE);
    CHECK_HAS(eng_job_error(running)->text, "bus");
    CHECK_EQ(eng_health(e), E_DEVICE);
    CHECK_HAS(eng_lost(e), "bus");
    CHECK_EQ(eng_submit(e, &ask, &none, NULL), E_DEVICE);
    eng_job_put(running);
    eng_picture_put(picture);
    eng_close(e);
}

/* ---- memory ---- */

TEST(engine_submit_without_memory) {
    struct eng *e = eng_rig_open(&(struct eng_options){.model = TINY});
    struct eng_picture *picture = eng_rig_picture(e, 1);
    struct eng_ask ask = all_of(&picture);
    struct eng_stats s;
    struct mem_stats before, after;
    mem_stats(&before);
    int n = 0, rc = E_NOMEM;
    for (; rc == E_NOMEM; n++) {
        struct eng_job *j;
        mem_fail_at((uint64_t)n + 1);
        rc = eng_submit(e, &ask, &j, NULL);
        mem_fail_at(0);
        if (j) eng_job_put(j);
    }
    CHECK_EQ(rc, 0);
    CHECK(n > 5);
    eng_rig_idle(e, &s);
    eng_rig_memory_back(before.live_bytes);
    int w, h;
    uint8_t *rgb = eng_rig_pixels(2, &w, &h);
    mem_stats(&before);
    for (n = 0, rc = E_NOMEM; rc == E_NOMEM; n++) {
        struct eng_picture *i;
        mem_fail_at((uint64_t)n + 1);
        rc = eng_picture_new(e, rgb, w, h, &i, NULL);
        mem_fail_at(0);
        CHECK(rc == 0 || !i);
        eng_picture_put(i);
        mem_stats(&after);
        CHECK_EQ(after.live_bytes, before.live_bytes);
    }
    CHECK_EQ(rc, 0);
    CHECK(n > 1);
    mem_free(rgb);
    eng_picture_put(picture);
    eng_close(e);
}

TEST_LIMIT(engine_step_allocates_nothing, 60) {
    struct eng *e =
        eng_rig_open(&(struct eng_options){.model = TINY_DIGITS, .lanes = 20, .kv_tokens = 1200});
    struct eng_answer a[ENG_RIG_ALL];
    struct eng_stats s = {0};
    for (int round = 0; s.passes < 1000; round++) {
        struct eng_picture *picture = eng_rig_picture(e, round % 7);
        eng_rig_ask_all(e, picture, (enum eng_estimate)(round % 3), 0, a);
        eng_picture_put(picture);
        eng_stats(e, &s);
        CHECK_EQ(s.allocations_in_step, 0); /* from the very first pass on */
    }
    CHECK(s.stem_misses > 1);
    eng_close(e);
}

TEST(engine_sleeps_when_idle) {
    struct eng *e = eng_rig_open(&(struct eng_options){.model = TINY});
    struct eng_picture *picture = eng_rig_picture(e, 1);
    struct eng_answer a[ENG_RIG_ALL];
    eng_rig_ask_all(e, picture, ENG_MODE, 0, a);
    struct eng_stats s;
    eng_rig_idle(e, &s);
    struct timespec before, after;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    usleep(200000);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    double ms = (double)(after.tv_sec - before.tv_sec) * 1e3 +
                (double)(after.tv_nsec - before.tv_nsec) * 1e-6;
    CHECK(ms < 20);
    eng_picture_put(picture);
    eng_close(e);
}

/* ---- a crowd ---- */

struct visitor {
    struct eng *e;
    const struct eng_answer (*want)[ENG_RIG_ALL];
    uint64_t seed;
    int done, refused, left;
};

static void *visit(void *arg) {
    struct visitor *v = arg;
    uint64_t dice = v->seed * 1000;
    for (int round = 0; round < test_count(12, 400); round++) {
        uint64_t r = rng_u64(test_seed(), dice++);
        int number = (int)(r % 3);
        uint32_t n = 1 + (uint32_t)(r >> 8 & 63), from = (uint32_t)(r >> 16 & 127);
        struct eng_picture *picture = eng_rig_picture(v->e, number);
        struct eng_ask ask = {.pictures = &picture,
                              .n_pictures = 1,
                              .points = eng_rig_points() + from,
                              .n_points = n,
                              .estimate = ENG_MEDIAN,
                              .urgency = (enum eng_class)(r >> 24 & 3)};
        struct eng_job *j;
        int rc = eng_submit(v->e, &ask, &j, NULL);
        eng_picture_put(picture);
        CHECK(rc == 0 || rc == E_BUSY);
        if (rc) {
            v->refused++;
        } else if (r >> 30 & 1) {
            struct eng_answer got[ENG_RIG_ALL];
            eng_rig_collect(j, ask.points, n, got);
            for (uint32_t i = 0; i < n; i++) {
                int place = ask.points[i].y * ENG_RIG_GRID + ask.points[i].x;
                CHECK(eng_rig_same(&got[place], &v->want[number][place], 1));
            }
            v->done++;
            eng_job_put(j);
        } else {
            if (r >> 31 & 1) (void)eng_job_wait(j, 0, 1000000);
            eng_job_put(j);
            v->left++;
        }
        struct eng_stats s;
        eng_stats(v->e, &s);
        (void)eng_retry_after(v->e);
    }
    return NULL;
}

TEST_LIMIT(engine_crowd_of_threads, 120) {
    enum { THREADS = 8 };
    struct eng *e = eng_rig_open(
        &(struct eng_options){.model = TINY, .lanes = 50, .threads = 2, .queue_tokens = 20000});
    static struct eng_answer want[3][ENG_RIG_ALL];
    (void)eng_rig_points(); /* made once, before there are threads */
    for (int n = 0; n < 3; n++) {
        struct eng_picture *picture = eng_rig_picture(e, n);
        eng_rig_ask_all(e, picture, ENG_MEDIAN, 0, want[n]);
        eng_picture_put(picture);
    }
    struct visitor v[THREADS];
    pthread_t t[THREADS];
    for (int i = 0; i < THREADS; i++) {
        v[i] = (struct visitor){
            .e = e, .want = (const struct eng_answer(*)[ENG_RIG_ALL])want, .seed = (uint64_t)i};
        CHECK_EQ(pthread_create(&t[i], NULL, visit, &v[i]), 0);
    }
    int done = 3, refused = 0, left = 0;
    for (int i = 0; i < THREADS; i++) {
        pthread_join(t[i], NULL);
        done += v[i].done;
        refused += v[i].refused;
        left += v[i].left;
    }
    struct eng_stats s;
    eng_rig_idle(e, &s);
    CHECK_EQ(s.jobs_refused, refused);
    CHECK_EQ(s.jobs_done + s.jobs_cancelled, done + left);
    CHECK(s.jobs_done >= (uint64_t)done);
    CHECK_EQ(s.kv_used, 0);
    CHECK(s.pixels_per_second > 0);
    eng_close(e);
}
