/* bench_train.c - the ways back of training beside the ways there, at lamm-mini's shapes.
 *
 *     make bench, or build/release/tests/bench_train [seconds for each, 0.5] [part of a name]
 *
 * The tower has 1,025 tokens; the decoder the 259 rows of a picture's stem and 1,352 rows of 256
 * questions behind it. A figure is the median; there and back take turns run by run, so that a
 * machine's moods hit both. A share is the rate of the way back by that of the way there, and has a
 * bar: 80 % for a product, 50 % for attention. Operations without products are in time alone. One
 * thread, in time of the processor, then two, by the clock.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/base/clock.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "kernels/kern.h"

enum { RUNS_MAX = 4000, STEM = 259, BRANCHES = 72, ASKED = 256, TOKENS = 5 };
enum { QUESTION_ROWS = BRANCHES + ASKED * TOKENS, SLOTS = STEM + QUESTION_ROWS };

/* What operations of one shape read and write. */
struct stage {
    const struct kern_ops *ops;
    struct kern *k;
    int threads;
    int m, n, k_size;                          /* rows; outputs; inputs */
    struct kern_ptr x, y, dx, dy, pools, sums; /* (m, 3 * the wider of n and k) */
    struct kern_ptr w, lse;                    /* (n, k); (m, 64) */
    struct kern_mat *mat;
};

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static struct kern_ptr numbers(const struct stage *s, size_t n) {
    struct kern_ptr p;
    float *host = mem_must(n * sizeof *host);
    for (size_t i = 0; i < n; i++)
        host[i] = rng_normal(1, i);
    must(s->ops->alloc(s->k, n * sizeof *host, &p, NULL) == 0);
    s->ops->put(s->k, p, host, n * sizeof *host);
    mem_free(host);
    return p;
}

static void stage_open(struct stage *s, int m, int n, int k) {
    s->m = m, s->n = n, s->k_size = k;
    struct kern_ptr *all[] = {&s->x, &s->y, &s->dx, &s->dy, &s->pools, &s->sums};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        *all[i] = numbers(s, (size_t)m * 3 * (size_t)(n > k ? n : k));
    s->w = numbers(s, (size_t)n * (size_t)k);
    s->lse = numbers(s, (size_t)m * 64);
    float *w = mem_must((size_t)n * (size_t)k * sizeof *w);
    struct kern_mat_part part = {w, n, KERN_F32};
    struct kern_mat_src src = {.parts = &part, .n_parts = 1, .k = k, .with_back = 1};
    must(s->ops->mat_new(s->k, &src, &s->mat, NULL) == 0);
    mem_free(w);
}

static void stage_close(struct stage *s) {
    struct kern_ptr all[] = {s->x, s->y, s->dx, s->dy, s->pools, s->sums, s->w, s->lse};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        s->ops->free(s->k, all[i]);
    s->ops->mat_free(s->k, s->mat);
}

/* ---- there and back ---- */

typedef void run_fn(const struct stage *s);

static void run_gemm(const struct stage *s) {
    s->ops->gemm(s->k,
                 &(struct kern_gemm){
                     .m = s->m, .x = s->x, .ldx = s->k_size, .w = s->mat, .y = s->y, .ldy = s->n});
}
static void run_dx(const struct stage *s) {
    s->ops->train->gemm_dx(
        s->k,
        &(struct kern_gemm_dx){
            .m = s->m, .dy = s->dy, .lddy = s->n, .w = s->mat, .dx = s->dx, .lddx = s->k_size});
}
static void run_dw(const struct stage *s) {
    s->ops->train->gemm_dw(s->k, &(struct kern_gemm_dw){.m = s->m,
                                                        .n = s->n,
                                                        .k = s->k_size,
                                                        .dy = s->dy,
                                                        .lddy = s->n,
                                                        .x = s->x,
                                                        .ldx = s->k_size,
                                                        .dw = s->w,
                                                        .lddw = s->k_size,
                                                        .accumulate = 1});
}

/* Heads of 32 over n numbers a row. */
static struct kern_attn_full full_args(const struct stage *s) {
    return (struct kern_attn_full){.images = 1,
                                   .tokens = s->m,
                                   .heads = s->n / 32,
                                   .head_size = 32,
                                   .scale = 0.17f,
                                   .qkv = s->x,
                                   .ld = 3 * s->n,
                                   .y = s->y,
                                   .ldy = s->n,
                                   .lse = s->lse};
}
static void run_full(const struct stage *s) {
    struct kern_attn_full a = full_args(s);
    s->ops->attn_full(s->k, &a);
}
static void run_full_back(const struct stage *s) {
    struct kern_attn_full_back a = {
        .fwd = full_args(s), .dy = s->dy, .lddy = s->n, .dqkv = s->dx, .lddqkv = 3 * s->n};
    s->ops->train->attn_full_back(s->k, &a);
}

/* The stem's rows see each other. A question has a branch, and its tokens see the stem, the branch
 * and themselves. */
struct tree {
    struct kern_attn_group groups[2];
    struct kern_attn_span span;
    int32_t off[SLOTS + 1], tail[BRANCHES + ASKED * TOKENS * (TOKENS + 3) / 2];
};

static struct kern_attn_tree tree_args(const struct stage *s, struct tree *t) {
    *t = (struct tree){.groups = {{0, STEM, 0, 0, 0}, {STEM, QUESTION_ROWS, 0, 1, -1}},
                       .span = {0, STEM}};
    int at = 0, row = STEM;
    for (int i = 0; i < BRANCHES; i++, t->off[++row] = at)
        t->tail[at++] = row;
    for (int i = 0; i < ASKED; i++)
        for (int token = 0; token < TOKENS; token++, t->off[++row] = at) {
            t->tail[at++] = STEM + i % BRANCHES;
            for (int j = 0; j <= token; j++)
                t->tail[at++] = row - token + j;
        }
    must(row == SLOTS && at == (int)ARRAY_LEN(t->tail));
    return (struct kern_attn_tree){.rows = SLOTS,
                                   .heads = s->n / 32,
                                   .head_size = 32,
                                   .scale = 0.17f,
                                   .q = s->x,
                                   .ldq = 3 * s->n,
                                   .pool_k = s->pools,
                                   .pool_v = kern_at(s->pools, (size_t)(SLOTS * s->n) * 4),
                                   .y = s->y,
                                   .ldy = s->n,
                                   .groups = t->groups,
                                   .n_groups = 2,
                                   .spans = &t->span,
                                   .n_spans = 1,
                                   .tail_off = {(char *)t->off}, /* host and device are one here */
                                   .tail = {(char *)t->tail},
                                   .lse = s->lse};
}
static void run_tree(const struct stage *s) {
    struct tree t;
    struct kern_attn_tree a = tree_args(s, &t);
    s->ops->attn_tree(s->k, &a);
}
static void run_tree_back(const struct stage *s) {
    struct tree t;
    struct kern_attn_tree_back a = {.fwd = tree_args(s, &t),
                                    .dy = s->dy,
                                    .lddy = s->n,
                                    .dq = s->dx,
                                    .lddq = 3 * s->n,
                                    .dk = s->sums,
                                    .dv = kern_at(s->sums, (size_t)(SLOTS * s->n) * 4)};
    s->ops->train->attn_tree_back(s->k, &a);
}

/* Layernorm where rows are as wide as the tower's, else RMS norm. */
static struct kern_norm norm_args(const struct stage *s) {
    return (struct kern_norm){s->m, s->n, s->x, s->n, s->w, s->w, 1e-5f, s->y, s->n};
}
static void run_norm(const struct stage *s) {
    struct kern_norm a = norm_args(s);
    (s->n == 128 ? s->ops->layernorm : s->ops->rmsnorm)(s->k, &a);
}
static void run_norm_back(const struct stage *s) {
    struct kern_norm_back a = {.rows = s->m,
                               .width = s->n,
                               .x = s->x,
                               .ldx = s->n,
                               .weight = s->w,
                               .eps = 1e-5f,
                               .dy = s->dy,
                               .lddy = s->n,
                               .dx = s->dx,
                               .lddx = s->n,
                               .dw = s->sums};
    const struct kern_train_ops *train = s->ops->train;
    (s->n == 128 ? train->layernorm_back : train->rmsnorm_back)(s->k, &a);
}
static void run_gelu(const struct stage *s) {
    s->ops->train->gelu(
        s->k, &(struct kern_gelu){
                  .rows = s->m, .width = s->n, .x = s->x, .ldx = s->n, .y = s->y, .ldy = s->n});
}
static void run_gelu_back(const struct stage *s) {
    s->ops->train->gelu_back(s->k, &(struct kern_gelu){.rows = s->m,
                                                       .width = s->n,
                                                       .x = s->x,
                                                       .ldx = s->n,
                                                       .dy = s->dy,
                                                       .lddy = s->n,
                                                       .y = s->dx,
                                                       .ldy = s->n});
}
static void run_swiglu(const struct stage *s) {
    s->ops->swiglu(s->k, &(struct kern_swiglu){s->m, s->n, s->x, 2 * s->n, s->y, s->n});
}
static void run_swiglu_back(const struct stage *s) {
    s->ops->train->swiglu_back(
        s->k, &(struct kern_swiglu_back){s->m, s->n, s->x, 2 * s->n, s->dy, s->n, s->dx, 2 * s->n});
}
static void run_sumsq(const struct stage *s) {
    s->ops->train->sumsq(s->k, &(struct kern_sumsq){(size_t)(s->m * s->n), s->x, s->lse});
}
static void run_adamw(const struct stage *s) {
    s->ops->train->adamw(s->k, &(struct kern_adamw){.n = (size_t)(s->m * s->n),
                                                    .p = s->x,
                                                    .m = s->y,
                                                    .v = s->pools,
                                                    .g = s->dy,
                                                    .lr = 1e-6f,
                                                    .beta1 = 0.9f,
                                                    .beta2 = 0.999f,
                                                    .eps = 1,
                                                    .scale = 1,
                                                    .fix1 = 1,
                                                    .fix2 = 1});
}
static void run_set(const struct stage *s) {
    s->ops->train->mat_set(
        s->k, &(struct kern_mat_set){.w = s->mat, .rows = s->n, .src = s->w, .ld = s->k_size});
}

/* ---- the table ---- */

struct pair {
    const char *name;
    run_fn *there, *back;
    int m, n, k;
    double flop, back_flop; /* 0: time alone */
    int bar;                /* percent */
};

#define PRODUCT(name, m, n, k)                                                                    \
    {name ", dx", run_gemm, run_dx, m, n, k, 2.0 * (m) * (n) * (k), 2.0 * (m) * (n) * (k), 80}, { \
        name ", dW", run_gemm, run_dw, m, n, k, 2.0 * (m) * (n) * (k), 2.0 * (m) * (n) * (k), 80  \
    }
#define FULL_FLOP (4.0 * 1025 * 1025 * 128)
#define TREE_PAIRS                                                       \
    (STEM * (STEM + 1) / 2.0 + (double)STEM * QUESTION_ROWS + BRANCHES + \
     ASKED * TOKENS * (TOKENS + 3) / 2.0)
#define TREE_FLOP (4.0 * TREE_PAIRS * 256)

static const struct pair pairs[] = {
    PRODUCT("tower qkv 128 -> 384", 1025, 384, 128),
    PRODUCT("tower o 128 -> 128", 1025, 128, 128),
    PRODUCT("tower fc1 128 -> 512", 1025, 512, 128),
    PRODUCT("tower fc2 512 -> 128", 1025, 128, 512),
    PRODUCT("qkv 256 -> 768", SLOTS, 768, 256),
    PRODUCT("o 256 -> 256", SLOTS, 256, 256),
    PRODUCT("gate, up 256 -> 1280", SLOTS, 1280, 256),
    PRODUCT("down 640 -> 256", SLOTS, 256, 640),
    {"tower attention", run_full, run_full_back, 1025, 128, 128, FULL_FLOP, 2.5 * FULL_FLOP, 50},
    {"tree attention", run_tree, run_tree_back, SLOTS, 256, 256, TREE_FLOP, 2.5 * TREE_FLOP, 50},
    {"tower layernorm", run_norm, run_norm_back, 1025, 128, 128, 0, 0, 0},
    {"rmsnorm", run_norm, run_norm_back, SLOTS, 256, 256, 0, 0, 0},
    {"tower gelu", run_gelu, run_gelu_back, 1025, 512, 128, 0, 0, 0},
    {"swiglu", run_swiglu, run_swiglu_back, SLOTS, 640, 256, 0, 0, 0},
    {"sum of squares | AdamW, 1.6 million", run_sumsq, run_adamw, 1562, 1024, 256, 0, 0, 0},
    {"product | mat_set, 1280 x 256", run_gemm, run_set, 1024, 1280, 256, 0, 0, 0},
};

/* One thread's time is what the processor spent on it, whoever else works here. Two wait for each
 * other, so theirs goes by the clock on the wall. */
static uint64_t now_ns(int is_alone) {
    struct timespec t;
    if (!is_alone) return clock_ns();
    must(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static double one_run(const struct stage *s, run_fn *run) {
    uint64_t start = now_ns(s->threads == 1);
    run(s);
    must(s->ops->sync(s->k, NULL) == 0);
    return (double)(now_ns(s->threads == 1) - start) / 1e3;
}

static void bench_pair(struct stage *s, const struct pair *p, double seconds) {
    static double there[RUNS_MAX], back[RUNS_MAX];
    double spent = 0;
    int n = 0;
    stage_open(s, p->m, p->n, p->k);
    (void)one_run(s, p->there), (void)one_run(s, p->back);
    for (; n < RUNS_MAX && (n < 3 || spent < seconds * 1e6); n++) {
        there[n] = one_run(s, p->there);
        back[n] = one_run(s, p->back);
        spent += there[n] + back[n];
    }
    stage_close(s);
    qsort(there, (size_t)n, sizeof *there, by_size);
    qsort(back, (size_t)n, sizeof *back, by_size);
    double a = there[n / 2], b = back[n / 2];
    printf("  %-36s %9.1f us %9.1f us", p->name, a, b);
    if (p->flop > 0)
        printf(" %7.1f %7.1f GFLOP/s  %4.0f %% (bar %d)", p->flop / a / 1e3, p->back_flop / b / 1e3,
               100 * p->back_flop / b / (p->flop / a), p->bar);
    putchar('\n');
}

int main(int argc, char **argv) {
    double seconds = argc > 1 ? atof(argv[1]) : 0.5;
    const char *only = argc > 2 ? argv[2] : "";
    for (int threads = 1; threads <= 2; threads++) {
        struct stage s = {.threads = threads};
        struct kern_config cfg = {.threads = threads};
        must(kern_find("cpu", &s.ops, NULL) == 0 && s.ops->open(&cfg, &s.k, NULL) == 0);
        printf("%s%34s %12s\n", s.ops->describe(s.k), "there", "back");
        for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
            if (strstr(pairs[i].name, only)) bench_pair(&s, &pairs[i], seconds);
        s.ops->close(s.k);
    }
    return 0;
}
