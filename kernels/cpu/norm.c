/* norm.c - layer norm and RMS norm, a row at a time.
 *
 * On the way back a task is a block of KERN_BACK_ROWS rows. What it adds up for dw and db goes to
 * lines of its own in scratch memory, and the lines are added up when all are there, in order.
 */
#include <string.h>

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
    must(a->y_dtype == KERN_F32);
    cpu_rows(k, a->rows, 4 * a->width, layernorm_rows, &(struct norm_job){k, a});
}

void cpu_rmsnorm(struct kern *k, const struct kern_norm *a) {
    must(a->y_dtype == KERN_F32);
    cpu_rows(k, a->rows, 4 * a->width, rmsnorm_rows, &(struct norm_job){k, a});
}

/* ---- training ---- */

typedef void norm_back_fn(int width, const float *x, const float *weight, float eps,
                          const struct norm_out *o);

struct norm_back_job {
    const struct kern_norm_back *a;
    norm_back_fn *fn;
    float *sums; /* (blocks, 2, width): dw and db of a block */
};

static void norm_back_block(void *ctx, int task, int thread) {
    (void)thread;
    const struct norm_back_job *j = ctx;
    const struct kern_norm_back *a = j->a;
    int row0 = task * KERN_BACK_ROWS, row1 = row0 + KERN_BACK_ROWS;
    float *sums = j->sums + (size_t)task * 2 * (size_t)a->width;
    memset(sums, 0, 2 * (size_t)a->width * sizeof *sums);
    for (size_t i = (size_t)row0; i < (size_t)(row1 < a->rows ? row1 : a->rows); i++) {
        struct norm_out o = {.dy = cpu_f32(a->dy) + i * (size_t)a->lddy,
                             .dx = cpu_f32(a->dx) + i * (size_t)a->lddx,
                             .dw = a->dw.addr ? sums : NULL,
                             .db = a->db.addr ? sums + a->width : NULL,
                             .accumulate = a->accumulate};
        j->fn(a->width, cpu_f32(a->x) + i * (size_t)a->ldx, cpu_f32(a->weight), a->eps, &o);
    }
}

static void norm_back(struct kern *k, const struct kern_norm_back *a, norm_back_fn *fn) {
    int blocks = (a->rows + KERN_BACK_ROWS - 1) / KERN_BACK_ROWS;
    size_t line = 2 * (size_t)a->width;
    struct norm_back_job j = {a, fn, cpu_scratch(k, &k->shared, (size_t)blocks * line)};
    cpu_count(k, 0);
    pool_run(k->pool, blocks, norm_back_block, &j);
    for (int i = 0; i < blocks; i++) {
        const float *sums = j.sums + (size_t)i * line;
        if (a->dw.addr) k->isa->axpy(a->width, 1.0f, sums, cpu_f32(a->dw));
        if (a->db.addr) k->isa->axpy(a->width, 1.0f, sums + a->width, cpu_f32(a->db));
    }
}

void cpu_layernorm_back(struct kern *k, const struct kern_norm_back *a) {
    norm_back(k, a, k->isa->layernorm_back);
}

void cpu_rmsnorm_back(struct kern *k, const struct kern_norm_back *a) {
    must(!a->db.addr);
    norm_back(k, a, k->isa->rmsnorm_back);
}
