/* test_optim.c - what is done to weights and gradients as long vectors. */
#include "tests/unit/kernels/plain.h"
#include "tests/unit/kernels/tol.h"
#include "tests/unit/kernels/train_rig.h"

static const int lengths[] = {0, 1, 7, 64, 333, 4096, 4097, 20011};

TRAIN_TEST(optim_adds_and_averages) {
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        int n = lengths[i];
        const float by = -0.3f, *x = host_random(r, (size_t)n, 1),
                    *y = host_random(r, (size_t)n, 2);
        struct tensor tx = tensor_in(r, x, 1, n, 1), ty = tensor_in(r, y, 1, n, 3);
        struct tensor tz = tensor_in(r, y, 1, n, 0);
        struct truth sum = truth_from(y, (size_t)n), average = truth_from(y, (size_t)n);
        for (int j = 0; j < 2 * n; j++) {
            int c = j % n;
            sum.want[c] += (double)by * (double)x[c];
            sum.plain[c] += by * x[c];
            average.want[c] += (double)by * ((double)x[c] - average.want[c]);
            average.plain[c] += by * (x[c] - average.plain[c]);
        }
        TWICE(r, axpy, struct kern_axpy, (size_t)n, by, tx.p, ty.p);
        truth_check("axpy", &sum, tensor_get(r, &ty));
        TWICE(r, lerp, struct kern_lerp, (size_t)n, by, tx.p, tz.p);
        truth_check("lerp", &average, tensor_get(r, &tz));
    }
}

TRAIN_TEST(optim_zeroes_what_it_is_told) {
    const float *x = host_random(r, 1000, 1);
    struct tensor t = tensor_in(r, x, 1, 1000, 1);
    static const int runs[][2] = {{0, 0}, {3, 1}, {10, 333}, {999, 1}};
    for (size_t i = 0; i < ARRAY_LEN(runs); i++)
        r->ops->train->zero(r->k, kern_at(t.p, (size_t)runs[i][0] * sizeof *x),
                            (size_t)runs[i][1] * sizeof *x);
    const float *got = tensor_get(r, &t);
    for (int i = 0; i < 1000; i++)
        CHECK(got[i] == (i == 3 || (i >= 10 && i < 343) || i == 999 ? 0 : x[i]));
}

TRAIN_TEST(optim_sums_squares_in_double) {
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        int n = lengths[i];
        const float *x = host_random(r, (size_t)n, 100);
        struct tensor tx = tensor_in(r, x, 1, n, 1);
        const double begin = 17;
        double want = begin;
        for (int j = 0; j < 2 * n; j++)
            want += (double)x[j % n] * (double)x[j % n];
        struct kern_ptr out = rig_put(r, &begin, sizeof begin);
        TWICE(r, sumsq, struct kern_sumsq, (size_t)n, tx.p, out);
        CHECK_NEAR(*(double *)rig_get(r, out, sizeof want), want, 1e-13 * want);
    }
}

/* By the formula, several steps, with clipping. */
TRAIN_TEST(adamw_goes_by_its_formula) {
    enum { STEPS = 4 };
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        size_t n = (size_t)lengths[i];
        const float *begin = host_random(r, n, 1);
        struct tensor t[4]; /* p, m, v, g */
        struct truth want[3];
        struct kern_adamw a = {.n = n,
                               .lr = 3e-3f,
                               .beta1 = 0.9f,
                               .beta2 = 0.999f,
                               .eps = 1e-8f,
                               .decay = 0.05f,
                               .scale = 0.25f};
        for (int j = 0; j < 3; j++) {
            want[j] = truth_from(j ? NULL : begin, n);
            t[j] = tensor_in(r, want[j].plain, 1, lengths[i], j);
        }
        for (int step = 1; step <= STEPS; step++) {
            float *g = host_random(r, n, step == 2 ? 1e-3f : 2);
            if (n > 2) g[2] = 0;
            t[3] = tensor_in(r, g, 1, lengths[i], 1);
            a.p = t[0].p, a.m = t[1].p, a.v = t[2].p, a.g = t[3].p;
            a.fix1 = 1 - pow((double)a.beta1, step), a.fix2 = 1 - pow((double)a.beta2, step);
            TRAIN_ON(r, adamw, &a);
            for (size_t c = 0; c < n; c++) {
                plain_adamw_f64(&want[0].want[c], &want[1].want[c], &want[2].want[c], g[c], &a);
                plain_adamw_f32(&want[0].plain[c], &want[1].plain[c], &want[2].plain[c], g[c], &a);
            }
        }
        static const char *const names[] = {"p", "m", "v"};
        for (int j = 0; j < 3; j++)
            truth_check(names[j], &want[j], tensor_get(r, &t[j]));
    }
}

/* As torch 2.15.0 has it (optim.AdamW, foreach and fused off). Its betas are doubles and ours are
 * floats, which is 1.3e-5 of v. */
TRAIN_TEST(adamw_does_what_torch_does) {
    static const float g[3][4] = {
        {0.1f, -0.2f, 0, 3}, {-0.3f, 0.2f, 0.001f, 3}, {0.05f, 0.7f, -0.5f, -1}};
    static const double want[3][3][4] = {
        {{0.989499986, -0.489749998, 0.249874994, 1.98899996},
         {0.0100000007, -0.0200000014, 0, 0.300000012},
         {1.00000007e-05, 4.00000026e-05, 0, 0.00899999961}},
        {{0.993947089, -0.490031421, 0.242308781, 1.97800541},
         {-0.0209999997, 0.0019999987, 0.000100000005, 0.569999993},
         {9.99900076e-05, 7.9960002e-05, 1.00000019e-09, 0.0179909989}},
        {{0.996225059, -0.495862246, 0.248564243, 1.97095931},
         {-0.0138999997, 0.071800001, -0.0499100015, 0.412999988},
         {0.000102390019, 0.000569880067, 0.000250001001, 0.0189730078}}};
    float state[3][4] = {{1, -0.5f, 0.25f, 2}};
    struct tensor t[3];
    for (int j = 0; j < 3; j++)
        t[j] = tensor_in(r, state[j], 1, 4, j);
    for (int step = 1; step <= 3; step++) {
        struct tensor tg = tensor_in(r, g[step - 1], 1, 4, 1);
        TRAIN(r, adamw, struct kern_adamw, .n = 4, .p = t[0].p, .m = t[1].p, .v = t[2].p, .g = tg.p,
              .lr = 0.01f, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .decay = 0.05f, .scale = 1,
              .fix1 = 1 - pow((double)0.9f, step), .fix2 = 1 - pow((double)0.999f, step));
        for (int j = 0; j < 3; j++) {
            const float *got = tensor_get(r, &t[j]);
            for (int c = 0; c < 4; c++)
                CHECK_NEAR(got[c], want[step - 1][j][c],
                           (j == 2 ? 2e-5 : 2e-6) * fabs(want[step - 1][j][c]) + 1e-15);
        }
    }
}
