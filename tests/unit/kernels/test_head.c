/* test_head.c - softmax over column lists, the best column, ties. */
#include "tests/unit/kernels/plain.h"
#include "tests/unit/kernels/rig.h"
#include "tests/unit/kernels/tol.h"

enum { ROWS = 88, LD = 301, SETS = 4, LONGEST = 256 };

struct lists {
    int32_t off[SETS + 1], cols[600], set[ROWS];
    struct kern_ptr dev_off, dev_cols, dev_set;
};

/* Lists of 1, 10, 77 and 256 columns in no order; rows take them in turn. */
static void make_lists(struct rig *r, struct lists *l) {
    static const int lens[SETS] = {1, 10, 77, LONGEST};
    int n = 0;
    for (int s = 0; s < SETS; s++) {
        l->off[s] = n;
        for (int j = 0; j < lens[s]; j++)
            l->cols[n++] = (int32_t)((j * 37 + s * 11) % LD); /* 37 and 301 have no common factor */
    }
    l->off[SETS] = n;
    for (int i = 0; i < ROWS; i++)
        l->set[i] = i % SETS;
    l->dev_off = rig_put(r, l->off, sizeof(l->off));
    l->dev_cols = rig_put(r, l->cols, (size_t)n * sizeof(int32_t));
    l->dev_set = rig_put(r, l->set, sizeof(l->set));
}

OP_TEST(pick_is_right_and_takes_the_first_of_the_largest) {
    struct lists l;
    make_lists(r, &l);
    float *logits = host_random(r, ROWS * LD, 4);
    for (int i = 0; i < ROWS; i += 3) /* ties for the largest */
        for (int c = 0; c < LD; c += 2)
            logits[i * LD + c] = 9;
    struct tensor tl = tensor_in(r, logits, ROWS, LD, 2);
    struct tensor probs = tensor_out(r, ROWS, LONGEST, 1);
    struct kern_ptr best = rig_put(r, host_take(ROWS * 4), ROWS * 4);
    RUN(r, pick, struct kern_pick, .rows = ROWS, .logits = tl.p, .ld = tl.ld, .set = l.dev_set,
        .col_off = l.dev_off, .cols = l.dev_cols, .probs = probs.p, .ldp = probs.ld, .best = best);
    const float *got = tensor_get(r, &probs);
    const int32_t *at = rig_get(r, best, ROWS * 4);
    struct tol all = {0};
    for (int i = 0; i < ROWS; i++) {
        const float *row = logits + i * LD;
        const int32_t *cols = l.cols + l.off[l.set[i]];
        int n = l.off[l.set[i] + 1] - l.off[l.set[i]], top = 0;
        double want[LONGEST], sum = 0;
        float plain[LONGEST];
        plain_softmax_f64(row, cols, n, want);
        plain_softmax_f32(row, cols, n, plain);
        tol_add(&all, got + i * LONGEST, want, plain, (size_t)n);
        for (int j = 0; j < n; j++) {
            sum += (double)got[i * LONGEST + j];
            if (row[cols[j]] > row[cols[top]]) top = j;
        }
        CHECK_EQ(at[i], top);
        CHECK_NEAR(sum, 1, 1e-5);
    }
    tol_end("pick", &all, tol_tiny(0));
}

OP_TEST(pick_survives_large_and_infinite_logits) {
    float logits[4] = {-INFINITY, 1e30f, 1e30f, -1e30f};
    int32_t off[2] = {0, 4}, cols[4] = {0, 1, 2, 3}, set = 0, none = -1;
    struct tensor tl = tensor_in(r, logits, 1, 4, 0), probs = tensor_out(r, 1, 4, 0);
    struct kern_ptr best = rig_put(r, &none, 4);
    RUN(r, pick, struct kern_pick, .rows = 1, .logits = tl.p, .ld = 4, .set = rig_put(r, &set, 4),
        .col_off = rig_put(r, off, sizeof(off)), .cols = rig_put(r, cols, sizeof(cols)),
        .probs = probs.p, .ldp = 4, .best = best);
    const float *p = tensor_get(r, &probs);
    CHECK(p[0] == 0 && p[3] == 0);
    CHECK_NEAR(p[1], 0.5, 1e-7);
    CHECK_NEAR(p[2], 0.5, 1e-7);
    CHECK_EQ(*(int32_t *)rig_get(r, best, 4), 1);
}

OP_TEST(pick_row_has_the_same_bits_anywhere_and_in_any_company) {
    struct lists l;
    make_lists(r, &l);
    struct tensor tl = tensor_in(r, host_random(r, ROWS * LD, 3), ROWS, LD, 0);
    struct tensor probs = tensor_in(r, host_f32(ROWS * LONGEST), ROWS, LONGEST, 0);
    struct kern_ptr best = rig_put(r, host_take(ROWS * 4), ROWS * 4);
    struct kern_pick a = {.rows = ROWS,
                          .logits = tl.p,
                          .ld = tl.ld,
                          .set = l.dev_set,
                          .col_off = l.dev_off,
                          .cols = l.dev_cols,
                          .probs = probs.p,
                          .ldp = LONGEST,
                          .best = best};
    r->ops->pick(r->k, &a);
    const float *all = tensor_get(r, &probs);
    for (int rows = 1; rows < 30; rows += 5) {
        int first = host_below(r, ROWS - rows + 1);
        struct tensor some = tensor_in(r, host_f32((size_t)(rows * LONGEST)), rows, LONGEST, 0);
        a.rows = rows, a.logits = tensor_row(&tl, first), a.probs = some.p;
        a.set = kern_at(l.dev_set, (size_t)first * 4);
        r->ops->pick(r->k, &a);
        CHECK_MEM(tensor_get(r, &some), all + first * LONGEST,
                  (size_t)(rows * LONGEST) * sizeof(float));
    }
}
