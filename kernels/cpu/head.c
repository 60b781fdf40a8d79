/* head.c - softmax over the allowed columns, and the likeliest of them; losses. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu_kern.h"

struct pick_job {
    struct kern *k;
    const struct kern_pick *a;
    int chunk;
};

/* x[i] = exp(x[i] - max), and their sum. There is room up to a multiple of CPU_PAD. */
static float exponentials(const struct cpu_isa *isa, int n, float *x, float *max) {
    int padded = cpu_round_up(n, CPU_PAD);
    for (int i = n; i < padded; i++)
        x[i] = -INFINITY;
    return isa->exp_sum(padded, x, max);
}

/* A row of so many numbers for each thread. */
static void reserve_rows(struct kern *k, int n) {
    for (int i = 0; i < pool_threads(k->pool); i++)
        cpu_scratch(k, &k->private[i], (size_t)cpu_round_up(n, CPU_PAD));
}

static void head_pick_row(const struct kern *k, const struct kern_pick *a, size_t r, float *x) {
    int32_t set = cpu_i32(a->set)[r], from = cpu_i32(a->col_off)[set];
    int n = cpu_i32(a->col_off)[set + 1] - from, best = 0;
    const int32_t *cols = cpu_i32(a->cols) + from;
    const float *logits = cpu_f32(a->logits) + r * (size_t)a->ld;
    for (int i = 0; i < n; i++) {
        x[i] = logits[cols[i]];
        if (x[i] > x[best]) best = i;
    }
    float max, sum = exponentials(k->isa, n, x, &max);
    float *probs = cpu_f32(a->probs) + r * (size_t)a->ldp;
    for (int i = 0; i < n; i++)
        probs[i] = x[i] / sum;
    ((int32_t *)(void *)a->best.addr)[r] = best;
}

static void pick_task(void *ctx, int task, int thread) {
    const struct pick_job *j = ctx;
    int row0 = task * j->chunk, row1 = row0 + j->chunk;
    if (row1 > j->a->rows) row1 = j->a->rows;
    for (int r = row0; r < row1; r++)
        head_pick_row(j->k, j->a, (size_t)r, j->k->private[thread].p);
}

void cpu_pick(struct kern *k, const struct kern_pick *a) {
    reserve_rows(k, a->ldp);
    struct pick_job j = {k, a, 16384 / (a->ldp + 64) + 1};
    cpu_count(k, 0);
    pool_run(k->pool, (a->rows + j.chunk - 1) / j.chunk, pick_task, &j);
}

/* ---- cross-entropy ---- */

struct xent_job {
    struct kern *k;
    const struct kern_xent *a;
};

static void xent_row(const struct kern *k, const struct kern_xent *a, size_t r, float *x) {
    int32_t from = cpu_i32(a->off)[r], end = cpu_i32(a->off)[r + 1];
    const float *logits = cpu_f32(a->logits) + r * (size_t)a->ld;
    float *d = cpu_f32(a->dlogits) + r * (size_t)a->lddlogits, weight = cpu_f32(a->weight)[r], max;
    double loss = 0;
    if (from == end) {
        memset(d, 0, (size_t)a->n * sizeof *d);
        cpu_f32(a->loss)[r] = 0;
        return;
    }
    memcpy(x, logits, (size_t)a->n * sizeof *x);
    float sum = exponentials(k->isa, a->n, x, &max);
    double lse = (double)max + log((double)sum);
    for (int t = from; t < end; t++) /* before d is written, which may be the logits */
        loss += (double)cpu_f32(a->share)[t] * (lse - (double)logits[cpu_i32(a->target)[t]]);
    for (int t = from; t < end; t++)
        x[cpu_i32(a->target)[t]] -= cpu_f32(a->share)[t] * sum;
    for (int c = 0; c < a->n; c++)
        d[c] = x[c] * (weight / sum);
    cpu_f32(a->loss)[r] = (float)((double)weight * loss);
}

static void xent_task(void *ctx, int task, int thread) {
    const struct xent_job *j = ctx;
    xent_row(j->k, j->a, (size_t)task, j->k->private[thread].p);
}

void cpu_xent(struct kern *k, const struct kern_xent *a) {
    reserve_rows(k, a->n);
    cpu_count(k, 0);
    pool_run(k->pool, a->rows, xent_task, &(struct xent_job){k, a});
}

/* ---- expected boxes ---- */

/* A loss and its slopes by the four expected numbers x1, y1, x2, y2. */
struct box_loss {
    double value, by[4];
};

/* l1 times the sum of |e - t|, smooth below beta. */
static void box_corners(const struct kern_expect *a, const double e[4], const float t[4],
                        struct box_loss *loss) {
    double l1 = (double)a->l1, beta = (double)a->beta;
    for (int i = 0; i < 4; i++) {
        double d = e[i] - (double)t[i], size = fabs(d);
        int is_smooth = size < beta;
        loss->value += l1 * (is_smooth ? d * d / (2 * beta) : size - beta / 2);
        loss->by[i] += l1 * (is_smooth ? d / beta : d > 0 ? 1 : d < 0 ? -1 : 0);
    }
}

/* One axis of two boxes: what they share and what covers both, and the slopes of these by the
 * lower and the higher end of the expected one. */
struct box_axis {
    int low, high; /* which of the four numbers these are */
    double size, target, inside, around;
    double inside_by[2], around_by[2];
};

static struct box_axis box_axis(const double e[4], const float t[4], int axis) {
    int is_turned = e[axis + 2] < e[axis];
    struct box_axis x = {.low = is_turned ? axis + 2 : axis, .high = is_turned ? axis : axis + 2};
    double low = e[x.low], high = e[x.high], t1 = (double)t[axis], t2 = (double)t[axis + 2];
    x.size = high - low;
    x.target = t2 - t1;
    x.inside = (high < t2 ? high : t2) - (low > t1 ? low : t1);
    x.around = (high > t2 ? high : t2) - (low < t1 ? low : t1);
    x.inside_by[0] = low > t1 ? -1 : 0;
    x.inside_by[1] = high < t2 ? 1 : 0;
    x.around_by[0] = low < t1 ? -1 : 0;
    x.around_by[1] = high > t2 ? 1 : 0;
    if (x.inside <= 0) x.inside = x.inside_by[0] = x.inside_by[1] = 0;
    return x;
}

/* giou (1 - GIoU), GIoU = both / either - (hull - either) / hull, areas all of them. */
static void box_giou(const struct kern_expect *a, const double e[4], const float t[4],
                     struct box_loss *loss) {
    struct box_axis axes[2] = {box_axis(e, t, 0), box_axis(e, t, 1)};
    double both = axes[0].inside * axes[1].inside, hull = axes[0].around * axes[1].around;
    double either = axes[0].size * axes[1].size + axes[0].target * axes[1].target - both;
    double one = either != 0 ? 1 / either : 0, two = hull != 0 ? 1 / hull : 0;
    double by_either = both * one * one - two, by_both = -one - by_either;
    double by_hull = either * two * two, weight = (double)a->giou;
    loss->value += weight * (1 - both * one + (hull - either) * two);
    for (int i = 0; i < 2; i++) {
        const struct box_axis *x = &axes[i], *other = &axes[1 - i];
        for (int end = 0; end < 2; end++)
            loss->by[end ? x->high : x->low] +=
                weight * (by_both * x->inside_by[end] * other->inside +
                          by_hull * x->around_by[end] * other->around +
                          by_either * (end ? 1 : -1) * other->size);
    }
}

/* The columns of the numbers of an edge. */
static const int32_t *expect_cols(const struct kern_expect *a, size_t edge) {
    return cpu_i32(edge == 3 && a->cols_end.addr ? a->cols_end : a->cols);
}

/* x[c] = exp(logit of number c - max), their sum, and the expected number. Sums are double: small
 * boxes have steep slopes. */
static double expect_row(const struct kern *k, const struct kern_expect *a, const int32_t *cols,
                         const float *logits, float *x, double *sum) {
    double mean = 0;
    float max;
    for (int c = 0; c < a->n; c++)
        x[c] = logits[cols[c]];
    (void)exponentials(k->isa, a->n, x, &max);
    *sum = 0;
    for (int c = 0; c < a->n; c++) {
        *sum += (double)x[c];
        mean += (double)x[c] * c;
    }
    return mean / *sum / (a->n - 1);
}

static void expect_box(const struct kern *k, const struct kern_expect *a, size_t b, float *x) {
    const float *t = cpu_f32(a->target) + 4 * b;
    size_t line = (size_t)cpu_round_up(a->n, CPU_PAD);
    double sum[4], e[4], weight = (double)cpu_f32(a->weight)[b];
    struct box_loss loss = {0};
    for (size_t i = 0; i < 4; i++)
        e[i] = expect_row(k, a, expect_cols(a, i),
                          cpu_f32(a->logits) + (size_t)cpu_i32(a->row)[4 * b + i] * (size_t)a->ld,
                          x + i * line, &sum[i]);
    box_corners(a, e, t, &loss);
    box_giou(a, e, t, &loss);
    cpu_f32(a->loss)[b] = (float)(weight * loss.value);
    for (size_t i = 0; i < 4; i++) {
        float *d = cpu_f32(a->dlogits) + (size_t)cpu_i32(a->row)[4 * b + i] * (size_t)a->lddlogits;
        double by = weight * loss.by[i] / sum[i];
        for (int c = 0; c < a->n; c++)
            d[expect_cols(a, i)[c]] +=
                (float)(by * (double)x[i * line + (size_t)c] * ((double)c / (a->n - 1) - e[i]));
    }
}

struct expect_job {
    struct kern *k;
    const struct kern_expect *a;
};

static void expect_task(void *ctx, int task, int thread) {
    const struct expect_job *j = ctx;
    expect_box(j->k, j->a, (size_t)task, j->k->private[thread].p);
}

void cpu_expect(struct kern *k, const struct kern_expect *a) {
    must(a->n >= 2);
    reserve_rows(k, 4 * cpu_round_up(a->n, CPU_PAD));
    cpu_count(k, 0);
    pool_run(k->pool, a->boxes, expect_task, &(struct expect_job){k, a});
}
