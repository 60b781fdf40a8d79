/* bench_attn.c - attention over the tree alone, on one thread of the processor.
 *
 *     make bench, or build/release/tests/bench_attn [isa, default auto] [number of a shape]
 *
 * 512 rows behind a stem, or several as of several pictures; 8 heads of 32 are lamm-mini's, 6 of 48
 * those that peers.py draws. Rows have no keys of their own or so many, whose slots lie about in a
 * pool; or paths, as of a mask: each row has its path's keys up to itself. Shapes take turns run by
 * run, each run on another layer's pool, and the time is the thread's own. Figures are the median
 * of RUNS, and the least; and the share of what the thread could do at best.
 */
#include <stdio.h>

#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "tests/bench/bench.h"

enum { ROWS = 512, WIDTH = 288, STEM_MOST = 276, STEMS_MOST = 8, OWN_MOST = 24 };
enum { SLOTS = STEMS_MOST * STEM_MOST + 4096, LAYERS = 4, RUNS = 60 };

static const struct shape {
    int heads, size, stem, stems; /* stems: pictures that share the pass */
    int least, own;               /* own keys of a path's first row and of its last */
} shapes[] = {
    {8, 32, 265, 1, 0, 0}, {8, 32, 265, 1, 4, 4}, {8, 32, 265, 1, 13, 13}, {8, 32, 265, 8, 0, 0},
    {8, 32, 265, 8, 4, 4}, {8, 32, 265, 1, 2, 3}, {6, 48, 276, 1, 4, 13},  {6, 48, 273, 1, 24, 24},
};

struct attn_bench {
    const struct kern_ops *ops;
    struct kern *k;
    struct kern_ptr q, y, pool_k[LAYERS], pool_v[LAYERS], off[ARRAY_LEN(shapes)],
        tail[ARRAY_LEN(shapes)];
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

/* The rows' own slots: those of a path begin with its first row's. */
static void tails(struct attn_bench *b, size_t shape) {
    static int32_t list[ROWS * OWN_MOST], off[ROWS + 1];
    const struct shape *s = &shapes[shape];
    int n = 0, path = 0;
    for (int i = 0, own = s->least; i < ROWS; i++, own++) {
        if (own > s->own) {
            own = s->least;
            path++;
        }
        for (int at = 0; at < own; at++)
            list[n++] = STEMS_MOST * STEM_MOST +
                        (path * OWN_MOST + at) * 5077 % (SLOTS - STEMS_MOST * STEM_MOST);
        off[i + 1] = n;
    }
    b->off[shape] = put(b, off, sizeof off);
    b->tail[shape] = put(b, list, sizeof list);
}

static void attn_open(struct attn_bench *b) {
    b->q = floats(b, 1, (size_t)ROWS * WIDTH);
    b->y = floats(b, 2, (size_t)ROWS * WIDTH);
    for (uint64_t i = 0; i < LAYERS; i++) {
        b->pool_k[i] = floats(b, 3 + 2 * i, (size_t)SLOTS * WIDTH);
        b->pool_v[i] = floats(b, 4 + 2 * i, (size_t)SLOTS * WIDTH);
    }
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        tails(b, i);
}

static void attn_run(const struct attn_bench *b, size_t shape, int layer) {
    struct kern_attn_group groups[STEMS_MOST];
    struct kern_attn_span spans[STEMS_MOST];
    const struct shape *s = &shapes[shape];
    int n = s->stems, rows = ROWS / n;
    for (int i = 0; i < n; i++) {
        groups[i] = (struct kern_attn_group){i * rows, rows, i, 1, -1};
        spans[i] = (struct kern_attn_span){i * s->stem, s->stem};
    }
    b->ops->attn_tree(b->k, &(struct kern_attn_tree){.rows = ROWS,
                                                     .heads = s->heads,
                                                     .head_size = s->size,
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
                                                     .tail = b->tail[shape]});
}

int main(int argc, char **argv) {
    static double us[ARRAY_LEN(shapes)][RUNS];
    struct attn_bench b = {0};
    b.k = bench_open(argc > 1 ? argv[1] : NULL, &b.ops);
    struct kern_peak peak = {0};
    b.ops->peak(b.k, &peak);
    attn_open(&b);
    size_t first = argc > 2 ? strtoul(argv[2], NULL, 10) % ARRAY_LEN(shapes) : 0;
    size_t last = argc > 2 ? first : ARRAY_LEN(shapes) - 1;
    for (int run = -LAYERS; run < RUNS; run++)
        for (size_t s = first; s <= last; s++) {
            double begin = bench_cpu_s();
            attn_run(&b, s, (run + LAYERS) % LAYERS);
            if (run >= 0) us[s][run] = (bench_cpu_s() - begin) * 1e6;
        }
    for (size_t s = first; s <= last; s++) {
        const struct shape *a = &shapes[s];
        double keys = a->stem + (a->least + a->own) / 2.0;
        double flop = 4.0 * ROWS * a->heads * a->size * keys;
        bench_sort(us[s], RUNS);
        double rate = flop / us[s][RUNS / 2] * 1e6;
        printf("%d x %d, %d stems, %2d to %2d own keys: %6.0f us, at least %6.0f: %3.0f GFLOP/s, "
               "%2.0f %% of %.0f\n",
               a->heads, a->size, a->stems, a->least, a->own, us[s][RUNS / 2], us[s][0], rate / 1e9,
               100 * rate / peak.flops, peak.flops / 1e9);
    }
    b.ops->close(b.k);
    return 0;
}
