/* test_gemm_back.c - the way back through products, and weights that are set anew. */
#include "tests/unit/kernels/plain.h"
#include "tests/unit/kernels/train_rig.h"

struct shape {
    int m, n, k;
};
static const struct shape shapes[] = {{0, 3, 5},    {1, 1, 1},     {3, 17, 5},   {17, 88, 33},
                                      {88, 20, 66}, {257, 33, 16}, {600, 7, 19}, {5, 300, 130}};

static void check_dx(struct rig *r, struct shape s, int accumulate) {
    size_t cells = (size_t)(s.m * s.k);
    const float *dy = host_random(r, (size_t)(s.m * s.n), 1);
    const float *w = host_random(r, (size_t)(s.n * s.k), 1);
    const float *begin = accumulate ? host_random(r, cells, 3) : NULL;
    struct tensor tdy = tensor_in(r, dy, s.m, s.n, 3), tdx = tensor_in(r, begin, s.m, s.k, 1);
    struct kern_mat *mat = train_mat(r, w, s.n, s.k);
    TWICE(r, gemm_dx, struct kern_gemm_dx, .m = s.m, .dy = tdy.p, .lddy = tdy.ld, .w = mat,
          .dx = tdx.p, .lddx = tdx.ld, .accumulate = accumulate);
    struct truth t = truth_from(begin, cells);
    for (int i = 0; i <= accumulate; i++) {
        plain_gemm_dx_f64(dy, w, s.m, s.n, s.k, t.want);
        plain_gemm_dx_f32(dy, w, s.m, s.n, s.k, t.plain);
    }
    truth_check("dx", &t, tensor_get(r, &tdx));
    r->ops->mat_free(r->k, mat);
}

TRAIN_TEST(gemm_dx_is_right_at_odd_sizes) {
    for (size_t i = 0; i < 2 * ARRAY_LEN(shapes); i++)
        check_dx(r, shapes[i / 2], (int)(i % 2));
}

/* With `is_bias` the sums of columns. */
static void check_dw(struct rig *r, struct shape s, int accumulate, int is_bias) {
    if (is_bias) s.k = 1;
    size_t cells = (size_t)(s.n * s.k);
    const float *dy = host_random(r, (size_t)(s.m * s.n), 1);
    const float *x = is_bias ? NULL : host_random(r, (size_t)(s.m * s.k), 1);
    const float *begin = accumulate ? host_random(r, cells, 3) : NULL;
    struct tensor tdy = tensor_in(r, dy, s.m, s.n, 5), tx = tensor_in(r, x, s.m, s.k, 3);
    struct tensor tdw = is_bias ? tensor_in(r, begin, 1, s.n, 1) : tensor_in(r, begin, s.n, s.k, 1);
    if (is_bias)
        TWICE(r, colsum, struct kern_colsum, .m = s.m, .n = s.n, .dy = tdy.p, .lddy = tdy.ld,
              .db = tdw.p, .accumulate = accumulate);
    else
        TWICE(r, gemm_dw, struct kern_gemm_dw, .m = s.m, .n = s.n, .k = s.k, .dy = tdy.p,
              .lddy = tdy.ld, .x = tx.p, .ldx = tx.ld, .dw = tdw.p, .lddw = tdw.ld,
              .accumulate = accumulate);
    struct truth t = truth_from(begin, cells);
    for (int i = 0; i <= accumulate; i++) {
        plain_gemm_dw_f64(dy, x, s.m, s.n, s.k, t.want);
        plain_gemm_dw_f32(dy, x, s.m, s.n, s.k, t.plain);
    }
    truth_check(is_bias ? "db" : "dw", &t, tensor_get(r, &tdw));
}

TRAIN_TEST(gemm_dw_is_right_at_odd_sizes) {
    for (size_t i = 0; i < 2 * ARRAY_LEN(shapes); i++)
        check_dw(r, shapes[i / 2], (int)(i % 2), 0);
}

TRAIN_TEST(colsum_is_right_at_odd_sizes) {
    for (size_t i = 0; i < 2 * ARRAY_LEN(shapes); i++)
        check_dw(r, shapes[i / 2], (int)(i % 2), 1);
}

TRAIN_TEST(gemm_dx_row_has_the_same_bits_anywhere_and_in_any_company) {
    enum { ROWS = 300, N = 45, K = 37 };
    struct kern_mat *mat = train_mat(r, host_random(r, N * K, 1), N, K);
    struct tensor dy = tensor_in(r, host_random(r, ROWS * N, 1), ROWS, N, 2);
    struct tensor dx = tensor_out(r, ROWS, K, 1);
    struct kern_gemm_dx a = {ROWS, dy.p, dy.ld, mat, dx.p, dx.ld, 0};
    r->ops->train->gemm_dx(r->k, &a);
    const float *all = tensor_get(r, &dx);
    for (int rows = 1; rows < 60; rows += 4) {
        int first = host_below(r, ROWS - rows + 1);
        struct tensor some = tensor_out(r, rows, K, 3);
        a.m = rows, a.dy = tensor_row(&dy, first), a.dx = some.p, a.lddx = some.ld;
        r->ops->train->gemm_dx(r->k, &a);
        CHECK_MEM(tensor_get(r, &some), all + first * K, (size_t)(rows * K) * sizeof(float));
    }
    r->ops->mat_free(r->k, mat);
}

/* The slopes of sum dy * (x w^T + bias). */
struct product {
    struct shape s;
    const float *dy;
    double *x, *w, *bias;
};

static double product_loss(void *ud) {
    const struct product *p = ud;
    double loss = 0;
    for (int i = 0; i < p->s.m; i++) {
        for (int j = 0; j < p->s.n; j++) {
            double y = p->bias[j];
            for (int c = 0; c < p->s.k; c++)
                y += p->x[i * p->s.k + c] * p->w[j * p->s.k + c];
            loss += (double)p->dy[i * p->s.n + j] * y;
        }
    }
    return loss;
}

TRAIN_TEST(gemm_back_is_a_slope) {
    if (!train_is_ref(r)) skip("once is enough");
    const struct shape s = {4, 7, 3};
    const float *x = host_random(r, 12, 1), *w = host_random(r, 21, 1);
    struct product p = {s, host_random(r, 28, 1), host_widened(x, 12), host_widened(w, 21),
                        host_widened(host_random(r, 7, 1), 7)};
    struct truth dx = truth_from(NULL, 12), dw = truth_from(NULL, 21), db = truth_from(NULL, 7);
    plain_gemm_dx_f64(p.dy, w, s.m, s.n, s.k, dx.want);
    plain_gemm_dw_f64(p.dy, x, s.m, s.n, s.k, dw.want);
    plain_gemm_dw_f64(p.dy, NULL, s.m, s.n, 1, db.want);
    slope_check("dx", product_loss, &p, p.x, dx.want, 12);
    slope_check("dw", product_loss, &p, p.w, dw.want, 21);
    slope_check("db", product_loss, &p, p.bias, db.want, 7);
}

/* ---- mat_set ---- */

/* y = x w^T and dx = dy w, one behind the other. */
static const float *both_ways(struct rig *r, struct kern_mat *mat, struct shape s,
                              const struct tensor *x, const struct tensor *dy, int with_back) {
    struct tensor y = tensor_out(r, s.m, s.n, 0), dx = tensor_out(r, s.m, s.k, 0);
    RUN(r, gemm, struct kern_gemm, .m = s.m, .x = x->p, .ldx = x->ld, .w = mat, .y = y.p,
        .ldy = y.ld);
    float *out = host_f32((size_t)(s.m * (s.n + s.k)));
    memcpy(out, tensor_get(r, &y), (size_t)(s.m * s.n) * sizeof *out);
    if (!with_back) return out;
    TRAIN(r, gemm_dx, struct kern_gemm_dx, .m = s.m, .dy = dy->p, .lddy = dy->ld, .w = mat,
          .dx = dx.p, .lddx = dx.ld);
    memcpy(out + s.m * s.n, tensor_get(r, &dx), (size_t)(s.m * s.k) * sizeof *out);
    return out;
}

/* Two runs of rows of a matrix of two parts, one of them over the border of the parts. */
static void check_set(struct rig *r, struct shape s, int with_back) {
    int top = s.n / 3, row0[2] = {0, top > 1 ? top - 1 : 0}, rows[2] = {1, s.n / 2};
    size_t cells = (size_t)(s.n * s.k);
    float *w = host_random(r, cells, 1), *anew = host_random(r, cells, 1);
    struct kern_mat_part part[2] = {{w, top, KERN_F32}, {w + top * s.k, s.n - top, KERN_F32}};
    struct kern_mat_src src = {part, 2, s.k, 0, with_back};
    struct kern_mat *set, *fresh;
    CHECK_EQ(r->ops->mat_new(r->k, &src, &set, NULL), 0);
    for (int i = 0; i < 2; i++) {
        const float *from = anew + row0[i] * s.k;
        struct tensor t = tensor_in(r, from, rows[i], s.k, 3);
        TRAIN(r, mat_set, struct kern_mat_set, .w = set, .row0 = row0[i], .rows = rows[i],
              .src = t.p, .ld = t.ld);
        memcpy(w + row0[i] * s.k, from, (size_t)(rows[i] * s.k) * sizeof *w);
    }
    CHECK_EQ(r->ops->mat_new(r->k, &src, &fresh, NULL), 0);
    struct tensor x = tensor_in(r, host_random(r, (size_t)(s.m * s.k), 1), s.m, s.k, 1);
    struct tensor dy = tensor_in(r, host_random(r, (size_t)(s.m * s.n), 1), s.m, s.n, 1);
    CHECK_MEM(both_ways(r, set, s, &x, &dy, with_back), both_ways(r, fresh, s, &x, &dy, with_back),
              (size_t)(s.m * (s.n + s.k)) * sizeof(float));
    r->ops->mat_free(r->k, set);
    r->ops->mat_free(r->k, fresh);
}

TRAIN_TEST(mat_set_makes_what_mat_new_would_have_made) {
    static const struct shape sizes[] = {{1, 3, 1}, {5, 17, 9}, {33, 50, 88}, {7, 257, 33}};
    for (size_t i = 0; i < 2 * ARRAY_LEN(sizes); i++)
        check_set(r, sizes[i / 2], (int)(i % 2));
}
