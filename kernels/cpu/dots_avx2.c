/* dots_avx2.c - products of whole numbers of 8 bits for this instruction set. Compiled with its
 * own flags (Makefile), so nothing here may run before is_here() said yes. */
#include "kernels/cpu/dots.h"
#include "kernels/cpu/vec.h"

enum { MR = 3 };

static int is_here(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

#include "kernels/cpu/dots.inc"
#include "kernels/cpu/dots_open.inc"

DOT_TILE(tile_int8, 8, open_tiles)
DOT_TILE(tile_int4, 4, open_tiles)

CPU_DOTS(avx2, OPEN_MR, OPEN_ROWS);
