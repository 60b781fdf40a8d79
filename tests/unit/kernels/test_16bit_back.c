/* test_16bit_back.c - the way back through CUDA's products in 16 bits: what is multiplied is
 * rounded, sums are f32, gradients may be as small as they like. Skipped without a device. */
#include "kernels/base/half.h"
#include "tests/unit/kernels/plain.h"
#include "tests/unit/kernels/tol.h"
#include "tests/unit/kernels/train_rig.h"

#define TEST_16BIT(id)                                               \
    static void op_##id(struct rig *r);                              \
    TEST_LIMIT(id##_cuda, 120) { rig_run("cuda", "flat", op_##id); } \
    static void op_##id(struct rig *r)

/* (n, k) of weights in a type; `w` has been rounded to it. */
static struct kern_mat *mat_16bit(struct rig *r, enum kern_dtype type, int n, int k,
                                  const float *w) {
    size_t cells = (size_t)n * (size_t)k;
    uint16_t *h = host_take(cells * sizeof *h);
    for (size_t i = 0; i < cells; i++)
        h[i] = type == KERN_BF16 ? half_to_bf16(w[i]) : half_to_f16(w[i]);
    struct kern_mat_part part = {h, n, type};
    struct kern_mat_src src = {.parts = &part, .n_parts = 1, .k = k, .with_back = 1};
    struct kern_mat *m = NULL;
    CHECK_EQ(r->ops->mat_new(r->k, &src, &m, NULL), 0);
    return m;
}

static const float *random_16bit(struct rig *r, enum kern_dtype type, size_t n) {
    return host_rounded(host_random(r, n, 1), n, type);
}

/* Of gradients of the size `small`. */
static void check_dx(struct rig *r, enum kern_dtype type, int m, int n, int k, int accumulate,
                     float small) {
    size_t cells = (size_t)m * (size_t)k, in = (size_t)m * (size_t)n;
    const float *dy = host_random(r, in, small), *w = random_16bit(r, type, (size_t)n * (size_t)k);
    const float *begin = accumulate ? host_random(r, cells, 3 * small) : NULL;
    struct kern_mat *mat = mat_16bit(r, type, n, k, w);
    struct tensor tdy = tensor_in(r, dy, m, n, 3), tdx = tensor_in(r, begin, m, k, 1);
    RUN(r, train->gemm_dx, struct kern_gemm_dx, .m = m, .dy = tdy.p, .lddy = tdy.ld, .w = mat,
        .dx = tdx.p, .lddx = tdx.ld, .accumulate = accumulate);
    struct truth t = truth_from(begin, cells);
    plain_gemm_dx_f64(dy, w, m, n, k, t.want);
    plain_gemm_dx_f32(dy, w, m, n, k, t.plain);
    const float *got = tensor_get(r, &tdx);
    if (type == KERN_BF16)
        tol_check_bf16("dx", got, t.want, t.plain, cells);
    else
        tol_check_f16("dx", got, t.want, t.plain, cells);
    r->ops->mat_free(r->k, mat);
}

static const int shapes[][3] = {{0, 5, 7},    {1, 1, 1},     {3, 257, 88},  {17, 3, 17},
                                {88, 17, 33}, {65, 66, 130}, {7, 130, 300}, {64, 64, 64}};

TEST_16BIT(gemm_dx_16bit_is_right) {
    for (size_t i = 0; i < 2 * ARRAY_LEN(shapes); i++) {
        const int *s = shapes[i / 2];
        check_dx(r, i % 2 ? KERN_F16 : KERN_BF16, s[0], s[1], s[2], (int)(i / 4 % 2), 1);
    }
}

/* fp16 ends at 6e-8, and gradients don't; nor at 65504. */
TEST_16BIT(gemm_dx_16bit_takes_gradients_of_any_size) {
    check_dx(r, KERN_F16, 17, 40, 24, 0, 1e-12f);
    check_dx(r, KERN_F16, 17, 40, 24, 1, 1e-12f);
    check_dx(r, KERN_F16, 17, 40, 24, 0, 1e9f);
    check_dx(r, KERN_BF16, 17, 40, 24, 1, 1e-12f);
    float dy[3] = {0, 1e-40f, INFINITY};
    const float one = 1;
    struct kern_mat *mat = mat_16bit(r, KERN_F16, 1, 1, &one);
    struct tensor tdy = tensor_in(r, dy, 3, 1, 0), tdx = tensor_out(r, 3, 1, 0);
    RUN(r, train->gemm_dx, struct kern_gemm_dx, .m = 3, .dy = tdy.p, .lddy = 1, .w = mat,
        .dx = tdx.p, .lddx = 1);
    const float *dx = tensor_get(r, &tdx);
    CHECK(dx[0] == 0 && dx[1] >= 0 && dx[1] < 1e-39f && !isfinite(dx[2]));
    r->ops->mat_free(r->k, mat);
}

TEST_16BIT(gemm_dx_16bit_row_has_the_same_bits_in_any_company) {
    enum { ROWS = 200, N = 100, K = 72 };
    for (int type = KERN_BF16; type <= KERN_F16; type++) {
        const float *w = random_16bit(r, (enum kern_dtype)type, N * K);
        struct kern_mat *mat = mat_16bit(r, (enum kern_dtype)type, N, K, w);
        struct tensor dy = tensor_in(r, host_random(r, ROWS * N, 1), ROWS, N, 0);
        struct tensor dx = tensor_out(r, ROWS, K, 0);
        struct kern_gemm_dx a = {ROWS, dy.p, dy.ld, mat, dx.p, dx.ld, 0};
        RUN_ON(r, train->gemm_dx, &a);
        const float *all = tensor_get(r, &dx);
        for (int rows = 1; rows < 80; rows += 13) {
            int first = host_below(r, ROWS - rows + 1);
            struct tensor some = tensor_out(r, rows, K, rows % 2);
            a.m = rows, a.dy = tensor_row(&dy, first), a.dx = some.p, a.lddx = some.ld;
            RUN_ON(r, train->gemm_dx, &a);
            CHECK_MEM(tensor_get(r, &some), all + first * K, (size_t)(rows * K) * sizeof(float));
        }
        r->ops->mat_free(r->k, mat);
    }
}

/* Both sides in bf16; blocks of rows, and what is left of one. */
TEST_16BIT(gemm_dw_16bit_is_right) {
    static const int sizes[][3] = {{0, 3, 5}, {1, 1, 1}, {17, 88, 33}, {600, 7, 66}, {256, 65, 16}};
    for (size_t i = 0; i < 2 * ARRAY_LEN(sizes); i++) {
        int m = sizes[i / 2][0], n = sizes[i / 2][1], k = sizes[i / 2][2],
            accumulate = (int)(i % 2);
        size_t cells = (size_t)n * (size_t)k;
        const float *dy = host_random(r, (size_t)m * (size_t)n, 1e-9f);
        const float *x = host_random(r, (size_t)m * (size_t)k, 1);
        const float *begin = accumulate ? host_random(r, cells, 3e-9f) : NULL;
        struct tensor tdy = tensor_in(r, dy, m, n, 5), tx = tensor_in(r, x, m, k, 3);
        struct tensor tdw = tensor_in(r, begin, n, k, 1);
        RUN(r, train->gemm_dw, struct kern_gemm_dw, .m = m, .n = n, .k = k, .dy = tdy.p,
            .lddy = tdy.ld, .x = tx.p, .ldx = tx.ld, .dw = tdw.p, .lddw = tdw.ld,
            .accumulate = accumulate);
        struct truth t = truth_from(begin, cells);
        plain_gemm_dw_f64(dy, x, m, n, k, t.want);
        plain_gemm_dw_f32(dy, x, m, n, k, t.plain);
        tol_check_bf16("dw", tensor_get(r, &tdw), t.want, t.plain, cells);
    }
}

/* Rows of f32 become those of the matrix, as if it had been made of them rounded. */
TEST_16BIT(mat_set_16bit_rounds_as_it_goes) {
    enum { N = 19, K = 37, M = 5, ROW0 = 6, NEW = 9 };
    for (int type = KERN_BF16; type <= KERN_F16; type++) {
        float *w = host_rounded(host_random(r, N * K, 1), N * K, (enum kern_dtype)type);
        struct kern_mat *set = mat_16bit(r, (enum kern_dtype)type, N, K, w);
        const float *anew = host_random(r, NEW * K, 1);
        struct tensor src = tensor_in(r, anew, NEW, K, 3);
        RUN(r, train->mat_set, struct kern_mat_set, .w = set, .row0 = ROW0, .rows = NEW,
            .src = src.p, .ld = src.ld);
        memcpy(w + ROW0 * K, host_rounded(anew, NEW * K, (enum kern_dtype)type),
               NEW * K * sizeof *w);
        struct kern_mat *fresh = mat_16bit(r, (enum kern_dtype)type, N, K, w),
                        *mat[] = {set, fresh};
        struct tensor x = tensor_in(r, host_random(r, M * K, 1), M, K, 0);
        const float *y[2];
        for (int i = 0; i < 2; i++) {
            struct tensor ty = tensor_out(r, M, N, 0);
            RUN(r, gemm, struct kern_gemm, .m = M, .x = x.p, .ldx = K, .w = mat[i], .y = ty.p,
                .ldy = N);
            y[i] = tensor_get(r, &ty);
            r->ops->mat_free(r->k, mat[i]);
        }
        CHECK_MEM(y[0], y[1], M * N * sizeof(float));
    }
}
