/* isa_amx.c - as avx512bf16, but pairs are multiplied by AMX: 16 rows by 16 columns in one
 * instruction. Compiled with its own flags (Makefile), so nothing here may run before is_here()
 * said yes, and no product of pairs before tiles_begin().
 *
 * A tile register is a square of SIDE lines of SIDE floats or pairs. The layout of pairs (isa.h) is
 * the one that the instruction wants: rows of x, and lines of a panel. Two squares of rows by two
 * of columns make four squares of sums, which stay in registers over the whole of k.
 *
 * Bits: SIDE places of k at a time, the instruction adds up the first numbers of all pairs in one
 * chain and the second ones in another, and then both to the sum. What isn't a whole square is
 * multiplied as one, with zeros, so neither m nor where a row stands makes a difference. */
#include <cpuid.h>
#include <math.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernels/base/narrow.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/vec.h"

enum { MR = 8, NV = 2, SIDE = 16 };

/* Linux keeps room for the registers of a process that asked for it, and stops one that didn't. To
 * ask twice does no harm. */
static int may_use_tiles(void) {
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

static int is_here(void) {
    enum { LEAF = 7, AMX_BF16 = 1 << 22, AMX_TILE = 1 << 24 };
    unsigned a, b, c, d;
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bf16") && __get_cpuid_count(LEAF, 0, &a, &b, &c, &d) &&
           (d & AMX_BF16) && (d & AMX_TILE) && may_use_tiles();
}

/* The instructions read memory that the compiler doesn't know of: what is in it has to be there. */
VEC void written(void) { __asm__ volatile("" ::: "memory"); }

/* All eight registers are squares. */
static void tiles_begin(void) {
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t line_bytes[16];
        uint8_t lines[16];
    } config = {.palette = 1};
    _Static_assert(sizeof config == 64, "the layout that LDTILECFG reads");
    for (int i = 0; i < 8; i++) {
        config.line_bytes[i] = SIDE * sizeof(float);
        config.lines[i] = SIDE;
    }
    written();
    _tile_loadconfig(&config);
}

static void tiles_end(void) { _tile_release(); }

#include "kernels/cpu/rows.inc"
#include "kernels/cpu/tile.inc"

#include "kernels/cpu/back.inc"

#include "kernels/cpu/pairs.inc"

/* ---- products of pairs ---- */

/* Registers: sums 0 to 3, squares of rows 4 and 5, of columns 6 and 7. */

struct lines {
    const float *p;
    size_t bytes; /* from one to the next */
};

/* A square of rows and places of x: itself, or in `room` where it isn't whole. */
static struct lines square(int rows, int places, const float *x, size_t ldx, float *room) {
    if (rows >= SIDE && places >= SIDE) return (struct lines){x, ldx * sizeof *x};
    for (size_t i = 0; i < SIDE && i < (size_t)rows; i++)
        v_store(room + i * SIDE, load_some(x + i * ldx, places));
    written();
    return (struct lines){room, SIDE * sizeof *x};
}

/* A panel, and its last lines with zeros behind them where they are less than SIDE. */
struct panel {
    struct lines whole;
    int k;
    const float *rest; /* (SIDE, 2 SIDE) */
};

/* The products of up to 2 SIDE rows join the sums. `two`: of more than SIDE. */
VEC void add_squares(const int two, int rows, const float *x, size_t ldx, const struct panel *w) {
    float room[2][SIDE * SIDE];
    const char *line = (const char *)w->whole.p;
    for (int p = 0; p < w->k; p += SIDE, x += SIDE, line += SIDE * w->whole.bytes) {
        int left = w->k - p;
        struct lines a = square(rows, left, x, ldx, room[0]), b = w->whole;
        b.p = (const float *)(const void *)line;
        if (left < SIDE) b = (struct lines){w->rest, 2 * SIDE * sizeof *w->rest};
        _tile_loadd(6, b.p, b.bytes);
        _tile_loadd(7, b.p + SIDE, b.bytes);
        _tile_loadd(4, a.p, a.bytes);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        if (!two) continue;
        a = square(rows - SIDE, left, x + SIDE * ldx, ldx, room[1]);
        _tile_loadd(5, a.p, a.bytes);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
}

VEC void load_sums(const int two, const float *y, size_t ldy) {
    written();
    _tile_loadd(0, y, ldy * sizeof *y);
    _tile_loadd(1, y + SIDE, ldy * sizeof *y);
    if (!two) return;
    _tile_loadd(2, y + SIDE * ldy, ldy * sizeof *y);
    _tile_loadd(3, y + SIDE * ldy + SIDE, ldy * sizeof *y);
}

VEC void store_sums(const int two, float *y, size_t ldy) {
    _tile_stored(0, y, ldy * sizeof *y);
    _tile_stored(1, y + SIDE, ldy * sizeof *y);
    if (!two) return;
    _tile_stored(2, y + SIDE * ldy, ldy * sizeof *y);
    _tile_stored(3, y + SIDE * ldy + SIDE, ldy * sizeof *y);
}

/* The ends without bias and act, of whole lines: what tile_rows does with them. */
VEC void pairs_end(const int adds, int rows, const float *sums, float scale, float *y, int ldy) {
    vf by = v_all(scale);
    for (int i = 0; i < rows; i++, sums += NV * V, y += ldy)
#pragma GCC unroll 2
        for (int j = 0; j < NV; j++) {
            vf s = v_load(sums + j * V) * by;
            v_store(y + j * V, adds ? s + v_load(y + j * V) : s);
        }
}

VEC void pairs_rows(const int two, int rows, const float *x, size_t ldx, const struct panel *w,
                    float *y, int ldy, int cols, const struct tile_end *end) {
    float sums[2 * SIDE * 2 * SIDE];
    int is_wide = cols == 2 * SIDE, is_whole = is_wide && rows == (two ? 2 : 1) * SIDE;
    int is_plain = is_wide && !end->bias && end->act == KERN_ACT_NONE;
    if (!end->go_on) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    } else if (is_whole) {
        load_sums(two, y, (size_t)ldy);
    } else {
        memset(sums, 0, sizeof sums);
        tile_begin_rows(rows, sums, y, ldy, cols);
        load_sums(two, sums, 2 * SIDE);
    }
    add_squares(two, rows, x, ldx, w);
    if (is_whole && is_plain && !end->accumulate && end->scale == 1.0f) {
        store_sums(two, y, (size_t)ldy);
        return;
    }
    store_sums(two, sums, 2 * SIDE);
    written();
    if (is_plain && end->accumulate)
        pairs_end(1, rows, sums, end->scale, y, ldy);
    else if (is_plain)
        pairs_end(0, rows, sums, end->scale, y, ldy);
    else
        tile_end_rows(rows, sums, y, ldy, cols, end);
}

static void tile_pairs(int m, int k, const float *x, int ldx, const float *panel, int ldp, float *y,
                       int ldy, int cols, const struct tile_end *end) {
    _Static_assert(NV * V == 2 * SIDE, "a panel is two squares wide");
    float rest[SIDE * 2 * SIDE];
    size_t ld = (size_t)ldx, whole = (size_t)(k / SIDE * SIDE), left = (size_t)k - whole;
    if (left > 0) memset(rest, 0, sizeof rest);
    for (size_t i = 0; i < left; i++)
        memcpy(rest + i * 2 * SIDE, panel + (whole + i) * (size_t)ldp, 2 * SIDE * sizeof *rest);
    written();
    struct panel w = {{panel, (size_t)ldp * sizeof *panel}, k, rest};
    for (; m > SIDE; m -= 2 * SIDE, x += 2 * SIDE * ld, y += 2 * SIDE * (size_t)ldy)
        pairs_rows(1, m < 2 * SIDE ? m : 2 * SIDE, x, ld, &w, y, ldy, cols, end);
    if (m > 0) pairs_rows(0, m, x, ld, &w, y, ldy, cols, end);
}

CPU_ISA(amx, 2 * SIDE, .begin = tiles_begin, .end = tiles_end, .tile_pairs = tile_pairs,
        .pair_line = pair_line, .pair_rows = pair_rows, .exp_sum_pairs = exp_sum_pairs,
        .attn_slopes_pairs = attn_slopes_pairs);
