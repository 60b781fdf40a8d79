/* head.cu - from logits to a choice: kernels/ref/head.c. One block a row; its threads take the
 * columns of the list in strides, so that order and bits follow from the list alone. */
#include <limits.h>

#include "kernels/cuda/common.cuh"

enum { THREADS = 128 };

struct top {
    float value;
    int at;
};

/* The larger of two, the earlier on a tie. What is not a number never wins. */
static __device__ struct top better(struct top a, struct top b) {
    return b.value > a.value || (b.value == a.value && b.at < a.at) ? b : a;
}

static __device__ struct top block_top(struct top t, struct top *shared) {
    for (int step = 16; step > 0; step /= 2) {
        struct top other = {__shfl_xor_sync(0xffffffffu, t.value, step),
                            __shfl_xor_sync(0xffffffffu, t.at, step)};
        t = better(t, other);
    }
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = t;
    __syncthreads();
    t = shared[0];
    for (int w = 1; w < THREADS / 32; w++)
        t = better(t, shared[w]);
    return t;
}

/* probs = softmax(logits[cols]), best = the first of the largest; ref_pick. */
static __global__ void __launch_bounds__(THREADS)
    pick_rows(const float *logits, int ld, const int32_t *set, const int32_t *off,
              const int32_t *cols, float *probs, int ldp, int32_t *best) {
    __shared__ struct top tops[THREADS / 32];
    __shared__ float sums[THREADS / 32];
    size_t row = blockIdx.x;
    logits += row * (size_t)ld;
    probs += row * (size_t)ldp;
    int first = off[set[row]], n = off[set[row] + 1] - first;
    cols += first;
    struct top t = {-INFINITY, INT_MAX};
    for (int j = (int)threadIdx.x; j < n; j += THREADS) {
        struct top other = {logits[cols[j]], j};
        t = better(t, other);
    }
    t = block_top(t, tops);
    float sum = 0;
    for (int j = (int)threadIdx.x; j < n; j += THREADS)
        sum += expf(logits[cols[j]] - t.value);
    sum = block_sum(sum, sums);
    for (int j = (int)threadIdx.x; j < n; j += THREADS)
        probs[j] = expf(logits[cols[j]] - t.value) / sum;
    if (threadIdx.x == 0) best[row] = t.at == INT_MAX ? 0 : t.at; /* not a number among them */
}

void cuda_pick(struct kern *k, const struct kern_pick *a) {
    if (!cuda_enter(k, 0) || a->rows == 0) return;
    pick_rows<<<(unsigned)a->rows, THREADS, 0, k->stream>>>(
        cuda_f32(a->logits), a->ld, cuda_i32(a->set), cuda_i32(a->col_off), cuda_i32(a->cols),
        cuda_f32(a->probs), a->ldp, (int32_t *)(void *)a->best.addr);
    cuda_launched(k, "pick");
}
