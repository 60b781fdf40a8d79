/* bench_forms.c - products by weights in each form, on one thread of the processor.
 *
 *     make bench, or build/release/tests/bench_forms [isa, default auto [N K, one shape]]
 *
 * Forms take turns run by run, and the time is the thread's own, so that what else the machine does
 * hits all alike. A figure is the median of RUNS. Bytes are those of the matrix. Matrices of the
 * larger shapes don't fit into a cache, and MATS of them take turns, so that weights come from
 * memory as those of a decoder's layers do.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/half.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "tests/bench/bench.h"

enum { FORMS = 7, RUNS = 15, MATS = 3, ROWS_MAX = 512 };
static const enum kern_keep forms[FORMS] = {KERN_KEEP_F32,   KERN_KEEP_BF16, KERN_KEEP_F16,
                                            KERN_KEEP_INT8,  KERN_KEEP_INT4, KERN_KEEP_INT8X8,
                                            KERN_KEEP_INT4X8};

static const int shapes[][2] = {{768, 256},   {1280, 256},  {256, 640},
                                {1024, 1024}, {4096, 4096}, {11008, 4096}};

struct forms_bench {
    const struct kern_ops *ops;
    struct kern *k;
    struct kern_ptr x, y;
    struct kern_mat *mats[FORMS][MATS];
};

static void forms_mats(struct forms_bench *b, int n, int k) {
    size_t cells = (size_t)n * (size_t)k;
    uint16_t *w = mem_must(cells * sizeof *w);
    struct err e = {0};
    for (size_t i = 0; i < cells; i++)
        w[i] = half_to_bf16(rng_normal(1, i));
    struct kern_mat_part part = {.data = w, .n = n, .dtype = KERN_BF16};
    for (int f = 0; f < FORMS; f++)
        for (int i = 0; i < MATS; i++) {
            struct kern_mat_src src = {.parts = &part, .n_parts = 1, .k = k, .keep = forms[f]};
            must(b->ops->mat_new(b->k, &src, &b->mats[f][i], &e) == 0);
        }
    printf("%d x %d: MiB", n, k);
    for (int f = 0; f < FORMS; f++) {
        struct kern_mat_src src = {.parts = &part, .n_parts = 1, .k = k, .keep = forms[f]};
        printf(" %s %.2f", kern_keep_name((int)forms[f]),
               (double)b->ops->mat_bytes(b->k, &src) / 1048576);
    }
    printf("\n");
    mem_free(w);
}

/* How fast a product is, and how many times as fast as f32's. */
static void forms_row(struct forms_bench *b, int m, int n, int k) {
    static double us[FORMS][RUNS];
    double work = 2.0 * m * n * k;
    int times = (int)(2e7 / work) + 1;
    for (int run = -1; run < RUNS; run++)
        for (int f = 0; f < FORMS; f++) {
            double begin = bench_cpu_s();
            for (int i = 0; i < times; i++)
                b->ops->gemm(b->k, &(struct kern_gemm){.m = m,
                                                       .x = b->x,
                                                       .ldx = k,
                                                       .w = b->mats[f][(run + 1 + i) % MATS],
                                                       .y = b->y,
                                                       .ldy = n});
            if (run >= 0) us[f][run] = 1e6 * (bench_cpu_s() - begin) / times;
        }
    printf("  %4d rows:", m);
    for (int f = 0; f < FORMS; f++)
        bench_sort(us[f], RUNS);
    for (int f = 0; f < FORMS; f++)
        printf("  %s %.1f GFLOP/s (%.2f x)", kern_keep_name((int)forms[f]),
               work / us[f][RUNS / 2] / 1e3, us[0][RUNS / 2] / us[f][RUNS / 2]);
    printf("\n");
    fflush(stdout);
}

int main(int argc, char **argv) {
    static const int rows[] = {1, 8, 64, 512};
    struct forms_bench b = {0};
    struct err e = {0};
    b.k = bench_open(argc > 1 ? argv[1] : NULL, &b.ops);
    size_t floats = (size_t)ROWS_MAX * 11008;
    float *x = mem_must(floats * sizeof *x);
    for (size_t i = 0; i < floats; i++)
        x[i] = rng_normal(2, i);
    must(!b.ops->alloc(b.k, floats * sizeof *x, &b.x, &e));
    must(!b.ops->alloc(b.k, floats * sizeof *x, &b.y, &e));
    b.ops->put(b.k, b.x, x, floats * sizeof *x);
    mem_free(x);
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        int n = shapes[i][0], k = shapes[i][1];
        if (argc > 3 && (n != atoi(argv[2]) || k != atoi(argv[3]))) continue;
        forms_mats(&b, n, k);
        for (size_t j = 0; j < ARRAY_LEN(rows); j++)
            if (rows[j] < ROWS_MAX || n * k <= 1 << 24) forms_row(&b, rows[j], n, k);
        for (int f = 0; f < FORMS * MATS; f++)
            b.ops->mat_free(b.k, b.mats[f / MATS][f % MATS]);
    }
    b.ops->close(b.k);
    return 0;
}
