/* test_cublaslt.c - products by cuBLASLt when it refuses: the answer is our own product's, the
 * device lives, one line of the log says so, and the bits never go back. The stand-in of the
 * emulated card (tests/cuda/emu/fake_lt.cc) plays it. And a card that has none fails. So no test
 * here is named _cuda: that runs on the emulated card without the stand-in as well. */
#include <dlfcn.h>

#include "kernels/base/half.h"
#include "kernels/base/rng.h"
#include "kernels/kern.h"
#include "tests/cuda/emu/fake_lt.h"
#include "tests/unit/kernels/emu_rig.h"

enum { N = 40, K = 200, M = 40, LD_MOST = N + 8 };

struct card {
    const struct kern_ops *ops;
    struct kern *k;
    struct kern *own; /* the same without cuBLASLt; the emulated card's memory is everybody's */
    struct fake_lt_control *lt;
    int notes;
    char note[400]; /* the last one */
    struct kern_ptr x, y, bias;
};

static void take_note(void *ud, const char *text) {
    struct card *c = ud;
    size_t n = strlen(text);
    CHECK(n < sizeof c->note && !strchr(text, '\n'));
    memcpy(c->note, text, n + 1);
    c->notes++;
}

static struct kern_ptr put(struct card *c, const float *x, size_t n) {
    struct kern_ptr p;
    CHECK_EQ(c->ops->alloc(c->k, n * sizeof *x, &p, NULL), 0);
    c->ops->put(c->k, p, x, n * sizeof *x);
    return p;
}

/* n numbers that no two orders of a sum agree about. */
static float *numbers(float *x, size_t n, uint64_t stream) {
    for (size_t i = 0; i < n; i++)
        x[i] = rng_normal(test_seed() + stream, i);
    return x;
}

/* Any card, or the test is skipped. */
static void any_open(struct card *c, const char *isa) {
    struct err e = {0};
    *c = (struct card){0};
    int rc = kern_find("cuda", &c->ops, &e);
    const struct kern_config cfg = {.isa = isa, .note = take_note, .note_ud = c};
    if (!rc) rc = c->ops->open(&cfg, &c->k, &e);
    if (rc == E_NOT_FOUND || rc == E_UNSUPPORTED) skip("%s", e.text);
    CHECK_EQ(rc, 0);
}

/* One with the stand-in. */
static void card_open(struct card *c, const char *isa) {
    static float x[M * LD_MOST + M * K];
    any_open(c, isa);
    void *library = dlopen(FAKE_LT_LIBRARY, RTLD_NOW | RTLD_NOLOAD);
    c->lt = library ? dlsym(library, FAKE_LT_CONTROL) : NULL;
    if (!c->lt) skip("cuda: needs the stand-in for cuBLASLt, see make test-cuda-emu");
    emu_find(c->ops)->hide_libraries = 1;
    CHECK_EQ(c->ops->open(&(struct kern_config){.isa = isa}, &c->own, NULL), 0);
    emu_find(c->ops)->hide_libraries = 0;
    c->x = put(c, numbers(x, M * K, 1), M * K);
    c->y = put(c, x, M * LD_MOST);
    c->bias = put(c, numbers(x, LD_MOST, 2), LD_MOST);
}

static void card_close(struct card *c) {
    CHECK_EQ(c->ops->sync(c->k, NULL), 0);
    c->ops->close(c->k);
    c->ops->close(c->own);
}

/* The same card by our own products. */
static struct card own_card(const struct card *c) {
    struct card own = *c;
    own.k = c->own;
    return own;
}

/* On a card without it a picture takes many times as long, and every other test passes. */
TEST(cublaslt_is_there_where_a_card_is) {
    struct card c;
    any_open(&c, NULL);
    if (strstr(c.ops->describe(c.k), "own products"))
        test_failed(__FILE__, __LINE__, "%s: %s", c.ops->describe(c.k), c.note);
    CHECK_HAS(c.ops->describe(c.k), "cuBLASLt ");
    c.ops->close(c.k);
}

/* Three kinds of matrix, and the first two for both ways. */
static struct kern_mat *matrix(struct card *c, int kind) {
    static const enum kern_dtype types[] = {KERN_BF16, KERN_F16, KERN_BF16, KERN_BF16, KERN_F16};
    uint16_t w[N * K];
    float x[N * K];
    struct kern_mat *m = NULL;
    numbers(x, N * K, 3);
    for (int i = 0; i < N * K; i++)
        w[i] = types[kind] == KERN_F16 ? half_to_f16(x[i]) : half_to_bf16(x[i]);
    struct kern_mat_part part = {w, N, types[kind]};
    struct kern_mat_src src = {.parts = &part,
                               .n_parts = 1,
                               .k = K,
                               .keep = kind == 2 ? KERN_KEEP_FP8 : KERN_KEEP_OWN,
                               .with_back = kind > 2};
    CHECK_EQ(c->ops->mat_new(c->k, &src, &m, NULL), 0);
    return m;
}

/* What a product is beside its matrix and rows: with `pad` y is not aligned, and goes through a
 * stage. */
struct way {
    int has_bias, accumulate, pad;
    enum kern_act act;
};
static const struct way ways[] = {{0, 0, 0, KERN_ACT_NONE}, {1, 0, 0, KERN_ACT_NONE},
                                  {1, 1, 0, KERN_ACT_NONE}, {1, 0, 0, KERN_ACT_GELU},
                                  {1, 1, 3, KERN_ACT_NONE}, {0, 0, 3, KERN_ACT_GELU}};

static void issue(struct card *c, const struct kern_mat *m, int rows, struct way w) {
    struct kern_gemm a = {.m = rows,
                          .x = c->x,
                          .ldx = K,
                          .w = m,
                          .y = c->y,
                          .ldy = N + w.pad,
                          .act = w.act,
                          .accumulate = w.accumulate};
    if (w.has_bias) a.bias = c->bias;
    c->ops->gemm(c->k, &a);
}

static void clear(struct card *c) {
    static float zero[M * LD_MOST];
    c->ops->put(c->k, c->y, zero, sizeof zero);
}

/* y (M, LD_MOST) after one product into zeros. */
static void multiply(struct card *c, const struct kern_mat *m, int rows, struct way w, float *y) {
    clear(c);
    issue(c, m, rows, w);
    CHECK_EQ(c->ops->get(c->k, y, c->y, M * LD_MOST * sizeof *y, NULL), 0);
}

static void check_fall(struct card *c, int kind, struct way w, int by_layout) {
    static const char *const types[] = {"40 x 200 bf16", "40 x 200 fp16", "40 x 200 fp8"};
    const char *status = by_layout ? "status 3 (ANOTHER_STATUS)" : "status 15 (NOT_SUPPORTED)";
    enum { FEW = 5, ROWS = 16, MORE = 33 }; /* of fp8 whole 16 rows go in */
    float lt[M * LD_MOST], own[M * LD_MOST], got[M * LD_MOST];
    struct card by_own = own_card(c);
    struct kern_mat *ours = matrix(&by_own, kind), *m = matrix(c, kind);
    int notes = c->notes;
    multiply(&by_own, ours, ROWS, w, own);
    multiply(c, m, ROWS, w, lt);
    CHECK(memcmp(own, lt, sizeof own) != 0); /* else this says nothing */
    CHECK_EQ(c->notes, notes);
    *(by_layout ? &c->lt->fail_layout : &c->lt->fail_rows) = by_layout ? by_layout : ROWS;
    multiply(c, m, ROWS, w, got);
    CHECK_MEM(got, own, sizeof own);
    CHECK_EQ(c->notes, notes + 1);
    CHECK_HAS(c->note, "cuda: device 0: cuBLASLt failed for 16 rows by ");
    CHECK_HAS(c->note, types[kind]);
    CHECK_HAS(c->note, status);
    CHECK_EQ(c->lt->fail_layout, 0);
    c->lt->fail_rows = 0;
    int products = c->lt->products;
    for (int i = 0; i < 2; i++) { /* what worked before, works, and is not tried again */
        multiply(c, m, i ? MORE : FEW, w, got);
        multiply(&by_own, ours, i ? MORE : FEW, w, own);
        CHECK_MEM(got, own, sizeof own);
    }
    CHECK_EQ(c->lt->products, products);
    CHECK_EQ(c->notes, notes + 1);
    c->ops->mat_free(c->own, ours);
    c->ops->mat_free(c->k, m);
}

TEST_LIMIT(cublaslt_that_fails_is_replaced_for_good, 120) {
    struct card c;
    card_open(&c, NULL);
    for (int kind = 0; kind < 3; kind++)
        for (size_t i = 0; i < ARRAY_LEN(ways); i++)
            check_fall(&c, kind, ways[i], 0);
    for (int nth = 1; nth <= 3; nth++)
        check_fall(&c, nth - 1, ways[0], nth);
    card_close(&c);
}

/* dx (M, K + pad) of `rows` rows by the way back of `m`. */
enum { DX_MOST = M * (K + 8) };
static void go_back(struct card *c, struct kern_mat *m, int rows, int pad, int accumulate,
                    float *dx) {
    struct kern_ptr p = put(c, numbers(dx, DX_MOST, 4), DX_MOST);
    struct kern_gemm_dx a = {rows, c->x, N, m, p, K + pad, accumulate};
    c->ops->train->gemm_dx(c->k, &a);
    CHECK_EQ(c->ops->get(c->k, dx, p, DX_MOST * sizeof *dx, NULL), 0);
    c->ops->free(c->k, p);
}

/* The same numbers within rounding, by cuBLASLt and by our own product, also where dx is crooked;
 * and what fails goes over to our own, for the way back alone. */
TEST(cublaslt_goes_back_by_the_matrix_as_it_lies) {
    enum { ROWS = 19 };
    static float lt[DX_MOST], own[DX_MOST], got[DX_MOST], y[M * LD_MOST];
    struct card c;
    card_open(&c, NULL);
    for (int i = 0; i < 8; i++) {
        int kind = 3 + i % 2, pad = i / 2 % 2 ? 3 : 0, accumulate = i / 4, products;
        struct card by_own = own_card(&c);
        struct kern_mat *ours = matrix(&by_own, kind), *m = matrix(&c, kind);
        products = c.lt->products;
        go_back(&by_own, ours, ROWS, pad, accumulate, own);
        CHECK_EQ(c.lt->products, products);
        go_back(&c, m, ROWS, pad, accumulate, lt);
        CHECK_EQ(c.lt->products, products + 1);
        CHECK(memcmp(own, lt, sizeof own) != 0); /* else this says nothing */
        for (int j = 0; j < DX_MOST; j++)
            CHECK_NEAR(lt[j], own[j], 1e-4);
        c.lt->fail_rows = ROWS;
        go_back(&c, m, ROWS, pad, accumulate, got);
        c.lt->fail_rows = 0;
        CHECK_MEM(got, own, sizeof own);
        CHECK_HAS(c.note, "cuBLASLt failed for 19 rows by 40 x 200");
        products = c.lt->products;
        go_back(&c, m, ROWS - 1, pad, accumulate, got);
        CHECK_EQ(c.lt->products, products);
        multiply(&c, m, ROWS, ways[0], y);
        CHECK_EQ(c.lt->products, products + 1);
        c.ops->mat_free(c.own, ours);
        c.ops->mat_free(c.k, m);
    }
    card_close(&c);
}

/* Of what the heuristic offers first nothing will do; with an algorithm that does not take what
 * comes, calls would fail. A head's logits lie as far apart as the widest head's. */
TEST(cublaslt_algorithm_takes_rows_and_strides_that_come) {
    static const int counts[] = {1, 7, 16, 33}, strides[] = {N, N + 4, 32000};
    struct card c;
    struct kern_ptr y;
    card_open(&c, NULL);
    CHECK_EQ(c.ops->alloc(c.k, (size_t)M * 32000 * sizeof(float), &y, NULL), 0);
    for (int kind = 0; kind < 3; kind++) {
        struct kern_mat *m = matrix(&c, kind);
        for (size_t i = 0; i < ARRAY_LEN(counts) * ARRAY_LEN(strides) * 2; i++) {
            struct kern_gemm a = {.m = counts[i % 4], .x = c.x, .ldx = K, .w = m, .y = y};
            int products = c.lt->products;
            a.ldy = strides[i / 4 % 3];
            if (i / 12) a.bias = c.bias;
            c.ops->gemm(c.k, &a);
            CHECK_EQ(c.lt->products, products + 1);
            CHECK_STR(c.note, "");
        }
        c.ops->mat_free(c.k, m);
    }
    card_close(&c);
}

/* What the library doesn't know, the stand-in's inner shape, is left out. */
TEST(cublaslt_algorithm_is_told) {
    static const char *const want[] = {
        "40 x 200 bf16: cuBLASLt id 12, tile 20, stages 0, cluster 258, swizzle 0, custom 0, "
        "workspace 4096; with bias the same",
        "40 x 200 fp16: cuBLASLt id 12, tile 20, stages 0, cluster 258, swizzle 0, custom 0, "
        "workspace 4096; with bias id 12, tile 21, stages 0, cluster 258, swizzle 0, custom 0, "
        "workspace 4096",
        "40 x 200 fp8: cuBLASLt id 10, tile 20, stages 0, cluster 258, swizzle 0, custom 0, "
        "workspace 4096"};
    struct card c;
    char text[600], some[20];
    card_open(&c, NULL);
    for (int kind = 0; kind < 3; kind++) {
        c.lt->bias_tile = kind == 1;
        struct kern_mat *m = matrix(&c, kind);
        CHECK_EQ(c.ops->mat_describe(c.k, m, text, sizeof text), strlen(want[kind]));
        CHECK_STR(text, want[kind]);
        CHECK_EQ(c.ops->mat_describe(c.k, m, some, sizeof some), strlen(want[kind]));
        CHECK_EQ(strlen(some), sizeof some - 1);
        c.lt->fail_layout = 1;
        issue(&c, m, 1, ways[0]);
        CHECK(c.ops->mat_describe(c.k, m, text, sizeof text) > 0);
        CHECK_HAS(text, ": our own product, cuBLASLt failed");
        struct card by_own = own_card(&c);
        CHECK(c.ops->mat_describe(c.own, matrix(&by_own, kind), text, sizeof text) > 0);
        CHECK_HAS(text, ": our own product");
        CHECK(!strstr(text, "failed"));
    }
    card_close(&c);
}

/* Nobody listens, and nobody falls. */
TEST(cublaslt_may_fail_in_silence) {
    struct card c;
    float y[M * LD_MOST];
    card_open(&c, NULL);
    card_close(&c);
    CHECK_EQ(c.ops->open(&(struct kern_config){0}, &c.k, NULL), 0);
    c.x = put(&c, numbers(y, M * LD_MOST, 1), M * LD_MOST);
    c.y = c.bias = c.x;
    struct kern_mat *m = matrix(&c, 0);
    c.lt->fail_rows = 1;
    issue(&c, m, 1, ways[0]);
    CHECK_EQ(c.notes, 0);
    c.ops->close(c.k);
}

/* Our own launch is refused as well: then it is the device. */
TEST(cublaslt_that_fails_does_not_hide_a_lost_device) {
    struct card c;
    struct err e = {0};
    card_open(&c, NULL);
    struct kern_mat *m = matrix(&c, 0);
    c.lt->fail_rows = 7;
    emu_find(c.ops)->refuse[EMU_LAUNCH] = 2; /* rounding x, the product */
    issue(&c, m, 7, ways[0]);
    CHECK_EQ(c.ops->sync(c.k, &e), E_DEVICE);
    CHECK_HAS(e.text, "cuda: device 0: product_16: ");
    c.ops->close(c.k);
    c.ops->close(c.own);
}

/* One line for all of them. */
TEST(cublaslt_without_an_algorithm_is_told_once) {
    struct card c;
    card_open(&c, NULL);
    CHECK_EQ(c.notes, 0);
    c.lt->no_algorithm = 1;
    (void)matrix(&c, 2);
    (void)matrix(&c, 0);
    CHECK_EQ(c.notes, 1);
    CHECK_STR(c.note,
              "cuda: device 0: cuBLASLt has no algorithm for 40 x 200 fp8, and maybe others: our "
              "own product");
    card_close(&c);
}

struct issued {
    struct card *c;
    struct kern_mat *m;
    int n, notes; /* times so far; notes before */
};

static void issue_seven(void *ud) {
    struct issued *i = ud;
    CHECK_EQ(i->c->notes, i->notes);
    issue(i->c, i->m, 7, ways[0]);
    i->n++;
}

/* While a pass is recorded it may be the capture that failed: the pass comes again, plainly, and
 * only then the matrix goes over. */
TEST(cublaslt_that_fails_in_a_recorded_pass_is_tried_again) {
    struct card c;
    float own[M * LD_MOST], got[M * LD_MOST];
    card_open(&c, "auto+graphs");
    struct card by_own = own_card(&c);
    struct kern_mat *ours = matrix(&by_own, 0), *m = matrix(&c, 0);
    multiply(&by_own, ours, 7, ways[0], own);
    for (int pass = 0; pass < 3; pass++) { /* seen; recorded; in vain */
        int notes = c.notes;
        struct issued i = {&c, m, 0, notes};
        clear(&c);
        if (pass == 2) c.lt->fail_rows = 7;
        c.ops->pass(c.k, 1, issue_seven, &i);
        CHECK_EQ(i.n, 1 + (pass == 2));
        CHECK_EQ(c.notes, notes + (pass == 2));
        CHECK_EQ(c.ops->get(c.k, got, c.y, sizeof got, NULL), 0);
        CHECK_EQ(memcmp(got, own, sizeof own) == 0, pass == 2);
    }
    card_close(&c);
}
