/* optim.c - weights and gradients as long vectors, in pieces that threads take; the optimiser's
 * formulas are in kernels/op/optim.h. */
#include <string.h>

#include "kernels/cpu/cpu_kern.h"

enum { PIECE = 4 * KERN_SUM_BLOCK }; /* floats of a task */

/* What a vector operation does to numbers [at, at + n). */
typedef void piece_fn(const struct cpu_isa *isa, const void *args, size_t at, int n);
struct piece_job {
    const struct cpu_isa *isa;
    const void *args;
    piece_fn *fn;
    size_t n;
};

static void piece_task(void *ctx, int task, int thread) {
    (void)thread;
    const struct piece_job *j = ctx;
    size_t at = (size_t)task * PIECE;
    j->fn(j->isa, j->args, at, j->n - at < PIECE ? (int)(j->n - at) : PIECE);
}

static void pieces(struct kern *k, size_t n, piece_fn *fn, const void *args) {
    struct piece_job j = {k->isa, args, fn, n};
    cpu_count(k, 0);
    pool_run(k->pool, (int)((n + PIECE - 1) / PIECE), piece_task, &j);
}

static void zero_piece(const struct cpu_isa *isa, const void *args, size_t at, int n) {
    (void)isa;
    const struct kern_ptr *p = args;
    memset(p->addr + at, 0, (size_t)n);
}

/* Bytes, not floats. */
void cpu_zero(struct kern *k, struct kern_ptr p, size_t bytes) { pieces(k, bytes, zero_piece, &p); }

static void axpy_piece(const struct cpu_isa *isa, const void *args, size_t at, int n) {
    const struct kern_axpy *a = args;
    isa->axpy(n, a->by, cpu_f32(a->x) + at, cpu_f32(a->y) + at);
}

void cpu_axpy(struct kern *k, const struct kern_axpy *a) { pieces(k, a->n, axpy_piece, a); }

static void lerp_piece(const struct cpu_isa *isa, const void *args, size_t at, int n) {
    const struct kern_lerp *a = args;
    isa->lerp(n, a->by, cpu_f32(a->x) + at, cpu_f32(a->y) + at);
}

void cpu_lerp(struct kern *k, const struct kern_lerp *a) { pieces(k, a->n, lerp_piece, a); }

/* ---- the sum of squares ---- */

struct squares_args {
    const float *x;
    double *sums; /* of each block */
};

static void squares_piece(const struct cpu_isa *isa, const void *args, size_t at, int n) {
    const struct squares_args *a = args;
    for (int i = 0; i < n; i += KERN_SUM_BLOCK)
        a->sums[(at + (size_t)i) / KERN_SUM_BLOCK] =
            isa->squares(n - i < KERN_SUM_BLOCK ? n - i : KERN_SUM_BLOCK, a->x + at + i);
}

void cpu_sumsq(struct kern *k, const struct kern_sumsq *a) {
    size_t blocks = (a->n + KERN_SUM_BLOCK - 1) / KERN_SUM_BLOCK;
    struct squares_args s = {cpu_f32(a->x), NULL};
    s.sums = (double *)(void *)cpu_scratch(k, &k->shared, 2 * blocks);
    pieces(k, a->n, squares_piece, &s);
    double *out = (double *)(void *)a->out.addr;
    for (size_t i = 0; i < blocks; i++)
        *out += s.sums[i];
}

/* ---- AdamW ---- */

struct adamw_args {
    const struct kern_adamw *a;
    struct adamw_by by;
};

static void adamw_piece(const struct cpu_isa *isa, const void *args, size_t at, int n) {
    const struct adamw_args *s = args;
    isa->adamw(n, &s->by, cpu_f32(s->a->p) + at, cpu_f32(s->a->m) + at, cpu_f32(s->a->v) + at,
               cpu_f32(s->a->g) + at);
}

void cpu_adamw(struct kern *k, const struct kern_adamw *a) {
    double lr = (double)a->lr;
    struct adamw_args s = {a,
                           {.scale = a->scale,
                            .beta1 = a->beta1,
                            .new1 = (float)(1 - (double)a->beta1),
                            .beta2 = a->beta2,
                            .new2 = (float)(1 - (double)a->beta2),
                            .unfix2 = (float)(1 / a->fix2),
                            .eps = a->eps,
                            .keep = (float)(1 - lr * (double)a->decay),
                            .step = (float)(lr / a->fix1)}};
    pieces(k, a->n, adamw_piece, &s);
}
