/* estimate.c - see estimate.h. Pure functions. */
#include "engine/answer/estimate.h"

#include <math.h>
#include <stdlib.h>

#include "engine/engine.h"

const char *const eng_estimate_words[] = {
    [ENG_MODE] = "mode", [ENG_MEDIAN] = "median", [ENG_MEAN] = "mean", NULL};

int estimate_mode(const double *p) {
    int best = 0;
    for (int v = 1; v < ESTIMATE_LEVELS; v++)
        if (p[v] > p[best]) best = v;
    return best;
}

int estimate_median(const double *p) {
    double sum = 0, below = 0;
    for (int v = 0; v < ESTIMATE_LEVELS; v++)
        sum += p[v];
    for (int v = 0; v < ESTIMATE_LEVELS; v++) {
        below += p[v];
        if (below >= 0.5 * sum) return v;
    }
    return ESTIMATE_LEVELS - 1;
}

int estimate_mean(const double *p) {
    double sum = 0, mean = 0;
    for (int v = 0; v < ESTIMATE_LEVELS; v++) {
        sum += p[v];
        mean += v * p[v];
    }
    int v = (int)floor(mean / sum + 0.5);
    return v < 0 ? 0 : v >= ESTIMATE_LEVELS ? ESTIMATE_LEVELS - 1 : v;
}

double estimate_entropy(const double *p) {
    double h = 0;
    for (int v = 0; v < ESTIMATE_LEVELS; v++)
        if (p[v] > 0) h -= p[v] * log2(p[v]);
    return h > 0 ? h : 0;
}

double estimate_mean_abs(const double *p, int level) {
    double d = 0;
    for (int v = 0; v < ESTIMATE_LEVELS; v++)
        d += p[v] * abs(v - level);
    return d;
}
