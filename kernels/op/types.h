/* types.h - addresses and types that every operation speaks of. C11 and C++20. */
#ifndef KERNELS_OP_TYPES_H
#define KERNELS_OP_TYPES_H

#include <stddef.h>
#include <stdint.h>

/* A small function that a CUDA kernel takes too. */
#ifdef __CUDACC__
#define KERN_INLINE static inline __host__ __device__
#else
#define KERN_INLINE static inline
#endif

/* An address in the memory of a device. */
struct kern_ptr {
    char *addr;
};

/* `bytes` further on. */
static inline struct kern_ptr kern_at(struct kern_ptr p, size_t bytes) {
    p.addr += bytes;
    return p;
}

/* Sums over the rows of a call, as gradients of weights need, are made block by block of so many
 * rows, and the blocks are added in ascending order. */
enum { KERN_BACK_ROWS = 256 };

/* KERN_INT8 is of pools of keys and values alone. Each head of a token is a scale s (f32), and
 * behind it are its numbers q: x is q s, with s and q as of a row in kernels/base/narrow.h, but of
 * the whole head. */
enum kern_dtype { KERN_F32 = 0, KERN_BF16 = 1, KERN_F16 = 2, KERN_INT8 = 3 };
static inline size_t kern_dtype_bytes(enum kern_dtype t) {
    return t == KERN_F32 ? 4u : t == KERN_INT8 ? 1u : 2u;
}

/* What an operation leaves for a product may be rounded to the 16 bits that the product would round
 * it to itself: to nearest, ties to even; in KERN_F16 what is finite stays so. Where a struct has a
 * `y_dtype`, rows of y are of that type and its stride counts such numbers. KERN_BF16 and KERN_F16
 * come only where kern_ops.x_dtype has said so; KERN_F32, which is 0, always may. */

/* Bytes of a head in a pool. */
static inline size_t kern_head_bytes(enum kern_dtype t, int head_size) {
    return (size_t)head_size * kern_dtype_bytes(t) + (t == KERN_INT8 ? sizeof(float) : 0);
}

#endif
