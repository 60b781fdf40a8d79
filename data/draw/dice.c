/* dice.c - see dice.h. An order is a Feistel network over the smallest even number of bits that
 * holds n; what falls outside of n is sent through it again until it falls inside. Four rounds mix
 * well enough for an order of pictures (Luby and Rackoff, 1988). */
#include "data/draw/dice.h"

#include "kernels/base/rng.h"

struct dice dice_of(uint64_t seed, uint64_t step, uint64_t item) {
    return (struct dice){rng_u64(rng_u64(seed, step), item), 0};
}

/* A product's upper half: unbiased to 2^-32. */
uint32_t dice_below(struct dice *d, uint32_t n) {
    return (uint32_t)((rng_u64(d->seed, d->n++) >> 32) * n >> 32);
}

double dice_between(struct dice *d, double from, double to) {
    double unit = (double)(rng_u64(d->seed, d->n++) >> 11) * 0x1p-53;
    return from + (to - from) * unit;
}

uint32_t dice_order(uint64_t seed, uint32_t n, uint32_t i) {
    unsigned half = 1;
    while (half < 16 && (UINT64_C(1) << 2 * half) < n)
        half++;
    const uint32_t mask = (UINT32_C(1) << half) - 1;
    do {
        uint32_t left = i >> half, right = i & mask;
        for (uint64_t round = 0; round < 4; round++) {
            uint32_t next = left ^ ((uint32_t)rng_u64(seed + round, right) & mask);
            left = right;
            right = next;
        }
        i = left << half | right;
    } while (i >= n);
    return i;
}
