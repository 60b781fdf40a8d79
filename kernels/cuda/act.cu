/* act.cu - SwiGLU, GELU and dropout, there and back, and other types: kernels/ref/act.c. Each
 * number stands alone.
 *
 * GELU by itself has the bits of the one that a product ends with (gemm.cu, gemm_own.cu): in double
 * in strict mode, in f32 where weights have 16 bits. Only behind f32 weights in the other modes the
 * product's is in double and this one is not.
 */
#include "kernels/cuda/rows.cuh"

enum { THREADS = ROWS_THREADS };

/* y = gate / (1 + exp(-gate)) * up; ref_swiglu. */
static __global__ void __launch_bounds__(THREADS)
    swiglu_rows(int rows, int width, const float *x, int ldx, struct rows_out y, bool is_vector) {
    const int c = rows_column(), left = width - c;
    if (left <= 0) return;
    for (unsigned row = blockIdx.y; row < (unsigned)rows; row += gridDim.y) {
        const float *from = x + row * (size_t)ldx + c;
        const struct eight gate = eight_of(from, left, is_vector);
        const struct eight up = eight_of(from + width, left, is_vector);
        struct eight v;
#pragma unroll
        for (int j = 0; j < ROWS_EIGHT; j++)
            v.at[j] = gate.at[j] / (1.0f + expf(-gate.at[j])) * up.at[j];
        put_eight(&y, row, c, left, is_vector, &v);
    }
}

void cuda_swiglu(struct kern *k, const struct kern_swiglu *a) {
    if (!cuda_enter(k, 0) || a->rows == 0 || a->width == 0) return;
    bool is_vector = rows_are_aligned(a->x.addr, a->ldx, KERN_F32) && a->width % 4 == 0 &&
                     rows_are_aligned(a->y.addr, a->ldy, a->y_dtype);
    swiglu_rows<<<rows_grid(a->rows, a->width), rows_threads(a->width), 0, k->stream>>>(
        a->rows, a->width, cuda_f32(a->x), a->ldx, rows_out(a->y, a->ldy, a->y_dtype), is_vector);
    cuda_launched(k, "swiglu");
}

/* d gate = dy up s (1 + gate (1 - s)), d up = dy gate s; ref_swiglu_back. A thread reads its
 * numbers before it writes them, so dx may be x. */
static __global__ void __launch_bounds__(THREADS)
    swiglu_back_rows(int rows, int width, const float *x, int ldx, const float *dy, int lddy,
                     struct rows_out dx, bool is_vector) {
    const int c = rows_column(), left = width - c;
    if (left <= 0) return;
    for (unsigned row = blockIdx.y; row < (unsigned)rows; row += gridDim.y) {
        const float *from = x + row * (size_t)ldx + c;
        struct eight gate = eight_of(from, left, is_vector);
        struct eight up = eight_of(from + width, left, is_vector);
        const struct eight d = eight_of(dy + row * (size_t)lddy + c, left, is_vector);
#pragma unroll
        for (int j = 0; j < ROWS_EIGHT; j++) {
            const float g = gate.at[j], s = 1.0f / (1.0f + expf(-g));
            gate.at[j] = d.at[j] * up.at[j] * s * (1.0f + g * (1.0f - s));
            up.at[j] = d.at[j] * g * s;
        }
        put_eight(&dx, row, c, left, is_vector, &gate);
        put_eight(&dx, row, width + c, left, is_vector, &up);
    }
}

void cuda_swiglu_back(struct kern *k, const struct kern_swiglu_back *a) {
    if (!cuda_enter(k, 0) || a->rows == 0 || a->width == 0) return;
    bool is_vector = rows_are_aligned(a->x.addr, a->ldx, KERN_F32) && a->width % 4 == 0 &&
                     rows_are_aligned(a->dy.addr, a->lddy, KERN_F32) &&
                     rows_are_aligned(a->dx.addr, a->lddx, KERN_F32);
    swiglu_back_rows<<<rows_grid(a->rows, a->width), rows_threads(a->width), 0, k->stream>>>(
        a->rows, a->width, cuda_f32(a->x), a->ldx, cuda_f32(a->dy), a->lddy,
        rows_out(a->dx, a->lddx, KERN_F32), is_vector);
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

/* y = gelu(x), or dx = dy times the slope there; ref_gelu, ref_gelu_back. A thread reads its
 * numbers before it writes them, so y may be x and dx may be dy. */
template <bool IS_BACK>
static __global__ void __launch_bounds__(THREADS)
    gelu_rows(int rows, int width, const float *x, int ldx, const float *dy, int lddy,
              struct rows_out y, bool is_vector, bool in_f64) {
    const int c = rows_column(), left = width - c;
    if (left <= 0) return;
    for (unsigned row = blockIdx.y; row < (unsigned)rows; row += gridDim.y) {
        struct eight v = eight_of(x + row * (size_t)ldx + c, left, is_vector);
        if (IS_BACK) {
            const struct eight d = eight_of(dy + row * (size_t)lddy + c, left, is_vector);
#pragma unroll
            for (int j = 0; j < ROWS_EIGHT; j++)
                v.at[j] = d.at[j] * gelu_slope(v.at[j], in_f64);
        } else {
#pragma unroll
            for (int j = 0; j < ROWS_EIGHT; j++)
                v.at[j] = in_f64 ? gelu_f64(v.at[j]) : gelu_f32(v.at[j]);
        }
        put_eight(&y, row, c, left, is_vector, &v);
    }
}

template <bool IS_BACK> static void run_gelu(struct kern *k, const struct kern_gelu *a) {
    if (!cuda_enter(k, 0) || a->rows == 0 || a->width == 0) return;
    const float *x = cuda_f32(a->x), *dy = IS_BACK ? cuda_f32(a->dy) : NULL;
    int lddy = IS_BACK ? a->lddy : 0;
    bool is_vector = rows_are_aligned(x, a->ldx, KERN_F32) &&
                     rows_are_aligned(dy, lddy, KERN_F32) &&
                     rows_are_aligned(a->y.addr, a->ldy, KERN_F32);
    gelu_rows<IS_BACK><<<rows_grid(a->rows, a->width), rows_threads(a->width), 0, k->stream>>>(
        a->rows, a->width, x, a->ldx, dy, lddy, rows_out(a->y, a->ldy, KERN_F32), is_vector,
        k->mode == CUDA_STRICT);
    cuda_launched(k, "gelu");
}

void cuda_gelu(struct kern *k, const struct kern_gelu *a) { run_gelu<false>(k, a); }

void cuda_gelu_back(struct kern *k, const struct kern_gelu *a) { run_gelu<true>(k, a); }

/* ---- dropout ---- */

/* y = x / (1 - rate), or 0; ref_dropout. */
static __global__ void __launch_bounds__(THREADS)
    dropout_rows(int rows, int width, const float *x, int ldx, const int32_t *row_id, float rate,
                 uint64_t seed, struct rows_out y, bool is_vector) {
    const int c = rows_column(), left = width - c;
    if (left <= 0) return;
    for (unsigned row = blockIdx.y; row < (unsigned)rows; row += gridDim.y) {
        struct eight v = eight_of(x + row * (size_t)ldx + c, left, is_vector);
        const int32_t id = row_id[row];
#pragma unroll
        for (int j = 0; j < ROWS_EIGHT; j++)
            v.at[j] = kern_dropout_keeps(seed, id, c + j, rate) ? v.at[j] / (1.0f - rate) : 0.0f;
        put_eight(&y, row, c, left, is_vector, &v);
    }
}

void cuda_dropout(struct kern *k, const struct kern_dropout *a) {
    must(a->rate >= 0 && a->rate < 1);
    if (!cuda_enter(k, 0) || a->rows == 0 || a->width == 0) return;
    bool is_vector = rows_are_aligned(a->x.addr, a->ldx, KERN_F32) &&
                     rows_are_aligned(a->y.addr, a->ldy, KERN_F32);
    dropout_rows<<<rows_grid(a->rows, a->width), rows_threads(a->width), 0, k->stream>>>(
        a->rows, a->width, cuda_f32(a->x), a->ldx, cuda_i32(a->row_id), a->rate, a->seed,
        rows_out(a->y, a->ldy, KERN_F32), is_vector);
    cuda_launched(k, "dropout");
}

/* ---- other types ---- */

static __device__ inline float widened(enum kern_dtype type, uint16_t bits) {
    return type == KERN_BF16 ? __bfloat162float(__ushort_as_bfloat16(bits))
                             : __half2float(__ushort_as_half(bits));
}

/* x[0 .. 7] of 16 bits, of which `left` exist: zeros stand for the rest. */
static __device__ inline struct eight eight_widened(enum kern_dtype type, const uint16_t *x,
                                                    int left, bool is_vector) {
    struct eight v;
    if (is_vector && left >= ROWS_EIGHT) {
        const uint4 all = *(const uint4 *)(const void *)x;
        const uint32_t words[ROWS_EIGHT / 2] = {all.x, all.y, all.z, all.w};
#pragma unroll
        for (int j = 0; j < ROWS_EIGHT; j++)
            v.at[j] = widened(type, (uint16_t)(words[j / 2] >> 16 * (j % 2)));
    } else {
#pragma unroll
        for (int j = 0; j < ROWS_EIGHT; j++)
            v.at[j] = j < left ? widened(type, x[j]) : 0.0f;
    }
    return v;
}

/* y = x in another type; ref_convert. */
static __global__ void __launch_bounds__(THREADS)
    convert_rows(int rows, int width, const void *x, int ldx, enum kern_dtype type,
                 struct rows_out y, bool is_vector) {
    const int c = rows_column(), left = width - c;
    if (left <= 0) return;
    for (unsigned row = blockIdx.y; row < (unsigned)rows; row += gridDim.y) {
        const size_t i = row * (size_t)ldx + (size_t)c;
        const struct eight v = type == KERN_F32
                                   ? eight_of((const float *)x + i, left, is_vector)
                                   : eight_widened(type, (const uint16_t *)x + i, left, is_vector);
        put_eight(&y, row, c, left, is_vector, &v);
    }
}

void cuda_convert(struct kern *k, const struct kern_convert *a) {
    must((a->x_dtype == KERN_F32) != (a->y_dtype == KERN_F32));
    if (!cuda_enter(k, 0) || a->rows == 0 || a->width == 0) return;
    bool is_vector = rows_are_aligned(a->x.addr, a->ldx, a->x_dtype) &&
                     rows_are_aligned(a->y.addr, a->ldy, a->y_dtype);
    convert_rows<<<rows_grid(a->rows, a->width), rows_threads(a->width), 0, k->stream>>>(
        a->rows, a->width, a->x.addr, a->ldx, a->x_dtype, rows_out(a->y, a->ldy, a->y_dtype),
        is_vector);
    cuda_launched(k, "convert");
}
