/* narrow.c - weights in less than f32: how they are packed. Their products are the ordinary ones,
 * widened in registers (tile.inc): with few rows reading weights is what takes the time, and these
 * are fewer bytes.
 *
 * A panel holds nr outputs, place by place, as one of floats does:
 *     bf16, f16  two bytes each
 *     int8       block by block (kernels/base/narrow.h): nr scales, and NARROW_BLOCK places of nr
 *                bytes
 *     int4       the same with two places to a byte, the first in its lower half, each + 8
 * A last block has as many places as are left.
 */
#include <string.h>

#include "kernels/base/half.h"
#include "kernels/base/mem.h"
#include "kernels/base/narrow.h"
#include "kernels/cpu/cpu_kern.h"

static int is_narrow(enum kern_keep keep) {
    return keep >= KERN_KEEP_BF16 && keep != KERN_KEEP_FP8;
}

static int is_16bit(enum kern_keep keep) { return keep == KERN_KEEP_BF16 || keep == KERN_KEEP_F16; }

size_t cpu_narrow_bytes(enum kern_keep keep, size_t nr, size_t places) {
    size_t blocks = places / NARROW_BLOCK + (places % NARROW_BLOCK != 0), lines = places, bytes;
    if (!is_narrow(keep)) return 0;
    if (keep == KERN_KEEP_INT4) lines = places / 2 + places % 2;
    /* NARROW_BLOCK is even, so only the last block may have half a byte to spare. */
    lines = is_16bit(keep) ? 2 * lines : lines + 2 * blocks;
    return mem_mul(lines, nr, &bytes) ? bytes : 0;
}

cpu_tile_fn *cpu_narrow_tile(const struct cpu_isa *isa, enum kern_keep keep) {
    switch (keep) {
    case KERN_KEEP_BF16: return isa->tile_bf16;
    case KERN_KEEP_F16: return isa->tile_f16;
    case KERN_KEEP_INT8: return isa->tile_int8;
    case KERN_KEEP_INT4: return isa->tile_int4;
    default: return isa->tile;
    }
}

/* Column `column` of a panel becomes the row x. The panel was zeros. */
static void narrow_set_16bit(enum kern_keep keep, char *panel, size_t nr, size_t column,
                             const float *x, size_t k) {
    for (size_t c = 0; c < k; c++) {
        uint16_t h = keep == KERN_KEEP_BF16 ? half_to_bf16(x[c]) : half_to_f16(x[c]);
        memcpy(panel + 2 * (c * nr + column), &h, sizeof h);
    }
}

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

struct narrow_job {
    struct kern *k;
    const struct kern_mat *m;
    const struct kern_mat_src *src;
};

/* The rows of one panel. */
static void narrow_task(void *ctx, int task, int thread) {
    const struct narrow_job *j = ctx;
    const struct kern_mat *m = j->m;
    size_t nr = (size_t)j->k->isa->nr, k = (size_t)m->k, row = 0;
    size_t from = (size_t)task * nr, to = from + nr, bytes = cpu_narrow_bytes(m->keep, nr, k);
    char *panel = (char *)m->data + (size_t)task * bytes;
    float *line = j->k->private[thread].p;
    for (int i = 0; i < j->src->n_parts; row += (size_t)j->src->parts[i++].n) {
        const struct kern_mat_part *part = &j->src->parts[i];
        size_t end = row + (size_t)part->n < to ? row + (size_t)part->n : to;
        for (size_t r = row > from ? row : from; r < end; r++) {
            cpu_part_row(part, r - row, k, line);
            if (is_16bit(m->keep))
                narrow_set_16bit(m->keep, panel, nr, r - from, line, k);
            else
                narrow_set_blocks(m->keep == KERN_KEEP_INT8 ? 8 : 4, panel, nr, r - from, line, k);
        }
    }
}

void cpu_narrow_pack(struct kern *k, const struct kern_mat *m, const struct kern_mat_src *src) {
    for (int i = 0; i < pool_threads(k->pool); i++)
        (void)cpu_scratch(k, &k->private[i], (size_t)m -> k);
    pool_run(k->pool, cpu_round_up(m->n, k->isa->nr) / k->isa->nr, narrow_task,
             &(struct narrow_job){k, m, src});
}
