/* head.c - from logits to a choice: softmax over the columns of a row's list, and the best of them.
 *
 *     probs[j] = exp(l_j - max) / sum_j exp(l_j - max);  best = the lowest j with l_j = max
 */
#include <math.h>

#include "kernels/ref/ref.h"

static void head_pick_row(const float *logits, const int32_t *cols, int n, float *probs,
                          int32_t *best) {
    int top = 0;
    for (int j = 1; j < n; j++) {
        if (logits[cols[j]] > logits[cols[top]]) top = j;
    }
    double max = (double)logits[cols[top]], sum = 0;
    for (int j = 0; j < n; j++)
        sum += exp((double)logits[cols[j]] - max);
    for (int j = 0; j < n; j++)
        probs[j] = (float)(exp((double)logits[cols[j]] - max) / sum);
    *best = top;
}

void ref_pick(struct kern *k, const struct kern_pick *a) {
    const int32_t *set = ref_i32(a->set), *off = ref_i32(a->col_off), *cols = ref_i32(a->cols);
    for (int i = 0; i < a->rows; i++) {
        int n = off[set[i] + 1] - off[set[i]];
        must(n > 0 && n <= a->ldp);
        head_pick_row(ref_f32(a->logits) + (size_t)i * (size_t)a->ld, cols + off[set[i]], n,
                      ref_f32(a->probs) + (size_t)i * (size_t)a->ldp,
                      (int32_t *)(void *)a->best.addr + i);
    }
    ref_count(k, 0);
}
