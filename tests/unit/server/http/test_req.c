/* test_req.c - the rules of req.h: parking and signalling, turns, freeing. No socket and no
 * libmicrohttpd: the test is the HTTP loop, and its suspend and resume only count. */
#include "server/http/req.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "kernels/base/clock.h"
#include "kernels/base/mem.h"
#include "tests/check.h"
#include "tests/unit/server/fake_api.h"

enum { WORKERS = 2, WORKING_MAX = 8 };

struct rig {
    struct desk desk; /* the first member: rig_of */
    struct api *api;
    atomic_int suspended, resumed;
};

static struct rig *rig_of(struct req *r) { return (struct rig *)(void *)r->desk; }
static void wake(void *ud) { req_signal(ud); }
static void on_suspend(struct req *r) { atomic_fetch_add(&rig_of(r)->suspended, 1); }
static void on_resume(struct req *r) { atomic_fetch_add(&rig_of(r)->resumed, 1); }

static void rig_open(struct rig *g) {
    memset(g, 0, sizeof(*g));
    CHECK_EQ(api_new(NULL, NULL, &g->api, NULL), 0);
    g->desk.suspend = on_suspend;
    g->desk.resume = on_resume;
    desk_open(&g->desk, g->api, WORKERS, WORKING_MAX);
}

static void rig_close(struct rig *g) {
    desk_close(&g->desk);
    CHECK_EQ(atomic_load(&g->suspended), atomic_load(&g->resumed));
    api_free(g->api); /* fails unless every call was freed */
}

/* A request for `path` with a call, at work. */
static struct req *begin(struct rig *g, const char *path) {
    struct req *r = req_new(&g->desk, path);
    int status;
    CHECK(r != NULL);
    r->route = api_route("GET", path, &r->input.arg, &status, &r->allow);
    r->input.request_id = "test";
    CHECK_EQ(api_call_new(g->api, r->route, &r->input, wake, r, &r->call, NULL), 0);
    return r;
}

static struct req *work(struct rig *g, const char *path) {
    struct req *r = begin(g, path);
    CHECK_EQ(req_work(r), 0);
    return r;
}

/* As the loop does: park until the request is at that stage. */
static void park_until(struct rig *g, struct req *r, enum req_stage stage) {
    while (req_view(r).stage != stage) {
        int resumed = atomic_load(&g->resumed), parked = req_park(r);
        CHECK(parked >= 0);
        if (parked) FAKE_WAIT(atomic_load(&g->resumed) > resumed);
    }
}

TEST(req_is_replied_to_and_freed) {
    struct rig g;
    rig_open(&g);
    struct req *r = work(&g, "/reply");
    park_until(&g, r, REQ_REPLYING);
    CHECK_STR((const char *)api_call_reply(r->call)->body, "hello");
    req_over(r);
    FAKE_WAIT(fake_counts(g.api).freed == 1);
    rig_close(&g);
}

TEST(req_without_a_call_is_freed_at_once) {
    struct rig g;
    struct mem_stats before, after;
    rig_open(&g);
    mem_stats(&before);
    struct req *r = req_new(&g.desk, "/x");
    CHECK_STR(r->raw_target, "/x");
    req_over(r);
    mem_stats(&after);
    CHECK_EQ(after.live_bytes, before.live_bytes);
    rig_close(&g);
}

/* Rule 1: a signal before the park is kept, and several count as one. */
TEST(req_keeps_a_signal_that_comes_before_the_park) {
    struct rig g;
    rig_open(&g);
    struct req *r = work(&g, "/stream");
    park_until(&g, r, REQ_STREAMING);
    while (req_park(r) == 0) {} /* until no signal is left */
    req_signal(r);
    CHECK_EQ(atomic_load(&g.suspended), atomic_load(&g.resumed));
    int suspended = atomic_load(&g.suspended);
    req_signal(r);
    req_signal(r);
    CHECK_EQ(req_park(r), 0);
    CHECK_EQ(atomic_load(&g.suspended), suspended);
    CHECK_EQ(req_park(r), 1);
    CHECK_EQ(atomic_load(&g.suspended), suspended + 1);
    CHECK_EQ(atomic_load(&g.resumed), suspended);
    req_signal(r);
    CHECK_EQ(atomic_load(&g.resumed), suspended + 1);
    req_over(r);
    rig_close(&g);
}

struct crowd {
    struct req *r;
    atomic_int stop, released;
};

static void *signal_often(void *ud) {
    struct crowd *c = ud;
    while (!atomic_load(&c->stop)) {
        req_signal(c->r);
        sched_yield();
    }
    return NULL;
}

/* As the watcher does. */
static void *take_often(void *ud) {
    struct crowd *c = ud;
    while (!atomic_load(&c->stop)) {
        pthread_mutex_lock(&c->r->desk->mu);
        int is_mine = req_take(c->r, REQ_LOOK);
        pthread_mutex_unlock(&c->r->desk->mu);
        if (is_mine) {
            atomic_fetch_add(&c->released, 1);
            req_release(c->r, REQ_LOOK);
        }
        sched_yield();
    }
    return NULL;
}

/* Rule 2: of all who have news, one resumes the connection, for each park. */
TEST(req_is_resumed_once_for_each_park) {
    struct rig g;
    pthread_t threads[3];
    rig_open(&g);
    struct crowd c = {.r = work(&g, "/stream")};
    park_until(&g, c.r, REQ_STREAMING);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, i ? signal_often : take_often, &c), 0);
    int parks = 0;
    uint64_t end = clock_ns() + UINT64_C(20000000000);
    while ((parks < 500 || !atomic_load(&c.released)) && clock_ns() < end) {
        int parked = req_park(c.r);
        CHECK(parked >= 0);
        if (!parked) continue;
        parks++;
        FAKE_WAIT(atomic_load(&g.resumed) >= atomic_load(&g.suspended));
        CHECK_EQ(atomic_load(&g.resumed), atomic_load(&g.suspended));
    }
    CHECK(parks > 10 && atomic_load(&c.released) > 0);
    atomic_store(&c.stop, 1);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQ(atomic_load(&g.resumed), atomic_load(&g.suspended));
    req_over(c.r);
    rig_close(&g);
}

/* Rule 3: one worker at a time, however many wake it. */
TEST(req_is_stepped_by_one_worker_at_a_time) {
    struct rig g;
    pthread_t threads[3];
    rig_open(&g);
    struct crowd c = {.r = work(&g, "/wait")};
    for (int i = 0; i < 3; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, signal_often, &c), 0);
    FAKE_WAIT(fake_counts(g.api).steps > 1000);
    CHECK_EQ(fake_counts(g.api).steps_most, 1);
    atomic_store(&c.stop, 1);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    fake_finish(fake_call(g.api, 0));
    park_until(&g, c.r, REQ_REPLYING);
    req_over(c.r);
    rig_close(&g);
}

/* Rule 3: a wake during a step is not lost. What the held step returns is older than the wake:
 * without one more step the request would wait for ever. */
TEST(req_is_stepped_again_after_a_wake_during_a_step) {
    struct rig g;
    rig_open(&g);
    fake_hold(g.api, 1);
    struct req *r = work(&g, "/wait");
    FAKE_WAIT(fake_counts(g.api).held == 1);
    fake_finish(fake_call(g.api, 0));
    CHECK_EQ(fake_counts(g.api).steps, 1); /* not beside the step that is held */
    fake_hold(g.api, 0);
    park_until(&g, r, REQ_REPLYING);
    CHECK_EQ(fake_counts(g.api).steps, 2);
    req_over(r);
    rig_close(&g);
}

/* Rule 4: the call of a request that is over is freed by a worker, and not during its step. */
TEST(req_is_not_freed_during_a_step) {
    struct rig g;
    rig_open(&g);
    fake_hold(g.api, 1);
    struct req *r = work(&g, "/wait");
    FAKE_WAIT(fake_counts(g.api).held == 1);
    req_over(r);
    nanosleep(&(struct timespec){0, 20000000}, NULL);
    CHECK_EQ(fake_counts(g.api).freed, 0);
    fake_hold(g.api, 0);
    FAKE_WAIT(fake_counts(g.api).freed == 1); /* without a wake: the worker sees for itself */
    CHECK_EQ(fake_counts(g.api).steps, 1);
    rig_close(&g);
}

TEST(req_parks_no_more_when_the_desk_closes) {
    struct rig g;
    rig_open(&g);
    struct req *r = work(&g, "/wait");
    pthread_mutex_lock(&g.desk.mu);
    g.desk.is_closing = 1;
    pthread_mutex_unlock(&g.desk.mu);
    CHECK_EQ(req_park(r), -1);
    CHECK_EQ(atomic_load(&g.suspended), 0);
    req_over(r);
    rig_close(&g); /* waits for the worker that frees it */
}

TEST(req_works_on_so_many_at_once) {
    struct rig g;
    struct req *r[WORKING_MAX];
    rig_open(&g);
    for (int i = 0; i < WORKING_MAX; i++)
        r[i] = work(&g, "/wait");
    struct req *more = begin(&g, "/wait");
    CHECK_EQ(req_work(more), E_BUSY);
    req_over(r[0]);
    FAKE_WAIT(fake_counts(g.api).freed == 1);
    CHECK_EQ(req_work(more), 0); /* there is room again */
    req_over(more);
    for (int i = 1; i < WORKING_MAX; i++)
        req_over(r[i]);
    rig_close(&g);
}

TEST(req_that_is_quick_does_not_wait_behind_others) {
    struct rig g;
    struct req *slow[WORKERS];
    rig_open(&g);
    fake_hold(g.api, 1);
    for (int i = 0; i < WORKERS; i++)
        slow[i] = work(&g, "/wait");
    FAKE_WAIT(fake_counts(g.api).held == WORKERS); /* every worker is busy */
    struct req *behind = work(&g, "/reply"), *quick = work(&g, "/quick");
    FAKE_WAIT(fake_counts(g.api).held == WORKERS + 1);
    CHECK_EQ(fake_steps(fake_call(g.api, WORKERS)), 0);
    CHECK_EQ(fake_steps(fake_call(g.api, WORKERS + 1)), 1);
    fake_hold(g.api, 0);
    park_until(&g, quick, REQ_REPLYING);
    park_until(&g, behind, REQ_REPLYING);
    for (int i = 0; i < WORKERS; i++)
        req_over(slow[i]);
    req_over(behind);
    req_over(quick);
    rig_close(&g);
}

static int take(struct req *r, enum req_why why) {
    pthread_mutex_lock(&r->desk->mu);
    int is_mine = req_take(r, why);
    pthread_mutex_unlock(&r->desk->mu);
    return is_mine;
}

TEST(req_is_taken_out_of_the_park_for_a_reason) {
    struct rig g;
    rig_open(&g);
    struct req *gone = work(&g, "/wait"), *late = work(&g, "/wait"), *look = work(&g, "/stream");
    park_until(&g, look, REQ_STREAMING);
    CHECK_EQ(take(gone, REQ_GONE), 0); /* it is not parked */
    CHECK_EQ(req_view(gone).is_gone, 0);
    struct req *all[3] = {gone, late, look};
    static const enum req_why why[3] = {REQ_GONE, REQ_LATE, REQ_LOOK};
    for (int i = 0; i < 3; i++) {
        while (req_park(all[i]) == 0) {}
        int resumed = atomic_load(&g.resumed);
        CHECK_EQ(take(all[i], why[i]), 1);
        CHECK_EQ(take(all[i], why[i]), 0);
        CHECK_EQ(atomic_load(&g.resumed), resumed); /* not before the release */
        req_release(all[i], why[i]);
        CHECK_EQ(atomic_load(&g.resumed), resumed + 1);
    }
    CHECK(req_view(gone).is_gone && !req_view(gone).is_late);
    CHECK(req_view(late).is_late && !req_view(late).is_gone);
    CHECK(!req_view(look).is_late && !req_view(look).is_gone);
    CHECK_EQ(fake_counts(g.api).cancelled, 1);
    CHECK_EQ(fake_counts(g.api).expired, 1);
    for (int i = 0; i < 3; i++)
        req_over(all[i]);
    rig_close(&g);
}
