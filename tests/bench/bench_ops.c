/* bench_ops.c - each operation alone, on every kind of code, as a ratio to the reference in one
 * run.
 *
 *     make bench, or build/release/tests/bench_ops [seconds for each, default 0.3]
 *
 * Shapes are those of a lamm-mini pass (512 rows, D 192, F 512, a stem of 265) and, for the
 * products, of PAE-LaMM's true widths with few rows. A figure is the median of the runs, with least
 * and most; kinds take turns run by run, so that a machine's moods hit all alike. One thread, then
 * two.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/clock.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "kernels/kern.h"

enum { KINDS = 5, RUNS_MAX = 4000, SLOTS = 4096 };

struct bench_kind {
    const char *backend, *isa;
    int threads;
    const struct kern_ops *ops;
    struct kern *k; /* NULL: not on this machine */
};
static const struct bench_kind kinds_all[KINDS] = {
    {"ref", NULL, 1, NULL, NULL},   {"cpu", "portable", 1, NULL, NULL},
    {"cpu", "avx2", 1, NULL, NULL}, {"cpu", "avx512", 1, NULL, NULL},
    {"cpu", "auto", 2, NULL, NULL},
};

/* Everything that the operations of one shape read and write, on one device. */
struct stage {
    const struct kern_ops *ops;
    struct kern *k;
    struct kern_ptr x, y, w1, pool_k, pool_v, index, off, tail;
    struct kern_mat *mat;
};
struct shape {
    const char *name;
    void (*run)(const struct stage *s, const struct shape *h);
    int m, n, k; /* rows; outputs or keys; inputs or head size */
    double flop; /* of a run; 0: reported in time alone */
};

static struct kern_ptr buffer(struct stage *s, size_t n, float scale) {
    float *host = mem_must(n * sizeof *host);
    for (size_t i = 0; i < n; i++)
        host[i] = scale * rng_normal(1, i);
    struct kern_ptr p;
    struct err e = {0};
    must(s->ops->alloc(s->k, n * sizeof *host, &p, &e) == 0);
    s->ops->put(s->k, p, host, n * sizeof *host);
    mem_free(host);
    return p;
}

static struct kern_ptr indices(struct stage *s, int n, int step) {
    int32_t *host = mem_must((size_t)n * sizeof *host);
    for (int i = 0; i < n; i++)
        host[i] = i * step % SLOTS;
    struct kern_ptr p;
    struct err e = {0};
    must(s->ops->alloc(s->k, (size_t)n * sizeof *host, &p, &e) == 0);
    s->ops->put(s->k, p, host, (size_t)n * sizeof *host);
    mem_free(host);
    return p;
}

static void stage_open(struct stage *s, const struct bench_kind *kind, const struct shape *h) {
    struct err e = {0};
    *s = (struct stage){.ops = kind->ops, .k = kind->k};
    size_t rows = (size_t)h->m, wide = (size_t)(3 * (h->n > h->k ? h->n : h->k));
    s->x = buffer(s, rows * wide, 1);
    s->y = buffer(s, rows * wide, 0);
    s->w1 = buffer(s, wide, 1);
    s->pool_k = buffer(s, (size_t)SLOTS * 192, 1);
    s->pool_v = buffer(s, (size_t)SLOTS * 192, 1);
    s->index = indices(s, h->m, 1);
    s->off = indices(s, h->m + 1, 4);
    s->tail = indices(s, 4 * h->m, 5);
    float *w = mem_must((size_t)h->n * (size_t)h->k * sizeof *w);
    for (size_t i = 0; i < (size_t)h->n * (size_t)h->k; i++)
        w[i] = 0.05f * rng_normal(2, i);
    struct kern_mat_part part = {w, h->n, KERN_F32};
    must(s->ops->mat_new(s->k, &(struct kern_mat_src){.parts = &part, .n_parts = 1, .k = h->k},
                         &s->mat, &e) == 0);
    mem_free(w);
}

static void stage_close(struct stage *s) {
    struct kern_ptr all[] = {s->x, s->y, s->w1, s->pool_k, s->pool_v, s->index, s->off, s->tail};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        s->ops->free(s->k, all[i]);
    s->ops->mat_free(s->k, s->mat);
}

static void run_gemm(const struct stage *s, const struct shape *h) {
    s->ops->gemm(s->k, &(struct kern_gemm){
                           .m = h->m, .x = s->x, .ldx = h->k, .w = s->mat, .y = s->y, .ldy = h->n});
}
static void run_gelu(const struct stage *s, const struct shape *h) {
    s->ops->gemm(s->k, &(struct kern_gemm){.m = h->m,
                                           .x = s->x,
                                           .ldx = h->k,
                                           .w = s->mat,
                                           .bias = s->w1,
                                           .y = s->y,
                                           .ldy = h->n,
                                           .act = KERN_ACT_GELU});
}
static void run_rmsnorm(const struct stage *s, const struct shape *h) {
    s->ops->rmsnorm(s->k, &(struct kern_norm){.rows = h->m,
                                              .width = h->k,
                                              .x = s->x,
                                              .ldx = h->k,
                                              .weight = s->w1,
                                              .eps = 1e-5f,
                                              .y = s->y,
                                              .ldy = h->k});
}
static void run_swiglu(const struct stage *s, const struct shape *h) {
    s->ops->swiglu(
        s->k, &(struct kern_swiglu){
                  .rows = h->m, .width = h->n, .x = s->x, .ldx = 2 * h->n, .y = s->y, .ldy = h->n});
}
/* Heads of size k; n keys in the stem that all rows share, four in each row's own tail. */
static void run_tree(const struct stage *s, const struct shape *h) {
    struct kern_attn_group group = {0, h->m, 0, 1, -1};
    struct kern_attn_span span = {0, h->n};
    s->ops->attn_tree(s->k, &(struct kern_attn_tree){.rows = h->m,
                                                     .heads = 192 / h->k,
                                                     .head_size = h->k,
                                                     .scale = 0.1f,
                                                     .q = s->x,
                                                     .ldq = 192,
                                                     .pool_k = s->pool_k,
                                                     .pool_v = s->pool_v,
                                                     .y = s->y,
                                                     .ldy = 192,
                                                     .groups = &group,
                                                     .n_groups = 1,
                                                     .spans = &span,
                                                     .n_spans = 1,
                                                     .tail_off = s->off,
                                                     .tail = s->tail});
}

static const struct shape shapes[] = {
    {"qkv 512x192 -> 576", run_gemm, 512, 576, 192, 2.0 * 512 * 576 * 192},
    {"gate, up 512x192 -> 1024", run_gemm, 512, 1024, 192, 2.0 * 512 * 1024 * 192},
    {"down 512x512 -> 192", run_gemm, 512, 192, 512, 2.0 * 512 * 192 * 512},
    {"vision fc1 1025x128 -> 256, gelu", run_gelu, 1025, 256, 128, 2.0 * 1025 * 256 * 128},
    {"true width 64x4096 -> 4096", run_gemm, 64, 4096, 4096, 2.0 * 64 * 4096 * 4096},
    {"one row 4096 -> 4096", run_gemm, 1, 4096, 4096, 2.0 * 4096 * 4096},
    {"tree attention, 512 rows, stem 265", run_tree, 512, 265, 32, 4.0 * 512 * 269 * 192},
    {"rmsnorm 512x192", run_rmsnorm, 512, 192, 192, 0},
    {"swiglu 512x512", run_swiglu, 512, 512, 192, 0},
};

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double one_run(const struct stage *s, const struct shape *h) {
    uint64_t start = clock_ns();
    h->run(s, h);
    must(s->ops->sync(s->k, NULL) == 0);
    return (double)(clock_ns() - start) / 1e3;
}

static void report(const struct shape *h, const struct bench_kind *kind, double *us, int n,
                   double ref) {
    qsort(us, (size_t)n, sizeof *us, by_size);
    char name[32];
    (void)snprintf(name, sizeof name, "%s %d thread%s", kind->isa ? kind->isa : kind->backend,
                   kind->threads, kind->threads > 1 ? "s" : "");
    printf("  %-20s %10.1f us (%9.1f .. %9.1f) %7.1f x", name, us[n / 2], us[0], us[n - 1],
           ref / us[n / 2]);
    if (h->flop > 0) printf(" %7.1f GFLOP/s", h->flop / us[n / 2] / 1e3);
    putchar('\n');
}

static void bench_shape(const struct shape *h, const struct bench_kind *kinds, double seconds) {
    static double us[KINDS][RUNS_MAX];
    struct stage stages[KINDS];
    int n[KINDS] = {0};
    printf("%s\n", h->name);
    for (int i = 0; i < KINDS; i++) {
        if (!kinds[i].k) continue;
        stage_open(&stages[i], &kinds[i], h);
        (void)one_run(&stages[i], h); /* wakes threads and pages */
    }
    double spent[KINDS] = {0};
    for (int turn = 0; turn < RUNS_MAX; turn++)
        for (int i = 0; i < KINDS; i++) {
            if (!kinds[i].k || (turn >= 3 && spent[i] > seconds * 1e6)) continue;
            spent[i] += us[i][n[i]++] = one_run(&stages[i], h);
        }
    for (int i = 0; i < KINDS; i++) {
        if (!kinds[i].k) continue;
        report(h, &kinds[i], us[i], n[i], us[0][n[0] / 2]);
        stage_close(&stages[i]);
    }
}

int main(int argc, char **argv) {
    double seconds = argc > 1 ? atof(argv[1]) : 0.3;
    struct bench_kind kinds[KINDS];
    memcpy(kinds, kinds_all, sizeof kinds);
    for (int i = 0; i < KINDS; i++) {
        struct err e = {0};
        struct kern_config cfg = {.threads = kinds[i].threads, .isa = kinds[i].isa};
        if (kern_find(kinds[i].backend, &kinds[i].ops, &e) ||
            kinds[i].ops->open(&cfg, &kinds[i].k, &e)) {
            printf("%s: %s\n", kinds[i].isa ? kinds[i].isa : kinds[i].backend, e.text);
            kinds[i].k = NULL;
        }
    }
    must(kinds[0].k);
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        bench_shape(&shapes[i], kinds, seconds);
    for (int i = 0; i < KINDS; i++)
        if (kinds[i].k) kinds[i].ops->close(kinds[i].k);
    return 0;
}
