/* act.c - SwiGLU: y = silu(gate) * up, silu(g) = g / (1 + exp(-g)); a row of x is gate, then up. */
#include <math.h>

#include "kernels/ref/ref.h"

void ref_swiglu(struct kern *k, const struct kern_swiglu *a) {
    for (int i = 0; i < a->rows; i++) {
        const float *gate = ref_f32(a->x) + (size_t)i * (size_t)a->ldx; /* (F) */
        const float *up = gate + a->width;                              /* (F) */
        float *y = ref_f32(a->y) + (size_t)i * (size_t)a->ldy;
        for (int c = 0; c < a->width; c++) {
            double g = (double)gate[c];
            y[c] = (float)(g / (1.0 + exp(-g)) * (double)up[c]);
        }
    }
    ref_count(k, 0);
}
