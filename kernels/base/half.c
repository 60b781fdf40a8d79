/* half.c - bf16 is the upper half of an f32; f16 has 5 bits of exponent and denormals of its own;
 * e4m3 is the one without infinities (OCP 8-bit Floating Point, E4M3). */
#include "kernels/base/half.h"

#include <math.h>
#include <string.h>

static uint32_t bits_of(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static float float_of(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

float half_from_bf16(uint16_t h) { return float_of((uint32_t)h << 16); }

uint16_t half_to_bf16(float f) {
    uint32_t u = bits_of(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((u >> 16) | 0x40u); /* a quiet NaN */
    return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

float half_from_f16(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exp = (h >> 10) & 31u, man = h & 0x3ffu;
    if (exp == 31) return float_of(sign | 0x7f800000u | (man << 13));
    if (exp == 0) {
        float f = (float)man * 0x1p-24f;
        return sign ? -f : f;
    }
    return float_of(sign | ((exp + 112u) << 23) | (man << 13));
}

uint16_t half_to_f16(float f) {
    uint32_t u = bits_of(f);
    uint32_t sign = (u >> 16) & 0x8000u, a = u & 0x7fffffffu;
    if (a > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);
    if (a >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* 65520 and more round to infinity */
    if (a < 0x38800000u) { /* below 2^-14: a multiple of 2^-24, ties to even */
        float m = float_of(a) * 0x1p24f;
        return (uint16_t)(sign | (uint32_t)nearbyintf(m));
    }
    uint32_t r = a + 0xfffu + ((a >> 13) & 1u);
    return (uint16_t)(sign | ((r - 0x38000000u) >> 13));
}

/* ---- 8 bits ---- */

float half_from_e4m3(uint8_t c) {
    uint32_t sign = (uint32_t)(c & 0x80u) << 24, exp = (c >> 3) & 15u, man = c & 7u;
    if (exp == 15 && man == 7) return float_of(sign | 0x7fc00000u);
    if (exp == 0) return float_of(sign | bits_of((float)man * 0x1p-9f));
    return float_of(sign | ((exp + 120u) << 23) | (man << 20));
}

uint8_t half_to_e4m3(float f) {
    uint32_t u = bits_of(f), sign = (u >> 24) & 0x80u, a = u & 0x7fffffffu;
    if (a > 0x7f800000u) return (uint8_t)(sign | 0x7fu);
    if (a >= 0x43e00000u) return (uint8_t)(sign | 0x7eu); /* 448 and more */
    if (a < 0x3c800000u)                                  /* below 2^-6: a multiple of 2^-9 */
        return (uint8_t)(sign | (uint32_t)nearbyintf(float_of(a) * 0x1p9f));
    uint32_t r = a + 0x7ffffu + ((a >> 20) & 1u);
    return (uint8_t)(sign | ((r - 0x3c000000u) >> 20));
}

float half_e4m3_scale(const float *x, size_t n) {
    float most = 0;
    for (size_t i = 0; i < n; i++)
        if (fabsf(x[i]) > most) most = fabsf(x[i]);
    float scale = most / 448.0f;
    return scale > 0 ? scale : 1.0f;
}

void half_e4m3_round(const float *x, size_t n, float *to) {
    float scale = half_e4m3_scale(x, n);
    for (size_t i = 0; i < n; i++)
        to[i] = scale * half_from_e4m3(half_to_e4m3(x[i] / scale));
}
