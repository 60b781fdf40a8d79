/* test_attn_full.c - attention inside pictures. */
#include "tests/unit/kernels/plain.h"
#include "tests/unit/kernels/rig.h"
#include "tests/unit/kernels/tol.h"

struct full {
    int images, tokens, heads, size;
};

static const float *run_full(struct rig *r, struct full f, const float *qkv) {
    int width = f.heads * f.size, rows = f.images * f.tokens;
    struct tensor x = tensor_in(r, qkv, rows, 3 * width, 3), y = tensor_out(r, rows, width, 1);
    RUN(r, attn_full, struct kern_attn_full, .images = f.images, .tokens = f.tokens,
        .heads = f.heads, .head_size = f.size, .scale = 1 / sqrtf((float)f.size), .qkv = x.p,
        .ld = x.ld, .y = y.p, .ldy = y.ld);
    return tensor_get(r, &y);
}

static void check_full(struct rig *r, struct full f) {
    size_t width = (size_t)(f.heads * f.size), rows = (size_t)(f.images * f.tokens);
    const float *qkv = host_random(r, rows * 3 * width, 1.5f);
    const float *got = run_full(r, f, qkv);
    double *want = host_f64(rows * width), *scores64 = host_f64((size_t)f.tokens);
    float *plain = host_f32(rows * width), *scores32 = host_f32((size_t)f.tokens);
    const float *rounded =
        host_rounded(qkv, rows * 3 * width, rig_is_16bit(r) ? KERN_F16 : KERN_F32);
    const float **k = host_take((size_t)f.tokens * sizeof(*k));
    const float **v = host_take((size_t)f.tokens * sizeof(*v));
    for (size_t i = 0; i < rows; i++) {
        for (size_t h = 0; h < width; h += (size_t)f.size) {
            for (size_t j = 0; j < (size_t)f.tokens; j++) {
                size_t row = i - i % (size_t)f.tokens + j;
                k[j] = qkv + row * 3 * width + width + h;
                v[j] = k[j] + width;
            }
            float scale = 1 / sqrtf((float)f.size);
            const float *q = qkv + i * 3 * width + h;
            plain_attend_f64(q, k, v, f.tokens, f.size, scale, scores64, want + i * width + h);
            for (int j = 0; j < f.tokens; j++)
                k[j] += rounded - qkv, v[j] += rounded - qkv;
            q += rounded - qkv;
            plain_attend_f32(q, k, v, f.tokens, f.size, scale, scores32, plain + i * width + h);
        }
    }
    if (rig_is_16bit(r))
        tol_check_f16("attn_full", got, want, plain, rows * width);
    else if (rig_is_bf16(r)) /* whose weights are rounded, too */
        tol_check_bf16("attn_full", got, want, plain, rows * width);
    else
        tol_check("attn_full", got, want, plain, rows * width);
}

OP_TEST_TILE(attn_full_is_right_at_odd_sizes) {
    check_full(r, (struct full){0, 5, 2, 16});
    check_full(r, (struct full){1, 1, 1, 16});
    check_full(r, (struct full){2, 3, 3, 32});
    check_full(r, (struct full){3, 17, 2, 88});
    check_full(r, (struct full){1, 88, 1, 128});
    check_full(r, (struct full){1, 257, 2, 32});
    check_full(r, (struct full){2, 65, 1, 6});
}

OP_TEST_TILE(attn_full_survives_large_scores) {
    enum { TOKENS = 9, SIZE = 16 };
    float *qkv = host_random(r, TOKENS * 3 * SIZE, 1);
    for (int i = 0; i < TOKENS; i++) {
        for (int c = 0; c < 2 * SIZE; c++)
            qkv[i * 3 * SIZE + c] *= 100; /* scores in the thousands: exp alone would overflow */
    }
    const float *y = run_full(r, (struct full){1, TOKENS, 1, SIZE}, qkv);
    for (int i = 0; i < TOKENS * SIZE; i++)
        CHECK(isfinite(y[i]) && fabsf(y[i]) < 10);
}

OP_TEST_TILE(attn_full_picture_has_the_same_bits_in_any_company) {
    struct full f = {4, 37, 2, 24}, one = {1, 37, 2, 24};
    size_t in = 37 * 3 * 48, out = 37 * 48;
    const float *qkv = host_random(r, 4 * in, 1), *all = run_full(r, f, qkv);
    for (size_t i = 0; i < 4; i++)
        CHECK_MEM(run_full(r, one, qkv + i * in), all + i * out, out * sizeof(float));
}
