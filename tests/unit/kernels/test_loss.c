/* test_loss.c - cross-entropy and expected boxes. */
#include "tests/unit/kernels/plain.h"
#include "tests/unit/kernels/tol.h"
#include "tests/unit/kernels/train_rig.h"

/* ---- cross-entropy ---- */
enum { MOST = 2000 }; /* targets */
struct targets {
    int32_t *off, target[MOST];
    float share[MOST], *weight;
    float *full; /* (rows, n): the shares spelled out */
};

/* Rows of none, of one, of several and of all columns. */
static struct targets *some_targets(struct rig *r, int rows, int n) {
    struct targets *t = host_take(sizeof *t);
    t->off = host_take((size_t)(rows + 1) * 4);
    t->weight = host_f32((size_t)rows + 1);
    t->full = host_f32((size_t)(rows * n));
    for (int i = 0; i < rows; i++) {
        int at = t->off[i], several = n < 3 ? n : 3, first = host_below(r, n);
        int count = i % 5 == 0 ? 0 : i % 5 < 3 ? 1 : i % 5 == 3 ? several : n;
        if (at + count > MOST) count = 0;
        for (int j = 0; j < count; j++) {
            int c = (first + j) % n;
            t->target[at + j] = c;
            t->full[i * n + c] = t->share[at + j] = 1 / (float)count;
        }
        t->off[i + 1] = at + count;
        t->weight[i] = i % 4 == 3 ? 0 : (float)(1 + host_below(r, 8)) / 4;
    }
    return t;
}

static struct kern_xent xent_args(struct rig *r, const struct targets *t, int rows, int n,
                                  const struct tensor *logits, const struct tensor *dlogits,
                                  const struct tensor *loss) {
    return (struct kern_xent){.rows = rows,
                              .n = n,
                              .logits = logits->p,
                              .ld = logits->ld,
                              .off = rig_put(r, t->off, (size_t)(rows + 1) * 4),
                              .target = rig_put(r, t->target, sizeof t->target),
                              .share = rig_put(r, t->share, sizeof t->share),
                              .weight = rig_put(r, t->weight, (size_t)(rows + 1) * 4),
                              .dlogits = dlogits->p,
                              .lddlogits = dlogits->ld,
                              .loss = loss->p};
}

static void check_xent(struct rig *r, int rows, int n, float spread, int in_place) {
    size_t cells = (size_t)(rows * n);
    const float *logits = host_random(r, cells, spread);
    struct targets *t = some_targets(r, rows, n);
    struct tensor tl = tensor_in(r, logits, rows, n, 3), loss = tensor_out(r, rows, 1, 0);
    struct tensor d = in_place ? tl : tensor_out(r, rows, n, 1);
    struct kern_xent a = xent_args(r, t, rows, n, &tl, &d, &loss);
    TRAIN_ON(r, xent, &a);
    if (!in_place) RUN_ON(r, train->xent, &a);
    struct truth td = truth_from(NULL, cells), tloss = truth_from(NULL, (size_t)rows);
    double *room64 = host_f64((size_t)n);
    float *room32 = host_f32((size_t)n);
    for (int i = 0; i < rows; i++) {
        if (t->off[i] == t->off[i + 1]) continue;
        tloss.want[i] = plain_xent_f64(logits + i * n, t->full + i * n, n, t->weight[i], room64,
                                       td.want + i * n);
        tloss.plain[i] = plain_xent_f32(logits + i * n, t->full + i * n, n, t->weight[i], room32,
                                        td.plain + i * n);
    }
    truth_check("dlogits", &td, tensor_get(r, &d));
    truth_check("loss", &tloss, tensor_get(r, &loss));
}

TRAIN_TEST(xent_is_right_at_odd_sizes) {
    static const int sizes[][2] = {{0, 5},  {7, 1},    {3, 17},  {17, 88},
                                   {88, 3}, {257, 33}, {9, 1500}};
    for (size_t i = 0; i < 2 * ARRAY_LEN(sizes); i++)
        check_xent(r, sizes[i / 2][0], sizes[i / 2][1], 2, (int)(i % 2));
    check_xent(r, 20, 40, 200, 0); /* exp alone would overflow */
}

TRAIN_TEST(xent_row_has_the_same_bits_anywhere_and_in_any_company) {
    enum { COUNT = 60, N = 45 };
    struct tensor logits = tensor_in(r, host_random(r, COUNT * N, 3), COUNT, N, 1);
    struct targets *t = some_targets(r, COUNT, N);
    struct tensor d = tensor_out(r, COUNT, N, 0), loss = tensor_out(r, COUNT, 1, 0);
    struct kern_xent a = xent_args(r, t, COUNT, N, &logits, &d, &loss);
    TRAIN_ON(r, xent, &a);
    const float *all = tensor_get(r, &d), *losses = tensor_get(r, &loss);
    for (int rows = 1; rows < 30; rows += 4) {
        int first = host_below(r, COUNT - rows + 1);
        struct tensor some = tensor_out(r, rows, N, 3), some_loss = tensor_out(r, rows, 1, 0);
        struct kern_xent b = a;
        b.rows = rows, b.logits = tensor_row(&logits, first);
        b.off = kern_at(a.off, (size_t)first * 4), b.weight = kern_at(a.weight, (size_t)first * 4);
        b.dlogits = some.p, b.lddlogits = some.ld, b.loss = some_loss.p;
        TRAIN_ON(r, xent, &b);
        CHECK_MEM(tensor_get(r, &some), all + first * N, (size_t)(rows * N) * sizeof *all);
        CHECK_MEM(tensor_get(r, &some_loss), losses + first, (size_t)rows * sizeof *all);
    }
}

struct crossed {
    int n;
    const float *share;
    double weight, *logits;
};

static double crossed_loss(void *ud) {
    const struct crossed *x = ud;
    double sum = 0, loss = 0;
    for (int c = 0; c < x->n; c++)
        sum += exp(x->logits[c]);
    for (int c = 0; c < x->n; c++)
        loss -= x->weight * (double)x->share[c] * (x->logits[c] - log(sum));
    return loss;
}

TRAIN_TEST(xent_is_a_slope) {
    enum { N = 11 };
    if (!train_is_ref(r)) skip("once is enough");
    const float *logits = host_random(r, N, 2), share[N] = {0, 0.25f, 0, 0.5f, 0, 0, 0.25f};
    struct crossed x = {N, share, 0.75, host_widened(logits, N)};
    double d[N], room[N];
    CHECK_NEAR(plain_xent_f64(logits, share, N, 0.75f, room, d), crossed_loss(&x), 1e-12);
    slope_check("dlogits", crossed_loss, &x, x.logits, d, N);
}

/* ---- expected boxes ---- */
enum { BOXES = 13, NUMBERS = 21, COLUMNS = 50, LINES = 4 * BOXES + 3 };
static const struct {
    float l1, giou, beta;
} kinds[] = {{1, 0, 0}, {5, 2, 0}, {0, 1, 0.1f}, {2, 3, 0.2f}};

struct boxes {
    int32_t row[4 * BOXES], cols[NUMBERS];
    float target[4 * BOXES], weight[BOXES], *logits; /* (LINES, COLUMNS) */
};

/* Boxes that are sure and unsure, overlap and don't, some with their corners swapped. */
static struct boxes *some_boxes(struct rig *r) {
    struct boxes *b = host_take(sizeof *b);
    b->logits = host_random(r, LINES * COLUMNS, 1);
    for (int c = 0; c < NUMBERS; c++)
        b->cols[c] = (c * 7 + 3) % COLUMNS;
    for (int i = 0; i < BOXES; i++) {
        b->weight[i] = i == 4 ? 0 : (float)(1 + host_below(r, 6)) / 3;
        for (int axis = 0; axis < 2; axis++) {
            float a = (float)host_below(r, 700) / 1000,
                  size = (float)(5 + host_below(r, 290)) / 1000;
            b->target[4 * i + axis] = a;
            b->target[4 * i + 2 + axis] = a + size;
        }
        for (int j = 0; j < 4; j++) {
            int row = b->row[4 * i + j] = (4 * i + j) * 13 % LINES;
            float *at = b->logits + row * COLUMNS + b->cols[host_below(r, NUMBERS)];
            if (i % 3) *at += 8;
        }
    }
    return b;
}

static void truth_of_boxes(const struct boxes *b, size_t kind, struct truth *d,
                           struct truth *loss) {
    for (int i = 0; i < BOXES; i++) {
        const float *logits[4];
        double *d64[4], probs64[NUMBERS];
        float *d32[4], probs32[NUMBERS];
        for (int j = 0; j < 4; j++) {
            int at = b->row[4 * i + j] * COLUMNS;
            logits[j] = b->logits + at, d64[j] = d->want + at, d32[j] = d->plain + at;
        }
        float l1 = kinds[kind].l1, giou = kinds[kind].giou, beta = kinds[kind].beta;
        loss->want[i] = plain_expect_f64(logits, b->cols, NUMBERS, b->target + 4 * i, b->weight[i],
                                         l1, giou, beta, probs64, d64);
        loss->plain[i] = plain_expect_f32(logits, b->cols, NUMBERS, b->target + 4 * i, b->weight[i],
                                          l1, giou, beta, probs32, d32);
    }
}

static struct kern_expect expect_args(struct rig *r, const struct boxes *b, int boxes,
                                      size_t kind) {
    return (struct kern_expect){.boxes = boxes,
                                .n = NUMBERS,
                                .row = rig_put(r, b->row, sizeof b->row),
                                .cols = rig_put(r, b->cols, sizeof b->cols),
                                .target = rig_put(r, b->target, sizeof b->target),
                                .weight = rig_put(r, b->weight, sizeof b->weight),
                                .l1 = kinds[kind].l1,
                                .giou = kinds[kind].giou,
                                .beta = kinds[kind].beta};
}

TRAIN_TEST(expect_is_right_for_boxes_of_every_kind) {
    for (size_t kind = 0; kind < ARRAY_LEN(kinds); kind++) {
        struct boxes *b = some_boxes(r);
        const float *begin = host_random(r, LINES * COLUMNS, 0.1f);
        struct tensor logits = tensor_in(r, b->logits, LINES, COLUMNS, 1);
        struct tensor d = tensor_in(r, begin, LINES, COLUMNS, 3);
        struct tensor loss = tensor_out(r, BOXES, 1, 0);
        struct kern_expect a = expect_args(r, b, BOXES, kind);
        a.logits = logits.p, a.ld = logits.ld;
        a.dlogits = d.p, a.lddlogits = d.ld, a.loss = loss.p;
        TRAIN_ON(r, expect, &a);
        RUN_ON(r, train->expect, &a);
        struct truth td = truth_from(begin, LINES * COLUMNS), tloss = truth_from(NULL, BOXES);
        truth_of_boxes(b, kind, &td, &tloss);
        truth_of_boxes(b, kind, &td, &tloss);
        truth_check("dlogits", &td, tensor_get(r, &d));
        truth_check("loss", &tloss, tensor_get(r, &loss));
        a.boxes = 0;
        TRAIN_ON(r, expect, &a);
    }
}

/* The last number's tokens may be others: the same logits elsewhere give the same loss, and the
 * same gradient there. */
TRAIN_TEST(expect_ends_a_box_with_columns_of_its_own) {
    struct boxes *b = some_boxes(r);
    int32_t end[NUMBERS];
    float *moved = host_f32(LINES * COLUMNS);
    memcpy(moved, b->logits, LINES * COLUMNS * sizeof *moved);
    for (int c = 0; c < NUMBERS; c++)
        end[c] = (b->cols[c] + 29) % COLUMNS;
    for (int i = 3; i < 4 * BOXES; i += 4)
        for (int c = 0; c < COLUMNS; c++)
            moved[b->row[i] * COLUMNS + (c + 29) % COLUMNS] = b->logits[b->row[i] * COLUMNS + c];
    struct tensor logits[2] = {tensor_in(r, b->logits, LINES, COLUMNS, 0),
                               tensor_in(r, moved, LINES, COLUMNS, 0)};
    const float *d[2], *losses[2];
    for (int i = 0; i < 2; i++) {
        struct tensor back = tensor_in(r, host_f32(LINES * COLUMNS), LINES, COLUMNS, 0);
        struct tensor loss = tensor_out(r, BOXES, 1, 0);
        struct kern_expect a = expect_args(r, b, BOXES, 3);
        a.logits = logits[i].p, a.ld = logits[i].ld;
        a.dlogits = back.p, a.lddlogits = back.ld, a.loss = loss.p;
        if (i) a.cols_end = rig_put(r, end, sizeof end);
        TRAIN_ON(r, expect, &a);
        d[i] = tensor_get(r, &back), losses[i] = tensor_get(r, &loss);
    }
    CHECK_MEM(losses[0], losses[1], BOXES * sizeof(float));
    for (int i = 0; i < 4 * BOXES; i++)
        for (int c = 0; c < COLUMNS; c++)
            CHECK(d[0][b->row[i] * COLUMNS + c] ==
                  d[1][b->row[i] * COLUMNS + (i % 4 == 3 ? (c + 29) % COLUMNS : c)]);
}

/* Two boxes without a surface at one point have no quotient, and a loss. */
TRAIN_TEST(expect_of_a_point_is_finite) {
    struct boxes *b = some_boxes(r);
    for (int i = 0; i < 4; i++) {
        b->target[i] = 0;
        for (int c = 0; c < NUMBERS; c++)
            b->logits[b->row[i] * COLUMNS + b->cols[c]] = c ? -1000 : 0;
    }
    b->weight[0] = 1;
    struct tensor logits = tensor_in(r, b->logits, LINES, COLUMNS, 0);
    struct tensor d = tensor_in(r, host_f32(LINES * COLUMNS), LINES, COLUMNS, 0);
    struct tensor loss = tensor_out(r, 1, 1, 0);
    struct kern_expect a = expect_args(r, b, 1, 1);
    a.logits = logits.p, a.ld = logits.ld, a.dlogits = d.p, a.lddlogits = d.ld, a.loss = loss.p;
    TRAIN_ON(r, expect, &a);
    CHECK_NEAR(*tensor_get(r, &loss), 2, 1e-6); /* giou * (1 - 0) */
    const float *got = tensor_get(r, &d);
    for (int i = 0; i < LINES * COLUMNS; i++)
        CHECK(got[i] == 0);
}

struct expected {
    const struct boxes *b;
    size_t kind;
    double *logits;
};

static void expected_numbers(const struct expected *x, int box, double e[4]) {
    for (int j = 0; j < 4; j++) {
        const double *row = x->logits + x->b->row[4 * box + j] * COLUMNS;
        double sum = 0, mean = 0;
        for (int c = 0; c < NUMBERS; c++) {
            sum += exp(row[x->b->cols[c]]);
            mean += exp(row[x->b->cols[c]]) * c / (NUMBERS - 1);
        }
        e[j] = mean / sum;
    }
}

/* Written as in the paper: areas, intersection, the smallest box around both. */
static double expected_loss(void *ud) {
    const struct expected *x = ud;
    double l1 = (double)kinds[x->kind].l1, beta = (double)kinds[x->kind].beta, loss = 0;
    for (int i = 0; i < BOXES; i++) {
        double e[4], t[4], size = 0;
        expected_numbers(x, i, e);
        for (int j = 0; j < 4; j++) {
            t[j] = (double)x->b->target[4 * i + j];
            double d = fabs(e[j] - t[j]);
            size += d < beta ? d * d / (2 * beta) : d - beta / 2;
        }
        double l = fmin(e[0], e[2]), right = fmax(e[0], e[2]), top = fmin(e[1], e[3]);
        double bottom = fmax(e[1], e[3]);
        double both = fmax(0, fmin(right, t[2]) - fmax(l, t[0])) *
                      fmax(0, fmin(bottom, t[3]) - fmax(top, t[1]));
        double any = (right - l) * (bottom - top) + (t[2] - t[0]) * (t[3] - t[1]) - both;
        double hull = (fmax(right, t[2]) - fmin(l, t[0])) * (fmax(bottom, t[3]) - fmin(top, t[1]));
        double giou = both / any - (hull - any) / hull;
        loss += (double)x->b->weight[i] * (l1 * size + (double)kinds[x->kind].giou * (1 - giou));
    }
    return loss;
}

/* Does a step of slope_check stay on one side of every bend? */
static int is_smooth(const struct expected *x, int box) {
    double e[4], beta = (double)kinds[x->kind].beta, nearest = 1;
    const float *t = x->b->target + 4 * box;
    expected_numbers(x, box, e);
    for (int j = 0; j < 4; j++) {
        double own = e[j] - (double)t[j], across = e[j] - (double)t[(j + 2) % 4];
        nearest = fmin(nearest, fmin(fabs(own), fabs(across)));
        nearest = fmin(nearest, fmin(fabs(fabs(own) - beta), fabs(e[j] - e[(j + 2) % 4])));
    }
    return nearest > 2e-3;
}

TRAIN_TEST(expect_is_a_slope) {
    if (!train_is_ref(r)) skip("once is enough");
    for (size_t kind = 0; kind < ARRAY_LEN(kinds); kind++) {
        struct boxes *b = some_boxes(r);
        struct expected x = {b, kind, host_widened(b->logits, LINES * COLUMNS)};
        struct truth d = truth_from(NULL, LINES * COLUMNS), loss = truth_from(NULL, BOXES);
        double sum = 0;
        int n = 0;
        for (int i = 0; i < BOXES; i++) {
            if (!is_smooth(&x, i)) b->weight[i] = 0;
            n += b->weight[i] > 0;
        }
        CHECK(n > BOXES / 2);
        truth_of_boxes(b, kind, &d, &loss);
        for (int i = 0; i < BOXES; i++)
            sum += loss.want[i];
        CHECK_NEAR(sum, expected_loss(&x), 1e-12 * sum);
        slope_check("dlogits", expected_loss, &x, x.logits, d.want, LINES * COLUMNS);
    }
}
