/* A call between threads: the step thread answers, a reader reads, somebody cancels. For TSan most
 * of all; without it, that nothing is lost, told twice, or left behind. */
#include <pthread.h>
#include <unistd.h>

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
