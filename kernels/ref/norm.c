/* norm.c - layernorm and rmsnorm over the last dimension.
 *
 *   layernorm: y = (x - mean) / sqrt(var + eps) * weight + bias, var = mean((x - mean)^2)
 *   rmsnorm:   y = x / sqrt(mean(x^2) + eps) * weight
 *
 * The variance is taken in a second look at the row, around the mean: one look would cancel. A row
 * is read whole before it is written, so y may be x.
 */
#include <math.h>

#include "kernels/ref/ref.h"

static double mean_square(const float *x, int width, double centre) {
    double sum = 0;
    for (int c = 0; c < width; c++)
        sum += ((double)x[c] - centre) * ((double)x[c] - centre);
    return sum / width;
}

void ref_layernorm(struct kern *k, const struct kern_norm *a) {
    const float *weight = ref_f32(a->weight), *bias = ref_f32(a->bias);
    for (int i = 0; i < a->rows; i++) {
        const float *x = ref_f32(a->x) + (size_t)i * (size_t)a->ldx;
        float *y = ref_f32(a->y) + (size_t)i * (size_t)a->ldy;
        double mean = 0;
        for (int c = 0; c < a->width; c++)
            mean += (double)x[c];
        mean /= a->width;
        double scale = 1.0 / sqrt(mean_square(x, a->width, mean) + (double)a->eps);
        for (int c = 0; c < a->width; c++)
            y[c] = (float)(((double)x[c] - mean) * scale * (double)weight[c] + (double)bias[c]);
    }
    ref_count(k, 0);
}

void ref_rmsnorm(struct kern *k, const struct kern_norm *a) {
    const float *weight = ref_f32(a->weight);
    for (int i = 0; i < a->rows; i++) {
        const float *x = ref_f32(a->x) + (size_t)i * (size_t)a->ldx;
        float *y = ref_f32(a->y) + (size_t)i * (size_t)a->ldy;
        double scale = 1.0 / sqrt(mean_square(x, a->width, 0) + (double)a->eps);
        for (int c = 0; c < a->width; c++)
            y[c] = (float)((double)x[c] * scale * (double)weight[c]);
    }
    ref_count(k, 0);
}
