/* merge.c - see merge.h. */
#include "engine/files/merge.h"

#include <string.h>

/* Columns from .. from+n-1 of a row. */
static void merge_add_row(const struct merge *m, size_t row, size_t from, float *x, size_t n) {
    float *restrict delta = m->delta;
    memset(delta, 0, n * sizeof *delta);
    for (size_t j = 0; j < m->r; j++) {
        const float *a = m->a + j * m->width + from, b = m->b[row * m->r + j];
        for (size_t k = 0; k < n; k++)
            delta[k] += b * a[k];
    }
    for (size_t k = 0; k < n; k++)
        x[k] += m->scale * delta[k];
}

void merge_add(const struct merge *m, size_t at, float *x, size_t n) {
    while (n) {
        size_t from = at % m->width, here = m->width - from < n ? m->width - from : n;
        merge_add_row(m, at / m->width, from, x, here);
        at += here;
        x += here;
        n -= here;
    }
}
