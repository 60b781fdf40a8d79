/* isa_avx512bf16.c - as avx512, and products of bf16 whose sums are f32: twice as many a clock.
 * Compiled with its own flags (Makefile), so nothing here may run before is_here() said yes. */
#include <math.h>

#include "kernels/base/narrow.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/vec.h"

enum { MR = 8, NV = 2 };

static int is_here(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bf16");
}

#include "kernels/cpu/rows.inc"
#include "kernels/cpu/tile.inc"

#include "kernels/cpu/back.inc"

#include "kernels/cpu/pairs.inc"

static void tile_pairs(int m, int k, const float *x, int ldx, const float *panel, int ldp, float *y,
                       int ldy, int cols, const struct tile_end *end) {
    tile_all(TILE_PAIRS, m, k, x, ldx, panel, ldp, y, ldy, cols, end);
}

CPU_ISA(avx512bf16, MR, .tile_pairs = tile_pairs, .pair_line = pair_line, .pair_rows = pair_rows,
        .exp_sum_pairs = exp_sum_pairs, .attn_slopes_pairs = attn_slopes_pairs);
