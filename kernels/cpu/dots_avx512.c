/* dots_avx512.c - products of whole numbers of 8 bits for this instruction set. Compiled with its
 * own flags (Makefile), so nothing here may run before is_here() said yes. */
#include "kernels/cpu/dots.h"
#include "kernels/cpu/vec.h"

enum { MR = 4 };

static int is_here(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

#include "kernels/cpu/dots.inc"

DOT_TILE(tile_int8, 8, dot_tiles)
DOT_TILE(tile_int4, 4, dot_tiles)

CPU_DOTS(avx512, MR, 0);
