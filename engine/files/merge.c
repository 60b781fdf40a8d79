/* merge.c - see merge.h.
 *
 * MERGE_COLUMNS columns of all rows that are wanted, then the next ones: those columns of A are
 * packed once, and the sums of one row stay in registers over all j.
 */
#include "engine/files/merge.h"

#include <string.h>

#include "kernels/base/avx2.h"

enum { LANES = 8, GROUPS = MERGE_COLUMNS / LANES };

typedef float lanes __attribute__((vector_size(4 * LANES)));

/* sum (MERGE_COLUMNS) = the row b (r) times the panel (r, MERGE_COLUMNS). */
TWICE void merge_sum(const float *b, const float *panel, size_t r, float *sum) {
    lanes s[GROUPS] = {0}, a;
    for (size_t j = 0; j < r; j++, panel += MERGE_COLUMNS)
        for (int g = 0; g < GROUPS; g++) {
            memcpy(&a, panel + g * LANES, sizeof a);
            s[g] += b[j] * a;
        }
    memcpy(sum, s, sizeof s);
}

/* Columns from .. from+MERGE_COLUMNS-1 of A, noughts behind its last one. */
static void merge_pack(const struct merge *m, size_t from) {
    size_t here = m->width - from < MERGE_COLUMNS ? m->width - from : MERGE_COLUMNS;
    for (size_t j = 0; j < m->r; j++) {
        float *to = m->panel + j * MERGE_COLUMNS;
        memcpy(to, m->a + j * m->width + from, here * sizeof *to);
        memset(to + here, 0, (MERGE_COLUMNS - here) * sizeof *to);
    }
}

/* The packed columns, from `column` on, of the numbers at .. end-1, of which x has the first. */
TWICE void merge_columns(const struct merge *m, size_t column, size_t at, size_t end, float *x) {
    float sum[MERGE_COLUMNS];
    for (size_t row = at / m->width; row * m->width < end; row++) {
        size_t first = row * m->width + column, last = first + MERGE_COLUMNS;
        size_t next = (row + 1) * m->width;
        if (last > next) last = next;
        if (last > end) last = end;
        size_t k = first < at ? at : first;
        if (k >= last) continue;
        merge_sum(m->b + row * m->r, m->panel, m->r, sum);
        for (; k < last; k++)
            x[k - at] += m->scale * sum[k - first];
    }
}

AVX2 static void columns_avx2(const struct merge *m, size_t column, size_t at, size_t end,
                              float *x) {
    merge_columns(m, column, at, end, x);
}

void merge_add(const struct merge *m, size_t at, float *x, size_t n) {
    int has_avx2 = HAS_AVX2;
    for (size_t column = 0; column < m->width; column += MERGE_COLUMNS) {
        merge_pack(m, column);
        if (has_avx2)
            columns_avx2(m, column, at, at + n, x);
        else
            merge_columns(m, column, at, at + n, x);
    }
}
