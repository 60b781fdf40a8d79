/* test_true_shapes.c - a row of a product has the same bits in any company, at the shapes of
 * PAE-LaMM and at the numbers of rows that passes have: what the same answer for a pixel alone and
 * among thousands stands on. No attribute of an algorithm of cuBLASLt's proves it, only bytes do.
 *
 * All rows go once, and that is what each row is held to. Then runs of them go, of many lengths,
 * that have one row of all at their beginning, in their middle and at their end; it and the run's
 * outermost rows must have the bytes they had. An emulated card gets everything divided. Skipped
 * without a device. */
#include <stdio.h>
#include <stdlib.h>

#include "kernels/base/half.h"
#include "tests/unit/kernels/rig.h"

enum {
    ROWS = 2048,
    ROWS_TOWER = 4100 /* of four pictures */,
    N_MOST = 22016,
    K_MOST = 11008,
    PERIOD = 65537 /* a prime */
};

/* (n, k): the decoder's, the vision tower's, the connector's. */
static const int shapes[][2] = {{12288, 4096}, {4096, 4096}, {22016, 4096},
                                {4096, 11008}, {4224, 1408}, {1408, 1408},
                                {6144, 1408},  {1408, 6144}, {4096, 5632}};
static const int counts[] = {1,   2,   7,   16,  17,   33,   64,   65,   128,  200,
                             256, 257, 512, 700, 1024, 1025, 1500, 2048, 3075, 4100};

struct way {
    int has_bias, accumulate;
};
static const struct way ways[] = {{0, 0}, {1, 0}, {0, 1}, {1, 1}};

/* What all shapes share on the host, and one shape's on the device. */
struct shapes {
    struct rig *r;
    int divisor; /* of an emulated card: 64 for sizes, 16 for rows */
    float *numbers;
    uint16_t *w;
    float *one, *all; /* a row of y */
    int m, n, k;
    struct kern_ptr x, bias, y0, y_all, y;
};

static size_t row_bytes(const struct shapes *s) { return (size_t)s->n * sizeof(float); }

static struct kern_ptr device(struct shapes *s, const void *src, size_t bytes) {
    struct kern_ptr p;
    CHECK_EQ(s->r->ops->alloc(s->r->k, bytes, &p, NULL), 0);
    if (src) s->r->ops->put(s->r->k, p, src, bytes);
    return p;
}

static void shape_open(struct shapes *s, int n, int k) {
    s->m = k == 1408 || n == 1408 ? ROWS_TOWER : ROWS;
    if (s->divisor > 1) s->m /= 16;
    s->n = n / s->divisor;
    s->k = k / s->divisor;
    size_t cells = (size_t)s->m * (size_t)s->n;
    s->x = device(s, s->numbers, (size_t)s->m * (size_t)s->k * sizeof(float));
    s->bias = device(s, s->numbers + 1, row_bytes(s));
    s->y0 = device(s, s->numbers + 2, cells * sizeof(float));
    s->y_all = device(s, NULL, cells * sizeof(float));
    s->y = device(s, NULL, cells * sizeof(float));
}

static void shape_close(struct shapes *s) {
    struct kern_ptr all[] = {s->x, s->bias, s->y0, s->y_all, s->y};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        s->r->ops->free(s->r->k, all[i]);
}

/* Rows first .. first+m-1 into y. */
static void multiply(struct shapes *s, const struct kern_mat *w, struct way way, int first, int m,
                     struct kern_ptr y) {
    size_t row = row_bytes(s);
    struct kern_gemm a = {.m = m,
                          .x = kern_at(s->x, (size_t)first * (size_t)s->k * sizeof(float)),
                          .ldx = s->k,
                          .w = w,
                          .y = y,
                          .ldy = s->n,
                          .accumulate = way.accumulate};
    if (way.has_bias) a.bias = s->bias;
    if (way.accumulate)
        s->r->ops->copy(s->r->k, y, kern_at(s->y0, (size_t)first * row), (size_t)m * row);
    s->r->ops->gemm(s->r->k, &a);
}

/* Row `row` of all, which is row `at` of a run. */
static void check_row(struct shapes *s, const struct kern_mat *w, struct way way, int row, int at,
                      int m) {
    size_t bytes = row_bytes(s);
    char how[400];
    CHECK_EQ(s->r->ops->get(s->r->k, s->all, kern_at(s->y_all, (size_t)row * bytes), bytes, NULL),
             0);
    CHECK_EQ(s->r->ops->get(s->r->k, s->one, kern_at(s->y, (size_t)at * bytes), bytes, NULL), 0);
    if (!memcmp(s->all, s->one, bytes)) return;
    int c = 0;
    while (!memcmp(&s->all[c], &s->one[c], sizeof s->all[c]))
        c++;
    CHECK(s->r->ops->mat_describe(s->r->k, w, how, sizeof how) > 0);
    test_failed(__FILE__, __LINE__,
                "row %d of %d is another as number %d of %d%s%s: %.9g, not %.9g in column %d; %s",
                row, s->m, at, m, way.has_bias ? ", bias" : "",
                way.accumulate ? ", accumulated" : "", (double)s->one[c], (double)s->all[c], c,
                how);
}

static void check_way(struct shapes *s, const struct kern_mat *w, struct way way) {
    int probe = s->m / 3 + host_below(s->r, s->m / 3);
    multiply(s, w, way, 0, s->m, s->y_all);
    for (size_t c = 0; c < ARRAY_LEN(counts); c++) {
        int m = counts[c];
        if (s->divisor > 1 && m % 16 && m > 17 && m < ROWS) continue; /* else the same again */
        if (s->divisor > 1 && m > 17) m /= 16;
        if (m > s->m) continue;
        for (int place = 0; place < 3; place++) {
            int first = probe - place * (m - 1) / 2;
            first = first < 0 ? 0 : first > s->m - m ? s->m - m : first;
            if (place && m == 1) continue;
            if (s->divisor > 1 && place != (int)c % 3) continue;
            multiply(s, w, way, first, m, s->y);
            check_row(s, w, way, probe, probe - first, m);
            check_row(s, w, way, first, 0, m);
            check_row(s, w, way, first + m - 1, m - 1, m);
        }
    }
}

static void check_shape(struct shapes *s, int as_fp8) {
    struct kern_mat *w = NULL;
    struct kern_mat_part part = {s->w, s->n, KERN_BF16};
    struct kern_mat_src src = {
        .parts = &part, .n_parts = 1, .k = s->k, .keep = as_fp8 ? KERN_KEEP_FP8 : KERN_KEEP_OWN};
    CHECK_EQ(s->r->ops->mat_new(s->r->k, &src, &w, NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(ways); i++)
        check_way(s, w, ways[i]);
    CHECK_EQ(s->r->ops->sync(s->r->k, NULL), 0);
    s->r->ops->mat_free(s->r->k, w);
}

static void op_true_shapes(struct rig *r) {
    struct shapes s = {.r = r, .divisor = strstr(r->ops->describe(r->k), "emulated") ? 64 : 1};
    size_t d = (size_t)s.divisor;
    size_t numbers = (size_t)ROWS * N_MOST / d, weights = (size_t)N_MOST * 4096 / d;
    const float *some = host_random(r, PERIOD, 1);
    s.numbers = host_f32(numbers + 2);
    s.w = host_take(weights * sizeof *s.w);
    s.one = host_f32(N_MOST);
    s.all = host_f32(N_MOST);
    for (size_t i = 0, from = 0; i < numbers + 2; i++, from = from + 1 < PERIOD ? from + 1 : 0)
        s.numbers[i] = some[from];
    for (size_t i = 0; i < PERIOD && i < weights; i++)
        s.w[i] = half_to_bf16(some[PERIOD - 1 - i]);
    for (size_t i = PERIOD; i < weights; i++)
        s.w[i] = s.w[i - PERIOD];
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        shape_open(&s, shapes[i][0], shapes[i][1]);
        check_shape(&s, 0);
        check_shape(&s, 1);
        shape_close(&s);
    }
}

TEST_LIMIT(gemm_true_shapes_row_has_the_same_bits_in_any_company_cuda, 300) {
    rig_run("cuda", NULL, op_true_shapes);
}
