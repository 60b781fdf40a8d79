/* test_gemm.c - the matrix product: right, accumulated, activated, and the same bits for a row
 * wherever it stands. */
#include "kernels/base/half.h"
#include "tests/unit/kernels/plain.h"
#include "tests/unit/kernels/rig.h"
#include "tests/unit/kernels/tol.h"

enum { SHAPES = 9 };
static const struct {
    int m, n, k;
} shapes[SHAPES] = {{0, 5, 7},    {1, 1, 1},     {1, 257, 88},  {3, 88, 257}, {17, 3, 17},
                    {88, 17, 33}, {257, 33, 64}, {7, 130, 500}, {64, 64, 1}};

static void check_product(struct rig *r, int m, int n, int k, enum kern_act act, int has_bias,
                          int accumulate) {
    size_t cells = (size_t)m * (size_t)n;
    const float *x = host_random(r, (size_t)m * (size_t)k, 1);
    const float *w = host_random(r, (size_t)n * (size_t)k, 1);
    const float *bias = has_bias ? host_random(r, (size_t)n, 3) : NULL;
    const float *y0 = accumulate ? host_random(r, cells, 5) : NULL;
    struct tensor tx = tensor_in(r, x, m, k, 3);
    struct tensor tb = has_bias ? tensor_in(r, bias, 1, n, 1) : (struct tensor){0};
    struct tensor ty = accumulate ? tensor_in(r, y0, m, n, 5) : tensor_out(r, m, n, 5);
    struct kern_mat *mat = rig_mat(r, w, n, k);
    RUN(r, gemm, struct kern_gemm, .m = m, .x = tx.p, .ldx = tx.ld, .w = mat, .bias = tb.p,
        .y = ty.p, .ldy = ty.ld, .act = act, .accumulate = accumulate);
    const float *got = tensor_get(r, &ty);

    double *want = host_f64(cells);
    float *plain = host_f32(cells);
    plain_gemm_f64(x, w, bias, y0, act, m, n, k, want);
    plain_gemm_f32(x, w, bias, y0, act, m, n, k, plain);
    tol_check("gemm", got, want, plain, cells);
    r->ops->mat_free(r->k, mat);
}

OP_TEST(gemm_is_right_at_odd_sizes) {
    for (int i = 0; i < SHAPES; i++)
        check_product(r, shapes[i].m, shapes[i].n, shapes[i].k, KERN_ACT_NONE, i % 2, 0);
}

OP_TEST(gemm_accumulates) {
    for (int i = 0; i < SHAPES; i++)
        check_product(r, shapes[i].m, shapes[i].n, shapes[i].k, KERN_ACT_NONE, !(i % 2), 1);
}

OP_TEST(gemm_applies_gelu_after_the_bias) {
    for (int i = 0; i < SHAPES; i++)
        check_product(r, shapes[i].m, shapes[i].n, shapes[i].k, KERN_ACT_GELU, i % 3 != 0, 0);
}

OP_TEST(gemm_gelu_is_right_over_the_whole_line) {
    enum { N = 4001 };
    float *x = host_f32(N), one = 1, *plain = host_f32(N);
    double *want = host_f64(N);
    for (int i = 0; i < N; i++)
        x[i] = (float)(i - N / 2) / 200; /* -10 .. 10 */
    if (rig_is_bf16(r)) x = host_rounded(x, N, KERN_BF16);
    struct tensor tx = tensor_in(r, x, N, 1, 0), ty = tensor_out(r, N, 1, 0);
    struct kern_mat *mat = rig_mat(r, &one, 1, 1);
    RUN(r, gemm, struct kern_gemm, .m = N, .x = tx.p, .ldx = 1, .w = mat, .y = ty.p, .ldy = 1,
        .act = KERN_ACT_GELU);
    const float *got = tensor_get(r, &ty);
    plain_gemm_f64(x, &one, NULL, NULL, KERN_ACT_GELU, N, 1, 1, want);
    plain_gemm_f32(x, &one, NULL, NULL, KERN_ACT_GELU, N, 1, 1, plain);
    tol_check("gelu", got, want, plain, N);
    for (int i = 0; i < N; i += 400) /* piece by piece, so that small values count too */
        tol_check("gelu piece", got + i, want + i, plain + i, 1);
    r->ops->mat_free(r->k, mat);
}

/* By the first n rows and k columns: the bits of a matrix that has no others. */
OP_TEST(gemm_by_a_corner_is_as_by_a_matrix_of_that_size) {
    enum { M = 37, N = 70, K = 65 };
    static const int corners[][2] = {{70, 8}, {8, 65}, {1, 1}, {33, 64}, {70, 65}};
    const float *w = host_random(r, N * K, 1), *x = host_random(r, M * K, 1);
    struct tensor tx = tensor_in(r, x, M, K, 3);
    struct kern_mat *whole = rig_mat(r, w, N, K);
    for (size_t i = 0; i < ARRAY_LEN(corners); i++) {
        int n = corners[i][0], k = corners[i][1];
        float *corner = host_f32((size_t)(n * k));
        for (int row = 0; row < n; row++)
            memcpy(corner + row * k, w + row * K, (size_t)k * sizeof *w);
        struct kern_mat *mat = rig_mat(r, corner, n, k);
        struct tensor a = tensor_out(r, M, n, 5), b = tensor_out(r, M, n, 5);
        RUN(r, gemm, struct kern_gemm, .m = M, .x = tx.p, .ldx = tx.ld, .w = mat, .y = a.p,
            .ldy = a.ld);
        RUN(r, gemm, struct kern_gemm, .m = M, .x = tx.p, .ldx = tx.ld, .w = whole, .y = b.p,
            .ldy = b.ld, .n = n, .k = k);
        const float *want = tensor_get(r, &a), *got = tensor_get(r, &b);
        CHECK(!memcmp(want, got, (size_t)(M * n) * sizeof *got));
        r->ops->mat_free(r->k, mat);
    }
    r->ops->mat_free(r->k, whole);
}

/* The heart of the product: a row's bits don't depend on its company. */
OP_TEST(gemm_row_has_the_same_bits_anywhere_and_in_any_company) {
    static const int counts[] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  11,
                                 12, 13, 15, 16, 17, 24, 31, 33, 64, 130};
    enum { M = 257 };
    static const int sizes[][2] = {{33, 88}, {257, 17}, {16, 515}, {250, 40}};
    for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
        int n = sizes[s][0], k = sizes[s][1];
        struct kern_mat *mat = rig_mat(r, host_random(r, (size_t)(n * k), 1), n, k);
        const float *x = host_random(r, (size_t)(M * k), 1);
        struct kern_ptr bias = rig_put(r, host_random(r, (size_t)n, 1), (size_t)n * sizeof(float));
        struct tensor tx = tensor_in(r, x, M, k, 1), ty = tensor_out(r, M, n, 0);
        enum kern_act act = s == 1 ? KERN_ACT_GELU : KERN_ACT_NONE;
        RUN(r, gemm, struct kern_gemm, .m = M, .x = tx.p, .ldx = tx.ld, .w = mat, .bias = bias,
            .y = ty.p, .ldy = ty.ld, .act = act);
        const float *all = tensor_get(r, &ty);
        for (size_t c = 0; c < ARRAY_LEN(counts); c++) {
            int m = counts[c], first = host_below(r, M - m + 1);
            struct tensor some = tensor_out(r, m, n, 3);
            RUN(r, gemm, struct kern_gemm, .m = m, .x = tensor_row(&tx, first), .ldx = tx.ld,
                .w = mat, .bias = bias, .y = some.p, .ldy = some.ld, .act = act);
            CHECK_MEM(tensor_get(r, &some), all + first * n, (size_t)(m * n) * sizeof(float));
        }
        r->ops->mat_free(r->k, mat);
    }
}

OP_TEST(gemm_output_column_has_the_same_bits_in_a_smaller_matrix) {
    enum { M = 9, N = 70, K = 91 };
    const float *w = host_random(r, N * K, 1), *x = host_random(r, M * K, 1);
    struct tensor tx = tensor_in(r, x, M, K, 0), ty = tensor_out(r, M, N, 0);
    struct kern_mat *mat = rig_mat(r, w, N, K);
    RUN(r, gemm, struct kern_gemm, .m = M, .x = tx.p, .ldx = K, .w = mat, .y = ty.p, .ldy = N);
    const float *all = tensor_get(r, &ty);
    for (int first = 0; first < N; first += 13) { /* a head over a few rows of the vocabulary */
        int n = N - first < 11 ? N - first : 11;
        struct kern_mat *part = rig_mat(r, w + first * K, n, K);
        struct tensor some = tensor_out(r, M, n, 0);
        RUN(r, gemm, struct kern_gemm, .m = M, .x = tx.p, .ldx = K, .w = part, .y = some.p,
            .ldy = n);
        const float *got = tensor_get(r, &some);
        for (int i = 0; i < M; i++)
            CHECK_MEM(got + i * n, all + i * N + first, (size_t)n * sizeof(float));
        r->ops->mat_free(r->k, part);
    }
    r->ops->mat_free(r->k, mat);
}

/* Blocks of rows of each width on top of each other, at odd addresses. */
OP_TEST(gemm_matrix_is_stacked_from_parts_of_any_width) {
    enum { K = 37, M = 5, PARTS = 3 };
    static const int rows[PARTS] = {3, 17, 20};
    struct kern_mat_part parts[PARTS];
    const int n = 40;
    float *w = host_f32((size_t)(n * K)), *at = w; /* what the stack means in f32 */
    for (int p = 0; p < PARTS; p++) {
        size_t cells = (size_t)(rows[p] * K);
        const float *values = host_random(r, cells, 1);
        char *bytes = (char *)host_take(cells * 4 + 1) + 1;
        enum kern_dtype type = (enum kern_dtype)p;
        for (size_t i = 0; i < cells; i++) {
            uint16_t h = type == KERN_BF16 ? half_to_bf16(values[i]) : half_to_f16(values[i]);
            if (type == KERN_F32)
                memcpy(bytes + 4 * i, &values[i], 4);
            else
                memcpy(bytes + 2 * i, &h, 2);
            *at++ = type == KERN_F32    ? values[i]
                    : type == KERN_BF16 ? half_from_bf16(h)
                                        : half_from_f16(h);
        }
        parts[p] = (struct kern_mat_part){bytes, rows[p], type};
    }
    struct kern_mat_src src = {.parts = parts, .n_parts = PARTS, .k = K};
    struct kern_mat *stacked = NULL, *whole = rig_mat(r, w, n, K);
    CHECK_EQ(r->ops->mat_new(r->k, &src, &stacked, NULL), 0);
    struct tensor x = tensor_in(r, host_random(r, M * K, 1), M, K, 0);
    struct tensor a = tensor_out(r, M, n, 0), b = tensor_out(r, M, n, 0);
    RUN(r, gemm, struct kern_gemm, .m = M, .x = x.p, .ldx = K, .w = stacked, .y = a.p, .ldy = n);
    RUN(r, gemm, struct kern_gemm, .m = M, .x = x.p, .ldx = K, .w = whole, .y = b.p, .ldy = n);
    CHECK_MEM(tensor_get(r, &a), tensor_get(r, &b), M * 40 * sizeof(float));
    r->ops->mat_free(r->k, stacked);
    r->ops->mat_free(r->k, whole);
}

/* Weights that a user's file may hold; they must come out, not stop the device. */
OP_TEST(gemm_passes_infinities_and_nans_through) {
    float w[3] = {INFINITY, 1, NAN}, x = 2;
    struct kern_mat *mat = rig_mat(r, w, 3, 1);
    struct tensor tx = tensor_in(r, &x, 1, 1, 0), ty = tensor_out(r, 1, 3, 0);
    RUN(r, gemm, struct kern_gemm, .m = 1, .x = tx.p, .ldx = 1, .w = mat, .y = ty.p, .ldy = 3);
    const float *y = tensor_get(r, &ty);
    CHECK(isinf(y[0]) && y[0] > 0);
    CHECK(y[1] == 2);
    CHECK(isnan(y[2]));
    r->ops->mat_free(r->k, mat);
}

/* What a matrix is said to take it takes. */
OP_TEST(mat_bytes_are_those_that_are_held) {
    for (int i = 1; i < SHAPES; i++) {
        int n = shapes[i].n, k = shapes[i].k;
        struct kern_mat_part part = {.n = n, .dtype = KERN_F32};
        struct kern_mat_src src = {.parts = &part, .n_parts = 1, .k = k};
        struct kern_stats before, now;
        r->ops->stats(r->k, &before);
        uint64_t bytes = r->ops->mat_bytes(r->k, &src);
        struct kern_mat *mat = rig_mat(r, host_f32((size_t)(n * k)), n, k);
        r->ops->stats(r->k, &now);
        CHECK_EQ(now.live_bytes - before.live_bytes, bytes);
        r->ops->mat_free(r->k, mat);
    }
}
