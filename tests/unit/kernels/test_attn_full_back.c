/* test_attn_full_back.c - the way back through attention inside pictures. */
#include "tests/unit/kernels/plain.h"
#include "tests/unit/kernels/tol.h"
#include "tests/unit/kernels/train_rig.h"

struct full {
    int images, tokens, heads, size;
};

struct ran {
    struct tensor y, lse;
    struct kern_attn_full fwd;
};

static struct ran run_full(struct rig *r, struct full f, const float *qkv, int with_lse) {
    int width = f.heads * f.size, rows = f.images * f.tokens;
    struct tensor x = tensor_in(r, qkv, rows, 3 * width, 3);
    struct ran ran = {tensor_out(r, rows, width, 1), tensor_out(r, rows, f.heads, 0), {0}};
    float scale = 1 / sqrtf((float)f.size);
    ran.fwd = (struct kern_attn_full){f.images, f.tokens, f.heads,  f.size, scale,   x.p,
                                      x.ld,     ran.y.p,  ran.y.ld, {NULL}, KERN_F32};
    if (with_lse) ran.fwd.lse = ran.lse.p;
    RUN_ON(r, attn_full, &ran.fwd);
    return ran;
}

static struct tensor run_back(struct rig *r, struct full f, const struct ran *ran,
                              const float *dy) {
    int width = f.heads * f.size, rows = f.images * f.tokens;
    struct tensor tdy = tensor_in(r, dy, rows, width, 5), d = tensor_out(r, rows, 3 * width, 1);
    TWICE(r, attn_full_back, struct kern_attn_full_back, ran->fwd, tdy.p, tdy.ld, d.p, d.ld);
    return d;
}

/* The truth about dqkv (rows, 3*width) and lse (rows, heads), in both types. */
#define FULL_TRUTH(bits, REAL)                                                                  \
    static void full_truth_##bits(struct full f, const float *qkv, const float *dy, REAL *dqkv, \
                                  REAL *lse) {                                                  \
        int width = f.heads * f.size;                                                           \
        const float **k = host_take((size_t)f.tokens * sizeof *k);                              \
        const float **v = host_take((size_t)f.tokens * sizeof *v);                              \
        REAL **dk = host_take((size_t)f.tokens * sizeof *dk);                                   \
        REAL **dv = host_take((size_t)f.tokens * sizeof *dv);                                   \
        REAL *room = host_take(2 * (size_t)f.tokens * sizeof *room), loss = 0;                  \
        for (int i = 0; i < f.images * f.tokens; i++) {                                         \
            for (int h = 0; h < f.heads; h++) {                                                 \
                int own = i * 3 * width + h * f.size;                                           \
                for (int j = 0; j < f.tokens; j++) {                                            \
                    int at = (i - i % f.tokens + j) * 3 * width + width + h * f.size;           \
                    k[j] = qkv + at, v[j] = k[j] + width;                                       \
                    dk[j] = dqkv + at, dv[j] = dk[j] + width;                                   \
                }                                                                               \
                lse[i * f.heads + h] = plain_attend_back_##bits(                                \
                    qkv + own, dy + i * width + h * f.size, k, v, NULL, 0, f.tokens, f.size,    \
                    1 / sqrtf((float)f.size), room, dqkv + own, dk, dv, &loss);                 \
            }                                                                                   \
        }                                                                                       \
    }
FULL_TRUTH(f64, double)
FULL_TRUTH(f32, float)

/* In bf16 weights and slopes are rounded, too. */
static void check_slopes(const struct rig *r, const char *what, const struct truth *t,
                         const float *got) {
    if (rig_is_bf16(r))
        tol_check_bf16(what, got, t->want, t->plain, t->n);
    else
        truth_check(what, t, got);
}

/* Columns [from, from + width) of three times as many. */
static void check_third(const struct rig *r, const char *what, const struct truth *t,
                        const float *got, int width, int which) {
    struct truth third = truth_from(NULL, t->n / 3);
    float *mine = host_f32(t->n / 3);
    for (size_t i = 0; i < t->n / 3; i++) {
        size_t w = (size_t)width, at = i / w * 3 * w + (size_t)which * w + i % w;
        third.want[i] = t->want[at], third.plain[i] = t->plain[at], mine[i] = got[at];
    }
    check_slopes(r, what, &third, mine);
}

static void check_back(struct rig *r, struct full f) {
    size_t rows = (size_t)(f.images * f.tokens), width = (size_t)(f.heads * f.size);
    const float *qkv = host_random(r, rows * 3 * width, 1.2f);
    const float *dy = host_random(r, rows * width, 1);
    struct ran ran = run_full(r, f, qkv, 1), without = run_full(r, f, qkv, 0);
    CHECK_MEM(tensor_get(r, &ran.y), tensor_get(r, &without.y), rows * width * sizeof(float));
    struct tensor d = run_back(r, f, &ran, dy);
    struct truth dqkv = truth_from(NULL, rows * 3 * width);
    struct truth lse = truth_from(NULL, rows * (size_t)f.heads);
    full_truth_f64(f, qkv, dy, dqkv.want, lse.want);
    full_truth_f32(f, qkv, dy, dqkv.plain, lse.plain);
    truth_check("lse", &lse, tensor_get(r, &ran.lse));
    const float *got = tensor_get(r, &d);
    check_slopes(r, "dqkv", &dqkv, got);
    if (f.tokens < 2) return; /* a single key has all the weight, and no slope */
    check_third(r, "dq", &dqkv, got, (int)width, 0);
    check_third(r, "dk", &dqkv, got, (int)width, 1);
    check_third(r, "dv", &dqkv, got, (int)width, 2);
}

TRAIN_TEST(attn_full_back_is_right_at_odd_sizes) {
    check_back(r, (struct full){0, 5, 2, 16});
    check_back(r, (struct full){1, 1, 1, 16});
    check_back(r, (struct full){2, 3, 3, 32});
    check_back(r, (struct full){3, 17, 2, 88});
    check_back(r, (struct full){1, 88, 1, 128});
    check_back(r, (struct full){1, 257, 2, 32});
    check_back(r, (struct full){2, 65, 1, 6});
}

TRAIN_TEST(attn_full_back_survives_large_scores) {
    enum { TOKENS = 9, SIZE = 16 };
    float *qkv = host_random(r, TOKENS * 3 * SIZE, 1);
    for (int i = 0; i < TOKENS; i++) {
        for (int c = 0; c < 2 * SIZE; c++)
            qkv[i * 3 * SIZE + c] *= 30; /* scores of a thousand: exp alone would overflow */
    }
    struct full f = {1, TOKENS, 1, SIZE};
    struct ran ran = run_full(r, f, qkv, 1);
    struct tensor d = run_back(r, f, &ran, host_random(r, TOKENS * SIZE, 1));
    const float *got = tensor_get(r, &d);
    for (int i = 0; i < TOKENS * 3 * SIZE; i++)
        CHECK(isfinite(got[i]) && fabsf(got[i]) < 1000);
}

TRAIN_TEST(attn_full_back_picture_has_the_same_bits_in_any_company) {
    struct full f = {4, 37, 2, 24}, one = {1, 37, 2, 24};
    size_t in = 37 * 3 * 48, out = 37 * 48;
    const float *qkv = host_random(r, 4 * in, 1), *dy = host_random(r, 4 * out, 1);
    struct ran ran = run_full(r, f, qkv, 1);
    struct tensor d = run_back(r, f, &ran, dy);
    const float *all = tensor_get(r, &d);
    for (size_t i = 0; i < 4; i++) {
        struct ran alone = run_full(r, one, qkv + i * in, 1);
        d = run_back(r, one, &alone, dy + i * out);
        CHECK_MEM(tensor_get(r, &d), all + i * in, in * sizeof(float));
    }
}

/* ---- the slopes of sum dy * attention(qkv), of one picture and head ---- */
enum { SLOPE_TOKENS = 5, SLOPE_SIZE = 6 };
struct attended {
    const float *dy;
    double *qkv;
};

static double attended_loss(void *ud) {
    const struct attended *a = ud;
    double loss = 0;
    for (int i = 0; i < SLOPE_TOKENS; i++) {
        double weight[SLOPE_TOKENS], sum = 0;
        for (int j = 0; j < SLOPE_TOKENS; j++) {
            double s = 0;
            for (int c = 0; c < SLOPE_SIZE; c++)
                s += a->qkv[i * 3 * SLOPE_SIZE + c] * a->qkv[(j * 3 + 1) * SLOPE_SIZE + c];
            sum += weight[j] = exp(s * (double)(1 / sqrtf(SLOPE_SIZE)));
        }
        for (int j = 0; j < SLOPE_TOKENS; j++) {
            for (int c = 0; c < SLOPE_SIZE; c++)
                loss += (double)a->dy[i * SLOPE_SIZE + c] * weight[j] / sum *
                        a->qkv[(j * 3 + 2) * SLOPE_SIZE + c];
        }
    }
    return loss;
}

TRAIN_TEST(attn_full_back_is_a_slope) {
    enum { CELLS = SLOPE_TOKENS * 3 * SLOPE_SIZE };
    if (!train_is_ref(r)) skip("once is enough");
    const float *qkv = host_random(r, CELLS, 1);
    struct attended a = {host_random(r, SLOPE_TOKENS * SLOPE_SIZE, 1), host_widened(qkv, CELLS)};
    double *dqkv = host_f64(CELLS), lse[SLOPE_TOKENS];
    full_truth_f64((struct full){1, SLOPE_TOKENS, 1, SLOPE_SIZE}, qkv, a.dy, dqkv, lse);
    slope_check("dqkv", attended_loss, &a, a.qkv, dqkv, CELLS);
}
