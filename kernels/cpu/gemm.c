/* gemm.c - packing weights and multiplying rows with them.
 *
 * A matrix is cut into panels of nr outputs, k-major inside, so that the inner loop reads it from
 * front to back. Work is cut into (row block, run of panels) tasks: a row block small enough that
 * its rows stay in the second-level cache while every panel passes over it, a panel small enough
 * for the first. Bits: see isa.h; which task computes an output does not matter.
 *
 * An fp8 matrix is packed as the floats s(w) q(w) that its codes mean, and x goes through scratch
 * memory as s(x) q(x). So the product is the ordinary one: nothing is gained but the answers that
 * fp8 gives.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/half.h"
#include "kernels/base/mem.h"
#include "kernels/cpu/cpu_kern.h"

enum { BLOCK_FLOATS = 64 * 1024 }; /* of x in a row block: a quarter of a megabyte */

static float part_value(const struct kern_mat_part *p, size_t at) {
    if (p->dtype == KERN_F32) {
        float f;
        memcpy(&f, (const char *)p->data + 4 * at, sizeof f);
        return f;
    }
    uint16_t h;
    memcpy(&h, (const char *)p->data + 2 * at, sizeof h);
    return p->dtype == KERN_BF16 ? half_from_bf16(h) : half_from_f16(h);
}

static void pack(const struct cpu_isa *isa, const struct kern_mat_src *src, float *line,
                 float *data) {
    size_t nr = (size_t)isa->nr, k = (size_t)src->k, row = 0;
    for (int i = 0; i < src->n_parts; i++) {
        for (int r = 0; r < src->parts[i].n; r++, row++) {
            for (size_t c = 0; c < k; c++)
                line[c] = part_value(&src->parts[i], (size_t)r * k + c);
            if (src->as_fp8) half_e4m3_round(line, k, line);
            float *to = data + row / nr * nr * k + row % nr;
            for (size_t c = 0; c < k; c++)
                to[c * nr] = line[c];
        }
    }
}

int cpu_mat_new(struct kern *k, const struct kern_mat_src *src, struct kern_mat **out,
                struct err *e) {
    *out = NULL;
    size_t nr = (size_t)k->isa->nr, n = 0, floats, bytes;
    for (int i = 0; i < src->n_parts; i++)
        n += (size_t)src->parts[i].n;
    size_t panels = (n + nr - 1) / nr;
    if (n > INT_MAX || !mem_mul(panels * nr, (size_t)src->k, &floats) ||
        !mem_mul(floats, sizeof(float), &bytes))
        return err_set(e, E_TOO_BIG, "a %zux%d matrix", n, src->k);
    struct kern_mat *m = blocks_take(&k->blocks, sizeof *m);
    float *data = m ? blocks_take(&k->blocks, bytes) : NULL;
    float *line = data ? mem_try(((size_t)src->k + 1) * sizeof *line) : NULL;
    if (!line) {
        blocks_give(&k->blocks, data);
        blocks_give(&k->blocks, m);
        return cpu_no_memory(k, bytes, e);
    }
    *m = (struct kern_mat){(int)n, src->k, (int)panels, data, src->as_fp8};
    pack(k->isa, src, line, data);
    mem_free(line);
    *out = m;
    return 0;
}

void cpu_mat_free(struct kern *k, struct kern_mat *m) {
    if (!m) return;
    blocks_give(&k->blocks, m->data);
    blocks_give(&k->blocks, m);
}

int cpu_mat_describe(const struct kern *k, const struct kern_mat *m, char *text, size_t n) {
    return snprintf(text, n, "%d x %d %s: %s, panels of %d", m->n, m->k,
                    m->is_fp8 ? "fp8 in f32" : "f32", k->isa->name, k->isa->nr);
}

struct gemm_job {
    struct kern *k;
    const struct kern_gemm *a;
    int rows, panels; /* of one task */
    int column_tasks;
};

static void gemm_task(void *ctx, int task, int thread) {
    (void)thread;
    const struct gemm_job *j = ctx;
    const struct kern_gemm *a = j->a;
    const struct kern_mat *w = a->w;
    int nr = j->k->isa->nr;
    int row0 = task / j->column_tasks * j->rows, p0 = task % j->column_tasks * j->panels;
    int rows = a->m - row0 < j->rows ? a->m - row0 : j->rows;
    int p1 = p0 + j->panels < w->panels ? p0 + j->panels : w->panels;
    const float *x = cpu_f32(a->x) + (size_t)row0 * (size_t)a->ldx;
    float *y = cpu_f32(a->y) + (size_t)row0 * (size_t)a->ldy;
    const float *bias = cpu_f32(a->bias);
    for (int p = p0; p < p1; p++) {
        int col = p * nr, cols = w->n - col < nr ? w->n - col : nr;
        struct tile_end end = {bias ? bias + col : NULL, a->act, a->accumulate, 1.0f};
        j->k->isa->tile(rows, w->k, x, a->ldx, w->data + (size_t)p * (size_t)nr * (size_t)w->k,
                        y + col, a->ldy, cols, &end);
    }
}

static void multiply(struct kern *k, const struct kern_gemm *a) {
    int mr = k->isa->mr, threads = pool_threads(k->pool);
    int rows = BLOCK_FLOATS / (a->w->k > 0 ? a->w->k : 1) / mr * mr;
    int fair = (a->m + 2 * threads - 1) / (2 * threads); /* two tasks a thread at least */
    fair = (fair + mr - 1) / mr * mr;
    if (rows > fair) rows = fair;
    if (rows < mr) rows = mr;
    struct gemm_job j = {k, a, rows, a->w->panels, 1};
    int row_tasks = (a->m + rows - 1) / rows;
    if (row_tasks < threads && (uint64_t)a->m * (uint64_t)a->w->k * (uint64_t)a->w->n > 1u << 18) {
        j.panels = (a->w->panels + 2 * threads - 1) / (2 * threads);
        j.column_tasks = (a->w->panels + j.panels - 1) / j.panels;
    }
    pool_run(k->pool, row_tasks * j.column_tasks, gemm_task, &j);
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
    must(!(a->accumulate && a->act != KERN_ACT_NONE));
    cpu_count(k, (uint64_t)a->m * (uint64_t)a->w->n * (uint64_t)a->w->k);
    if (a->m == 0 || a->w->n == 0) return;
    if (a->w->is_fp8)
        multiply_fp8(k, a);
    else
        multiply(k, a);
}
