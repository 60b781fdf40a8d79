/* attn_flat.cu - attention in f32, one warp for each row and head: clear, right at all shapes, and
 * what the tiled kernel is measured against.
 *
 * A warp takes its list of keys 32 at a time, by their place in the list. Lane j scores key j, one
 * chain of multiply-adds over the head; the softmax is carried along (largest score so far, sum of
 * weights); then each lane adds up its own columns of the values, key after key. So the bits of a
 * row follow from its list of keys alone.
 */
#include "kernels/cuda/attn.cuh"

enum { WARPS = 4, LANE_COLS = 8, HEAD_MAX = 32 * LANE_COLS };

/* The group that a row is in: the last one that begins at it or before. */
static __device__ int group_of(const struct attn *a, int row) {
    if (a->tokens) return row / a->tokens;
    int low = 0, high = a->n_groups - 1;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (a->groups[middle].row0 <= row)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

static __device__ inline float warp_max(float v) {
    for (int step = 16; step > 0; step /= 2)
        v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, step));
    return v;
}

/* q . key, one chain; `q` lies in shared memory. */
template <typename P>
static __device__ inline float score(const struct attn *a, const float *q, const P *key) {
    constexpr int PER = 16 / sizeof(P);
    float s = 0;
    if (a->has_vectors) {
#pragma unroll 2
        for (int c = 0; c < a->K; c += PER) {
            union {
                uint4 vector;
                P at[PER];
            } u = {*(const uint4 *)(const void *)(key + c)};
#pragma unroll
            for (int j = 0; j < PER; j++)
                s = fmaf(q[c + j], f32_of(u.at[j]), s);
        }
        return s;
    }
    for (int c = 0; c < a->K; c++)
        s = fmaf(q[c], f32_of(key[c]), s);
    return s;
}

/* y = softmax(scale q.k) v of one row and head a warp; ref_attn_full, ref_attn_tree. */
template <typename P>
static __global__ void __launch_bounds__(32 * WARPS) attn_flat(struct attn a) {
    __shared__ float all_q[WARPS][HEAD_MAX];
    const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    const size_t item = (size_t)blockIdx.x * WARPS + (size_t)warp;
    if (item >= (size_t)a.rows * (size_t)a.heads) return; /* the whole warp: no barrier follows */
    const int row = (int)(item / (size_t)a.heads);
    const size_t col = item % (size_t)a.heads * (size_t)a.K;
    float *q = all_q[warp];
    for (int c = lane; c < a.K; c += 32)
        q[c] = a.q[(size_t)row * (size_t)a.ldq + col + (size_t)c];
    __syncwarp();
    const struct kern_attn_group g = attn_group(&a, group_of(&a, row));
    const struct keys list = row_keys(&a, &g, group_keys(&a, &g), row);

    float top = -INFINITY, weight = 0, y[LANE_COLS] = {};
    for (int at = 0; at < list.n; at += 32) {
        int n = list.n - at < 32 ? list.n - at : 32;
        int slot = lane < n ? key_slot(&list, at + lane) : 0;
        float s = -INFINITY;
        if (lane < n) s = a.scale * score(&a, q, (const P *)a.k + (size_t)slot * a.stride + col);
        float now = fmaxf(top, warp_max(s));
        float less = top == now ? 1.0f : expf(top - now); /* also while all is -inf */
        float p = s == -INFINITY ? 0.0f : expf(s - now);
        weight = weight * less + warp_sum(p);
        top = now;
#pragma unroll
        for (int c = 0; c < LANE_COLS; c++)
            y[c] *= less;
        for (int j = 0; j < n; j++) {
            float pj = __shfl_sync(0xffffffffu, p, j);
            int from = __shfl_sync(0xffffffffu, slot, j);
            const P *value = (const P *)a.v + (size_t)from * a.stride + col;
#pragma unroll
            for (int c = 0; c < LANE_COLS; c++) {
                int at_col = lane + 32 * c;
                if (at_col < a.K) y[c] = fmaf(pj, f32_of(value[at_col]), y[c]);
            }
        }
    }
    const size_t to = (size_t)row * (size_t)a.ldy + col;
#pragma unroll
    for (int c = 0; c < LANE_COLS; c++) {
        int at_col = lane + 32 * c;
        if (at_col < a.K) put_as(a.y, a.y_dtype, to + (size_t)at_col, y[c] / weight);
    }
    size_t cell = (size_t)row * (size_t)a.heads + col / (size_t)a.K;
    if (a.lse && lane == 0) a.lse[cell] = top + logf(weight);
}

void attn_run_flat(struct kern *k, const struct attn *a) {
    must(a->K <= HEAD_MAX);
    size_t items = (size_t)a->rows * (size_t)a->heads;
    unsigned blocks = cuda_blocks(items, WARPS);
    if (a->dtype == KERN_BF16)
        attn_flat<__nv_bfloat16><<<blocks, 32 * WARPS, 0, k->stream>>>(*a);
    else
        attn_flat<float><<<blocks, 32 * WARPS, 0, k->stream>>>(*a);
    cuda_launched(k, "attn_flat");
}
