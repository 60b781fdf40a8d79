/* rows.cuh - rows of numbers, eight at a time: what the kernels that look at each number once are
 * made of.
 *
 * A thread takes eight neighbours: two loads of 16 bytes of f32, one store of 16 bytes of 16-bit
 * numbers or two of f32. Columns run along x of the grid, rows along y, so that no thread divides;
 * where there are more rows than a grid has room for, a block takes every so many-th.
 *
 * Vectors need rows that begin at multiples of 16 bytes. Where they don't, and at the end of a row
 * whose width is no multiple of eight, the same thread takes the same numbers one by one: what is
 * computed of each does not depend on how it was fetched.
 */
#ifndef KERNELS_CUDA_ROWS_CUH
#define KERNELS_CUDA_ROWS_CUH

#include "kernels/cuda/common.cuh"

enum { ROWS_EIGHT = 8, ROWS_THREADS = 256, ROWS_GRID = 65535 };

/* Rows that a kernel writes. */
struct rows_out {
    void *at;
    int ld;
    enum kern_dtype type;
};

static inline struct rows_out rows_out(struct kern_ptr y, int ld, enum kern_dtype type) {
    struct rows_out out = {y.addr, ld, type};
    return out;
}

/* Do rows begin at multiples of 16 bytes? NULL does. */
static inline bool rows_are_aligned(const void *p, int ld, enum kern_dtype type) {
    return cuda_is_aligned(p) && (size_t)ld * kern_dtype_bytes(type) % 16 == 0;
}

/* Threads of a block, whole warps, and blocks for rows of `width` numbers. */
static inline unsigned rows_threads(int width) {
    unsigned warps = cuda_blocks((size_t)width, ROWS_EIGHT * 32);
    return warps < ROWS_THREADS / 32 ? 32 * warps : (unsigned)ROWS_THREADS;
}
static inline dim3 rows_grid(int rows, int width) {
    unsigned y = rows < ROWS_GRID ? (unsigned)rows : (unsigned)ROWS_GRID;
    return dim3(cuda_blocks((size_t)width, ROWS_EIGHT * (size_t)rows_threads(width)), y);
}

/* ---- inside kernels ---- */

/* The first column of this thread. */
static __device__ inline int rows_column(void) {
    return (int)(blockIdx.x * blockDim.x + threadIdx.x) * ROWS_EIGHT;
}

struct eight {
    float at[ROWS_EIGHT];
};

/* x[0 .. 7], of which `left` exist: zeros stand for the rest. */
static __device__ inline struct eight eight_of(const float *x, int left, bool is_vector) {
    union {
        float4 vectors[2];
        struct eight all;
    } u;
    if (is_vector && left >= ROWS_EIGHT) {
        u.vectors[0] = ((const float4 *)(const void *)x)[0];
        u.vectors[1] = ((const float4 *)(const void *)x)[1];
    } else {
#pragma unroll
        for (int j = 0; j < ROWS_EIGHT; j++)
            u.all.at[j] = j < left ? x[j] : 0.0f;
    }
    return u.all;
}

/* A number in 16 bits, as the products round x; see kern_ops.x_dtype. */
static __device__ inline uint32_t bits_of(enum kern_dtype type, float v) {
    return type == KERN_BF16 ? __bfloat16_as_ushort(to_bf16(v)) : __half_as_ushort(to_f16(v));
}

/* Number i of rows in some type becomes v. */
static __device__ inline void put_as(void *y, enum kern_dtype type, size_t i, float v) {
    if (type == KERN_F32)
        ((float *)y)[i] = v;
    else
        ((uint16_t *)y)[i] = (uint16_t)bits_of(type, v);
}

/* Numbers c .. c+7 of a row of y, of which `left` exist. */
static __device__ inline void put_eight(const struct rows_out *y, size_t row, int c, int left,
                                        bool is_vector, const struct eight *v) {
    size_t i = row * (size_t)y->ld + (size_t)c;
    if (!is_vector || left < ROWS_EIGHT) {
#pragma unroll
        for (int j = 0; j < ROWS_EIGHT; j++)
            if (j < left) put_as(y->at, y->type, i + (size_t)j, v->at[j]);
        return;
    }
    if (y->type == KERN_F32) {
        float4 *to = (float4 *)(void *)((float *)y->at + i);
        to[0] = make_float4(v->at[0], v->at[1], v->at[2], v->at[3]);
        to[1] = make_float4(v->at[4], v->at[5], v->at[6], v->at[7]);
        return;
    }
    uint32_t w[ROWS_EIGHT / 2];
#pragma unroll
    for (int j = 0; j < ROWS_EIGHT / 2; j++)
        w[j] = bits_of(y->type, v->at[2 * j]) | bits_of(y->type, v->at[2 * j + 1]) << 16;
    *(uint4 *)(void *)((uint16_t *)y->at + i) = make_uint4(w[0], w[1], w[2], w[3]);
}

#endif
