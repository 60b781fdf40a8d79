/* test_hand_over.c - what an operation leaves in 16 bits for a product is its f32 result, rounded,
 * bit for bit; and a product of such rows has the bits that it has of f32 rows. At aligned and at
 * odd sizes, addresses and strides. The CPU hands over f32, and has no part in this. */
#include "kernels/base/half.h"
#include "tests/unit/kernels/rig.h"
#include "tests/unit/kernels/tree.h"

#define TEST_HAND(id)                                                           \
    static void op_##id(struct rig *r);                                         \
    TEST(id##_ref) { rig_run("ref", NULL, op_##id); }                           \
    TEST_LIMIT(id##_16bit_cuda, 120) { rig_run("cuda", "flat", op_##id); }      \
    TEST_LIMIT(id##_16bit_cuda_tile, 120) { rig_run("cuda", "tile", op_##id); } \
    static void op_##id(struct rig *r)

static const enum kern_dtype types[] = {KERN_BF16, KERN_F16};

/* ---- rows of 16-bit numbers between guards ---- */

enum { GUARD = 32 };
static const uint16_t poison = 0x7fde; /* not a number in either type */

struct halves {
    struct kern_ptr p, base;
    int rows, cols, ld;
    size_t lead, total; /* numbers */
};

/* `pad` numbers behind each row; the address is odd when pad is. src: NULL: all poison. */
static struct halves halves_new(struct rig *r, const float *src, enum kern_dtype type, int rows,
                                int cols, int pad) {
    struct halves t = {.rows = rows, .cols = cols, .ld = cols + pad};
    t.lead = GUARD + (size_t)(pad % 2);
    t.total = t.lead + (size_t)rows * (size_t)t.ld + GUARD;
    uint16_t *all = host_take(t.total * sizeof *all);
    for (size_t i = 0; i < t.total; i++)
        all[i] = poison;
    for (size_t i = 0; src && i < (size_t)rows * (size_t)cols; i++) {
        size_t at = t.lead + i / (size_t)cols * (size_t)t.ld + i % (size_t)cols;
        all[at] = type == KERN_BF16 ? half_to_bf16(src[i]) : half_to_f16(src[i]);
    }
    t.base = rig_put(r, all, t.total * sizeof *all);
    t.p = kern_at(t.base, t.lead * sizeof *all);
    return t;
}

/* They are `want` (rows, cols), rounded, and nothing else was written. */
static void halves_are(struct rig *r, const struct halves *t, enum kern_dtype type,
                       const float *want) {
    const uint16_t *all = rig_get(r, t->base, t->total * sizeof *all);
    for (size_t i = 0; i < t->total; i++) {
        size_t ld = (size_t)t->ld, cols = (size_t)t->cols, at = i - t->lead; /* wraps before it */
        int is_in = i >= t->lead && at < (size_t)t->rows * ld && at % ld < cols;
        float x = is_in ? want[at / ld * cols + at % ld] : 0;
        uint16_t h = type == KERN_BF16 ? half_to_bf16(x) : half_to_f16(x);
        if (all[i] != (is_in ? h : poison))
            test_failed(__FILE__, __LINE__, "(%d, %d), stride %d: number %lld is %04x, not %04x",
                        t->rows, t->cols, t->ld, (long long)at, all[i], is_in ? h : poison);
    }
}

/* ---- who makes them ---- */

/* An operation of (rows, width) into y, whatever its type. */
typedef void make_fn(struct rig *r, const void *ud, struct kern_ptr y, int ldy,
                     enum kern_dtype type);

static void check_maker(struct rig *r, int rows, int width, make_fn *make, const void *ud) {
    struct tensor plain = tensor_out(r, rows, width, 1);
    make(r, ud, plain.p, plain.ld, KERN_F32);
    const float *want = tensor_get(r, &plain);
    static const int pads[] = {0, 3, 8};
    for (size_t t = 0; t < ARRAY_LEN(types); t++) {
        for (size_t i = 0; i < ARRAY_LEN(pads); i++) {
            struct halves y = halves_new(r, NULL, types[t], rows, width, pads[i]);
            make(r, ud, y.p, y.ld, types[t]);
            halves_are(r, &y, types[t], want);
        }
    }
}

static const int sizes[][2] = {{0, 8},   {1, 1},    {3, 7},   {17, 8},  {2, 88},
                               {5, 100}, {257, 40}, {3, 257}, {2, 1408}};

struct norm_of {
    int is_layer;
    struct kern_norm a;
};
static void make_norm(struct rig *r, const void *ud, struct kern_ptr y, int ldy,
                      enum kern_dtype type) {
    const struct norm_of *n = ud;
    struct kern_norm a = n->a;
    a.y = y;
    a.ldy = ldy;
    a.y_dtype = type;
    if (n->is_layer)
        RUN_ON(r, layernorm, &a);
    else
        RUN_ON(r, rmsnorm, &a);
}

TEST_HAND(norm_hands_over_what_it_makes) {
    for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
        int rows = sizes[s][0], width = sizes[s][1], pad = s % 2 ? 0 : 5;
        struct tensor x = tensor_in(r, host_random(r, (size_t)(rows * width), 2), rows, width, pad);
        struct tensor w = tensor_in(r, host_random(r, (size_t)width, 1), 1, width, pad);
        struct tensor b = tensor_in(r, host_random(r, (size_t)width, 1), 1, width, pad);
        struct norm_of n = {0, {rows, width, x.p, x.ld, w.p, b.p, 1e-5f, {0}, 0, KERN_F32}};
        check_maker(r, rows, width, make_norm, &n);
        n.is_layer = 1;
        check_maker(r, rows, width, make_norm, &n);
    }
}

static void make_swiglu(struct rig *r, const void *ud, struct kern_ptr y, int ldy,
                        enum kern_dtype type) {
    struct kern_swiglu a = *(const struct kern_swiglu *)ud;
    a.y = y;
    a.ldy = ldy;
    a.y_dtype = type;
    RUN_ON(r, swiglu, &a);
}

TEST_HAND(swiglu_hands_over_what_it_makes) {
    for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
        int rows = sizes[s][0], width = sizes[s][1], pad = s % 2 ? 0 : 3;
        const float *x = host_random(r, (size_t)(2 * rows * width), 4);
        struct tensor tx = tensor_in(r, x, rows, 2 * width, pad);
        struct kern_swiglu a = {rows, width, tx.p, tx.ld, {0}, 0, KERN_F32};
        check_maker(r, rows, width, make_swiglu, &a);
    }
}

static void make_full(struct rig *r, const void *ud, struct kern_ptr y, int ldy,
                      enum kern_dtype type) {
    struct kern_attn_full a = *(const struct kern_attn_full *)ud;
    a.y = y;
    a.ldy = ldy;
    a.y_dtype = type;
    RUN_ON(r, attn_full, &a);
}

TEST_HAND(attn_full_hands_over_what_it_makes) {
    static const int shapes[][4] = {/* images, tokens, heads, size */
                                    {1, 1, 1, 8},
                                    {2, 17, 3, 5},
                                    {1, 70, 2, 32},
                                    {3, 33, 2, 88}};
    for (size_t s = 0; s < ARRAY_LEN(shapes); s++) {
        int rows = shapes[s][0] * shapes[s][1], width = shapes[s][2] * shapes[s][3];
        const float *x = host_random(r, (size_t)(3 * rows * width), 1);
        struct tensor qkv = tensor_in(r, x, rows, 3 * width, s % 2 ? 0 : 3);
        struct kern_attn_full a = {.images = shapes[s][0],
                                   .tokens = shapes[s][1],
                                   .heads = shapes[s][2],
                                   .head_size = shapes[s][3],
                                   .scale = 0.2f,
                                   .qkv = qkv.p,
                                   .ld = qkv.ld};
        check_maker(r, rows, width, make_full, &a);
    }
}

static void make_tree(struct rig *r, const void *ud, struct kern_ptr y, int ldy,
                      enum kern_dtype type) {
    struct kern_attn_tree a = *(const struct kern_attn_tree *)ud;
    a.y = y;
    a.ldy = ldy;
    a.y_dtype = type;
    RUN_ON(r, attn_tree, &a);
}

TEST_HAND(attn_tree_hands_over_what_it_makes) {
    static const int heads[][2] = {{2, 32}, {3, 5}, {1, 128}};
    for (size_t s = 0; s < ARRAY_LEN(heads); s++) {
        struct pool *p = host_take(sizeof *p);
        struct pass *pass = host_take(sizeof *pass);
        pool_make(r, p, KERN_F32, heads[s][0], heads[s][1]);
        (void)group_begin(pass, 100); /* rows that are prefilled behind a stem, */
        group_span(pass, 3, 40);
        for (int i = 0; i < 19; i++)
            group_row(pass, host_random(r, (size_t)p->width, 1), NULL, 0);
        (void)group_begin(pass, -1); /* and lanes with tails */
        group_span(pass, 3, 70);
        for (int i = 0; i < 21; i++) {
            const int tail[] = {200 + 2 * i, 300 + i};
            group_row(pass, host_random(r, (size_t)p->width, 1), tail, 1 + i % 2);
        }
        struct tensor y = tensor_out(r, pass->rows, p->width, 0);
        struct kern_attn_tree a = pass_args(r, p, pass, &y);
        check_maker(r, pass->rows, p->width, make_tree, &a);
    }
}

TEST_HAND(gather_takes_rows_of_16_bits) {
    enum { FROM = 40, ROWS_OF_IT = 13 };
    static const int widths[] = {1, 7, 8, 100, 1408};
    for (size_t s = 0; s < ARRAY_LEN(widths); s++) {
        int width = widths[s];
        const float *x = host_random(r, (size_t)(FROM * width), 1);
        float *want = host_f32((size_t)(ROWS_OF_IT * width));
        int32_t index[ROWS_OF_IT];
        for (int i = 0; i < ROWS_OF_IT; i++) {
            index[i] = i ? host_below(r, FROM) : FROM - 1;
            memcpy(want + i * width, x + index[i] * width, (size_t)width * sizeof *x);
        }
        for (size_t t = 0; t < ARRAY_LEN(types); t++) {
            struct halves from = halves_new(r, x, types[t], FROM, width, 0);
            struct halves y = halves_new(r, NULL, types[t], ROWS_OF_IT, width, 0);
            RUN(r, gather, struct kern_gather, .rows = ROWS_OF_IT, .width = width,
                .index = rig_put(r, index, sizeof index), .x = from.p, .y = y.p, .dtype = types[t]);
            halves_are(r, &y, types[t], want);
        }
    }
}

/* ---- who takes them: products ---- */

static struct kern_mat *mat_of(struct rig *r, enum kern_dtype type, int n, int k) {
    size_t cells = (size_t)n * (size_t)k;
    const float *x = host_random(r, cells, 1);
    uint16_t *h = host_take(cells * sizeof *h);
    for (size_t i = 0; i < cells; i++)
        h[i] = type == KERN_BF16 ? half_to_bf16(x[i]) : half_to_f16(x[i]);
    struct kern_mat_part part = {h, n, type};
    struct kern_mat_src src = {.parts = &part, .n_parts = 1, .k = k};
    struct kern_mat *m = NULL;
    CHECK_EQ(r->ops->mat_new(r->k, &src, &m, NULL), 0);
    return m;
}

enum { PLAIN, BIAS, GELU, MORE, WAYS };

struct product {
    struct kern_gemm a; /* of f32 */
    int n, k;
    const float *x, *old;
};

static struct tensor run_product(struct rig *r, const struct product *p, struct kern_ptr x, int ldx,
                                 enum kern_dtype type) {
    struct tensor y =
        p->old ? tensor_in(r, p->old, p->a.m, p->n, 4) : tensor_out(r, p->a.m, p->n, 4);
    struct kern_gemm a = p->a;
    a.x = x;
    a.ldx = ldx;
    a.x_dtype = type;
    a.y = y.p;
    a.ldy = y.ld;
    RUN_ON(r, gemm, &a);
    return y;
}

static void make_product(struct rig *r, const void *ud, struct kern_ptr y, int ldy,
                         enum kern_dtype type) {
    struct kern_gemm a = *(const struct kern_gemm *)ud;
    a.y = y;
    a.ldy = ldy;
    a.y_dtype = type;
    RUN_ON(r, gemm, &a);
}

/* From f32 rows, and from rounded ones at several strides: the same bits. The reference doesn't
 * round x, so it gets it rounded. */
static void check_product(struct rig *r, enum kern_dtype type, int m, int n, int k, int way) {
    size_t cells = (size_t)m * (size_t)k;
    static const int pads[] = {0, 3, 8};
    struct product p = {.n = n, .k = k, .x = host_rounded(host_random(r, cells, 1), cells, type)};
    struct tensor x = tensor_in(r, p.x, m, k, 3),
                  bias = tensor_in(r, host_random(r, (size_t)n, 2), 1, n, 0);
    if (way == MORE) p.old = host_random(r, (size_t)m * (size_t)n, 3);
    p.a = (struct kern_gemm){.m = m, .w = mat_of(r, type, n, k), .accumulate = way == MORE};
    if (way == BIAS || way == GELU) p.a.bias = bias.p;
    if (way == GELU) p.a.act = KERN_ACT_GELU;
    struct tensor y = run_product(r, &p, x.p, x.ld, KERN_F32);
    const float *want = tensor_get(r, &y);
    for (size_t i = 0; i < ARRAY_LEN(pads); i++) {
        struct halves h = halves_new(r, p.x, type, m, k, pads[i]);
        struct tensor got = run_product(r, &p, h.p, h.ld, type);
        CHECK_MEM(tensor_get(r, &got), want, (size_t)m * (size_t)n * sizeof *want);
    }
    if (way != MORE) {
        p.a.x = x.p;
        p.a.ldx = x.ld;
        check_maker(r, m, n, make_product, &p.a);
    }
    r->ops->mat_free(r->k, (struct kern_mat *)p.a.w);
}

TEST_HAND(gemm_has_the_same_bits_of_rounded_rows) {
    static const int shapes[][3] = {{0, 5, 8},    {1, 8, 8},     {3, 17, 64},  {65, 40, 72},
                                    {17, 33, 33}, {7, 130, 500}, {1, 12, 256}, {130, 64, 64}};
    for (size_t s = 0; s < ARRAY_LEN(shapes); s++)
        for (int way = 0; way < WAYS; way++)
            check_product(r, types[s % 2], shapes[s][0], shapes[s][1], shapes[s][2], way);
}

TEST_HAND(gemm_has_the_same_bits_of_2048_rounded_rows) {
    check_product(r, KERN_BF16, 2048, 8, 16, GELU);
    check_product(r, KERN_F16, 2048, 9, 20, PLAIN);
}

/* What a device takes it says of each matrix; f32 weights and codes take f32. */
TEST_HAND(x_dtype_is_that_of_the_weights_or_f32) {
    const float w[64] = {1};
    struct kern_mat *f32 = rig_mat(r, w, 8, 8);
    CHECK_EQ(r->ops->x_dtype(r->k, f32), KERN_F32);
    r->ops->mat_free(r->k, f32);
    for (size_t t = 0; t < ARRAY_LEN(types); t++) {
        struct kern_mat *m = mat_of(r, types[t], 8, 8);
        CHECK_EQ(r->ops->x_dtype(r->k, m), r->isa ? types[t] : KERN_F32);
        r->ops->mat_free(r->k, m);
    }
    struct kern_mat_part part = {w, 8, KERN_F32};
    struct kern_mat_src src = {.parts = &part, .n_parts = 1, .k = 8, .keep = KERN_KEEP_FP8};
    struct kern_mat *m = NULL;
    CHECK_EQ(r->ops->mat_new(r->k, &src, &m, NULL), 0);
    CHECK_EQ(r->ops->x_dtype(r->k, m), KERN_F32);
    r->ops->mat_free(r->k, m);
}

/* A grid has 65,535 rows: the others are the second ones of its first blocks. */
static void op_many_rows(struct rig *r) {
    enum { ROWS_OF_IT = 65535 + 7, WIDTH = 3 };
    const float *line = host_random(r, 2 * WIDTH, 1);
    float *x = host_f32((size_t)ROWS_OF_IT * 2 * WIDTH);
    for (size_t i = 0; i < ROWS_OF_IT; i++)
        memcpy(x + i * 2 * WIDTH, line, 2 * WIDTH * sizeof *x);
    struct tensor tx = tensor_in(r, x, ROWS_OF_IT, 2 * WIDTH, 0);
    struct tensor y = tensor_out(r, ROWS_OF_IT, WIDTH, 1);
    RUN(r, swiglu, struct kern_swiglu, .rows = ROWS_OF_IT, .width = WIDTH, .x = tx.p, .ldx = tx.ld,
        .y = y.p, .ldy = y.ld);
    const float *got = tensor_get(r, &y);
    for (size_t i = 1; i < ROWS_OF_IT; i++)
        CHECK_MEM(got + i * WIDTH, got, WIDTH * sizeof *got);
}
TEST(swiglu_takes_more_rows_than_a_grid_has_ref) { rig_run("ref", NULL, op_many_rows); }
TEST_LIMIT(swiglu_takes_more_rows_than_a_grid_has_16bit_cuda, 120) {
    rig_run("cuda", "flat", op_many_rows);
}
