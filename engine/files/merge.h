/* merge.h - a LoRA is added to the matrix it stands beside: W + scale B A, in f32. Thread: any. */
#ifndef ENGINE_FILES_MERGE_H
#define ENGINE_FILES_MERGE_H

#include <stddef.h>

enum { MERGE_COLUMNS = 64 /* that are summed at a time */ };

/* W (N, K), A (r, K), B (N, r), row-major. */
struct merge {
    const float *a, *b;
    size_t r, width; /* K */
    float scale;
    float *panel; /* (r, MERGE_COLUMNS) for the call's own use */
};
/* x[i] += scale (B A)[at + i] for i < n, where numbers are counted along W's rows. Each is a sum
 * over ascending j of B[.][j] A[j][.], wherever the piece begins and ends. */
void merge_add(const struct merge *m, size_t at, float *x, size_t n);

#endif
