/* attn_back.cuh - what the kernels of attention's way back share: the call, a tile of rows and keys
 * in shared memory, and what a row has to do with a key. The story is in attn_back.cu. */
#ifndef KERNELS_CUDA_ATTN_BACK_CUH
#define KERNELS_CUDA_ATTN_BACK_CUH

#include <limits.h>

#include "kernels/cuda/attn.cuh"

enum { BACK_TILE = 32, BACK_WARPS = 8, BACK_THREADS = 32 * BACK_WARPS };
enum { BACK_MINE = BACK_TILE / BACK_WARPS }; /* rows, or keys, of a warp */
enum { HOLD_HEADS = 32 };                    /* heads that can be held */

/* Both operations in one form. */
struct attn_back {
    struct attn fwd;
    const float *dy; /* (rows, lddy) */
    int lddy;
    float *dq; /* (rows, lddq) */
    int lddq;
    float *dk, *dv; /* slot 0 of head 0 */
    size_t stride;  /* floats from slot to slot */
    bool accumulate;
    bool is_rounded; /* q, k, v as the tiled kernel multiplied them: scaled and in fp16 */
    float scale;     /* of q . k and of dk: 1 when q is scaled already */
    float *delta;    /* (rows, heads): dy . y, less the weight that the row is held with */
    int slot0;       /* of the first block of keys in the tree */
    const struct kern_attn_hold *holds;
    int n_holds;
    const int32_t *hold_slots;
    float *held; /* (n_holds, HOLD_HEADS): log sum exp(s) over the slots of a hold */
    float *hold_loss;
    int n_users;
    const int32_t *user_slot, *user_off, *user;
};

/* A number of q, and of a key or value, as it was multiplied. */
static __device__ inline float back_q(const struct attn_back *b, float v) {
    return b->is_rounded ? __half2float(to_f16(b->fwd.scale * v)) : v;
}
static __device__ inline float back_kv(const struct attn_back *b, float v) {
    return b->is_rounded ? __half2float(to_f16(v)) : v;
}

/* The hold of a row in a head; -1: none. */
static __device__ inline int back_hold(const struct attn_back *b, int row, int head) {
    int low = 0, high = b->n_holds;
    if (head >= HOLD_HEADS) return -1;
    while (low < high) {
        int middle = (low + high) / 2;
        if (b->holds[middle].row < row)
            low = middle + 1;
        else
            high = middle;
    }
    bool has = low < b->n_holds && b->holds[low].row == row && (b->holds[low].heads >> head & 1);
    return has ? low : -1;
}

/* Is the slot one of those that a hold is about? */
static __device__ inline bool back_is_held(const struct attn_back *b,
                                           const struct kern_attn_hold *hold, int slot) {
    const int32_t *slots = b->hold_slots + hold->at;
    int low = 0, high = hold->n;
    while (low < high) {
        int middle = (low + high) / 2;
        if (slots[middle] < slot)
            low = middle + 1;
        else
            high = middle;
    }
    return low < hold->n && slots[low] == slot;
}

/* What a row has to do with a key: its weight, and the slope of the loss by its score. */
struct pair {
    float p, ds;
};

/* From q . k and dy . v. `hold`: of the row in this head. */
static __device__ inline struct pair back_pair(const struct attn_back *b, float qk, float dyv,
                                               float lse, float delta, int hold, int head,
                                               int slot) {
    float s = b->scale * qk, p = expf(s - lse);
    struct pair pair = {p, p * (dyv - delta)};
    if (hold >= 0 && back_is_held(b, &b->holds[hold], slot))
        pair.ds -= b->holds[hold].weight * expf(s - b->held[hold * HOLD_HEADS + head]);
    return pair;
}

/* 32 rows and 32 keys of one head, of up to 32 J columns, zeros behind what there is. Lines are 4
 * longer than they need be, so that vectors of 8 lines meet all banks. */
template <int J> struct back_tile {
    float q[BACK_TILE][32 * J + 4], dy[BACK_TILE][32 * J + 4];
    float k[BACK_TILE][32 * J + 4], v[BACK_TILE][32 * J + 4];
    float p[BACK_TILE][BACK_TILE + 4], ds[BACK_TILE][BACK_TILE + 4];
    float lse[BACK_TILE], delta[BACK_TILE];
    int hold[BACK_TILE];
    int slot[BACK_TILE]; /* of a key; -1: there is none */
    int from[BACK_TILE]; /* the first row that sees it */
    int first;           /* the least of them */
};

/* Rows row .. row+n-1. A row that isn't there weighs nothing: its lse is infinite. */
template <int J>
static __device__ inline void back_load_rows(const struct attn_back *b, int row, int n, int head,
                                             struct back_tile<J> *sh) {
    const struct attn *a = &b->fwd;
    const size_t col = (size_t)head * (size_t)a->K;
    const int lane = (int)threadIdx.x % 32;
    for (int r = (int)threadIdx.x / 32; r < BACK_TILE; r += BACK_WARPS) {
        const float *q = a->q + (size_t)(row + r) * (size_t)a->ldq + col;
        const float *dy = b->dy + (size_t)(row + r) * (size_t)b->lddy + col;
#pragma unroll
        for (int j = 0; j < J; j++) {
            int c = lane + 32 * j;
            bool is_in = r < n && c < a->K;
            sh->q[r][c] = is_in ? back_q(b, q[c]) : 0.0f;
            sh->dy[r][c] = is_in ? dy[c] : 0.0f;
        }
    }
    if (threadIdx.x < BACK_TILE) {
        int r = (int)threadIdx.x;
        size_t at = (size_t)(row + r) * (size_t)a->heads + (size_t)head;
        sh->lse[r] = r < n ? a->lse[at] : INFINITY;
        sh->delta[r] = r < n ? b->delta[at] : 0.0f;
        sh->hold[r] = r < n && b->n_holds ? back_hold(b, row + r, head) : -1;
    }
}

/* The keys and values in `slot`. */
template <int J>
static __device__ inline void back_load_keys(const struct attn_back *b, int head,
                                             struct back_tile<J> *sh) {
    const struct attn *a = &b->fwd;
    const float *keys = (const float *)a->k, *values = (const float *)a->v;
    const int lane = (int)threadIdx.x % 32;
    for (int t = (int)threadIdx.x / 32; t < BACK_TILE; t += BACK_WARPS) {
        int slot = sh->slot[t];
        size_t at = (size_t)slot * a->stride + (size_t)head * (size_t)a->K;
#pragma unroll
        for (int j = 0; j < J; j++) {
            int c = lane + 32 * j;
            bool is_in = slot >= 0 && c < a->K;
            sh->k[t][c] = is_in ? back_kv(b, keys[at + (size_t)c]) : 0.0f;
            sh->v[t][c] = is_in ? back_kv(b, values[at + (size_t)c]) : 0.0f;
        }
    }
}

/* p and ds of the whole tile: [row][key], or [key][row] when turned. Each thread has two rows and
 * two keys; every product is one chain over the head. `row`: the number of the tile's first. */
template <int J, bool IS_TURNED>
static __device__ inline void back_pairs(const struct attn_back *b, int row, int head,
                                         struct back_tile<J> *sh) {
    const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    const int r0 = warp / 2 * 4 + lane / 8, t0 = warp % 2 * 8 + lane % 8;
    float qk[2][2] = {}, dyv[2][2] = {};
#pragma unroll 2
    for (int c = 0; c < 32 * J; c += 4) {
        float4 q[2], dy[2], k[2], v[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            q[i] = *(const float4 *)(const void *)&sh->q[r0 + 16 * i][c];
            dy[i] = *(const float4 *)(const void *)&sh->dy[r0 + 16 * i][c];
            k[i] = *(const float4 *)(const void *)&sh->k[t0 + 16 * i][c];
            v[i] = *(const float4 *)(const void *)&sh->v[t0 + 16 * i][c];
        }
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float *s = &qk[i / 2][i % 2], *d = &dyv[i / 2][i % 2];
            const float4 x = q[i / 2], y = k[i % 2], u = dy[i / 2], w = v[i % 2];
            *s = fmaf(x.w, y.w, fmaf(x.z, y.z, fmaf(x.y, y.y, fmaf(x.x, y.x, *s))));
            *d = fmaf(u.w, w.w, fmaf(u.z, w.z, fmaf(u.y, w.y, fmaf(u.x, w.x, *d))));
        }
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        int r = r0 + i / 2 * 16, t = t0 + i % 2 * 16;
        struct pair pair = {0, 0};
        if (sh->slot[t] >= 0 && sh->from[t] <= row + r)
            pair = back_pair(b, qk[i / 2][i % 2], dyv[i / 2][i % 2], sh->lse[r], sh->delta[r],
                             sh->hold[r], head, sh->slot[t]);
        sh->p[IS_TURNED ? t : r][IS_TURNED ? r : t] = pair.p;
        sh->ds[IS_TURNED ? t : r][IS_TURNED ? r : t] = pair.ds;
    }
}

#endif
