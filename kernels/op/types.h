/* types.h - addresses and types that every operation speaks of. C11 and C++20. */
#ifndef KERNELS_OP_TYPES_H
#define KERNELS_OP_TYPES_H

#include <stddef.h>
#include <stdint.h>

/* An address in the memory of a device. */
struct kern_ptr {
    char *addr;
};

/* `bytes` further on. */
static inline struct kern_ptr kern_at(struct kern_ptr p, size_t bytes) {
    p.addr += bytes;
    return p;
}

enum kern_dtype { KERN_F32 = 0, KERN_BF16 = 1, KERN_F16 = 2 };
static inline size_t kern_dtype_bytes(enum kern_dtype t) { return t == KERN_F32 ? 4u : 2u; }

#endif
