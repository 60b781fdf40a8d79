/* optim.cu - long vectors: the optimiser's operations, and zeros: kernels/ref/optim.c.
 *
 * All but the sum stand alone, number by number. The sum of squares is made in blocks of
 * KERN_SUM_BLOCK numbers, each by one block of threads (every thread a chain, then a fixed tree),
 * and the blocks are added in their order by one thread. Nothing of that depends on the card.
 */
#include "kernels/cuda/common.cuh"

enum { THREADS = 256 };

/* n pieces of zeros. */
template <typename T> static __global__ void __launch_bounds__(THREADS) zero_cells(size_t n, T *p) {
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < n) p[i] = T();
}

template <typename T> static void zero_as(struct kern *k, char *p, size_t bytes) {
    size_t n = bytes / sizeof(T);
    zero_cells<T><<<cuda_blocks(n, THREADS), THREADS, 0, k->stream>>>(n, (T *)(void *)p);
    cuda_launched(k, "zero");
}

/* By a kernel, since a pass may be recorded, which takes kernels alone (graph.cu). */
void cuda_zero(struct kern *k, struct kern_ptr p, size_t bytes) {
    uintptr_t all = (uintptr_t)p.addr | bytes;
    if (!cuda_enter(k, 0) || bytes == 0) return;
    if (all % sizeof(uint4) == 0)
        zero_as<uint4>(k, p.addr, bytes);
    else if (all % sizeof(uint32_t) == 0)
        zero_as<uint32_t>(k, p.addr, bytes);
    else
        zero_as<uint8_t>(k, p.addr, bytes);
}

/* y += by x, or y += by (x - y); ref_axpy, ref_lerp. */
template <bool IS_LERP>
static __global__ void __launch_bounds__(THREADS)
    blend_cells(size_t n, float by, const float *x, float *y) {
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < n) y[i] += by * (IS_LERP ? x[i] - y[i] : x[i]);
}

void cuda_axpy(struct kern *k, const struct kern_axpy *a) {
    if (!cuda_enter(k, 0) || a->n == 0) return;
    blend_cells<false><<<cuda_blocks(a->n, THREADS), THREADS, 0, k->stream>>>(
        a->n, a->by, cuda_f32(a->x), cuda_f32(a->y));
    cuda_launched(k, "axpy");
}

void cuda_lerp(struct kern *k, const struct kern_lerp *a) {
    if (!cuda_enter(k, 0) || a->n == 0) return;
    blend_cells<true><<<cuda_blocks(a->n, THREADS), THREADS, 0, k->stream>>>(
        a->n, a->by, cuda_f32(a->x), cuda_f32(a->y));
    cuda_launched(k, "lerp");
}

/* ---- the sum of squares ---- */

/* part[b] = the squares of block b. */
static __global__ void __launch_bounds__(THREADS)
    square_blocks(size_t n, const float *x, double *part) {
    __shared__ double shared[THREADS / 32];
    size_t from = (size_t)blockIdx.x * KERN_SUM_BLOCK, left = n - from;
    int most = left < KERN_SUM_BLOCK ? (int)left : KERN_SUM_BLOCK;
    double sum = 0;
    for (int i = (int)threadIdx.x; i < most; i += THREADS) {
        double v = (double)x[from + (size_t)i];
        sum += v * v;
    }
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) part[blockIdx.x] = sum;
}

/* out += part[0], part[1], ..; they are fetched by all threads, and added by one. */
static __global__ void __launch_bounds__(THREADS)
    add_in_order(size_t n, const double *part, double *out) {
    __shared__ double some[THREADS];
    double sum = *out;
    for (size_t at = 0; at < n; at += THREADS) {
        int now = n - at < THREADS ? (int)(n - at) : THREADS;
        __syncthreads();
        if ((int)threadIdx.x < now) some[threadIdx.x] = part[at + threadIdx.x];
        __syncthreads();
        for (int i = 0; threadIdx.x == 0 && i < now; i++)
            sum += some[i];
    }
    if (threadIdx.x == 0) *out = sum;
}

void cuda_sumsq(struct kern *k, const struct kern_sumsq *a) {
    size_t blocks = (a->n + KERN_SUM_BLOCK - 1) / KERN_SUM_BLOCK;
    double *part = (double *)(void *)k->stage_out, *out = (double *)(void *)a->out.addr;
    must(blocks * sizeof *part <= cuda_stage_bytes); /* 34 thousand million numbers */
    if (!cuda_enter(k, 0) || a->n == 0) return;
    square_blocks<<<(unsigned)blocks, THREADS, 0, k->stream>>>(a->n, cuda_f32(a->x), part);
    cuda_launched(k, "square_blocks");
    add_in_order<<<1, THREADS, 0, k->stream>>>(blocks, part, out);
    cuda_launched(k, "add_in_order");
}

/* ---- AdamW ---- */

struct adamw {
    size_t n;
    float *p, *m, *v;
    const float *g;
    float shrink, lr, beta1, beta2, eps, scale; /* shrink: lr decay */
    float fix1, fix2;
};

/* ref_adamw, in its order. */
static __global__ void __launch_bounds__(THREADS) adamw_cells(struct adamw a) {
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= a.n) return;
    float g = a.scale * a.g[i], p = a.p[i];
    float m = a.beta1 * a.m[i] + (1.0f - a.beta1) * g;
    float v = a.beta2 * a.v[i] + (1.0f - a.beta2) * g * g;
    p -= a.shrink * p;
    p -= a.lr * (m / a.fix1) / (sqrtf(v / a.fix2) + a.eps);
    a.m[i] = m;
    a.v[i] = v;
    a.p[i] = p;
}

void cuda_adamw(struct kern *k, const struct kern_adamw *a) {
    if (!cuda_enter(k, 0) || a->n == 0) return;
    struct adamw all = {a->n,           cuda_f32(a->p),   cuda_f32(a->m), cuda_f32(a->v),
                        cuda_f32(a->g), a->lr * a->decay, a->lr,          a->beta1,
                        a->beta2,       a->eps,           a->scale,       (float)a->fix1,
                        (float)a->fix2};
    adamw_cells<<<cuda_blocks(a->n, THREADS), THREADS, 0, k->stream>>>(all);
    cuda_launched(k, "adamw");
}
