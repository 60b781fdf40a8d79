/* act.c - what is done to each number:
 *
 *     SwiGLU:  y = silu(gate) * up, silu(g) = g s(g), s(g) = 1 / (1 + exp(-g)); a row of x is gate,
 *              then up. Back: d gate = dy up s (1 + gate (1 - s)), d up = dy gate s
 *     GELU:    y = x Phi(x), Phi(x) = (1 + erf(x / sqrt 2)) / 2. Back: dx = dy (Phi(x) + x phi(x)),
 *              phi(x) = exp(-x^2 / 2) / sqrt(2 pi)
 *     dropout: y = x / (1 - rate), or 0; back it is the same
 *     convert: y = x in another type
 */
#include <math.h>

#include "kernels/ref/ref.h"

/* Element c of row i. */
static float *act_at(struct kern_ptr p, int ld, int i, int c) {
    return ref_f32(p) + (size_t)i * (size_t)ld + c;
}

void ref_swiglu(struct kern *k, const struct kern_swiglu *a) {
    for (int i = 0; i < a->rows; i++) {
        const float *gate = act_at(a->x, a->ldx, i, 0); /* (F) */
        const float *up = gate + a->width;              /* (F) */
        size_t y = (size_t)i * (size_t)a->ldy;
        for (int c = 0; c < a->width; c++) {
            double g = (double)gate[c];
            ref_set(a->y, a->y_dtype, y + (size_t)c, (float)(g / (1.0 + exp(-g)) * (double)up[c]));
        }
    }
    ref_count(k, 0);
}

void ref_swiglu_back(struct kern *k, const struct kern_swiglu_back *a) {
    for (int i = 0; i < a->rows; i++) {
        for (int c = 0; c < a->width; c++) { /* both of x are read before dx, which may be x */
            double g = (double)*act_at(a->x, a->ldx, i, c);
            double up = (double)*act_at(a->x, a->ldx, i, a->width + c);
            double dy = (double)*act_at(a->dy, a->lddy, i, c), s = 1.0 / (1.0 + exp(-g));
            *act_at(a->dx, a->lddx, i, c) = (float)(dy * up * s * (1.0 + g * (1.0 - s)));
            *act_at(a->dx, a->lddx, i, a->width + c) = (float)(dy * g * s);
        }
    }
    ref_count(k, 0);
}

static double normal_integral(double x) { return 0.5 * (1.0 + erf(x * M_SQRT1_2)); }

double ref_gelu_of(double x) { return x * normal_integral(x); }

void ref_gelu(struct kern *k, const struct kern_gelu *a) {
    for (int i = 0; i < a->rows; i++) {
        for (int c = 0; c < a->width; c++)
            *act_at(a->y, a->ldy, i, c) = (float)ref_gelu_of((double)*act_at(a->x, a->ldx, i, c));
    }
    ref_count(k, 0);
}

void ref_gelu_back(struct kern *k, const struct kern_gelu *a) {
    const double density_0 = 0.5 * M_SQRT1_2 * M_2_SQRTPI; /* 1 / sqrt(2 pi) */
    for (int i = 0; i < a->rows; i++) {
        for (int c = 0; c < a->width; c++) {
            double x = (double)*act_at(a->x, a->ldx, i, c);
            double slope = normal_integral(x) + x * density_0 * exp(-0.5 * x * x);
            *act_at(a->y, a->ldy, i, c) = (float)((double)*act_at(a->dy, a->lddy, i, c) * slope);
        }
    }
    ref_count(k, 0);
}

void ref_dropout(struct kern *k, const struct kern_dropout *a) {
    must(a->rate >= 0 && a->rate < 1);
    const int32_t *id = ref_i32(a->row_id);
    for (int i = 0; i < a->rows; i++) {
        for (int c = 0; c < a->width; c++) {
            double x = (double)*act_at(a->x, a->ldx, i, c);
            int stays = kern_dropout_keeps(a->seed, id[i], c, a->rate);
            *act_at(a->y, a->ldy, i, c) = stays ? (float)(x / (1.0 - (double)a->rate)) : 0;
        }
    }
    ref_count(k, 0);
}

void ref_convert(struct kern *k, const struct kern_convert *a) {
    must((a->x_dtype == KERN_F32) != (a->y_dtype == KERN_F32));
    for (size_t i = 0; i < (size_t)a->rows; i++)
        for (size_t c = 0; c < (size_t)a->width; c++)
            ref_set(a->y, a->y_dtype, i * (size_t)a->ldy + c,
                    ref_at(a->x.addr, a->x_dtype, i * (size_t)a->ldx + c));
    ref_count(k, 0);
}
