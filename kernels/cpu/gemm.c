/* gemm.c - packing weights and multiplying rows with them.
 *
 * A matrix is cut into panels of nr outputs, k-major inside, so that the inner loop reads it from
 * front to back. Work is cut into (row block, run of panels) tasks: a row block small enough that
 * its rows stay in the second-level cache while every panel passes over it, and a long panel is
 * cut into parts that stay in the first while all those rows pass over them. Bits: see isa.h; which
 * task computes an output does not matter.
 *
 * A matrix that training goes back through is packed once more, by columns: panels of nr inputs,
 * with the outputs down their length (gemm_back.c).
 *
 * An fp8 matrix is packed as the floats s(w) q(w) that its codes mean, and x goes through scratch
 * memory as s(x) q(x). So the product is the ordinary one: nothing is gained but the answers that
 * fp8 gives. Products in bf16 are in pairs.c, those in 8 bits in dots.c, weights that are narrower
 * than f32 in narrow.c. Few rows meet narrow panels as they are, widened in registers. More rows
 * meet them as floats: each part is unpacked once for all rows of a task, with the same bits. Whole
 * numbers may be opened for many rows, too (dots_open.inc).
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/half.h"
#include "kernels/base/mem.h"
#include "kernels/cpu/cpu_kern.h"

enum {
    BLOCK_FLOATS = 64 * 1024, /* of x in a row block: a quarter of a megabyte, */
    BLOCK_ROWS = 64,          /* but as many rows: weights come from memory once for each block */
    LONG = 768,               /* places: longer panels are cut into parts, */
    PART_FLOATS = 8 * 1024,   /* of which each is 32 KiB of floats */
    UNPACK_TILES = 2,         /* of rows: more than those meet narrow panels as floats */
    RUNS = 2,                 /* of panels, for each thread, where rows are too few to be shared */
    ROW_RUNS = 8              /* of one row: who is done first shall not wait long */
};

void cpu_part_row(const struct kern_mat_part *p, size_t row, size_t n, float *to) {
    const char *from = (const char *)p->data + row * n * kern_dtype_bytes(p->dtype);
    if (p->dtype == KERN_F32) {
        memcpy(to, from, n * sizeof *to);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, from + 2 * i, sizeof h);
        to[i] = p->dtype == KERN_BF16 ? half_from_bf16(h) : half_from_f16(h);
    }
}

/* Row `row` of the matrix, into both packs where there are two. */
static void pack_row(const struct cpu_isa *isa, const struct kern_mat *m, size_t row,
                     const float *line) {
    size_t nr = (size_t)isa->nr, k = (size_t)m->k;
    float *to = m->data + row / nr * nr * k + row % nr;
    for (size_t c = 0; c < k; c++)
        to[c * nr] = line[c];
    if (m->back) isa->panels(1, m->k, line, m->k, m->back + row * nr, (size_t)m->n * nr);
}

/* line: one of k floats, and room for its pairs where the matrix is of pairs. */
static void pack(const struct cpu_isa *isa, const struct kern_mat_src *src, float *line,
                 const struct kern_mat *m) {
    size_t k = (size_t)src->k, row = 0;
    for (int i = 0; i < src->n_parts; i++) {
        for (int r = 0; r < src->parts[i].n; r++, row++) {
            cpu_part_row(&src->parts[i], (size_t)r, k, line);
            if (m->is_fp8) half_e4m3_round(line, k, line);
            if (m->is_pairs)
                cpu_pairs_set(isa, m, (int)row, 1, line, src->k, line + k);
            else
                pack_row(isa, m, row, line);
        }
    }
}

/* Bytes of a pack of so many columns, as kern_mat_bytes counts: pairs use half. 0: too many. */
static size_t pack_bytes(size_t nr, size_t columns, size_t depth) {
    size_t floats, bytes;
    if (columns > INT_MAX - nr || !mem_mul((columns + nr - 1) / nr * nr, depth, &floats) ||
        !mem_mul(floats, sizeof(float), &bytes))
        return 0;
    return bytes ? bytes : 1;
}

/* The 16 bits that a wide matrix of one such type is stored in: products by them are as fast
 * (docs/benchmarks.md). Of any other f32. */
static enum kern_keep kept_own(const struct kern_mat_src *src) {
    if (src->with_back || src->k < CPU_WIDE || src->n_parts < 1) return KERN_KEEP_F32;
    enum kern_dtype type = src->parts[0].dtype;
    for (int i = 1; i < src->n_parts; i++)
        if (src->parts[i].dtype != type) return KERN_KEEP_F32;
    return type == KERN_BF16 ? KERN_KEEP_BF16 : type == KERN_F16 ? KERN_KEEP_F16 : KERN_KEEP_F32;
}

/* What a matrix is kept in. With pairs all numbers are bf16 anyway. */
static enum kern_keep kept(const struct cpu_isa *isa, const struct kern_mat_src *src) {
    if (isa->tile_pairs && (src->keep == KERN_KEEP_OWN || src->keep == KERN_KEEP_BF16))
        return KERN_KEEP_F32;
    return src->keep == KERN_KEEP_OWN ? kept_own(src) : src->keep;
}

/* Bytes of the pack that serves products. 0: too many. */
static size_t front_bytes(const struct cpu_isa *isa, const struct kern_mat_src *src, size_t n) {
    enum kern_keep keep = kept(isa, src);
    size_t nr = (size_t)cpu_columns(isa, keep), panel = cpu_narrow_bytes(keep, nr, (size_t)src->k);
    size_t bytes;
    if (!panel) return pack_bytes(nr, n, (size_t)src->k);
    return n <= INT_MAX - nr && mem_mul((n + nr - 1) / nr, panel, &bytes) ? bytes + !bytes : 0;
}

static size_t gemm_rows_of(const struct kern_mat_src *src) {
    size_t n = 0;
    for (int i = 0; i < src->n_parts; i++)
        n += (size_t)src->parts[i].n;
    return n;
}

uint64_t cpu_mat_bytes(const struct kern *k, const struct kern_mat_src *src) {
    size_t nr = (size_t)k->isa->nr, n = gemm_rows_of(src), deep = (size_t)src->k;
    size_t bytes = front_bytes(k->isa, src, n);
    size_t back = src->with_back ? pack_bytes(nr, deep, n) : 1;
    if (!bytes || !back) return UINT64_MAX;
    return sizeof(struct kern_mat) + bytes + (src->with_back ? back : 0);
}

int cpu_mat_new(struct kern *k, const struct kern_mat_src *src, struct kern_mat **out,
                struct err *e) {
    *out = NULL;
    must(src->keep == KERN_KEEP_OWN || !src->with_back);
    size_t nr = (size_t)k->isa->nr, n = gemm_rows_of(src), deep = (size_t)src->k;
    size_t bytes = front_bytes(k->isa, src, n);
    size_t back = src->with_back ? pack_bytes(nr, deep, n) : 1;
    if (!bytes || !back) return err_set(e, E_TOO_BIG, "a %zux%d matrix", n, src->k);
    struct kern_mat *m = blocks_take(&k->blocks, sizeof *m);
    if (m) {
        *m = (struct kern_mat){.n = (int)n, .k = src->k, .keep = kept(k->isa, src)};
        m->is_fp8 = m->keep == KERN_KEEP_FP8;
        m->is_pairs = k->isa->tile_pairs && m->keep == KERN_KEEP_F32;
        m->n_places = m->is_pairs ? cpu_pairs(m->n) : m->n;
        m->k_places = m->is_pairs ? cpu_pairs(m->k) : m->k;
        m->data = blocks_take(&k->blocks, bytes);
        m->back = src->with_back ? blocks_take(&k->blocks, back) : NULL;
    }
    int is_whole = m && m->data && (m->back || !src->with_back);
    size_t room = is_whole && m->is_pairs ? cpu_pairs_room(k->isa, m) : 1;
    float *line = is_whole ? mem_try((deep + room) * sizeof *line) : NULL;
    if (!line) {
        cpu_mat_free(k, m);
        return cpu_no_memory(k, bytes + (src->with_back ? back : 0), e);
    }
    if (cpu_narrow_bytes(m->keep, nr, deep))
        cpu_narrow_pack(k, m, src);
    else
        pack(k->isa, src, line, m);
    mem_free(line);
    *out = m;
    return 0;
}

void cpu_mat_free(struct kern *k, struct kern_mat *m) {
    if (!m) return;
    blocks_give(&k->blocks, m->data);
    blocks_give(&k->blocks, m->back);
    blocks_give(&k->blocks, m);
}

int cpu_mat_describe(const struct kern *k, const struct kern_mat *m, char *text, size_t n) {
    return snprintf(text, n, "%d x %d %s: %s, panels of %d%s", m->n, m->k,
                    m->is_fp8     ? "fp8 in f32"
                    : m->is_pairs ? "bf16"
                                  : kern_keep_name((int)m->keep),
                    cpu_is_dots(m->keep) ? k->dots->name : k->isa->name,
                    cpu_columns(k->isa, m->keep), m->back ? " both ways" : "");
}

struct set_job {
    struct kern *k;
    const struct kern_mat_set *a;
};

/* The rows of one panel. */
static void set_task(void *ctx, int task, int thread) {
    const struct set_job *j = ctx;
    const struct kern_mat_set *a = j->a;
    const struct kern_mat *m = a->w;
    int nr = j->k->isa->nr, first = (a->row0 / nr + task) * nr, from = first, to = first + nr;
    if (from < a->row0) from = a->row0;
    if (to > a->row0 + a->rows) to = a->row0 + a->rows;
    const float *src = cpu_f32(a->src) + (size_t)(from - a->row0) * (size_t)a->ld;
    for (int r = from; m->keep != KERN_KEEP_F32 && r < to; r++)
        cpu_narrow_set(j->k->isa, m, r, src + (size_t)(r - from) * (size_t)a->ld);
    if (m->keep != KERN_KEEP_F32) return;
    if (m->is_pairs) {
        cpu_pairs_set(j->k->isa, m, from, to - from, src, a->ld, j->k->private[thread].p);
        return;
    }
    j->k->isa->transpose(to - from, m->k, src, a->ld,
                         m->data + (size_t)first * (size_t)m->k + (from - first), nr);
    if (m->back)
        j->k->isa->panels(to - from, m->k, src, a->ld, m->back + (size_t)from * (size_t)nr,
                          (size_t)m->n * (size_t)nr);
}

void cpu_mat_set(struct kern *k, const struct kern_mat_set *a) {
    int nr = k->isa->nr;
    enum kern_keep keep = a->w->keep;
    must(keep == KERN_KEEP_F32 || keep == KERN_KEEP_BF16 || keep == KERN_KEEP_F16);
    must(a->row0 >= 0 && a->row0 + a->rows <= a->w->n);
    cpu_count(k, 0);
    if (a->rows == 0) return;
    for (int i = 0; a->w->is_pairs && i < pool_threads(k->pool); i++)
        cpu_scratch(k, &k->private[i], cpu_pairs_room(k->isa, a->w));
    pool_run(k->pool, (a->row0 + a->rows - 1) / nr - a->row0 / nr + 1, set_task,
             &(struct set_job){k, a});
}

/* ---- products ---- */

struct gemm_job {
    struct kern *k;
    const struct cpu_product *a;
    cpu_tile_fn *tile;
    cpu_line_fn *line; /* for one row, of which it takes several panels; NULL: none */
    cpu_unpack_fn
        *unpack; /* of the parts of a panel, before tiles; NULL: tiles take what there is */
    int nr;
    int rows, panels; /* of one task */
    int column_tasks;
    int part; /* places of a panel that all rows of a task meet before the next ones */
    size_t panel_bytes;
};

/* `places` of a panel from `at` on, which is between blocks: there, or unpacked into `floats`. */
static const float *gemm_part(const struct gemm_job *j, const char *panel, int at, int places,
                              float *floats) {
    size_t bytes = cpu_narrow_bytes(j->a->keep, (size_t)j->nr, (size_t)at);
    if (!bytes) bytes = sizeof(float) * (size_t)at * (size_t)j->nr;
    if (!j->unpack) return (const float *)(const void *)(panel + bytes);
    j->unpack(places, panel + bytes, floats);
    return floats;
}

/* `deep` places of a panel, from `at` on. Parts go on with the sums of those before them, so each
 * is still one chain. Sums that are added to y wait in `room` meanwhile, behind a part. */
static void gemm_panel(const struct gemm_job *j, const char *panel, int rows, int deep, int at,
                       const float *x, float *y, int cols, struct tile_end end, float *room) {
    const struct cpu_product *a = j->a;
    int last = (deep - 1) / j->part * j->part, is_apart = end.accumulate && last > 0;
    struct tile_end between = {.scale = 1.0f, .go_on = end.go_on};
    float *to = is_apart ? room + PART_FLOATS : y;
    int ldy = is_apart ? j->nr : a->ldy;
    for (int p = 0; p < last; p += j->part, between.go_on = 1)
        j->tile(rows, j->part, x + at + p, a->ldx, gemm_part(j, panel, at + p, j->part, room),
                j->nr, to, ldy, cols, &between);
    if (last > 0) end.go_on = 1;
    end.accumulate &= !is_apart;
    j->tile(rows, deep - last, x + at + last, a->ldx,
            gemm_part(j, panel, at + last, deep - last, room), j->nr, to, ldy, cols, &end);
    for (int i = 0; is_apart && i < rows; i++)
        j->k->isa->axpy(cols, 1, to + (size_t)i * (size_t)ldy, y + (size_t)i * (size_t)a->ldy);
}

/* Outputs [col, to) of row `row`, where that is all of a product: as far as several panels at once
 * go. Its end. */
static int gemm_line(const struct gemm_job *j, int row, int col, int to) {
    const struct cpu_product *a = j->a;
    int step = CPU_PANELS * j->nr;
    if (to > a->n) to = a->n;
    for (; j->line && to - col > step - j->nr; col += step) {
        struct tile_end end = {.bias = a->bias ? a->bias + col : NULL,
                               .act = a->act,
                               .accumulate = a->accumulate,
                               .scale = 1.0f};
        j->line(a->k, a->x + (size_t)row * (size_t)a->ldx,
                (const char *)a->panels + (size_t)(col / j->nr) * j->panel_bytes, j->panel_bytes,
                a->y + (size_t)row * (size_t)a->ldy + col, to - col < step ? to - col : step, &end);
    }
    return col;
}

static void gemm_task(void *ctx, int task, int thread) {
    const struct gemm_job *j = ctx;
    const struct cpu_product *a = j->a;
    int nr = j->nr, row0 = task / j->column_tasks * j->rows;
    int col0 = task % j->column_tasks * j->panels * nr, col1 = col0 + j->panels * nr;
    int rows = a->m - row0 < j->rows ? a->m - row0 : j->rows;
    const float *x = a->x + (size_t)row0 * (size_t)a->ldx;
    float *y = a->y + (size_t)row0 * (size_t)a->ldy;
    int at = 0;
    do {
        int deep = a->k - at < a->deep ? a->k - at : a->deep;
        int col = gemm_line(j, row0, col0, col1);
        for (; col < col1 && col < a->n; col += nr) {
            struct tile_end end = {.bias = a->bias ? a->bias + col : NULL,
                                   .act = a->act,
                                   .accumulate = a->accumulate && at == 0,
                                   .scale = 1.0f,
                                   .go_on = at > 0};
            const char *panel = (const char *)a->panels + (size_t)(col / nr) * j->panel_bytes;
            gemm_panel(j, panel, rows, deep, at, x, y + col, a->n - col < nr ? a->n - col : nr, end,
                       j->k->private[thread].p);
        }
        at += deep;
    } while (at < a->k);
}

void cpu_multiply(struct kern *k, const struct cpu_product *a) {
    int threads = pool_threads(k->pool), is_dots = cpu_is_dots(a->keep);
    int open = is_dots ? k->dots->open_rows : 0;
    struct gemm_job j = {.k = k, .a = a, .column_tasks = 1};
    j.tile = a->is_pairs ? k->isa->tile_pairs : cpu_narrow_tile(k, a->keep);
    j.nr = cpu_columns(k->isa, a->keep);
    int mr = is_dots ? k->dots->mr : k->isa->mr;
    j.panel_bytes = cpu_narrow_bytes(a->keep, (size_t)j.nr, (size_t)a->k_packed);
    if (!j.panel_bytes) j.panel_bytes = sizeof(float) * (size_t)j.nr * (size_t)a->k_packed;
    j.rows = BLOCK_FLOATS / (a->deep > 0 ? a->deep : 1);
    if (j.rows < BLOCK_ROWS) j.rows = BLOCK_ROWS;
    int panels = (a->n + j.nr - 1) / j.nr;
    int by_columns = (open || a->deep > LONG) && panels >= 2 * threads;
    int fair = (a->m + 2 * threads - 1) / (2 * threads); /* two tasks a thread at least */
    if (by_columns) fair = a->m;                         /* all of them meet what was unpacked */
    if (j.rows > fair) j.rows = fair;
    if (open && j.rows > open) j.rows = open;
    j.rows = cpu_round_up(j.rows > 0 ? j.rows : 1, mr);
    if (j.rows > UNPACK_TILES * mr) j.unpack = cpu_narrow_unpack(k, a->keep);
    if (j.unpack) j.tile = k->isa->tile;
    if (a->m == 1 && a->deep == a->k && !a->is_pairs) j.line = cpu_narrow_line(k, a->keep);
    int is_cut = j.unpack || (!is_dots && a->deep > LONG && j.rows > mr);
    j.part = is_cut ? PART_FLOATS / j.nr : INT_MAX;
    for (int i = 0; i < threads && is_cut && (j.unpack || a->accumulate); i++)
        cpu_scratch(k, &k->private[i], PART_FLOATS + (size_t)j.rows * (size_t)j.nr);
    int row_tasks = (a->m + j.rows - 1) / j.rows;
    j.panels = panels;
    if (row_tasks < (by_columns ? 2 : 1) * threads &&
        (uint64_t)a->m * (uint64_t)a->k * (uint64_t)a->n > 1u << 18) {
        int runs = (a->m == 1 ? ROW_RUNS : RUNS) * threads;
        j.panels = (panels + runs - 1) / runs;
        if (j.line) j.panels = cpu_round_up(j.panels, CPU_PANELS);
        j.column_tasks = (panels + j.panels - 1) / j.panels;
    }
    pool_run(k->pool, row_tasks * j.column_tasks, gemm_task, &j);
}

static void multiply(struct kern *k, const struct kern_gemm *a) {
    const struct cpu_product p = {.m = a->m,
                                  .n = kern_gemm_n(a, a->w->n),
                                  .k = kern_gemm_k(a, a->w->k),
                                  .deep = kern_gemm_k(a, a->w->k),
                                  .k_packed = a->w->k_places,
                                  .keep = a->w->keep,
                                  .x = cpu_f32(a->x),
                                  .ldx = a->ldx,
                                  .panels = a->w->data,
                                  .bias = cpu_f32(a->bias),
                                  .act = a->act,
                                  .accumulate = a->accumulate,
                                  .y = cpu_f32(a->y),
                                  .ldy = a->ldy};
    if (a->w->is_pairs)
        cpu_multiply_pairs(k, &p);
    else if (cpu_is_dots(p.keep))
        cpu_multiply_dots(k, &p);
    else
        cpu_multiply(k, &p);
}

/* ---- fp8 ---- */

enum { ROUND_ROWS = 8 }; /* of one task */

struct round_job {
    const struct kern_gemm *a;
    float *to; /* (a->m, K) */
};

static void round_task(void *ctx, int task, int thread) {
    (void)thread;
    const struct round_job *j = ctx;
    size_t k = (size_t)j->a->w->k;
    for (int r = task * ROUND_ROWS; r < (task + 1) * ROUND_ROWS && r < j->a->m; r++)
        half_e4m3_round(cpu_f32(j->a->x) + (size_t)r * (size_t)j->a->ldx, k, j->to + (size_t)r * k);
}

/* As many rows at a time as the scratch has room for. */
static void multiply_fp8(struct kern *k, const struct kern_gemm *all) {
    size_t depth = (size_t)all->w->k;
    float *room = cpu_scratch(k, &k->shared, depth);
    int most = depth && k->shared.floats / depth < (size_t)all->m ? (int)(k->shared.floats / depth)
                                                                  : all->m;
    for (int row = 0; row < all->m; row += most) {
        struct kern_gemm a = *all;
        a.m = all->m - row < most ? all->m - row : most;
        a.x = kern_at(all->x, (size_t)row * (size_t)all->ldx * sizeof(float));
        a.y = kern_at(all->y, (size_t)row * (size_t)all->ldy * sizeof(float));
        struct round_job j = {&a, room};
        pool_run(k->pool, (a.m + ROUND_ROWS - 1) / ROUND_ROWS, round_task, &j);
        a.x.addr = (char *)room;
        a.ldx = all->w->k;
        multiply(k, &a);
    }
}

void cpu_gemm(struct kern *k, const struct kern_gemm *a) {
    must(a->x_dtype == KERN_F32 && a->y_dtype == KERN_F32);
    must(!(a->accumulate && a->act != KERN_ACT_NONE));
    int n = kern_gemm_n(a, a->w->n), depth = kern_gemm_k(a, a->w->k);
    int is_part = a->n || a->k,
        may_be = a->w->keep == KERN_KEEP_F32 || a->w->keep == KERN_KEEP_BF16;
    must((may_be || !is_part) && n <= a->w->n && depth <= a->w->k);
    cpu_count(k, (uint64_t)a->m * (uint64_t)n * (uint64_t)depth);
    if (a->m == 0 || a->w->n == 0) return;
    if (a->w->is_fp8)
        multiply_fp8(k, a);
    else
        multiply(k, a);
}
