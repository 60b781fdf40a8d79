/* What is counted falls into its row, its status and its bucket. */
#include "api/store/counters.h"

#include "tests/check.h"

TEST(counters_statuses_and_bounds_ascend) {
    for (int i = 1; i + 1 < COUNTERS_STATUSES; i++)
        CHECK(counters_status[i] > counters_status[i - 1]);
    CHECK_EQ(counters_status[COUNTERS_STATUSES - 1], 0);
    for (int i = 1; i < COUNTERS_BOUNDS; i++)
        CHECK(counters_bound_s[i] > counters_bound_s[i - 1]);
}

TEST(counters_requests) {
    struct counters *c = counters_new();
    counters_request(c, 3, 200, 1000000);               /* 1 ms: at the bound, so within it */
    counters_request(c, 3, 200, 1000001);               /* beyond it */
    counters_request(c, 3, 418, 1);                     /* no status of its own */
    counters_request(c, COUNTERS_ROUTES, 404, 1 << 30); /* matched no route */
    CHECK_EQ(c->requests[3][0], 2);
    CHECK_EQ(c->requests[3][COUNTERS_STATUSES - 1], 1);
    CHECK_EQ(c->durations[3].buckets[0], 2);
    CHECK_EQ(c->durations[3].buckets[1], 1);
    CHECK_EQ(c->durations[3].sum_ns, 2000002);
    CHECK_EQ(c->durations[COUNTERS_ROUTES].sum_ns, 1 << 30);
    counters_request(c, 0, 500, 3600 * 1000000000ull); /* beyond all bounds */
    CHECK_EQ(c->durations[0].buckets[COUNTERS_BOUNDS], 1);
    counters_free(c);
}

TEST(counters_decodes) {
    struct counters *c = counters_new();
    counters_decode(c, 2000000, 0);
    counters_decode(c, 7000000, 1);
    CHECK_EQ(c->images_refused, 1);
    CHECK_EQ(c->decode.sum_ns, 9000000);
    CHECK(c->decode.buckets[1] == 1 && c->decode.buckets[2] == 1);
    counters_free(c);
}
