/* gemm.c - the matrix product: y[i][n] = act(sum_k x[i][k] * w[n][k] + bias[n]).
 *
 * By an fp8 matrix x and w are q(x) and q(w) of kern.h, and the sum is multiplied by their scales.
 * Dot product and bias are summed in double, k ascending, and rounded once; with `accumulate` the
 * sum is added to y in float. GELU is the exact one, x/2 * (1 + erf(x / sqrt 2)). The way back,
 * with sums of the same kind:
 *
 *     dx[i][c] = sum_n dy[i][n] w[n][c]
 *     dw[n][c] = sum_i dy[i][n] x[i][c],  db[n] = sum_i dy[i][n]
 */
#include <math.h>
#include <string.h>

#include "kernels/base/half.h"
#include "kernels/base/narrow.h"
#include "kernels/ref/ref.h"

float ref_round_row(float *row, size_t n) {
    float scale = half_e4m3_scale(row, n);
    for (size_t i = 0; i < n; i++)
        row[i] = half_from_e4m3(half_to_e4m3(row[i] / scale));
    return scale;
}

/* A row of x by one of a matrix, in blocks of whole numbers: see kern_gemm. The numbers of the
 * matrix are found again from what they mean. */
static float ref_blocks_dot(int bits, int k, const float *x, const float *w) {
    float sum = 0;
    for (int at = 0; at < k; at += NARROW_BLOCK) {
        int n = k - at < NARROW_BLOCK ? k - at : NARROW_BLOCK;
        int8_t a[NARROW_BLOCK], b[NARROW_BLOCK];
        float by = half_from_bf16(narrow_block(bits, w + at, n, b));
        by *= narrow_row_block(x + at, n, a);
        int32_t dot = 0;
        for (int i = 0; i < n; i++)
            dot += a[i] * b[i];
        sum += by * (float)dot;
    }
    return sum;
}

static double ref_dot(int k, const char *x, enum kern_dtype type, const float *w) {
    double sum = 0;
    for (size_t c = 0; c < (size_t)k; c++) {
        float v = type == KERN_F32 ? ((const float *)(const void *)x)[c] : ref_at(x, type, c);
        sum += (double)v * (double)w[c];
    }
    return sum;
}

void ref_gemm(struct kern *k, const struct kern_gemm *a) {
    must(!a->accumulate || (a->act == KERN_ACT_NONE && a->y_dtype == KERN_F32));
    const struct kern_mat *w = a->w;
    const float *bias = ref_f32(a->bias);
    int outputs = kern_gemm_n(a, w->n), depth = kern_gemm_k(a, w->k);
    must(((!w->scale && !w->bits) || (!a->n && !a->k)) && outputs <= w->n && depth <= w->k);
    must((!w->scale && !w->bits) || a->x_dtype == KERN_F32);
    for (int i = 0; i < a->m; i++) {
        const char *x =
            kern_at(a->x, (size_t)i * (size_t)a->ldx * kern_dtype_bytes(a->x_dtype)).addr;
        size_t y = (size_t)i * (size_t)a->ldy; /* (N) */
        double scale = 1;
        if (w->scale) {
            memcpy(w->row, x, (size_t)w->k * sizeof *w->row);
            scale = (double)ref_round_row(w->row, (size_t)w->k);
            x = (const char *)w->row;
        }
        for (int n = 0; n < outputs; n++, y++) {
            const float *row = w->w + (size_t)n * (size_t)w->k;
            double sum = w->bits ? (double)ref_blocks_dot(w->bits, depth,
                                                          (const float *)(const void *)x, row)
                                 : ref_dot(depth, x, a->x_dtype, row);
            if (w->scale) sum *= scale * (double)w->scale[n];
            if (bias) sum += (double)bias[n];
            if (a->act == KERN_ACT_GELU) sum = ref_gelu_of(sum);
            ref_set(a->y, a->y_dtype, y,
                    a->accumulate ? ref_f32(a->y)[y] + (float)sum : (float)sum);
        }
    }
    ref_count(k, (uint64_t)a->m * (uint64_t)outputs * (uint64_t)depth);
}

/* ---- training ---- */

void ref_mat_set(struct kern *k, const struct kern_mat_set *a) {
    const struct kern_mat *w = a->w;
    must(!w->scale && a->row0 >= 0 && a->row0 + a->rows <= w->n);
    for (int i = 0; i < a->rows; i++) {
        float *row = w->w + (size_t)(a->row0 + i) * (size_t)w->k;
        memcpy(row, ref_f32(a->src) + (size_t)i * (size_t)a->ld, (size_t)w->k * sizeof *row);
        for (int c = 0; w->is_bf16 && c < w->k; c++)
            row[c] = half_from_bf16(half_to_bf16(row[c]));
    }
    ref_count(k, 0);
}

void ref_gemm_dx(struct kern *k, const struct kern_gemm_dx *a) {
    const struct kern_mat *w = a->w;
    must(w->with_back);
    for (int i = 0; i < a->m; i++) {
        const float *dy = ref_f32(a->dy) + (size_t)i * (size_t)a->lddy; /* (N) */
        float *dx = ref_f32(a->dx) + (size_t)i * (size_t)a->lddx;       /* (K) */
        for (int c = 0; c < w->k; c++) {
            double sum = 0;
            for (int n = 0; n < w->n; n++)
                sum += (double)dy[n] * (double)w->w[(size_t)n * (size_t)w->k + (size_t)c];
            ref_give(&dx[c], sum, a->accumulate);
        }
    }
    ref_count(k, (uint64_t)a->m * (uint64_t)w->n * (uint64_t)w->k);
}

void ref_gemm_dw(struct kern *k, const struct kern_gemm_dw *a) {
    const float *dy = ref_f32(a->dy), *x = ref_f32(a->x);
    for (size_t n = 0; n < (size_t)a->n; n++) {
        float *dw = ref_f32(a->dw) + n * (size_t)a->lddw;
        for (size_t c = 0; c < (size_t)a->k; c++) {
            double sum = 0;
            for (size_t i = 0; i < (size_t)a->m; i++)
                sum += (double)dy[i * (size_t)a->lddy + n] * (double)x[i * (size_t)a->ldx + c];
            ref_give(&dw[c], sum, a->accumulate);
        }
    }
    ref_count(k, (uint64_t)a->m * (uint64_t)a->n * (uint64_t)a->k);
}

void ref_colsum(struct kern *k, const struct kern_colsum *a) {
    for (size_t n = 0; n < (size_t)a->n; n++) {
        double sum = 0;
        for (size_t i = 0; i < (size_t)a->m; i++)
            sum += (double)ref_f32(a->dy)[i * (size_t)a->lddy + n];
        ref_give(ref_f32(a->db) + n, sum, a->accumulate);
    }
    ref_count(k, 0);
}
