/* sizes.h - arithmetic about buffers, apart so that it can be tested without a device. C11 and C++.
 * */
#ifndef KERNELS_CUDA_SIZES_H
#define KERNELS_CUDA_SIZES_H

#include <stddef.h>
#include <stdint.h>

/* The fixed stages that rows of a 16-bit product go through: x in 16 bits, sums in f32. */
static const size_t cuda_stage_bytes = (size_t)64 << 20;
static const size_t cuda_lt_bytes = (size_t)32 << 20; /* cuBLASLt's workspace */

enum { CUDA_ROWS_MOST = 65536 }; /* of one call to cuBLASLt: what its algorithms are checked for */

/* Numbers of a row of k 16-bit weights on the device: whole vectors of 16 bytes. */
static inline size_t cuda_row_16bit(size_t k) { return (k + 7) / 8 * 8; }

/* Floats of a row of n sums in the stage: whole vectors of 16 bytes. */
static inline size_t cuda_row_sums(size_t n) { return (n + 3) / 4 * 4; }

/* Either side of an fp8 matrix on the device: cuBLASLt wants multiples of 16. */
static inline size_t cuda_side_fp8(size_t n) { return (n + 15) / 16 * 16; }

/* Rows of so many bytes that fit into the stages together. 0: not even one. */
static inline int cuda_rows_that_fit(size_t in, size_t out) {
    size_t rows = CUDA_ROWS_MOST;
    if (in && cuda_stage_bytes / in < rows) rows = cuda_stage_bytes / in;
    if (out && cuda_stage_bytes / out < rows) rows = cuda_stage_bytes / out;
    return (int)rows;
}

/* Rows of k 16-bit inputs and n sums; */
static inline int cuda_rows_at_once(size_t k, size_t n) {
    return cuda_rows_that_fit(2 * cuda_row_16bit(k), 4 * cuda_row_sums(n));
}

/* of k codes with their scale and n sums, whole 16 of them. */
static inline int cuda_rows_fp8(size_t k, size_t n) {
    return cuda_rows_that_fit(cuda_side_fp8(k) + 4, 4 * cuda_side_fp8(n)) / 16 * 16;
}

#endif
