/* norm.c - layernorm and rmsnorm over the last dimension.
 *
 *   layernorm: y = (x - mean) / sqrt(var + eps) * weight + bias, var = mean((x - mean)^2)
 *   rmsnorm:   y = x / sqrt(mean(x^2) + eps) * weight
 *
 * The variance is taken in a second look at the row, around the mean: one look would cancel. A row
 * is read whole before it is written, so y may be x. The way back, with n = width, h the row as
 * normalised, r what it was multiplied by and g = dy * weight:
 *
 *   layernorm: dx = r (g - mean(g) - h mean(g h))      rmsnorm: dx = r (g - h mean(g h))
 *   both:      dw = sum over rows of dy h,  db = sum over rows of dy
 */
#include <math.h>

#include "kernels/ref/ref.h"

static double mean_square(const float *x, int width, double centre) {
    double sum = 0;
    for (int c = 0; c < width; c++)
        sum += ((double)x[c] - centre) * ((double)x[c] - centre);
    return sum / width;
}

/* How a row is normalised: h = (x - mean) * scale. */
struct normal {
    double mean, scale;
};

static struct normal normal_of(const float *x, int width, float eps, int is_centred) {
    struct normal n = {0, 0};
    for (int c = 0; is_centred && c < width; c++)
        n.mean += (double)x[c];
    n.mean /= width;
    n.scale = 1.0 / sqrt(mean_square(x, width, n.mean) + (double)eps);
    return n;
}

void ref_layernorm(struct kern *k, const struct kern_norm *a) {
    const float *weight = ref_f32(a->weight), *bias = ref_f32(a->bias);
    for (int i = 0; i < a->rows; i++) {
        const float *x = ref_f32(a->x) + (size_t)i * (size_t)a->ldx;
        size_t y = (size_t)i * (size_t)a->ldy;
        struct normal n = normal_of(x, a->width, a->eps, 1);
        for (int c = 0; c < a->width; c++) {
            double h = ((double)x[c] - n.mean) * n.scale;
            ref_set(a->y, a->y_dtype, y + (size_t)c,
                    (float)(h * (double)weight[c] + (double)bias[c]));
        }
    }
    ref_count(k, 0);
}

void ref_rmsnorm(struct kern *k, const struct kern_norm *a) {
    const float *weight = ref_f32(a->weight);
    for (int i = 0; i < a->rows; i++) {
        const float *x = ref_f32(a->x) + (size_t)i * (size_t)a->ldx;
        size_t y = (size_t)i * (size_t)a->ldy;
        struct normal n = normal_of(x, a->width, a->eps, 0);
        for (int c = 0; c < a->width; c++)
            ref_set(a->y, a->y_dtype, y + (size_t)c,
                    (float)((double)x[c] * n.scale * (double)weight[c]));
    }
    ref_count(k, 0);
}

/* ---- training ---- */

/* dw and db, some columns at a time, so that their sums have room. */
static void norm_add_columns(const struct kern_norm_back *a, int is_centred) {
    enum { COLUMNS = 256 };
    for (int first = 0; first < a->width; first += COLUMNS) {
        double dw[COLUMNS] = {0}, db[COLUMNS] = {0};
        int n = a->width - first < COLUMNS ? a->width - first : COLUMNS;
        for (int i = 0; i < a->rows; i++) {
            const float *x = ref_f32(a->x) + (size_t)i * (size_t)a->ldx;
            const float *dy = ref_f32(a->dy) + (size_t)i * (size_t)a->lddy + first;
            struct normal h = normal_of(x, a->width, a->eps, is_centred);
            for (int c = 0; c < n; c++) {
                dw[c] += (double)dy[c] * ((double)x[first + c] - h.mean) * h.scale;
                db[c] += (double)dy[c];
            }
        }
        for (int c = 0; c < n; c++) {
            if (a->dw.addr) ref_give(ref_f32(a->dw) + first + c, dw[c], 1);
            if (a->db.addr) ref_give(ref_f32(a->db) + first + c, db[c], 1);
        }
    }
}

static void norm_row_back(const struct kern_norm_back *a, int row, int is_centred) {
    const float *x = ref_f32(a->x) + (size_t)row * (size_t)a->ldx, *weight = ref_f32(a->weight);
    const float *dy = ref_f32(a->dy) + (size_t)row * (size_t)a->lddy;
    float *dx = ref_f32(a->dx) + (size_t)row * (size_t)a->lddx;
    struct normal n = normal_of(x, a->width, a->eps, is_centred);
    double mean_g = 0, mean_gh = 0;
    for (int c = 0; c < a->width; c++) {
        double g = (double)dy[c] * (double)weight[c], h = ((double)x[c] - n.mean) * n.scale;
        mean_g += g / a->width;
        mean_gh += g * h / a->width;
    }
    if (!is_centred) mean_g = 0;
    for (int c = 0; c < a->width; c++) {
        double g = (double)dy[c] * (double)weight[c], h = ((double)x[c] - n.mean) * n.scale;
        ref_give(&dx[c], n.scale * (g - mean_g - h * mean_gh), a->accumulate);
    }
}

/* dx comes last: it may be dy. */
static void norm_back(struct kern *k, const struct kern_norm_back *a, int is_centred) {
    if (a->dw.addr || a->db.addr) norm_add_columns(a, is_centred);
    for (int i = 0; i < a->rows; i++)
        norm_row_back(a, i, is_centred);
    ref_count(k, 0);
}

void ref_layernorm_back(struct kern *k, const struct kern_norm_back *a) { norm_back(k, a, 1); }

void ref_rmsnorm_back(struct kern *k, const struct kern_norm_back *a) {
    must(!a->db.addr);
    norm_back(k, a, 0);
}
