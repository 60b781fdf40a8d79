/* gemm_back.cu - the way back through products: kernels/ref/gemm.c.
 *
 *     dx (m, K) = dy (m, N) W (N, K)       by the very matrix of the way there: no second pack
 *     dw (n, k) = dy^T (n, m) x (m, k)     a sum over rows
 *
 * Both read their right side as it lies, and dw its left side too, turned on the way out of shared
 * memory. Tiles of 64 x 64 outputs, one block of threads each, as in gemm_own.cu.
 *
 * Where W has 16 bits, dx is a product in its type with f32 sums, by cuBLASLt where it has an
 * algorithm that keeps our rules (gemm_lt.cu): dy is rounded to it in the stage.
 * Gradients may be smaller than anything that fp16 has; so for it each row of dy is first scaled by
 * a power of two that brings its largest number to 2^14, and its sums are scaled back. dw knows no
 * matrix: outside of strict mode both sides are rounded to bf16, which has the range of f32, and
 * sums are f32. In strict mode and by f32 weights all is f32.
 *
 * Order: a sum of dx runs over N ascending, in steps that do not depend on the call, so a row's
 * bits are its own. A sum of dw has one for each KERN_BACK_ROWS rows, which are then added in their
 * order; nothing else is ever split over rows. What lies outside is read as zero.
 */
#include <mma.h>

#include <type_traits>

#include "kernels/cuda/common.cuh"

enum { THREADS = 256, TILE = 64, DEPTH = 16, MMA_THREADS = 128, MMA_DEPTH = 32 };
static_assert((int)KERN_BACK_ROWS % (int)MMA_DEPTH == 0 && MMA_DEPTH % DEPTH == 0);

/* y (rows, cols) = or += a sum over `depth`: of a (rows, depth) for dx, a (depth, rows) for dw,
 * times b (depth, cols). */
struct sums {
    int rows, cols, depth;
    const void *a;
    int lda;
    const void *b;
    int ldb;
    float *y;
    int ldy;
    bool accumulate;
    const float *scale; /* (rows), to put to the sums; NULL: none */
};

static __device__ inline void give(const struct sums *p, int row, int col, float sum) {
    if (row >= p->rows || col >= p->cols) return;
    float *to = p->y + (size_t)row * (size_t)p->ldy + (size_t)col;
    if (p->scale) sum *= p->scale[row];
    *to = p->accumulate ? *to + sum : sum;
}

/* ---- f32 ---- */

/* The tile of `from` (depth, n) at (c0, n0), depth first. */
static __device__ inline void load_deep(const float *from, int depth, int c0, int n, int n0, int ld,
                                        float (*to)[TILE + 4]) {
    for (int i = (int)threadIdx.x; i < TILE * DEPTH; i += THREADS) {
        int c = i / TILE, r = i % TILE;
        bool is_in = c0 + c < depth && n0 + r < n;
        to[c][r] = is_in ? from[(size_t)(c0 + c) * (size_t)ld + (size_t)(n0 + r)] : 0.0f;
    }
}

/* The tile of `from` (n, depth), turned. */
static __device__ inline void load_turned(const float *from, int depth, int c0, int n, int n0,
                                          int ld, float (*to)[TILE + 4]) {
    for (int i = (int)threadIdx.x; i < TILE * DEPTH; i += THREADS) {
        int r = i / DEPTH, c = i % DEPTH;
        bool is_in = c0 + c < depth && n0 + r < n;
        to[c][r] = is_in ? from[(size_t)(n0 + r) * (size_t)ld + (size_t)(c0 + c)] : 0.0f;
    }
}

/* ref_gemm_dx, ref_gemm_dw; each thread makes 4 x 4 outputs, each of them one chain, or one chain
 * a block of rows. */
template <bool IS_DW> static __global__ void __launch_bounds__(THREADS) back_f32(struct sums p) {
    __shared__ float as[DEPTH][TILE + 4], bs[DEPTH][TILE + 4];
    const int row0 = (int)blockIdx.y * TILE, col0 = (int)blockIdx.x * TILE;
    const int ty = (int)threadIdx.x / 16 * 4, tx = (int)threadIdx.x % 16 * 4;
    const float *a = (const float *)p.a, *b = (const float *)p.b;
    float sum[4][4] = {}, all[4][4] = {};
    for (int c0 = 0; c0 < p.depth; c0 += DEPTH) {
        __syncthreads();
        if (IS_DW)
            load_deep(a, p.depth, c0, p.rows, row0, p.lda, as);
        else
            load_turned(a, p.depth, c0, p.rows, row0, p.lda, as);
        load_deep(b, p.depth, c0, p.cols, col0, p.ldb, bs);
        __syncthreads();
#pragma unroll
        for (int c = 0; c < DEPTH; c++) {
#pragma unroll
            for (int i = 0; i < 16; i++)
                sum[i / 4][i % 4] = fmaf(as[c][ty + i / 4], bs[c][tx + i % 4], sum[i / 4][i % 4]);
        }
        if (IS_DW && ((c0 + DEPTH) % KERN_BACK_ROWS == 0 || c0 + DEPTH >= p.depth)) {
#pragma unroll
            for (int i = 0; i < 16; i++) {
                all[i / 4][i % 4] += sum[i / 4][i % 4];
                sum[i / 4][i % 4] = 0;
            }
        }
    }
#pragma unroll
    for (int i = 0; i < 16; i++)
        give(&p, row0 + ty + i / 4, col0 + tx + i % 4, (IS_DW ? all : sum)[i / 4][i % 4]);
}

/* ---- 16 bits ---- */

/* The tile of R x C numbers of `from` (rows, cols) at (r0, c0): vectors that are in or out whole,
 * since cols is a multiple of 8; */
template <int R, int C, typename H>
static __device__ inline void load_tile(const H *from, int rows, int r0, int cols, int c0, int ld,
                                        H *to) {
    for (int i = (int)threadIdx.x; i < R * C / 8; i += MMA_THREADS) {
        int r = i / (C / 8), c = i % (C / 8) * 8;
        uint4 v = {0, 0, 0, 0};
        if (r0 + r < rows && c0 + c < cols)
            v = *(const uint4 *)(const void *)(from + (size_t)(r0 + r) * (size_t)ld + c0 + c);
        *(uint4 *)(void *)&to[r * (C + 8) + c] = v;
    }
}
/* or floats, rounded to bf16. */
template <int R, int C>
static __device__ inline void load_tile(const float *from, int rows, int r0, int cols, int c0,
                                        int ld, __nv_bfloat16 *to) {
#pragma unroll 4
    for (int i = (int)threadIdx.x; i < R * C; i += MMA_THREADS) {
        int r = i / C, c = i % C;
        bool is_in = r0 + r < rows && c0 + c < cols;
        float v = is_in ? from[(size_t)(r0 + r) * (size_t)ld + (size_t)(c0 + c)] : 0.0f;
        to[r * (C + 8) + c] = to_bf16(v);
    }
}

/* The same on the tensor cores, multiplied as H. Four warps, each with 32 x 32 of the outputs. */
template <bool IS_DW, typename H>
static __global__ void __launch_bounds__(MMA_THREADS) back_16(struct sums p) {
    using namespace nvcuda;
    typedef typename std::conditional<IS_DW, float, H>::type S;
    typedef typename std::conditional<IS_DW, wmma::col_major, wmma::row_major>::type left;
    constexpr int LDB = TILE + 8, LDA = IS_DW ? LDB : MMA_DEPTH + 8;
    __shared__ __align__(32) H as[TILE * (MMA_DEPTH + 8)], bs[MMA_DEPTH * LDB];
    __shared__ __align__(32) float out[TILE][TILE + 4];
    static_assert(MMA_DEPTH * LDB <= TILE * (MMA_DEPTH + 8));
    const int row0 = (int)blockIdx.y * TILE, col0 = (int)blockIdx.x * TILE;
    const int warp = (int)threadIdx.x / 32, r0 = warp / 2 * 32, n0 = warp % 2 * 32;
    const S *from_a = (const S *)p.a, *from_b = (const S *)p.b;
    const int cols = IS_DW ? p.cols : p.ldb, deep = IS_DW ? p.depth : p.lda;
    wmma::fragment<wmma::accumulator, 16, 16, 16, float> sum[4], all[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        wmma::fill_fragment(sum[i], 0.0f);
        wmma::fill_fragment(all[i], 0.0f);
    }
    for (int c0 = 0; c0 < p.depth; c0 += MMA_DEPTH) {
        __syncthreads();
        if (IS_DW)
            load_tile<MMA_DEPTH, TILE>(from_a, p.depth, c0, p.rows, row0, p.lda, as);
        else
            load_tile<TILE, MMA_DEPTH>(from_a, p.rows, row0, deep, c0, p.lda, as);
        load_tile<MMA_DEPTH, TILE>(from_b, p.depth, c0, cols, col0, p.ldb, bs);
        __syncthreads();
#pragma unroll
        for (int c = 0; c < MMA_DEPTH; c += 16) {
            wmma::fragment<wmma::matrix_a, 16, 16, 16, H, left> a[2];
            wmma::fragment<wmma::matrix_b, 16, 16, 16, H, wmma::row_major> b[2];
#pragma unroll
            for (int i = 0; i < 2; i++) {
                int at = r0 + 16 * i;
                wmma::load_matrix_sync(a[i], &as[IS_DW ? c * LDA + at : at * LDA + c], LDA);
                wmma::load_matrix_sync(b[i], &bs[c * LDB + n0 + 16 * i], LDB);
            }
#pragma unroll
            for (int i = 0; i < 4; i++)
                wmma::mma_sync(sum[i], a[i / 2], b[i % 2], sum[i]);
        }
        if (IS_DW && ((c0 + MMA_DEPTH) % KERN_BACK_ROWS == 0 || c0 + MMA_DEPTH >= p.depth)) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                for (int j = 0; j < sum[i].num_elements; j++)
                    all[i].x[j] += sum[i].x[j];
                wmma::fill_fragment(sum[i], 0.0f);
            }
        }
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
        wmma::store_matrix_sync(&out[r0 + i / 2 * 16][n0 + i % 2 * 16], IS_DW ? all[i] : sum[i],
                                TILE + 4, wmma::mem_row_major);
    __syncthreads();
    for (int i = (int)threadIdx.x; i < TILE * TILE; i += MMA_THREADS)
        give(&p, row0 + i / TILE, col0 + i % TILE, out[i / TILE][i % TILE]);
}

static dim3 grid_of(const struct sums *p) {
    unsigned rows = cuda_blocks((size_t)p->rows, TILE);
    must(rows <= 65535);
    return dim3(cuda_blocks((size_t)p->cols, TILE), rows);
}

/* ---- dx ---- */

/* to (rows, ld) = x (rows, depth) in fp16, each row times a power of two, zeros behind depth;
 * scale[row] takes it back. One block a row. What isn't finite stays so. */
static __global__ void __launch_bounds__(THREADS)
    scale_rows(int depth, int ld, const float *x, int ldx, __half *to, float *scale) {
    __shared__ float shared[THREADS / 32];
    x += (size_t)blockIdx.x * (size_t)ldx;
    to += (size_t)blockIdx.x * (size_t)ld;
    float most = 0;
    for (int c = (int)threadIdx.x; c < depth; c += THREADS)
        most = fmaxf(most, fabsf(x[c])); /* which passes over NaN */
    most = block_max(most, shared);
    int high = most > 0 && isfinite(most) ? ilogbf(most) : 14;
    int up = 14 - (high > -100 ? high : -100); /* the way back is a number, too */
    if (threadIdx.x == 0) scale[blockIdx.x] = ldexpf(1.0f, -up);
    for (int c = (int)threadIdx.x; c < ld; c += THREADS)
        to[c] = to_f16(c < depth ? ldexpf(x[c], up) : 0.0f);
}

/* Staged rows through cuBLASLt, to dx or, where that is crooked or sums are scaled, by the other
 * stage. False: it failed, and dx is as it was. */
static bool dx_lt(struct kern *k, const struct kern_mat *w, const struct sums *p, bool is_direct) {
    int lds = is_direct ? p->ldy : (int)cuda_row_sums((size_t)w->k);
    float *sums = is_direct ? p->y : (float *)(void *)k->stage_out;
    struct finish end = {NULL, false, p->accumulate, p->scale, NULL, KERN_F32};
    if (!lt_product(k, w, w->back, p->rows, p->a, NULL, sums, lds, NULL,
                    is_direct && p->accumulate))
        return false;
    if (!is_direct) cuda_finish_rows(k, p->rows, w->k, sums, lds, p->y, p->ldy, end);
    return true;
}

/* dy goes through the stage, as many rows at a time as fit, with their scales behind them. */
static void dx_16(struct kern *k, const struct kern_gemm_dx *a) {
    const struct kern_mat *w = a->w;
    const size_t ld = cuda_row_16bit((size_t)w->n),
                 out = sizeof(float) * cuda_row_sums((size_t)w->k);
    const bool is_bf16 = w->dtype == KERN_BF16;
    const bool is_direct = is_bf16 && cuda_is_aligned(cuda_f32(a->dx)) && a->lddx % 4 == 0;
    const int most =
        cuda_rows_that_fit(2 * ld + sizeof(float), lt_serves(w->back) && !is_direct ? out : 0);
    must(most > 0);
    struct sums p = {0,     w->k,    w->n,    k->stage_in,        (int)ld, w->w,
                     w->ld, nullptr, a->lddx, a->accumulate != 0, nullptr};
    for (int row = 0; row < a->m; row += most) {
        const float *dy = cuda_f32(a->dy) + (size_t)row * (size_t)a->lddy;
        p.rows = a->m - row < most ? a->m - row : most;
        p.y = cuda_f32(a->dx) + (size_t)row * (size_t)a->lddx;
        if (is_bf16) {
            cuda_round_rows(k, w->dtype, p.rows, w->n, p.lda, dy, a->lddy, k->stage_in);
        } else {
            float *scale = (float *)(void *)(k->stage_in + 2 * ld * (size_t)p.rows);
            scale_rows<<<(unsigned)p.rows, THREADS, 0, k->stream>>>(
                w->n, p.lda, dy, a->lddy, (__half *)(void *)k->stage_in, scale);
            cuda_launched(k, "scale_rows");
            p.scale = scale;
        }
        if (lt_serves(w->back) && dx_lt(k, w, &p, is_direct)) continue;
        if (is_bf16)
            back_16<false, __nv_bfloat16><<<grid_of(&p), MMA_THREADS, 0, k->stream>>>(p);
        else
            back_16<false, __half><<<grid_of(&p), MMA_THREADS, 0, k->stream>>>(p);
        cuda_launched(k, "back_16");
    }
}

static void dx_f32(struct kern *k, const struct kern_gemm_dx *a) {
    const struct kern_mat *w = a->w;
    const int most = 65535 * TILE; /* rows of a grid */
    for (int row = 0; row < a->m; row += most) {
        struct sums p = {a->m - row < most ? a->m - row : most,
                         w->k,
                         w->n,
                         cuda_f32(a->dy) + (size_t)row * (size_t)a->lddy,
                         a->lddy,
                         w->w,
                         w->ld,
                         cuda_f32(a->dx) + (size_t)row * (size_t)a->lddx,
                         a->lddx,
                         a->accumulate != 0,
                         nullptr};
        back_f32<false><<<grid_of(&p), THREADS, 0, k->stream>>>(p);
        cuda_launched(k, "back_f32");
    }
}

void cuda_gemm_dx(struct kern *k, const struct kern_gemm_dx *a) {
    const struct kern_mat *w = a->w;
    must(!w->is_fp8);
    if (!cuda_enter(k, (uint64_t)a->m * (uint64_t)w->n * (uint64_t)w->k)) return;
    if (a->m == 0 || w->k == 0) return;
    if (w->dtype == KERN_F32)
        dx_f32(k, a);
    else
        dx_16(k, a);
}

/* ---- dw and db ---- */

void cuda_gemm_dw(struct kern *k, const struct kern_gemm_dw *a) {
    if (!cuda_enter(k, (uint64_t)a->m * (uint64_t)a->n * (uint64_t)a->k)) return;
    if (a->n == 0 || a->k == 0) return;
    struct sums p = {a->n,    a->k,
                     a->m,    cuda_f32(a->dy),
                     a->lddy, cuda_f32(a->x),
                     a->ldx,  cuda_f32(a->dw),
                     a->lddw, a->accumulate != 0,
                     nullptr};
    if (k->mode == CUDA_STRICT)
        back_f32<true><<<grid_of(&p), THREADS, 0, k->stream>>>(p);
    else
        back_16<true, __nv_bfloat16><<<grid_of(&p), MMA_THREADS, 0, k->stream>>>(p);
    cuda_launched(k, "gemm_dw");
}

/* part[b] = the rows of block b (blockIdx.y) of dy; a column each thread. */
static __global__ void __launch_bounds__(THREADS)
    colsum_blocks(int m, int n, const float *dy, int lddy, float *part) {
    int c = (int)(blockIdx.x * THREADS + threadIdx.x), row = (int)blockIdx.y * KERN_BACK_ROWS;
    if (c >= n) return;
    int end = m - row < KERN_BACK_ROWS ? m : row + KERN_BACK_ROWS;
    float sum = 0;
    for (; row < end; row++)
        sum += dy[(size_t)row * (size_t)lddy + (size_t)c];
    part[(size_t)blockIdx.y * (size_t)n + (size_t)c] = sum;
}

static __global__ void __launch_bounds__(THREADS)
    add_blocks(int blocks, int n, const float *part, int ldp, float *sum, bool accumulate) {
    int c = (int)(blockIdx.x * THREADS + threadIdx.x);
    if (c >= n) return;
    float all = accumulate ? sum[c] : 0.0f;
    for (int b = 0; b < blocks; b++)
        all += part[(size_t)b * (size_t)ldp + (size_t)c];
    sum[c] = all;
}

void cuda_add_blocks(struct kern *k, int blocks, int n, const float *part, int ldp, float *sum,
                     bool accumulate) {
    add_blocks<<<cuda_blocks((size_t)n, THREADS), THREADS, 0, k->stream>>>(blocks, n, part, ldp,
                                                                           sum, accumulate);
    cuda_launched(k, "add_blocks");
}

/* As many blocks at a time as the stage holds. */
void cuda_colsum(struct kern *k, const struct kern_colsum *a) {
    if (!cuda_enter(k, 0) || a->n == 0) return;
    float *part = (float *)(void *)k->stage_out;
    int blocks = (int)cuda_blocks((size_t)a->m, KERN_BACK_ROWS), done = 0;
    int most = (int)(cuda_stage_bytes / sizeof *part / (size_t)a->n);
    must(most > 0);
    if (most > 65535) most = 65535; /* of a grid */
    do {
        int now = blocks - done < most ? blocks - done : most, row = done * KERN_BACK_ROWS;
        dim3 grid(cuda_blocks((size_t)a->n, THREADS), (unsigned)now);
        if (now > 0) {
            colsum_blocks<<<grid, THREADS, 0, k->stream>>>(
                a->m - row, a->n, cuda_f32(a->dy) + (size_t)row * (size_t)a->lddy, a->lddy, part);
            cuda_launched(k, "colsum_blocks");
        }
        cuda_add_blocks(k, now, a->n, part, a->n, cuda_f32(a->db), done > 0 || a->accumulate);
        done += now;
    } while (done < blocks);
}

/* ---- weights that are set anew ---- */

/* to (rows, n) = x (rows, ldx). */
static __global__ void __launch_bounds__(THREADS)
    set_cells(size_t cells, int n, const float *x, int ldx, float *to) {
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < cells) to[i] = x[i / (size_t)n * (size_t)ldx + i % (size_t)n];
}

void cuda_mat_set(struct kern *k, const struct kern_mat_set *a) {
    const struct kern_mat *w = a->w;
    size_t cells = (size_t)a->rows * (size_t)w->k;
    must(!w->is_fp8 && a->row0 >= 0 && a->rows >= 0 && a->row0 + a->rows <= w->n);
    char *to = (char *)w->w + (size_t)a->row0 * (size_t)w->ld * kern_dtype_bytes(w->dtype);
    if (!cuda_enter(k, 0) || cells == 0) return;
    if (w->dtype != KERN_F32) {
        cuda_round_rows(k, w->dtype, a->rows, w->k, w->ld, cuda_f32(a->src), a->ld, to);
        return;
    }
    set_cells<<<cuda_blocks(cells, THREADS), THREADS, 0, k->stream>>>(cells, w->k, cuda_f32(a->src),
                                                                      a->ld, (float *)(void *)to);
    cuda_launched(k, "mat_set");
}
