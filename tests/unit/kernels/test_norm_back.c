/* test_norm_back.c - the way back through both norms. */
#include "tests/unit/kernels/plain.h"
#include "tests/unit/kernels/train_rig.h"

struct norm_case {
    int rows, width, is_centred, accumulate;
    float eps;
};

static void run_back(struct rig *r, const struct norm_case *c, struct kern_norm_back a) {
    if (c->is_centred)
        TRAIN_ON(r, layernorm_back, &a);
    else
        TRAIN_ON(r, rmsnorm_back, &a);
}

/* dw and db are asked for by the bits of `wants`. */
static void check_back(struct rig *r, struct norm_case c, int wants) {
    size_t cells = (size_t)(c.rows * c.width), w = (size_t)c.width;
    const float *x = host_random(r, cells, 2), *dy = host_random(r, cells, 1);
    const float *weight = host_random(r, w, 1), *begin = host_random(r, cells + 2 * w, 1);
    if (!c.is_centred) wants &= 1;
    struct tensor tx = tensor_in(r, x, c.rows, c.width, 1),
                  tw = tensor_in(r, weight, 1, c.width, 1);
    struct tensor tdy = tensor_in(r, dy, c.rows, c.width, 3);
    struct tensor tdx = tensor_in(r, c.accumulate ? begin : NULL, c.rows, c.width, 5);
    struct tensor tdw = tensor_in(r, begin + cells, 1, c.width, 1);
    struct tensor tdb = tensor_in(r, begin + cells + w, 1, c.width, 0);
    struct kern_norm_back a = {c.rows, c.width, tx.p,   tx.ld,        tw.p, c.eps, tdy.p,
                               tdy.ld, tdx.p,   tdx.ld, c.accumulate, {0},  {0}};
    if (wants & 1) a.dw = tdw.p;
    if (wants & 2) a.db = tdb.p;
    struct truth dx = truth_from(c.accumulate ? begin : NULL, cells);
    struct truth dw = truth_from(begin + cells, w), db = truth_from(begin + cells + w, w);
    for (int i = 0; i < 2; i++) {
        if (!c.accumulate) dx = truth_from(NULL, cells);
        plain_norm_back_f64(x, weight, dy, c.is_centred, c.eps, c.rows, c.width, dx.want, dw.want,
                            db.want);
        plain_norm_back_f32(x, weight, dy, c.is_centred, c.eps, c.rows, c.width, dx.plain, dw.plain,
                            db.plain);
        run_back(r, &c, a);
    }
    dw.terms = db.terms = 2 * (size_t)c.rows;
    if (!(wants & 1)) dw = truth_from(begin + cells, w);
    if (!(wants & 2)) db = truth_from(begin + cells + w, w);
    truth_check("dx", &dx, tensor_get(r, &tdx));
    truth_check("dw", &dw, tensor_get(r, &tdw));
    truth_check("db", &db, tensor_get(r, &tdb));
}

static void check_backs(struct rig *r, int is_centred) {
    static const int sizes[][2] = {{0, 5},    {1, 1},   {3, 2},   {17, 7},   {88, 33},
                                   {300, 20}, {257, 3}, {5, 257}, {3, 1408}, {600, 17}};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        float eps = sizes[i][1] < 3 ? 0.1f : 1e-5f; /* two numbers have no slope without it */
        for (int accumulate = 0; accumulate < 2; accumulate++)
            check_back(r, (struct norm_case){sizes[i][0], sizes[i][1], is_centred, accumulate, eps},
                       3);
    }
    for (int wants = 0; wants < 3; wants++)
        check_back(r, (struct norm_case){9, 40, is_centred, 0, 1e-6f}, wants);
}

TRAIN_TEST(layernorm_back_is_right_at_odd_sizes) { check_backs(r, 1); }
TRAIN_TEST(rmsnorm_back_is_right_at_odd_sizes) { check_backs(r, 0); }

/* In place of dy, and each row by itself. */
TRAIN_TEST(norm_back_row_has_the_same_bits_in_place_and_in_any_company) {
    enum { ROWS = 88, W = 101 };
    const float *host_dy = host_random(r, ROWS * W, 1);
    struct tensor x = tensor_in(r, host_random(r, ROWS * W, 1), ROWS, W, 2);
    struct tensor weight = tensor_in(r, host_random(r, W, 1), 1, W, 0);
    for (int is_centred = 0; is_centred < 2; is_centred++) {
        const struct norm_case c = {ROWS, W, is_centred, 0, 1e-5f};
        struct tensor dy = tensor_in(r, host_dy, ROWS, W, 1), dx = tensor_out(r, ROWS, W, 0);
        struct tensor dw[2];
        for (int i = 0; i < 2; i++)
            dw[i] = tensor_in(r, host_f32(W), 1, W, 1);
        struct kern_norm_back a = {ROWS,  W,    x.p,   x.ld, weight.p, c.eps, dy.p,
                                   dy.ld, dx.p, dx.ld, 0,    dw[0].p,  {0}};
        run_back(r, &c, a);
        const float *all = tensor_get(r, &dx);
        for (int rows = 1; rows < 40; rows += 6) {
            int first = host_below(r, ROWS - rows + 1);
            struct tensor some = tensor_out(r, rows, W, 1);
            struct kern_norm_back b = a;
            b.rows = rows, b.x = tensor_row(&x, first), b.dy = tensor_row(&dy, first);
            b.dx = some.p, b.lddx = some.ld, b.dw.addr = NULL;
            run_back(r, &c, b);
            CHECK_MEM(tensor_get(r, &some), all + first * W, (size_t)(rows * W) * sizeof(float));
        }
        a.dx = dy.p, a.lddx = dy.ld, a.dw = dw[1].p;
        run_back(r, &c, a);
        CHECK_MEM(tensor_get(r, &dy), all, ROWS * W * sizeof(float));
        CHECK_MEM(tensor_get(r, &dw[1]), tensor_get(r, &dw[0]), W * sizeof(float));
    }
}

/* The slopes of sum dy * norm(x). */
enum { SLOPE_ROWS = 3, SLOPE_W = 9 };
struct normed {
    int is_centred;
    double eps;
    const float *dy;
    double *x, *weight, *bias;
};

static double normed_loss(void *ud) {
    const struct normed *n = ud;
    double loss = 0;
    for (int i = 0; i < SLOPE_ROWS; i++) {
        const double *x = n->x + i * SLOPE_W;
        double mean = 0, square = 0;
        for (int c = 0; n->is_centred && c < SLOPE_W; c++)
            mean += x[c] / SLOPE_W;
        for (int c = 0; c < SLOPE_W; c++)
            square += (x[c] - mean) * (x[c] - mean) / SLOPE_W;
        for (int c = 0; c < SLOPE_W; c++)
            loss += (double)n->dy[i * SLOPE_W + c] *
                    ((x[c] - mean) / sqrt(square + n->eps) * n->weight[c] + n->bias[c]);
    }
    return loss;
}

TRAIN_TEST(norm_back_is_a_slope) {
    enum { CELLS = SLOPE_ROWS * SLOPE_W };
    if (!train_is_ref(r)) skip("once is enough");
    const float *x = host_random(r, CELLS, 1), *weight = host_random(r, SLOPE_W, 1), eps = 0.01f;
    for (int is_centred = 0; is_centred < 2; is_centred++) {
        struct normed n = {is_centred,
                           (double)eps,
                           host_random(r, CELLS, 1),
                           host_widened(x, CELLS),
                           host_widened(weight, SLOPE_W),
                           host_f64(SLOPE_W)};
        double *dx = host_f64(CELLS), *dw = host_f64(SLOPE_W), *db = host_f64(SLOPE_W);
        plain_norm_back_f64(x, weight, n.dy, is_centred, eps, SLOPE_ROWS, SLOPE_W, dx, dw, db);
        slope_check("dx", normed_loss, &n, n.x, dx, CELLS);
        slope_check("dw", normed_loss, &n, n.weight, dw, SLOPE_W);
        slope_check("db", normed_loss, &n, n.bias, db, SLOPE_W);
    }
}
