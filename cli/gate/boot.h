/* boot.h - is one model better than another, or was it luck? The paired bootstrap, and Holm's way
 * with several questions at once. Pure functions over plain values.
 *
 * An item is a question that both models were asked. A figure is a ratio of sums over items, so
 * that a mean (den is 1) and cIoU (intersections over unions) are the same to it. Items of one
 * cluster, such as the questions about one picture, are no separate evidence: what is drawn again,
 * with replacement, is clusters, each with all its items, of both models at once (Efron 1979;
 * Davison and Hinkley, "Bootstrap Methods and their Application", 1997, for the percentile
 * interval). */
#ifndef CLI_GATE_BOOT_H
#define CLI_GATE_BOOT_H

#include <stdint.h>

enum { BOOT_RESAMPLES = 4000, BOOT_SEED = 18 };

struct boot_item {
    uint64_t cluster;
    double num[2], den[2]; /* before, after */
};
struct boot_result {
    uint32_t n, clusters;
    double before, after, difference; /* scale * sum of num / sum of den; after - before */
    double low, high;                 /* of the difference: the middle 95 % of the resamples */
    double p_worse, p_better;         /* one-sided: how often resamples are no worse than
                                         `tolerance` allows; how often they are no better than
                                         before. At least 1 / (BOOT_RESAMPLES + 1) */
};
struct boot_how {
    double scale;
    int higher_is_better;
    double tolerance; /* in the figure's unit: so much worse is not called worse */
};
/* Sorts the items by cluster. n may be 0: then everything is 0 and the p are 1. A figure without a
 * denominator is 0. */
void boot_compare(struct boot_item *items, uint32_t n, const struct boot_how *how,
                  struct boot_result *out);

/* Holm (1979): which of n claims hold so that with a chance of 1 - alpha not one of them is wrong.
 * holds[i] is set to 0 or 1. n is at most 64. */
void boot_holm(const double *p, int n, double alpha, int *holds);

#endif
