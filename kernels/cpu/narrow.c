/* narrow.c - weights in less than f32: how they are packed. Their products are the ordinary ones,
 * widened in registers (tile.inc): with few rows reading weights is what takes the time, and these
 * are fewer bytes.
 *
 * A panel holds nr outputs, place by place, as one of floats does:
 *     bf16, f16  two bytes each
 *     int8       block by block (kernels/base/narrow.h): nr scales, and NARROW_BLOCK places of nr
 *                bytes
 *     int4       the same with two places to a byte, the first in its lower half, each + 8
 * A last block has as many places as are left. Those for rows in 8 bits are others: dots.h.
 */
#include <string.h>

#include "kernels/base/half.h"
#include "kernels/base/mem.h"
#include "kernels/base/narrow.h"
#include "kernels/cpu/cpu_kern.h"

static int is_narrow(enum kern_keep keep) {
    return keep >= KERN_KEEP_BF16 && keep != KERN_KEEP_FP8;
}

int cpu_columns(const struct cpu_isa *isa, enum kern_keep keep) {
    return cpu_is_dots(keep) ? DOT_COLUMNS : isa->nr;
}

static int is_16bit(enum kern_keep keep) { return keep == KERN_KEEP_BF16 || keep == KERN_KEEP_F16; }

size_t cpu_narrow_bytes(enum kern_keep keep, size_t nr, size_t places) {
    size_t blocks = places / NARROW_BLOCK + (places % NARROW_BLOCK != 0), lines = places, bytes;
    if (!is_narrow(keep)) return 0;
    if (cpu_is_dots(keep)) {
        size_t block = keep == KERN_KEEP_INT8X8 ? DOT_BLOCK8 : DOT_BLOCK4;
        return mem_mul(blocks, block, &bytes) ? bytes : 0;
    }
    if (keep == KERN_KEEP_INT4) lines = places / 2 + places % 2;
    /* NARROW_BLOCK is even, so only the last block may have half a byte to spare. */
    lines = is_16bit(keep) ? 2 * lines : lines + 2 * blocks;
    return mem_mul(lines, nr, &bytes) ? bytes : 0;
}

cpu_tile_fn *cpu_narrow_tile(const struct kern *k, enum kern_keep keep) {
    switch (keep) {
    case KERN_KEEP_BF16: return k->isa->tile_bf16;
    case KERN_KEEP_F16: return k->isa->tile_f16;
    case KERN_KEEP_INT8: return k->isa->tile_int8;
    case KERN_KEEP_INT4: return k->isa->tile_int4;
    case KERN_KEEP_INT8X8: return k->dots->tile_int8;
    case KERN_KEEP_INT4X8: return k->dots->tile_int4;
    default: return k->isa->tile;
    }
}

cpu_line_fn *cpu_narrow_line(const struct kern *k, enum kern_keep keep) {
    if (keep == KERN_KEEP_BF16) return k->isa->line_bf16;
    if (keep == KERN_KEEP_F16) return k->isa->line_f16;
    return is_narrow(keep) ? NULL : k->isa->line;
}

cpu_unpack_fn *cpu_narrow_unpack(const struct kern *k, enum kern_keep keep) {
    switch (keep) {
    case KERN_KEEP_BF16: return k->isa->unpack_bf16;
    case KERN_KEEP_F16: return k->isa->unpack_f16;
    case KERN_KEEP_INT8: return k->isa->unpack_int8;
    case KERN_KEEP_INT4: return k->isa->unpack_int4;
    default: return NULL;
    }
}

/* Column `column` of a panel becomes the row x. */
static void narrow_set_16bit(enum kern_keep keep, char *panel, size_t nr, size_t column,
                             const float *x, size_t k) {
    for (size_t c = 0; c < k; c++) {
        uint16_t h = keep == KERN_KEEP_BF16 ? half_to_bf16(x[c]) : half_to_f16(x[c]);
        memcpy(panel + 2 * (c * nr + column), &h, sizeof h);
    }
}

/* The same of a panel that was zeros. */
static void narrow_set_blocks(int bits, char *panel, size_t nr, size_t column, const float *x,
                              size_t k) {
    int8_t q[NARROW_BLOCK];
    for (size_t at = 0; at < k; at += NARROW_BLOCK) {
        size_t n = k - at < NARROW_BLOCK ? k - at : NARROW_BLOCK;
        uint16_t scale = narrow_block(bits, x + at, (int)n, q);
        memcpy(panel + 2 * column, &scale, sizeof scale);
        panel += 2 * nr;
        for (size_t i = 0; i < n; i++) {
            char *to = panel + (bits == 8 ? i : i / 2) * nr + column;
            if (bits == 8)
                *to = q[i];
            else
                *to = (char)(*to | (q[i] + 8) << (i % 2 ? 4 : 0));
        }
        panel += (bits == 8 ? n : (n + 1) / 2) * nr;
    }
}

/* The same for rows in 8 bits: what is added to a weight keeps it from being negative. */
static void narrow_set_dots(int bits, char *panel, size_t column, const float *x, size_t k) {
    int8_t q[NARROW_BLOCK];
    for (size_t at = 0; at < k; at += NARROW_BLOCK) {
        size_t n = k - at < NARROW_BLOCK ? k - at : NARROW_BLOCK;
        uint16_t scale = narrow_block(bits, x + at, (int)n, q);
        memcpy(panel + 2 * column, &scale, sizeof scale);
        char *to = panel + 2 * DOT_COLUMNS + DOT_PLACES * column;
        for (size_t i = 0; i < n; i++) {
            size_t line = i / DOT_PLACES, place = i % DOT_PLACES;
            int half = bits == 4 && line % 2;
            if (bits == 4) line /= 2;
            char *cell = to + line * DOT_COLUMNS * DOT_PLACES + place;
            *cell = (char)(*cell | (bits == 8 ? q[i] + 128 : (q[i] + 8) << 4 * half));
        }
        panel += bits == 8 ? DOT_BLOCK8 : DOT_BLOCK4;
    }
}

static void narrow_set(enum kern_keep keep, char *panel, size_t nr, size_t column, const float *x,
                       size_t k) {
    int bits = keep == KERN_KEEP_INT8 || keep == KERN_KEEP_INT8X8 ? 8 : 4;
    if (is_16bit(keep))
        narrow_set_16bit(keep, panel, nr, column, x, k);
    else if (cpu_is_dots(keep))
        narrow_set_dots(bits, panel, column, x, k);
    else
        narrow_set_blocks(bits, panel, nr, column, x, k);
}

struct narrow_job {
    struct kern *k;
    const struct kern_mat *m;
    const struct kern_mat_src *src;
};

/* The rows of one panel. */
static void narrow_task(void *ctx, int task, int thread) {
    const struct narrow_job *j = ctx;
    const struct kern_mat *m = j->m;
    size_t nr = (size_t)cpu_columns(j->k->isa, m->keep), k = (size_t)m->k, row = 0;
    size_t from = (size_t)task * nr, to = from + nr, bytes = cpu_narrow_bytes(m->keep, nr, k);
    char *panel = (char *)m->data + (size_t)task * bytes;
    float *line = j->k->private[thread].p;
    for (int i = 0; i < j->src->n_parts; row += (size_t)j->src->parts[i++].n) {
        const struct kern_mat_part *part = &j->src->parts[i];
        size_t end = row + (size_t)part->n < to ? row + (size_t)part->n : to;
        for (size_t r = row > from ? row : from; r < end; r++) {
            cpu_part_row(part, r - row, k, line);
            narrow_set(m->keep, panel, nr, r - from, line, k);
        }
    }
}

void cpu_narrow_set(const struct cpu_isa *isa, const struct kern_mat *m, int row, const float *x) {
    size_t nr = (size_t)isa->nr, k = (size_t)m->k, at = (size_t)row;
    char *panel = (char *)m->data + at / nr * cpu_narrow_bytes(m->keep, nr, k);
    narrow_set_16bit(m->keep, panel, nr, at % nr, x, k);
}

void cpu_narrow_pack(struct kern *k, const struct kern_mat *m, const struct kern_mat_src *src) {
    for (int i = 0; i < pool_threads(k->pool); i++)
        (void)cpu_scratch(k, &k->private[i], (size_t)m -> k);
    int nr = cpu_columns(k->isa, m->keep);
    pool_run(k->pool, cpu_round_up(m->n, nr) / nr, narrow_task, &(struct narrow_job){k, m, src});
}
