/* dots_portable.c - products of whole numbers of 8 bits for this instruction set. */
#include "kernels/cpu/dots.h"
#include "kernels/cpu/vec.h"

enum { MR = 2 };

static int is_here(void) { return 1; }

#include "kernels/cpu/dots.inc"

DOT_TILE(tile_int8, 8, dot_tiles)
DOT_TILE(tile_int4, 4, dot_tiles)

CPU_DOTS(portable, MR, 0);
