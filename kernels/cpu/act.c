/* act.c - SwiGLU. GELU is part of gemm. */
#include "kernels/cpu/cpu_kern.h"

struct swiglu_job {
    const struct kern *k;
    const struct kern_swiglu *a;
};

static void swiglu_rows(const void *args, int row0, int row1) {
    const struct swiglu_job *j = args;
    const struct kern_swiglu *a = j->a;
    for (size_t i = (size_t)row0; i < (size_t)row1; i++) {
        const float *x = cpu_f32(a->x) + i * (size_t)a->ldx;
        j->k->isa->swiglu(a->width, x, x + a->width, cpu_f32(a->y) + i * (size_t)a->ldy);
    }
}

void cpu_swiglu(struct kern *k, const struct kern_swiglu *a) {
    cpu_rows(k, a->rows, 6 * a->width, swiglu_rows, &(struct swiglu_job){k, a});
}
