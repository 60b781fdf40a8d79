/* isa.h - the inner loops that are compiled once per instruction set.
 *
 * isa_portable.c, isa_avx2.c and isa_avx512.c each define one table of these by including the same
 * bodies (tile.inc, rows.inc) over the vector vocabulary of vec.h. Everything above them - threads,
 * blocking, shapes - is written once in gemm.c, attn.c, norm.c, act.c, pos.c, head.c.
 *
 * Bits: a function's result for a row is a function of that row alone. tile adds up the products of
 * an output in the order of k, one chain, whatever m is.
 */
#ifndef KERNELS_CPU_ISA_H
#define KERNELS_CPU_ISA_H

#include <stdint.h>

#include "kernels/kern.h"

enum {
    CPU_PAD = 16,  /* the longest vector, in floats */
    CPU_LINES = 8, /* what score_lines and add_lines take at once */
};

/* What happens to a finished sum s of output column n: (s + bias[n]) -> act, or y + (s +
 * bias[n]). */
struct tile_end {
    const float *bias; /* NULL: none */
    enum kern_act act;
    int accumulate;
    float scale; /* the sum is multiplied by it first (1: leaves the bits alone) */
};

struct cpu_isa {
    const char *name;
    int nr; /* columns of a panel, a multiple of vector length */
    int mr; /* rows that a full tile does at once */
    int (*is_here)(void);

    /* y (m, cols) = end(x (m, k) times panel (k, nr)), cols <= nr, any m >= 0. */
    void (*tile)(int m, int k, const float *x, int ldx, const float *panel, float *y, int ldy,
                 int cols, const struct tile_end *end);
    void (*layernorm)(int width, const float *x, const float *weight, const float *bias, float eps,
                      float *y);
    void (*rmsnorm)(int width, const float *x, const float *weight, float eps, float *y);
    void (*swiglu)(int width, const float *gate, const float *up, float *y);
    /* In place: x[i] = exp(x[i] - max); returns the sum. n is padded with -inf to a multiple of
     * 16. */
    float (*exp_sum)(int n, float *x);
    void (*scale)(int n, float *x, float by);
    /* s[i] = scale * (q . lines[i]), 1 <= n <= CPU_LINES; the same bits as from a panel by tile. */
    void (*score_lines)(int n, int k, const float *q, const float *const *lines, float scale,
                        float *s);
    /* y (k) += by[0] * lines[0] + by[1] * lines[1] ..., fused, in that order; n as above. */
    void (*add_lines)(int n, int k, const float *const *lines, const float *by, float *y);
};

extern const struct cpu_isa cpu_isa_portable, cpu_isa_avx2, cpu_isa_avx512;

/* The table of the functions that tile.inc and rows.inc defined in this file. */
#define CPU_ISA(id)                       \
    const struct cpu_isa cpu_isa_##id = { \
        .name = #id,                      \
        .nr = NV * V,                     \
        .mr = MR,                         \
        .is_here = is_here,               \
        .tile = tile,                     \
        .layernorm = layernorm,           \
        .rmsnorm = rmsnorm,               \
        .swiglu = swiglu,                 \
        .exp_sum = exp_sum,               \
        .scale = scale,                   \
        .score_lines = score_lines,       \
        .add_lines = add_lines,           \
    }

#endif
