/* runs.c - see runs.h. */
#include "cli/runs.h"

#include <stdlib.h>

static int runs_by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void runs_add(struct runs *r, double v) {
    if (r->n < RUNS_MAX) r->at[r->n++] = v;
}

double runs_part(struct runs *r, double part) {
    if (!r->n) return 0;
    qsort(r->at, (size_t)r->n, sizeof(r->at[0]), runs_by_size);
    double at = part * (r->n - 1);
    int i = (int)at;
    return i + 1 < r->n ? r->at[i] + (at - i) * (r->at[i + 1] - r->at[i]) : r->at[i];
}
