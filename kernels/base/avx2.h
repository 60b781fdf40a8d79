/* avx2.h - plain loops that the compiler makes vector code of twice: for any processor of the
 * kind that is built for, and for one with AVX2. Which of them runs is found out at run time.
 *
 *     TWICE void add_all(float *x, size_t n) { .. }
 *     AVX2 static void add_avx2(float *x, size_t n) { add_all(x, n); }
 *     if (HAS_AVX2) add_avx2(x, n); else add_all(x, n);
 *
 * Both give the same bits: nothing is contracted (-ffp-contract=off).
 */
#ifndef KERNELS_BASE_AVX2_H
#define KERNELS_BASE_AVX2_H

#define TWICE static inline __attribute__((always_inline))

#ifdef __x86_64__
#define AVX2     __attribute__((target("avx2")))
#define HAS_AVX2 __builtin_cpu_supports("avx2")
#else
#define AVX2
#define HAS_AVX2 0
#endif

#endif
