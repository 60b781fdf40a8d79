/* test_pool.c - a pool has the threads that were asked for, and a round does every task once. */
#include "kernels/cpu/pool.h"

#include <stdatomic.h>
#include <unistd.h>

#include "kernels/base/err.h"
#include "tests/check.h"

enum { TASKS = 1000 };
struct round {
    _Atomic int done[TASKS];
    int threads;
};

static void do_task(void *ctx, int task, int thread) {
    struct round *r = ctx;
    CHECK(thread >= 0 && thread < r->threads);
    atomic_fetch_add(&r->done[task], 1);
}

/* The most that the engine takes is the engine's to say (ENG_THREADS_MAX): 300 is no less here. */
TEST(pool_has_the_threads_that_were_asked_for) {
    static const int threads[] = {1, 2, 3, 300};
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        struct pool *p = pool_new(threads[i], NULL, NULL);
        CHECK_EQ(pool_threads(p), threads[i]);
        static struct round r;
        r = (struct round){.threads = threads[i]};
        for (int rounds = 1; rounds <= 5; rounds++) {
            pool_run(p, TASKS, do_task, &r);
            for (int t = 0; t < TASKS; t++)
                CHECK_EQ(atomic_load(&r.done[t]), rounds);
        }
        pool_free(p);
    }
    struct pool *own = pool_new(0, NULL, NULL);
    CHECK(pool_threads(own) >= 1);
    pool_free(own);
}

static void nap(void *ctx, int task, int thread) {
    (void)ctx, (void)thread;
    if (task == 0) usleep(20000);
}

TEST(pool_knows_for_how_long_its_threads_had_no_task) {
    struct pool *p = pool_new(2, NULL, NULL);
    pool_run(p, 2, nap, NULL);
    CHECK_EQ(pool_wait_ns(p), 0); /* nobody watched */
    pool_watch(p);
    pool_run(p, 2, nap, NULL);
    uint64_t wait = pool_wait_ns(p);
    CHECK(wait >= 19000000); /* of one thread, while the other one slept 20 ms */
    pool_run(p, 1, nap, NULL);
    CHECK(pool_wait_ns(p) >= wait + 20000000); /* a task for one */
    pool_free(p);
}
