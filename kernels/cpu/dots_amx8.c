/* dots_amx8.c - as vnni, but whole squares of SIDE rows by SIDE columns are multiplied by AMX, a
 * block in one instruction. Compiled with its own flags (Makefile), so nothing here may run before
 * is_here() said yes.
 *
 * A square's sums go through memory to the vector registers, where the blocks are joined. */
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernels/cpu/dots.h"
#include "kernels/cpu/vec.h"

enum { MR = 6, SIDE = 16 };

static int is_here(void) {
    enum { LEAF = 7, AMX_TILE = 1 << 24, AMX_INT8 = 1 << 25 };
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 }; /* as in isa_amx.c */
    unsigned a, b, c, d;
    return cpu_dots_vnni.is_here() && __get_cpuid_count(LEAF, 0, &a, &b, &c, &d) &&
           (d & AMX_INT8) && (d & AMX_TILE) &&
           syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

#include "kernels/cpu/dots.inc"

/* Registers: sums 0 to 3, rows 4 and 5, columns 6 and 7. */
struct squares {
    uint8_t palette, start_row, reserved[14];
    uint16_t line_bytes[16];
    uint8_t lines[16];
};
_Static_assert(sizeof(struct squares) == 64, "the layout that LDTILECFG reads");

static void squares_set(struct squares *s) {
    *s = (struct squares){.palette = 1};
    for (int i = 0; i < 8; i++) {
        s->line_bytes[i] = i == 4 || i == 5 ? NARROW_BLOCK : SIDE * sizeof(float);
        s->lines[i] = i < 6 ? SIDE : DOT_LINES;
    }
}

/* The instructions read memory that the compiler doesn't know of: what is in it has to be there. */
VEC void written(void) { __asm__ volatile("" ::: "memory"); }

/* A block of int4 as one of int8 has it, but with 8 added to a weight. */
VEC void open_halves(const char *panel, vi *to) {
    for (int line = 0; line < DOT_LINES;
         line += 2, panel += DOT_COLUMNS * DOT_PLACES, to += 2 * NV) {
        vi w[NV];
        memcpy(w, panel, sizeof w);
        for (int j = 0; j < NV; j++) {
            to[j] = w[j] & 0x0f0f0f0f;
            to[NV + j] = w[j] >> 4 & 0x0f0f0f0f;
        }
    }
}

enum { AHEAD = 4 }; /* blocks whose sums wait in memory */

/* The sums of a block, of SIDE rows at x and of the columns whose numbers are at `panel`. */
#define SQUARE(sums, rows, columns)                          \
    do {                                                     \
        _tile_zero(sums);                                    \
        _tile_loadd(rows, q, (size_t)ldx * sizeof *q);       \
        _tile_loadd(columns, line, DOT_COLUMNS *DOT_PLACES); \
        _tile_dpbsud(sums, rows, columns);                   \
        _tile_stored(sums, to, SIDE * sizeof *to);           \
    } while (0)

/* Of `ahead`, 1 or AHEAD, blocks from b on. */
VEC void square_sums(const int bits, const int ahead, int b, const float *x, int ldx,
                     const char *panel, int column, int32_t *to) {
    vi open[DOT_LINES * NV];
    const float *q = x + (size_t)b * DOT_NUMBERS;
    panel += (size_t)b * (bits == 8 ? DOT_BLOCK8 : DOT_BLOCK4) + 2 * DOT_COLUMNS;
#pragma GCC unroll 4
    for (int i = 0; i < ahead; i++) {
        const char *line = panel + DOT_PLACES * column;
        if (bits == 4) {
            open_halves(panel, open);
            line = (const char *)open + DOT_PLACES * column;
        }
        written();
        if (i == 0) SQUARE(0, 4, 6);
        if (i == 1) SQUARE(1, 5, 7);
        if (i == 2) SQUARE(2, 4, 6);
        if (i == 3) SQUARE(3, 5, 7);
        q += DOT_NUMBERS;
        panel += bits == 8 ? DOT_BLOCK8 : DOT_BLOCK4;
        to += SIDE * SIDE;
    }
    written();
}

VEC void square_join(int blocks, int b, const float *x, int ldx, const char *scales,
                     const int32_t *sums, vf acc[SIDE]) {
    const float *by = x + (size_t)blocks * DOT_NUMBERS + b;
    vf scale = v_load_bf16(scales);
#pragma GCC unroll 16
    for (int i = 0; i < SIDE; i++, by += ldx) {
        vi sum, less = (vi)v_all_bits(by + blocks);
        memcpy(&sum, sums + i * SIDE, sizeof sum);
        acc[i] = acc[i] + (scale * v_all(*by)) * v_from_ints(sum + less);
    }
}

/* SIDE rows by SIDE columns of a panel, from `column` on. */
VEC void square(const int bits, int blocks, const float *x, int ldx, const char *panel, int column,
                float *to) {
    enum { BLOCK = SIDE * SIDE };
    const size_t step = bits == 8 ? DOT_BLOCK8 : DOT_BLOCK4;
    const char *scales = panel + 2 * column;
    int32_t sums[AHEAD * BLOCK] __attribute__((aligned(64)));
    vf acc[SIDE] = {{0}};
    int b = 0;
    for (; b + AHEAD <= blocks; b += AHEAD) {
        square_sums(bits, AHEAD, b, x, ldx, panel, column, sums);
        for (int i = 0; i < AHEAD; i++, scales += step)
            square_join(blocks, b + i, x, ldx, scales, sums + i * BLOCK, acc);
    }
    for (; b < blocks; b++, scales += step) {
        square_sums(bits, 1, b, x, ldx, panel, column, sums);
        square_join(blocks, b, x, ldx, scales, sums, acc);
    }
#pragma GCC unroll 16
    for (int i = 0; i < SIDE; i++)
        v_store(to + i * NV * V, acc[i]);
}

VEC void square_tiles(const int bits, int m, int k, const float *x, int ldx, const float *panel,
                      float *y, int ldy, int cols, const struct tile_end *end) {
    struct squares mine, before;
    const char *p = (const char *)panel;
    if (m >= SIDE) {
        squares_set(&mine);
        written();
        _tile_storeconfig(&before);
        _tile_loadconfig(&mine);
        for (; m >= SIDE; m -= SIDE, x += SIDE * (size_t)ldx, y += SIDE * (size_t)ldy) {
            float sums[SIDE * NV * V];
            for (int c = 0; c < DOT_COLUMNS && c < cols; c += SIDE)
                square(bits, k / DOT_FLOATS, x, ldx, p, c, sums + c);
            tile_end_rows(SIDE, sums, y, ldy, cols, end);
        }
        _tile_loadconfig(&before);
    }
    dot_tiles(bits, m, k, x, ldx, panel, y, ldy, cols, end);
}

#define SQUARE_TILE(name, bits)                                                                    \
    static void name(int m, int k, const float *x, int ldx, const float *panel, int ldp, float *y, \
                     int ldy, int cols, const struct tile_end *end) {                              \
        (void)ldp;                                                                                 \
        square_tiles(bits, m, k, x, ldx, panel, y, ldy, cols, end);                                \
    }
SQUARE_TILE(tile_int8, 8)
SQUARE_TILE(tile_int4, 4)

CPU_DOTS(amx8, SIDE, 0);
