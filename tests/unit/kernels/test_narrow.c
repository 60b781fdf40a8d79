/* test_narrow.c - weights that are kept in less than f32: what they are rounded to, and that a
 * product by them has the bits of one by the rounded floats, alone and in company. */
#include <math.h>

#include "kernels/base/half.h"
#include "kernels/base/narrow.h"
#include "tests/unit/kernels/plain.h"
#include "tests/unit/kernels/rig.h"
#include "tests/unit/kernels/tol.h"

static const enum kern_keep keeps[] = {KERN_KEEP_F32, KERN_KEEP_BF16, KERN_KEEP_INT8,
                                       KERN_KEEP_INT4, KERN_KEEP_F16};

static float *narrow_rounded(enum kern_keep keep, const float *w, int n, int k) {
    size_t cells = (size_t)n * (size_t)k;
    float *to = host_f32(cells);
    memcpy(to, w, cells * sizeof *to);
    for (int r = 0; r < n; r++) {
        if (keep == KERN_KEEP_INT8) narrow_round(8, to + r * k, (size_t)k);
        if (keep == KERN_KEEP_INT4) narrow_round(4, to + r * k, (size_t)k);
    }
    if (keep == KERN_KEEP_F16) return host_rounded(w, cells, KERN_F16);
    return keep == KERN_KEEP_BF16 ? host_rounded(w, cells, KERN_BF16) : to;
}

/* In two parts, the first of bf16 where `mixed`; the bytes that it takes are those it was said to
 * take. */
static struct kern_mat *narrow_mat(struct rig *r, enum kern_keep keep, const float *w, int n, int k,
                                   int mixed) {
    struct kern_mat_part parts[2] = {{.data = w, .n = n / 3}, {.n = n - n / 3}};
    uint16_t *first = host_take(2 * (size_t)(n / 3 * k) + 1);
    for (int i = 0; i < n / 3 * k; i++)
        first[i] = half_to_bf16(w[i]);
    if (mixed) parts[0].data = first;
    parts[0].dtype = mixed ? KERN_BF16 : KERN_F32;
    parts[1].data = w + n / 3 * k;
    parts[1].dtype = KERN_F32;
    struct kern_mat_src src = {.parts = parts, .n_parts = 2, .k = k, .keep = keep};
    struct kern_mat *m = NULL;
    struct kern_stats before, now;
    struct err e = {0};
    uint64_t bytes = r->ops->mat_bytes(r->k, &src);
    r->ops->stats(r->k, &before);
    int rc = r->ops->mat_new(r->k, &src, &m, &e);
    if (rc == E_UNSUPPORTED) {
        CHECK_EQ(bytes, UINT64_MAX);
        skip("%s", e.text);
    }
    CHECK_EQ(rc, 0);
    r->ops->stats(r->k, &now);
    CHECK_EQ(now.live_bytes - before.live_bytes, bytes);
    return m;
}

OP_TEST(narrow_products_are_those_by_the_rounded_weights) {
    static const int shapes[][3] = {{1, 1, 1},    {1, 257, 88}, {3, 88, 257},  {17, 3, 33},
                                    {88, 17, 31}, {9, 33, 64},  {7, 130, 500}, {2, 40, 97}};
    for (size_t i = 0; i < ARRAY_LEN(shapes) * ARRAY_LEN(keeps); i++) {
        const int *s = shapes[i / ARRAY_LEN(keeps)], m = s[0], n = s[1], k = s[2];
        enum kern_keep keep = keeps[i % ARRAY_LEN(keeps)];
        size_t cells = (size_t)m * (size_t)n;
        const float *x = host_random(r, (size_t)(m * k), 1);
        float *w = host_random(r, (size_t)(n * k), 1);
        if (i % 3 == 0)
            memcpy(w, host_rounded(w, (size_t)(n * k), KERN_BF16), sizeof *w * (size_t)(n * k));
        const float *rounded = narrow_rounded(keep, w, n, k);
        const float *bias = i % 2 ? host_random(r, (size_t)n, 1) : NULL;
        enum kern_act act = i % 4 == 1 ? KERN_ACT_GELU : KERN_ACT_NONE;
        struct tensor tx = tensor_in(r, x, m, k, 3), ty = tensor_out(r, m, n, 5);
        struct tensor tb = bias ? tensor_in(r, bias, 1, n, 1) : (struct tensor){0};
        struct kern_mat *mat = narrow_mat(r, keep, w, n, k, i % 3 == 0);
        RUN(r, gemm, struct kern_gemm, .m = m, .x = tx.p, .ldx = tx.ld, .w = mat, .bias = tb.p,
            .y = ty.p, .ldy = ty.ld, .act = act);
        const float *got = tensor_get(r, &ty);
        double *want = host_f64(cells);
        float *plain = host_f32(cells);
        plain_gemm_f64(x, rounded, bias, NULL, act, m, n, k, want);
        plain_gemm_f32(x, rounded, bias, NULL, act, m, n, k, plain);
        tol_check("narrow", got, want, plain, cells);
        struct kern_mat *same = rig_mat(r, rounded, n, k);
        struct tensor tz = tensor_out(r, m, n, 5);
        RUN(r, gemm, struct kern_gemm, .m = m, .x = tx.p, .ldx = tx.ld, .w = same, .bias = tb.p,
            .y = tz.p, .ldy = tz.ld, .act = act);
        if (!rig_is_bf16(r)) CHECK_MEM(got, tensor_get(r, &tz), cells * sizeof *got);
        r->ops->mat_free(r->k, mat);
        r->ops->mat_free(r->k, same);
    }
}

OP_TEST(narrow_row_has_the_same_bits_in_any_company) {
    enum { M = 37, N = 150 };
    static const int counts[] = {1, 2, 3, 5, 6, 7, 8, 9, 12, 16, 31};
    for (size_t i = 0; i < 2 * ARRAY_LEN(keeps); i++) {
        const int K = i % 2 ? 95 : 1100; /* long panels are cut, but not for a row alone */
        struct tensor tx = tensor_in(r, host_random(r, (size_t)(M * K), 1), M, K, 1);
        struct tensor ty = tensor_in(r, host_f32(M * N), M, N, 0);
        struct kern_mat *mat =
            narrow_mat(r, keeps[i / 2], host_random(r, (size_t)(N * K), 1), N, K, 0);
        RUN(r, gemm, struct kern_gemm, .m = M, .x = tx.p, .ldx = tx.ld, .w = mat, .y = ty.p,
            .ldy = ty.ld, .accumulate = 1);
        const float *all = tensor_get(r, &ty);
        for (size_t c = 0; c < ARRAY_LEN(counts); c++) {
            int m = counts[c], first = host_below(r, M - m + 1);
            struct tensor some = tensor_in(r, host_f32((size_t)(m * N)), m, N, 3);
            RUN(r, gemm, struct kern_gemm, .m = m, .x = tensor_row(&tx, first), .ldx = tx.ld,
                .w = mat, .y = some.p, .ldy = some.ld, .accumulate = 1);
            CHECK_MEM(tensor_get(r, &some), all + first * N, (size_t)(m * N) * sizeof(float));
        }
        r->ops->mat_free(r->k, mat);
    }
}

/* Of parts of type a and b: w is what they mean. */
static struct kern_mat *wide_mat(struct rig *r, const float *w, int n, int k, enum kern_dtype a,
                                 enum kern_dtype b, int with_back, uint64_t *bytes) {
    struct kern_mat_part parts[2] = {{.n = n / 2, .dtype = a}, {.n = n - n / 2, .dtype = b}};
    for (int i = 0; i < 2; i++) {
        const float *from = w + (i ? n / 2 * k : 0);
        size_t cells = (size_t)parts[i].n * (size_t)k;
        uint16_t *h = host_take(cells * sizeof *h);
        for (size_t c = 0; c < cells; c++)
            h[c] = parts[i].dtype == KERN_BF16 ? half_to_bf16(from[c]) : half_to_f16(from[c]);
        parts[i].data = parts[i].dtype == KERN_F32 ? (const void *)from : h;
    }
    struct kern_mat_src src = {.parts = parts, .n_parts = 2, .k = k, .with_back = with_back};
    struct kern_mat *m = NULL;
    *bytes = r->ops->mat_bytes(r->k, &src);
    CHECK_EQ(r->ops->mat_new(r->k, &src, &m, NULL), 0);
    return m;
}

/* A processor keeps a wide matrix in the 16 bits that it is stored in, and nobody can tell by the
 * bits of a product. */
OP_TEST(narrow_wide_matrices_stay_as_they_are_stored) {
    enum { N = 150, M = 70 };
    static const struct {
        int k;
        enum kern_dtype a, b;
        int with_back, is_narrow;
    } cases[] = {{1024, KERN_BF16, KERN_BF16, 0, 1}, {1100, KERN_F16, KERN_F16, 0, 1},
                 {1023, KERN_BF16, KERN_BF16, 0, 0}, {1024, KERN_BF16, KERN_F16, 0, 0},
                 {1024, KERN_BF16, KERN_F32, 0, 0},  {1024, KERN_BF16, KERN_BF16, 1, 0}};
    static const int rows[] = {1, 8, 33, M};
    if (strcmp(r->backend, "cpu") || rig_is_bf16(r)) skip("its own form is another");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int k = cases[i].k;
        uint64_t bytes, all;
        float *w = host_rounded(host_random(r, (size_t)(N * k), 1), (size_t)(N * k), KERN_BF16);
        for (int c = 0; c < N * k; c++) /* that f16 has, too */
            w[c] = half_from_f16(half_to_f16(w[c])) == w[c] ? w[c] : 0;
        struct kern_mat *mat =
            wide_mat(r, w, N, k, cases[i].a, cases[i].b, cases[i].with_back, &bytes);
        struct kern_mat *same = wide_mat(r, w, N, k, KERN_F32, KERN_F32, 0, &all);
        CHECK_EQ(bytes < all * 11 / 20, cases[i].is_narrow);
        struct kern_mat_form form = r->ops->train->form(r->isa);
        if (cases[i].a == cases[i].b) /* counted alike before anything is opened */
            CHECK(kern_mat_bytes(&form, N, k, cases[i].a, cases[i].with_back) <= bytes &&
                  kern_mat_bytes(&form, N, k, cases[i].a, cases[i].with_back) + 256 > bytes);
        for (size_t c = 0; c < ARRAY_LEN(rows); c++) {
            int m = rows[c], is_sum = c % 2 != 0;
            const float *y0 = host_random(r, (size_t)(m * N), 1);
            struct tensor tx = tensor_in(r, host_random(r, (size_t)(m * k), 1), m, k, 1);
            struct tensor ty = tensor_in(r, y0, m, N, 3), tz = tensor_in(r, y0, m, N, 3);
            RUN(r, gemm, struct kern_gemm, .m = m, .x = tx.p, .ldx = tx.ld, .w = mat, .y = ty.p,
                .ldy = ty.ld, .accumulate = is_sum);
            RUN(r, gemm, struct kern_gemm, .m = m, .x = tx.p, .ldx = tx.ld, .w = same, .y = tz.p,
                .ldy = tz.ld, .accumulate = is_sum);
            CHECK_MEM(tensor_get(r, &ty), tensor_get(r, &tz), (size_t)(m * N) * sizeof(float));
        }
        r->ops->mat_free(r->k, mat);
        r->ops->mat_free(r->k, same);
    }
}

/* Rows that are set are rounded, and a part of it is multiplied as one of the rounded floats. */
OP_TEST(narrow_bf16_matrices_can_be_set) {
    enum { N = 70, K = 96, M = 25, ROW0 = 30, SOME = 25 };
    static const int parts[][2] = {{0, 0}, {9, 0}, {64, 32}, {0, 17}};
    float *w = host_random(r, N * K, 1);
    struct kern_mat *mat = narrow_mat(r, KERN_KEEP_BF16, w, N, K, 0);
    const float *anew = host_random(r, SOME * K, 1);
    RUN(r, train->mat_set, struct kern_mat_set, .w = mat, .row0 = ROW0, .rows = SOME,
        .src = rig_put(r, anew, SOME * K * sizeof *anew), .ld = K);
    memcpy(w + ROW0 * K, anew, SOME * K * sizeof *w);
    struct kern_mat *same = rig_mat(r, host_rounded(w, N * K, KERN_BF16), N, K);
    struct tensor tx = tensor_in(r, host_random(r, M * K, 1), M, K, 1);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        struct tensor ty = tensor_in(r, host_f32(M * N), M, N, 3);
        struct tensor tz = tensor_in(r, host_f32(M * N), M, N, 3);
        RUN(r, gemm, struct kern_gemm, .m = M, .x = tx.p, .ldx = tx.ld, .w = mat, .y = ty.p,
            .ldy = ty.ld, .n = parts[i][0], .k = parts[i][1], .accumulate = 1);
        RUN(r, gemm, struct kern_gemm, .m = M, .x = tx.p, .ldx = tx.ld, .w = same, .y = tz.p,
            .ldy = tz.ld, .n = parts[i][0], .k = parts[i][1], .accumulate = 1);
        CHECK_MEM(tensor_get(r, &ty), tensor_get(r, &tz), M * N * sizeof(float));
    }
    r->ops->mat_free(r->k, mat);
    r->ops->mat_free(r->k, same);
}

/* Nothing goes back through a frozen matrix, and yet it may be set: by what an earlier stage of
 * training made of it. */
OP_TEST(narrow_wide_matrices_can_be_set) {
    enum { N = 40, K = 1030, M = 9, ROW0 = 7, SOME = 21 };
    for (int type = KERN_BF16; type <= KERN_F16; type++) {
        enum kern_dtype stored = (enum kern_dtype)type;
        uint64_t bytes;
        float *w = host_rounded(host_random(r, N * K, 1), N * K, stored);
        struct kern_mat *mat = wide_mat(r, w, N, K, stored, stored, 0, &bytes);
        const float *anew = host_rounded(host_random(r, SOME * K, 1), SOME * K, stored);
        RUN(r, train->mat_set, struct kern_mat_set, .w = mat, .row0 = ROW0, .rows = SOME,
            .src = rig_put(r, anew, SOME * K * sizeof *anew), .ld = K);
        memcpy(w + ROW0 * K, anew, SOME * K * sizeof *w);
        struct kern_mat *same = wide_mat(r, w, N, K, stored, stored, 0, &bytes);
        struct tensor tx = tensor_in(r, host_random(r, M * K, 1), M, K, 1);
        struct tensor ty = tensor_out(r, M, N, 3), tz = tensor_out(r, M, N, 3);
        RUN(r, gemm, struct kern_gemm, .m = M, .x = tx.p, .ldx = tx.ld, .w = mat, .y = ty.p,
            .ldy = ty.ld);
        RUN(r, gemm, struct kern_gemm, .m = M, .x = tx.p, .ldx = tx.ld, .w = same, .y = tz.p,
            .ldy = tz.ld);
        CHECK_MEM(tensor_get(r, &ty), tensor_get(r, &tz), M * N * sizeof(float));
        r->ops->mat_free(r->k, mat);
        r->ops->mat_free(r->k, same);
    }
}

TEST(narrow_blocks_are_as_the_header_says) {
    int8_t q[NARROW_BLOCK];
    float x[NARROW_BLOCK] = {0};
    CHECK_EQ(narrow_block(8, x, 5, q), 0);
    CHECK_EQ(q[4], 0);
    x[0] = -127, x[1] = 2.5f, x[2] = 3.5f, x[3] = 63.4f;
    CHECK_EQ(narrow_block(8, x, 4, q), half_to_bf16(1));
    CHECK(q[0] == -127 && q[1] == 2 && q[2] == 4 && q[3] == 63);
    x[0] = 16, x[1] = -16, x[2] = 7.2f; /* the first of the largest is -8 */
    CHECK_EQ(narrow_block(4, x, 3, q), half_to_bf16(-2));
    CHECK(q[0] == -8 && q[1] == 7 && q[2] == -4);
    x[1] = INFINITY;
    CHECK(isnan(half_from_bf16(narrow_block(8, x, 3, q))));
    CHECK(isnan(half_from_bf16(narrow_block(4, x, 3, q))));
    for (int bits = 4; bits <= 8; bits += 4) { /* whatever the size, half a step is the most */
        for (float size = 1e-36f; size < 1e38f; size *= 1000) {
            for (int i = 0; i < NARROW_BLOCK; i++)
                x[i] = size * (float)((i * 37) % 64 - 31);
            float step = fabsf(half_from_bf16(narrow_block(bits, x, NARROW_BLOCK, q)));
            float y[NARROW_BLOCK];
            memcpy(y, x, sizeof y);
            narrow_round(bits, y, NARROW_BLOCK);
            for (int i = 0; i < NARROW_BLOCK; i++)
                CHECK(fabsf(y[i] - x[i]) <= step * 1.04f);
        }
    }
}
