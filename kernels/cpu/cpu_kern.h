/* cpu_kern.h - what the files of the CPU backend share: the opened device and its helpers. */
#ifndef KERNELS_CPU_CPU_KERN_H
#define KERNELS_CPU_CPU_KERN_H

#include "kernels/base/blocks.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/pool.h"
#include "kernels/kern.h"

/* Rows of weights, packed: panel p holds outputs p*nr .. p*nr+nr-1, k-major inside, zeros behind
 * n. */
struct kern_mat {
    int n, k, panels;
    float *data; /* (panels, k, nr) f32 */
    int is_fp8;  /* rounded to s(w) q(w) of kern_gemm; x has to be, too */
};

/* A scratch block that only grows. */
struct cpu_scratch {
    float *p;
    size_t floats;
};

struct kern {
    const struct cpu_isa *isa;
    struct pool *pool;
    struct blocks blocks; /* device memory */
    uint64_t memory_max;  /* of kern_config */
    uint64_t ops, flops, scratch_grown;
    struct cpu_scratch shared;   /* packed keys and values of attention */
    struct cpu_scratch *private; /* (threads): scores */
    /* cos and sin of pos * theta^(-2i/K): (angle_pos, K/2, 2), of the last theta and K asked for */
    struct cpu_scratch angles;
    int angle_pos, angle_size; /* positions in it; K */
    double angle_theta;
    uint64_t marks[KERN_MARKS]; /* clock_ns */
    char text[64];
};

static inline float *cpu_f32(struct kern_ptr p) { return (float *)(void *)p.addr; }
static inline const int32_t *cpu_i32(struct kern_ptr p) { return (const int32_t *)(void *)p.addr; }

/* E_NOMEM, and how much there is. */
int cpu_no_memory(const struct kern *k, size_t bytes, struct err *e);

/* At least `floats` floats; what was inside is lost when it grows. */
float *cpu_scratch(struct kern *k, struct cpu_scratch *s, size_t floats);

/* Count an operation and its multiply-adds. */
void cpu_count(struct kern *k, uint64_t multiply_adds);

/* Run fn over row ranges [row0, row1) on all threads; `cost` is a row's work in floats touched, so
 * that small calls stay on the caller's thread. */
typedef void cpu_rows_fn(const void *args, int row0, int row1);
void cpu_rows(struct kern *k, int rows, int cost, cpu_rows_fn *fn, const void *args);

int cpu_mat_new(struct kern *k, const struct kern_mat_src *src, struct kern_mat **out,
                struct err *e);
void cpu_mat_free(struct kern *k, struct kern_mat *m);
int cpu_mat_describe(const struct kern *k, const struct kern_mat *m, char *text, size_t n);
void cpu_gemm(struct kern *k, const struct kern_gemm *a);
void cpu_layernorm(struct kern *k, const struct kern_norm *a);
void cpu_rmsnorm(struct kern *k, const struct kern_norm *a);
void cpu_swiglu(struct kern *k, const struct kern_swiglu *a);
void cpu_patchify(struct kern *k, const struct kern_patchify *a);
void cpu_add_pos(struct kern *k, const struct kern_add_pos *a);
void cpu_embed(struct kern *k, const struct kern_embed *a);
void cpu_gather(struct kern *k, const struct kern_gather *a);
void cpu_rope(struct kern *k, const struct kern_rope *a);
void cpu_attn_full(struct kern *k, const struct kern_attn_full *a);
void cpu_attn_tree(struct kern *k, const struct kern_attn_tree *a);
void cpu_pick(struct kern *k, const struct kern_pick *a);

#endif
