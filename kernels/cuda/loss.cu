/* loss.cu - losses of logits and their gradients: kernels/ref/head.c. One block a row; threads take
 * the columns in strides and add up in a fixed tree, so that bits follow from the row alone. What
 * is done once a box is done in double, by one thread.
 */
#include "kernels/cuda/common.cuh"

enum { THREADS = 256 };

/* ---- cross-entropy ---- */

struct xent {
    int n;
    const float *logits;
    int ld;
    const int32_t *off, *target;
    const float *share, *weight;
    float *dlogits;
    int lddlogits;
    float *loss;
};

/* ref_xent. The loss looks at single logits before any is overwritten; and targets' gradients are
 * mended once all are there: dlogits may be logits. */
static __global__ void __launch_bounds__(THREADS) xent_rows(struct xent a) {
    __shared__ float shared[THREADS / 32];
    const size_t row = blockIdx.x;
    const float *logits = a.logits + row * (size_t)a.ld;
    float *dlogits = a.dlogits + row * (size_t)a.lddlogits;
    const int first = a.off[row], end = a.off[row + 1];
    if (first == end) {
        for (int c = (int)threadIdx.x; c < a.n; c += THREADS)
            dlogits[c] = 0;
        if (threadIdx.x == 0) a.loss[row] = 0;
        return; /* the whole block */
    }
    float top = -INFINITY, sum = 0, loss = 0;
    for (int c = (int)threadIdx.x; c < a.n; c += THREADS)
        top = fmaxf(top, logits[c]);
    top = block_max(top, shared);
    for (int c = (int)threadIdx.x; c < a.n; c += THREADS)
        sum += expf(logits[c] - top);
    sum = block_sum(sum, shared);
    const float weight = a.weight[row], log_sum = logf(sum);
    for (int t = first + (int)threadIdx.x; t < end; t += THREADS)
        loss += a.share[t] * (log_sum - (logits[a.target[t]] - top));
    loss = block_sum(loss, shared);
    if (threadIdx.x == 0) a.loss[row] = weight * loss;
    for (int c = (int)threadIdx.x; c < a.n; c += THREADS)
        dlogits[c] = weight * (expf(logits[c] - top) / sum);
    __syncthreads();
    for (int t = first + (int)threadIdx.x; t < end; t += THREADS)
        dlogits[a.target[t]] -= weight * a.share[t];
}

void cuda_xent(struct kern *k, const struct kern_xent *a) {
    if (!cuda_enter(k, 0) || a->rows == 0) return;
    struct xent all = {a->n,
                       cuda_f32(a->logits),
                       a->ld,
                       cuda_i32(a->off),
                       cuda_i32(a->target),
                       cuda_f32(a->share),
                       cuda_f32(a->weight),
                       cuda_f32(a->dlogits),
                       a->lddlogits,
                       cuda_f32(a->loss)};
    xent_rows<<<(unsigned)a->rows, THREADS, 0, k->stream>>>(all);
    cuda_launched(k, "xent");
}

/* ---- expected boxes: ref_expect ---- */

/* A number of a box, in the stage between three kernels: the softmax of its row, what is expected,
 * and the slope of the loss by that. */
struct corner {
    double e, slope;
    float top, sum;
};

/* One axis of a box against its target, and by which of the two corners each end moves. */
struct axis {
    double size, target;                           /* of the box, of the target */
    double both, hull;                             /* what they share, what holds both: both >= 0 */
    int low, high;                                 /* 0: the first corner, 1: the second */
    bool both_low, both_high, hull_low, hull_high; /* is this end the box's own? */
};

/* Ties: head.h. */
static __device__ inline struct axis axis_of(double a, double b, double t1, double t2) {
    struct axis x;
    x.low = b < a;
    x.high = !x.low;
    double low = x.low ? b : a, high = x.low ? a : b;
    x.size = high - low;
    x.target = t2 - t1;
    x.both_low = low > t1;
    x.both_high = high < t2;
    x.hull_low = low < t1;
    x.hull_high = high > t2;
    x.both = (x.both_high ? high : t2) - (x.both_low ? low : t1);
    x.hull = (x.hull_high ? high : t2) - (x.hull_low ? low : t1);
    if (!(x.both > 0)) { /* apart */
        x.both = 0;
        x.both_low = x.both_high = false;
    }
    return x;
}

/* 1 - GIoU of the box c[0..3]; its slopes, `giou` times, are added. */
static __device__ double giou_loss(struct corner *c, const float *target, double giou) {
    const struct axis x = axis_of(c[0].e, c[2].e, (double)target[0], (double)target[2]);
    const struct axis y = axis_of(c[1].e, c[3].e, (double)target[1], (double)target[3]);
    const double both = x.both * y.both, hull = x.hull * y.hull;
    const double any = x.size * y.size + x.target * y.target - both;
    const double per_any = any != 0 ? 1 / any : 0, per_hull = hull != 0 ? 1 / hull : 0;
    const double iou = both * per_any, rest = (hull - any) * per_hull;
    /* the slopes of iou - rest by the three areas */
    const double by_any = per_hull - iou * per_any, by_hull = (rest - 1) * per_hull;
    const double by_both = per_any - by_any;
#pragma unroll
    for (int axis = 0; axis < 2; axis++) {
        const struct axis *own = axis ? &y : &x, *other = axis ? &x : &y;
        double size = by_any * other->size, b = by_both * other->both, h = by_hull * other->hull;
        double low = -size - (own->both_low ? b : 0) - (own->hull_low ? h : 0);
        double high = size + (own->both_high ? b : 0) + (own->hull_high ? h : 0);
        c[axis].slope -= giou * (own->low ? high : low);
        c[axis + 2].slope -= giou * (own->low ? low : high);
    }
    return 1 - (iou - rest);
}

/* sum_4 |e - target|, smooth; its slopes, `l1` times, are put there. */
static __device__ double corner_loss(struct corner *c, const float *target, double l1,
                                     double beta) {
    const double per_beta = beta > 0 ? 1 / beta : 0;
    double sum = 0;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        double d = c[i].e - (double)target[i], far = fabs(d);
        sum += far < beta ? d * d * per_beta / 2 : far - beta / 2;
        c[i].slope = l1 * (far < beta ? d * per_beta : d > 0 ? 1 : d < 0 ? -1 : 0);
    }
    return sum;
}

struct expect {
    int n;
    const int32_t *row, *cols, *cols_end; /* cols_end: of y2 */
    const float *target, *weight;
    float l1, giou, beta;
    const float *logits;
    int ld;
    float *dlogits;
    int lddlogits;
    float *loss;
    struct corner *corner; /* (4 * boxes) */
};

/* The columns of the numbers in row i of a box. */
static __device__ inline const int32_t *columns_of(const struct expect *a, unsigned i) {
    return i % 4 == 3 ? a->cols_end : a->cols;
}

/* The expected number of a row of logits a block. */
static __global__ void __launch_bounds__(THREADS) expect_corners(struct expect a) {
    __shared__ float shared[THREADS / 32];
    __shared__ double wide[THREADS / 32];
    const float *logits = a.logits + (size_t)a.row[blockIdx.x] * (size_t)a.ld;
    const int32_t *cols = columns_of(&a, blockIdx.x);
    float top = -INFINITY, sum = 0;
    double mean = 0;
    for (int j = (int)threadIdx.x; j < a.n; j += THREADS)
        top = fmaxf(top, logits[cols[j]]);
    top = block_max(top, shared);
    for (int j = (int)threadIdx.x; j < a.n; j += THREADS) {
        float p = expf(logits[cols[j]] - top);
        sum += p;
        mean += (double)p * j;
    }
    sum = block_sum(sum, shared);
    mean = block_sum(mean, wide);
    struct corner c = {mean / ((double)sum * (a.n - 1)), 0, top, sum};
    if (threadIdx.x == 0) a.corner[blockIdx.x] = c;
}

/* The loss and its slopes of a box each thread. */
static __global__ void __launch_bounds__(THREADS) expect_losses(struct expect a, int boxes) {
    int b = (int)(blockIdx.x * THREADS + threadIdx.x);
    if (b >= boxes) return;
    struct corner *c = a.corner + 4 * (size_t)b;
    const float *target = a.target + 4 * (size_t)b;
    double loss = (double)a.l1 * corner_loss(c, target, (double)a.l1, (double)a.beta);
    loss += (double)a.giou * giou_loss(c, target, (double)a.giou);
    a.loss[b] = (float)((double)a.weight[b] * loss);
}

/* And back through the softmax of a row a block. */
static __global__ void __launch_bounds__(THREADS) expect_slopes(struct expect a) {
    const struct corner c = a.corner[blockIdx.x];
    const float *logits = a.logits + (size_t)a.row[blockIdx.x] * (size_t)a.ld;
    const int32_t *cols = columns_of(&a, blockIdx.x);
    float *dlogits = a.dlogits + (size_t)a.row[blockIdx.x] * (size_t)a.lddlogits;
    const double slope = (double)a.weight[blockIdx.x / 4] * c.slope, step = 1.0 / (a.n - 1);
    for (int j = (int)threadIdx.x; j < a.n; j += THREADS) {
        float p = expf(logits[cols[j]] - c.top) / c.sum;
        dlogits[cols[j]] += (float)(slope * (double)p * (j * step - c.e));
    }
}

void cuda_expect(struct kern *k, const struct kern_expect *a) {
    must(a->n >= 2);
    if (!cuda_enter(k, 0) || a->boxes == 0) return;
    struct expect all = {a->n,
                         cuda_i32(a->row),
                         cuda_i32(a->cols),
                         cuda_i32(a->cols_end.addr ? a->cols_end : a->cols),
                         cuda_f32(a->target),
                         cuda_f32(a->weight),
                         a->l1,
                         a->giou,
                         a->beta,
                         cuda_f32(a->logits),
                         a->ld,
                         cuda_f32(a->dlogits),
                         a->lddlogits,
                         cuda_f32(a->loss),
                         (struct corner *)(void *)k->stage_out};
    must((size_t)a->boxes * 4 * sizeof *all.corner <= cuda_stage_bytes);
    expect_corners<<<4 * (unsigned)a->boxes, THREADS, 0, k->stream>>>(all);
    cuda_launched(k, "expect_corners");
    expect_losses<<<cuda_blocks((size_t)a->boxes, THREADS), THREADS, 0, k->stream>>>(all, a->boxes);
    cuda_launched(k, "expect_losses");
    expect_slopes<<<4 * (unsigned)a->boxes, THREADS, 0, k->stream>>>(all);
    cuda_launched(k, "expect_slopes");
}
