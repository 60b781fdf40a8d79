/* half.h - floats of 16 bits, bf16 (8 bits of exponent) and IEEE f16, and of 8 bits, e4m3. Round to
 * nearest, ties to even. */
#ifndef KERNELS_BASE_HALF_H
#define KERNELS_BASE_HALF_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

float half_from_bf16(uint16_t h);
uint16_t half_to_bf16(float f);
float half_from_f16(uint16_t h);
uint16_t half_to_f16(float f);

/* The same for n numbers one behind the other. What is read may lie at any byte; `from` and `to`
 * mustn't overlap. */
void half_read_bf16(const void *from, float *to, size_t n);
void half_read_f16(const void *from, float *to, size_t n);
void half_write_bf16(const float *from, uint16_t *to, size_t n);
void half_write_f16(const float *from, uint16_t *to, size_t n);

/* e4m3: 4 bits of exponent, 3 of fraction; no infinities. The largest is 448; what is larger
 * becomes that. */
float half_from_e4m3(uint8_t c);
uint8_t half_to_e4m3(float f);
/* By what a row is divided to fill e4m3's range: its largest magnitude / 448; 1 when that is 0. NaN
 * is passed over here and stays one below. */
float half_e4m3_scale(const float *x, size_t n);
/* to[i] = scale * e4m3(x[i] / scale), the row's own scale; `to` may be x. */
void half_e4m3_round(const float *x, size_t n, float *to);

#ifdef __cplusplus
}
#endif
#endif
