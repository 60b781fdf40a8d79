/* attn_tile.cu - attention on the tensor cores: rows of a group share the keys that all of them
 * see.
 *
 * One block takes up to 64 rows of a group and one head: 4 warps of 16 rows. Keys and values come
 * 32 at a time, rounded to fp16, once for the whole block; q, already scaled, stays in registers.
 * Per warp, with m16n8k16 products (mma.cuh; rows x keys, then rows x columns of the head) and a
 * softmax carried along, as in FlashAttention-2:
 *
 *     s = q k^T;  top' = max(top, s);  p = exp(s - top');  y = y exp(top - top') + p v
 *
 * Invariant: the bits of a row depend on its list of keys alone. Keys are taken in blocks of 32 by
 * their place in the list, never by where they are stored or with whom they are shared:
 *
 *     list of a lane's row:   [ 32 shared | 32 shared | shared, private ... | private ]
 *                               together with its group | by itself
 *
 * A block that holds a private key is computed for its row alone, by the same products with only
 * that row's result kept. Rows that are prefilled share all blocks and hide what comes after them:
 * a hidden key weighs exactly 0. There is nothing to be merged: one softmax runs over the list in
 * its order. (Merging by log-sum-exp would make bits depend on where a list is cut.)
 *
 * TRAPS:
 * - Weights are summed up as rounded, so that they add to one. A score below the largest by more
 * than
 *   17 weighs nothing: fp16 ends there.
 * - 0 times a value that is not finite is not 0: private blocks must not touch other rows' sums,
 * hence
 *   the selects; among rows of one prefill the model is broken anyway.
 * - All 32 lanes must come to every mma and shuffle: branches here depend on the warp alone.
 */
#include "kernels/cuda/attn.cuh"
#include "kernels/cuda/mma.cuh"

enum { WARPS = 4, THREADS = 32 * WARPS, WARP_ROWS = 16, ROWS = WARPS * WARP_ROWS, BLOCK = 32 };

static __device__ inline uint32_t pack(float low, float high) {
    return (uint32_t)__half_as_ushort(to_f16(low)) | (uint32_t)__half_as_ushort(to_f16(high)) << 16;
}

/* Two numbers of which `left` exist, zeros for the rest. */
static __device__ inline uint32_t load2(const float *from, int left) {
    return pack(left > 0 ? from[0] : 0.0f, left > 1 ? from[1] : 0.0f);
}

/* The softmax of a lane's two rows so far: [0] row g, [1] row g+8. `weight` is this lane's share of
 * the keys; the four lanes of a row are added up at the end. */
struct state {
    float top[2], weight[2];
};

/* Scores into weights, in place; `less` is what the sums so far shrink by. Rows that are not
 * `meant` keep their state and get weights of zero. */
static __device__ inline void weigh(float (&s)[BLOCK / 8][4], struct state *st,
                                    const bool (&meant)[2], float (&less)[2]) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float top = -INFINITY;
#pragma unroll
        for (int n = 0; n < BLOCK / 8; n++)
            top = fmaxf(top, fmaxf(s[n][2 * h], s[n][2 * h + 1]));
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
        top = fmaxf(top, st->top[h]);
        less[h] = !meant[h] || top == st->top[h] ? 1.0f : expf(st->top[h] - top);
        float sum = 0;
#pragma unroll
        for (int n = 0; n < BLOCK / 8; n++) {
#pragma unroll
            for (int j = 2 * h; j < 2 * h + 2; j++) {
                float p = !meant[h] || s[n][j] == -INFINITY ? 0.0f : expf(s[n][j] - top);
                p = __half2float(__float2half_rn(p));
                s[n][j] = p;
                sum += p;
            }
        }
        st->top[h] = meant[h] ? top : st->top[h];
        /* by name, since whether a compiler fuses it may differ between the two callers */
        st->weight[h] = meant[h] ? fmaf(st->weight[h], less[h], sum) : st->weight[h];
    }
}

/* The weights of 16 keys as the left side of a product. */
static __device__ inline void as_left(const float (&s)[BLOCK / 8][4], int n, uint32_t (&a)[4]) {
    a[0] = pack(s[n][0], s[n][1]);
    a[1] = pack(s[n][2], s[n][3]);
    a[2] = pack(s[n + 1][0], s[n + 1][1]);
    a[3] = pack(s[n + 1][2], s[n + 1][3]);
}

/* A block of keys and values in shared memory, (BLOCK, D) fp16. The rows are 8 longer than they
 * need be, so that the 32 lanes of a fragment meet 32 banks. */
template <int D> struct tile {
    __align__(16) __half keys[BLOCK][D + 8];
    __align__(16) __half values[BLOCK][D + 8];
    int slots[BLOCK];
};

template <bool BY_WARP> static __device__ inline void wait(void) {
    if (BY_WARP)
        __syncwarp();
    else
        __syncthreads();
}

/* Keys at .. at+n-1 of the list into shared memory, zeros behind; by one warp or by the whole
 * block. */
template <int D, bool BY_WARP>
static __device__ inline void load_block(const struct attn *a, const struct keys *list, int at,
                                         int n, size_t col, struct tile<D> *sh) {
    const int threads = BY_WARP ? 32 : THREADS, thread = (int)threadIdx.x % threads;
    wait<BY_WARP>(); /* until nobody reads the last one */
    if (thread < BLOCK) sh->slots[thread] = thread < n ? key_slot(list, at + thread) : -1;
    wait<BY_WARP>();
    for (int i = thread; i < BLOCK * D / 4; i += threads) {
        int key = i / (D / 4), c = i % (D / 4) * 4, slot = sh->slots[key];
        uint2 k = {0, 0}, v = {0, 0};
        size_t from = (size_t)(slot < 0 ? 0 : slot) * a->stride + col + (size_t)c;
        if (a->has_vectors && slot >= 0 && c < a->K) {
            float4 x = *(const float4 *)(const void *)(a->k + from);
            float4 z = *(const float4 *)(const void *)(a->v + from);
            k = {pack(x.x, x.y), pack(x.z, x.w)};
            v = {pack(z.x, z.y), pack(z.z, z.w)};
        } else if (slot >= 0 && c < a->K) {
            k = {load2(a->k + from, a->K - c), load2(a->k + from + 2, a->K - c - 2)};
            v = {load2(a->v + from, a->K - c), load2(a->v + from + 2, a->K - c - 2)};
        }
        *(uint2 *)(void *)&sh->keys[key][c] = k;
        *(uint2 *)(void *)&sh->values[key][c] = v;
    }
    wait<BY_WARP>();
}

/* A warp takes in a block of n keys, the first of which is number `at` of the list. Row h of a lane
 * sees the keys before `seen[h]`. Private: of all rows only the `meant` one takes part. */
template <int D, bool IS_PRIVATE>
static __device__ inline void
add_block(const struct tile<D> *sh, int at, int n, const int (&seen)[2], const bool (&meant)[2],
          const uint32_t (&q)[D / 16][4], struct state *st, float (&y)[D / 8][4]) {
    const int lane = (int)threadIdx.x % 32, g = lane / 4, t = lane % 4;
    float s[BLOCK / 8][4] = {}, less[2];
#pragma unroll
    for (int b = 0; b < BLOCK / 8; b++) {
        if (8 * b < n) {
#pragma unroll
            for (int c = 0; c < D / 16; c++) {
                const __half *key = &sh->keys[8 * b + g][16 * c + 2 * t];
                mma(s[b], q[c], *(const uint32_t *)(const void *)key,
                    *(const uint32_t *)(const void *)(key + 8));
            }
        }
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (at + 8 * b + 2 * t + j % 2 >= seen[j / 2]) s[b][j] = -INFINITY;
    }
    weigh(s, st, meant, less);
#pragma unroll
    for (int d = 0; d < D / 8; d++) {
#pragma unroll
        for (int j = 0; j < 4; j++)
            y[d][j] *= less[j / 2];
    }
#pragma unroll
    for (int b = 0; b < BLOCK / 8; b += 2) {
        if (8 * b >= n) continue;
        uint32_t p[4];
        as_left(s, b, p);
#pragma unroll
        for (int d = 0; d < D / 8; d++) {
            uint32_t b0, b1;
            float sum[4] = {y[d][0], y[d][1], y[d][2], y[d][3]};
            load_values(&sh->values[8 * b + lane % 16][8 * d], b0, b1);
            mma(sum, p, b0, b1);
#pragma unroll
            for (int j = 0; j < 4; j++)
                if (!IS_PRIVATE || meant[j / 2]) y[d][j] = sum[j];
        }
    }
}

/* y = softmax(scale q.k) v of up to 64 rows of a group (blockIdx.x, blockIdx.z) and one head
 * (blockIdx.y); ref_attn_full, ref_attn_tree. D: the head size, rounded up. */
template <int D> static __global__ void __launch_bounds__(THREADS, 2) attn_tile(struct attn a) {
    extern __shared__ __align__(16) char shared[]; /* a tile for each warp; [0] is the block's */
    struct tile<D> *sh = (struct tile<D> *)(void *)shared;
    const struct kern_attn_group group = attn_group(&a, (int)blockIdx.x);
    const int first = (int)blockIdx.z * ROWS, left = group.rows - first;
    if (left <= 0) return; /* the whole block: another group has more rows */
    const int rows = left < ROWS ? left : ROWS, row0 = group.row0 + first;
    const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    const int mine = warp * WARP_ROWS, g = lane / 4, t = lane % 4;
    const size_t col = (size_t)blockIdx.y * (size_t)a.K;
    const struct keys common = group_keys(&a, &group);
    const bool has_tails = !a.tokens && group.own_slot < 0;

    /* How far the block goes together, and what each of this lane's two rows sees of that. */
    struct keys list = has_tails ? common : row_keys(&a, &group, common, row0 + rows - 1);
    const int together = has_tails ? common.shared / BLOCK * BLOCK : list.n;
    int seen[2], most;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        int row = row0 + mine + g + 8 * h;
        seen[h] = has_tails || a.tokens ? together : common.shared + row - group.row0 + 1;
    }
    most = has_tails || a.tokens ? together : common.shared + row0 + mine + WARP_ROWS - group.row0;

    uint32_t q[D / 16][4];
#pragma unroll
    for (int c = 0; c < D / 16; c++) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int row = mine + g + j % 2 * 8, at = 16 * c + 2 * t + j / 2 * 8;
            const float *from = a.q + (size_t)(row0 + row) * (size_t)a.ldq + col;
            float low = row < rows && at < a.K ? from[at] : 0.0f;
            float high = row < rows && at + 1 < a.K ? from[at + 1] : 0.0f;
            q[c][j] = pack(a.scale * low, a.scale * high);
        }
    }

    struct state st = {{-INFINITY, -INFINITY}, {0, 0}};
    float y[D / 8][4] = {};
    const bool both[2] = {true, true};
    for (int at = 0; at < together; at += BLOCK) {
        int n = together - at < BLOCK ? together - at : BLOCK;
        load_block<D, false>(&a, &list, at, n, col, sh);
        if (mine < rows && at < most) add_block<D, false>(sh, at, n, seen, both, q, &st, y);
    }
    __syncthreads(); /* from here on each warp has a tile of its own */
    for (int r = 0; has_tails && r < WARP_ROWS && mine + r < rows; r++) {
        const bool meant[2] = {r == g, r == g + 8};
        list = row_keys(&a, &group, common, row0 + mine + r);
        const int all[2] = {list.n, list.n};
        for (int at = together; at < list.n; at += BLOCK) {
            int n = list.n - at < BLOCK ? list.n - at : BLOCK;
            load_block<D, true>(&a, &list, at, n, col, sh + warp);
            add_block<D, true>(sh + warp, at, n, all, meant, q, &st, y);
        }
    }

#pragma unroll
    for (int h = 0; h < 2; h++) {
        float weight = st.weight[h];
        weight += __shfl_xor_sync(0xffffffffu, weight, 1);
        weight += __shfl_xor_sync(0xffffffffu, weight, 2);
        int row = mine + g + 8 * h;
        float *to = a.y + (size_t)(row0 + row) * (size_t)a.ldy + col;
#pragma unroll
        for (int d = 0; d < D / 8; d++) {
#pragma unroll
            for (int j = 0; j < 2; j++) {
                int c = 8 * d + 2 * t + j;
                if (row < rows && c < a.K) to[c] = y[d][2 * h + j] / weight;
            }
        }
    }
}

/* Shared memory of a block; more than 48 KiB must be asked for, once a device. */
template <int D> static constexpr size_t shared_bytes(void) {
    return WARPS * sizeof(struct tile<D>);
}

template <int D> static void launch(struct kern *k, const struct attn *a, dim3 grid) {
    CUDA_TRY(k, cudaFuncSetAttribute(attn_tile<D>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                     (int)shared_bytes<D>()));
    if (k->lost.code) return;
    attn_tile<D><<<grid, THREADS, shared_bytes<D>(), k->stream>>>(*a);
    cuda_launched(k, "attn_tile");
}

bool attn_has_tile(int K) { return K <= 128; }

void attn_run_tile(struct kern *k, const struct attn *a, int rows_most) {
    dim3 grid((unsigned)a->n_groups, (unsigned)a->heads, cuda_blocks((size_t)rows_most, ROWS));
    if (a->K <= 32)
        launch<32>(k, a, grid);
    else if (a->K <= 64)
        launch<64>(k, a, grid);
    else if (a->K <= 96)
        launch<96>(k, a, grid);
    else
        launch<128>(k, a, grid);
}
