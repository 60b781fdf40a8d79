/* norm.h - layernorm and rmsnorm. */
#ifndef KERNELS_OP_NORM_H
#define KERNELS_OP_NORM_H

#include "kernels/op/types.h"

/* layernorm: y = (x - mean) / sqrt(var + eps) * weight + bias, var the biased one.
 * rmsnorm:   y = x / sqrt(mean(x^2) + eps) * weight; bias unused.
 * Over the last dimension; y may be x where it is f32. */
struct kern_norm {
    int rows, width;
    struct kern_ptr x;
    int ldx;
    struct kern_ptr weight, bias; /* (width) f32 */
    float eps;
    struct kern_ptr y;
    int ldy;
    enum kern_dtype y_dtype;
};

/* The gradient of either: dx (rows, width) = or +=, and dw, db (width) += over the rows, in blocks
 * (KERN_BACK_ROWS). Mean and deviation are computed again from x. dw or db with addr NULL isn't
 * wanted; rmsnorm has no db. With n = width, r = 1/sqrt(..), h the normalised x, g = dy * weight:
 *     layernorm: dx = r (g - mean(g) - h mean(g h))      rmsnorm: dx = r (g - h mean(g h))
 * dx may be dy. */
struct kern_norm_back {
    int rows, width;
    struct kern_ptr x;
    int ldx;
    struct kern_ptr weight;
    float eps;
    struct kern_ptr dy;
    int lddy;
    struct kern_ptr dx;
    int lddx;
    int accumulate; /* of dx alone */
    struct kern_ptr dw, db;
};

#endif
