/* gemm.c - the matrix product: y[i][n] = act(sum_k x[i][k] * w[n][k] + bias[n]).
 *
 * By an fp8 matrix x and w are q(x) and q(w) of kern.h, and the sum is multiplied by their scales.
 * Dot product and bias are summed in double, k ascending, and rounded once; with `accumulate` the
 * sum is added to y in float. GELU is the exact one, x/2 * (1 + erf(x / sqrt 2)).
 */
#include <math.h>
#include <string.h>

#include "kernels/base/half.h"
#include "kernels/ref/ref.h"

static double gelu(double x) { return 0.5 * x * (1.0 + erf(x * M_SQRT1_2)); }

float ref_round_row(float *row, size_t n) {
    float scale = half_e4m3_scale(row, n);
    for (size_t i = 0; i < n; i++)
        row[i] = half_from_e4m3(half_to_e4m3(row[i] / scale));
    return scale;
}

void ref_gemm(struct kern *k, const struct kern_gemm *a) {
    must(!a->accumulate || a->act == KERN_ACT_NONE);
    const struct kern_mat *w = a->w;
    const float *bias = ref_f32(a->bias);
    for (int i = 0; i < a->m; i++) {
        const float *x = ref_f32(a->x) + (size_t)i * (size_t)a->ldx; /* (K) */
        float *y = ref_f32(a->y) + (size_t)i * (size_t)a->ldy;       /* (N) */
        double scale = 1;
        if (w->scale) {
            memcpy(w->row, x, (size_t)w->k * sizeof *x);
            scale = (double)ref_round_row(w->row, (size_t)w->k);
            x = w->row;
        }
        for (int n = 0; n < w->n; n++) {
            const float *row = w->w + (size_t)n * (size_t)w->k;
            double sum = 0;
            for (int c = 0; c < w->k; c++)
                sum += (double)x[c] * (double)row[c];
            if (w->scale) sum *= scale * (double)w->scale[n];
            if (bias) sum += (double)bias[n];
            if (a->act == KERN_ACT_GELU) sum = gelu(sum);
            y[n] = a->accumulate ? y[n] + (float)sum : (float)sum;
        }
    }
    ref_count(k, (uint64_t)a->m * (uint64_t)w->n * (uint64_t)w->k);
}
