/* rng.h - counter-based random numbers: the n-th number of a seed is a pure function, the same on
 * every backend and in every order of asking. */
#ifndef KERNELS_BASE_RNG_H
#define KERNELS_BASE_RNG_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

uint64_t rng_u64(uint64_t seed, uint64_t n);
float rng_uniform(uint64_t seed, uint64_t n); /* [0, 1), 24 bits */
float rng_normal(uint64_t seed, uint64_t n);  /* mean 0, variance 1 */

#ifdef __cplusplus
}
#endif
#endif
