/* test_norm.c - both norms at odd widths, in place, far from zero, and alone as in company. */
#include "tests/unit/kernels/plain.h"
#include "tests/unit/kernels/rig.h"
#include "tests/unit/kernels/tol.h"

static const int all_rows[] = {0, 1, 3, 17, 88, 257};
static const int widths[] = {1, 2, 7, 16, 33, 88, 257, 1408};

/* Layernorm, or rmsnorm without a bias. */
static void run_norm(struct rig *r, int has_bias, struct kern_norm a) {
    if (has_bias)
        RUN_ON(r, layernorm, &a);
    else
        RUN_ON(r, rmsnorm, &a);
}

static void check_norm(struct rig *r, int has_bias, int rows, int width, float centre, float eps) {
    size_t cells = (size_t)rows * (size_t)width;
    float *x = host_random(r, cells, 2);
    for (size_t i = 0; i < cells; i++)
        x[i] += centre;
    const float *weight = host_random(r, (size_t)width, 1);
    const float *bias = has_bias ? host_random(r, (size_t)width, 1) : NULL;
    struct tensor tw = tensor_in(r, weight, 1, width, 1);
    struct tensor tb = has_bias ? tensor_in(r, bias, 1, width, 1) : (struct tensor){0};
    double *want = host_f64(cells);
    float *plain = host_f32(cells);
    plain_norm_f64(x, weight, bias, eps, rows, width, want);
    plain_norm_f32(x, weight, bias, eps, rows, width, plain);
    for (int in_place = 0; in_place < 2; in_place++) {
        struct tensor tx = tensor_in(r, x, rows, width, 1);
        struct tensor ty = in_place ? tx : tensor_out(r, rows, width, 3);
        run_norm(
            r, has_bias,
            (struct kern_norm){rows, width, tx.p, tx.ld, tw.p, tb.p, eps, ty.p, ty.ld, KERN_F32});
        tol_check(has_bias ? "layernorm" : "rmsnorm", tensor_get(r, &ty), want, plain, cells);
    }
}

static void check_norms(struct rig *r, int has_bias) {
    for (size_t i = 0; i < ARRAY_LEN(all_rows); i++)
        check_norm(r, has_bias, all_rows[i], widths[i + 1], 0.5f, 1e-6f);
    for (size_t i = 0; i < ARRAY_LEN(widths); i++)
        check_norm(r, has_bias, 5, widths[i], 0, 1e-5f);
    check_norm(r, has_bias, 4, 100, 1000, 1e-6f); /* a variance by one look would be gone */
}

OP_TEST(layernorm_is_right) { check_norms(r, 1); }
OP_TEST(rmsnorm_is_right) { check_norms(r, 0); }

OP_TEST(norm_of_a_constant_row_is_finite) {
    enum { W = 20 };
    float x[2 * W] = {0}, weight[W], bias[W] = {0};
    for (int c = 0; c < W; c++) {
        x[W + c] = 7;
        weight[c] = 2;
    }
    struct tensor tx = tensor_in(r, x, 2, W, 0), tw = tensor_in(r, weight, 1, W, 0);
    struct tensor tb = tensor_in(r, bias, 1, W, 0), ty = tensor_out(r, 2, W, 0);
    struct kern_norm a = {2, W, tx.p, W, tw.p, tb.p, 1e-6f, ty.p, W, KERN_F32};
    run_norm(r, 1, a);
    const float *y = tensor_get(r, &ty);
    for (int i = 0; i < 2 * W; i++)
        CHECK(y[i] == 0);
    run_norm(r, 0, a);
    y = tensor_get(r, &ty);
    for (int c = 0; c < W; c++) {
        CHECK(y[c] == 0);
        CHECK_NEAR(y[W + c], 2, 1e-6);
    }
}

OP_TEST(norm_row_has_the_same_bits_anywhere_and_in_any_company) {
    enum { ROWS = 88, W = 101 };
    struct tensor x = tensor_in(r, host_random(r, ROWS * W, 1), ROWS, W, 2);
    struct tensor weight = tensor_in(r, host_random(r, W, 1), 1, W, 0);
    struct tensor bias = tensor_in(r, host_random(r, W, 1), 1, W, 0);
    for (int has_bias = 0; has_bias < 2; has_bias++) {
        struct kern_norm a = {ROWS, W, x.p, x.ld, weight.p, bias.p, 1e-5f, {0}, W, KERN_F32};
        struct tensor y = tensor_out(r, ROWS, W, 0);
        a.y = y.p;
        run_norm(r, has_bias, a);
        const float *all = tensor_get(r, &y);
        for (int rows = 1; rows < 40; rows += 6) {
            int first = host_below(r, ROWS - rows + 1);
            struct tensor some = tensor_out(r, rows, W, 1);
            a.rows = rows, a.x = tensor_row(&x, first), a.y = some.p, a.ldy = some.ld;
            run_norm(r, has_bias, a);
            CHECK_MEM(tensor_get(r, &some), all + first * W, (size_t)(rows * W) * sizeof(float));
        }
    }
}
