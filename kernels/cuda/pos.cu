/* pos.cu - where things are: patches, positions, embeddings, rotary angles and the KV store, and
 * the ways back: kernels/ref/pos.c. Each number is computed by itself. There is one sum, that of
 * the rows that an embedding went to, which one thread adds in the order of their list. */
#include "kernels/cuda/common.cuh"

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

/* y[i] = table[src[i]] or feats[~src[i]]; ref_embed. One block a row. */
static __global__ void __launch_bounds__(THREADS)
    embed_rows(size_t width, const int32_t *src, const void *table, enum kern_dtype dtype,
               const float *feats, float *y) {
    int from = src[blockIdx.x];
    size_t first = (from >= 0 ? (size_t)from : (size_t)~from) * width;
    y += (size_t)blockIdx.x * width;
    for (size_t c = threadIdx.x; c < width; c += THREADS) {
        if (from < 0)
            y[c] = feats[first + c];
        else if (dtype == KERN_BF16)
            y[c] = __bfloat162float(((const __nv_bfloat16 *)table)[first + c]);
        else if (dtype == KERN_F16)
            y[c] = __half2float(((const __half *)table)[first + c]);
        else
            y[c] = ((const float *)table)[first + c];
    }
}

void cuda_embed(struct kern *k, const struct kern_embed *a) {
    if (!cuda_enter(k, 0) || a->rows == 0) return;
    embed_rows<<<(unsigned)a->rows, THREADS, 0, k->stream>>>((size_t)a->width, cuda_i32(a->src),
                                                             a->table.addr, a->dtype,
                                                             cuda_f32(a->feats), cuda_f32(a->y));
    cuda_launched(k, "embed");
}

/* y[i] = x[index[i]]; ref_gather. One block a row. */
static __global__ void __launch_bounds__(THREADS)
    gather_rows(size_t width, const int32_t *index, const float *x, float *y) {
    x += (size_t)index[blockIdx.x] * width;
    y += (size_t)blockIdx.x * width;
    for (size_t c = threadIdx.x; c < width; c += THREADS)
        y[c] = x[c];
}

void cuda_gather(struct kern *k, const struct kern_gather *a) {
    if (!cuda_enter(k, 0) || a->rows == 0) return;
    gather_rows<<<(unsigned)a->rows, THREADS, 0, k->stream>>>((size_t)a->width, cuda_i32(a->index),
                                                              cuda_f32(a->x), cuda_f32(a->y));
    cuda_launched(k, "gather");
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

/* Rotates q in place and k into the pool, copies v; ref_rope. One block a row: first the angles,
 * which all heads share, in double; then every pair (i, i + K/2) by one thread. */
template <typename P>
static __global__ void __launch_bounds__(THREADS)
    rope_rows(int heads, int K, double theta, float *qkv, int ld, const int32_t *pos,
              const int32_t *slot, P *pool_k, P *pool_v) {
    __shared__ float cosine[HEAD_MAX / 2], sine[HEAD_MAX / 2];
    const int half = K / 2, width = heads * K;
    size_t row = blockIdx.x;
    float *q = qkv + row * (size_t)ld;
    const float *k = q + width, *v = k + width;
    P *to_k = pool_k + (size_t)slot[row] * (size_t)width;
    P *to_v = pool_v + (size_t)slot[row] * (size_t)width;
    find_angles(K, theta, pos[row], cosine, sine);
    __syncthreads();
    for (int p = (int)threadIdx.x; p < heads * half; p += THREADS) {
        int i = p % half, at = p / half * K + i;
        float c = cosine[i], s = sine[i], a = q[at], b = q[at + half];
        q[at] = a * c - b * s;
        q[at + half] = b * c + a * s;
        a = k[at], b = k[at + half];
        into_pool(&to_k[at], a * c - b * s);
        into_pool(&to_k[at + half], b * c + a * s);
    }
    for (int c = (int)threadIdx.x; c < width; c += THREADS)
        into_pool(&to_v[c], v[c]);
}

template <typename P> static void run_rope(struct kern *k, const struct kern_rope *a) {
    rope_rows<P><<<(unsigned)a->rows, THREADS, 0, k->stream>>>(
        a->heads, a->head_size, a->theta, cuda_f32(a->qkv), a->ld, cuda_i32(a->pos),
        cuda_i32(a->slot), (P *)(void *)a->pool_k.addr, (P *)(void *)a->pool_v.addr);
    cuda_launched(k, "rope");
}

void cuda_rope(struct kern *k, const struct kern_rope *a) {
    must(a->head_size <= HEAD_MAX);
    must(a->pool_dtype == KERN_F32 || a->pool_dtype == KERN_BF16);
    if (!cuda_enter(k, 0) || a->rows == 0) return;
    if (a->pool_dtype == KERN_BF16)
        run_rope<__nv_bfloat16>(k, a);
    else
        run_rope<float>(k, a);
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
