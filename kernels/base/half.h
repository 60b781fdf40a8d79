/* half.h - 16-bit floats: bf16 (8 bits of exponent) and IEEE f16. Round to nearest, ties to even. */
#ifndef KERNELS_BASE_HALF_H
#define KERNELS_BASE_HALF_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

float half_from_bf16(uint16_t h);
uint16_t half_to_bf16(float f);
float half_from_f16(uint16_t h);
uint16_t half_to_f16(float f);

#ifdef __cplusplus
}
#endif
#endif
