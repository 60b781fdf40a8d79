/* mma.cuh - in place of kernels/cuda/mma.cuh: the same instructions, spelled out. */
#ifndef KERNELS_CUDA_MMA_CUH
#define KERNELS_CUDA_MMA_CUH

#include "kernels/cuda/common.cuh"

/* What a lane brings to a product. */
struct emu_mma {
    uint32_t a[4], b[2];
};

static inline float emu_float(unsigned short h, __half) {
    return __half2float(__ushort_as_half(h));
}
static inline float emu_float(unsigned short h, __nv_bfloat16) {
    return __bfloat162float(__ushort_as_bfloat16(h));
}
template <typename H> static inline double emu_half(uint32_t two, int which) {
    return (double)emu_float((unsigned short)(which ? two >> 16 : two), H());
}

template <typename H>
static inline void mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    const int lane = emu_lane(), g = lane / 4, t = lane % 4;
    struct emu_mma mine = {{a[0], a[1], a[2], a[3]}, {b0, b1}};
    std::memcpy(emu_slot(lane), &mine, sizeof mine);
    emu_warp_barrier();
    for (int j = 0; j < 4; j++) {
        int row = g + j / 2 * 8, col = 2 * t + j % 2;
        double sum = c[j];
        for (int k = 0; k < 16; k++) {
            struct emu_mma x, w;
            std::memcpy(&x, emu_slot(row % 8 * 4 + k % 8 / 2), sizeof x);
            std::memcpy(&w, emu_slot(col * 4 + k % 8 / 2), sizeof w);
            sum += emu_half<H>(x.a[row / 8 + k / 8 * 2], k % 2) * emu_half<H>(w.b[k / 8], k % 2);
        }
        c[j] = (float)sum;
    }
    emu_warp_barrier();
}

static inline void load_values(const void *row, uint32_t &b0, uint32_t &b1) {
    const int lane = emu_lane(), g = lane / 4, t = lane % 4;
    must((uintptr_t)row % 16 == 0);
    std::memcpy(emu_slot(lane), &row, sizeof row);
    emu_warp_barrier();
    uint32_t out[2];
    for (int m = 0; m < 2; m++) {
        unsigned short bits[2];
        for (int j = 0; j < 2; j++) {
            const unsigned short *from;
            std::memcpy(&from, emu_slot(8 * m + 2 * t + j), sizeof from);
            bits[j] = from[g];
        }
        out[m] = (uint32_t)bits[0] | (uint32_t)bits[1] << 16;
    }
    b0 = out[0];
    b1 = out[1];
    emu_warp_barrier();
}

#endif
