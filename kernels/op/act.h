/* act.h - what is done to each number: activations. */
#ifndef KERNELS_OP_ACT_H
#define KERNELS_OP_ACT_H

#include "kernels/op/types.h"

/* y = silu(gate) * up; x (rows, 2*width) holds gate, then up; y (rows, width). */
struct kern_swiglu {
    int rows, width;
    struct kern_ptr x;
    int ldx;
    struct kern_ptr y;
    int ldy;
};

#endif
