/* dots.h - products of whole numbers of 8 bits, compiled once per instruction set that has its own
 * way to them: dots_portable.c and so on, each by including dots.inc.
 *
 * Both sides are blocks of NARROW_BLOCK whole numbers with a scale (kernels/base/narrow.h). A
 * block's products are added up exactly, in any order, and blocks join a sum in f32 in the order of
 * k, by two roundings each. So all of these tables give the same bits.
 *
 * A panel holds DOT_COLUMNS outputs, block by block, the last one with zeros behind it:
 *     int8: DOT_COLUMNS scales of bf16, then eight lines of four places of each column, each + 128
 *     int4: the scales, then four lines of eight places of each column: four bytes, whose lower
 *           halves are the first four places, each + 8
 * What was added to weights is taken off the sums again: `less` of a row's block is that times its
 * numbers.
 */
#ifndef KERNELS_CPU_DOTS_H
#define KERNELS_CPU_DOTS_H

#include "kernels/base/narrow.h"
#include "kernels/cpu/isa.h"

enum {
    DOT_COLUMNS = 32,
    DOT_PLACES = 4,                                /* that an instruction adds up */
    DOT_BLOCK8 = (2 + NARROW_BLOCK) * DOT_COLUMNS, /* bytes of a panel */
    DOT_BLOCK4 = (2 + NARROW_BLOCK / 2) * DOT_COLUMNS
};

struct cpu_dots {
    const char *name;
    int (*is_here)(void);
    int mr;           /* rows that a full tile does at once */
    int open_rows;    /* for so many rows at most a panel is opened (dots_open.inc); 0: for none */
    int block_floats; /* of a rounded row, for each block of k */
    /* A row of k floats as y: the numbers of all blocks, their scales, what they take off. `more`:
     * what was added to weights, 128 or 8. */
    void (*round)(int k, int more, const float *x, float *y);
    /* As cpu_tile_fn: x holds rounded rows, k is their floats, and ldp says nothing. */
    cpu_tile_fn *tile_int8, *tile_int4;
};

extern const struct cpu_dots cpu_dots_portable, cpu_dots_avx2, cpu_dots_avx512, cpu_dots_vnni,
    cpu_dots_amx8;

static inline int cpu_blocks(int k) { return k / NARROW_BLOCK + (k % NARROW_BLOCK != 0); }

#define CPU_DOTS(id, rows, open)                                       \
    const struct cpu_dots cpu_dots_##id = {.name = #id,                \
                                           .is_here = is_here,         \
                                           .mr = rows,                 \
                                           .open_rows = open,          \
                                           .block_floats = DOT_FLOATS, \
                                           .round = dot_round,         \
                                           .tile_int8 = tile_int8,     \
                                           .tile_int4 = tile_int4}

#endif
