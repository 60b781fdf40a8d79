/* bench_cuda.c - the GPU at PAE-LaMM's true widths: one layer of the decoder and one block of the
 * vision tower, operation by operation, with made weights in bf16.
 *
 *     build/release/tests/bench_cuda [device, default cuda]
 *
 * A figure is the time of one operation among many queued behind each other, after one round to
 * warm up; the median of ROUNDS rounds, with least and most. Beside it, the floor: multiply-adds at
 * PEAK_TFLOPS (measured on an H200 by others, docs/model.md section 8; a different card has a
 * different floor) or bytes at PEAK_GBS, whichever takes longer, and the share of it that was
 * reached. The attention is measured in both modes; passes of all layers, each waited for, as they
 * are issued and as graphs. Needs nothing but the kernels room, so that it
 * can be built on a bare machine.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/clock.h"
#include "kernels/base/half.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "kernels/kern.h"

enum {
    ROUNDS = 7,
    D = 4096,
    F = 11008,
    H = 32,
    E = 1408,
    G = 6144,
    TOKENS = 1025,
    STEM = 273,
    LAYERS = 32
};
enum { SLOTS = 65536, ROWS = 1024, GROUP = 16, TAIL = 16 };
enum { PERIOD = 1000003 }; /* of made numbers; no width divides it */
static const double PEAK_TFLOPS = 790, PEAK_GBS = 4300;

struct bench {
    const struct kern_ops *ops;
    struct kern *k;
    enum kern_dtype pool_dtype; /* f32 or bf16 */
    struct kern_ptr x, y, wide, vector, pool_k, pool_v, zeros;
};

/* A decoder layer's matrices. */
struct layer {
    struct kern_mat *qkv, *o, *gate, *down;
};

/* What one line of the table measures. */
struct line {
    const char *name;
    void (*run)(const struct bench *b, const struct line *l);
    int m, n, k;
    struct kern_mat *w;
    double flop, bytes; /* that must be done, and must be moved */
    struct kern_attn_tree tree;
    const struct layer *layer;
};

static void fail(const char *what, const struct err *e) {
    printf("%s: %s\n", what, e->text);
    exit(1);
}

static struct kern_ptr take(const struct bench *b, size_t bytes) {
    struct kern_ptr p;
    struct err e = {0};
    if (b->ops->alloc(b->k, bytes, &p, &e)) fail("memory", &e);
    return p;
}

/* Random floats that repeat. */
static struct kern_ptr take_random(const struct bench *b, size_t n) {
    struct kern_ptr p = take(b, n * sizeof(float));
    float *host = mem_must(PERIOD * sizeof *host);
    for (size_t i = 0; i < PERIOD; i++)
        host[i] = rng_normal(3, i);
    for (size_t at = 0; at < n; at += PERIOD)
        b->ops->put(b->k, kern_at(p, at * sizeof *host), host,
                    (n - at < PERIOD ? n - at : PERIOD) * sizeof *host);
    mem_free(host);
    return p;
}

/* Keys or values, in the type that the device likes best. */
static struct kern_ptr take_pool(const struct bench *b, size_t n) {
    if (b->pool_dtype == KERN_F32) return take_random(b, n);
    struct kern_ptr p = take(b, n * sizeof(uint16_t));
    uint16_t *host = mem_must(n * sizeof *host);
    for (size_t i = 0; i < n; i++)
        host[i] = i < PERIOD ? half_to_bf16(rng_normal(3, i)) : host[i - PERIOD];
    b->ops->put(b->k, p, host, n * sizeof *host);
    mem_free(host);
    return p;
}

static struct kern_mat *matrix(const struct bench *b, int n, int k) {
    size_t cells = (size_t)n * (size_t)k;
    uint16_t *w = mem_must(cells * sizeof *w);
    for (size_t i = 0; i < cells && i < PERIOD; i++)
        w[i] = half_to_bf16(0.02f * rng_normal(4, i));
    for (size_t at = PERIOD; at < cells; at += PERIOD)
        memcpy(w + at, w, (cells - at < PERIOD ? cells - at : PERIOD) * sizeof *w);
    struct kern_mat_part part = {w, n, KERN_BF16};
    struct kern_mat *m = NULL;
    struct err e = {0};
    if (b->ops->mat_new(b->k, &(struct kern_mat_src){.parts = &part, .n_parts = 1, .k = k}, &m, &e))
        fail("matrix", &e);
    mem_free(w);
    return m;
}

/* ---- operations ---- */

static void run_gemm(const struct bench *b, const struct line *l) {
    b->ops->gemm(b->k,
                 &(struct kern_gemm){
                     .m = l->m, .x = b->x, .ldx = l->k, .w = l->w, .y = b->wide, .ldy = l->n});
}
static void run_gelu(const struct bench *b, const struct line *l) {
    b->ops->gemm(b->k, &(struct kern_gemm){.m = l->m,
                                           .x = b->x,
                                           .ldx = l->k,
                                           .w = l->w,
                                           .bias = b->vector,
                                           .y = b->wide,
                                           .ldy = l->n,
                                           .act = KERN_ACT_GELU});
}
static void run_add(const struct bench *b, const struct line *l) {
    b->ops->gemm(
        b->k,
        &(struct kern_gemm){
            .m = l->m, .x = b->x, .ldx = l->k, .w = l->w, .y = b->y, .ldy = l->n, .accumulate = 1});
}
static void run_rmsnorm(const struct bench *b, const struct line *l) {
    b->ops->rmsnorm(b->k, &(struct kern_norm){.rows = l->m,
                                              .width = l->k,
                                              .x = b->x,
                                              .ldx = l->k,
                                              .weight = b->vector,
                                              .eps = 1e-5f,
                                              .y = b->y,
                                              .ldy = l->k});
}
static void run_swiglu(const struct bench *b, const struct line *l) {
    b->ops->swiglu(
        b->k,
        &(struct kern_swiglu){
            .rows = l->m, .width = l->n, .x = b->wide, .ldx = 2 * l->n, .y = b->y, .ldy = l->n});
}
static void run_rope(const struct bench *b, const struct line *l) {
    b->ops->rope(b->k, &(struct kern_rope){.rows = l->m,
                                           .heads = H,
                                           .head_size = D / H,
                                           .theta = 10000,
                                           .qkv = b->wide,
                                           .ld = 3 * D,
                                           .pos = b->zeros,
                                           .slot = l->tree.tail,
                                           .pool_k = b->pool_k,
                                           .pool_v = b->pool_v,
                                           .pool_dtype = b->pool_dtype});
}
static void run_full(const struct bench *b, const struct line *l) {
    b->ops->attn_full(b->k, &(struct kern_attn_full){.images = 1,
                                                     .tokens = l->m,
                                                     .heads = 16,
                                                     .head_size = E / 16,
                                                     .scale = 0.1f,
                                                     .qkv = b->x,
                                                     .ld = 3 * E,
                                                     .y = b->y,
                                                     .ldy = E});
}
static void run_tree(const struct bench *b, const struct line *l) {
    b->ops->attn_tree(b->k, &l->tree);
}

/* A product of a layer, for `m` rows of the pass. */
static void add_gemm(const struct bench *b, const struct line *l, struct kern_ptr x, int k,
                     const struct kern_mat *w, struct kern_ptr y, int n, int accumulate) {
    b->ops->gemm(
        b->k, &(struct kern_gemm){
                  .m = l->m, .x = x, .ldx = k, .w = w, .y = y, .ldy = n, .accumulate = accumulate});
}

/* What a step of the decoder issues, all LAYERS of it with the same weights, and its wait. */
static void run_pass(const struct bench *b, const struct line *l) {
    const struct line norm = {.m = l->m, .k = D}, gated = {.m = l->m, .n = F};
    struct err e = {0};
    do {
        b->ops->begin(b->k, (uint64_t)l->m);
        for (int i = 0; i < LAYERS; i++) {
            run_rmsnorm(b, &norm);
            add_gemm(b, l, b->y, D, l->layer->qkv, b->wide, 3 * D, 0);
            struct line rope = *l;
            rope.tree.tail = b->zeros;
            run_rope(b, &rope);
            run_tree(b, l);
            add_gemm(b, l, b->y, D, l->layer->o, b->x, D, 1);
            run_rmsnorm(b, &norm);
            add_gemm(b, l, b->y, D, l->layer->gate, b->wide, 2 * F, 0);
            run_swiglu(b, &gated);
            add_gemm(b, l, b->y, F, l->layer->down, b->x, D, 1);
        }
    } while (b->ops->end(b->k));
    if (b->ops->sync(b->k, &e)) fail(l->name, &e);
}

/* ---- measuring ---- */

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Microseconds of one run among `n`. */
static double round_us(const struct bench *b, const struct line *l, int n) {
    struct err e = {0};
    uint64_t start = clock_ns();
    for (int i = 0; i < n; i++)
        l->run(b, l);
    if (b->ops->sync(b->k, &e)) fail(l->name, &e);
    return (double)(clock_ns() - start) / 1e3 / n;
}

/* Prints the line; its median in microseconds. */
static double measure(const struct bench *b, const struct line *l) {
    double us[ROUNDS], once;
    (void)round_us(b, l, 1);
    once = round_us(b, l, 1);
    int n = once > 20000 ? 1 : (int)(20000 / once) + 1; /* rounds of 20 ms */
    for (int i = 0; i < ROUNDS; i++)
        us[i] = round_us(b, l, n);
    qsort(us, ROUNDS, sizeof us[0], by_size);
    double floor = l->flop / PEAK_TFLOPS / 1e6, moved = l->bytes / PEAK_GBS / 1e3;
    if (moved > floor) floor = moved;
    printf("| %-40s | %9.1f | %9.1f .. %9.1f | %9.1f | %5.1f %% |\n", l->name, us[ROUNDS / 2],
           us[0], us[ROUNDS - 1], floor, 100 * floor / us[ROUNDS / 2]);
    return us[ROUNDS / 2];
}

static double product(const struct bench *b, const char *name, struct kern_mat *w, int m, int n,
                      int k, void (*run)(const struct bench *, const struct line *)) {
    struct line l = {.name = name, .run = run, .m = m, .n = n, .k = k, .w = w};
    l.flop = 2.0 * m * n * k;
    l.bytes = 2.0 * n * k + 4.0 * m * ((double)n + k);
    return measure(b, &l);
}

static double rows_op(const struct bench *b, const char *name, int m, int n, int k, double bytes,
                      void (*run)(const struct bench *, const struct line *)) {
    struct line l = {.name = name, .run = run, .m = m, .n = n, .k = k, .bytes = bytes};
    l.tree.tail = b->zeros;
    return measure(b, &l);
}

/* ---- the tree: lanes behind one stem and their branches, each with a tail of its own ---- */

struct tree {
    struct kern_attn_group groups[ROWS];
    struct kern_attn_span spans[2 * ROWS];
    int32_t off[ROWS + 1], tail[ROWS * TAIL];
};

static struct kern_ptr send(const struct bench *b, const void *from, size_t bytes) {
    struct kern_ptr p = take(b, bytes);
    b->ops->put(b->k, p, from, bytes);
    return p;
}

/* `rows` lanes, GROUP of them behind each branch of three tokens: their attention, or a pass of
 * all layers when there is a `layer`. */
static double lanes(const struct bench *b, const char *name, int rows, const struct layer *layer) {
    struct tree *t = mem_must(sizeof *t);
    int n = (rows + GROUP - 1) / GROUP;
    for (int i = 0; i < n; i++) {
        int left = rows - i * GROUP;
        t->spans[2 * i] = (struct kern_attn_span){0, STEM};
        t->spans[2 * i + 1] = (struct kern_attn_span){STEM + 3 * i, 3};
        t->groups[i] =
            (struct kern_attn_group){i * GROUP, left < GROUP ? left : GROUP, 2 * i, 2, -1};
    }
    for (int i = 0; i < rows * TAIL; i++)
        t->tail[i] = 4096 + i * 37 % (SLOTS - 4096);
    for (int i = 0; i <= rows; i++)
        t->off[i] = i * TAIL;
    struct line l = {.name = name, .run = run_tree, .m = rows};
    l.tree = (struct kern_attn_tree){.rows = rows,
                                     .heads = H,
                                     .head_size = D / H,
                                     .scale = 0.088f,
                                     .q = b->wide,
                                     .ldq = 3 * D,
                                     .pool_k = b->pool_k,
                                     .pool_v = b->pool_v,
                                     .pool_dtype = b->pool_dtype,
                                     .y = b->y,
                                     .ldy = D,
                                     .groups = t->groups,
                                     .n_groups = n,
                                     .spans = t->spans,
                                     .n_spans = 2 * n,
                                     .dev_groups = send(b, t->groups, sizeof t->groups),
                                     .dev_spans = send(b, t->spans, sizeof t->spans),
                                     .tail_off = send(b, t->off, sizeof t->off),
                                     .tail = send(b, t->tail, sizeof t->tail)};
    l.flop = 4.0 * rows * (STEM + 3 + TAIL) * D;
    double keys = 2.0 * (STEM + 3.0 * n + (double)rows * TAIL);
    l.bytes = D * ((double)kern_dtype_bytes(b->pool_dtype) * keys + 4.0 * 2.0 * rows);
    if (layer) {
        l.run = run_pass;
        l.layer = layer;
        l.flop = LAYERS * (l.flop + 2.0 * rows * (4.0 * D * D + 3.0 * D * F));
        l.bytes = LAYERS * (l.bytes + 2.0 * (4.0 * D * D + 3.0 * D * F));
    }
    double us = measure(b, &l);
    struct kern_ptr all[] = {l.tree.dev_groups, l.tree.dev_spans, l.tree.tail_off, l.tree.tail};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        b->ops->free(b->k, all[i]);
    mem_free(t);
    return us;
}

/* ---- the whole table ---- */

static void bench_open(struct bench *b, const char *device, const char *mode) {
    struct kern_choice c;
    struct err e = {0};
    if (kern_choose(device, NULL, &c, &e)) fail(device, &e);
    b->ops = c.ops;
    if (c.ops->open(&(struct kern_config){.device = c.device, .isa = mode}, &b->k, &e))
        fail(device, &e);
    b->pool_dtype = c.ops->pool_dtype(b->k);
    b->x = take_random(b, (size_t)2048 * F);
    b->y = take_random(b, (size_t)2048 * F);
    b->wide = take_random(b, (size_t)2048 * 2 * F);
    b->vector = take_random(b, 2 * F);
    b->pool_k = take_pool(b, (size_t)SLOTS * D);
    b->pool_v = take_pool(b, (size_t)SLOTS * D);
    b->zeros = take(b, 4096 * sizeof(int32_t));
    printf("\n## %s\n\n| operation | us | least .. most | floor, us | share "
           "|\n|---|---|---|---|---|\n",
           b->ops->describe(b->k));
}

/* Microseconds of the last line. */
static double attention(const struct bench *b) {
    (void)rows_op(b, "picture attention, 1025 x 16 x 88", TOKENS, 0, 0, 16.0 * TOKENS * E,
                  run_full);
    (void)lanes(b, "tree attention, 1 lane", 1, NULL);
    (void)lanes(b, "tree attention, 64 lanes", 64, NULL);
    return lanes(b, "tree attention, 1024 lanes", ROWS, NULL);
}

static void decoder(const struct bench *b) {
    static const int counts[] = {1, 16, 64, 256, 1024, 2048};
    struct kern_mat *qkv = matrix(b, 3 * D, D), *o = matrix(b, D, D);
    struct kern_mat *gate = matrix(b, 2 * F, D), *down = matrix(b, D, F);
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        char name[4][48];
        static const char *const what[] = {"qkv", "o +=", "gate, up", "down +="};
        int m = counts[i];
        for (int n = 0; n < 4; n++)
            (void)snprintf(name[n], sizeof name[n], "%s, %d rows", what[n], m);
        double us = product(b, name[0], qkv, m, 3 * D, D, run_gemm) +
                    product(b, name[1], o, m, D, D, run_add) +
                    product(b, name[2], gate, m, 2 * F, D, run_gemm) +
                    product(b, name[3], down, m, D, F, run_add);
        double flop = 2.0 * m * (4.0 * D * D + 3.0 * D * F);
        printf("| %-40s | %9.1f | %23s | %9.1f | %s |\n", "  all four", us, "",
               flop / PEAK_TFLOPS / 1e6, "");
    }
    (void)rows_op(b, "rmsnorm, 1024 rows", ROWS, 0, D, 8.0 * ROWS * D, run_rmsnorm);
    (void)rows_op(b, "swiglu, 1024 rows", ROWS, F, 0, 12.0 * ROWS * F, run_swiglu);
    double stored = 2.0 * (double)kern_dtype_bytes(b->pool_dtype); /* and q, k, v read, q written */
    (void)rows_op(b, "rope and store, 1024 rows", ROWS, 0, 0, (16.0 + stored) * ROWS * D, run_rope);
}

/* Steps of all layers. */
static void passes(const struct bench *b) {
    struct layer layer = {matrix(b, 3 * D, D), matrix(b, D, D), matrix(b, 2 * F, D),
                          matrix(b, D, F)};
    (void)lanes(b, "pass of 32 layers, 1 lane", 1, &layer);
    (void)lanes(b, "pass of 32 layers, 64 lanes", 64, &layer);
    (void)lanes(b, "pass of 32 layers, 1024 lanes", ROWS, &layer);
}

static void vision(const struct bench *b) {
    (void)product(b, "vision qkv, 1025 rows", matrix(b, 3 * E, E), TOKENS, 3 * E, E, run_gemm);
    (void)product(b, "vision proj, 1025 rows", matrix(b, E, E), TOKENS, E, E, run_add);
    (void)product(b, "vision fc1 and gelu, 1025 rows", matrix(b, G, E), TOKENS, G, E, run_gelu);
    (void)product(b, "vision fc2, 1025 rows", matrix(b, E, G), TOKENS, E, G, run_add);
    (void)product(b, "connector, 256 rows", matrix(b, D, 4 * E), 256, D, 4 * E, run_gemm);
}

/* How fast weights come in. */
static void upload(const struct bench *b) {
    size_t bytes = (size_t)512 << 20;
    char *host = mem_must(bytes);
    memset(host, 1, bytes);
    struct kern_ptr p = take(b, bytes);
    struct err e = {0};
    uint64_t start = clock_ns();
    b->ops->put(b->k, p, host, bytes);
    if (b->ops->sync(b->k, &e)) fail("put", &e);
    printf("\nput of 512 MiB: %.2f GB/s\n", (double)bytes / (double)(clock_ns() - start));
    mem_free(host);
}

int main(int argc, char **argv) {
    static const char *const modes[] = {"flat", "tile", "flat+graphs", "tile+graphs"};
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        struct bench b;
        bench_open(&b, argc > 1 ? argv[1] : "cuda", modes[i]);
        if (i == 0) {
            decoder(&b);
            vision(&b);
        }
        double us = i < 2 ? attention(&b) : 0;
        passes(&b);
        struct kern_stats s;
        b.ops->stats(b.k, &s);
        if (us > 0)
            printf("\n1024 lanes' attention in all 32 layers: %.2f ms, from the figure above.\n",
                   us * LAYERS / 1e3);
        printf("\nPasses that ran as graphs: %llu.\n", (unsigned long long)s.replays);
        if (i == 0) upload(&b);
        fflush(stdout);
        b.ops->close(b.k);
    }
    return 0;
}
