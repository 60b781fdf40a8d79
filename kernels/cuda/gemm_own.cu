/* gemm_own.cu - our own products: f32 for strict mode and f32 weights, 16 bits where cuBLASLt is
 * not to be had. Written to be plainly right; tiles of 64 x 64 outputs, one block each.
 *
 * Codes of e4m3 are widened to fp16 on their way into shared memory: their products are exact
 * there.
 *
 * A sum runs over k ascending in steps that do not depend on the shape of the call, so a row's bits
 * are its own: in f32 one chain of fused multiply-adds, on the tensor cores a chain of 16-deep
 * products. What lies outside of the matrix is read as zero, which leaves a sum as it is.
 */
#include <mma.h>

#include "kernels/cuda/common.cuh"

enum { THREADS = 256, TILE = 64, DEPTH = 16, MMA_THREADS = 128, MMA_DEPTH = 32 };

/* y[row][col] = finish(sum_c x[row][c] w[col][c]); ref_gemm. Each thread makes 4 x 4 outputs; the
 * two tiles lie depth-first, so that the inner loop reads vectors of rows and of columns. */
static __global__ void __launch_bounds__(THREADS)
    product_f32(int rows, int n, int depth, const float *x, int ldx, const float *w, int ldw,
                float *y, int ldy, struct finish end) {
    __shared__ float xs[DEPTH][TILE + 4], ws[DEPTH][TILE + 4];
    const int row0 = (int)blockIdx.y * TILE, col0 = (int)blockIdx.x * TILE;
    const int ty = (int)threadIdx.x / 16 * 4, tx = (int)threadIdx.x % 16 * 4;
    float sum[4][4] = {};
    for (int c0 = 0; c0 < depth; c0 += DEPTH) {
        __syncthreads();
        for (int i = (int)threadIdx.x; i < TILE * DEPTH; i += THREADS) {
            int r = i / DEPTH, c = i % DEPTH;
            bool is_in = c0 + c < depth;
            xs[c][r] = is_in && row0 + r < rows
                           ? x[(size_t)(row0 + r) * (size_t)ldx + (size_t)(c0 + c)]
                           : 0.0f;
            ws[c][r] = is_in && col0 + r < n
                           ? w[(size_t)(col0 + r) * (size_t)ldw + (size_t)(c0 + c)]
                           : 0.0f;
        }
        __syncthreads();
#pragma unroll
        for (int c = 0; c < DEPTH; c++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
#pragma unroll
                for (int j = 0; j < 4; j++)
                    sum[i][j] = fmaf(xs[c][ty + i], ws[c][tx + j], sum[i][j]);
            }
        }
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int row = row0 + ty + i, col = col0 + tx + j;
            if (row >= rows || col >= n) continue;
            float s = sum[i][j], *to = y + (size_t)row * (size_t)ldy + (size_t)col;
            if (end.bias) s += end.bias[col];
            if (end.gelu) s = gelu_f64(s);
            *to = end.accumulate ? *to + s : s;
        }
    }
}

void own_product_f32(struct kern *k, int rows, int n, int depth, const float *x, int ldx,
                     const float *w, int ldw, float *y, int ldy, struct finish end) {
    const int most = 65535 * TILE; /* rows of a grid */
    for (int row = 0; row < rows; row += most) {
        int now = rows - row < most ? rows - row : most;
        dim3 grid(cuda_blocks((size_t)n, TILE), cuda_blocks((size_t)now, TILE));
        product_f32<<<grid, THREADS, 0, k->stream>>>(now, n, depth, x + (size_t)row * (size_t)ldx,
                                                     ldx, w, ldw, y + (size_t)row * (size_t)ldy,
                                                     ldy, end);
        cuda_launched(k, "product_f32");
    }
}

/* ---- 16 bits ---- */

/* A vector of 16 bytes of S as H. */
template <typename H> static __device__ inline void spread(uint4 v, const H *, H *to) {
    *(uint4 *)(void *)to = v;
}
static __device__ inline void spread(uint4 v, const uint8_t *, __half *to) {
    union {
        uint4 vector;
        uint8_t at[16];
    } u = {v};
#pragma unroll
    for (int j = 0; j < 16; j++)
        to[j] = from_e4m3(u.at[j]);
}

/* A tile of 64 rows of `from` (rows, ld), columns c0 .. c0+31, zeros outside. ld is a multiple of
 * what a vector holds, so that is either in or out. */
template <typename S, typename H>
static __device__ void load_tile(const S *from, int rows, int row0, int ld, int c0,
                                 H (*to)[MMA_DEPTH + 8]) {
    constexpr int PER = 16 / sizeof(S);
    for (int i = (int)threadIdx.x; i < TILE * MMA_DEPTH / PER; i += MMA_THREADS) {
        int r = i / (MMA_DEPTH / PER), c = i % (MMA_DEPTH / PER) * PER;
        uint4 v = {0, 0, 0, 0};
        if (row0 + r < rows && c0 + c < ld)
            v = *(const uint4 *)(const void *)(from + (size_t)(row0 + r) * (size_t)ld + c0 + c);
        spread(v, from, &to[r][c]);
    }
}

/* y = finish(x W^T), x (rows, ld) and w (n, ld) of S, multiplied as 16-bit H; ref_gemm on rounded
 * x. Four warps, each with 32 x 32 of the 64 x 64 outputs. */
template <typename S, typename H>
static __global__ void __launch_bounds__(MMA_THREADS)
    product_16(int rows, int n, int ld, const S *x, const S *w, float *y, int ldy,
               struct finish end) {
    using namespace nvcuda;
    __shared__ __align__(32) H xs[TILE][MMA_DEPTH + 8], ws[TILE][MMA_DEPTH + 8];
    __shared__ __align__(32) float out[TILE][TILE + 4];
    const int row0 = (int)blockIdx.y * TILE, col0 = (int)blockIdx.x * TILE;
    const int warp = (int)threadIdx.x / 32, r0 = warp / 2 * 32, n0 = warp % 2 * 32;
    wmma::fragment<wmma::accumulator, 16, 16, 16, float> sum[2][2];
#pragma unroll
    for (int i = 0; i < 4; i++)
        wmma::fill_fragment(sum[i / 2][i % 2], 0.0f);
    for (int c0 = 0; c0 < ld; c0 += MMA_DEPTH) {
        __syncthreads();
        load_tile(x, rows, row0, ld, c0, xs);
        load_tile(w, n, col0, ld, c0, ws);
        __syncthreads();
#pragma unroll
        for (int c = 0; c < MMA_DEPTH; c += 16) {
            wmma::fragment<wmma::matrix_a, 16, 16, 16, H, wmma::row_major> a[2];
            wmma::fragment<wmma::matrix_b, 16, 16, 16, H, wmma::col_major> b[2];
#pragma unroll
            for (int i = 0; i < 2; i++) {
                wmma::load_matrix_sync(a[i], &xs[r0 + 16 * i][c], MMA_DEPTH + 8);
                wmma::load_matrix_sync(b[i], &ws[n0 + 16 * i][c], MMA_DEPTH + 8);
            }
#pragma unroll
            for (int i = 0; i < 4; i++)
                wmma::mma_sync(sum[i / 2][i % 2], a[i / 2], b[i % 2], sum[i / 2][i % 2]);
        }
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
        wmma::store_matrix_sync(&out[r0 + i / 2 * 16][n0 + i % 2 * 16], sum[i / 2][i % 2], TILE + 4,
                                wmma::mem_row_major);
    __syncthreads();
    for (int i = (int)threadIdx.x; i < TILE * TILE; i += MMA_THREADS) {
        int row = row0 + i / TILE, col = col0 + i % TILE;
        if (row >= rows || col >= n) continue;
        float s = out[i / TILE][i % TILE], *to = y + (size_t)row * (size_t)ldy + (size_t)col;
        if (end.row_scale) s = s * end.row_scale[row] * end.col_scale[col];
        if (end.accumulate) s += *to;
        if (end.bias) s += end.bias[col];
        if (end.gelu) s = gelu_f32(s);
        *to = s;
    }
}

void own_product_16(struct kern *k, const struct kern_mat *m, int rows, const void *x, float *y,
                    int ldy, struct finish end) {
    must(rows <= 65535 * TILE);
    dim3 grid(cuda_blocks((size_t)m->n, TILE), cuda_blocks((size_t)rows, TILE));
    if (m->scales)
        product_16<uint8_t, __half><<<grid, MMA_THREADS, 0, k->stream>>>(
            rows, m->n, m->ld, (const uint8_t *)x, (const uint8_t *)m->w, y, ldy, end);
    else if (m->dtype == KERN_BF16)
        product_16<__nv_bfloat16, __nv_bfloat16><<<grid, MMA_THREADS, 0, k->stream>>>(
            rows, m->n, m->ld, (const __nv_bfloat16 *)x, (const __nv_bfloat16 *)m->w, y, ldy, end);
    else
        product_16<__half, __half><<<grid, MMA_THREADS, 0, k->stream>>>(
            rows, m->n, m->ld, (const __half *)x, (const __half *)m->w, y, ldy, end);
    cuda_launched(k, "product_16");
}
