/* test_boot.c - the paired bootstrap and Holm's way, on cases whose answer is known: figures by
 * hand, an interval by theory, and how often luck is called worse. tests/eval/run.py works the
 * resamples out again. */
#include "cli/gate/boot.h"

#include <math.h>

#include "kernels/base/rng.h"
#include "tests/check.h"

enum { N = 200 };
static const struct boot_how shares = {100, 1, 1}, levels = {1, 0, 0.5};

/* Item i was right by the first model with a chance of p, by the second with q, in pairs of items
 * that share a cluster where `pairs` says so. */
static void coins(struct boot_item *to, uint64_t seed, double p, double q, int pairs) {
    for (uint64_t i = 0; i < N; i++)
        to[i] = (struct boot_item){
            .cluster = pairs ? i / 2 : i,
            .num = {(double)rng_uniform(seed, 2 * i) < p, (double)rng_uniform(seed, 2 * i + 1) < q},
            .den = {1, 1}};
}

TEST(gate_boot_by_hand) {
    struct boot_item items[] = {{3, {1, 0}, {2, 2}}, {1, {1, 2}, {2, 2}}, {3, {0, 1}, {4, 1}}};
    struct boot_result r;
    boot_compare(items, 3, &shares, &r);
    CHECK(r.n == 3 && r.clusters == 2);
    CHECK_NEAR(r.before, 100 * 2.0 / 8, 1e-12); /* sums by sums, not the mean of shares */
    CHECK_NEAR(r.after, 100 * 3.0 / 5, 1e-12);
    CHECK_NEAR(r.difference, 35, 1e-12);
    /* Two clusters: a resample has one of them twice, or both. */
    CHECK_NEAR(r.low, 100 * (1.0 / 3 - 1.0 / 6), 1e-9);
    CHECK_NEAR(r.high, 100 * (1 - 0.5), 1e-9);
}

TEST(gate_boot_of_nothing) {
    struct boot_result r;
    struct boot_item empty = {0, {0, 0}, {0, 0}};
    boot_compare(NULL, 0, &shares, &r);
    CHECK(r.n == 0 && r.clusters == 0 && r.low == 0 && r.high == 0);
    CHECK_NEAR(r.p_worse, 1, 0);
    CHECK_NEAR(r.p_better, 1, 0);
    boot_compare(&empty, 1, &shares, &r); /* masks of things that aren't there, and none was seen */
    CHECK(r.before == 0 && r.after == 0 && r.difference == 0);
}

TEST(gate_boot_same_is_no_evidence) {
    struct boot_item items[N];
    struct boot_result r;
    coins(items, 1, 0.4, 0.4, 0);
    for (int i = 0; i < N; i++)
        items[i].num[1] = items[i].num[0];
    boot_compare(items, N, &shares, &r);
    CHECK(r.low == 0 && r.high == 0);
    CHECK_NEAR(r.p_worse, 1, 0);
    CHECK_NEAR(r.p_better, 1, 0);
}

/* A mean's interval is that of the normal distribution, nearly. */
TEST(gate_boot_interval_of_a_mean) {
    struct boot_item items[N];
    struct boot_result r;
    double sum = 0, squares = 0;
    for (uint64_t i = 0; i < N; i++) {
        double d = 3 + (double)rng_normal(9, i);
        items[i] = (struct boot_item){i, {5, 5 + d}, {1, 1}};
        sum += d;
        squares += d * d;
    }
    double mean = sum / N, error = sqrt((squares / N - mean * mean) / N);
    boot_compare(items, N, &levels, &r);
    CHECK_NEAR(r.difference, mean, 1e-9);
    CHECK_NEAR(r.low, mean - 1.96 * error, 0.15 * error);
    CHECK_NEAR(r.high, mean + 1.96 * error, 0.15 * error);
    CHECK_NEAR(r.p_worse, 1.0 / (BOOT_RESAMPLES + 1), 1e-12); /* levels: more is worse */
}

TEST(gate_boot_tolerance) {
    struct boot_item items[N];
    struct boot_result r;
    for (uint64_t i = 0; i < N; i++) /* worse by 0.4 levels, always: less than what is let pass */
        items[i] = (struct boot_item){i, {1, 1.4}, {1, 1}};
    boot_compare(items, N, &levels, &r);
    CHECK_NEAR(r.low, 0.4, 1e-9);
    CHECK_NEAR(r.p_worse, 1, 0);
    for (uint64_t i = 0; i < N; i++)
        items[i].num[1] = 1.6;
    boot_compare(items, N, &levels, &r);
    CHECK(r.p_worse < 0.001);
}

/* Questions about one picture that are answered alike are one question. */
TEST(gate_boot_clusters_are_wider) {
    struct boot_item one[N], two[N];
    struct boot_result a, b;
    coins(one, 4, 0.3, 0.5, 0);
    for (int i = 0; i < N; i++) {
        two[i] = one[i / 2];
        two[i].cluster = (uint64_t)(i / 2);
    }
    boot_compare(one, N / 2, &shares, &a);
    boot_compare(two, N, &shares, &b);
    CHECK_NEAR(b.high - b.low, a.high - a.low, 1e-9);
}

/* Two models that are alike: one in forty is called worse, and one in forty better. */
TEST_LIMIT(gate_boot_is_seldom_wrong, 120) {
    int runs = test_count(120, 1000), worse = 0, better = 0;
    const struct boot_how how = {100, 1, 0};
    for (int k = 0; k < runs; k++) {
        struct boot_item items[N];
        struct boot_result r;
        coins(items, test_seed() + (uint64_t)k, 0.4, 0.4, k % 2);
        boot_compare(items, N, &how, &r);
        worse += r.p_worse <= 0.025;
        better += r.p_better <= 0.025;
    }
    CHECK(worse <= 3 + runs / 15);
    CHECK(better <= 3 + runs / 15);
}

TEST(gate_holm) {
    int holds[4];
    boot_holm((double[]){0.01, 0.04, 0.03, 0.005}, 4, 0.05, holds); /* Holm's own kind of case */
    CHECK(holds[0] && !holds[1] && !holds[2] && holds[3]);
    boot_holm((double[]){0.02, 0.5}, 2, 0.025, holds); /* a half of it is 0.0125 */
    CHECK(!holds[0] && !holds[1]);
    boot_holm((double[]){0.01, 0.02}, 2, 0.025, holds); /* the second has all that is left */
    CHECK(holds[0] && holds[1]);
    boot_holm(NULL, 0, 0.025, holds);
}
