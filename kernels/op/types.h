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

enum kern_dtype { KERN_F32 = 0, KERN_BF16 = 1, KERN_F16 = 2 };
static inline size_t kern_dtype_bytes(enum kern_dtype t) { return t == KERN_F32 ? 4u : 2u; }

#endif
