/* norm.cu - layernorm and rmsnorm, there and back: kernels/ref/norm.c. One block a row; sums in
 * double, like the reference's, in an order that follows from the width alone: each thread adds its
 * eights in turn. A row is read whole before it is written, so y may be x.
 *
 * The way back takes three steps, through the stages of products: mean and deviation of each row;
 * the gradients of the weights, column by column in blocks of KERN_BACK_ROWS rows, which are then
 * added in their order; and last dx, which may be dy.
 */
#include "kernels/cuda/rows.cuh"

enum { THREADS = ROWS_THREADS, STRIDE = THREADS * ROWS_EIGHT };

/* sum (x - mean), or of its squares, over a row; by the whole block. */
template <bool OF_SQUARES>
static __device__ inline double row_sum(int width, const float *x, double mean, bool is_vector,
                                        double *part) {
    double sum = 0;
    for (int c = (int)threadIdx.x * ROWS_EIGHT; c < width; c += STRIDE) {
        const struct eight v = eight_of(x + c, width - c, is_vector);
#pragma unroll
        for (int j = 0; j < ROWS_EIGHT; j++) {
            double d = c + j < width ? (double)v.at[j] - mean : 0.0;
            sum += OF_SQUARES ? d * d : d;
        }
    }
    return block_sum(sum, part);
}

/* Mean and variance of a row, or 0 and the mean of its squares. Ends behind a barrier: then nobody
 * of the block reads the row any more but what it writes itself. */
template <bool IS_LAYER>
static __device__ inline double2 row_facts(int width, const float *x, bool is_vector,
                                           double *part) {
    double2 f = {0, 0};
    if (IS_LAYER) f.x = row_sum<false>(width, x, 0, is_vector, part) / width;
    f.y = row_sum<true>(width, x, f.x, is_vector, part) / width;
    return f;
}

/* y = (x - mean) / sqrt(var + eps) * weight + bias; ref_layernorm. Without a bias: ref_rmsnorm. */
template <bool IS_LAYER>
static __global__ void __launch_bounds__(THREADS)
    norm_rows(int width, const float *x, int ldx, const float *weight, const float *bias, float eps,
              struct rows_out y, bool is_vector) {
    __shared__ double part[THREADS / 32];
    x += (size_t)blockIdx.x * (size_t)ldx;
    const double2 facts = row_facts<IS_LAYER>(width, x, is_vector, part);
    const float scale = (float)(1.0 / sqrt(facts.y + (double)eps));
    for (int c = (int)threadIdx.x * ROWS_EIGHT; c < width; c += STRIDE) {
        const int left = width - c;
        const struct eight w = eight_of(weight + c, left, is_vector);
        struct eight v = eight_of(x + c, left, is_vector), b;
        if (IS_LAYER) b = eight_of(bias + c, left, is_vector);
#pragma unroll
        for (int j = 0; j < ROWS_EIGHT; j++) {
            float d = IS_LAYER ? (float)((double)v.at[j] - facts.x) : v.at[j];
            v.at[j] = IS_LAYER ? fmaf(d * scale, w.at[j], b.at[j]) : d * scale * w.at[j];
        }
        put_eight(&y, blockIdx.x, c, left, is_vector, &v);
    }
}

template <bool IS_LAYER>
static void run_norm(struct kern *k, const struct kern_norm *a, const char *name) {
    if (!cuda_enter(k, 0) || a->rows == 0 || a->width == 0) return;
    const float *x = cuda_f32(a->x), *weight = cuda_f32(a->weight);
    const float *bias = IS_LAYER ? cuda_f32(a->bias) : NULL;
    bool is_vector = rows_are_aligned(x, a->ldx, KERN_F32) && cuda_is_aligned(weight) &&
                     cuda_is_aligned(bias) && rows_are_aligned(a->y.addr, a->ldy, a->y_dtype);
    norm_rows<IS_LAYER><<<(unsigned)a->rows, THREADS, 0, k->stream>>>(
        a->width, x, a->ldx, weight, bias, a->eps, rows_out(a->y, a->ldy, a->y_dtype), is_vector);
    cuda_launched(k, name);
}

void cuda_layernorm(struct kern *k, const struct kern_norm *a) {
    run_norm<true>(k, a, "layernorm");
}

void cuda_rmsnorm(struct kern *k, const struct kern_norm *a) { run_norm<false>(k, a, "rmsnorm"); }

/* ---- the way back ---- */

struct norm_back {
    int rows, width;
    const float *x;
    int ldx;
    const float *weight, *dy;
    int lddy;
    float *dx;
    int lddx;
    bool accumulate;
    bool is_vector; /* rows of x begin at multiples of 16 bytes */
    double2 *fact;  /* (rows): mean, and 1 / deviation */
    float *dw, *db; /* (blocks, width) each */
};

/* fact of one row a block, as norm_rows finds them. */
template <bool IS_LAYER>
static __global__ void __launch_bounds__(THREADS) norm_facts(struct norm_back a, float eps) {
    __shared__ double part[THREADS / 32];
    const float *x = a.x + (size_t)blockIdx.x * (size_t)a.ldx;
    const double2 facts = row_facts<IS_LAYER>(a.width, x, a.is_vector, part);
    const double2 fact = {facts.x, 1.0 / sqrt(facts.y + (double)eps)};
    if (threadIdx.x == 0) a.fact[blockIdx.x] = fact;
}

/* The normalised number. */
static __device__ inline float normal(float x, double2 fact) {
    return (float)(((double)x - fact.x) * fact.y);
}

/* dw = sum dy h, db = sum dy of one block of rows (blockIdx.y) and a column each thread. */
static __global__ void __launch_bounds__(THREADS) norm_back_blocks(struct norm_back a) {
    int c = (int)(blockIdx.x * THREADS + threadIdx.x);
    if (c >= a.width) return;
    int row = (int)blockIdx.y * KERN_BACK_ROWS;
    int end = a.rows - row < KERN_BACK_ROWS ? a.rows : row + KERN_BACK_ROWS;
    float dw = 0, db = 0;
    for (; row < end; row++) {
        float dy = a.dy[(size_t)row * (size_t)a.lddy + (size_t)c];
        dw = fmaf(dy, normal(a.x[(size_t)row * (size_t)a.ldx + (size_t)c], a.fact[row]), dw);
        db += dy;
    }
    size_t at = (size_t)blockIdx.y * (size_t)a.width + (size_t)c;
    a.dw[at] = dw;
    a.db[at] = db;
}

/* dx = r (g - mean(g) - h mean(g h)), g = dy weight, of one row a block; without a mean:
 * ref_rmsnorm_back. What a thread writes nobody else reads. */
template <bool IS_LAYER>
static __global__ void __launch_bounds__(THREADS) norm_back_rows(struct norm_back a) {
    __shared__ double part[THREADS / 32];
    const double2 fact = a.fact[blockIdx.x];
    const float *x = a.x + (size_t)blockIdx.x * (size_t)a.ldx;
    const float *dy = a.dy + (size_t)blockIdx.x * (size_t)a.lddy;
    float *dx = a.dx + (size_t)blockIdx.x * (size_t)a.lddx;
    double plain = 0, along = 0;
    for (int c = (int)threadIdx.x; c < a.width; c += THREADS) {
        double g = (double)dy[c] * (double)a.weight[c];
        plain += g;
        along += g * ((double)x[c] - fact.x) * fact.y;
    }
    if (IS_LAYER) plain = block_sum(plain, part) / a.width;
    along = block_sum(along, part) / a.width;
    for (int c = (int)threadIdx.x; c < a.width; c += THREADS) {
        double d = (double)dy[c] * (double)a.weight[c], h = ((double)x[c] - fact.x) * fact.y;
        if (IS_LAYER) d -= plain;
        float v = (float)(fact.y * (d - h * along));
        dx[c] = a.accumulate ? dx[c] + v : v;
    }
}

/* dw and db += their sums over the rows, as many blocks at a time as the stage holds. */
static void add_weights(struct kern *k, const struct kern_norm_back *a, struct norm_back all) {
    size_t width = (size_t)a->width, item = 2 * width * sizeof(float);
    int blocks = (int)cuda_blocks((size_t)a->rows, KERN_BACK_ROWS);
    int most = (int)(cuda_stage_bytes / item);
    must(most > 0);
    if (most > 65535) most = 65535; /* of a grid */
    for (int done = 0; done < blocks; done += most) {
        int now = blocks - done < most ? blocks - done : most, row = done * KERN_BACK_ROWS;
        struct norm_back some = all;
        some.rows = all.rows - row;
        some.x += (size_t)row * (size_t)all.ldx;
        some.dy += (size_t)row * (size_t)all.lddy;
        some.fact += row;
        some.dw = (float *)(void *)k->stage_out;
        some.db = some.dw + (size_t)now * width;
        dim3 grid(cuda_blocks(width, THREADS), (unsigned)now);
        norm_back_blocks<<<grid, THREADS, 0, k->stream>>>(some);
        cuda_launched(k, "norm_back_blocks");
        if (a->dw.addr) cuda_add_blocks(k, now, a->width, some.dw, a->width, cuda_f32(a->dw), true);
        if (a->db.addr) cuda_add_blocks(k, now, a->width, some.db, a->width, cuda_f32(a->db), true);
    }
}

template <bool IS_LAYER>
static void run_back(struct kern *k, const struct kern_norm_back *a, const char *name) {
    if (!cuda_enter(k, 0) || a->rows == 0 || a->width == 0) return;
    struct norm_back all = {a->rows,
                            a->width,
                            cuda_f32(a->x),
                            a->ldx,
                            cuda_f32(a->weight),
                            cuda_f32(a->dy),
                            a->lddy,
                            cuda_f32(a->dx),
                            a->lddx,
                            a->accumulate != 0,
                            rows_are_aligned(a->x.addr, a->ldx, KERN_F32),
                            (double2 *)(void *)k->stage_in,
                            NULL,
                            NULL};
    must((size_t)a->rows <= cuda_stage_bytes / sizeof *all.fact);
    norm_facts<IS_LAYER><<<(unsigned)a->rows, THREADS, 0, k->stream>>>(all, a->eps);
    cuda_launched(k, "norm_facts");
    if (a->dw.addr || a->db.addr) add_weights(k, a, all);
    norm_back_rows<IS_LAYER><<<(unsigned)a->rows, THREADS, 0, k->stream>>>(all);
    cuda_launched(k, name);
}

void cuda_layernorm_back(struct kern *k, const struct kern_norm_back *a) {
    run_back<true>(k, a, "layernorm_back");
}

void cuda_rmsnorm_back(struct kern *k, const struct kern_norm_back *a) {
    must(!a->db.addr);
    run_back<false>(k, a, "rmsnorm_back");
}
