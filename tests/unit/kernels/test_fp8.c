/* test_fp8.c - products by fp8 matrices: e4m3 on both sides, a scale for each row. The rounding of
 * x and of w is defined to the bit (kern.h), so what is left to differ is the f32 sum. */
#include "kernels/base/half.h"
#include "tests/unit/kernels/plain.h"
#include "tests/unit/kernels/rig.h"
#include "tests/unit/kernels/tol.h"

/* On every backend, and on the GPU also as codes on its tensor cores. */
#define FP8_TEST(id)                                                       \
    static void fp8_##id(struct rig *r);                                   \
    TEST_LIMIT(id##_cuda_flat, 120) { rig_run("cuda", "flat", fp8_##id); } \
    OP_TEST(id) { fp8_##id(r); }                                           \
    static void fp8_##id(struct rig *r)

/* (n, k) in two parts of a type; `w` becomes what the parts say. */
static struct kern_mat *mat_fp8(struct rig *r, enum kern_dtype type, int n, int k, float *w) {
    size_t cells = (size_t)n * (size_t)k, first = (size_t)(n / 2) * (size_t)k;
    memcpy(w, host_rounded(w, cells, type), cells * sizeof *w);
    char *data = (char *)host_take(cells * 4 + 1) + 1; /* at an odd address */
    for (size_t i = 0; i < cells; i++) {
        uint16_t h = type == KERN_BF16 ? half_to_bf16(w[i]) : half_to_f16(w[i]);
        memcpy(data + i * kern_dtype_bytes(type), type == KERN_F32 ? (void *)&w[i] : (void *)&h,
               kern_dtype_bytes(type));
    }
    struct kern_mat_part parts[] = {{data, n / 2, type},
                                    {data + first * kern_dtype_bytes(type), n - n / 2, type}};
    struct kern_mat_src src = {.parts = parts, .n_parts = 2, .k = k, .keep = KERN_KEEP_FP8};
    struct kern_mat *m = NULL;
    CHECK_EQ(r->ops->mat_new(r->k, &src, &m, NULL), 0);
    return m;
}

/* kern.h's definition, by search: the codes' values and the scales of rows (n, k). */
static float nearest_code(float v) {
    int best = 0;
    for (int c = 0; c < 127; c++) {
        double d = fabs(fabs((double)v) - (double)half_from_e4m3((uint8_t)c));
        double least = fabs(fabs((double)v) - (double)half_from_e4m3((uint8_t)best));
        if (d < least || (d <= least && c % 2 == 0)) best = c;
    }
    return copysignf(half_from_e4m3((uint8_t)best), v);
}

static void round_rows(const float *x, int rows, int k, float *codes, float *scales) {
    for (int i = 0; i < rows; i++, x += k, codes += k) {
        float most = 0;
        for (int c = 0; c < k; c++)
            most = fabsf(x[c]) > most ? fabsf(x[c]) : most;
        scales[i] = most > 0 ? most / 448 : 1;
        for (int c = 0; c < k; c++)
            codes[c] = nearest_code(x[c] / scales[i]);
    }
}

/* The sums of codes are the plain product's; scales, bias and the rest come behind. */
static void check_product(struct rig *r, enum kern_dtype type, int m, int n, int k, int way) {
    size_t cells = (size_t)m * (size_t)n;
    int has_bias = way & 1, accumulate = way == 2 || way == 3, pad = 3 + way % 2;
    enum kern_act act = way > 3 ? KERN_ACT_GELU : KERN_ACT_NONE;
    const float *x = host_random(r, (size_t)m * (size_t)k, 1);
    float *w = host_random(r, (size_t)n * (size_t)k, 0.1f);
    const float *bias = has_bias ? host_random(r, (size_t)n, 3) : NULL;
    const float *y0 = accumulate ? host_random(r, cells, 5) : NULL;
    struct kern_mat *mat = mat_fp8(r, type, n, k, w);
    struct tensor tx = tensor_in(r, x, m, k, pad);
    struct tensor tb = has_bias ? tensor_in(r, bias, 1, n, pad) : (struct tensor){0};
    struct tensor ty = accumulate ? tensor_in(r, y0, m, n, pad) : tensor_out(r, m, n, pad);
    RUN(r, gemm, struct kern_gemm, .m = m, .x = tx.p, .ldx = tx.ld, .w = mat, .bias = tb.p,
        .y = ty.p, .ldy = ty.ld, .act = act, .accumulate = accumulate);
    const float *got = tensor_get(r, &ty);

    float *qx = host_f32((size_t)m * (size_t)k), *sx = host_f32((size_t)m + 1);
    float *qw = host_f32((size_t)n * (size_t)k), *sw = host_f32((size_t)n);
    round_rows(x, m, k, qx, sx);
    round_rows(w, n, k, qw, sw);
    double *want = host_f64(cells);
    float *plain = host_f32(cells);
    plain_gemm_f64(qx, qw, NULL, NULL, KERN_ACT_NONE, m, n, k, want);
    plain_gemm_f32(qx, qw, NULL, NULL, KERN_ACT_NONE, m, n, k, plain);
    for (size_t i = 0; i < cells; i++) {
        size_t row = i / (size_t)n, col = i % (size_t)n;
        want[i] = want[i] * (double)sx[row] * (double)sw[col] + (bias ? (double)bias[col] : 0);
        plain[i] = plain[i] * sx[row] * sw[col] + (bias ? bias[col] : 0);
        if (act == KERN_ACT_GELU) {
            want[i] = want[i] / 2 * (1 + erf(want[i] / sqrt(2)));
            plain[i] = plain[i] / 2 * (1 + erff(plain[i] / sqrtf(2)));
        }
        if (y0) want[i] += (double)y0[i], plain[i] += y0[i];
    }
    if (r->isa && !strcmp(r->isa, "flat")) /* its tensor cores may keep fewer bits of a sum */
        tol_check_f16("gemm fp8", got, want, plain, cells);
    else
        tol_check("gemm fp8", got, want, plain, cells);
    r->ops->mat_free(r->k, mat);
}

FP8_TEST(gemm_fp8_is_right) {
    static const int shapes[][3] = {{0, 5, 7},   {1, 1, 1},    {1, 257, 88},  {3, 88, 257},
                                    {17, 3, 17}, {88, 17, 33}, {257, 33, 64}, {7, 130, 500},
                                    {64, 64, 1}, {1, 12, 256}, {70, 256, 64}, {130, 64, 256}};
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        for (int way = (int)i % 2; way < 6; way += 2)
            check_product(r, (enum kern_dtype)((i + (size_t)way / 2) % 3), shapes[i][0],
                          shapes[i][1], shapes[i][2], way);
}

FP8_TEST(gemm_fp8_row_has_the_same_bits_in_any_company) {
    static const int counts[] = {1, 2, 3, 7, 8, 15, 16, 17, 33, 64, 65, 128, 200};
    static const int sizes[][2] = {{12, 256}, {100, 70}, {48, 48}};
    enum { M = 230 };
    for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
        int n = sizes[s][0], k = sizes[s][1];
        struct kern_mat *mat =
            mat_fp8(r, KERN_BF16, n, k, host_random(r, (size_t)n * (size_t)k, 1));
        const float *x = host_random(r, (size_t)M * (size_t)k, 1);
        struct tensor tx = tensor_in(r, x, M, k, 1), ty = tensor_out(r, M, n, 0);
        RUN(r, gemm, struct kern_gemm, .m = M, .x = tx.p, .ldx = tx.ld, .w = mat, .y = ty.p,
            .ldy = n);
        const float *all = tensor_get(r, &ty);
        for (size_t c = 0; c < ARRAY_LEN(counts); c++) {
            int m = counts[c], first = host_below(r, M - m + 1);
            struct tensor some = tensor_out(r, m, n, 0);
            RUN(r, gemm, struct kern_gemm, .m = m, .x = tensor_row(&tx, first), .ldx = tx.ld,
                .w = mat, .y = some.p, .ldy = n);
            CHECK_MEM(tensor_get(r, &some), all + (size_t)first * (size_t)n,
                      (size_t)m * (size_t)n * sizeof(float));
        }
        r->ops->mat_free(r->k, mat);
    }
}

/* Magnitudes that lie far apart, nothing at all, and what is no number, each in a row of its
 * own. */
FP8_TEST(gemm_fp8_takes_rows_of_any_magnitude) {
    enum { K = 3, N = 4 };
    float w[N * K] = {1, 0.5f, -1, 1e-30f, 0, 0, 0, -1e30f, 0, 0, 0, 0};
    float x[5 * K] = {2, 4, 1, 0, 0, 0, 1e-20f, 1e-20f, 1e-20f, INFINITY, 1, 1, 1, NAN, 1};
    const float want[3 * N] = {3, 2e-30f, -4e30f, 0, 0, 0, 0, 0, 5e-21f, 0, -1e10f, 0};
    struct kern_mat *mat = mat_fp8(r, KERN_F32, N, K, w);
    struct tensor tx = tensor_in(r, x, 5, K, 0), ty = tensor_out(r, 5, N, 0);
    RUN(r, gemm, struct kern_gemm, .m = 5, .x = tx.p, .ldx = K, .w = mat, .y = ty.p, .ldy = N);
    const float *y = tensor_get(r, &ty);
    for (int i = 0; i < 3 * N; i++) /* all of these numbers are codes, times their scales */
        CHECK(fabsf(y[i] - want[i]) <= 1e-6f * fabsf(want[i]) + 0x1p-148f);
    for (int i = 3 * N; i < 5 * N; i++)
        CHECK(isnan(y[i]));
    r->ops->mat_free(r->k, mat);
}

/* More rows than fit into a backend's room for them: piece by piece, and nobody can tell. */
FP8_TEST(gemm_fp8_takes_more_rows_than_fit) {
    enum { K = 1 << 17, N = 2, M = 520 }; /* 8 rows fit on the CPU, 496 on the GPU */
    float *line = host_random(r, K, 1), *x = host_f32((size_t)M * K);
    int rows = strcmp(r->backend, "cuda") ? 19 : M;
    for (int i = 0; i < rows; i++)
        memcpy(x + (size_t)i * K, line, K * sizeof *x);
    struct kern_mat *mat = mat_fp8(r, KERN_BF16, N, K, host_random(r, N * K, 1));
    struct tensor tx = tensor_in(r, x, rows, K, 0), ty = tensor_out(r, rows, N, 0);
    RUN(r, gemm, struct kern_gemm, .m = rows, .x = tx.p, .ldx = K, .w = mat, .y = ty.p, .ldy = N);
    const float *y = tensor_get(r, &ty);
    for (int i = 1; i < rows; i++)
        CHECK_MEM(y + i * N, y, N * sizeof(float));
    r->ops->mat_free(r->k, mat);
}
