/* emu.h - the kernels' own code on a processor: every thread of a block is a fibre of one system
 * thread.
 *
 * What this proves: index arithmetic, bounds, what is read by whom after which barrier, the order
 * of sums, all of it against kernels/ref by the tests of every backend; a barrier or shuffle that
 * not all threads reach is a deadlock, and reported. What it does not: speed, races between threads
 * of different warps that a real card would interleave otherwise, the hardware's rounding in a
 * tensor core, cuBLASLt, the driver. The layouts of the tensor cores' fragments are taken from the
 * PTX manual, as the kernels take them: a misreading would agree with itself.
 *
 * Included in front of each .cu by emu.py, which also turns launches into emu_launch. */
#ifndef TESTS_CUDA_EMU_EMU_H
#define TESTS_CUDA_EMU_EMU_H

#include <cmath>
#include <cstdint>
#include <cstring>

#include <cuda_runtime.h>

#define dlopen emu_dlopen /* a test may hide libraries */

#include "tests/cuda/emu/stream.h"

#undef __shared__
#undef __launch_bounds__
#define __shared__ static __attribute__((section("emu_fixed"))) /* poisoned for each block */
#define __launch_bounds__(...)

using std::isfinite;

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
extern char *emu_shared; /* dynamic shared memory of the block */

void emu_block_barrier(void);
void emu_warp_barrier(void);
void *emu_slot(int lane); /* 64 bytes of each lane of the own warp, for exchange */
int emu_lane(void);

static inline void __syncthreads(void) { emu_block_barrier(); }
static inline void __syncwarp(void) { emu_warp_barrier(); }

template <typename T> static inline T __shfl_sync(unsigned, T v, int from) {
    std::memcpy(emu_slot(emu_lane()), &v, sizeof v);
    emu_warp_barrier();
    std::memcpy(&v, emu_slot(from % 32), sizeof v);
    emu_warp_barrier();
    return v;
}
template <typename T> static inline T __shfl_xor_sync(unsigned mask, T v, int other) {
    return __shfl_sync(mask, v, emu_lane() ^ other);
}

struct emu_config {
    dim3 grid, block;
    size_t shared;
    cudaStream_t stream;
    emu_config(dim3 g, dim3 b, size_t s = 0, cudaStream_t t = 0)
        : grid(g), block(b), shared(s), stream(t) {}
};
void emu_check_config(const char *kernel, const struct emu_config &c);
void emu_run_blocks(const struct emu_config &c, void (*thread)(void *), void *ctx);
void emu_put(cudaStream_t stream, std::function<void()> work);

/* Arguments are copied here, as a launch does; the kernel runs now or with the graph. */
template <typename F, typename... A>
static inline void emu_launch(const char *name, const struct emu_config &c, F kernel, A... args) {
    emu_check_config(name, c);
    emu_put(c.stream, [=] {
        auto thread = [&] { kernel(args...); };
        emu_run_blocks(
            c, [](void *f) { (*(decltype(thread) *)f)(); }, &thread);
    });
}

/* cudaFuncSetAttribute of a kernel, or of all kernels of a template. */
cudaError_t emu_set_attribute(const char *kernel, enum cudaFuncAttribute what, int value);

#endif
