/* boot.c - see boot.h. Resample b draws cluster number rng_u64(BOOT_SEED, b * clusters + i) modulo
 * clusters as its i-th, so the same items give the same figures, whatever their order was. */
#include "cli/gate/boot.h"

#include <stdlib.h>

#include "kernels/base/err.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"

enum { HOLM_MAX = 64 };

struct boot_sums {
    double num[2], den[2];
};

static int by_cluster(const void *a, const void *b) {
    uint64_t x = ((const struct boot_item *)a)->cluster, y = ((const struct boot_item *)b)->cluster;
    return (x > y) - (x < y);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void sums_add(struct boot_sums *to, const double num[2], const double den[2]) {
    for (int k = 0; k < 2; k++) {
        to->num[k] += num[k];
        to->den[k] += den[k];
    }
}

static double boot_figure(const struct boot_sums *s, int k, double scale) {
    return s->den[k] > 0 ? scale * s->num[k] / s->den[k] : 0;
}

/* Items -> sums of each cluster; returns how many there are. */
static uint32_t group(struct boot_item *items, uint32_t n, struct boot_sums *to) {
    uint32_t clusters = 0;
    if (n) qsort(items, n, sizeof(*items), by_cluster);
    for (uint32_t i = 0; i < n; i++) {
        clusters += i == 0 || items[i].cluster != items[i - 1].cluster;
        sums_add(&to[clusters - 1], items[i].num, items[i].den);
    }
    return clusters;
}

static double resample(const struct boot_sums *of, uint32_t clusters, uint64_t b, double scale) {
    struct boot_sums s = {{0}, {0}};
    for (uint32_t i = 0; i < clusters; i++) {
        const struct boot_sums *c = &of[rng_u64(BOOT_SEED, b * clusters + i) % clusters];
        sums_add(&s, c->num, c->den);
    }
    return boot_figure(&s, 1, scale) - boot_figure(&s, 0, scale);
}

/* Between the two nearest of n sorted values. */
static double quantile(const double *v, int n, double q) {
    double at = q * (n - 1);
    int i = (int)at;
    return i + 1 < n ? v[i] + (at - i) * (v[i + 1] - v[i]) : v[n - 1];
}

void boot_compare(struct boot_item *items, uint32_t n, const struct boot_how *how,
                  struct boot_result *out) {
    struct boot_sums *sums = mem_must((n + 1) * sizeof(*sums)), all = {{0}, {0}};
    double *diff = mem_must(BOOT_RESAMPLES * sizeof(*diff));
    uint32_t not_worse = 0, not_better = 0, clusters = group(items, n, sums);
    for (uint32_t c = 0; c < clusters; c++)
        sums_add(&all, sums[c].num, sums[c].den);
    for (int b = 0; b < BOOT_RESAMPLES; b++) {
        diff[b] = clusters ? resample(sums, clusters, (uint64_t)b, how->scale) : 0;
        double gain = how->higher_is_better ? diff[b] : -diff[b];
        not_worse += gain >= -how->tolerance;
        not_better += gain <= 0;
    }
    qsort(diff, BOOT_RESAMPLES, sizeof(*diff), by_value);
    *out = (struct boot_result){.n = n,
                                .clusters = clusters,
                                .before = boot_figure(&all, 0, how->scale),
                                .after = boot_figure(&all, 1, how->scale),
                                .low = quantile(diff, BOOT_RESAMPLES, 0.025),
                                .high = quantile(diff, BOOT_RESAMPLES, 0.975),
                                .p_worse = (not_worse + 1.0) / (BOOT_RESAMPLES + 1.0),
                                .p_better = (not_better + 1.0) / (BOOT_RESAMPLES + 1.0)};
    out->difference = out->after - out->before;
    mem_free(diff);
    mem_free(sums);
}

void boot_holm(const double *p, int n, double alpha, int *holds) {
    must(n <= HOLM_MAX);
    for (int i = 0; i < n; i++)
        holds[i] = 0;
    for (int left = n; left > 0; left--) {
        int least = -1;
        for (int i = 0; i < n; i++)
            if (!holds[i] && (least < 0 || p[i] < p[least])) least = i;
        if (p[least] > alpha / left) return;
        holds[least] = 1;
    }
}
