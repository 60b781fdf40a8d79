/* half.c - bf16 is the upper half of an f32; f16 has 5 bits of exponent and denormals of its own;
 * e4m3 is the one without infinities (OCP 8-bit Floating Point, E4M3). */
#include "kernels/base/half.h"

#include <math.h>
#include <string.h>

#include "kernels/base/avx2.h"

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

/* Without a branch, so that a loop of them goes by vectors. */
static int32_t either(int is, int32_t yes, int32_t no) { return no ^ ((yes ^ no) & -is); }

float half_from_bf16(uint16_t h) { return float_of((uint32_t)h << 16); }

uint16_t half_to_bf16(float f) {
    uint32_t u = bits_of(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((u >> 16) | 0x40u); /* a quiet NaN */
    return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

float half_from_f16(uint16_t h) {
    int32_t a = h & 0x7fff, u = (a << 13) + 0x38000000;
    int32_t small = (int32_t)bits_of(float_of((uint32_t)u + 0x800000u) - 0x1p-14f);
    u += either(a >= 0x7c00, 0x38000000, 0); /* infinite or none */
    u = either(a < 0x400, small, u);
    return float_of((uint32_t)(h & 0x8000u) << 16 | (uint32_t)u);
}

uint16_t half_to_f16(float f) {
    uint32_t u = bits_of(f), sign = (u >> 16) & 0x8000u;
    int32_t a = (int32_t)(u & 0x7fffffffu), r = (a - 0x38000000 + 0xfff + (a >> 13 & 1)) >> 13;
    /* Below 2^-14 it is a multiple of 2^-24, by which numbers from 1/2 on are apart. */
    int32_t small = (int32_t)bits_of(float_of((uint32_t)a) + 0.5f) - 0x3f000000;
    r = either(a < 0x38800000, small, r);
    r = either(a >= 0x477ff000, 0x7c00, r); /* 65520 and more round to infinity */
    r = either(a > 0x7f800000, 0x7e00, r);
    return (uint16_t)(sign | (uint32_t)r);
}

/* ---- many of them: loops that the compiler makes vector code of, also for AVX2 ---- */

TWICE void read_f16(const void *from, float *to, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, (const char *)from + i * sizeof h, sizeof h);
        to[i] = half_from_f16(h);
    }
}
TWICE void write_f16(const float *from, uint16_t *to, size_t n) {
    for (size_t i = 0; i < n; i++)
        to[i] = half_to_f16(from[i]);
}
TWICE void write_bf16(const float *from, uint16_t *to, size_t n) {
    for (size_t i = 0; i < n; i++)
        to[i] = half_to_bf16(from[i]);
}

AVX2 static void read_f16_avx2(const void *from, float *to, size_t n) { read_f16(from, to, n); }
AVX2 static void write_f16_avx2(const float *from, uint16_t *to, size_t n) {
    write_f16(from, to, n);
}
AVX2 static void write_bf16_avx2(const float *from, uint16_t *to, size_t n) {
    write_bf16(from, to, n);
}

void half_read_bf16(const void *from, float *to, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, (const char *)from + i * sizeof h, sizeof h);
        to[i] = half_from_bf16(h);
    }
}

void half_read_f16(const void *from, float *to, size_t n) {
    if (HAS_AVX2)
        read_f16_avx2(from, to, n);
    else
        read_f16(from, to, n);
}

void half_write_bf16(const float *from, uint16_t *to, size_t n) {
    if (HAS_AVX2)
        write_bf16_avx2(from, to, n);
    else
        write_bf16(from, to, n);
}

void half_write_f16(const float *from, uint16_t *to, size_t n) {
    if (HAS_AVX2)
        write_f16_avx2(from, to, n);
    else
        write_f16(from, to, n);
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
