/* test_estimate.c - median, mean, entropy and distance on distributions worked out by hand. */
#include "engine/answer/estimate.h"
#include "kernels/base/rng.h"
#include "tests/check.h"

TEST(estimate_of_a_certain_level) {
    static const int levels[] = {0, 1, 127, 254, 255};
    for (int i = 0; i < 5; i++) {
        double p[ESTIMATE_LEVELS] = {0};
        p[levels[i]] = 1;
        CHECK_EQ(estimate_median(p), levels[i]);
        CHECK_EQ(estimate_mean(p), levels[i]);
        CHECK_NEAR(estimate_entropy(p), 0, 0);
        CHECK_NEAR(estimate_mean_abs(p, levels[i]), 0, 0);
    }
}

TEST(estimate_of_two_humps) {
    double p[ESTIMATE_LEVELS] = {0};
    p[10] = 0.375;
    p[20] = 0.25;
    p[200] = 0.375;
    CHECK_EQ(estimate_median(p), 20);
    CHECK_EQ(estimate_mean(p), 84); /* 83.75 */
    CHECK_NEAR(estimate_entropy(p), 2 * 0.375 * log2(1 / 0.375) + 0.5, 1e-12);
    CHECK_NEAR(estimate_mean_abs(p, 20), 3.75 + 67.5, 1e-12);
}

TEST(estimate_of_even_chances) {
    double p[ESTIMATE_LEVELS];
    for (int v = 0; v < ESTIMATE_LEVELS; v++)
        p[v] = 1.0 / ESTIMATE_LEVELS;
    CHECK_EQ(estimate_median(p), 127); /* exactly half lies at or below it */
    CHECK_EQ(estimate_mean(p), 128);   /* 127.5, halves up */
    CHECK_NEAR(estimate_entropy(p), 8, 1e-12);
}

/* Left-out branches make it sum to a little less; the median is that of what is there. */
TEST(estimate_need_not_sum_to_one) {
    double p[ESTIMATE_LEVELS] = {0};
    p[5] = 0.3;
    p[6] = 0.2;
    p[7] = 0.2;
    CHECK_EQ(estimate_median(p), 6);
    CHECK_EQ(estimate_mean(p), 6); /* 4.1 / 0.7 = 5.857 */
}

TEST(estimate_median_has_the_least_mean_error) {
    for (int trial = 0; trial < 200; trial++) {
        double p[ESTIMATE_LEVELS], sum = 0;
        for (int v = 0; v < ESTIMATE_LEVELS; v++)
            sum += p[v] = pow(rng_uniform(test_seed(), (uint64_t)(trial * 256 + v)), 8);
        for (int v = 0; v < ESTIMATE_LEVELS; v++)
            p[v] /= sum;
        double least = estimate_mean_abs(p, estimate_median(p));
        for (int v = 0; v < ESTIMATE_LEVELS; v++)
            CHECK(least <= estimate_mean_abs(p, v) + 1e-9);
    }
}
