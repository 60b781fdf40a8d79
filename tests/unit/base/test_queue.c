/* test_queue.c - order, bounds, closing, poking, and four producers at once. */
#include <pthread.h>
#include <stdatomic.h>

#include "kernels/base/clock.h"
#include "kernels/base/err.h"
#include "kernels/base/queue.h"
#include "tests/check.h"

static int marks[64];

TEST(queue_is_first_in_first_out_and_bounded) {
    struct queue *q = queue_new(3);
    void *p = NULL;
    CHECK_EQ(queue_pop(q, 0, &p), E_TIMEOUT);
    for (int round = 0; round < 5; round++) { /* around the ring */
        for (int i = 0; i < 3; i++)
            CHECK_EQ(queue_push(q, &marks[i]), 0);
        CHECK_EQ(queue_push(q, &marks[9]), E_BUSY);
        CHECK_EQ(queue_len(q), 3);
        for (int i = 0; i < 3; i++) {
            CHECK_EQ(queue_pop(q, UINT64_MAX, &p), 0);
            CHECK(p == &marks[i]);
            if (i == 0 && round % 2) {
                CHECK_EQ(queue_push(q, &marks[3]), 0);
                CHECK_EQ(queue_push(q, &marks[3]), E_BUSY);
            }
        }
        if (round % 2) {
            CHECK_EQ(queue_pop(q, 0, &p), 0);
            CHECK(p == &marks[3]);
        }
    }
    queue_free(q);
    queue_free(NULL);
}

TEST(queue_pop_waits_as_long_as_asked) {
    struct queue *q = queue_new(1);
    void *p;
    uint64_t t0 = clock_ns();
    CHECK_EQ(queue_pop(q, 30000000, &p), E_TIMEOUT);
    uint64_t waited = clock_ns() - t0;
    CHECK(waited >= 30000000);
    CHECK(waited < 60000000000u);
    queue_free(q);
}

TEST(queue_closed_gives_what_is_inside_then_says_so) {
    struct queue *q = queue_new(4);
    void *p = NULL;
    queue_push(q, &marks[1]);
    queue_close(q);
    queue_close(q);
    CHECK_EQ(queue_push(q, &marks[2]), E_CANCELLED);
    CHECK_EQ(queue_pop(q, UINT64_MAX, &p), 0);
    CHECK(p == &marks[1]);
    CHECK_EQ(queue_pop(q, UINT64_MAX, &p), E_CANCELLED);
    queue_free(q);
}

/* Pops for ever; the codes it saw, as 1 = item, 2 = timeout, 3 = cancelled (ends). */
struct popper {
    struct queue *q;
    atomic_int seen[4];
    pthread_t thread;
};

static void *pop_till_closed(void *ud) {
    struct popper *w = ud;
    for (;;) {
        void *p;
        int rc = queue_pop(w->q, UINT64_MAX, &p);
        w->seen[rc == 0 ? 1 : rc == E_TIMEOUT ? 2 : 3]++;
        if (rc == E_CANCELLED) return NULL;
    }
}

TEST(queue_poke_and_close_wake_a_sleeper) {
    struct popper w = {.q = queue_new(4)};
    CHECK(pthread_create(&w.thread, NULL, pop_till_closed, &w) == 0);
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    queue_poke(w.q);
    for (int i = 0; i < 60000 && !atomic_load(&w.seen[2]); i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    queue_close(w.q);
    pthread_join(w.thread, NULL);
    CHECK_EQ(w.seen[1], 0);
    CHECK_EQ(w.seen[2], 1);
    CHECK_EQ(w.seen[3], 1);
    queue_free(w.q);
}

TEST(queue_poke_before_the_pop_is_not_lost) {
    struct queue *q = queue_new(1);
    void *p;
    queue_poke(q);
    CHECK_EQ(queue_pop(q, UINT64_MAX, &p), E_TIMEOUT); /* would hang otherwise */
    queue_poke(q);
    queue_push(q, &marks[0]);
    CHECK_EQ(queue_pop(q, 0, &p), 0); /* an item is never held back by a poke */
    queue_free(q);
}

enum { PRODUCERS = 4, EACH = 20000 };
struct producer {
    struct queue *q;
    char (*items)[EACH];
    pthread_t thread;
};

static void *produce(void *ud) {
    struct producer *p = ud;
    for (int i = 0; i < EACH; i++) {
        while (queue_push(p->q, &(*p->items)[i]) == E_BUSY)
            sched_yield();
    }
    return NULL;
}

TEST(queue_four_producers_lose_nothing_and_keep_each_ones_order) {
    static char items[PRODUCERS][EACH];
    struct queue *q = queue_new(64);
    struct producer p[PRODUCERS];
    for (int i = 0; i < PRODUCERS; i++) {
        p[i] = (struct producer){.q = q, .items = &items[i]};
        CHECK(pthread_create(&p[i].thread, NULL, produce, &p[i]) == 0);
    }
    int next[PRODUCERS] = {0};
    for (int n = 0; n < PRODUCERS * EACH; n++) {
        void *item;
        CHECK(queue_pop(q, UINT64_MAX, &item) == 0);
        long at = (char *)item - &items[0][0];
        CHECK(at >= 0 && at < PRODUCERS * EACH);
        CHECK(at % EACH == next[at / EACH]++);
    }
    for (int i = 0; i < PRODUCERS; i++)
        pthread_join(p[i].thread, NULL);
    CHECK_EQ(queue_len(q), 0);
    queue_free(q);
}
