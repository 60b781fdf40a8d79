/* rng.c - splitmix64's finaliser over a Weyl sequence keyed by the seed (Steele, Lea, Flood,
 * "Fast splittable pseudorandom number generators", 2014); Box-Muller for normal numbers. */
#include "kernels/base/rng.h"

#include <math.h>

static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

uint64_t rng_u64(uint64_t seed, uint64_t n) { return mix(seed + (n + 1) * 0x9e3779b97f4a7c15ull); }

float rng_uniform(uint64_t seed, uint64_t n) { return (float)(rng_u64(seed, n) >> 40) * 0x1p-24f; }

float rng_normal(uint64_t seed, uint64_t n) {
    double u = ((double)(rng_u64(seed, 2 * n) >> 11) + 0.5) * 0x1p-53;
    double v = ((double)(rng_u64(seed, 2 * n + 1) >> 11) + 0.5) * 0x1p-53;
    return (float)(sqrt(-2.0 * log(u)) * cos(6.283185307179586476925 * v));
}
