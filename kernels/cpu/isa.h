/* isa.h - the inner loops that are compiled once per instruction set.
 *
 * isa_portable.c, isa_avx2.c, isa_avx512.c, isa_avx512bf16.c and isa_amx.c each define one table
 * of these by including the same bodies (tile.inc, rows.inc, back.inc) over the vector vocabulary
 * of vec.h. Everything above them - threads, blocking, shapes - is written once in gemm.c, attn.c,
 * norm.c and so on.
 *
 * Bits: a function's result for a row is a function of that row alone. tile adds up the products of
 * an output in the order of k, one chain, whatever m is. amx has another order for pairs, which
 * depends on k alone, too.
 *
 * Pairs: avx512bf16 and amx multiply numbers that were rounded to bf16 (pairs.inc). Two of them,
 * next to each other along the sum, have the place of one float: the lower half of its bits is the
 * first. So what packs and moves floats also does pairs, and a sum over k is one over (k + 1) / 2
 * places.
 */
#ifndef KERNELS_CPU_ISA_H
#define KERNELS_CPU_ISA_H

#include <stdint.h>

#include "kernels/kern.h"

enum {
    CPU_PAD = 16,   /* the longest vector, in floats */
    CPU_LINES = 8,  /* what score_lines and add_lines take at once */
    CPU_CHAINS = 6, /* of panels' width, of fma_chains */
    CPU_PANELS = 4, /* that one row meets at once */
};

/* What happens to a finished sum s of output column n: (s + bias[n]) -> act, or y + (s +
 * bias[n]). And where it begins: at 0, or to `go_on` at y, as the next part of one long chain. */
struct tile_end {
    const float *bias; /* NULL: none */
    enum kern_act act;
    int accumulate;
    float scale; /* the sum is multiplied by it first (1: leaves the bits alone) */
    int go_on;
};

/* What the way back through a norm reads and writes, beside x and weight: dx = or +=, the sums dw
 * and db += where they aren't NULL. dx may be dy. */
struct norm_out {
    const float *dy;
    float *dx, *dw, *db;
    int accumulate;
};

/* AdamW's numbers, as they are multiplied by: new1 = 1 - beta1, keep = 1 - lr decay,
 * step = lr / fix1, unfix2 = 1 / fix2. */
struct adamw_by {
    float scale, beta1, new1, beta2, new2, unfix2, eps, keep, step;
};

/* y (m, cols) = end(x (m, k) times panel (k, nr)), cols <= nr, any m >= 0. Rows of the panel are
 * ldp apart: nr where it is a packed one. */
typedef void cpu_tile_fn(int m, int k, const float *x, int ldx, const float *panel, int ldp,
                         float *y, int ldy, int cols, const struct tile_end *end);

/* The same of one row and CPU_PANELS whole panels, `stride` bytes from one to the next, from which
 * `cols` outputs come: more than all but one have. end->go_on is 0. */
typedef void cpu_line_fn(int k, const float *x, const void *panels, size_t stride, float *y,
                         int cols, const struct tile_end *end);

typedef void cpu_unpack_fn(int k, const void *panel, float *to);

typedef float cpu_exp_sum_fn(int n, float *x, float *max);

struct cpu_isa {
    const char *name;
    int nr;               /* columns of a panel, a multiple of vector length */
    int mr;               /* rows that a full tile does at once */
    int (*is_here)(void); /* the system is asked for what it grants alone, then */
    /* What a thread does before its tasks of a round and behind them (pool.h). NULL: nothing. */
    void (*begin)(void), (*end)(void);

    cpu_tile_fn *tile;
    cpu_line_fn *line, *line_bf16, *line_f16; /* by panels of tile, tile_bf16, tile_f16 */
    void (*layernorm)(int width, const float *x, const float *weight, const float *bias, float eps,
                      float *y);
    void (*rmsnorm)(int width, const float *x, const float *weight, float eps, float *y);
    void (*swiglu)(int width, const float *gate, const float *up, float *y);
    /* In place: x[i] = exp(x[i] - max); returns the sum. n is padded with -inf to a multiple of
     * 16. */
    cpu_exp_sum_fn *exp_sum;
    void (*scale)(int n, float *x, float by);
    /* s[i] = scale * (q . lines[i]), 1 <= n <= CPU_LINES; the same bits as from a panel by tile. */
    void (*score_lines)(int n, int k, const float *q, const float *const *lines, float scale,
                        float *s);
    /* y (k) += by[0] * lines[0] + by[1] * lines[1] ..., fused, in that order; n as above. */
    void (*add_lines)(int n, int k, const float *const *lines, const float *by, float *y);

    /* n numbers of bf16 as the floats that they are; and floats rounded to them. */
    void (*widen)(int n, const uint16_t *x, float *y);
    void (*round)(int n, const float *x, uint16_t *y);
    /* The largest |x|, not a finite one where one isn't; x by, to the nearest whole numbers, which
     * fit; and y = q by. */
    float (*most)(int n, const float *x);
    void (*to_ints)(int n, const float *x, float by, int8_t *q);
    void (*from_ints)(int n, const int8_t *q, float by, float *y);

    /* ---- measuring ---- */
    /* CPU_CHAINS * nr independent chains of `rounds` multiply-adds each, in registers. Returns what
     * comes of them. */
    float (*fma_chains)(int rounds);
    float (*sum_all)(size_t n, const float *x); /* in any order; n is a multiple of 128 */

    /* ---- training ---- */
    /* y (cols, rows) = x (rows, cols), the other way round */
    void (*transpose)(int rows, int cols, const float *x, int ldx, float *y, int ldy);
    /* x (rows, cols) as panels (rows, nr), `stride` floats from one to the next, zeros behind
     * cols. */
    void (*panels)(int rows, int cols, const float *x, int ldx, float *y, size_t stride);
    /* y[i] = a column of a (k, nr) times that of b, each in the order of k as by tile */
    void (*dot_columns)(int k, const float *a, const float *b, float *y);
    /* y (n) += (the sum of the rows of x (rows, n)) */
    void (*sum_rows)(int rows, int n, const float *x, int ldx, float *y);
    double (*squares)(int n, const float *x); /* sum of x^2 */
    void (*layernorm_back)(int width, const float *x, const float *weight, float eps,
                           const struct norm_out *o);
    void (*rmsnorm_back)(int width, const float *x, const float *weight, float eps,
                         const struct norm_out *o);
    void (*gelu)(int width, const float *x, float *y);
    void (*gelu_back)(int width, const float *x, const float *dy, float *dx);
    void (*swiglu_back)(int width, const float *x, const float *dy, float *dx); /* x: gate, up */
    /* Scores s (n, m) and products ds (n, m) become p = exp(s - lse) and p (ds - delta), with lse
     * and delta of each column; m is a multiple of 16. */
    void (*attn_slopes)(int n, int m, const float *lse, const float *delta, float *s, float *ds,
                        int ld);
    /* lines[i] (k) += by[i] x, one line after the other: the same may stand there twice. */
    void (*spread)(int n, int k, float *const *lines, const float *by, const float *x);
    void (*axpy)(int n, float by, const float *x, float *y); /* y += by x, fused */
    void (*lerp)(int n, float by, const float *x, float *y); /* y += by (x - y) */
    void (*adamw)(int n, const struct adamw_by *by, float *p, float *m, float *v, const float *g);

    /* ---- weights that are narrower than f32 (narrow.c) ---- */
    /* As tile, by such a panel, of which ldp says nothing. The bits are those of the floats that
     * the weights mean. */
    cpu_tile_fn *tile_bf16, *tile_int8, *tile_int4, *tile_f16;
    /* k places of such a panel as a panel of floats, from the beginning of a block on. */
    cpu_unpack_fn *unpack_bf16, *unpack_int8, *unpack_int4, *unpack_f16;

    /* ---- products in bf16; NULL: products are f32 ---- */
    /* As tile: x and panel hold pairs, k is their number. */
    cpu_tile_fn *tile_pairs;
    /* n floats as (n + 1) / 2 pairs, 0 beside a last odd one. y may be x. */
    void (*pair_line)(int n, const float *x, float *y);
    /* Rows 2i and 2i + 1 of x (rows, cols) as row i of pairs, 0 beside a last odd one. */
    void (*pair_rows)(int rows, int cols, const float *x, int ldx, float *y, int ldy);
    cpu_exp_sum_fn *exp_sum_pairs; /* as exp_sum; x becomes pairs, the sum is of floats */
    /* As attn_slopes, but the lines of s and ds become pairs; those of each two lines of ds go to
     * `turned`, too, a line for both. m is a multiple of 32. */
    void (*attn_slopes_pairs)(int n, int m, const float *lse, const float *delta, float *s,
                              float *ds, int ld, float *turned);
};

extern const struct cpu_isa cpu_isa_portable, cpu_isa_avx2, cpu_isa_avx512, cpu_isa_avx512bf16,
    cpu_isa_amx;

/* The table of the functions that tile.inc, rows.inc and back.inc defined in this file, of the rows
 * of a full tile, and of what else there is. */
#define CPU_ISA(id, rows, ...)                                             \
    const struct cpu_isa cpu_isa_##id = {.name = #id,                      \
                                         .nr = NV * V,                     \
                                         .mr = rows,                       \
                                         .is_here = is_here,               \
                                         .tile = tile,                     \
                                         .line = line,                     \
                                         .line_bf16 = line_bf16,           \
                                         .line_f16 = line_f16,             \
                                         .layernorm = layernorm,           \
                                         .rmsnorm = rmsnorm,               \
                                         .swiglu = swiglu,                 \
                                         .exp_sum = exp_sum,               \
                                         .scale = scale,                   \
                                         .score_lines = score_lines,       \
                                         .add_lines = add_lines,           \
                                         .widen = widen,                   \
                                         .round = round_bf16,              \
                                         .most = most_of,                  \
                                         .to_ints = to_ints,               \
                                         .from_ints = from_ints,           \
                                         .fma_chains = fma_chains,         \
                                         .sum_all = sum_all,               \
                                         .transpose = transpose,           \
                                         .panels = panels,                 \
                                         .dot_columns = dot_columns,       \
                                         .sum_rows = sum_rows,             \
                                         .squares = squares,               \
                                         .layernorm_back = layernorm_back, \
                                         .rmsnorm_back = rmsnorm_back,     \
                                         .gelu = gelu,                     \
                                         .gelu_back = gelu_back,           \
                                         .swiglu_back = swiglu_back,       \
                                         .attn_slopes = attn_slopes,       \
                                         .spread = spread,                 \
                                         .axpy = axpy,                     \
                                         .lerp = lerp,                     \
                                         .adamw = adamw,                   \
                                         .tile_bf16 = tile_bf16,           \
                                         .tile_int8 = tile_int8,           \
                                         .tile_int4 = tile_int4,           \
                                         .tile_f16 = tile_f16,             \
                                         .unpack_bf16 = unpack_bf16,       \
                                         .unpack_int8 = unpack_int8,       \
                                         .unpack_int4 = unpack_int4,       \
                                         .unpack_f16 = unpack_f16,         \
                                         __VA_ARGS__}

#endif
