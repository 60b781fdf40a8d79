/* optim.c - weights and gradients as long vectors: see kernels/op/optim.h, which has the formulas.
 * Each number is computed in double and rounded where it is stored. */
#include <math.h>

#include "kernels/ref/ref.h"

void ref_axpy(struct kern *k, const struct kern_axpy *a) {
    const float *x = ref_f32(a->x);
    float *y = ref_f32(a->y);
    for (size_t i = 0; i < a->n; i++)
        y[i] = (float)((double)y[i] + (double)a->by * (double)x[i]);
    ref_count(k, 0);
}

void ref_lerp(struct kern *k, const struct kern_lerp *a) {
    const float *x = ref_f32(a->x);
    float *y = ref_f32(a->y);
    for (size_t i = 0; i < a->n; i++)
        y[i] = (float)((double)y[i] + (double)a->by * ((double)x[i] - (double)y[i]));
    ref_count(k, 0);
}

void ref_sumsq(struct kern *k, const struct kern_sumsq *a) {
    const float *x = ref_f32(a->x);
    double *out = (double *)(void *)a->out.addr;
    for (size_t at = 0; at < a->n;) {
        double block = 0;
        for (size_t end = at + KERN_SUM_BLOCK; at < a->n && at < end; at++)
            block += (double)x[at] * (double)x[at];
        *out += block;
    }
    ref_count(k, 0);
}

void ref_adamw(struct kern *k, const struct kern_adamw *a) {
    float *p = ref_f32(a->p), *m = ref_f32(a->m), *v = ref_f32(a->v);
    const float *g = ref_f32(a->g);
    double lr = (double)a->lr, beta1 = (double)a->beta1, beta2 = (double)a->beta2;
    for (size_t i = 0; i < a->n; i++) {
        double gi = (double)a->scale * (double)g[i];
        double mi = beta1 * (double)m[i] + (1 - beta1) * gi;
        double vi = beta2 * (double)v[i] + (1 - beta2) * gi * gi;
        double kept = (double)p[i] * (1 - lr * (double)a->decay);
        p[i] = (float)(kept - lr * (mi / a->fix1) / (sqrt(vi / a->fix2) + (double)a->eps));
        m[i] = (float)mi;
        v[i] = (float)vi;
    }
    ref_count(k, 0);
}
