/* gemm_back.c - the way back through a product y = x W^T.
 *
 * dx = dy W is a product by the pack of W's columns. dW = dy^T x is one too, of a kind: a block of
 * KERN_BACK_ROWS rows is packed, dy the other way round as lines (n, rows) and x as panels (rows,
 * nr), and lines times panels is added to dW. So both have the tile of the forward product.
 *
 * Order: a block of rows is one chain of the tile, and a task, which is some lines by some panels,
 * adds block after block. How many blocks are packed at once makes no difference.
 */
#include "kernels/cpu/cpu_kern.h"

/* Of the sum over n in gemm_dx at a time, so that a panel stays in the cache next to the core. */
enum { DEEP = 640 };

/* All of n in equal parts, none of them above DEEP. */
static int back_deep(int n) {
    int parts = (n + DEEP - 1) / DEEP;
    return parts > 1 ? (n + parts - 1) / parts : n;
}

void cpu_gemm_dx(struct kern *k, const struct kern_gemm_dx *a) {
    const struct kern_mat *w = a->w;
    must(w->back);
    cpu_count(k, (uint64_t)a->m * (uint64_t)w->n * (uint64_t)w->k);
    const struct cpu_product p = {.m = a->m,
                                  .n = w->k,
                                  .k = w->n,
                                  .k_packed = w->n_places,
                                  .deep = back_deep(w->n),
                                  .x = cpu_f32(a->dy),
                                  .ldx = a->lddy,
                                  .panels = w->back,
                                  .accumulate = a->accumulate,
                                  .y = cpu_f32(a->dx),
                                  .ldy = a->lddx};
    if (w->is_pairs)
        cpu_multiply_pairs(k, &p);
    else
        cpu_multiply(k, &p);
}

/* ---- dW ---- */

enum {
    LINE_APART = 16,         /* floats between lines; not all in the same places of a cache */
    PACK_COLUMNS = 64,       /* that one packing task takes of dy or x */
    LINE_TILES = 4,          /* times mr: lines of one task */
    TASK_COLUMNS = 256,      /* of dW */
    PACKED_FLOATS = 1 << 18, /* that are packed at once, if that is a block at least */
};

struct dw_job {
    struct kern *k;
    const struct kern_gemm_dw *a;
    cpu_tile_fn *tile;
    int row0, rows;           /* of this turn */
    int places, line;         /* of a block's rows in a panel; floats from one line to the next */
    float *lines;             /* (blocks, n, line) */
    float *panels;            /* (blocks, panels, places, nr) */
    int line_tasks, x_tasks;  /* of packing a block */
    int tile_lines, k_padded; /* lines of a tile task; whole panels of k */
    int column_tasks;
};

/* Rows of dy or x as they are packed, `ld` floats apart: themselves, or their pairs. */
static const float *dw_rows(const struct dw_job *j, int thread, int *rows, int cols, const float *x,
                            int *ld) {
    float *pairs = j->k->private[thread].p;
    if (!j->k->isa->pair_rows) return x;
    j->k->isa->pair_rows(*rows, cols, x, *ld, pairs, PACK_COLUMNS);
    *rows = cpu_pairs(*rows);
    *ld = PACK_COLUMNS;
    return pairs;
}

/* Some columns of a block of dy or x. */
static void dw_pack(void *ctx, int task, int thread) {
    const struct dw_job *j = ctx;
    const struct kern_gemm_dw *a = j->a;
    int per_block = j->line_tasks + j->x_tasks, block = task / per_block, at = task % per_block;
    int from = block * KERN_BACK_ROWS, rows = j->rows - from;
    if (rows > KERN_BACK_ROWS) rows = KERN_BACK_ROWS;
    size_t row = (size_t)(j->row0 + from);
    if (at < j->line_tasks) {
        int col = at * PACK_COLUMNS, cols = a->n - col < PACK_COLUMNS ? a->n - col : PACK_COLUMNS;
        int ld = a->lddy;
        const float *dy = cpu_f32(a->dy) + row * (size_t)a->lddy + col;
        dy = dw_rows(j, thread, &rows, cols, dy, &ld);
        j->k->isa->transpose(
            rows, cols, dy, ld,
            j->lines + ((size_t)block * (size_t)a->n + (size_t)col) * (size_t)j->line, j->line);
    } else {
        int col = (at - j->line_tasks) * PACK_COLUMNS, ld = a->ldx;
        int cols = a->k - col < PACK_COLUMNS ? a->k - col : PACK_COLUMNS;
        const float *x = cpu_f32(a->x) + row * (size_t)a->ldx + col;
        size_t places = (size_t)j->places;
        x = dw_rows(j, thread, &rows, cols, x, &ld);
        j->k->isa->panels(rows, cols, x, ld,
                          j->panels + ((size_t)block * (size_t)j->k_padded + (size_t)col) * places,
                          (size_t)j->k->isa->nr * places);
    }
}

/* Some rows and columns of dW, over all blocks of this turn. */
static void dw_tiles(void *ctx, int task, int thread) {
    (void)thread;
    const struct dw_job *j = ctx;
    const struct kern_gemm_dw *a = j->a;
    int line = task / j->column_tasks * j->tile_lines, nr = j->k->isa->nr;
    int col0 = task % j->column_tasks * TASK_COLUMNS, col1 = col0 + TASK_COLUMNS;
    int lines = a->n - line < j->tile_lines ? a->n - line : j->tile_lines;
    float *dw = cpu_f32(a->dw) + (size_t)line * (size_t)a->lddw;
    for (int block = 0, at = 0; at < j->rows; block++, at += KERN_BACK_ROWS) {
        int rows = j->rows - at < KERN_BACK_ROWS ? j->rows - at : KERN_BACK_ROWS;
        struct tile_end end = {.accumulate = a->accumulate || j->row0 + at > 0, .scale = 1.0f};
        size_t ld = (size_t)j->line, places = (size_t)j->places;
        const float *x = j->lines + ((size_t)block * (size_t)a->n + (size_t)line) * ld;
        const float *panels = j->panels + (size_t)block * (size_t)j->k_padded * places;
        if (j->places < KERN_BACK_ROWS) rows = cpu_pairs(rows);
        for (int col = col0; col < col1 && col < a->k; col += nr)
            j->tile(lines, rows, x, j->line, panels + (size_t)col * places, nr, dw + col, a->lddw,
                    a->k - col < nr ? a->k - col : nr, &end);
    }
}

/* No rows: nothing to add. */
static void dw_empty(const struct kern_gemm_dw *a) {
    for (int i = 0; !a->accumulate && i < a->n; i++)
        for (int c = 0; c < a->k; c++)
            cpu_f32(a->dw)[(size_t)i * (size_t)a->lddw + (size_t)c] = 0;
}

void cpu_gemm_dw(struct kern *k, const struct kern_gemm_dw *a) {
    cpu_count(k, (uint64_t)a->m * (uint64_t)a->n * (uint64_t)a->k);
    if (a->m == 0) dw_empty(a);
    if (a->m == 0 || a->n == 0 || a->k == 0) return;
    struct dw_job j = {.k = k, .a = a, .tile_lines = LINE_TILES * k->isa->mr};
    int is_pairs = k->isa->tile_pairs != NULL;
    j.tile = is_pairs ? k->isa->tile_pairs : k->isa->tile;
    j.places = is_pairs ? cpu_pairs(KERN_BACK_ROWS) : KERN_BACK_ROWS;
    j.line = j.places + LINE_APART;
    j.k_padded = cpu_round_up(a->k, k->isa->nr);
    j.line_tasks = (a->n + PACK_COLUMNS - 1) / PACK_COLUMNS;
    j.x_tasks = (a->k + PACK_COLUMNS - 1) / PACK_COLUMNS;
    j.column_tasks = (a->k + TASK_COLUMNS - 1) / TASK_COLUMNS;
    size_t block = (size_t)a->n * (size_t)j.line + (size_t)j.k_padded * (size_t)j.places;
    int all = (a->m + KERN_BACK_ROWS - 1) / KERN_BACK_ROWS, most = (int)(PACKED_FLOATS / block);
    if (most > all) most = all;
    if (most < 1) most = 1;
    j.lines = cpu_scratch(k, &k->shared, (size_t)most * block);
    j.panels = j.lines + (size_t)most * (size_t)a->n * (size_t)j.line;
    for (; j.row0 < a->m; j.row0 += most * KERN_BACK_ROWS) {
        j.rows = a->m - j.row0 < most * KERN_BACK_ROWS ? a->m - j.row0 : most * KERN_BACK_ROWS;
        int blocks = (j.rows + KERN_BACK_ROWS - 1) / KERN_BACK_ROWS;
        pool_run(k->pool, blocks * (j.line_tasks + j.x_tasks), dw_pack, &j);
        pool_run(k->pool, (a->n + j.tile_lines - 1) / j.tile_lines * j.column_tasks, dw_tiles, &j);
    }
}

/* ---- sums of columns ---- */

struct colsum_job {
    struct kern *k;
    const struct kern_colsum *a;
};

static void colsum_task(void *ctx, int task, int thread) {
    (void)thread;
    const struct colsum_job *j = ctx;
    const struct kern_colsum *a = j->a;
    int col = task * PACK_COLUMNS, cols = a->n - col < PACK_COLUMNS ? a->n - col : PACK_COLUMNS;
    float *db = cpu_f32(a->db) + col;
    for (int c = 0; !a->accumulate && c < cols; c++)
        db[c] = 0;
    for (int row = 0; row < a->m; row += KERN_BACK_ROWS)
        j->k->isa->sum_rows(a->m - row < KERN_BACK_ROWS ? a->m - row : KERN_BACK_ROWS, cols,
                            cpu_f32(a->dy) + (size_t)row * (size_t)a->lddy + col, a->lddy, db);
}

void cpu_colsum(struct kern *k, const struct kern_colsum *a) {
    cpu_count(k, 0);
    pool_run(k->pool, (a->n + PACK_COLUMNS - 1) / PACK_COLUMNS, colsum_task,
             &(struct colsum_job){k, a});
}
