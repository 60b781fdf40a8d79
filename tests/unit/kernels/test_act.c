/* test_act.c - SwiGLU, also where exp overflows. */
#include "tests/unit/kernels/plain.h"
#include "tests/unit/kernels/rig.h"
#include "tests/unit/kernels/tol.h"

OP_TEST(swiglu_is_right_at_odd_sizes) {
    static const int sizes[][2] = {{0, 4}, {1, 1}, {3, 17}, {17, 88}, {88, 3}, {257, 257}};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        int rows = sizes[i][0], width = sizes[i][1];
        size_t cells = (size_t)(rows * width);
        const float *x = host_random(r, 2 * cells, 4);
        struct tensor tx = tensor_in(r, x, rows, 2 * width, 3), ty = tensor_out(r, rows, width, 1);
        RUN(r, swiglu, struct kern_swiglu, .rows = rows, .width = width, .x = tx.p, .ldx = tx.ld,
            .y = ty.p, .ldy = ty.ld);
        double *want = host_f64(cells);
        float *plain = host_f32(cells);
        plain_swiglu_f64(x, rows, width, want);
        plain_swiglu_f32(x, rows, width, plain);
        tol_check("swiglu", tensor_get(r, &ty), want, plain, cells);
    }
}

OP_TEST(swiglu_is_right_over_the_whole_line) {
    enum { N = 2001 };
    float *x = host_f32(2 * N), *plain = host_f32(N);
    double *want = host_f64(N);
    for (int i = 0; i < N; i++) {
        x[i] = (float)(i - N / 2) / 8; /* -125 .. 125 */
        x[N + i] = 1;
    }
    struct tensor tx = tensor_in(r, x, 1, 2 * N, 1), ty = tensor_out(r, 1, N, 0);
    RUN(r, swiglu, struct kern_swiglu, .rows = 1, .width = N, .x = tx.p, .ldx = tx.ld, .y = ty.p,
        .ldy = ty.ld);
    const float *got = tensor_get(r, &ty);
    plain_swiglu_f64(x, 1, N, want);
    plain_swiglu_f32(x, 1, N, plain);
    tol_check("silu", got, want, plain, N);
    for (int i = 0; i < N; i++) { /* and each by itself: a small result may not be a wrong one */
        if (fabs(want[i]) > 1e-30) tol_check("silu of one", got + i, want + i, plain + i, 1);
    }
}

OP_TEST(swiglu_row_has_the_same_bits_anywhere_and_in_any_company) {
    enum { ROWS = 60, W = 45 };
    struct tensor x = tensor_in(r, host_random(r, ROWS * 2 * W, 3), ROWS, 2 * W, 1);
    struct tensor y = tensor_out(r, ROWS, W, 0);
    RUN(r, swiglu, struct kern_swiglu, .rows = ROWS, .width = W, .x = x.p, .ldx = x.ld, .y = y.p,
        .ldy = W);
    const float *all = tensor_get(r, &y);
    for (int rows = 1; rows < 30; rows += 4) {
        int first = host_below(r, ROWS - rows + 1);
        struct tensor some = tensor_out(r, rows, W, 1);
        RUN(r, swiglu, struct kern_swiglu, .rows = rows, .width = W, .x = tensor_row(&x, first),
            .ldx = x.ld, .y = some.p, .ldy = some.ld);
        CHECK_MEM(tensor_get(r, &some), all + first * W, (size_t)(rows * W) * sizeof(float));
    }
}
