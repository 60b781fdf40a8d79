/* norm.cu - layernorm and rmsnorm: kernels/ref/norm.c. One block a row; sums in double, like the
 * reference's, in an order that follows from the width alone. A row is read whole before it is
 * written, so y may be x. */
#include "kernels/cuda/common.cuh"

enum { THREADS = 256 };

/* y = (x - mean) / sqrt(var + eps) * weight + bias; ref_layernorm. Without a bias: ref_rmsnorm. */
template <bool IS_LAYER>
static __global__ void __launch_bounds__(THREADS)
    norm_rows(int width, const float *x, int ldx, const float *weight, const float *bias, float eps,
              float *y, int ldy) {
    __shared__ double part[THREADS / 32];
    x += (size_t)blockIdx.x * (size_t)ldx;
    y += (size_t)blockIdx.x * (size_t)ldy;
    double mean = 0, square = 0;
    if (IS_LAYER) {
        for (int c = (int)threadIdx.x; c < width; c += THREADS)
            mean += (double)x[c];
        mean = block_sum(mean, part) / width;
    }
    for (int c = (int)threadIdx.x; c < width; c += THREADS) {
        double d = (double)x[c] - mean;
        square += d * d;
    }
    /* block_sum ends behind a barrier: from here on nobody reads what another writes */
    square = block_sum(square, part) / width;
    float scale = (float)(1.0 / sqrt(square + (double)eps));
    for (int c = (int)threadIdx.x; c < width; c += THREADS) {
        float d = IS_LAYER ? (float)((double)x[c] - mean) : x[c];
        y[c] = IS_LAYER ? d * scale * weight[c] + bias[c] : d * scale * weight[c];
    }
}

void cuda_layernorm(struct kern *k, const struct kern_norm *a) {
    if (!cuda_enter(k, 0) || a->rows == 0) return;
    norm_rows<true><<<(unsigned)a->rows, THREADS, 0, k->stream>>>(
        a->width, cuda_f32(a->x), a->ldx, cuda_f32(a->weight), cuda_f32(a->bias), a->eps,
        cuda_f32(a->y), a->ldy);
    cuda_launched(k, "layernorm");
}

void cuda_rmsnorm(struct kern *k, const struct kern_norm *a) {
    if (!cuda_enter(k, 0) || a->rows == 0) return;
    norm_rows<false><<<(unsigned)a->rows, THREADS, 0, k->stream>>>(a->width, cuda_f32(a->x), a->ldx,
                                                                   cuda_f32(a->weight), NULL,
                                                                   a->eps, cuda_f32(a->y), a->ldy);
    cuda_launched(k, "rmsnorm");
}
