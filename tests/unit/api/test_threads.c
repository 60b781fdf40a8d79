/* A call between threads: the step thread answers, a reader reads, somebody cancels. For TSan most
 * of all; without it, that nothing is lost, told twice, or left behind. */
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "kernels/base/mem.h"
#include "tests/unit/api/rig.h"

enum { G = 32 };

static void *turn_crank(void *ud) {
    struct rig *r = ud;
    while (!fake_answer(r->eng, 16))
        usleep(50);
    return NULL;
}

static void *cancel_soon(void *ud) {
    usleep(1000);
    api_call_cancel(((struct rig *)ud)->call);
    return NULL;
}

static void begin_stream(struct rig *r, const struct buf *png) {
    rig_begin(r, &(struct rig_request){.path = "/v1/reconstruct",
                                       .query = "uncertainty=true",
                                       .type = "image/png",
                                       .accept = "text/event-stream",
                                       .body = png->p,
                                       .len = png->len});
    CHECK_EQ(r->step, API_STREAM);
}

static long read_to_the_end(struct rig *r) {
    char piece[1000];
    for (;;) {
        long got = api_call_read(r->call, piece, sizeof(piece));
        if (got < 0) return got;
        if (got == 0) usleep(20);
    }
}

TEST(threads_answer_and_read) {
    struct rig r;
    struct buf png;
    rig_open(&r, G);
    rig_png(&png, G, G);
    for (int i = 0; i < 5; i++) {
        begin_stream(&r, &png);
        pthread_t engine;
        CHECK_EQ(pthread_create(&engine, NULL, turn_crank, &r), 0);
        CHECK_EQ(read_to_the_end(&r), API_END);
        pthread_join(engine, NULL);
        CHECK_HAS(api_call_summary(r.call), "answers=1024");
    }
    buf_clear(&png);
    rig_close(&r);
}

TEST(threads_cancel_while_answering) {
    struct rig r;
    struct buf png;
    rig_open(&r, G);
    rig_png(&png, G, G);
    for (int i = 0; i < 5; i++) {
        begin_stream(&r, &png);
        pthread_t engine, leaver;
        CHECK_EQ(pthread_create(&engine, NULL, turn_crank, &r), 0);
        CHECK_EQ(pthread_create(&leaver, NULL, cancel_soon, &r), 0);
        long end = read_to_the_end(&r);
        CHECK(end == API_BROKEN || end == API_END);
        pthread_join(leaver, NULL);
        api_call_free(r.call); /* while the engine may be about to wake it */
        r.call = NULL;
        pthread_join(engine, NULL);
    }
    buf_clear(&png);
    rig_close(&r);
}

/* ---- a call of many jobs ---- */

struct crank {
    struct eng *eng;
    atomic_int is_over;
};

static void *answer_all(void *ud) {
    struct crank *c = ud;
    while (!atomic_load(&c->is_over)) {
        fake_answer_all(c->eng);
        usleep(30);
    }
    return NULL;
}

static void *cancel_at_once(void *ud) {
    usleep(300);
    api_call_cancel(((struct rig *)ud)->call);
    return NULL;
}

/* Wakes of many jobs, answers and a cancel, all while a worker steps. */
TEST(threads_many_jobs_of_one_call) {
    static char text[20000];
    struct rig r;
    rig_open(&r, G);
    fake_values(r.eng, 10, 10, 40, 40);
    char *url = rig_data_url(G, G);
    int n = snprintf(text, sizeof(text), "{\"image\":\"%s\",\"sentences\":[\"0\"", url);
    for (int i = 1; i < 40; i++)
        n += snprintf(text + n, sizeof(text) - (size_t)n, ",\"%d\"", i);
    n += snprintf(text + n, sizeof(text) - (size_t)n, "]}");
    struct rig_request q = {
        .path = "/v1/segment", .type = "application/json", .body = text, .len = (size_t)n};
    for (int i = 0; i < 12; i++) {
        struct crank crank = {.eng = r.eng};
        pthread_t engine, leaver;
        rig_begin(&r, &q);
        CHECK_EQ(pthread_create(&engine, NULL, answer_all, &crank), 0);
        if (i % 2) CHECK_EQ(pthread_create(&leaver, NULL, cancel_at_once, &r), 0);
        while (r.step == API_WAIT) {
            while (!atomic_exchange(&r.wakes, 0) && !(i % 2))
                usleep(10);
            rig_step(&r);
        }
        CHECK(r.reply->status == 200 || (i % 2 && r.reply->status == 499));
        if (i % 2) pthread_join(leaver, NULL);
        api_call_free(r.call);
        r.call = NULL;
        atomic_store(&crank.is_over, 1);
        pthread_join(engine, NULL);
    }
    mem_free(url);
    rig_close(&r);
}
