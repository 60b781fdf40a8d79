/* attn_back.cu - the way back through attention: kernels/ref/attn_back.c. In the manner of
 * FlashAttention-2 (arXiv 2307.08691, algorithm 2), but in two kernels, so that nobody adds to what
 * another adds to: weights are made again from lse, never kept.
 *
 *     attn_delta       dy . y of each row and head
 *     attn_holds       what held rows look at; attn_hold_losses
 *     attn_back_rows   dq of 32 rows of a group and one head: their keys pass by, 32 at a time, in
 *                      the order of the list; then each row's tail, by one warp
 *     attn_back_keys   dk and dv of 32 slots and one head: all groups that see any of them pass by
 *                      in ascending order, 32 rows at a time
 *     attn_back_tails  dk and dv of a slot that stands in tails: its users in ascending order, by
 *                      one warp, behind attn_back_keys
 *
 * Every product is a chain over the head, and every sum of dq one chain over keys. A sum of dk or
 * dv has a chain for each 32 rows of a group, from the first on that sees any of the 32 slots; they
 * are added in their order. So the bits of dq follow from a row's list of keys, and those of dk and
 * dv from the rows that see the key and its neighbours: first those that see it in a span or as one
 * of their own, then those in whose tail it is. All of it is f32. Behind the tiled kernel
 * (attn_tile.cu) q, k and v are rounded to fp16 as it rounds them, so that p are the weights that y
 * was made with; what gradients are made of is never rounded, since fp16 ends where they begin.
 *
 * TRAPS:
 * - A slot that nobody sees is neither read nor written: it may lie outside of the pool.
 * - The list of a row may hold a slot of any group's: blocks of keys are cut by slot, not by list.
 */
#include "kernels/cuda/attn_back.cuh"

enum { LANES_WARPS = 4, LANES_THREADS = 32 * LANES_WARPS }; /* of kernels with a warp an item */

/* ---- what rows need beside ---- */

/* q . k of one row and slot in one head, by a warp: a fixed tree. */
static __device__ inline float warp_score(const struct attn_back *b, int row, int slot, int head) {
    const struct attn *a = &b->fwd;
    const size_t col = (size_t)head * (size_t)a->K;
    const float *q = a->q + (size_t)row * (size_t)a->ldq + col;
    const float *k = (const float *)a->k + (size_t)slot * a->stride + col;
    float sum = 0;
    for (int c = (int)threadIdx.x % 32; c < a->K; c += 32)
        sum = fmaf(back_q(b, q[c]), back_kv(b, k[c]), sum);
    return warp_sum(sum);
}

/* held = log sum exp(s) over the slots of a hold (blockIdx.x) in one head (blockIdx.y): each warp
 * takes every 8th slot, and the warps are put together in their order. */
static __global__ void __launch_bounds__(BACK_THREADS) attn_holds(struct attn_back b) {
    __shared__ float tops[BACK_WARPS], sums[BACK_WARPS];
    const struct kern_attn_hold hold = b.holds[blockIdx.x];
    const int head = (int)blockIdx.y, warp = (int)threadIdx.x / 32;
    if (!(hold.heads >> head & 1)) return; /* the whole block */
    float top = -INFINITY, sum = 0;        /* the same in all lanes */
    for (int j = warp; j < hold.n; j += BACK_WARPS) {
        float s = b.scale * warp_score(&b, hold.row, b.hold_slots[hold.at + j], head);
        float now = fmaxf(top, s);
        sum = sum * (top == now ? 1.0f : expf(top - now)) + expf(s - now);
        top = now;
    }
    if (threadIdx.x % 32 == 0) tops[warp] = top, sums[warp] = sum;
    __syncthreads();
    if (threadIdx.x) return;
    for (int w = 1; w < BACK_WARPS; w++)
        top = fmaxf(top, tops[w]);
    sum = 0;
    for (int w = 0; w < BACK_WARPS; w++)
        sum += sums[w] > 0 ? sums[w] * expf(tops[w] - top) : 0.0f;
    b.held[blockIdx.x * HOLD_HEADS + blockIdx.y] = top + logf(sum);
}

/* The loss of a hold each thread. */
static __global__ void __launch_bounds__(BACK_THREADS) attn_hold_losses(struct attn_back b) {
    int i = (int)(blockIdx.x * BACK_THREADS + threadIdx.x);
    if (i >= b.n_holds) return;
    const float *lse = b.fwd.lse + (size_t)b.holds[i].row * (size_t)b.fwd.heads;
    float loss = 0;
    for (int head = 0; head < b.fwd.heads && head < HOLD_HEADS; head++)
        if (b.holds[i].heads >> head & 1) loss += lse[head] - b.held[i * HOLD_HEADS + head];
    b.hold_loss[i] = b.holds[i].weight * loss;
}

/* delta of a row and head each thread: the same chain as dy . v, so that the two cancel where a
 * single key has all the weight. */
static __global__ void __launch_bounds__(LANES_THREADS) attn_delta(struct attn_back b) {
    const struct attn *a = &b.fwd;
    const size_t item = (size_t)blockIdx.x * LANES_THREADS + threadIdx.x;
    if (item >= (size_t)a->rows * (size_t)a->heads) return;
    const int row = (int)(item / (size_t)a->heads), head = (int)(item % (size_t)a->heads);
    const float *y =
        (const float *)a->y + (size_t)row * (size_t)a->ldy + (size_t)head * (size_t)a->K;
    const float *dy = b.dy + (size_t)row * (size_t)b.lddy + (size_t)head * (size_t)a->K;
    float sum = 0;
    for (int c = 0; c < a->K; c++)
        sum = fmaf(dy[c], y[c], sum);
    int hold = b.n_holds ? back_hold(&b, row, head) : -1;
    b.delta[item] = hold >= 0 ? sum - b.holds[hold].weight : sum;
}

/* ---- rows ---- */

/* A row's tail, by the warp that has the row: it is line r of the tile, and dq its sums. Each lane
 * scores one key of 32, by the same chains as back_pairs. */
template <int J>
static __device__ inline void add_tail(const struct attn_back *b, const struct keys *list, int r,
                                       int head, const struct back_tile<J> *sh, float (&dq)[J]) {
    const struct attn *a = &b->fwd;
    const float *keys = (const float *)a->k + (size_t)head * (size_t)a->K;
    const float *values = (const float *)a->v + (size_t)head * (size_t)a->K;
    const int lane = (int)threadIdx.x % 32;
    for (int at = list->shared; at < list->n; at += 32) {
        int n = list->n - at < 32 ? list->n - at : 32;
        int slot = lane < n ? list->tail[at - list->shared + lane] : -1;
        float qk = 0, dyv = 0, ds = 0;
        for (int c = 0; c < a->K && slot >= 0; c++) {
            size_t from = (size_t)slot * a->stride + (size_t)c;
            qk = fmaf(sh->q[r][c], back_kv(b, keys[from]), qk);
            dyv = fmaf(sh->dy[r][c], back_kv(b, values[from]), dyv);
        }
        if (slot >= 0)
            ds = back_pair(b, qk, dyv, sh->lse[r], sh->delta[r], sh->hold[r], head, slot).ds;
        for (int i = 0; i < n; i++) {
            size_t from = (size_t)__shfl_sync(0xffffffffu, slot, i) * a->stride;
            float by = __shfl_sync(0xffffffffu, ds, i);
#pragma unroll
            for (int j = 0; j < J; j++) {
                int c = lane + 32 * j;
                if (c < a->K) dq[j] = fmaf(by, back_kv(b, keys[from + (size_t)c]), dq[j]);
            }
        }
    }
}

/* dq of up to 32 rows of a group (blockIdx.x, blockIdx.z) and one head (blockIdx.y). A warp has 4
 * of the rows, a lane every 32nd column. */
template <int J>
static __global__ void __launch_bounds__(BACK_THREADS, J < 8 ? 2 : 1)
    attn_back_rows(struct attn_back b) {
    extern __shared__ __align__(16) char shared[];
    struct back_tile<J> *sh = (struct back_tile<J> *)(void *)shared;
    const struct attn *a = &b.fwd;
    const struct kern_attn_group g = attn_group(a, (int)blockIdx.x);
    const int first = (int)blockIdx.z * BACK_TILE, left = g.rows - first;
    if (left <= 0) return; /* the whole block: another group has more rows */
    const int rows = left < BACK_TILE ? left : BACK_TILE, row0 = g.row0 + first;
    const int head = (int)blockIdx.y, lane = (int)threadIdx.x % 32;
    const int mine = (int)threadIdx.x / 32 * BACK_MINE;
    const bool has_tails = !a->tokens && g.own_slot < 0;
    const struct keys common = group_keys(a, &g);
    const struct keys list = has_tails ? common : row_keys(a, &g, common, row0 + rows - 1);

    back_load_rows<J>(&b, row0, rows, head, sh);
    float dq[BACK_MINE][J] = {};
    for (int at = 0; at < list.n; at += BACK_TILE) {
        __syncthreads(); /* until nobody reads the last keys */
        if (threadIdx.x < BACK_TILE) {
            int i = at + (int)threadIdx.x, later = a->tokens ? 0 : i - common.shared;
            sh->slot[threadIdx.x] = i < list.n ? key_slot(&list, i) : -1;
            sh->from[threadIdx.x] = g.row0 + (later > 0 ? later : 0);
        }
        __syncthreads();
        back_load_keys<J>(&b, head, sh);
        __syncthreads();
        back_pairs<J, true>(&b, row0, head, sh);
        __syncthreads();
#pragma unroll 2
        for (int t = 0; t < BACK_TILE; t++) {
            const float4 ds = *(const float4 *)(const void *)&sh->ds[t][mine];
#pragma unroll
            for (int j = 0; j < J; j++) {
                float k = sh->k[t][lane + 32 * j];
                dq[0][j] = fmaf(ds.x, k, dq[0][j]);
                dq[1][j] = fmaf(ds.y, k, dq[1][j]);
                dq[2][j] = fmaf(ds.z, k, dq[2][j]);
                dq[3][j] = fmaf(ds.w, k, dq[3][j]);
            }
        }
    }
    __syncthreads(); /* the rows, where there was no key */
#pragma unroll
    for (int r = 0; r < BACK_MINE; r++) {
        if (mine + r >= rows) break;
        const struct keys own = row_keys(a, &g, common, row0 + mine + r);
        if (has_tails) add_tail<J>(&b, &own, mine + r, head, sh, dq[r]);
        float *to = b.dq + (size_t)(row0 + mine + r) * (size_t)b.lddq + (size_t)head * (size_t)a->K;
#pragma unroll
        for (int j = 0; j < J; j++) {
            int c = lane + 32 * j;
            if (c < a->K) to[c] = a->scale * dq[r][j];
        }
    }
}

/* ---- keys ---- */

/* The first row of a group that sees a slot; INT_MAX: none does. */
static __device__ inline int first_row(const struct attn *a, const struct kern_attn_group *g,
                                       int slot) {
    if (a->tokens) return g->row0; /* a block's keys are all of one picture */
    for (int s = g->span0; s < g->span0 + g->spans; s++)
        if (slot >= a->spans[s].slot && slot - a->spans[s].slot < a->spans[s].len)
            return g->rows > 0 ? g->row0 : INT_MAX;
    int own = g->own_slot >= 0 ? slot - g->own_slot : -1;
    return own >= 0 && own < g->rows ? g->row0 + own : INT_MAX;
}

static __device__ inline int warp_least(int v) {
    for (int step = 16; step > 0; step /= 2) {
        int other = __shfl_xor_sync(0xffffffffu, v, step);
        if (other < v) v = other;
    }
    return v;
}

/* A tile of rows to a warp's keys `mine` .. */
template <int J>
static __device__ inline void add_rows(const struct back_tile<J> *sh, int mine,
                                       float (&dk)[BACK_MINE][J], float (&dv)[BACK_MINE][J]) {
    const int lane = (int)threadIdx.x % 32;
    float some_dk[BACK_MINE][J] = {}, some_dv[BACK_MINE][J] = {};
#pragma unroll 2
    for (int r = 0; r < BACK_TILE; r++) {
        const float4 p4 = *(const float4 *)(const void *)&sh->p[r][mine];
        const float4 ds4 = *(const float4 *)(const void *)&sh->ds[r][mine];
        const float p[BACK_MINE] = {p4.x, p4.y, p4.z, p4.w};
        const float ds[BACK_MINE] = {ds4.x, ds4.y, ds4.z, ds4.w};
#pragma unroll
        for (int i = 0; i < BACK_MINE * J; i++) {
            int t = i % BACK_MINE, j = i / BACK_MINE, c = lane + 32 * j;
            some_dk[t][j] = fmaf(ds[t], sh->q[r][c], some_dk[t][j]);
            some_dv[t][j] = fmaf(p[t], sh->dy[r][c], some_dv[t][j]);
        }
    }
#pragma unroll
    for (int i = 0; i < BACK_MINE * J; i++) {
        dk[i / J][i % J] += some_dk[i / J][i % J];
        dv[i / J][i % J] += some_dv[i / J][i % J];
    }
}

/* Give a warp's keys, dk and dv of which a lane has every 32nd column. */
template <int J>
static __device__ inline void give_keys(const struct attn_back *b, const int *slot, int head,
                                        const float (&dk)[BACK_MINE][J],
                                        const float (&dv)[BACK_MINE][J]) {
    const int lane = (int)threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < BACK_MINE * J; i++) {
        int t = i / J, j = i % J, c = lane + 32 * j;
        if (slot[t] < 0 || c >= b->fwd.K) continue;
        size_t at = (size_t)slot[t] * b->stride + (size_t)head * (size_t)b->fwd.K + (size_t)c;
        float k = b->scale * dk[t][j], v = dv[t][j];
        b->dk[at] = b->accumulate ? b->dk[at] + k : k;
        b->dv[at] = b->accumulate ? b->dv[at] + v : v;
    }
}

/* dk and dv of 32 slots (blockIdx.x) and one head (blockIdx.y), from spans and own rows. A warp has
 * 4 of the keys, a lane every 32nd column. */
template <int J>
static __global__ void __launch_bounds__(BACK_THREADS, J < 8 ? 2 : 1)
    attn_back_keys(struct attn_back b) {
    extern __shared__ __align__(16) char shared[];
    struct back_tile<J> *sh = (struct back_tile<J> *)(void *)shared;
    const struct attn *a = &b.fwd;
    const int head = (int)blockIdx.y, mine = (int)threadIdx.x / 32 * BACK_MINE;
    int slot0 = b.slot0 + (int)blockIdx.x * BACK_TILE, n = BACK_TILE, group = 0, end = a->n_groups;
    if (a->tokens) {
        int blocks = (a->tokens + BACK_TILE - 1) / BACK_TILE;
        int at = (int)blockIdx.x % blocks * BACK_TILE;
        group = (int)blockIdx.x / blocks, end = group + 1;
        slot0 = group * a->tokens + at;
        n = a->tokens - at < BACK_TILE ? a->tokens - at : BACK_TILE;
    }
    int seen = 0, slot = slot0 + (int)threadIdx.x;
    if (threadIdx.x < BACK_TILE) {
        for (int i = group; i < end && !seen && (int)threadIdx.x < n; i++) {
            const struct kern_attn_group g = attn_group(a, i);
            seen = first_row(a, &g, slot) != INT_MAX;
        }
        sh->slot[threadIdx.x] = seen ? slot : -1;
        seen = warp_least(seen ? 0 : 1);
        if (threadIdx.x == 0) sh->first = seen;
    }
    __syncthreads();
    if (sh->first) return; /* the whole block: nobody sees any */
    back_load_keys<J>(&b, head, sh);

    float dk[BACK_MINE][J] = {}, dv[BACK_MINE][J] = {};
    for (; group < end; group++) {
        const struct kern_attn_group g = attn_group(a, group);
        __syncthreads(); /* until nobody reads the last `from` */
        if (threadIdx.x < BACK_TILE) {
            int from = sh->slot[threadIdx.x] < 0 ? INT_MAX : first_row(a, &g, slot);
            sh->from[threadIdx.x] = from;
            from = warp_least(from);
            if (threadIdx.x == 0) sh->first = from;
        }
        __syncthreads();
        for (int row = sh->first; row < g.row0 + g.rows; row += BACK_TILE) {
            int left = g.row0 + g.rows - row, rows = left < BACK_TILE ? left : BACK_TILE;
            __syncthreads(); /* until nobody reads the last rows */
            back_load_rows<J>(&b, row, rows, head, sh);
            __syncthreads();
            back_pairs<J, false>(&b, row, head, sh);
            __syncthreads();
            add_rows<J>(sh, mine, dk, dv);
        }
    }
    give_keys<J>(&b, &sh->slot[mine], head, dk, dv);
}

/* dk and dv of a slot that stands in tails, one head a warp. Each lane scores one user of 32. */
template <int J>
static __global__ void __launch_bounds__(LANES_THREADS, 4) attn_back_tails(struct attn_back b) {
    __shared__ float all_kv[LANES_WARPS][2][32 * J];
    const struct attn *a = &b.fwd;
    const size_t item = (size_t)blockIdx.x * LANES_WARPS + threadIdx.x / 32;
    if (item >= (size_t)b.n_users * (size_t)a->heads)
        return; /* the whole warp: no barrier follows */
    const int user = (int)(item / (size_t)a->heads), head = (int)(item % (size_t)a->heads);
    const int slot = b.user_slot[user], lane = (int)threadIdx.x % 32;
    const size_t col = (size_t)head * (size_t)a->K, key = (size_t)slot * a->stride + col;
    float *k = all_kv[threadIdx.x / 32][0], *v = all_kv[threadIdx.x / 32][1];
    for (int c = lane; c < a->K; c += 32) {
        k[c] = back_kv(&b, ((const float *)a->k)[key + (size_t)c]);
        v[c] = back_kv(&b, ((const float *)a->v)[key + (size_t)c]);
    }
    __syncwarp();
    float dk[J] = {}, dv[J] = {};
    for (int at = b.user_off[user], end = b.user_off[user + 1]; at < end; at += 32) {
        int n = end - at < 32 ? end - at : 32, row = b.user[at + (lane < n ? lane : 0)];
        const float *q = a->q + (size_t)row * (size_t)a->ldq + col;
        const float *dy = b.dy + (size_t)row * (size_t)b.lddy + col;
        const size_t cell = (size_t)row * (size_t)a->heads + (size_t)head;
        int hold = b.n_holds ? back_hold(&b, row, head) : -1;
        float qk = 0, dyv = 0;
        for (int c = 0; c < a->K && lane < n; c++) {
            qk = fmaf(back_q(&b, q[c]), k[c], qk);
            dyv = fmaf(dy[c], v[c], dyv);
        }
        struct pair mine = back_pair(&b, qk, dyv, a->lse[cell], b.delta[cell], hold, head, slot);
        for (int i = 0; i < n; i++) {
            float p = __shfl_sync(0xffffffffu, mine.p, i),
                  ds = __shfl_sync(0xffffffffu, mine.ds, i);
            size_t from = (size_t)__shfl_sync(0xffffffffu, row, i);
#pragma unroll
            for (int j = 0; j < J; j++) {
                size_t c = col + (size_t)(lane + 32 * j);
                if (lane + 32 * j >= a->K) continue;
                dk[j] = fmaf(ds, back_q(&b, a->q[from * (size_t)a->ldq + c]), dk[j]);
                dv[j] = fmaf(p, b.dy[from * (size_t)b.lddy + c], dv[j]);
            }
        }
    }
#pragma unroll
    for (int j = 0; j < J; j++) {
        if (lane + 32 * j >= a->K) continue;
        size_t at = (size_t)slot * b.stride + col + (size_t)(lane + 32 * j);
        b.dk[at] += b.scale * dk[j];
        b.dv[at] += dv[j];
    }
}

/* ---- the two operations ---- */

/* Blocks of keys, and rows of the largest group. */
struct extent {
    unsigned key_blocks;
    int rows_most;
};

template <int J> static void launch(struct kern *k, const struct attn_back *b, struct extent x) {
    const struct attn *a = &b->fwd;
    const int bytes = (int)sizeof(struct back_tile<J>);
    CUDA_TRY(k, cudaFuncSetAttribute(attn_back_rows<J>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                     bytes));
    CUDA_TRY(k, cudaFuncSetAttribute(attn_back_keys<J>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                     bytes));
    if (k->lost.code) return;
    dim3 rows((unsigned)a->n_groups, (unsigned)a->heads,
              cuda_blocks((size_t)x.rows_most, BACK_TILE));
    attn_back_rows<J><<<rows, BACK_THREADS, (size_t)bytes, k->stream>>>(*b);
    cuda_launched(k, "attn_back_rows");
    if (x.key_blocks) {
        dim3 keys(x.key_blocks, (unsigned)a->heads);
        attn_back_keys<J><<<keys, BACK_THREADS, (size_t)bytes, k->stream>>>(*b);
        cuda_launched(k, "attn_back_keys");
    }
    if (b->n_users) {
        unsigned blocks = cuda_blocks((size_t)b->n_users * (size_t)a->heads, LANES_WARPS);
        attn_back_tails<J><<<blocks, LANES_THREADS, 0, k->stream>>>(*b);
        cuda_launched(k, "attn_back_tails");
    }
}

/* The rest of the form, and all kernels. The stages of products hold what is beside. */
static void run(struct kern *k, struct attn_back *b, struct extent x) {
    const struct attn *a = &b->fwd;
    size_t items = (size_t)a->rows * (size_t)a->heads;
    must(a->K <= 256 && a->lse);
    must(items * sizeof(float) <= cuda_stage_bytes &&
         (size_t)b->n_holds * HOLD_HEADS * sizeof(float) <= cuda_stage_bytes);
    b->is_rounded = k->mode == CUDA_TILE && attn_has_tile(a->K);
    b->scale = b->is_rounded ? 1.0f : a->scale;
    b->delta = (float *)(void *)k->stage_in;
    b->held = (float *)(void *)k->stage_out;
    if (b->n_holds) {
        unsigned heads = a->heads < HOLD_HEADS ? (unsigned)a->heads : (unsigned)HOLD_HEADS;
        dim3 grid((unsigned)b->n_holds, heads);
        attn_holds<<<grid, BACK_THREADS, 0, k->stream>>>(*b);
        cuda_launched(k, "attn_holds");
        attn_hold_losses<<<cuda_blocks((size_t)b->n_holds, BACK_THREADS), BACK_THREADS, 0,
                           k->stream>>>(*b);
        cuda_launched(k, "attn_hold_losses");
    }
    attn_delta<<<cuda_blocks(items, LANES_THREADS), LANES_THREADS, 0, k->stream>>>(*b);
    cuda_launched(k, "attn_delta");
    if (a->K <= 32)
        launch<1>(k, b, x);
    else if (a->K <= 64)
        launch<2>(k, b, x);
    else if (a->K <= 96)
        launch<3>(k, b, x);
    else if (a->K <= 128)
        launch<4>(k, b, x);
    else
        launch<8>(k, b, x);
}

void cuda_attn_full_back(struct kern *k, const struct kern_attn_full_back *a) {
    const struct kern_attn_full *f = &a->fwd;
    must(f->y_dtype == KERN_F32);
    size_t width = (size_t)f->heads * (size_t)f->head_size;
    uint64_t pairs = (uint64_t)f->images * (uint64_t)f->tokens * (uint64_t)f->tokens;
    if (!cuda_enter(k, 5 * pairs * (uint64_t)width)) return;
    if (f->images == 0 || f->tokens == 0 || width == 0) return;
    struct attn_back b = {};
    b.fwd = attn_of_full(f);
    b.dy = cuda_f32(a->dy);
    b.lddy = a->lddy;
    b.dq = cuda_f32(a->dqkv);
    b.lddq = a->lddqkv;
    b.dk = b.dq + width;
    b.dv = b.dk + width;
    b.stride = (size_t)a->lddqkv;
    struct extent x = {(unsigned)f->images * cuda_blocks((size_t)f->tokens, BACK_TILE), f->tokens};
    run(k, &b, x);
}

static void include(int *low, int *high, int first, int n) {
    if (n > 0 && first < *low) *low = first;
    if (n > 0 && first + n - 1 > *high) *high = first + n - 1;
}

/* The slots that rows see in spans or as their own: the first, and how many blocks from there. */
static unsigned count_key_blocks(const struct kern_attn_tree *a, int *slot0) {
    int low = INT_MAX, high = -1;
    for (int i = 0; i < a->n_groups; i++) {
        const struct kern_attn_group *g = &a->groups[i];
        for (int s = g->span0; g->rows > 0 && s < g->span0 + g->spans; s++)
            include(&low, &high, a->spans[s].slot, a->spans[s].len);
        if (g->own_slot >= 0 && g->rows > 0) include(&low, &high, g->own_slot, g->rows);
    }
    *slot0 = low;
    return high < 0 ? 0 : cuda_blocks((size_t)(high - low) + 1, BACK_TILE);
}

void cuda_attn_tree_back(struct kern *k, const struct kern_attn_tree_back *a) {
    const struct kern_attn_tree *f = &a->fwd;
    must(f->pool_dtype == KERN_F32 && f->y_dtype == KERN_F32);
    struct extent x = {0, 0};
    uint64_t keys = attn_count_keys(f, &x.rows_most);
    if (a->n_users) keys += (uint64_t)a->host_user_off[a->n_users];
    if (!cuda_enter(k, 5 * keys * (uint64_t)f->heads * (uint64_t)f->head_size)) return;
    if (f->rows == 0 || f->heads == 0) return;
    struct attn_back b = {};
    b.fwd = attn_of_tree(f);
    b.dy = cuda_f32(a->dy);
    b.lddy = a->lddy;
    b.dq = cuda_f32(a->dq);
    b.lddq = a->lddq;
    b.dk = cuda_f32(a->dk);
    b.dv = cuda_f32(a->dv);
    b.stride = b.fwd.stride;
    b.accumulate = true;
    b.holds = (const struct kern_attn_hold *)(const void *)a->dev_holds.addr;
    b.n_holds = a->n_holds;
    b.hold_slots = cuda_i32(a->hold_slots);
    b.hold_loss = cuda_f32(a->hold_loss);
    b.n_users = a->n_users;
    b.user_slot = cuda_i32(a->user_slot);
    b.user_off = cuda_i32(a->user_off);
    b.user = cuda_i32(a->user);
    x.key_blocks = count_key_blocks(f, &b.slot0);
    run(k, &b, x);
}
