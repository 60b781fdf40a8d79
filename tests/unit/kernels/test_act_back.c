/* test_act_back.c - GELU there and back, SwiGLU back, dropout, and other types. */
#include "kernels/base/half.h"
#include "tests/unit/kernels/plain.h"
#include "tests/unit/kernels/tol.h"
#include "tests/unit/kernels/train_rig.h"

static const int sizes[][2] = {{0, 4}, {1, 1}, {3, 17}, {17, 88}, {88, 3}, {257, 65}};

/* x or dx are where the result goes, too. `is_odd`: rows begin anywhere, not at vectors. */
static void check_gelu(struct rig *r, int rows, int width, int in_place, int is_odd) {
    size_t cells = (size_t)(rows * width);
    const float *x = host_random(r, cells, 3), *dy = host_random(r, cells, 1);
    struct tensor tx = tensor_in(r, x, rows, width, 3 * is_odd);
    struct tensor tdy = tensor_in(r, dy, rows, width, is_odd);
    struct tensor dx = in_place ? tdy : tensor_out(r, rows, width, 5 * is_odd);
    TRAIN(r, gelu_back, struct kern_gelu, rows, width, tx.p, tx.ld, tdy.p, tdy.ld, dx.p, dx.ld);
    if (!in_place)
        TWICE(r, gelu_back, struct kern_gelu, rows, width, tx.p, tx.ld, tdy.p, tdy.ld, dx.p, dx.ld);
    struct truth t = truth_from(NULL, cells);
    plain_gelu_back_f64(x, dy, cells, t.want);
    plain_gelu_back_f32(x, dy, cells, t.plain);
    truth_check("gelu back", &t, tensor_get(r, &dx));

    struct tensor y = in_place ? tx : tensor_out(r, rows, width, 5 * is_odd);
    TRAIN(r, gelu, struct kern_gelu, rows, width, tx.p, tx.ld, {0}, 0, y.p, y.ld);
    plain_gelu_f64(x, cells, t.want);
    plain_gelu_f32(x, cells, t.plain);
    truth_check("gelu", &t, tensor_get(r, &y));
}

TRAIN_TEST(gelu_is_right_there_and_back) {
    for (size_t i = 0; i < 4 * ARRAY_LEN(sizes); i++)
        check_gelu(r, sizes[i / 4][0], sizes[i / 4][1], (int)(i % 2), (int)(i / 2 % 2));
}

static void check_swiglu(struct rig *r, int rows, int width, int in_place, int is_odd) {
    size_t cells = (size_t)(rows * width);
    const float *x = host_random(r, 2 * cells, 3), *dy = host_random(r, cells, 1);
    struct tensor tx = tensor_in(r, x, rows, 2 * width, 3 * is_odd);
    struct tensor tdy = tensor_in(r, dy, rows, width, is_odd);
    struct tensor dx = in_place ? tx : tensor_out(r, rows, 2 * width, 5 * is_odd);
    TRAIN(r, swiglu_back, struct kern_swiglu_back, rows, width, tx.p, tx.ld, tdy.p, tdy.ld, dx.p,
          dx.ld);
    if (!in_place)
        TWICE(r, swiglu_back, struct kern_swiglu_back, rows, width, tx.p, tx.ld, tdy.p, tdy.ld,
              dx.p, dx.ld);
    struct truth t = truth_from(NULL, 2 * cells);
    plain_swiglu_back_f64(x, dy, rows, width, t.want);
    plain_swiglu_back_f32(x, dy, rows, width, t.plain);
    truth_check("swiglu back", &t, tensor_get(r, &dx));
}

TRAIN_TEST(swiglu_back_is_right_at_odd_sizes) {
    for (size_t i = 0; i < 4 * ARRAY_LEN(sizes); i++)
        check_swiglu(r, sizes[i / 4][0], sizes[i / 4][1], (int)(i % 2), (int)(i / 2 % 2));
}

/* Also where exp overflows. */
TRAIN_TEST(act_back_is_finite_over_the_whole_line) {
    enum { N = 2001 };
    float *x = host_f32(2 * N), *dy = host_f32(N);
    for (int i = 0; i < N; i++) {
        x[i] = (float)(i - N / 2) / 8; /* -125 .. 125 */
        x[N + i] = dy[i] = 1;
    }
    struct tensor tx = tensor_in(r, x, 1, 2 * N, 1), tdy = tensor_in(r, dy, 1, N, 1);
    struct tensor dx = tensor_out(r, 1, 2 * N, 0), dg = tensor_out(r, 1, N, 0);
    TRAIN(r, swiglu_back, struct kern_swiglu_back, 1, N, tx.p, tx.ld, tdy.p, tdy.ld, dx.p, dx.ld);
    TRAIN(r, gelu_back, struct kern_gelu, 1, N, tx.p, tx.ld, tdy.p, tdy.ld, dg.p, dg.ld);
    struct truth t = truth_from(NULL, 2 * N), g = truth_from(NULL, N);
    plain_swiglu_back_f64(x, dy, 1, N, t.want);
    plain_swiglu_back_f32(x, dy, 1, N, t.plain);
    truth_check("swiglu back", &t, tensor_get(r, &dx));
    plain_gelu_back_f64(x, dy, N, g.want);
    plain_gelu_back_f32(x, dy, N, g.plain);
    truth_check("gelu back", &g, tensor_get(r, &dg));
}

TRAIN_TEST(act_back_row_has_the_same_bits_anywhere_and_in_any_company) {
    enum { ROWS = 60, W = 45 };
    struct tensor x = tensor_in(r, host_random(r, ROWS * 2 * W, 3), ROWS, 2 * W, 1);
    struct tensor dy = tensor_in(r, host_random(r, ROWS * W, 1), ROWS, W, 3);
    struct tensor dx = tensor_out(r, ROWS, 2 * W, 0), dg = tensor_out(r, ROWS, W, 0);
    TRAIN(r, swiglu_back, struct kern_swiglu_back, ROWS, W, x.p, x.ld, dy.p, dy.ld, dx.p, dx.ld);
    TRAIN(r, gelu_back, struct kern_gelu, ROWS, W, x.p, x.ld, dy.p, dy.ld, dg.p, dg.ld);
    const float *all = tensor_get(r, &dx), *all_g = tensor_get(r, &dg);
    for (int rows = 1; rows < 30; rows += 4) {
        int at = host_below(r, ROWS - rows + 1);
        struct tensor some = tensor_out(r, rows, 2 * W, 1), some_g = tensor_out(r, rows, W, 1);
        struct kern_ptr px = tensor_row(&x, at), pdy = tensor_row(&dy, at);
        TRAIN(r, swiglu_back, struct kern_swiglu_back, rows, W, px, x.ld, pdy, dy.ld, some.p,
              some.ld);
        TRAIN(r, gelu_back, struct kern_gelu, rows, W, px, x.ld, pdy, dy.ld, some_g.p, some_g.ld);
        CHECK_MEM(tensor_get(r, &some), all + at * 2 * W, (size_t)(rows * 2 * W) * sizeof *all);
        CHECK_MEM(tensor_get(r, &some_g), all_g + at * W, (size_t)(rows * W) * sizeof *all);
    }
}

/* ---- slopes ---- */
enum { POINTS = 40 };
struct acted {
    const float *dy;
    double *x; /* POINTS gates, as many ups */
};

static double gelu_loss(void *ud) {
    const struct acted *a = ud;
    double loss = 0;
    for (int i = 0; i < POINTS; i++)
        loss += (double)a->dy[i] * 0.5 * a->x[i] * (1 + erf(a->x[i] / sqrt(2)));
    return loss;
}

static double swiglu_loss(void *ud) {
    const struct acted *a = ud;
    double loss = 0;
    for (int i = 0; i < POINTS; i++)
        loss += (double)a->dy[i] * a->x[i] / (1 + exp(-a->x[i])) * a->x[POINTS + i];
    return loss;
}

TRAIN_TEST(act_back_is_a_slope) {
    if (!train_is_ref(r)) skip("once is enough");
    float *x = host_random(r, 2 * POINTS, 2);
    x[0] = 0;
    struct acted a = {host_random(r, POINTS, 1), host_widened(x, 2 * POINTS)};
    double *dx = host_f64(2 * POINTS);
    plain_gelu_back_f64(x, a.dy, POINTS, dx);
    slope_check("gelu", gelu_loss, &a, a.x, dx, POINTS);
    plain_swiglu_back_f64(x, a.dy, 1, POINTS, dx);
    slope_check("swiglu", swiglu_loss, &a, a.x, dx, 2 * POINTS);
}

/* ---- dropout ---- */
static const float rates[] = {0, 0.01f, 0.05f, 0.5f, 0.9f};

/* y there and back, elsewhere and in place: the same numbers fall out. */
TRAIN_TEST(dropout_lets_the_same_fall_out_there_and_back) {
    enum { ROWS = 37, W = 44 };
    const uint64_t seed = 0xfedcba9876543210u;
    int32_t id[ROWS];
    for (int i = 0; i < ROWS; i++)
        id[i] = i == 0 ? -1 : i == 1 ? INT32_MAX : host_below(r, 1 << 30);
    struct kern_ptr ids = rig_put(r, id, sizeof id);
    for (size_t n = 0; n < ARRAY_LEN(rates); n++) {
        for (int how = 0; how < 4; how++) {
            int in_place = how % 2, is_odd = how / 2;
            const float *x = host_random(r, ROWS * W, 1), rate = rates[n];
            struct tensor tx = tensor_in(r, x, ROWS, W, 3 * is_odd);
            struct tensor y = in_place ? tx : tensor_out(r, ROWS, W, is_odd);
            TRAIN(r, dropout, struct kern_dropout, ROWS, W, rate, seed, ids, tx.p, tx.ld, y.p,
                  y.ld);
            struct truth t = truth_from(NULL, ROWS * W);
            for (int i = 0; i < ROWS * W; i++) {
                if (!kern_dropout_keeps(seed, id[i / W], i % W, rate)) continue;
                t.want[i] = (double)x[i] / (1 - (double)rate);
                t.plain[i] = x[i] / (1 - rate);
            }
            const float *got = tensor_get(r, &y);
            truth_check("dropout", &t, got);
            for (int i = 0; i < ROWS * W; i++)
                CHECK((got[i] == 0) == (t.want[i] == 0));
        }
    }
}

TRAIN_TEST(dropout_of_a_row_goes_by_its_id_alone) {
    enum { ROWS = 20, W = 33 };
    int32_t id[ROWS], back[ROWS];
    const float *x = host_random(r, ROWS * W, 1);
    float *turned = host_f32(ROWS * W);
    for (int i = 0; i < ROWS; i++) {
        id[i] = 100 + 7 * i;
        back[ROWS - 1 - i] = id[i];
        memcpy(turned + (ROWS - 1 - i) * W, x + i * W, W * sizeof *x);
    }
    const struct tensor tx = tensor_in(r, x, ROWS, W, 1), tt = tensor_in(r, turned, ROWS, W, 1);
    const struct tensor y = tensor_out(r, ROWS, W, 0), yt = tensor_out(r, ROWS - 5, W, 0);
    TRAIN(r, dropout, struct kern_dropout, ROWS, W, 0.4f, 7, rig_put(r, id, sizeof id), tx.p, tx.ld,
          y.p, y.ld);
    TRAIN(r, dropout, struct kern_dropout, ROWS - 5, W, 0.4f, 7, rig_put(r, back, sizeof back),
          tt.p, tt.ld, yt.p, yt.ld);
    const float *a = tensor_get(r, &y), *b = tensor_get(r, &yt);
    for (int i = 5; i < ROWS; i++)
        CHECK_MEM(a + i * W, b + (ROWS - 1 - i) * W, W * sizeof *a);
}

/* Within five standard deviations, also of two neighbours at once: by column, row and seed. */
static void check_share(double n, double kept, double p) {
    CHECK_NEAR(kept, n * p, 5 * sqrt(n * p * (1 - p)) + 1e-9);
}

TEST(dropout_keeps_as_many_as_it_should_and_neighbours_are_strangers) {
    enum { ROWS = 500, W = 400 };
    for (size_t n = 0; n < ARRAY_LEN(rates); n++) {
        double all = 0, pairs[3] = {0}, p = 1 - (double)rates[n];
        for (int i = 0; i < ROWS; i++) {
            for (int c = 0; c < W; c++) {
                int keeps = kern_dropout_keeps(test_seed(), i, c, rates[n]);
                all += keeps;
                pairs[0] += keeps && kern_dropout_keeps(test_seed(), i, c + 1, rates[n]);
                pairs[1] += keeps && kern_dropout_keeps(test_seed(), i + 1, c, rates[n]);
                pairs[2] += keeps && kern_dropout_keeps(test_seed() + 1, i, c, rates[n]);
            }
        }
        check_share(ROWS * W, all, p);
        for (int i = 0; i < 3; i++) {
            double spread = sqrt(p * p * (1 - p) * (1 + 3 * p)); /* a pair shares its numbers */
            CHECK_NEAR(pairs[i], ROWS * W * p * p, 5 * sqrt(ROWS * W) * spread + 1e-9);
        }
    }
}

/* ---- other types ---- */

/* There to 16 bits and back, with `pad` numbers behind each row that nobody writes. */
static void check_convert(struct rig *r, int rows, int width, enum kern_dtype type, int pad) {
    size_t ld = (size_t)(width + pad), cells = (size_t)rows * ld + 64;
    float *x = host_random(r, (size_t)(rows * width), 300);
    if (rows * width > 2) x[0] = 1e30f, x[1] = -1e-30f, x[2] = INFINITY;
    uint16_t *poison = host_take(cells * sizeof *poison);
    memset(poison, 0x7a, cells * sizeof *poison);
    struct tensor tx = tensor_in(r, x, rows, width, pad), back = tensor_out(r, rows, width, pad);
    struct kern_ptr y = rig_put(r, poison, cells * sizeof *poison);
    TRAIN(r, convert, struct kern_convert, rows, width, tx.p, tx.ld, KERN_F32, y, (int)ld, type);
    TRAIN(r, convert, struct kern_convert, rows, width, y, (int)ld, type, back.p, back.ld,
          KERN_F32);
    const uint16_t *got = rig_get(r, y, cells * sizeof *got);
    const float *wide = tensor_get(r, &back);
    for (size_t i = 0; i < cells; i++) {
        size_t row = i / ld, c = i % ld, at = row * (size_t)width + c;
        uint16_t want = 0x7a7a;
        if (row < (size_t)rows && c < (size_t)width) {
            float v = type == KERN_F16 && isfinite(x[at]) ? fminf(x[at], 65504) : x[at];
            want = type == KERN_BF16 ? half_to_bf16(v) : half_to_f16(v);
            float again = type == KERN_BF16 ? half_from_bf16(want) : half_from_f16(want);
            CHECK_MEM(&wide[at], &again, sizeof again);
        }
        CHECK_EQ(got[i], want);
    }
}

/* Ties, denormals, what is too large, and what is no number. */
TRAIN_TEST(convert_knows_the_ends_of_a_type) {
    static const float x[] = {0.0f,     -0.0f,    1.00390625f,    1.01171875f, /* ties of bf16, */
                              1e-40f,   -1e-40f,  9.2e-41f,       4.6e-41f,    /* its denormals, */
                              3.39e38f, -3.4e38f, 1.00048828125f, 1.00146484375f, /* f16's ties */
                              5.96e-8f, 2.98e-8f, -8.9407e-8f,    6.1e-5f,        65504, 65519.99f,
                              65520,    -1e9f,    INFINITY,       -INFINITY,      NAN,   -NAN};
    enum { N = ARRAY_LEN(x) };
    for (int type = KERN_BF16; type <= KERN_F16; type++) {
        struct tensor tx = tensor_in(r, x, 1, N, 0), back = tensor_out(r, 1, N, 0);
        struct kern_ptr y = rig_put(r, x, N * sizeof(uint16_t));
        TRAIN(r, convert, struct kern_convert, 1, N, tx.p, N, KERN_F32, y, N,
              (enum kern_dtype)type);
        TRAIN(r, convert, struct kern_convert, 1, N, y, N, (enum kern_dtype)type, back.p, N,
              KERN_F32);
        const float *wide = tensor_get(r, &back);
        for (int i = 0; i < N; i++) {
            int is_finite = type == KERN_F16 && isfinite(x[i]);
            float v = is_finite ? fmaxf(fminf(x[i], 65504), -65504) : x[i];
            float want =
                type == KERN_BF16 ? half_from_bf16(half_to_bf16(v)) : half_from_f16(half_to_f16(v));
            CHECK(isnan(want) ? isnan(wide[i]) : !memcmp(&wide[i], &want, sizeof want));
        }
    }
}

TRAIN_TEST(convert_rounds_and_widens) {
    static const enum kern_dtype types[] = {KERN_BF16, KERN_F16};
    static const int pads[] = {0, 3, 8};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        for (size_t p = 0; p < ARRAY_LEN(pads); p++)
            for (size_t t = 0; t < ARRAY_LEN(types); t++)
                check_convert(r, sizes[i][0], sizes[i][1], types[t], pads[p]);
}
