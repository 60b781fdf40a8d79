/* act.cu - SwiGLU, GELU and dropout, there and back: kernels/ref/act.c. Each number stands alone.
 *
 * GELU by itself has the bits of the one that a product ends with (gemm.cu, gemm_own.cu): in double
 * in strict mode, in f32 where weights have 16 bits. Only behind f32 weights in the other modes the
 * product's is in double and this one is not.
 */
#include "kernels/cuda/common.cuh"

enum { THREADS = 256 };

/* Rows of numbers, dense or not. */
struct cells {
    size_t n;
    int width;
    const float *x;
    int ldx;
    const float *dy; /* on the way back */
    int lddy;
    float *y; /* or dx */
    int ldy;
};

/* y = gate / (1 + exp(-gate)) * up; ref_swiglu. */
static __global__ void __launch_bounds__(THREADS)
    swiglu_cells(size_t cells, int width, const float *x, int ldx, float *y, int ldy) {
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= cells) return;
    size_t row = i / (size_t)width, c = i % (size_t)width;
    float gate = x[row * (size_t)ldx + c], up = x[row * (size_t)ldx + (size_t)width + c];
    y[row * (size_t)ldy + c] = gate / (1.0f + expf(-gate)) * up;
}

void cuda_swiglu(struct kern *k, const struct kern_swiglu *a) {
    size_t cells = (size_t)a->rows * (size_t)a->width;
    if (!cuda_enter(k, 0) || cells == 0) return;
    swiglu_cells<<<cuda_blocks(cells, THREADS), THREADS, 0, k->stream>>>(
        cells, a->width, cuda_f32(a->x), a->ldx, cuda_f32(a->y), a->ldy);
    cuda_launched(k, "swiglu");
}

/* d gate = dy up s (1 + gate (1 - s)), d up = dy gate s; ref_swiglu_back. A thread reads both
 * before it writes them, so dx may be x. */
static __global__ void __launch_bounds__(THREADS) swiglu_back_cells(struct cells a) {
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= a.n) return;
    size_t width = (size_t)a.width, row = i / width, c = i % width;
    const float *x = a.x + row * (size_t)a.ldx + c;
    float *dx = a.y + row * (size_t)a.ldy + c;
    float gate = x[0], up = x[width], dy = a.dy[row * (size_t)a.lddy + c];
    float s = 1.0f / (1.0f + expf(-gate));
    dx[0] = dy * up * s * (1.0f + gate * (1.0f - s));
    dx[width] = dy * gate * s;
}

void cuda_swiglu_back(struct kern *k, const struct kern_swiglu_back *a) {
    struct cells all = {(size_t)a->rows * (size_t)a->width,
                        a->width,
                        cuda_f32(a->x),
                        a->ldx,
                        cuda_f32(a->dy),
                        a->lddy,
                        cuda_f32(a->dx),
                        a->lddx};
    if (!cuda_enter(k, 0) || all.n == 0) return;
    swiglu_back_cells<<<cuda_blocks(all.n, THREADS), THREADS, 0, k->stream>>>(all);
    cuda_launched(k, "swiglu_back");
}

/* ---- GELU ---- */

/* Phi(x) + x phi(x), the slope. */
static __device__ inline float gelu_slope(float x, bool in_f64) {
    if (in_f64) {
        double v = (double)x, phi = 0.39894228040143267794 * exp(-0.5 * v * v);
        return (float)(0.5 * erfc(-0.70710678118654752440 * v) + v * phi);
    }
    return 0.5f * erfcf(-0.70710678f * x) + x * 0.39894228f * expf(-0.5f * x * x);
}

/* y = gelu(x), or dx = dy times the slope there; ref_gelu, ref_gelu_back. */
template <bool IS_BACK>
static __global__ void __launch_bounds__(THREADS) gelu_cells(struct cells a, bool in_f64) {
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= a.n) return;
    size_t row = i / (size_t)a.width, c = i % (size_t)a.width;
    float x = a.x[row * (size_t)a.ldx + c], *y = a.y + row * (size_t)a.ldy + c;
    if (IS_BACK)
        *y = a.dy[row * (size_t)a.lddy + c] * gelu_slope(x, in_f64);
    else
        *y = in_f64 ? gelu_f64(x) : gelu_f32(x);
}

static void run_gelu(struct kern *k, const struct kern_gelu *a, bool is_back) {
    struct cells all = {(size_t)a->rows * (size_t)a->width,
                        a->width,
                        cuda_f32(a->x),
                        a->ldx,
                        cuda_f32(a->dy),
                        a->lddy,
                        cuda_f32(a->y),
                        a->ldy};
    if (!cuda_enter(k, 0) || all.n == 0) return;
    unsigned blocks = cuda_blocks(all.n, THREADS);
    if (is_back)
        gelu_cells<true><<<blocks, THREADS, 0, k->stream>>>(all, k->mode == CUDA_STRICT);
    else
        gelu_cells<false><<<blocks, THREADS, 0, k->stream>>>(all, k->mode == CUDA_STRICT);
    cuda_launched(k, "gelu");
}

void cuda_gelu(struct kern *k, const struct kern_gelu *a) { run_gelu(k, a, false); }

void cuda_gelu_back(struct kern *k, const struct kern_gelu *a) { run_gelu(k, a, true); }

/* ---- dropout ---- */

/* y = x / (1 - rate), or 0; ref_dropout. */
static __global__ void __launch_bounds__(THREADS)
    dropout_cells(struct cells a, const int32_t *row_id, float rate, uint64_t seed) {
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= a.n) return;
    size_t row = i / (size_t)a.width, c = i % (size_t)a.width;
    bool stays = kern_dropout_keeps(seed, row_id[row], (int)c, rate);
    float x = a.x[row * (size_t)a.ldx + c];
    a.y[row * (size_t)a.ldy + c] = stays ? x / (1.0f - rate) : 0.0f;
}

void cuda_dropout(struct kern *k, const struct kern_dropout *a) {
    must(a->rate >= 0 && a->rate < 1);
    struct cells all = {(size_t)a->rows * (size_t)a->width,
                        a->width,
                        cuda_f32(a->x),
                        a->ldx,
                        NULL,
                        0,
                        cuda_f32(a->y),
                        a->ldy};
    if (!cuda_enter(k, 0) || all.n == 0) return;
    dropout_cells<<<cuda_blocks(all.n, THREADS), THREADS, 0, k->stream>>>(all, cuda_i32(a->row_id),
                                                                          a->rate, a->seed);
    cuda_launched(k, "dropout");
}
