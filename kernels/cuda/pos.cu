/* pos.cu - where things are: patches, positions, embeddings, rotary angles and the KV store, and
 * the ways back: kernels/ref/pos.c. Each number is computed by itself. There is one sum, that of
 * the rows that an embedding went to, which one thread adds in the order of their list. */
#include "kernels/cuda/rows.cuh"

enum { THREADS = 256, HEAD_MAX = 1024 };

/* y[(py*G+px), (c*P+iy)*P+ix] = (rgb/255 - mean) / std; ref_patchify. */
static __global__ void __launch_bounds__(THREADS) patchify_cells(struct kern_patchify a) {
    const int P = a.patch, G = a.side / P, width = 3 * P * P;
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= (size_t)G * (size_t)G * (size_t)width) return;
    int token = (int)(i / (size_t)width), at = (int)(i % (size_t)width);
    int c = at / (P * P), iy = at / P % P, ix = at % P;
    size_t row = (size_t)(token / G * P + iy), col = (size_t)(token % G * P + ix);
    float v = (float)(uint8_t)a.rgb.addr[(row * (size_t)a.side + col) * 3 + (size_t)c];
    /* by hand, since a parameter indexed at run time would move to local memory */
    float mean = c == 0 ? a.mean[0] : c == 1 ? a.mean[1] : a.mean[2];
    float std = c == 0 ? a.std[0] : c == 1 ? a.std[1] : a.std[2];
    ((float *)(void *)a.y.addr)[i] = (v / 255.0f - mean) / std;
}

void cuda_patchify(struct kern *k, const struct kern_patchify *a) {
    size_t G = (size_t)(a->side / a->patch), cells = G * G * 3 * (size_t)(a->patch * a->patch);
    if (!cuda_enter(k, 0) || cells == 0) return;
    patchify_cells<<<cuda_blocks(cells, THREADS), THREADS, 0, k->stream>>>(*a);
    cuda_launched(k, "patchify");
}

/* row 0 = cls + pos[0]; row i += pos[i]; ref_add_pos. Row 0 is not read. */
static __global__ void __launch_bounds__(THREADS)
    add_pos_cells(size_t cells, size_t width, const float *cls, const float *pos, float *x) {
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < cells) x[i] = (i < width ? cls[i] : x[i]) + pos[i];
}

void cuda_add_pos(struct kern *k, const struct kern_add_pos *a) {
    size_t cells = (size_t)a->rows * (size_t)a->width;
    if (!cuda_enter(k, 0) || cells == 0) return;
    add_pos_cells<<<cuda_blocks(cells, THREADS), THREADS, 0, k->stream>>>(
        cells, (size_t)a->width, cuda_f32(a->cls), cuda_f32(a->pos), cuda_f32(a->x));
    cuda_launched(k, "add_pos");
}

/* Eight numbers in 16 bits. */
template <typename H>
static __device__ inline struct eight eight_of(const H *x, int left, bool is_vector) {
    union {
        uint4 vector;
        H at[ROWS_EIGHT];
    } u = {{0, 0, 0, 0}};
    struct eight all;
    if (is_vector && left >= ROWS_EIGHT) {
        u.vector = *(const uint4 *)(const void *)x;
    } else {
#pragma unroll
        for (int j = 0; j < ROWS_EIGHT; j++)
            if (j < left) u.at[j] = x[j];
    }
#pragma unroll
    for (int j = 0; j < ROWS_EIGHT; j++)
        all.at[j] = f32_of(u.at[j]);
    return all;
}

/* y[i] = table[src[i]] or feats[~src[i]]; ref_embed. */
template <typename T>
static __global__ void __launch_bounds__(THREADS)
    embed_rows(int rows, int width, const int32_t *src, const T *table, const float *feats,
               struct rows_out y, bool is_vector) {
    const int c = rows_column(), left = width - c;
    if (left <= 0) return;
    for (unsigned row = blockIdx.y; row < (unsigned)rows; row += gridDim.y) {
        int from = src[row];
        size_t at = (size_t)(from >= 0 ? from : ~from) * (size_t)width + (size_t)c;
        const struct eight v = from >= 0 ? eight_of(table + at, left, is_vector)
                                         : eight_of(feats + at, left, is_vector);
        put_eight(&y, row, c, left, is_vector, &v);
    }
}

template <typename T> static void run_embed(struct kern *k, const struct kern_embed *a) {
    bool is_vector = rows_are_aligned(a->table.addr, a->width, a->dtype) &&
                     rows_are_aligned(a->feats.addr, a->width, KERN_F32) &&
                     rows_are_aligned(a->y.addr, a->width, KERN_F32);
    embed_rows<T><<<rows_grid(a->rows, a->width), rows_threads(a->width), 0, k->stream>>>(
        a->rows, a->width, cuda_i32(a->src), (const T *)(void *)a->table.addr, cuda_f32(a->feats),
        rows_out(a->y, a->width, KERN_F32), is_vector);
    cuda_launched(k, "embed");
}

void cuda_embed(struct kern *k, const struct kern_embed *a) {
    if (!cuda_enter(k, 0) || a->rows == 0 || a->width == 0) return;
    if (a->dtype == KERN_BF16)
        run_embed<__nv_bfloat16>(k, a);
    else if (a->dtype == KERN_F16)
        run_embed<__half>(k, a);
    else
        run_embed<float>(k, a);
}

/* y[i] = x[index[i]], rows of so many words; ref_gather. One block a row. */
template <typename W>
static __global__ void __launch_bounds__(THREADS)
    gather_rows(size_t words, const int32_t *index, const W *x, W *y) {
    x += (size_t)index[blockIdx.x] * words;
    y += (size_t)blockIdx.x * words;
    for (size_t c = threadIdx.x; c < words; c += THREADS)
        y[c] = x[c];
}

template <typename W> static void run_gather(struct kern *k, const struct kern_gather *a) {
    size_t words = (size_t)a->width * kern_dtype_bytes(a->dtype) / sizeof(W);
    gather_rows<W><<<(unsigned)a->rows, THREADS, 0, k->stream>>>(
        words, cuda_i32(a->index), (const W *)(void *)a->x.addr, (W *)(void *)a->y.addr);
    cuda_launched(k, "gather");
}

void cuda_gather(struct kern *k, const struct kern_gather *a) {
    if (!cuda_enter(k, 0) || a->rows == 0) return;
    if (rows_are_aligned(a->x.addr, a->width, a->dtype) &&
        rows_are_aligned(a->y.addr, a->width, a->dtype))
        run_gather<uint4>(k, a);
    else if (a->dtype == KERN_F32)
        run_gather<float>(k, a);
    else
        run_gather<uint16_t>(k, a);
}

/* ---- the ways back of the two ---- */

/* Row key[i] of the table or ~key[i] of feats += the rows of dy that came from there;
 * ref_embed_back. One block a source and THREADS columns. */
static __global__ void __launch_bounds__(THREADS)
    embed_back_rows(int width, const int32_t *key, const int32_t *off, const int32_t *from,
                    const float *dy, float *dtable, float *dfeats) {
    int c = (int)(blockIdx.y * THREADS + threadIdx.x), at = key[blockIdx.x];
    float *to = at >= 0 ? dtable : dfeats;
    if (c >= width || !to) return;
    to += (size_t)(at >= 0 ? at : ~at) * (size_t)width + (size_t)c;
    float sum = *to;
    for (int i = off[blockIdx.x]; i < off[blockIdx.x + 1]; i++)
        sum += dy[(size_t)from[i] * (size_t)width + (size_t)c];
    *to = sum;
}

void cuda_embed_back(struct kern *k, const struct kern_embed_back *a) {
    if (!cuda_enter(k, 0) || a->sources == 0 || a->width == 0) return;
    dim3 grid((unsigned)a->sources, cuda_blocks((size_t)a->width, THREADS));
    embed_back_rows<<<grid, THREADS, 0, k->stream>>>(a->width, cuda_i32(a->key), cuda_i32(a->off),
                                                     cuda_i32(a->from), cuda_f32(a->dy),
                                                     cuda_f32(a->dtable), cuda_f32(a->dfeats));
    cuda_launched(k, "embed_back");
}

/* dx[index[i]] += dy[i]; ref_gather_back. One block a row. */
static __global__ void __launch_bounds__(THREADS)
    gather_back_rows(size_t width, const int32_t *index, const float *dy, float *dx) {
    dx += (size_t)index[blockIdx.x] * width;
    dy += (size_t)blockIdx.x * width;
    for (size_t c = threadIdx.x; c < width; c += THREADS)
        dx[c] += dy[c];
}

void cuda_gather_back(struct kern *k, const struct kern_gather_back *a) {
    if (!cuda_enter(k, 0) || a->rows == 0) return;
    gather_back_rows<<<(unsigned)a->rows, THREADS, 0, k->stream>>>(
        (size_t)a->width, cuda_i32(a->index), cuda_f32(a->dy), cuda_f32(a->dx));
    cuda_launched(k, "gather_back");
}

/* ---- rotary ---- */

/* cosine and sine (K/2) of the angles at a position, by the whole block. */
static __device__ inline void find_angles(int K, double theta, int pos, float *cosine,
                                          float *sine) {
    for (int i = (int)threadIdx.x; i < K / 2; i += THREADS) {
        double c, s;
        sincos(pos * pow(theta, -2.0 * i / K), &s, &c);
        cosine[i] = (float)c;
        sine[i] = (float)s;
    }
}

/* A pair turned by its angle; by name, so that all of rope's ways have the same bits. */
static __device__ inline float2 turned(float a, float b, float c, float s) {
    return make_float2(fmaf(a, c, -(b * s)), fmaf(b, c, a * s));
}

/* Four neighbours. */
static __device__ inline float4 four_of(const float *x) { return *(const float4 *)(const void *)x; }
static __device__ inline void put_four(float *to, float4 v) { *(float4 *)(void *)to = v; }
static __device__ inline void put_four(__nv_bfloat16 *to, float4 v) {
    uint2 w = {bits_of(KERN_BF16, v.x) | bits_of(KERN_BF16, v.y) << 16,
               bits_of(KERN_BF16, v.z) | bits_of(KERN_BF16, v.w) << 16};
    *(uint2 *)(void *)to = w;
}

/* Pairs p .. p+3 of a head, from x to `to`, which may be x. */
template <typename P>
static __device__ inline void turn_four(const float *x, int half, float4 c, float4 s, P *to) {
    const float4 a = four_of(x), b = four_of(x + half);
    const float2 p0 = turned(a.x, b.x, c.x, s.x), p1 = turned(a.y, b.y, c.y, s.y);
    const float2 p2 = turned(a.z, b.z, c.z, s.z), p3 = turned(a.w, b.w, c.w, s.w);
    put_four(to, make_float4(p0.x, p1.x, p2.x, p3.x));
    put_four(to + half, make_float4(p0.y, p1.y, p2.y, p3.y));
}

/* Rotates q in place and k into the pool, copies v; ref_rope. One block a row: first the angles,
 * which all heads share, in double; then every pair (i, i + K/2) by one thread, four pairs at a
 * time where a head's halves are vectors. */
template <typename P, bool IS_VECTOR>
static __global__ void __launch_bounds__(THREADS)
    rope_rows(int heads, int K, double theta, float *qkv, int ld, const int32_t *pos,
              const int32_t *slot, P *pool_k, P *pool_v) {
    __shared__ __align__(16) float cosine[HEAD_MAX / 2], sine[HEAD_MAX / 2];
    constexpr int AT_ONCE = IS_VECTOR ? 4 : 1;
    const int half = K / 2, width = heads * K;
    size_t row = blockIdx.x;
    float *q = qkv + row * (size_t)ld;
    const float *k = q + width, *v = k + width;
    P *to_k = pool_k + (size_t)slot[row] * (size_t)width;
    P *to_v = pool_v + (size_t)slot[row] * (size_t)width;
    find_angles(K, theta, pos[row], cosine, sine);
    __syncthreads();
    for (int p = (int)threadIdx.x * AT_ONCE; p < heads * half; p += THREADS * AT_ONCE) {
        int i = p % half, at = p / half * K + i;
        if constexpr (IS_VECTOR) {
            const float4 c = four_of(&cosine[i]), s = four_of(&sine[i]);
            turn_four(q + at, half, c, s, q + at);
            turn_four(k + at, half, c, s, to_k + at);
        } else {
            const float2 a = turned(q[at], q[at + half], cosine[i], sine[i]);
            const float2 b = turned(k[at], k[at + half], cosine[i], sine[i]);
            q[at] = a.x;
            q[at + half] = a.y;
            into_pool(&to_k[at], b.x);
            into_pool(&to_k[at + half], b.y);
        }
    }
    for (int c = (int)threadIdx.x * AT_ONCE; c < width; c += THREADS * AT_ONCE) {
        if constexpr (IS_VECTOR)
            put_four(to_v + c, four_of(v + c));
        else
            into_pool(&to_v[c], v[c]);
    }
}

template <typename P, bool IS_VECTOR>
static void run_rope(struct kern *k, const struct kern_rope *a) {
    rope_rows<P, IS_VECTOR><<<(unsigned)a->rows, THREADS, 0, k->stream>>>(
        a->heads, a->head_size, a->theta, cuda_f32(a->qkv), a->ld, cuda_i32(a->pos),
        cuda_i32(a->slot), (P *)(void *)a->pool_k.addr, (P *)(void *)a->pool_v.addr);
    cuda_launched(k, "rope");
}

/* With halves of whole fours everything behind an aligned row or slot is aligned: a token's keys
 * are 8 numbers of a pool, or more. */
template <typename P> static void find_rope(struct kern *k, const struct kern_rope *a) {
    bool is_vector = rows_are_aligned(a->qkv.addr, a->ld, KERN_F32) && a->head_size % 8 == 0 &&
                     cuda_is_aligned(a->pool_k.addr) && cuda_is_aligned(a->pool_v.addr);
    if (is_vector)
        run_rope<P, true>(k, a);
    else
        run_rope<P, false>(k, a);
}

void cuda_rope(struct kern *k, const struct kern_rope *a) {
    must(a->head_size <= HEAD_MAX);
    must(a->pool_dtype == KERN_F32 || a->pool_dtype == KERN_BF16);
    if (!cuda_enter(k, 0) || a->rows == 0) return;
    if (a->pool_dtype == KERN_BF16)
        find_rope<__nv_bfloat16>(k, a);
    else
        find_rope<float>(k, a);
}

/* dq turned back in place, dk turned back from its slot, dv from its slot; ref_rope_back. */
static __global__ void __launch_bounds__(THREADS)
    rope_back_rows(int heads, int K, double theta, float *dqkv, int ld, const int32_t *pos,
                   const int32_t *slot, const float *dk, const float *dv) {
    __shared__ float cosine[HEAD_MAX / 2], sine[HEAD_MAX / 2];
    const int half = K / 2, width = heads * K;
    size_t row = blockIdx.x;
    float *to_q = dqkv + row * (size_t)ld, *to_k = to_q + width, *to_v = to_k + width;
    dk += (size_t)slot[row] * (size_t)width;
    dv += (size_t)slot[row] * (size_t)width;
    find_angles(K, theta, pos[row], cosine, sine);
    __syncthreads();
    for (int p = (int)threadIdx.x; p < heads * half; p += THREADS) {
        int i = p % half, at = p / half * K + i;
        float c = cosine[i], s = sine[i], a = to_q[at], b = to_q[at + half];
        to_q[at] = a * c + b * s;
        to_q[at + half] = b * c - a * s;
        a = dk[at], b = dk[at + half];
        to_k[at] = a * c + b * s;
        to_k[at + half] = b * c - a * s;
    }
    for (int c = (int)threadIdx.x; c < width; c += THREADS)
        to_v[c] = dv[c];
}

void cuda_rope_back(struct kern *k, const struct kern_rope_back *a) {
    must(a->head_size <= HEAD_MAX);
    if (!cuda_enter(k, 0) || a->rows == 0) return;
    rope_back_rows<<<(unsigned)a->rows, THREADS, 0, k->stream>>>(
        a->heads, a->head_size, a->theta, cuda_f32(a->dqkv), a->ld, cuda_i32(a->pos),
        cuda_i32(a->slot), cuda_f32(a->dk), cuda_f32(a->dv));
    cuda_launched(k, "rope_back");
}
