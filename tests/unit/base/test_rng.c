/* test_rng.c - pure functions of seed and number, with the moments they promise. */
#include <math.h>

#include "kernels/base/rng.h"
#include "tests/check.h"

TEST(rng_is_a_pure_function_of_seed_and_number) {
    /* Written down once; a change would change everything that was ever made from a seed. */
    CHECK_EQ(rng_u64(0, 0), INT64_C(-2152535657050944081));
    CHECK_EQ(rng_u64(1, 0), INT64_C(-7995527694508729151));
    CHECK_EQ(rng_u64(1, UINT64_MAX), INT64_C(6238072747940578789));
    uint64_t late_first = rng_u64(7, 1000);
    for (uint64_t i = 0; i < 1000; i++)
        CHECK(rng_u64(7, i) != late_first);
    CHECK_EQ(rng_u64(7, 1000), late_first);
}

TEST(rng_uniform_stays_in_its_interval_and_fills_it) {
    double sum = 0;
    int bins[16] = {0};
    enum { N = 160000 };
    for (uint64_t i = 0; i < N; i++) {
        float u = rng_uniform(test_seed(), i);
        CHECK(u >= 0 && u < 1);
        sum += (double)u;
        bins[(int)(u * 16)]++;
    }
    CHECK_NEAR(sum / N, 0.5, 0.005);
    for (int b = 0; b < 16; b++)
        CHECK_NEAR(bins[b], N / 16, 500); /* five sigma */
}

TEST(rng_normal_has_mean_zero_and_variance_one) {
    double sum = 0, square = 0;
    int beyond = 0;
    enum { N = 160000 };
    for (uint64_t i = 0; i < N; i++) {
        double x = (double)rng_normal(test_seed(), i);
        CHECK(isfinite(x));
        sum += x;
        square += x * x;
        beyond += fabs(x) > 2;
    }
    CHECK_NEAR(sum / N, 0, 0.0125);
    CHECK_NEAR(square / N, 1, 0.018);
    CHECK_NEAR(beyond / (double)N, 0.0455, 0.0026);
}
