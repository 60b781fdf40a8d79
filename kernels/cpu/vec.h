/* vec.h - the vector vocabulary: `vf`, V floats wide, for the instruction set this file is compiled
 * for.
 *
 * GCC's vector types carry the operators; only what they lack is spelled out. v_fma is one rounding
 * where the machine has it and two where it has not (portable).
 */
#ifndef KERNELS_CPU_VEC_H
#define KERNELS_CPU_VEC_H

#include <stdint.h>
#include <string.h>

#include "kernels/base/half.h"

#if defined(__AVX512F__)
#include <immintrin.h>
enum { V = 16 };
#define V_ZIP(a)                                                                               \
    (a), (a) + 16, (a) + 1, (a) + 17, (a) + 2, (a) + 18, (a) + 3, (a) + 19, (a) + 4, (a) + 20, \
        (a) + 5, (a) + 21, (a) + 6, (a) + 22, (a) + 7, (a) + 23
#elif defined(__AVX2__)
#include <immintrin.h>
enum { V = 8 };
#define V_ZIP(a) (a), (a) + 8, (a) + 1, (a) + 9, (a) + 2, (a) + 10, (a) + 3, (a) + 11
#else
enum { V = 4 };
#define V_ZIP(a) (a), (a) + 4, (a) + 1, (a) + 5
#endif

typedef float vf __attribute__((vector_size(4 * V)));
typedef int32_t vi __attribute__((vector_size(4 * V)));

#define VEC static inline __attribute__((always_inline, unused))

VEC vf v_load(const float *p) {
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}
VEC void v_store(float *p, vf v) { memcpy(p, &v, sizeof v); }
VEC vf v_all(float x) { return x - (vf){0}; }
VEC vf v_fma(vf a, vf b, vf c) {
#if defined(__AVX512F__)
    return _mm512_fmadd_ps(a, b, c);
#elif defined(__AVX2__)
    return _mm256_fmadd_ps(a, b, c);
#else
    return a * b + c;
#endif
}
/* V numbers of 16 and of 8 bits, at any address: bf16, f16, and whole numbers. */
VEC vf v_load_bf16(const void *p) {
#if defined(__AVX512F__)
    return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16);
#elif defined(__AVX2__)
    return (vf)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16);
#else
    typedef uint16_t halves __attribute__((vector_size(2 * V)));
    halves h;
    memcpy(&h, p, sizeof h);
    return (vf)(__builtin_convertvector(h, vi) << 16);
#endif
}
/* As half_to_bf16: to nearest, ties to even; a NaN stays one. */
VEC void v_store_bf16(void *p, vf x) {
    typedef uint16_t halves __attribute__((vector_size(2 * V)));
    typedef uint32_t vu __attribute__((vector_size(4 * V)));
    vu u = (vu)x, up = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16, is_nan = (vu)(x != x);
    halves h = __builtin_convertvector((((u >> 16) | 0x40u) & is_nan) | (up & ~is_nan), halves);
    memcpy(p, &h, sizeof h);
}
VEC vf v_load_f16(const void *p) {
#if defined(__AVX512F__)
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
#elif defined(__AVX2__)
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
#else
    uint16_t h[V];
    vf v;
    memcpy(h, p, sizeof h);
    for (int i = 0; i < V; i++)
        v[i] = half_from_f16(h[i]);
    return v;
#endif
}
VEC vi v_load_i8(const void *p) {
#if defined(__AVX512F__)
    return (vi)_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p));
#elif defined(__AVX2__)
    return (vi)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p));
#else
    const int8_t *b = p;
    return (vi){b[0], b[1], b[2], b[3]};
#endif
}
VEC vi v_load_u8(const void *p) {
#if defined(__AVX512F__)
    return (vi)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
#elif defined(__AVX2__)
    return (vi)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
#else
    const uint8_t *b = p;
    return (vi){b[0], b[1], b[2], b[3]};
#endif
}
VEC vf v_from_ints(vi a) { return __builtin_convertvector(a, vf); }
/* The lower four bits of each lane, less 8. */
VEC vf v_from_nibbles(vi a) {
#if defined(__AVX512F__)
    const vf all = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7};
    return _mm512_permutexvar_ps((__m512i)a, all);
#else
    return v_from_ints((a & 15) - 8);
#endif
}
/* a, computed here. gcc may add whole numbers in another order, and puts sums off until what they
 * wait for doesn't fit into registers. */
VEC vi v_now(vi a) {
#if defined(__AVX2__)
    __asm__("" : "+v"(a));
#endif
    return a;
}
/* The 32 bits at p in every lane. */
VEC vf v_all_bits(const float *p) {
    int32_t bits;
    memcpy(&bits, p, sizeof bits);
    return (vf)(bits - (vi){0});
}
/* c + the products of both pairs of bf16 in a lane. Where the machine has no such instruction
 * nobody comes here. */
VEC vf v_dot_pairs(vf a, vf b, vf c) {
#if defined(__AVX512BF16__)
    return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b);
#else
    return (void)a, (void)b, c;
#endif
}
/* where mask (all ones or zero a lane) a, else b */
VEC vf v_pick(vi mask, vf a, vf b) { return (vf)(((vi)a & mask) | ((vi)b & ~mask)); }
/* a where it is the larger one, else b: b for a NaN. The instructions are made that way. */
VEC vf v_max(vf a, vf b) {
#if defined(__AVX512F__)
    return _mm512_max_ps(a, b);
#elif defined(__AVX2__)
    return _mm256_max_ps(a, b);
#else
    return v_pick(a > b, a, b);
#endif
}
VEC vf v_min(vf a, vf b) {
#if defined(__AVX512F__)
    return _mm512_min_ps(a, b);
#elif defined(__AVX2__)
    return _mm256_min_ps(a, b);
#else
    return v_pick(a < b, a, b);
#endif
}
VEC vi v_max_ints(vi a, vi b) {
#if defined(__AVX512F__)
    return (vi)_mm512_max_epi32((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return (vi)_mm256_max_epi32((__m256i)a, (__m256i)b);
#else
    vi is_more = a > b;
    return (a & is_more) | (b & ~is_more);
#endif
}
VEC vf v_sqrt(vf a) {
#if defined(__AVX512F__)
    return _mm512_sqrt_ps(a);
#elif defined(__AVX2__)
    return _mm256_sqrt_ps(a);
#else
    for (int i = 0; i < V; i++)
        a[i] = __builtin_sqrtf(a[i]);
    return a;
#endif
}
VEC vf v_abs(vf a) { return (vf)((vi)a & 0x7fffffff); }

/* The lanes of both in turn, a0 b0 a1 b1 ..: of their lower halves, of their upper ones. */
VEC vf v_zip_low(vf a, vf b) { return __builtin_shufflevector(a, b, V_ZIP(0)); }
VEC vf v_zip_high(vf a, vf b) { return __builtin_shufflevector(a, b, V_ZIP(V / 2)); }

/* Lanes added in a fixed tree. */
VEC float v_sum(vf v) {
    float a[V];
    v_store(a, v);
    for (int n = V / 2; n > 0; n /= 2)
        for (int i = 0; i < n; i++)
            a[i] += a[i + n];
    return a[0];
}
VEC float v_largest(vf v) {
    float a[V];
    v_store(a, v);
    for (int i = 1; i < V; i++)
        if (a[i] > a[0]) a[0] = a[i];
    return a[0];
}

enum { EXP_MAGIC = 0x4b400000 }; /* the bits of 1.5 * 2^23: adding it rounds to an integer */

/* e^x: x = n ln 2 + r with |r| <= ln 2 / 2, Taylor's polynomial of degree 7 for e^r (its remainder
 * is below 2e-9), times 2^n, so that both ends of the range come out right: denormal, then 0 below,
 * infinite above. Where no instruction does that, it takes two steps, and has the same bits.
 *
 * Here e^r, and n + 1.5 * 2^23. */
VEC vf v_exp_parts(vf x, vf *shifted) {
    const vf magic = v_all(12582912.0f);
    *shifted = v_fma(x, v_all(1.44269504089f), magic);
    vf n = *shifted - magic;
    vf r = v_fma(n, v_all(-0.693145751953125f), x);
    r = v_fma(n, v_all(-1.42860682030941723e-6f), r);
    vf p = v_all(1.0f / 5040);
    p = v_fma(p, r, v_all(1.0f / 720));
    p = v_fma(p, r, v_all(1.0f / 120));
    p = v_fma(p, r, v_all(1.0f / 24));
    p = v_fma(p, r, v_all(1.0f / 6));
    p = v_fma(p, r, v_all(0.5f));
    p = v_fma(p, r, v_all(1.0f));
    return v_fma(p, r, v_all(1.0f));
}

VEC vf v_exp(vf x) {
#if defined(__AVX2__) && !defined(__AVX512F__)
    /* Where no result can be denormal or infinite one step does: n is added to the exponents, and
     * of the magic number no bit is left. */
    if (!_mm256_movemask_ps(_mm256_cmp_ps(v_abs(x), v_all(86.0f), _CMP_NLE_UQ))) {
        vf shifted, p = v_exp_parts(x, &shifted);
        return (vf)((vi)p + ((vi)shifted << 23));
    }
#endif
    vf shifted, p = v_exp_parts(v_min(v_max(x, v_all(-104.0f)), v_all(89.0f)), &shifted);
#if defined(__AVX512F__)
    return _mm512_scalef_ps(p, shifted - v_all(12582912.0f));
#else
    vi twos = (vi)shifted - EXP_MAGIC, low = twos >> 1, high = twos - low;
    return p * (vf)((low + 127) << 23) * (vf)((high + 127) << 23);
#endif
}

/* erf: an odd polynomial below 1, 1 - e^q(x) from 1 to 4, 1 above; both fitted by least squares at
 * Chebyshev points in double. Absolute error below 1.5e-7. */
VEC vf v_erf(vf x) {
    static const float small[] = {1.128379225730896f,      -0.37612637877464294f,
                                  0.11283782869577408f,    -0.026865437626838684f,
                                  0.005221053492277861f,   -0.0008484396385028958f,
                                  0.00011268253729213029f, -9.673591193859465e-06f};
    static const float large[] = {0.0004005005757790059f, -1.1306045055389404f,
                                  -0.6310888528823853f,   -0.1109074205160141f,
                                  0.026999497786164284f,  -0.005021044984459877f,
                                  0.0006733376067131758f, -6.0068803577451035e-05f,
                                  3.095205556746805e-06f, -6.582861544757179e-08f};
    vf a = v_min(v_abs(x), v_all(4.0f)), s = a * a, p = v_all(small[7]), q = v_all(large[9]);
    for (int i = 6; i >= 0; i--)
        p = v_fma(p, s, v_all(small[i]));
    for (int i = 8; i >= 0; i--)
        q = v_fma(q, a, v_all(large[i]));
    vf r = v_pick(a < v_all(1.0f), a * p, v_all(1.0f) - v_exp(q));
    return (vf)((vi)r | ((vi)x & (int32_t)0x80000000));
}

/* The integral of the normal density up to x. */
VEC vf v_normal(vf x) {
    return v_all(0.5f) * (v_all(1.0f) + v_erf(x * v_all(0.70710678118654752f)));
}

VEC vf v_gelu(vf x) {
    return v_all(0.5f) * x * (v_all(1.0f) + v_erf(x * v_all(0.70710678118654752f)));
}

#endif
