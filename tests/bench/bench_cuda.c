/* bench_cuda.c - the GPU at PAE-LaMM's true widths: one layer of the decoder and one block of the
 * vision tower, operation by operation, with made weights in bf16.
 *
 *     build/release/tests/bench_cuda [--tiny] [DEVICE [MODE...]]
 *     build/release/tests/bench_cuda [--tiny] floors [DEVICE]
 *
 * Without words: cuda flat tile flat+graphs tile+graphs. floors: what the card can do, in two
 * seconds. A figure is the time of one operation among many queued behind each other, after one
 * round to warm up; the median of the rounds, with least and most. Beside it, the floor: what its
 * multiply-adds or its bytes take at the card's own speed, whichever takes longer, and the share of
 * it that was reached. That speed is measured first: a product of 8,192^3 in bf16, and a copy
 * inside the card's memory. Products are in the first mode's table alone, as all modes have the
 * same. The attention is measured as the engine has it: one group of all lanes. Passes of all
 * layers are waited for, each. --tiny: sizes that an emulated card gets through.
 * Needs nothing but the kernels room, so that it can be built on a bare machine. Exit status 2: no
 * device.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/clock.h"
#include "kernels/base/half.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "kernels/kern.h"

enum { ROUNDS_MAX = 7, COUNTS = 6, PERIOD = 1000003 /* of made numbers; no width divides it */ };
enum { EXIT_NO_DEVICE = 2 };

/* Sizes, and how long each is looked at. */
struct widths {
    int d, f, h, layers;          /* decoder: width, of its MLP, heads, layers */
    int e, g, eh, tokens, places; /* vision tower, tokens of a picture, places of its connector */
    int stem, slots;              /* the stem's first run; its second has STEM_END */
    int rows, counts[COUNTS];     /* of a usual pass, and of the products' */
    int rounds, round_us;
    int product, copy_mib; /* of the floors, at most */
};
static const struct widths paper = {4096,
                                    11008,
                                    32,
                                    32,
                                    1408,
                                    6144,
                                    16,
                                    1025,
                                    256,
                                    263,
                                    65536,
                                    1024,
                                    {1, 16, 64, 256, 1024, 2048},
                                    7,
                                    20000,
                                    8192,
                                    1024};
static const struct widths tiny = {
    256, 704, 2, 2, 176, 192, 2, 33, 16, 22, 4096, 48, {1, 2, 3, 4, 48, 64}, 1, 1000, 256, 4};

struct bench {
    const struct kern_ops *ops;
    struct kern *k;
    const struct widths *w;
    double tflops, gbs;         /* the card's speed */
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

/* A pass of all layers has these. */
static double decoder_cells(const struct widths *w) {
    return 4.0 * w->d * w->d + 3.0 * w->d * w->f;
}

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
                                           .heads = b->w->h,
                                           .head_size = b->w->d / b->w->h,
                                           .theta = 10000,
                                           .qkv = b->wide,
                                           .ld = 3 * b->w->d,
                                           .pos = b->zeros,
                                           .slot = l->tree.tail,
                                           .pool_k = b->pool_k,
                                           .pool_v = b->pool_v,
                                           .pool_dtype = b->pool_dtype});
}
static void run_full(const struct bench *b, const struct line *l) {
    b->ops->attn_full(b->k, &(struct kern_attn_full){.images = 1,
                                                     .tokens = l->m,
                                                     .heads = b->w->eh,
                                                     .head_size = b->w->e / b->w->eh,
                                                     .scale = 0.1f,
                                                     .qkv = b->x,
                                                     .ld = 3 * b->w->e,
                                                     .y = b->y,
                                                     .ldy = b->w->e});
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

struct issued {
    const struct bench *b;
    const struct line *l;
};

/* What a step of the decoder issues, all layers of it with the same weights. */
static void issue_pass(void *ud) {
    const struct issued *i = ud;
    const struct bench *b = i->b;
    const struct line *l = i->l;
    const int d = b->w->d, f = b->w->f;
    const struct line norm = {.m = l->m, .k = d}, gated = {.m = l->m, .n = f};
    for (int layer = 0; layer < b->w->layers; layer++) {
        run_rmsnorm(b, &norm);
        add_gemm(b, l, b->y, d, l->layer->qkv, b->wide, 3 * d, 0);
        struct line rope = *l;
        rope.tree.tail = b->zeros;
        run_rope(b, &rope);
        run_tree(b, l);
        add_gemm(b, l, b->y, d, l->layer->o, b->x, d, 1);
        run_rmsnorm(b, &norm);
        add_gemm(b, l, b->y, d, l->layer->gate, b->wide, 2 * f, 0);
        run_swiglu(b, &gated);
        add_gemm(b, l, b->y, f, l->layer->down, b->x, d, 1);
    }
}

/* A step and its wait. */
static void run_pass(const struct bench *b, const struct line *l) {
    struct err e = {0};
    b->ops->pass(b->k, (uint64_t)l->m, issue_pass, &(struct issued){b, l});
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

/* The median of some rounds in microseconds, with least and most. */
static double median_us(const struct bench *b, const struct line *l, double *least, double *most) {
    double us[ROUNDS_MAX], once;
    int rounds = b->w->rounds;
    (void)round_us(b, l, 1);
    once = round_us(b, l, 1);
    int n = once > b->w->round_us ? 1 : (int)(b->w->round_us / once) + 1;
    for (int i = 0; i < rounds; i++)
        us[i] = round_us(b, l, n);
    qsort(us, (size_t)rounds, sizeof us[0], by_size);
    *least = us[0];
    *most = us[rounds - 1];
    return us[rounds / 2];
}

/* Prints the line; its median in microseconds. */
static double measure(const struct bench *b, const struct line *l) {
    double least, most, us = median_us(b, l, &least, &most);
    double floor = l->flop / b->tflops / 1e6, moved = l->bytes / b->gbs / 1e3;
    if (moved > floor) floor = moved;
    printf("| %-40s | %9.1f | %9.1f .. %9.1f | %9.1f | %5.1f %% |\n", l->name, us, least, most,
           floor, 100 * floor / us);
    (void)fflush(stdout); /* whoever ends this sees what there was */
    return us;
}

static double product(const struct bench *b, const char *name, struct kern_mat *w, int m, int n,
                      int k, void (*run)(const struct bench *, const struct line *)) {
    struct line l = {.name = name, .run = run, .m = m, .n = n, .k = k, .w = w};
    l.flop = 2.0 * m * n * k;
    l.bytes = 2.0 * n * k + 4.0 * m * ((double)n + k);
    return measure(b, &l);
}

/* A line that says how the products by `w` are made. */
static void tell(const struct bench *b, const struct kern_mat *w) {
    char text[400];
    (void)b->ops->mat_describe(b->k, w, text, sizeof text);
    printf("| by %s | | | | |\n", text);
}

static double rows_op(const struct bench *b, const char *name, int m, int n, int k, double bytes,
                      void (*run)(const struct bench *, const struct line *)) {
    struct line l = {.name = name, .run = run, .m = m, .n = n, .k = k, .bytes = bytes};
    l.tree.tail = b->zeros;
    return measure(b, &l);
}

/* ---- lanes, as the engine has them in a pass ---- */

/* One group of all lanes behind a stem of two runs of slots; a lane's private keys are the
 * branch's, which it shares with others of its row of the picture, and those of its own tokens. */
enum { STEM_END = 10, TAIL_MOST = 25, BRANCH = 3, BRANCH_LANES = 64 };

struct tree {
    struct kern_attn_group group;
    struct kern_attn_span spans[2];
    int32_t *off, *tail; /* (rows + 1), (off[rows]) */
};

/* 1 .. 25; 12.5 in the middle. */
static int tail_len(int lane) {
    int n = (lane + TAIL_MOST / 2) % (2 * TAIL_MOST);
    return n < TAIL_MOST ? n + 1 : n > TAIL_MOST ? n - TAIL_MOST : 1;
}

/* Returns how many slots are seen, the stem's included. */
static int tree_make(struct tree *t, const struct widths *w, int rows) {
    int next = w->stem + STEM_END;
    t->group = (struct kern_attn_group){0, rows, 0, 2, -1};
    t->spans[0] = (struct kern_attn_span){0, w->stem};
    t->spans[1] = (struct kern_attn_span){w->stem, STEM_END};
    t->off = mem_must((size_t)(rows + 1) * sizeof *t->off);
    t->tail = mem_must((size_t)rows * TAIL_MOST * sizeof *t->tail);
    for (int i = 0, branch = 0; i < rows; i++) {
        int n = tail_len(i);
        if (i % BRANCH_LANES == 0) {
            branch = next;
            next += BRANCH;
        }
        for (int k = 0; k < n; k++)
            t->tail[t->off[i] + k] = k < BRANCH && n > BRANCH ? branch + k : next++;
        t->off[i + 1] = t->off[i] + n;
    }
    must(next <= w->slots);
    return next;
}

static struct kern_ptr send(const struct bench *b, const void *from, size_t bytes) {
    struct kern_ptr p = take(b, bytes);
    b->ops->put(b->k, p, from, bytes);
    return p;
}

/* The attention of `rows` lanes, or a pass of all layers when there is a `layer`. */
static double lanes(const struct bench *b, int rows, const struct layer *layer) {
    const struct widths *w = b->w;
    struct tree t = {0};
    char name[64];
    int seen = tree_make(&t, w, rows), lists = t.off[rows];
    if (layer)
        (void)snprintf(name, sizeof name, "pass of %d layers, %d lanes", w->layers, rows);
    else
        (void)snprintf(name, sizeof name, "tree attention, %d lanes, %.1f keys each", rows,
                       (double)lists / rows);
    struct line l = {.name = name, .run = layer ? run_pass : run_tree, .m = rows, .layer = layer};
    l.tree = (struct kern_attn_tree){.rows = rows,
                                     .heads = w->h,
                                     .head_size = w->d / w->h,
                                     .scale = 0.088f,
                                     .q = b->wide,
                                     .ldq = 3 * w->d,
                                     .pool_k = b->pool_k,
                                     .pool_v = b->pool_v,
                                     .pool_dtype = b->pool_dtype,
                                     .y = b->y,
                                     .ldy = w->d,
                                     .groups = &t.group,
                                     .n_groups = 1,
                                     .spans = t.spans,
                                     .n_spans = 2,
                                     .dev_groups = send(b, &t.group, sizeof t.group),
                                     .dev_spans = send(b, t.spans, sizeof t.spans),
                                     .tail_off = send(b, t.off, (size_t)(rows + 1) * sizeof *t.off),
                                     .tail = send(b, t.tail, (size_t)lists * sizeof *t.tail)};
    l.flop = 4.0 * w->d * ((double)rows * (w->stem + STEM_END) + lists);
    l.bytes = w->d * ((double)kern_dtype_bytes(b->pool_dtype) * 2.0 * seen + 4.0 * 2.0 * rows);
    if (layer) {
        l.flop = w->layers * (l.flop + 2.0 * rows * decoder_cells(w));
        l.bytes = w->layers * (l.bytes + 2.0 * decoder_cells(w));
    }
    double us = measure(b, &l);
    struct kern_ptr all[] = {l.tree.dev_groups, l.tree.dev_spans, l.tree.tail_off, l.tree.tail};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        b->ops->free(b->k, all[i]);
    mem_free(t.off);
    mem_free(t.tail);
    return us;
}

/* ---- what the card can do ---- */

static void run_copy(const struct bench *b, const struct line *l) {
    b->ops->copy(b->k, b->y, b->x, (size_t)l->n);
}

/* Gigabytes that a copy reads and writes in a second, and multiply-adds of a bf16 product of n^3 in
 * 10^12 a second, times two. */
static void measure_floors(struct bench *b) {
    size_t mib = (size_t)b->w->copy_mib, n = (size_t)b->w->product;
    double least, most;
    struct line copy = {.name = "copy", .run = run_copy, .n = (int)((mib << 20) - 64)};
    b->x = take(b, mib << 20);
    b->y = take(b, mib << 20);
    (void)median_us(b, &copy, &least, &most);
    b->gbs = 2.0 * copy.n / least / 1e3;
    b->ops->free(b->k, b->x);
    b->ops->free(b->k, b->y);
    struct line gemm = {.name = "product", .run = run_gemm, .m = (int)n, .n = (int)n, .k = (int)n};
    gemm.w = matrix(b, (int)n, (int)n);
    b->x = take_random(b, n * n);
    b->wide = take(b, n * n * sizeof(float));
    (void)median_us(b, &gemm, &least, &most);
    b->tflops = 2.0 * (double)(n * n * n) / least / 1e6;
    b->ops->free(b->k, b->x);
    b->ops->free(b->k, b->wide);
    b->ops->mat_free(b->k, gemm.w);
    struct kern_stats s;
    b->ops->stats(b->k, &s);
    printf("card: %s\nroom_mib=%llu pass_rows=%d copy_gbs=%.3g product_tflops=%.3g product_n=%zu\n",
           b->ops->describe(b->k), (unsigned long long)(s.most_bytes >> 20),
           b->ops->pass_rows(b->k), b->gbs, b->tflops, n);
    (void)fflush(stdout);
}

/* ---- the whole table ---- */

/* What a device has to say that is no error: a slower way. report.sh looks for it. */
static void print_note(void *ud, const char *text) {
    (void)ud;
    printf("note: %s\n", text);
}

static void bench_open(struct bench *b, const char *device, const char *mode) {
    struct kern_choice c;
    struct err e = {0};
    int rc = kern_choose(device, NULL, &c, &e);
    if (rc == 0) {
        b->ops = c.ops;
        struct kern_config how = {.device = c.device, .isa = mode, .note = print_note};
        rc = c.ops->open(&how, &b->k, &e);
    }
    if (rc == 0) return;
    printf("%s: %s\n", device, e.text);
    exit(EXIT_NO_DEVICE);
}

static void take_buffers(struct bench *b) {
    const struct widths *w = b->w;
    size_t rows = (size_t)w->counts[COUNTS - 1], f = (size_t)w->f;
    b->pool_dtype = b->ops->pool_dtype(b->k);
    b->x = take_random(b, rows * f);
    b->y = take_random(b, rows * f);
    b->wide = take_random(b, rows * 2 * f);
    b->vector = take_random(b, 2 * f);
    b->pool_k = take_pool(b, (size_t)w->slots * (size_t)w->d);
    b->pool_v = take_pool(b, (size_t)w->slots * (size_t)w->d);
    b->zeros = take(b, (rows + (size_t)w->rows) * sizeof(int32_t));
}

static void decoder(const struct bench *b) {
    const struct widths *w = b->w;
    int d = w->d, f = w->f;
    struct kern_mat *qkv = matrix(b, 3 * d, d), *o = matrix(b, d, d);
    struct kern_mat *gate = matrix(b, 2 * f, d), *down = matrix(b, d, f);
    for (int i = 0; i < COUNTS; i++) {
        char name[4][48];
        static const char *const what[] = {"qkv", "o +=", "gate, up", "down +="};
        int m = w->counts[i];
        for (int n = 0; n < 4; n++)
            (void)snprintf(name[n], sizeof name[n], "%s, %d rows", what[n], m);
        double us = product(b, name[0], qkv, m, 3 * d, d, run_gemm) +
                    product(b, name[1], o, m, d, d, run_add) +
                    product(b, name[2], gate, m, 2 * f, d, run_gemm) +
                    product(b, name[3], down, m, d, f, run_add);
        double floor = 2.0 * m * decoder_cells(w) / b->tflops / 1e6;
        double moved = 2.0 * decoder_cells(w) / b->gbs / 1e3;
        if (moved > floor) floor = moved;
        (void)snprintf(name[0], sizeof name[0], "  all four, %d rows", m);
        printf("| %-40s | %9.1f | %22s | %9.1f | %5.1f %% |\n", name[0], us, "", floor,
               100 * floor / us);
    }
    const struct kern_mat *all[] = {qkv, o, gate, down};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        tell(b, all[i]);
    double cells = (double)w->rows * d, stored = 2.0 * (double)kern_dtype_bytes(b->pool_dtype);
    (void)rows_op(b, "rmsnorm", w->rows, 0, d, 8.0 * cells, run_rmsnorm);
    (void)rows_op(b, "swiglu", w->rows, f, 0, 12.0 * w->rows * f, run_swiglu);
    /* q, k, v read and q written, beside what is stored */
    (void)rows_op(b, "rope and store", w->rows, 0, 0, (16.0 + stored) * cells, run_rope);
}

/* Attention alone, then steps of all layers. */
static void attention(const struct bench *b, int is_graphs) {
    const struct widths *w = b->w;
    double us = 0;
    if (!is_graphs) {
        (void)rows_op(b, "picture attention", w->tokens, 0, 0, 16.0 * w->tokens * w->e, run_full);
        (void)lanes(b, 1, NULL);
        (void)lanes(b, w->counts[2], NULL);
        us = lanes(b, w->rows, NULL);
    }
    int d = w->d, f = w->f;
    struct layer layer = {matrix(b, 3 * d, d), matrix(b, d, d), matrix(b, 2 * f, d),
                          matrix(b, d, f)};
    for (int i = 0; i < COUNTS; i++)
        if (i != 1) (void)lanes(b, w->counts[i], &layer);
    if (us > 0)
        printf("\n%d lanes' attention in all %d layers: %.2f ms, from the figure above.\n", w->rows,
               w->layers, us * w->layers / 1e3);
}

static void vision(const struct bench *b) {
    const struct widths *w = b->w;
    int e = w->e, g = w->g, t = w->tokens;
    struct kern_mat *all[] = {matrix(b, 3 * e, e), matrix(b, e, e), matrix(b, g, e),
                              matrix(b, e, g), matrix(b, w->d, 4 * e)};
    (void)product(b, "vision qkv", all[0], t, 3 * e, e, run_gemm);
    (void)product(b, "vision proj +=", all[1], t, e, e, run_add);
    (void)product(b, "vision fc1 and gelu", all[2], t, g, e, run_gelu);
    (void)product(b, "vision fc2 +=", all[3], t, e, g, run_add);
    (void)product(b, "connector", all[4], w->places, w->d, 4 * e, run_gemm);
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        tell(b, all[i]);
}

/* How fast weights come in. */
static void upload(const struct bench *b) {
    size_t bytes = (size_t)b->w->copy_mib << 19;
    char *host = mem_must(bytes);
    memset(host, 1, bytes);
    struct kern_ptr p = take(b, bytes);
    struct err e = {0};
    uint64_t start = clock_ns();
    b->ops->put(b->k, p, host, bytes);
    if (b->ops->sync(b->k, &e)) fail("put", &e);
    printf("\nput of %zu MiB: %.2f GB/s\n", bytes >> 20,
           (double)bytes / (double)(clock_ns() - start));
    mem_free(host);
}

static void run_mode(struct bench *b, const char *device, const char *mode, int is_first) {
    int is_graphs = strchr(mode, '+') != NULL;
    struct kern_stats s;
    bench_open(b, device, mode);
    if (is_first) measure_floors(b);
    take_buffers(b);
    printf("\n## %s\n\n| operation | us | least .. most | floor, us | share "
           "|\n|---|---|---|---|---|\n",
           b->ops->describe(b->k));
    if (is_first && !is_graphs) {
        decoder(b);
        vision(b);
    }
    attention(b, is_graphs);
    b->ops->stats(b->k, &s);
    if (is_graphs) printf("\nPasses that ran as graphs: %llu.\n", (unsigned long long)s.replays);
    if (is_first) upload(b);
    (void)fflush(stdout);
    b->ops->close(b->k);
}

int main(int argc, char **argv) {
    static const char *const usual[] = {"flat", "tile", "flat+graphs", "tile+graphs"};
    struct bench b = {.w = &paper};
    int at = 1;
    if (at < argc && strcmp(argv[at], "--tiny") == 0) {
        b.w = &tiny;
        at++;
    }
    int is_floors = at < argc && strcmp(argv[at], "floors") == 0;
    at += is_floors;
    const char *device = at < argc ? argv[at++] : "cuda";
    if (is_floors) {
        bench_open(&b, device, NULL);
        measure_floors(&b);
        b.ops->close(b.k);
        return 0;
    }
    int n = at < argc ? argc - at : (int)ARRAY_LEN(usual);
    for (int i = 0; i < n; i++)
        run_mode(&b, device, at < argc ? argv[at + i] : usual[i], i == 0);
    return 0;
}
