/* test_dots.c - products of weights in few bits with rows in 8 bits: every way to them has the bits
 * of the reference, and the reference does what kernels/op/gemm.h says. */
#include <math.h>

#include "kernels/base/half.h"
#include "kernels/base/narrow.h"
#include "tests/unit/kernels/rig.h"

static const enum kern_keep keeps[] = {KERN_KEEP_INT8X8, KERN_KEEP_INT4X8};

/* On the processor, with each way to such products, beside an instruction set that has other
 * panels. */
#define DOTS_TEST(id)                                                   \
    static void op_##id(struct rig *r);                                 \
    TEST(id##_ref) { rig_run("ref", NULL, op_##id); }                   \
    TEST(id##_portable) { rig_run("cpu", "portable", op_##id); }        \
    TEST(id##_avx2) { rig_run("cpu", "avx2", op_##id); }                \
    TEST(id##_avx512) { rig_run("cpu", "avx512", op_##id); }            \
    TEST(id##_vnni) { rig_run("cpu", "portable+vnni", op_##id); }       \
    TEST(id##_amx8) { rig_run("cpu", "auto+amx8", op_##id); }           \
    TEST(id##_amx8_beside_amx) { rig_run("cpu", "amx+amx8", op_##id); } \
    static void op_##id(struct rig *r)

static struct kern_mat *dots_mat(struct rig *r, enum kern_keep keep, const float *w, int n, int k) {
    struct kern_mat_part part = {.data = w, .n = n, .dtype = KERN_F32};
    struct kern_mat_src src = {.parts = &part, .n_parts = 1, .k = k, .keep = keep};
    struct kern_mat *m = NULL;
    struct kern_stats before, now;
    r->ops->stats(r->k, &before);
    CHECK_EQ(r->ops->mat_new(r->k, &src, &m, NULL), 0);
    r->ops->stats(r->k, &now);
    CHECK_EQ(now.live_bytes - before.live_bytes, r->ops->mat_bytes(r->k, &src));
    return m;
}

/* y (m, n) = end(x W^T), or added to `from`. */
struct dots_case {
    enum kern_keep keep;
    int m, n, k;
    const float *x, *w, *bias, *from; /* the last two: or NULL */
};

static float *dots_product(struct rig *r, const struct dots_case *c) {
    struct tensor x = tensor_in(r, c->x, c->m, c->k, 3);
    struct tensor y = c->from ? tensor_in(r, c->from, c->m, c->n, 5) : tensor_out(r, c->m, c->n, 5);
    struct tensor b = c->bias ? tensor_in(r, c->bias, 1, c->n, 1) : (struct tensor){0};
    struct kern_mat *w = dots_mat(r, c->keep, c->w, c->n, c->k);
    RUN(r, gemm, struct kern_gemm, .m = c->m, .x = x.p, .ldx = x.ld, .w = w, .bias = b.p, .y = y.p,
        .ldy = y.ld, .accumulate = c->from != NULL);
    r->ops->mat_free(r->k, w);
    return tensor_get(r, &y);
}

/* The product of that shape with each form, and each end, has the bits of `ref`. */
static void dots_check(struct rig *r, struct rig *ref, int m, int n, int k) {
    enum { ENDS = 3, FORMS = ARRAY_LEN(keeps) };
    size_t rows = (size_t)(m * k), cells = (size_t)(m * n);
    for (int i = 0; i < FORMS * ENDS; i++) {
        struct dots_case c = {.keep = keeps[i % FORMS], .m = m, .n = n, .k = k};
        float *x = host_random(r, rows, 1);
        for (size_t j = 0; j < rows; j += 37) /* blocks of all sizes */
            x[j] *= ldexpf(1, host_below(r, 240) - 120);
        c.x = x;
        c.w = host_random(r, (size_t)(n * k), 1);
        if (i / FORMS == 1) c.bias = host_random(r, (size_t)n, 1);
        if (i / FORMS == 2) c.from = host_random(r, cells, 1);
        CHECK_MEM(dots_product(r, &c), dots_product(ref, &c), cells * sizeof(float));
    }
}

DOTS_TEST(dots_have_the_bits_of_the_reference) {
    static const int shapes[][3] = {{1, 1, 1},     {1, 257, 88},  {3, 88, 257},  {17, 3, 33},
                                    {88, 17, 31},  {9, 33, 64},   {7, 130, 500}, {2, 40, 97},
                                    {35, 64, 256}, {64, 96, 640}, {5, 32, 32},   {0, 5, 32}};
    struct rig ref;
    rig_open(&ref, "ref", NULL, 1);
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        dots_check(r, &ref, shapes[i][0], shapes[i][1], shapes[i][2]);
    rig_close(&ref);
}

/* Panels are opened for many rows, some blocks and columns at a time (dots_open.inc): what is left
 * over of each. */
DOTS_TEST(dots_of_any_number_of_rows_have_the_bits_of_the_reference) {
    static const int many[][3] = {
        {96, 16, 512}, {97, 31, 513}, {102, 15, 544}, {199, 17, 70}, {13, 20, 1055}};
    struct rig ref;
    rig_open(&ref, "ref", NULL, 1);
    for (int m = 1; m <= 14; m++)
        dots_check(r, &ref, m, 33 + 7 * (m % 5), 70 + 13 * (m % 6));
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        dots_check(r, &ref, many[i][0], many[i][1], many[i][2]);
    rig_close(&ref);
}

DOTS_TEST(dots_of_extremes_are_exact) {
    enum { M = 33, N = 65, K = 64 };
    float x[M * K], w[N * K];
    for (int i = 0; i < M * K; i++)
        x[i] = i / K % 2 ? -127 : 127; /* every number of 8 bits is as large as it can be */
    for (int i = 0; i < N * K; i++)
        w[i] = i / K % 3 ? -127 : 127;
    struct dots_case c = {.keep = KERN_KEEP_INT8X8, .m = M, .n = N, .k = K, .x = x, .w = w};
    const float *y = dots_product(r, &c);
    for (int i = 0; i < M * N; i++)
        CHECK(y[i] == ((i / N % 2) == (i % N % 3 > 0) ? 1.0f : -1.0f) * K * 127 * 127);
}

DOTS_TEST(dots_row_has_the_same_bits_in_any_company) {
    enum { M = 67, N = 70, K = 95 };
    static const int counts[] = {1, 2, 3, 5, 6, 7, 15, 16, 17, 31, 33};
    for (size_t i = 0; i < ARRAY_LEN(keeps); i++) {
        struct tensor tx = tensor_in(r, host_random(r, M * K, 1), M, K, 1);
        struct tensor ty = tensor_out(r, M, N, 0);
        struct kern_mat *mat = dots_mat(r, keeps[i], host_random(r, N * K, 1), N, K);
        RUN(r, gemm, struct kern_gemm, .m = M, .x = tx.p, .ldx = tx.ld, .w = mat, .y = ty.p,
            .ldy = ty.ld);
        const float *all = tensor_get(r, &ty);
        for (size_t c = 0; c < ARRAY_LEN(counts); c++) {
            int m = counts[c], first = host_below(r, M - m + 1);
            struct tensor some = tensor_out(r, m, N, 3);
            RUN(r, gemm, struct kern_gemm, .m = m, .x = tensor_row(&tx, first), .ldx = tx.ld,
                .w = mat, .y = some.p, .ldy = some.ld);
            CHECK_MEM(tensor_get(r, &some), all + first * N, (size_t)(m * N) * sizeof(float));
        }
        r->ops->mat_free(r->k, mat);
    }
}

DOTS_TEST(dots_of_what_is_not_finite_are_not) {
    enum { M = 40, N = 33, K = 70 };
    float *x = host_random(r, M * K, 1), *w = host_random(r, N * K, 1);
    x[3 * K + 68] = INFINITY;
    x[20 * K] = NAN;
    w[7 * K + 33] = -INFINITY;
    for (size_t i = 0; i < ARRAY_LEN(keeps); i++) {
        struct dots_case c = {.keep = keeps[i], .m = M, .n = N, .k = K, .x = x, .w = w};
        const float *y = dots_product(r, &c);
        for (int j = 0; j < M * N; j++)
            CHECK_EQ(!isfinite(y[j]), j / N == 3 || j / N == 20 || j % N == 7);
    }
}

/* The sum that kern_gemm has, in the same order, with weights and rows that are whole already. */
DOTS_TEST(dots_are_as_the_header_says) {
    enum { K = 70 };
    float x[K], w[K], y, want = 0;
    for (int i = 0; i < K; i++)
        x[i] = (float)(i * 29 % 255 - 127), w[i] = (float)(i * 31 % 255 - 127);
    for (int b = 0; b < K; b += NARROW_BLOCK) {
        int sum = 0;
        x[b] = -127 * (x[b + 1] = 1), w[b] = 127; /* both scales are powers of two */
        for (int i = b; i < K && i < b + NARROW_BLOCK; i++)
            sum += (int)x[i] * (int)w[i];
        for (int i = b; i < K && i < b + NARROW_BLOCK; i++)
            x[i] *= 0.5f, w[i] *= 4;
        want += 2.0f * (float)sum;
    }
    struct dots_case c = {.keep = KERN_KEEP_INT8X8, .m = 1, .n = 1, .k = K, .x = x, .w = w};
    y = *dots_product(r, &c);
    CHECK(y == want);
}

TEST(dots_rows_are_rounded_as_the_header_says) {
    int8_t q[NARROW_BLOCK];
    float x[NARROW_BLOCK] = {-254, 5, 7, 126.9f};
    CHECK(narrow_row_block(x, 4, q) == 2);
    CHECK(q[0] == -127 && q[1] == 2 && q[2] == 4 && q[3] == 63);
    x[0] = 0x1p-101f, x[1] = x[2] = x[3] = 0;
    CHECK(narrow_row_block(x, 4, q) == 0);
    CHECK_EQ(q[0], 0);
    x[0] = 3.4e38f;
    CHECK(isfinite(narrow_row_block(x, 4, q)));
    CHECK_EQ(q[0], 127);
    x[3] = NAN;
    CHECK(isnan(narrow_row_block(x, 4, q)));
    x[3] = -INFINITY;
    CHECK(isnan(narrow_row_block(x, 4, q)));
}
