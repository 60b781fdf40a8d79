/* attn_tile.cu - attention on the tensor cores: rows of a group share the keys that all of them
 * see.
 *
 * One block takes up to 64 rows of a group and one head: 4 warps of 16 rows. Keys and values come
 * 32 at a time, in 16 bits, once for the whole block; q, already scaled, stays in registers. A pool
 * of bf16 is multiplied as it is, in bf16, and q and the weights are rounded to that; f32 keys (of
 * a picture) are rounded to fp16 like q and the weights.
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
 * that row's result kept; the shared keys that such a block begins with are fetched once for all
 * rows of a warp. Rows that are prefilled share all blocks and hide what comes after them:
 * a hidden key weighs exactly 0. There is nothing to be merged: one softmax runs over the list in
 * its order. (Merging by log-sum-exp would make bits depend on where a list is cut.)
 *
 * TRAPS:
 * - Weights are summed up as rounded, so that they add to one. In fp16 a score below the largest by
 *   more than 17 weighs nothing: it ends there.
 * - 0 times a value that is not finite is not 0: private blocks must not touch other rows' sums,
 *   hence the selects; among rows of one prefill the model is broken anyway.
 * - All 32 lanes must come to every mma and shuffle: branches here depend on the warp alone.
 */
#include "kernels/cuda/attn.cuh"
#include "kernels/cuda/mma.cuh"

enum { WARPS = 4, THREADS = 32 * WARPS, WARP_ROWS = 16, ROWS = WARPS * WARP_ROWS, BLOCK = 32 };

/* What is multiplied: `H`, and what keys of it come from. */
template <typename H> struct from;
template <> struct from<__half> {
    typedef float type;
    static __device__ uint32_t bits(float v) { return __half_as_ushort(to_f16(v)); }
    static __device__ float rounded(float v) { return __half2float(to_f16(v)); }
};
template <> struct from<__nv_bfloat16> {
    typedef __nv_bfloat16 type;
    static __device__ uint32_t bits(float v) { return __bfloat16_as_ushort(to_bf16(v)); }
    static __device__ float rounded(float v) { return __bfloat162float(to_bf16(v)); }
};

template <typename H> static __device__ inline uint32_t pack(float low, float high) {
    return from<H>::bits(low) | from<H>::bits(high) << 16;
}

/* 16 bytes of a key or value as they are stored; of their numbers `left` exist, zeros stand for the
 * rest. Where keys are vectors all exist or none, and `from` must be legal to read at any rate. */
template <bool IS_VECTOR, typename T>
static __device__ inline uint4 fetch(const T *from, int left) {
    constexpr int PER = 16 / sizeof(T);
    const uint4 none = {0, 0, 0, 0};
    union {
        uint4 vector;
        T at[PER];
    } u = {none};
    if constexpr (IS_VECTOR) {
        u.vector = *(const uint4 *)(const void *)from;
        return left > 0 ? u.vector : none;
    } else {
#pragma unroll
        for (int j = 0; j < PER; j++)
            if (left > j) u.at[j] = from[j];
        return u.vector;
    }
}

/* And into shared memory as what is multiplied. */
static __device__ inline void keep(uint4 vector, __nv_bfloat16 *to) {
    *(uint4 *)(void *)to = vector;
}
static __device__ inline void keep(uint4 vector, __half *to) {
    union {
        uint4 vector;
        float at[4];
    } u = {vector};
    uint2 v = {pack<__half>(u.at[0], u.at[1]), pack<__half>(u.at[2], u.at[3])};
    *(uint2 *)(void *)to = v;
}

/* The softmax of a lane's two rows so far: [0] row g, [1] row g+8. `weight` is this lane's share of
 * the keys; the four lanes of a row are added up at the end. */
struct state {
    float top[2], weight[2];
};

/* Scores into weights, in place; `less` is what the sums so far shrink by. Rows that are not
 * `meant` keep their state and get weights of zero. */
template <typename H>
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
                p = from<H>::rounded(p);
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
template <typename H>
static __device__ inline void as_left(const float (&s)[BLOCK / 8][4], int n, uint32_t (&a)[4]) {
    a[0] = pack<H>(s[n][0], s[n][1]);
    a[1] = pack<H>(s[n][2], s[n][3]);
    a[2] = pack<H>(s[n + 1][0], s[n + 1][1]);
    a[3] = pack<H>(s[n + 1][2], s[n + 1][3]);
}

/* A block of keys and values in shared memory, (BLOCK, D). The rows are 8 longer than they
 * need be, so that the 32 lanes of a fragment meet 32 banks. */
template <int D, typename H> struct tile {
    __align__(16) H keys[BLOCK][D + 8];
    __align__(16) H values[BLOCK][D + 8];
    int slots[BLOCK];
};

template <bool BY_WARP> static __device__ inline void wait(void) {
    if (BY_WARP)
        __syncwarp();
    else
        __syncthreads();
}

/* The vectors first .. end-1 of a tile's keys and values, by their slots; a few at a time, so that
 * their ways from memory overlap. */
template <int D, typename H, bool IS_VECTOR>
static __device__ inline void copy(const struct attn *a, int first, int end, int thread,
                                   int threads, size_t col, struct tile<D, H> *sh) {
    typedef typename from<H>::type T;
    constexpr int PER = 16 / sizeof(T), LINE = D / PER, AT_ONCE = 4;
    const T *keys = (const T *)a->k + col, *values = (const T *)a->v + col;
    for (int i = first + thread; i < end; i += AT_ONCE * threads) {
        uint4 k[AT_ONCE], v[AT_ONCE];
#pragma unroll
        for (int j = 0; j < AT_ONCE; j++) {
            int at = i + j * threads, c = at % LINE * PER;
            int slot = at < end ? sh->slots[at / LINE] : -1, left = slot < 0 ? 0 : a->K - c;
            size_t from = left > 0 ? (size_t)slot * a->stride + (size_t)c : 0;
            k[j] = fetch<IS_VECTOR>(keys + from, left);
            v[j] = fetch<IS_VECTOR>(values + from, left);
        }
#pragma unroll
        for (int j = 0; j < AT_ONCE; j++) {
            int at = i + j * threads, c = at % LINE * PER;
            if (at >= end) break;
            keep(k[j], &sh->keys[at / LINE][c]);
            keep(v[j], &sh->values[at / LINE][c]);
        }
    }
}

/* Keys at .. at+n-1 of the list into shared memory, but for the first `there`, which are there
 * already, and zeros behind them up to whole 16, which is what a product takes; by one warp or by
 * the whole block. */
template <int D, typename H, bool BY_WARP>
static __device__ inline void load_block(const struct attn *a, const struct keys *list, int at,
                                         int there, int n, size_t col, struct tile<D, H> *sh) {
    constexpr int LINE = D / (16 / (int)sizeof(typename from<H>::type)); /* vectors of a key */
    const int threads = BY_WARP ? 32 : THREADS, thread = (int)threadIdx.x % threads;
    const int first = there * LINE, end = (n + 15) / 16 * 16 * LINE;
    wait<BY_WARP>(); /* until nobody reads the last one */
    if (thread < BLOCK) sh->slots[thread] = thread < n ? key_slot(list, at + thread) : -1;
    wait<BY_WARP>();
    if (a->has_vectors)
        copy<D, H, true>(a, first, end, thread, threads, col, sh);
    else
        copy<D, H, false>(a, first, end, thread, threads, col, sh);
    wait<BY_WARP>();
}

/* A warp takes in a block of n keys, the first of which is number `at` of the list. Row h of a lane
 * sees the keys before `seen[h]`. Private: of all rows only the `meant` one takes part. */
template <int D, typename H, bool IS_PRIVATE>
static __device__ inline void
add_block(const struct tile<D, H> *sh, int at, int n, const int (&seen)[2], const bool (&meant)[2],
          const uint32_t (&q)[D / 16][4], struct state *st, float (&y)[D / 8][4]) {
    const int lane = (int)threadIdx.x % 32, g = lane / 4, t = lane % 4;
    float s[BLOCK / 8][4] = {}, less[2];
#pragma unroll
    for (int b = 0; b < BLOCK / 8; b++) {
        if (8 * b < n) {
#pragma unroll
            for (int c = 0; c < D / 16; c++) {
                const H *key = &sh->keys[8 * b + g][16 * c + 2 * t];
                mma<H>(s[b], q[c], *(const uint32_t *)(const void *)key,
                       *(const uint32_t *)(const void *)(key + 8));
            }
        }
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (at + 8 * b + 2 * t + j % 2 >= seen[j / 2]) s[b][j] = -INFINITY;
    }
    weigh<H>(s, st, meant, less);
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
        as_left<H>(s, b, p);
#pragma unroll
        for (int d = 0; d < D / 8; d++) {
            uint32_t b0, b1;
            float sum[4] = {y[d][0], y[d][1], y[d][2], y[d][3]};
            load_values(&sh->values[8 * b + lane % 16][8 * d], b0, b1);
            mma<H>(sum, p, b0, b1);
#pragma unroll
            for (int j = 0; j < 4; j++)
                if (!IS_PRIVATE || meant[j / 2]) y[d][j] = sum[j];
        }
    }
}

/* Two neighbours of y, from number i on; of a head that has one more number only, the first. */
static __device__ inline void put_two(const struct attn *a, size_t i, int left, float v, float w) {
    if (!a->has_pairs) {
        put_as(a->y, a->y_dtype, i, v);
        if (left > 1) put_as(a->y, a->y_dtype, i + 1, w);
    } else if (a->y_dtype == KERN_F32) {
        *(float2 *)(void *)((float *)a->y + i) = make_float2(v, w);
    } else {
        *(uint32_t *)(void *)((uint16_t *)a->y + i) =
            bits_of(a->y_dtype, v) | bits_of(a->y_dtype, w) << 16;
    }
}

/* y = softmax(scale q.k) v of up to 64 rows of a group (blockIdx.x, blockIdx.z) and one head
 * (blockIdx.y); ref_attn_full, ref_attn_tree. D: the head size, rounded up. */
template <int D, typename H>
static __global__ void __launch_bounds__(THREADS, 2) attn_tile(struct attn a) {
    extern __shared__ __align__(16) char shared[]; /* a tile for each warp; [0] is the block's */
    struct tile<D, H> *sh = (struct tile<D, H> *)(void *)shared;
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
            q[c][j] = pack<H>(a.scale * low, a.scale * high);
        }
    }

    struct state st = {{-INFINITY, -INFINITY}, {0, 0}};
    float y[D / 8][4] = {};
    const bool both[2] = {true, true};
    for (int at = 0; at < together; at += BLOCK) {
        int n = together - at < BLOCK ? together - at : BLOCK;
        load_block<D, H, false>(&a, &list, at, 0, n, col, sh);
        if (mine < rows && at < most) add_block<D, H, false>(sh, at, n, seen, both, q, &st, y);
    }
    __syncthreads(); /* from here on each warp has a tile of its own */
    int there = 0;   /* of a row's first private block: shared keys, left by the row before */
    for (int r = 0; has_tails && r < WARP_ROWS && mine + r < rows; r++) {
        const bool meant[2] = {r == g, r == g + 8};
        list = row_keys(&a, &group, common, row0 + mine + r);
        const int all[2] = {list.n, list.n};
        for (int at = together; at < list.n; at += BLOCK) {
            int n = list.n - at < BLOCK ? list.n - at : BLOCK;
            load_block<D, H, true>(&a, &list, at, at == together ? there : 0, n, col, sh + warp);
            there = at == together ? common.shared - together : 0;
            add_block<D, H, true>(sh + warp, at, n, all, meant, q, &st, y);
        }
    }

#pragma unroll
    for (int h = 0; h < 2; h++) {
        float weight = st.weight[h];
        weight += __shfl_xor_sync(0xffffffffu, weight, 1);
        weight += __shfl_xor_sync(0xffffffffu, weight, 2);
        int row = mine + g + 8 * h;
        const size_t to = (size_t)(row0 + row) * (size_t)a.ldy + col;
        if (a.lse && t == 0 && row < rows)
            a.lse[(size_t)(row0 + row) * (size_t)a.heads + blockIdx.y] = st.top[h] + logf(weight);
#pragma unroll
        for (int d = 0; d < D / 8; d++) {
            int c = 8 * d + 2 * t;
            if (row < rows && c < a.K)
                put_two(&a, to + (size_t)c, a.K - c, y[d][2 * h] / weight,
                        y[d][2 * h + 1] / weight);
        }
    }
}

/* Shared memory of a block; more than 48 KiB must be asked for, once a device. */
template <int D, typename H> static constexpr size_t shared_bytes(void) {
    return WARPS * sizeof(struct tile<D, H>);
}

template <int D, typename H> static void launch(struct kern *k, const struct attn *a, dim3 grid) {
    const size_t bytes = shared_bytes<D, H>();
    CUDA_TRY(k, cudaFuncSetAttribute(attn_tile<D, H>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                     (int)bytes));
    if (k->lost.code) return;
    attn_tile<D, H><<<grid, THREADS, bytes, k->stream>>>(*a);
    cuda_launched(k, "attn_tile");
}

bool attn_has_tile(int K) { return K <= 128; }

template <typename H> static void run(struct kern *k, const struct attn *a, int rows_most) {
    dim3 grid((unsigned)a->n_groups, (unsigned)a->heads, cuda_blocks((size_t)rows_most, ROWS));
    if (a->K <= 32)
        launch<32, H>(k, a, grid);
    else if (a->K <= 64)
        launch<64, H>(k, a, grid);
    else if (a->K <= 96)
        launch<96, H>(k, a, grid);
    else
        launch<128, H>(k, a, grid);
}

void attn_run_tile(struct kern *k, const struct attn *a, int rows_most) {
    if (a->dtype == KERN_BF16)
        run<__nv_bfloat16>(k, a, rows_most);
    else
        run<__half>(k, a, rows_most);
}
