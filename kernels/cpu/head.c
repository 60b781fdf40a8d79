/* head.c - softmax over the allowed columns, and the likeliest of them. */
#include <math.h>

#include "kernels/cpu/cpu_kern.h"

struct pick_job {
    struct kern *k;
    const struct kern_pick *a;
    int padded; /* floats of scratch a row needs */
    int chunk;
};

static void head_pick_row(const struct kern *k, const struct kern_pick *a, size_t r, float *x) {
    int32_t set = cpu_i32(a->set)[r], from = cpu_i32(a->col_off)[set];
    int n = cpu_i32(a->col_off)[set + 1] - from, best = 0;
    const int32_t *cols = cpu_i32(a->cols) + from;
    const float *logits = cpu_f32(a->logits) + r * (size_t)a->ld;
    for (int i = 0; i < n; i++) {
        x[i] = logits[cols[i]];
        if (x[i] > x[best]) best = i;
    }
    int padded = (n + CPU_PAD - 1) / CPU_PAD * CPU_PAD;
    for (int i = n; i < padded; i++)
        x[i] = -INFINITY;
    float sum = k->isa->exp_sum(padded, x), *probs = cpu_f32(a->probs) + r * (size_t)a->ldp;
    for (int i = 0; i < n; i++)
        probs[i] = x[i] / sum;
    ((int32_t *)(void *)a->best.addr)[r] = best;
}

static void pick_task(void *ctx, int task, int thread) {
    const struct pick_job *j = ctx;
    int row0 = task * j->chunk, row1 = row0 + j->chunk;
    if (row1 > j->a->rows) row1 = j->a->rows;
    for (int r = row0; r < row1; r++)
        head_pick_row(j->k, j->a, (size_t)r, j->k->private[thread].p);
}

void cpu_pick(struct kern *k, const struct kern_pick *a) {
    int padded = (a->ldp + CPU_PAD - 1) / CPU_PAD * CPU_PAD;
    for (int i = 0; i < pool_threads(k->pool); i++)
        cpu_scratch(k, &k->private[i], (size_t)padded);
    struct pick_job j = {k, a, padded, 16384 / (padded + 64) + 1};
    cpu_count(k, 0);
    pool_run(k->pool, (a->rows + j.chunk - 1) / j.chunk, pick_task, &j);
}
