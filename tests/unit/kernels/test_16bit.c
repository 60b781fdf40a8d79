/* test_16bit.c - the CUDA products in 16 bits: x is rounded to the type of the weights, sums are
 * f32. Right within that rounding, and a row's bits still its own. Skipped without a device. */
#include "kernels/base/half.h"
#include "tests/unit/kernels/plain.h"
#include "tests/unit/kernels/rig.h"
#include "tests/unit/kernels/tol.h"

#define TEST_16BIT(id)                                               \
    static void op_##id(struct rig *r);                              \
    TEST_LIMIT(id##_cuda, 120) { rig_run("cuda", "flat", op_##id); } \
    static void op_##id(struct rig *r)

/* An emulated card (tests/cuda/emu) takes its time: it gets the small shapes. */
static int is_slow(struct rig *r) { return strstr(r->ops->describe(r->k), "emulated") != NULL; }

static float rounded(float x, enum kern_dtype type) {
    return type == KERN_BF16 ? half_from_bf16(half_to_bf16(x)) : half_from_f16(half_to_f16(x));
}

/* (n, k) of random weights of that type; `w` is what they mean. */
static struct kern_mat *mat_16bit(struct rig *r, enum kern_dtype type, int n, int k, float *w) {
    size_t cells = (size_t)n * (size_t)k;
    const float *x = host_random(r, cells, 1);
    uint16_t *h = host_take(cells * sizeof *h);
    for (size_t i = 0; i < cells; i++) {
        h[i] = type == KERN_BF16 ? half_to_bf16(x[i]) : half_to_f16(x[i]);
        w[i] = rounded(x[i], type);
    }
    struct kern_mat_part part = {h, n, type};
    struct kern_mat_src src = {.parts = &part, .n_parts = 1, .k = k};
    struct kern_mat *m = NULL;
    CHECK_EQ(r->ops->mat_new(r->k, &src, &m, NULL), 0);
    return m;
}

static void check_product(struct rig *r, enum kern_dtype type, int m, int n, int k, int pad,
                          int way) {
    size_t cells = (size_t)m * (size_t)n;
    int has_bias = way & 1, accumulate = way == 2 || way == 3;
    enum kern_act act = way > 3 ? KERN_ACT_GELU : KERN_ACT_NONE;
    const float *x = host_random(r, (size_t)m * (size_t)k, 1);
    float *w = host_f32((size_t)n * (size_t)k), *x16 = host_f32((size_t)m * (size_t)k);
    for (size_t i = 0; i < (size_t)m * (size_t)k; i++)
        x16[i] = rounded(x[i], type);
    const float *bias = has_bias ? host_random(r, (size_t)n, 3) : NULL;
    const float *y0 = accumulate ? host_random(r, cells, 5) : NULL;
    struct kern_mat *mat = mat_16bit(r, type, n, k, w);
    struct tensor tx = tensor_in(r, x, m, k, pad);
    struct tensor tb = has_bias ? tensor_in(r, bias, 1, n, pad) : (struct tensor){0};
    struct tensor ty = accumulate ? tensor_in(r, y0, m, n, pad) : tensor_out(r, m, n, pad);
    RUN(r, gemm, struct kern_gemm, .m = m, .x = tx.p, .ldx = tx.ld, .w = mat, .bias = tb.p,
        .y = ty.p, .ldy = ty.ld, .act = act, .accumulate = accumulate);
    const float *got = tensor_get(r, &ty);
    double *want = host_f64(cells);
    float *plain = host_f32(cells);
    plain_gemm_f64(x, w, bias, y0, act, m, n, k, want);
    plain_gemm_f32(x16, w, bias, y0, act, m, n, k, plain);
    tol_check_f16("gemm", got, want, plain, cells);
    r->ops->mat_free(r->k, mat);
}

/* Padded by 4 floats y is aligned for cuBLASLt, by 3 it is not. */
TEST_16BIT(gemm_16bit_is_right) {
    static const int shapes[][3] = {{0, 5, 7},   {1, 1, 1},    {1, 257, 88},  {3, 88, 257},
                                    {17, 3, 17}, {88, 17, 33}, {257, 33, 64}, {7, 130, 500},
                                    {64, 64, 1}, {1, 12, 256}, {70, 256, 64}, {130, 64, 256}};
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        for (int way = 0; way < 6; way++)
            check_product(r, i % 2 ? KERN_F16 : KERN_BF16, shapes[i][0], shapes[i][1], shapes[i][2],
                          3 + (int)((i + (size_t)way) % 2), way);
}

/* In large matrices an algorithm has the choice; none may let a row see its company. */
TEST_16BIT(gemm_16bit_row_has_the_same_bits_in_any_company) {
    static const int sizes[][2] = {{12, 256}, {100, 64}, {1024, 4096}, {4096, 1024}, {1408, 1408}};
    static const int counts[] = {1, 2, 3, 7, 8, 15, 16, 17, 33, 64, 65, 128, 200, 257, 512, 1000};
    enum { M = 1030 };
    for (size_t s = 0; s < (is_slow(r) ? 4 : ARRAY_LEN(sizes) * 2); s++) {
        int n = sizes[s / 2][0], k = sizes[s / 2][1];
        float *w = host_f32((size_t)n * (size_t)k);
        struct kern_mat *mat = mat_16bit(r, s % 2 ? KERN_F16 : KERN_BF16, n, k, w);
        const float *x = host_random(r, (size_t)M * (size_t)k, 1);
        struct tensor tx = tensor_in(r, x, M, k, 0), ty = tensor_out(r, M, n, 0);
        RUN(r, gemm, struct kern_gemm, .m = M, .x = tx.p, .ldx = k, .w = mat, .y = ty.p, .ldy = n);
        const float *all = tensor_get(r, &ty);
        for (size_t c = 0; c < ARRAY_LEN(counts); c++) {
            int m = counts[c], first = host_below(r, M - m + 1);
            struct tensor some = tensor_out(r, m, n, 0);
            RUN(r, gemm, struct kern_gemm, .m = m, .x = tensor_row(&tx, first), .ldx = k, .w = mat,
                .y = some.p, .ldy = n);
            CHECK_MEM(tensor_get(r, &some), all + (size_t)first * (size_t)n,
                      (size_t)m * (size_t)n * sizeof(float));
        }
        r->ops->mat_free(r->k, mat);
    }
}

/* More rows than a stage holds, of x or, where y is not aligned, of sums: they go piece by piece,
 * and nobody can tell. */
TEST_16BIT(gemm_16bit_takes_more_rows_than_fit) {
    static const struct {
        int m, n, k, pad; /* 256 and 128 rows fit: kernels/cuda/sizes.h */
    } shapes[] = {{256 + 5, 8, 1 << 17, 0}, {128 + 5, 1 << 17, 8, 3}};
    for (size_t s = 0; s < ARRAY_LEN(shapes); s++) {
        int m = shapes[s].m, n = shapes[s].n, k = shapes[s].k;
        float *w = host_f32((size_t)n * (size_t)k), *line = host_random(r, (size_t)k, 1);
        float *x = host_f32((size_t)m * (size_t)k);
        for (int i = 0; i < m; i++)
            memcpy(x + (size_t)i * (size_t)k, line, (size_t)k * sizeof(float));
        struct kern_mat *mat = mat_16bit(r, KERN_BF16, n, k, w);
        struct tensor tx = tensor_in(r, x, m, k, 0), ty = tensor_out(r, m, n, shapes[s].pad);
        RUN(r, gemm, struct kern_gemm, .m = m, .x = tx.p, .ldx = tx.ld, .w = mat, .y = ty.p,
            .ldy = ty.ld);
        const float *y = tensor_get(r, &ty);
        for (int i = 1; i < m; i++)
            CHECK_MEM(y + (size_t)i * (size_t)n, y, (size_t)n * sizeof(float));
        r->ops->mat_free(r->k, mat);
    }
}

/* fp16 ends at 65504: what is finite stays so. */
TEST_16BIT(gemm_16bit_saturates_what_fp16_has_no_room_for) {
    float x[3] = {1e6f, -1e6f, INFINITY};
    uint16_t one = half_to_f16(1);
    struct kern_mat_part part = {&one, 1, KERN_F16};
    struct kern_mat_src src = {.parts = &part, .n_parts = 1, .k = 1};
    struct kern_mat *mat = NULL;
    CHECK_EQ(r->ops->mat_new(r->k, &src, &mat, NULL), 0);
    struct tensor tx = tensor_in(r, x, 3, 1, 0), ty = tensor_out(r, 3, 1, 0);
    RUN(r, gemm, struct kern_gemm, .m = 3, .x = tx.p, .ldx = 1, .w = mat, .y = ty.p, .ldy = 1);
    const float *y = tensor_get(r, &ty);
    CHECK(y[0] == 65504 && y[1] == -65504);
    CHECK(isinf(y[2]) || isnan(y[2]));
    r->ops->mat_free(r->k, mat);
}
