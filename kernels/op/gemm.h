/* gemm.h - weight matrices, and products by them.
 *
 * Strides (ld*) count elements, here and in all of kernels/op.
 */
#ifndef KERNELS_OP_GEMM_H
#define KERNELS_OP_GEMM_H

#include "kernels/op/types.h"

struct kern_mat;

/* ---- weights ---------------------------------------------------------------------------------
 * A matrix (N, K), row n holding the weights of output n, in one or more blocks of rows stacked on
 * top of each other: q, k and v in one product, gate and up in one. Host memory is read during
 * the call only (borrowed). */
struct kern_mat_part {
    const void *data; /* (n, k) row-major, any alignment */
    int n;
    enum kern_dtype dtype;
};
/* What a matrix is kept in. */
enum kern_keep {
    KERN_KEEP_OWN = 0, /* what the device chooses, and nothing is lost by */
    KERN_KEEP_F32,
    KERN_KEEP_BF16, /* and F16, INT8, INT4: the product is that by the rounded weights, in f32 */
    KERN_KEEP_F16,
    KERN_KEEP_FP8,    /* 8 bits: see kern_gemm */
    KERN_KEEP_INT8,   /* 8.5 bits a weight, with the scales of kernels/base/narrow.h, */
    KERN_KEEP_INT4,   /* 4.5 bits */
    KERN_KEEP_INT8X8, /* those of INT8, by rows in 8 bits: see kern_gemm */
    KERN_KEEP_INT4X8  /* those of INT4 */
};
struct kern_mat_src {
    const struct kern_mat_part *parts;
    int n_parts;
    int k;
    enum kern_keep keep;
    int with_back; /* gemm_dx will be asked of it; KERN_KEEP_OWN alone */
};

enum kern_act { KERN_ACT_NONE = 0, KERN_ACT_GELU = 1 }; /* exact: x/2 * (1 + erf(x / sqrt 2)) */

/* y = act(x W^T + bias), or y += x W^T + bias when `accumulate` (then act must be NONE).
 * x (m, K), y (m, N) may not overlap. m may be 0.
 *
 * x may have been rounded by whoever made it: x_dtype is KERN_F32, or what kern_ops.x_dtype says of
 * w. The result has the same bits then. y may be left rounded for the product that comes next,
 * unless `accumulate`, and where x_dtype says KERN_F32.
 *
 * By a matrix kept in fp8 both sides are rounded first, each row r of x and of W by itself:
 *     s(r) = max |r[k]| / 448, 1 when that is 0;   q(r)[k] = e4m3(r[k] / s(r))
 * to nearest, ties to even, in f32 (kernels/base/half.h); and x W^T becomes
 *     s(x) s(w) sum_k q(x)[k] q(w)[k].
 * A row in which something isn't finite gives NaN.
 *
 * By a matrix kept in int8x8 or int4x8 each row of x is rounded to blocks of whole numbers as the
 * matrix is (kernels/base/narrow.h), and x W^T becomes
 *     sum_b (s(w, b) s(x, b)) (sum over block b of q(w)[k] q(x)[k])
 * where a block's sum is exact, s s is rounded to f32, so is its product with that sum, and the
 * blocks are added in f32 from the first to the last. The bits are the same on every backend. */
struct kern_gemm {
    int m;
    struct kern_ptr x;
    int ldx;
    const struct kern_mat *w;
    struct kern_ptr bias; /* (N) f32; addr NULL: none */
    struct kern_ptr y;
    int ldy;
    enum kern_act act;
    int accumulate;
    enum kern_dtype x_dtype, y_dtype;
    int n, k; /* by the first n rows and k columns of W alone, as if it had no others; 0: by all. Of
                 a matrix whose parts were f32, of KERN_KEEP_OWN or KERN_KEEP_BF16 */
};

/* The shape of W in a product. */
KERN_INLINE int kern_gemm_n(const struct kern_gemm *a, int n) { return a->n ? a->n : n; }
KERN_INLINE int kern_gemm_k(const struct kern_gemm *a, int k) { return a->k ? a->k : k; }

/* ---- training: W (N, K), y = x W^T (docs/training.md) ---------------------------------------- */

/* Rows row0 .. row0+rows-1 of the matrix become those at src (rows, ld) f32, in device memory: as
 * if mat_new had read them. For gradient descent, which changes weights in place. Of
 * KERN_KEEP_OWN or KERN_KEEP_BF16. A matrix that the device keeps in 16 bits, as it may do with
 * parts of 16 bits, rounds them. */
struct kern_mat_set {
    struct kern_mat *w;
    int row0, rows;
    struct kern_ptr src;
    int ld;
};

/* dx (m, K) = dy (m, N) W, or += when `accumulate`. W was made `with_back`. */
struct kern_gemm_dx {
    int m;
    struct kern_ptr dy;
    int lddy;
    const struct kern_mat *w;
    struct kern_ptr dx;
    int lddx;
    int accumulate;
};

/* dw (n, k) = dy^T x, or += when `accumulate`: dw[i][j] is the sum over the m rows of
 * dy[r][i] x[r][j]. Rows are added in blocks of KERN_BACK_ROWS: ascending inside a block, the
 * blocks in ascending order. dy (m, n), x (m, k). */
struct kern_gemm_dw {
    int m, n, k;
    struct kern_ptr dy;
    int lddy;
    struct kern_ptr x;
    int ldx;
    struct kern_ptr dw;
    int lddw;
    int accumulate;
};

/* db (n) = sum of the m rows of dy (m, n), or += when `accumulate`; rows as in gemm_dw. */
struct kern_colsum {
    int m, n;
    struct kern_ptr dy;
    int lddy;
    struct kern_ptr db;
    int accumulate;
};

#endif
