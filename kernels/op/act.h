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
    enum kern_dtype y_dtype;
};

/* dx (rows, 2*width), gate then up, from the kept x and dy (rows, width). s = sigmoid(gate):
 *     d gate = dy up s (1 + gate (1 - s)),  d up = dy gate s
 * dx may be x. */
struct kern_swiglu_back {
    int rows, width;
    struct kern_ptr x;
    int ldx;
    struct kern_ptr dy;
    int lddy;
    struct kern_ptr dx;
    int lddx;
};

/* y = gelu(x), exact as KERN_ACT_GELU (gemm.h), where the product before it must be kept. Backward
 * y is dx = dy (Phi(x) + x phi(x)), with phi the normal density and Phi its integral. y may be x,
 * dx may be dy. */
struct kern_gelu {
    int rows, width;
    struct kern_ptr x;
    int ldx;
    struct kern_ptr dy; /* backward alone */
    int lddy;
    struct kern_ptr y; /* or dx */
    int ldy;
};

/* y = x / (1 - rate), or 0 where it falls out: with probability `rate`, by a number that depends on
 * (seed, row_id[i], column) alone: kern_dropout_keeps. Its own backward operation. y may be x. */
struct kern_dropout {
    int rows, width;
    float rate; /* 0 <= rate < 1 */
    uint64_t seed;
    struct kern_ptr row_id; /* (rows) i32 */
    struct kern_ptr x;
    int ldx;
    struct kern_ptr y;
    int ldy;
};

/* y = x in another type: rounded to nearest, ties to even, or widened. One of the two is KERN_F32,
 * the other KERN_BF16 or KERN_F16, on every backend. For what training keeps for the way back. y
 * may not overlap x. */
struct kern_convert {
    int rows, width;
    struct kern_ptr x;
    int ldx;
    enum kern_dtype x_dtype;
    struct kern_ptr y;
    int ldy;
    enum kern_dtype y_dtype;
};

/* Does it stay? The finaliser of SplitMix64 (Steele, Lea, Flood 2014) over the three, its upper 24
 * bits against the rate. */
KERN_INLINE int kern_dropout_keeps(uint64_t seed, int32_t row_id, int column, float rate) {
    uint64_t z = seed + UINT64_C(0x9e3779b97f4a7c15) *
                            (((uint64_t)(uint32_t)row_id << 32 | (uint32_t)column) + 1);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    return (float)(z >> 40) >= rate * 16777216.0f;
}

#endif
