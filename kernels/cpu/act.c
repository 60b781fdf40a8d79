/* act.c - SwiGLU, GELU where it isn't part of gemm, dropout, other types: a row at a
 * time. */
#include <math.h>

#include "kernels/base/half.h"
#include "kernels/cpu/cpu_kern.h"

struct swiglu_job {
    const struct kern *k;
    const struct kern_swiglu *a;
};

static void swiglu_rows(const void *args, int row0, int row1) {
    const struct swiglu_job *j = args;
    const struct kern_swiglu *a = j->a;
    for (size_t i = (size_t)row0; i < (size_t)row1; i++) {
        const float *x = cpu_f32(a->x) + i * (size_t)a->ldx;
        j->k->isa->swiglu(a->width, x, x + a->width, cpu_f32(a->y) + i * (size_t)a->ldy);
    }
}

void cpu_swiglu(struct kern *k, const struct kern_swiglu *a) {
    must(a->y_dtype == KERN_F32);
    cpu_rows(k, a->rows, 6 * a->width, swiglu_rows, &(struct swiglu_job){k, a});
}

/* ---- training ---- */

struct swiglu_back_job {
    const struct kern *k;
    const struct kern_swiglu_back *a;
};

static void swiglu_back_rows(const void *args, int row0, int row1) {
    const struct swiglu_back_job *j = args;
    const struct kern_swiglu_back *a = j->a;
    for (size_t i = (size_t)row0; i < (size_t)row1; i++)
        j->k->isa->swiglu_back(a->width, cpu_f32(a->x) + i * (size_t)a->ldx,
                               cpu_f32(a->dy) + i * (size_t)a->lddy,
                               cpu_f32(a->dx) + i * (size_t)a->lddx);
}

void cpu_swiglu_back(struct kern *k, const struct kern_swiglu_back *a) {
    cpu_rows(k, a->rows, 10 * a->width, swiglu_back_rows, &(struct swiglu_back_job){k, a});
}

struct gelu_job {
    const struct kern *k;
    const struct kern_gelu *a;
};

static void gelu_rows(const void *args, int row0, int row1) {
    const struct gelu_job *j = args;
    const struct kern_gelu *a = j->a;
    for (size_t i = (size_t)row0; i < (size_t)row1; i++)
        j->k->isa->gelu(a->width, cpu_f32(a->x) + i * (size_t)a->ldx,
                        cpu_f32(a->y) + i * (size_t)a->ldy);
}

static void gelu_back_rows(const void *args, int row0, int row1) {
    const struct gelu_job *j = args;
    const struct kern_gelu *a = j->a;
    for (size_t i = (size_t)row0; i < (size_t)row1; i++)
        j->k->isa->gelu_back(a->width, cpu_f32(a->x) + i * (size_t)a->ldx,
                             cpu_f32(a->dy) + i * (size_t)a->lddy,
                             cpu_f32(a->y) + i * (size_t)a->ldy);
}

void cpu_gelu(struct kern *k, const struct kern_gelu *a) {
    cpu_rows(k, a->rows, 8 * a->width, gelu_rows, &(struct gelu_job){k, a});
}

void cpu_gelu_back(struct kern *k, const struct kern_gelu *a) {
    cpu_rows(k, a->rows, 10 * a->width, gelu_back_rows, &(struct gelu_job){k, a});
}

static void dropout_rows(const void *args, int row0, int row1) {
    const struct kern_dropout *a = args;
    float by = 1.0f / (1.0f - a->rate);
    for (size_t i = (size_t)row0; i < (size_t)row1; i++) {
        int32_t id = cpu_i32(a->row_id)[i];
        const float *x = cpu_f32(a->x) + i * (size_t)a->ldx;
        float *y = cpu_f32(a->y) + i * (size_t)a->ldy;
        for (int c = 0; c < a->width; c++)
            y[c] = kern_dropout_keeps(a->seed, id, c, a->rate) ? x[c] * by : 0.0f;
    }
}

void cpu_dropout(struct kern *k, const struct kern_dropout *a) {
    must(a->rate >= 0 && a->rate < 1);
    cpu_rows(k, a->rows, 12 * a->width, dropout_rows, a);
}

static float widened(enum kern_dtype type, uint16_t h) {
    return type == KERN_BF16 ? half_from_bf16(h) : half_from_f16(h);
}

/* What is finite stays so; see kernels/op/types.h. */
static uint16_t rounded(enum kern_dtype type, float v) {
    static const float most = 65504;
    if (type == KERN_BF16) return half_to_bf16(v);
    return half_to_f16(isfinite(v) ? fminf(fmaxf(v, -most), most) : v);
}

static void convert_rows(const void *args, int row0, int row1) {
    const struct kern_convert *a = args;
    for (size_t i = (size_t)row0; i < (size_t)row1; i++) {
        void *x = kern_at(a->x, i * (size_t)a->ldx * kern_dtype_bytes(a->x_dtype)).addr;
        void *y = kern_at(a->y, i * (size_t)a->ldy * kern_dtype_bytes(a->y_dtype)).addr;
        for (int c = 0; c < a->width; c++)
            if (a->x_dtype == KERN_F32)
                ((uint16_t *)y)[c] = rounded(a->y_dtype, ((const float *)x)[c]);
            else
                ((float *)y)[c] = widened(a->x_dtype, ((const uint16_t *)x)[c]);
    }
}

void cpu_convert(struct kern *k, const struct kern_convert *a) {
    must((a->x_dtype == KERN_F32) != (a->y_dtype == KERN_F32));
    cpu_rows(k, a->rows, 4 * a->width, convert_rows, a);
}
