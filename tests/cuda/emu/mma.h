/* mma.h - in place of CUDA's: as much of nvcuda::wmma as our product takes. The first lane of a
 * warp does the work of all. */
#ifndef TESTS_CUDA_EMU_MMA_H
#define TESTS_CUDA_EMU_MMA_H

#include "kernels/base/err.h"
#include "tests/cuda/emu/emu.h"

namespace nvcuda {
namespace wmma {
struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
enum layout_t { mem_row_major, mem_col_major };

template <typename Use, int M, int N, int K, typename T, typename Layout = void> struct fragment {
    enum { num_elements = 256 };
    union {
        T at[16][16]; /* as the product takes it: a (row, k), b (k, column), sums (row, column) */
        T x[256];
    };
    fragment() {}
};

template <typename T>
static inline void load_matrix_sync(fragment<matrix_a, 16, 16, 16, T, row_major> &f, const T *p,
                                    unsigned ld) {
    must((uintptr_t)p % 32 == 0 && ld % 8 == 0);
    for (int i = 0; emu_lane() == 0 && i < 256; i++)
        f.at[i / 16][i % 16] = p[i / 16 * (int)ld + i % 16];
}
template <typename T>
static inline void load_matrix_sync(fragment<matrix_a, 16, 16, 16, T, col_major> &f, const T *p,
                                    unsigned ld) {
    must((uintptr_t)p % 32 == 0 && ld % 8 == 0);
    for (int i = 0; emu_lane() == 0 && i < 256; i++)
        f.at[i % 16][i / 16] = p[i / 16 * (int)ld + i % 16];
}
template <typename T>
static inline void load_matrix_sync(fragment<matrix_b, 16, 16, 16, T, row_major> &f, const T *p,
                                    unsigned ld) {
    must((uintptr_t)p % 32 == 0 && ld % 8 == 0);
    for (int i = 0; emu_lane() == 0 && i < 256; i++)
        f.at[i / 16][i % 16] = p[i / 16 * (int)ld + i % 16];
}
template <typename T>
static inline void load_matrix_sync(fragment<matrix_b, 16, 16, 16, T, col_major> &f, const T *p,
                                    unsigned ld) {
    must((uintptr_t)p % 32 == 0 && ld % 8 == 0);
    for (int i = 0; emu_lane() == 0 && i < 256; i++)
        f.at[i % 16][i / 16] = p[i / 16 * (int)ld + i % 16];
}
template <typename F, typename T> static inline void fill_fragment(F &f, T v) {
    for (int i = 0; i < 256; i++)
        f.at[i / 16][i % 16] = v;
}
template <typename A, typename B, typename C>
static inline void mma_sync(C &d, const A &a, const B &b, const C &c) {
    for (int i = 0; emu_lane() == 0 && i < 256; i++) {
        float s = c.at[i / 16][i % 16];
        for (int k = 0; k < 16; k++)
            s += (float)a.at[i / 16][k] * (float)b.at[k][i % 16];
        d.at[i / 16][i % 16] = s;
    }
}
template <typename F>
static inline void store_matrix_sync(float *p, const F &f, unsigned ld, layout_t layout) {
    must((uintptr_t)p % 32 == 0 && ld % 4 == 0 && layout == mem_row_major);
    for (int i = 0; emu_lane() == 0 && i < 256; i++)
        p[i / 16 * (int)ld + i % 16] = f.at[i / 16][i % 16];
}
} // namespace wmma
} // namespace nvcuda

#endif
