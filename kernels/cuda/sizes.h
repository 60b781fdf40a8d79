/* sizes.h - arithmetic about buffers, apart so that it can be tested without a device. C11 and C++.
 * */
#ifndef KERNELS_CUDA_SIZES_H
#define KERNELS_CUDA_SIZES_H

#include <stddef.h>
#include <stdint.h>

/* The fixed stages that rows of a 16-bit product go through: x in 16 bits, sums in f32. */
static const size_t cuda_stage_bytes = (size_t)64 << 20;

enum { CUDA_ROWS_MOST = 65536 }; /* of one call to cuBLASLt: what its algorithms are checked for */

/* Numbers of a row of k 16-bit weights on the device: whole vectors of 16 bytes. */
static inline size_t cuda_row_16bit(size_t k) { return (k + 7) / 8 * 8; }

/* Floats of a row of n sums in the stage: whole vectors of 16 bytes. */
static inline size_t cuda_row_sums(size_t n) { return (n + 3) / 4 * 4; }

/* Rows of k inputs and n outputs that fit into the stages together. 0: not even one. */
static inline int cuda_rows_at_once(size_t k, size_t n) {
    size_t in = 2 * cuda_row_16bit(k), out = 4 * cuda_row_sums(n), rows = CUDA_ROWS_MOST;
    if (in && cuda_stage_bytes / in < rows) rows = cuda_stage_bytes / in;
    if (out && cuda_stage_bytes / out < rows) rows = cuda_stage_bytes / out;
    return (int)rows;
}

#endif
