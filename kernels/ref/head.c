/* head.c - from logits to a choice: softmax over the columns of a row's list, and the best of them.
 *
 *     probs[j] = exp(l_j - max) / sum_j exp(l_j - max);  best = the lowest j with l_j = max
 *
 * And from logits to a loss: cross-entropy and expected boxes, as kernels/op/head.h has them.
 */
#include <math.h>

#include "kernels/ref/ref.h"

static void head_pick_row(const float *logits, const int32_t *cols, int n, float *probs,
                          int32_t *best) {
    int top = 0;
    for (int j = 1; j < n; j++) {
        if (logits[cols[j]] > logits[cols[top]]) top = j;
    }
    double max = (double)logits[cols[top]], sum = 0;
    for (int j = 0; j < n; j++)
        sum += exp((double)logits[cols[j]] - max);
    for (int j = 0; j < n; j++)
        probs[j] = (float)(exp((double)logits[cols[j]] - max) / sum);
    *best = top;
}

void ref_pick(struct kern *k, const struct kern_pick *a) {
    const int32_t *set = ref_i32(a->set), *off = ref_i32(a->col_off), *cols = ref_i32(a->cols);
    for (int i = 0; i < a->rows; i++) {
        int n = off[set[i] + 1] - off[set[i]];
        must(n > 0 && n <= a->ldp);
        head_pick_row(ref_f32(a->logits) + (size_t)i * (size_t)a->ld, cols + off[set[i]], n,
                      ref_f32(a->probs) + (size_t)i * (size_t)a->ldp,
                      (int32_t *)(void *)a->best.addr + i);
    }
    ref_count(k, 0);
}

/* ---- cross-entropy ---- */

/* log sum_c exp(logits[c]) */
static double head_log_sum(const float *logits, int n) {
    double max = -INFINITY, sum = 0;
    for (int c = 0; c < n; c++)
        if ((double)logits[c] > max) max = (double)logits[c];
    for (int c = 0; c < n; c++)
        sum += exp((double)logits[c] - max);
    return max + log(sum);
}

/* One row with its n_targets > 0 targets. Each logit is read before its gradient is written. */
static void head_xent_row(const struct kern_xent *a, int row, const int32_t *target,
                          const float *share, int n_targets) {
    const float *logits = ref_f32(a->logits) + (size_t)row * (size_t)a->ld;
    float *dlogits = ref_f32(a->dlogits) + (size_t)row * (size_t)a->lddlogits;
    double lse = head_log_sum(logits, a->n), weight = (double)ref_f32(a->weight)[row], loss = 0;
    for (int t = 0; t < n_targets; t++)
        loss += (double)share[t] * (lse - (double)logits[target[t]]);
    ref_f32(a->loss)[row] = (float)(weight * loss);
    for (int c = 0; c < a->n; c++) {
        double d = exp((double)logits[c] - lse);
        for (int t = 0; t < n_targets; t++)
            if (target[t] == c) d -= (double)share[t];
        dlogits[c] = (float)(weight * d);
    }
}

void ref_xent(struct kern *k, const struct kern_xent *a) {
    const int32_t *off = ref_i32(a->off), *target = ref_i32(a->target);
    const float *share = ref_f32(a->share);
    for (int i = 0; i < a->rows; i++) {
        int n = off[i + 1] - off[i];
        if (n > 0) {
            head_xent_row(a, i, target + off[i], share + off[i], n);
            continue;
        }
        for (int c = 0; c < a->n; c++)
            ref_f32(a->dlogits)[(size_t)i * (size_t)a->lddlogits + (size_t)c] = 0;
        ref_f32(a->loss)[i] = 0;
    }
    ref_count(k, 0);
}

/* ---- expected boxes ---- */

/* A number and its derivatives by the four expected ones: x1, y1, x2, y2. */
struct slope {
    double v, d[4];
};

static struct slope slope_lin(double a, struct slope x, double b, struct slope y) {
    struct slope s = {a * x.v + b * y.v, {0}};
    for (int i = 0; i < 4; i++)
        s.d[i] = a * x.d[i] + b * y.d[i];
    return s;
}

static struct slope slope_mul(struct slope x, struct slope y) {
    struct slope s = {x.v * y.v, {0}};
    for (int i = 0; i < 4; i++)
        s.d[i] = x.d[i] * y.v + x.v * y.d[i];
    return s;
}

/* x / y, 0 where y is 0. */
static struct slope slope_div(struct slope x, struct slope y) {
    struct slope s = {0, {0}};
    if (y.v == 0) return s;
    s.v = x.v / y.v;
    for (int i = 0; i < 4; i++)
        s.d[i] = (x.d[i] - s.v * y.d[i]) / y.v;
    return s;
}

/* On a tie the second one. */
static struct slope slope_min(struct slope x, struct slope y) { return x.v < y.v ? x : y; }
static struct slope slope_max(struct slope x, struct slope y) { return x.v > y.v ? x : y; }

/* 1 - GIoU(e, t). Axis 0 is x, 1 is y. */
static struct slope giou_loss(const double e[4], const float t[4]) {
    const struct slope zero = {0, {0}}, one = {1, {0}};
    struct slope area_e = one, area_t = one, both = one, hull = one;
    for (int axis = 0; axis < 2; axis++) {
        struct slope a = {e[axis], {0}}, b = {e[axis + 2], {0}};
        struct slope t1 = {(double)t[axis], {0}}, t2 = {(double)t[axis + 2], {0}};
        a.d[axis] = b.d[axis + 2] = 1;
        struct slope low = b.v < a.v ? b : a, high = b.v < a.v ? a : b;
        struct slope inside = slope_lin(1, slope_min(high, t2), -1, slope_max(low, t1));
        struct slope around = slope_lin(1, slope_max(high, t2), -1, slope_min(low, t1));
        area_e = slope_mul(area_e, slope_lin(1, high, -1, low));
        area_t = slope_mul(area_t, slope_lin(1, t2, -1, t1));
        both = slope_mul(both, slope_max(inside, zero));
        hull = slope_mul(hull, around);
    }
    struct slope any = slope_lin(1, slope_lin(1, area_e, 1, area_t), -1, both);
    struct slope giou =
        slope_lin(1, slope_div(both, any), -1, slope_div(slope_lin(1, hull, -1, any), hull));
    return slope_lin(1, one, -1, giou);
}

/* sum_4 |e - t|, smooth below beta. */
static struct slope corner_loss(const double e[4], const float t[4], double beta) {
    struct slope s = {0, {0}};
    for (int i = 0; i < 4; i++) {
        double d = e[i] - (double)t[i];
        s.v += fabs(d) < beta ? d * d / (2 * beta) : fabs(d) - beta / 2;
        s.d[i] = fabs(d) < beta ? d / beta : d > 0 ? 1 : d < 0 ? -1 : 0;
    }
    return s;
}

/* The expected number of a row of logits; with `dlogits` the slope of the loss by it goes there. */
static double head_expect_row(const struct kern_expect *a, int edge, const float *logits,
                              float *dlogits, double slope, double expected) {
    const int32_t *cols = ref_i32(edge == 3 && a->cols_end.addr ? a->cols_end : a->cols);
    double max = -INFINITY, sum = 0, mean = 0;
    for (int c = 0; c < a->n; c++)
        if ((double)logits[cols[c]] > max) max = (double)logits[cols[c]];
    for (int c = 0; c < a->n; c++)
        sum += exp((double)logits[cols[c]] - max);
    for (int c = 0; c < a->n; c++) {
        double p = exp((double)logits[cols[c]] - max) / sum, at = (double)c / (a->n - 1);
        mean += p * at;
        if (dlogits) ref_give(&dlogits[cols[c]], slope * p * (at - expected), 1);
    }
    return mean;
}

void ref_expect(struct kern *k, const struct kern_expect *a) {
    must(a->n >= 2);
    for (int b = 0; b < a->boxes; b++) {
        const int32_t *row = ref_i32(a->row) + 4 * (size_t)b;
        const float *target = ref_f32(a->target) + 4 * (size_t)b;
        double weight = (double)ref_f32(a->weight)[b], e[4];
        for (int i = 0; i < 4; i++)
            e[i] = head_expect_row(a, i, ref_f32(a->logits) + (size_t)row[i] * (size_t)a->ld, NULL,
                                   0, 0);
        struct slope loss = slope_lin((double)a->l1, corner_loss(e, target, (double)a->beta),
                                      (double)a->giou, giou_loss(e, target));
        for (int i = 0; i < 4; i++)
            head_expect_row(a, i, ref_f32(a->logits) + (size_t)row[i] * (size_t)a->ld,
                            ref_f32(a->dlogits) + (size_t)row[i] * (size_t)a->lddlogits,
                            weight * loss.d[i], e[i]);
        ref_f32(a->loss)[b] = (float)(weight * loss.v);
    }
    ref_count(k, 0);
}
