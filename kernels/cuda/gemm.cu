/* gemm.cu - matrices on their way to the device, and which product multiplies by them:
 * kernels/ref/gemm.c.
 *
 * A matrix whose parts are all of one 16-bit type stays in it. Its products take x rounded to that
 * type into the tensor cores and add up in f32: cuBLASLt where it has an algorithm that keeps our
 * rules (gemm_lt.cu) and hasn't failed by it, our own kernel otherwise. Everything else - f32
 * weights, mixed parts, strict mode - is kept in f32 and multiplied in f32, each sum one chain with
 * k ascending.
 *
 * An fp8 matrix is kept in codes, and x is rounded to codes on its way into the stage, where their
 * scales come behind them. Where cuBLASLt takes both scales, it puts them to the product of codes;
 * elsewhere that goes through the other stage, and they are put to it on the way out. In strict
 * mode the codes of both are floats, with their scales in them.
 *
 * Rows go through two fixed stages, as many at a time as fit: x as 16 bits on its way in, where it
 * doesn't come so, and sums on their way out where cuBLASLt can't write to y or y is rounded. So a
 * product needs no memory of its own, however many rows there are; and since a row's bits do not
 * depend on its company, nobody can tell.
 *
 * GELU is ours: cuBLASLt's is the approximation by tanh.
 */
#include <stdio.h>
#include <string.h>

#include "kernels/base/half.h"
#include "kernels/cuda/rows.cuh"

enum { THREADS = 256 };

/* ---- rows into e4m3 ---- */

/* What a rounded number becomes: its code, or in strict mode the float that it means. */
static __device__ inline void put_fp8(uint8_t *to, float v, float scale) {
    *to = to_e4m3(v / scale);
}
static __device__ inline void put_fp8(float *to, float v, float scale) {
    *to = scale * f32_of(from_e4m3(to_e4m3(v / scale)));
}

/* to (rows, ld) = x (rows, depth) rounded to e4m3 by the scale of each row, zeros behind depth; the
 * scales beside, where they are wanted. One block a row; half_e4m3_round. */
template <typename S, typename T>
static __global__ void __launch_bounds__(THREADS)
    round_rows_fp8(int depth, int ld, const S *x, size_t ldx, T *to, float *scales) {
    __shared__ float shared[THREADS / 32];
    x += blockIdx.x * ldx;
    to += blockIdx.x * (size_t)ld;
    float most = 0;
    for (int c = (int)threadIdx.x; c < depth; c += THREADS)
        most = fmaxf(most, fabsf(f32_of(x[c]))); /* which passes over NaN */
    float scale = block_max(most, shared) / 448.0f;
    if (!(scale > 0)) scale = 1.0f;
    if (threadIdx.x == 0 && scales) scales[blockIdx.x] = scale;
    for (int c = (int)threadIdx.x; c < ld; c += THREADS)
        put_fp8(&to[c], c < depth ? f32_of(x[c]) : 0.0f, scale);
}

template <typename S>
static void round_fp8(struct kern *k, const struct kern_mat *m, int rows, const void *x, int ldx,
                      void *to, float *scales) {
    const S *from = (const S *)x;
    if (rows == 0) return;
    if (m->scales)
        round_rows_fp8<S, uint8_t><<<(unsigned)rows, THREADS, 0, k->stream>>>(
            m->k, m->ld, from, (size_t)ldx, (uint8_t *)to, scales);
    else
        round_rows_fp8<S, float><<<(unsigned)rows, THREADS, 0, k->stream>>>(
            m->k, m->ld, from, (size_t)ldx, (float *)to, scales);
    cuda_launched(k, "round_rows_fp8");
}

/* ---- matrices ---- */

/* The type that the parts are kept in. */
static enum kern_dtype kept_type(const struct kern *k, const struct kern_mat_src *src) {
    enum kern_dtype type = src->n_parts > 0 ? src->parts[0].dtype : KERN_F32;
    for (int i = 1; i < src->n_parts; i++)
        if (src->parts[i].dtype != type) type = KERN_F32;
    return k->mode == CUDA_STRICT ? KERN_F32 : type;
}

/* n values of a part from element `at` on, as f32. */
static void widen(const struct kern_mat_part *part, size_t at, float *to, size_t n) {
    const char *from = (const char *)part->data + at * kern_dtype_bytes(part->dtype);
    if (part->dtype == KERN_F32) {
        memcpy(to, from, n * sizeof *to);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, from + 2 * i, sizeof h);
        to[i] = part->dtype == KERN_BF16 ? half_from_bf16(h) : half_from_f16(h);
    }
}

/* Send `n` elements of a part, from `at` on, to element `to` of the matrix: through the ring, so
 * that the host converts one buffer while the device takes another. */
static void send_run(struct kern *k, const struct kern_mat *m, const struct kern_mat_part *part,
                     size_t at, size_t to, size_t n) {
    size_t item = kern_dtype_bytes(m->dtype), room = RING_BYTES / item;
    for (size_t done = 0; done < n; done += room) {
        size_t now = n - done < room ? n - done : room;
        char *pinned = cuda_ring_take(k);
        if (!pinned) return;
        if (m->dtype == KERN_F32)
            widen(part, at + done, (float *)(void *)pinned, now);
        else
            memcpy(pinned, (const char *)part->data + (at + done) * item, now * item);
        cuda_ring_send(k, (char *)m->w + (to + done) * item, pinned, now * item);
    }
}

/* All parts on top of each other; where rows are padded, row by row. The padding is zero
 * already. */
static void send_parts(struct kern *k, const struct kern_mat *m, const struct kern_mat_src *src) {
    size_t row = 0, depth = (size_t)m->k, ld = (size_t)m->ld;
    for (int i = 0; i < src->n_parts; i++) {
        const struct kern_mat_part *part = &src->parts[i];
        size_t n = (size_t)part->n;
        if (ld == depth) send_run(k, m, part, 0, row * ld, n * depth);
        for (size_t r = 0; ld != depth && r < n; r++)
            send_run(k, m, part, r * depth, (row + r) * ld, depth);
        row += n;
    }
}

/* An fp8 matrix: its parts as they are into the stage, and rounded from there by the device. */
static void send_fp8(struct kern *k, const struct kern_mat *m, const struct kern_mat_src *src) {
    size_t row = 0, item = m->scales ? 1 : sizeof(float), depth = (size_t)m->k;
    struct kern_ptr stage = {k->stage_in};
    for (int i = 0; i < src->n_parts; i++) {
        const struct kern_mat_part *part = &src->parts[i];
        size_t bytes = depth * kern_dtype_bytes(part->dtype);
        int most = cuda_rows_that_fit(bytes, 0);
        for (int r = 0; r < part->n; r += most) {
            int rows = part->n - r < most ? part->n - r : most;
            char *to = (char *)m->w + row * (size_t)m->ld * item;
            float *scales = m->scales ? m->scales + row : NULL;
            cuda_put(k, stage, (const char *)part->data + (size_t)r * bytes, (size_t)rows * bytes);
            if (part->dtype == KERN_BF16)
                round_fp8<__nv_bfloat16>(k, m, rows, stage.addr, m->k, to, scales);
            else if (part->dtype == KERN_F16)
                round_fp8<__half>(k, m, rows, stage.addr, m->k, to, scales);
            else
                round_fp8<float>(k, m, rows, stage.addr, m->k, to, scales);
            row += (size_t)rows;
        }
    }
}

/* The shape and form that a matrix gets on the device, and its bytes without scales. E_TOO_BIG,
 * E_UNSUPPORTED. */
static int form(const struct kern *k, struct kern_mat *m, const struct kern_mat_src *src,
                size_t *bytes) {
    size_t n = 0, depth = (size_t)src->k, ld = depth, rows, cells, item;
    bool is_fp8 = src->keep == KERN_KEEP_FP8;
    if (src->keep != KERN_KEEP_OWN && !is_fp8) return E_UNSUPPORTED;
    for (int i = 0; i < src->n_parts; i++)
        n += (size_t)src->parts[i].n;
    bool is_codes = is_fp8 && k->mode != CUDA_STRICT, fits = true;
    rows = is_codes ? cuda_side_fp8(n) : n;
    m->dtype = is_codes ? KERN_F32 : kept_type(k, src);
    item = is_codes ? 1 : kern_dtype_bytes(m->dtype);
    if (is_codes)
        ld = cuda_side_fp8(depth);
    else if (m->dtype != KERN_F32)
        ld = cuda_row_16bit(depth);
    if (item == 2) fits = cuda_rows_at_once(depth, n) > 0;
    if (is_fp8) fits = cuda_rows_fp8(depth, n) > 0 && cuda_rows_that_fit(4 * depth, 0) > 0;
    if (!fits || rows > INT32_MAX || ld > INT32_MAX || !mem_mul(rows, ld, &cells) ||
        !mem_mul(cells, item, bytes))
        return E_TOO_BIG;
    m->n = (int)n;
    m->k = src->k;
    m->ld = (int)ld;
    m->rows = (int)rows;
    m->is_fp8 = is_fp8;
    m->scale_bytes = is_codes ? n * sizeof *m->scales : 0;
    return 0;
}

uint64_t cuda_mat_bytes(const struct kern *k, const struct kern_mat_src *src) {
    struct kern_mat m = {};
    size_t bytes;
    return form(k, &m, src, &bytes) ? UINT64_MAX : (uint64_t)bytes + m.scale_bytes;
}

/* Where the device takes a matrix. */
static int place(struct kern *k, struct kern_mat *m, const struct kern_mat_src *src,
                 struct err *e) {
    size_t bytes;
    int rc = form(k, m, src, &bytes);
    if (rc == E_UNSUPPORTED) return err_set(e, rc, "cuda keeps matrices as they are, or as fp8");
    if (rc) return err_set(e, rc, "cuda: a matrix with rows of %d is too large", src->k);
    struct kern_ptr w = {NULL}, scales = {NULL};
    rc = cuda_alloc(k, bytes, &w, e);
    m->w = w.addr;
    if (!rc && m->scale_bytes) rc = cuda_alloc(k, m->scale_bytes, &scales, e);
    m->scales = cuda_f32(scales);
    return rc;
}

int cuda_mat_new(struct kern *k, const struct kern_mat_src *src, struct kern_mat **out,
                 struct err *e) {
    *out = NULL;
    struct kern_mat *m = (struct kern_mat *)mem_try(sizeof *m);
    if (!m) return err_set(e, E_NOMEM, "cuda: no memory for a note");
    m->next = k->mats;
    if (m->next) m->next->prev = m;
    k->mats = m;
    int rc = place(k, m, src, e);
    if (rc) {
        cuda_mat_free(k, m);
        return rc;
    }
    if (m->is_fp8)
        send_fp8(k, m, src);
    else
        send_parts(k, m, src);
    bool may_lt = k->lt && (m->scales || m->dtype != KERN_F32) && m->n > 0 && m->ld > 0;
    if (may_lt) m->plan = lt_plan_new(k, m, false);
    if (may_lt && src->with_back && !m->scales) m->back = lt_plan_new(k, m, true);
    *out = m;
    return 0;
}

void cuda_mat_free(struct kern *k, struct kern_mat *m) {
    if (!m) return;
    if (m->prev) m->prev->next = m->next;
    if (m->next) m->next->prev = m->prev;
    if (k->mats == m) k->mats = m->next;
    lt_plan_free(m->plan);
    lt_plan_free(m->back);
    struct kern_ptr w = {(char *)m->w}, scales = {(char *)(void *)m->scales};
    cuda_free(k, w);
    cuda_free(k, scales);
    mem_free(m);
}

const char *cuda_mat_shape(const struct kern_mat *m, char (&text)[64]) {
    const char *type = m->dtype == KERN_BF16 ? "bf16" : m->dtype == KERN_F16 ? "fp16" : "f32";
    if (m->is_fp8) type = m->scales ? "fp8" : "fp8 in f32";
    snprintf(text, sizeof text, "%d x %d %s", m->n, m->k, type);
    return text;
}

int cuda_mat_describe(const struct kern *k, const struct kern_mat *m, char *text, size_t n) {
    char shape[64], algorithms[400] = "";
    (void)cuda_mat_shape(m, shape);
    if (!lt_serves(m->plan))
        return snprintf(text, n, "%s: our own product%s", shape,
                        m->plan ? ", cuBLASLt failed" : "");
    (void)lt_describe(k->lt, m->plan, algorithms, sizeof algorithms);
    return snprintf(text, n, "%s: cuBLASLt %s", shape, algorithms);
}

/* ---- rows into 16 bits ---- */

/* The two types: how a float becomes one. */
struct as_bf16 {
    static __device__ uint16_t bits(float v) { return __bfloat16_as_ushort(to_bf16(v)); }
};
struct as_f16 {
    static __device__ uint16_t bits(float v) { return __half_as_ushort(to_f16(v)); }
};

/* to (rows, ld) = x (rows, depth) rounded, zeros behind depth. One thread makes eight numbers, a
 * whole vector; ld is a multiple of 8. `fast`: x's rows begin at multiples of 16 bytes. */
template <typename H>
static __global__ void __launch_bounds__(THREADS)
    round_rows(unsigned vectors, int depth, int ld, const float *x, int ldx, bool fast, uint4 *to) {
    unsigned i = blockIdx.x * THREADS + threadIdx.x, per_row = (unsigned)ld / 8;
    if (i >= vectors) return;
    int c = (int)(i % per_row) * 8;
    x += (size_t)(i / per_row) * (size_t)ldx + (size_t)c;
    union {
        float4 vectors[2];
        float at[8];
    } from;
    union {
        uint4 vector;
        uint16_t bits[8];
    } u;
    if (fast && c + 8 <= depth) {
        from.vectors[0] = ((const float4 *)(const void *)x)[0];
        from.vectors[1] = ((const float4 *)(const void *)x)[1];
    } else {
#pragma unroll
        for (int j = 0; j < 8; j++)
            from.at[j] = c + j < depth ? x[j] : 0.0f;
    }
#pragma unroll
    for (int j = 0; j < 8; j++)
        u.bits[j] = H::bits(from.at[j]);
    to[i] = u.vector;
}

/* The same of numbers that are in the type already. */
static __global__ void __launch_bounds__(THREADS)
    pad_rows(int rows, int depth, int ld, const uint16_t *x, int ldx, uint16_t *to) {
    const int c = rows_column(), left = depth - c;
    if (c >= ld) return;
    for (unsigned row = blockIdx.y; row < (unsigned)rows; row += gridDim.y) {
        const uint16_t *from = x + row * (size_t)ldx + c;
#pragma unroll
        for (int j = 0; j < ROWS_EIGHT; j++)
            to[row * (size_t)ld + c + j] = j < left ? from[j] : 0;
    }
}

void cuda_round_rows(struct kern *k, enum kern_dtype type, int rows, int depth, int ld,
                     const float *x, int ldx, void *rounded) {
    unsigned n = (unsigned)((size_t)rows * (size_t)ld / 8), blocks = cuda_blocks(n, THREADS);
    uint4 *to = (uint4 *)rounded;
    bool fast = cuda_is_aligned(x) && ldx % 4 == 0;
    if (n == 0) return;
    if (type == KERN_BF16)
        round_rows<as_bf16><<<blocks, THREADS, 0, k->stream>>>(n, depth, ld, x, ldx, fast, to);
    else
        round_rows<as_f16><<<blocks, THREADS, 0, k->stream>>>(n, depth, ld, x, ldx, fast, to);
    cuda_launched(k, "round_rows");
}

/* ---- what cuBLASLt leaves to be done ---- */

/* y = gelu(s + bias) or y + s + bias, s in its scales. A thread reads its numbers before it writes
 * them, so y may be s. */
static __global__ void __launch_bounds__(THREADS)
    finish_rows(int rows, int n, const float *s, int lds, struct rows_out y, struct finish end,
                bool is_vector) {
    const int c = rows_column(), left = n - c;
    if (left <= 0) return;
    for (unsigned row = blockIdx.y; row < (unsigned)rows; row += gridDim.y) {
        struct eight sum = eight_of(s + row * (size_t)lds + c, left, is_vector), more;
        const float *old = (const float *)y.at + row * (size_t)y.ld + c;
        if (end.row_scale) {
#pragma unroll
            for (int j = 0; j < ROWS_EIGHT; j++)
                sum.at[j] *= end.row_scale[row];
        }
        if (end.col_scale) {
            more = eight_of(end.col_scale + c, left, is_vector);
#pragma unroll
            for (int j = 0; j < ROWS_EIGHT; j++)
                sum.at[j] *= more.at[j];
        }
        if (end.accumulate) {
            more = eight_of(old, left, is_vector);
#pragma unroll
            for (int j = 0; j < ROWS_EIGHT; j++)
                sum.at[j] += more.at[j];
        }
        if (end.bias) {
            more = eight_of(end.bias + c, left, is_vector);
#pragma unroll
            for (int j = 0; j < ROWS_EIGHT; j++)
                sum.at[j] += more.at[j];
        }
        if (end.gelu) {
#pragma unroll
            for (int j = 0; j < ROWS_EIGHT; j++)
                sum.at[j] = gelu_f32(sum.at[j]);
        }
        put_eight(&y, row, c, left, is_vector, &sum);
    }
}

void cuda_finish_rows(struct kern *k, int rows, int n, const float *s, int lds, void *y, int ldy,
                      struct finish end) {
    struct rows_out out = {y, ldy, end.y_dtype};
    bool is_vector = rows_are_aligned(s, lds, KERN_F32) && rows_are_aligned(y, ldy, end.y_dtype) &&
                     cuda_is_aligned(end.bias) && cuda_is_aligned(end.col_scale);
    finish_rows<<<rows_grid(rows, n), rows_threads(n), 0, k->stream>>>(rows, n, s, lds, out, end,
                                                                       is_vector);
    cuda_launched(k, "finish");
}

/* Do sums go to y without a stage between? */
static bool goes_direct(const struct kern_mat *w, const void *y, int ldy, enum kern_dtype type) {
    return type == KERN_F32 && (!lt_serves(w->plan) || (cuda_is_aligned(y) && ldy % 4 == 0));
}

/* Rows x, as its product takes them, through cuBLASLt. False: it failed, and y is as it was. */
static bool product_lt(struct kern *k, const struct kern_mat *w, int rows, const void *x, void *y,
                       int ldy, struct finish end) {
    bool is_direct = goes_direct(w, y, ldy, end.y_dtype), is_rounded = end.y_dtype != KERN_F32;
    bool with_bias = (is_direct || is_rounded) && end.bias && cuda_is_aligned(end.bias) &&
                     lt_takes_bias(w->plan); /* rounded or not, it comes by the same algorithm */
    float *sums = (float *)(is_direct ? y : k->stage_out);
    int ld = is_direct ? ldy : (int)cuda_row_sums((size_t)w->n);
    if (!lt_product(k, w, w->plan, rows, x, NULL, sums, ld, with_bias ? end.bias : NULL,
                    is_direct && end.accumulate))
        return false;
    if (with_bias) end.bias = NULL;
    if (is_direct) end.accumulate = false;
    if (!is_direct || end.bias || end.gelu) cuda_finish_rows(k, rows, w->n, sums, ld, y, ldy, end);
    return true;
}

/* The same by our own. */
static void product_own(struct kern *k, const struct kern_mat *w, int rows, const void *x, void *y,
                        int ldy, struct finish end) {
    const struct finish round = {NULL, false, false, NULL, NULL, end.y_dtype};
    if (end.y_dtype == KERN_F32) {
        own_product_16(k, w, rows, x, (float *)y, ldy, end);
        return;
    }
    float *sums = (float *)(void *)k->stage_out;
    int ld = (int)cuda_row_sums((size_t)w->n);
    own_product_16(k, w, rows, x, sums, ld, end);
    cuda_finish_rows(k, rows, w->n, sums, ld, y, ldy, round);
}

/* Rows of x in w's type, as w's rows are: in their place, or through the stage. */
static const void *rows_16(struct kern *k, const struct kern_gemm *a, bool is_ready, int row,
                           int rows) {
    const struct kern_mat *w = a->w;
    const char *x = a->x.addr + (size_t)row * (size_t)a->ldx * kern_dtype_bytes(a->x_dtype);
    if (is_ready) return x;
    if (a->x_dtype == KERN_F32) {
        cuda_round_rows(k, w->dtype, rows, w->k, w->ld, (const float *)(const void *)x, a->ldx,
                        k->stage_in);
        return k->stage_in;
    }
    if (w->ld == 0) return k->stage_in; /* no columns, no threads */
    pad_rows<<<rows_grid(rows, w->ld), rows_threads(w->ld), 0, k->stream>>>(
        rows, w->k, w->ld, (const uint16_t *)(const void *)x, a->ldx,
        (uint16_t *)(void *)k->stage_in);
    cuda_launched(k, "pad_rows");
    return k->stage_in;
}

static void product_16(struct kern *k, const struct kern_gemm *a, struct finish end) {
    const struct kern_mat *w = a->w;
    bool is_ready =
        a->x_dtype != KERN_F32 && w->k == w->ld && a->ldx == w->ld && cuda_is_aligned(a->x.addr);
    bool is_direct = goes_direct(w, a->y.addr, a->ldy, a->y_dtype);
    int most = cuda_rows_that_fit(is_ready ? 0 : 2 * (size_t)w->ld,
                                  is_direct ? 0 : 4 * cuda_row_sums((size_t)w->n));
    must(most > 0);
    for (int row = 0; row < a->m; row += most) {
        int rows = a->m - row < most ? a->m - row : most;
        const void *x = rows_16(k, a, is_ready, row, rows);
        char *y = a->y.addr + (size_t)row * (size_t)a->ldy * kern_dtype_bytes(a->y_dtype);
        if (!lt_serves(w->plan) || !product_lt(k, w, rows, x, y, a->ldy, end))
            product_own(k, w, rows, x, y, a->ldy, end);
    }
}

/* Staged codes and their scales through cuBLASLt. False: it failed, and y is as it was. */
static bool product_fp8_lt(struct kern *k, const struct kern_mat *w, int rows, float *y, int ldy,
                           struct finish end) {
    bool is_scaled = lt_takes_scales(w->plan);
    bool is_direct = is_scaled && cuda_is_aligned(y) && ldy % 4 == 0;
    float *sums = is_direct ? y : (float *)(void *)k->stage_out;
    int ld = is_direct ? ldy : w->rows;
    if (!lt_product(k, w, w->plan, rows, k->stage_in, end.row_scale, sums, ld, NULL,
                    is_direct && end.accumulate))
        return false;
    if (is_scaled) end.row_scale = end.col_scale = NULL;
    if (is_direct) end.accumulate = false;
    if (!is_direct || end.bias || end.gelu) cuda_finish_rows(k, rows, w->n, sums, ld, y, ldy, end);
    return true;
}

static void product_fp8(struct kern *k, const struct kern_gemm *a, struct finish end) {
    const struct kern_mat *w = a->w;
    int most = w->scales ? cuda_rows_fp8((size_t)w->k, (size_t)w->n)
                         : cuda_rows_that_fit((size_t)w->k * sizeof(float), 0);
    must(most > 0);
    for (int row = 0; row < a->m; row += most) {
        int rows = a->m - row < most ? a->m - row : most;
        const float *x = cuda_f32(a->x) + (size_t)row * (size_t)a->ldx;
        float *y = cuda_f32(a->y) + (size_t)row * (size_t)a->ldy;
        float *scales = NULL;
        if (w->scales)
            scales = (float *)(void *)(k->stage_in + cuda_side_fp8((size_t)rows) * (size_t)w->ld);
        round_fp8<float>(k, w, rows, x, a->ldx, k->stage_in, scales);
        end.row_scale = scales;
        end.col_scale = w->scales;
        if (!w->scales) {
            own_product_f32(k, rows, w->n, w->k, (const float *)(const void *)k->stage_in, w->ld,
                            (const float *)w->w, w->ld, y, a->ldy, end);
        } else if (!lt_serves(w->plan) || !product_fp8_lt(k, w, rows, y, a->ldy, end)) {
            own_product_16(k, w, rows, k->stage_in, y, a->ldy, end);
        }
    }
}

enum kern_dtype cuda_x_dtype(const struct kern *, const struct kern_mat *m) {
    return m->is_fp8 ? KERN_F32 : m->dtype;
}

void cuda_gemm(struct kern *k, const struct kern_gemm *a) {
    must(!a->accumulate || (a->act == KERN_ACT_NONE && a->y_dtype == KERN_F32));
    const struct kern_mat *w = a->w;
    must(a->x_dtype == KERN_F32 || a->x_dtype == cuda_x_dtype(k, w));
    must(a->y_dtype == KERN_F32 || cuda_x_dtype(k, w) != KERN_F32);
    int n = kern_gemm_n(a, w->n), depth = kern_gemm_k(a, w->k);
    must((!a->n && !a->k) || (w->dtype == KERN_F32 && !w->is_fp8 && n <= w->n && depth <= w->k));
    if (!cuda_enter(k, (uint64_t)a->m * (uint64_t)n * (uint64_t)depth)) return;
    if (a->m == 0 || w->n == 0) return;
    struct finish end = {cuda_f32(a->bias), a->act == KERN_ACT_GELU, a->accumulate != 0, NULL, NULL,
                         a->y_dtype};
    if (w->is_fp8)
        product_fp8(k, a, end);
    else if (w->dtype == KERN_F32)
        own_product_f32(k, a->m, n, depth, cuda_f32(a->x), a->ldx, (const float *)w->w, w->ld,
                        cuda_f32(a->y), a->ldy, end);
    else
        product_16(k, a, end);
}
