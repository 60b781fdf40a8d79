/* bench_attn.c - attention over the tree alone, on one thread of the processor.
 *
 *     make bench, or build/release/tests/bench_attn [isa, default auto]
 *
 * lamm-mini's shape: 512 rows, 8 heads of 32, a stem of 265, or several as of several pictures.
 * Rows have no keys of their own, 4 or 13, whose slots lie about in a pool. Shapes take turns run
 * by run, each run on another layer's pool, and the time is the thread's own. Figures are the
 * median of RUNS, and the least; and the share of what the thread could do at best.
 */
#include <stdio.h>

#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "tests/bench/bench.h"

enum { ROWS = 512, HEADS = 8, K = 32, WIDTH = HEADS * K, STEM = 265 };
enum { STEMS_MOST = 8, SLOTS = STEMS_MOST * STEM + 2048, LAYERS = 4, OWN_MOST = 13, RUNS = 60 };

static const struct shape {
    int own, stems; /* keys of a row's own; pictures that share the pass */
} shapes[] = {{0, 1}, {4, 1}, {OWN_MOST, 1}, {0, 8}, {4, 8}};

struct attn_bench {
    const struct kern_ops *ops;
    struct kern *k;
    struct kern_ptr q, y, pool_k[LAYERS], pool_v[LAYERS], off[ARRAY_LEN(shapes)], tail;
};

static struct kern_ptr put(const struct attn_bench *b, const void *host, size_t bytes) {
    struct kern_ptr p;
    struct err e = {0};
    must(b->ops->alloc(b->k, bytes, &p, &e) == 0);
    b->ops->put(b->k, p, host, bytes);
    return p;
}

static struct kern_ptr floats(const struct attn_bench *b, uint64_t seed, size_t n) {
    float *host = mem_must(n * sizeof *host);
    for (size_t i = 0; i < n; i++)
        host[i] = rng_normal(seed, i);
    struct kern_ptr p = put(b, host, n * sizeof *host);
    mem_free(host);
    return p;
}

static void attn_open(struct attn_bench *b) {
    static int32_t list[ROWS * OWN_MOST], off[ROWS + 1];
    b->q = floats(b, 1, (size_t)ROWS * WIDTH);
    b->y = floats(b, 2, (size_t)ROWS * WIDTH);
    for (uint64_t i = 0; i < LAYERS; i++) {
        b->pool_k[i] = floats(b, 3 + 2 * i, (size_t)SLOTS * WIDTH);
        b->pool_v[i] = floats(b, 4 + 2 * i, (size_t)SLOTS * WIDTH);
    }
    for (size_t i = 0; i < ARRAY_LEN(list); i++)
        list[i] = (int32_t)(STEMS_MOST * STEM + i * 5077 % (SLOTS - STEMS_MOST * STEM));
    b->tail = put(b, list, sizeof list);
    for (size_t s = 0; s < ARRAY_LEN(shapes); s++) {
        for (int i = 0; i <= ROWS; i++)
            off[i] = i * shapes[s].own;
        b->off[s] = put(b, off, sizeof off);
    }
}

static void attn_run(const struct attn_bench *b, size_t shape, int layer) {
    struct kern_attn_group groups[STEMS_MOST];
    struct kern_attn_span spans[STEMS_MOST];
    int n = shapes[shape].stems, rows = ROWS / n;
    for (int i = 0; i < n; i++) {
        groups[i] = (struct kern_attn_group){i * rows, rows, i, 1, -1};
        spans[i] = (struct kern_attn_span){i * STEM, STEM};
    }
    b->ops->attn_tree(b->k, &(struct kern_attn_tree){.rows = ROWS,
                                                     .heads = HEADS,
                                                     .head_size = K,
                                                     .scale = 0.1f,
                                                     .q = b->q,
                                                     .ldq = WIDTH,
                                                     .pool_k = b->pool_k[layer],
                                                     .pool_v = b->pool_v[layer],
                                                     .y = b->y,
                                                     .ldy = WIDTH,
                                                     .groups = groups,
                                                     .n_groups = n,
                                                     .spans = spans,
                                                     .n_spans = n,
                                                     .tail_off = b->off[shape],
                                                     .tail = b->tail});
}

int main(int argc, char **argv) {
    static double us[ARRAY_LEN(shapes)][RUNS];
    struct attn_bench b = {0};
    b.k = bench_open(argc > 1 ? argv[1] : NULL, &b.ops);
    struct kern_peak peak = {0};
    b.ops->peak(b.k, &peak);
    attn_open(&b);
    for (int run = -LAYERS; run < RUNS; run++)
        for (size_t s = 0; s < ARRAY_LEN(shapes); s++) {
            double begin = bench_cpu_s();
            attn_run(&b, s, (run + LAYERS) % LAYERS);
            if (run >= 0) us[s][run] = (bench_cpu_s() - begin) * 1e6;
        }
    for (size_t s = 0; s < ARRAY_LEN(shapes); s++) {
        double flop = 4.0 * ROWS * WIDTH * (STEM + shapes[s].own);
        bench_sort(us[s], RUNS);
        double rate = flop / us[s][RUNS / 2] * 1e6;
        printf(
            "%d stems, %2d own keys: %6.0f us, at least %6.0f: %3.0f GFLOP/s, %2.0f %% of %.0f\n",
            shapes[s].stems, shapes[s].own, us[s][RUNS / 2], us[s][0], rate / 1e9,
            100 * rate / peak.flops, peak.flops / 1e9);
    }
    b.ops->close(b.k);
    return 0;
}
