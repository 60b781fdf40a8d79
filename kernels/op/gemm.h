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
struct kern_mat_src {
    const struct kern_mat_part *parts;
    int n_parts;
    int k;
    int as_fp8; /* keep it in 8 bits: see kern_gemm */
};

enum kern_act { KERN_ACT_NONE = 0, KERN_ACT_GELU = 1 }; /* exact: x/2 * (1 + erf(x / sqrt 2)) */

/* y = act(x W^T + bias), or y += x W^T + bias when `accumulate` (then act must be NONE).
 * x (m, K), y (m, N) may not overlap. m may be 0.
 *
 * By a matrix made `as_fp8` both sides are rounded first, each row r of x and of W by itself:
 *     s(r) = max |r[k]| / 448, 1 when that is 0;   q(r)[k] = e4m3(r[k] / s(r))
 * to nearest, ties to even, in f32 (kernels/base/half.h); and x W^T becomes
 *     s(x) s(w) sum_k q(x)[k] q(w)[k].
 * A row in which something isn't finite gives NaN. */
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
};

#endif
