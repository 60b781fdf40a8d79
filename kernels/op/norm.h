/* norm.h - layernorm and rmsnorm. */
#ifndef KERNELS_OP_NORM_H
#define KERNELS_OP_NORM_H

#include "kernels/op/types.h"

/* layernorm: y = (x - mean) / sqrt(var + eps) * weight + bias, var the biased one.
 * rmsnorm:   y = x / sqrt(mean(x^2) + eps) * weight; bias unused.
 * Over the last dimension; y may be x. */
struct kern_norm {
    int rows, width;
    struct kern_ptr x;
    int ldx;
    struct kern_ptr weight, bias; /* (width) f32 */
    float eps;
    struct kern_ptr y;
    int ldy;
};

#endif
