/* num.h - small words for numbers. Thread: any. */
#ifndef KERNELS_BASE_NUM_H
#define KERNELS_BASE_NUM_H

#include <stdint.h>

static inline int32_t at_least(int32_t a, int32_t least) { return a > least ? a : least; }
static inline int32_t at_most(int32_t a, int32_t most) { return a < most ? a : most; }

/* Bytes in MiB, for texts that people read. */
static inline double in_mib(uint64_t bytes) { return (double)bytes / (1024.0 * 1024.0); }

/* The order of two int32_t, for qsort and bsearch: ascending. */
static inline int by_int32(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

#endif
