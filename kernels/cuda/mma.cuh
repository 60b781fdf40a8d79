/* mma.cuh - the few instructions of the tensor cores that are written by hand, and where a lane's
 * numbers are.
 *
 * m16n8k16 (PTX ISA, "Matrix fragments for mma.m16n8k16"), g = lane / 4, t = lane % 4:
 *   A (16, 16): [0] row g, k 2t 2t+1   [1] row g+8   [2] row g, k 2t+8 2t+9   [3] row g+8
 *   B (16, 8):  b0 k 2t 2t+1, column g               b1 k 2t+8 2t+9
 *   C (16, 8):  [0] [1] row g, columns 2t 2t+1       [2] [3] row g+8
 */
#ifndef KERNELS_CUDA_MMA_CUH
#define KERNELS_CUDA_MMA_CUH

#include "kernels/cuda/common.cuh"

/* c += a b, a and b of H; by a whole warp. */
template <typename H>
static __device__ inline void mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);
#define MMA(H, name)                                                                               \
    template <>                                                                                    \
    __device__ inline void mma<H>(float(&c)[4], const uint32_t(&a)[4], uint32_t b0, uint32_t b1) { \
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." name "." name                        \
                     ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "                         \
                     "{%0, %1, %2, %3};"                                                           \
                     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                              \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));              \
    }
MMA(__half, "f16")
MMA(__nv_bfloat16, "bf16")
#undef MMA

/* B of 16 rows in shared memory, 8 numbers of each: lane i names row i % 16, `trans` turns them.
 * Rows begin at multiples of 16 bytes. */
static __device__ inline void load_values(const void *row, uint32_t &b0, uint32_t &b1) {
    unsigned at = (unsigned)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(b0), "=r"(b1)
                 : "r"(at)
                 : "memory");
}

#endif
