/* narrow.h - weights in few bits: blocks of whole numbers that share a scale.
 *
 * A row of a matrix is cut into blocks of NARROW_BLOCK numbers, the last one shorter. A block is
 * whole numbers q times one scale s, which is a bf16; q s is exact in f32.
 *     int8: s = bf16(max |x| / 127), q = x / s, to nearest, ties to even, within -127 .. 127
 *     int4: s = bf16(x[i] / -8), where |x[i]| is the largest, the first of them; q as above, within
 *           -8 .. 7
 * All zeros have scale 0. A block with something that isn't finite has the scale NaN.
 *
 * Rows that meet weights in 8 bits (KERN_KEEP_INT8X8) are cut into such blocks, too. They are
 * rounded anew for each product, so a scale may have its 32 bits:
 *     s = max |x| / 127, q = x (127 / max |x|), to nearest, ties to even
 * and a block with nothing as large as 2^-100 counts as zeros. All functions are pure.
 */
#ifndef KERNELS_BASE_NARROW_H
#define KERNELS_BASE_NARROW_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { NARROW_BLOCK = 32 };

/* n <= NARROW_BLOCK numbers -> q; returns the bits of s. bits: 8 or 4. */
uint16_t narrow_block(int bits, const float *x, int n, int8_t *q);
/* A row of n numbers becomes what it is kept as: q s, in place. */
void narrow_round(int bits, float *x, size_t n);

/* The scale of a row's block with that largest |x|, and what its numbers are multiplied by. */
static inline float narrow_row_scale(float most) {
    if (most < 0x1p-100f) return 0;
    return most <= 3.40282347e38f ? most / 127 : NAN;
}
static inline float narrow_row_by(float most) { return 127 / most; }
/* n numbers of a row, a block of it or any others that share a scale, -> q; returns s. */
float narrow_row_block(const float *x, int n, int8_t *q);

#ifdef __cplusplus
}
#endif
#endif
