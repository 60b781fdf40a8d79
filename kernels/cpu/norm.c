/* norm.c - layer norm and RMS norm, a row at a time. */
#include "kernels/cpu/cpu_kern.h"

struct norm_job {
    const struct kern *k;
    const struct kern_norm *a;
};

static void layernorm_rows(const void *args, int row0, int row1) {
    const struct norm_job *j = args;
    const struct kern_norm *a = j->a;
    for (size_t i = (size_t)row0; i < (size_t)row1; i++)
        j->k->isa->layernorm(a->width, cpu_f32(a->x) + i * (size_t)a->ldx, cpu_f32(a->weight),
                             cpu_f32(a->bias), a->eps, cpu_f32(a->y) + i * (size_t)a->ldy);
}

static void rmsnorm_rows(const void *args, int row0, int row1) {
    const struct norm_job *j = args;
    const struct kern_norm *a = j->a;
    for (size_t i = (size_t)row0; i < (size_t)row1; i++)
        j->k->isa->rmsnorm(a->width, cpu_f32(a->x) + i * (size_t)a->ldx, cpu_f32(a->weight), a->eps,
                           cpu_f32(a->y) + i * (size_t)a->ldy);
}

void cpu_layernorm(struct kern *k, const struct kern_norm *a) {
    cpu_rows(k, a->rows, 4 * a->width, layernorm_rows, &(struct norm_job){k, a});
}

void cpu_rmsnorm(struct kern *k, const struct kern_norm *a) {
    cpu_rows(k, a->rows, 4 * a->width, rmsnorm_rows, &(struct norm_job){k, a});
}
