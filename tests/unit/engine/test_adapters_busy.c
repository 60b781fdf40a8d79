/* test_adapters_busy.c - adapters come and go while questions are answered: none fails, each is
 * answered by what it named, and in the end everything is free. For the sanitizers, too. */
#include <pthread.h>
#include <stdatomic.h>

#include "tests/unit/engine/adapter_rig.h"

enum { GOLDEN = 3, ASKERS = 3, POINTS = 24 };
static const char *const golden[GOLDEN] = {PEFT_GOLDEN "plain", PEFT_GOLDEN "rslora",
                                           PEFT_GOLDEN "pattern"};

struct busy {
    struct eng *e;
    struct eng_picture *picture;
    struct eng_answer want[GOLDEN + 1][ENG_RIG_ALL]; /* the last: the base's */
    pthread_mutex_t mutex;                           /* of `now` */
    struct eng_adapter *now[GOLDEN];
    atomic_int stop, asked[GOLDEN + 1];
};

static void ask(struct busy *b, struct eng_adapter *a, struct eng_answer *by_place) {
    struct eng_job *j;
    struct err err = {0};
    struct eng_ask one = {.pictures = &b->picture,
                          .n_pictures = 1,
                          .adapter = a,
                          .points = eng_rig_points(),
                          .n_points = POINTS,
                          .distribution = 1,
                          .urgency = ENG_PICTURE};
    if (eng_submit(b->e, &one, &j, &err)) test_failed(__FILE__, __LINE__, "%s", err.text);
    eng_adapter_put(a); /* the job has its own */
    memset(by_place, 0, ENG_RIG_ALL * sizeof by_place[0]);
    eng_rig_collect(j, eng_rig_points(), POINTS, by_place);
    eng_job_put(j);
}

static struct eng_adapter *present(struct busy *b, int i) {
    pthread_mutex_lock(&b->mutex);
    struct eng_adapter *a = i < GOLDEN && b->now[i] ? eng_adapter_get(b->now[i]) : NULL;
    pthread_mutex_unlock(&b->mutex);
    return a;
}

static void *asker(void *ud) {
    struct busy *b = ud;
    struct eng_answer *got = mem_must(ENG_RIG_ALL * sizeof got[0]);
    for (int i = 0; !atomic_load(&b->stop); i = (i + 1) % (GOLDEN + 1)) {
        struct eng_adapter *a = present(b, i);
        int which = a ? i : GOLDEN;
        ask(b, a, got);
        CHECK(eng_rig_same(got, b->want[which], ENG_RIG_ALL));
        atomic_fetch_add(&b->asked[which], 1);
    }
    mem_free(got);
    return NULL;
}

static void swap_in(struct busy *b, int i, struct eng_adapter *a) {
    pthread_mutex_lock(&b->mutex);
    struct eng_adapter *before = b->now[i];
    b->now[i] = a;
    pthread_mutex_unlock(&b->mutex);
    eng_adapter_put(before);
}

/* Loads, unloads, loads anew under the same number. E_BUSY: the last one's jobs still run. */
static void come_and_go(struct busy *b, int times) {
    for (int n = 0; n < times; n++) {
        int i = n % GOLDEN, rc;
        struct eng_adapter *a;
        struct err err = {0};
        if (n % 5 == 4) swap_in(b, i, NULL);
        while ((rc = eng_adapter_load(b->e, golden[i], NULL, NULL, &a, &err)) == E_BUSY)
            err = (struct err){0};
        if (rc) test_failed(__FILE__, __LINE__, "%s", err.text);
        adapter_rig_wait(a);
        swap_in(b, i, a);
        for (int k = 0; k < 1 << 10 && atomic_load(&b->asked[i]) <= n; k++)
            usleep(100);
    }
}

static void busy(const char *device, int times) {
    struct busy *b = mem_must(sizeof *b);
    struct eng_options o = {
        .model = TINY, .device = device, .threads = 2, .adapters = GOLDEN + 1, .adapter_rank = 4};
    pthread_t thread[ASKERS];
    struct eng_stats s;
    b->e = eng_rig_open(&o);
    b->picture = eng_rig_picture(b->e, 1);
    pthread_mutex_init(&b->mutex, NULL);
    for (int i = 0; i <= GOLDEN; i++)
        ask(b, i < GOLDEN ? adapter_rig_load(b->e, golden[i]) : NULL, b->want[i]);
    for (int i = 0; i < ASKERS; i++)
        CHECK_EQ(pthread_create(&thread[i], NULL, asker, b), 0);
    come_and_go(b, times);
    atomic_store(&b->stop, 1);
    for (int i = 0; i < ASKERS; i++)
        pthread_join(thread[i], NULL);
    for (int i = 0; i < GOLDEN; i++) {
        CHECK(b->asked[i] > 0);
        swap_in(b, i, NULL);
    }
    eng_rig_idle(b->e, &s);
    eng_stats(b->e, &s);
    CHECK_EQ(s.adapters, 0);
    CHECK_EQ(s.jobs_failed, 0);
    CHECK_EQ(s.allocations_in_step, 0);
    eng_picture_put(b->picture);
    eng_close(b->e);
    pthread_mutex_destroy(&b->mutex);
    mem_free(b);
}

TEST_LIMIT(adapters_come_and_go_under_load, 60) { busy(eng_rig_backend(), test_count(12, 200)); }

TEST_LIMIT(adapters_come_and_go_on_two_devices, 60) {
    char pair[32];
    (void)snprintf(pair, sizeof pair, "%s,%s", eng_rig_backend(), eng_rig_backend());
    busy(pair, test_count(12, 200));
}
