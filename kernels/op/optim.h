/* optim.h - what is done to weights and gradients as long vectors: the optimiser's operations.
 *
 * n counts floats. Vectors do not overlap unless an operation says so. n may be 0.
 */
#ifndef KERNELS_OP_OPTIM_H
#define KERNELS_OP_OPTIM_H

#include <stddef.h>

#include "kernels/op/types.h"

/* y += by * x. */
struct kern_axpy {
    size_t n;
    float by;
    struct kern_ptr x, y;
};

/* y += by * (x - y): the running average of weights. */
struct kern_lerp {
    size_t n;
    float by;
    struct kern_ptr x, y;
};

/* out[0] += sum of x^2, in double: blocks of KERN_SUM_BLOCK numbers, ascending, added in order. */
enum { KERN_SUM_BLOCK = 4096 };
struct kern_sumsq {
    size_t n;
    struct kern_ptr x;
    struct kern_ptr out; /* (1) f64 */
};

/* AdamW (Loshchilov, Hutter, arXiv 1711.05101), as PyTorch computes it. g' = scale * g:
 *     p -= lr decay p
 *     m = beta1 m + (1 - beta1) g',  v = beta2 v + (1 - beta2) g'^2
 *     p -= lr (m / fix1) / (sqrt(v / fix2) + eps)
 * fix1 = 1 - beta1^step, fix2 = 1 - beta2^step, in double from the same floats (1 - 0.999f is not
 * 0.001). `scale` is what clipping leaves of the gradient, and what it is divided by. */
struct kern_adamw {
    size_t n;
    struct kern_ptr p, m, v, g;
    float lr, beta1, beta2, eps, decay, scale;
    double fix1, fix2;
};

#endif
