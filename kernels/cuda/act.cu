/* act.cu - SwiGLU: kernels/ref/act.c. Each number stands alone. */
#include "kernels/cuda/common.cuh"

enum { THREADS = 256 };

/* y = gate / (1 + exp(-gate)) * up; ref_swiglu. */
static __global__ void __launch_bounds__(THREADS)
    swiglu_cells(size_t cells, int width, const float *x, int ldx, float *y, int ldy) {
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= cells) return;
    size_t row = i / (size_t)width, c = i % (size_t)width;
    float gate = x[row * (size_t)ldx + c], up = x[row * (size_t)ldx + (size_t)width + c];
    y[row * (size_t)ldy + c] = gate / (1.0f + expf(-gate)) * up;
}

void cuda_swiglu(struct kern *k, const struct kern_swiglu *a) {
    size_t cells = (size_t)a->rows * (size_t)a->width;
    if (!cuda_enter(k, 0) || cells == 0) return;
    swiglu_cells<<<cuda_blocks(cells, THREADS), THREADS, 0, k->stream>>>(
        cells, a->width, cuda_f32(a->x), a->ldx, cuda_f32(a->y), a->ldy);
    cuda_launched(k, "swiglu");
}
