/* test_attn_tree_back.c - the way back through attention over the prompt tree.
 *
 * The truth is made from the lists of keys alone: rows ascending, each over its list. Passes are
 * those of training, where stems, branches and lanes stand in one pass: a stem's rows see each
 * other, a branch's token is seen by many lanes, and the stem by all of them.
 */
#include <stdlib.h>

#include "tests/unit/kernels/plain.h"
#include "tests/unit/kernels/tol.h"
#include "tests/unit/kernels/train_rig.h"
#include "tests/unit/kernels/tree.h"

enum { HOLDS = 40, HELD = 400 };

struct holds {
    int n, n_slots;
    struct kern_attn_hold hold[HOLDS];
    int32_t slot[HELD];
};

/* What a pass left behind, forward and backward. */
struct ran {
    struct tensor y, lse, dq, dk, dv, loss;
};

/* ---- passes ---- */

/* A row with the given tail and a query of its own. */
static void add_row(struct rig *r, const struct pool *p, struct pass *s, const int *tail, int n) {
    group_row(s, host_random(r, (size_t)p->width, 1), tail, n);
}

/* `rows` rows that see each other, from `slot` on. */
static void add_own(struct rig *r, const struct pool *p, struct pass *s, int rows) {
    for (int i = 0; i < rows; i++)
        add_row(r, p, s, NULL, 0);
}

/* A stem of `stem` slots from 0 on, and behind it `n` branches of one token, at 300 + i, each seen
 * by `lanes` lanes of two tokens: the first sees the stem, its branch and itself, the second one
 * all of that and itself. As a picture's rows and columns do. */
static struct pass *nested_pass(struct rig *r, const struct pool *p, int stem, int n, int lanes) {
    struct pass *s = host_take(sizeof *s);
    group_begin(s, 0);
    add_own(r, p, s, stem);
    group_begin(s, -1);
    group_span(s, 0, stem);
    for (int i = 0; i < n; i++)
        add_row(r, p, s, (int[]){300 + i}, 1);
    group_begin(s, -1);
    group_span(s, 0, stem);
    for (int i = 0; i < n * lanes; i++) {
        int tail[] = {300 + i / lanes, 400 + 2 * i % 200, 401 + 2 * i % 200};
        add_row(r, p, s, tail, 2);
        add_row(r, p, s, tail, 3);
    }
    return s;
}

/* All that a pass may have: chunks of stems behind one another, a stem that is a part of another
 * one, spans in any order, tails of any length that rows share, rows of a span alone, and a slot
 * that one row sees in its span and another in its tail. */
static struct pass *wild_pass(struct rig *r, const struct pool *p) {
    struct pass *s = host_take(sizeof *s);
    group_begin(s, 10);
    add_own(r, p, s, 33);
    group_begin(s, 60); /* a stem behind the first one's first 20 slots */
    group_span(s, 10, 20);
    add_own(r, p, s, 17);
    group_begin(s, 100); /* a stem in three runs, the last one computed here */
    group_span(s, 550, 3);
    group_span(s, 500, 40);
    add_own(r, p, s, 5);
    for (int g = 0; g < 4; g++) {
        group_begin(s, -1);
        if (g < 3) group_span(s, 10, 20);
        if (g == 1) group_span(s, 60, 17);
        if (g == 2) group_span(s, 30, 13);
        for (int i = 0; i < (g == 3 ? 2 : 30); i++) {
            int tail[24], n = host_below(r, g == 0 ? 24 : 4) + (g == 3), first = host_below(r, 9);
            for (int t = 0; t < n; t++) /* a permutation of 24, cut off */
                tail[t] = g == 3 && t == 0 ? 77 : 200 + (first * 24 + (t * 7 + i) % 24) % 100;
            add_row(r, p, s, tail, n);
        }
    }
    group_begin(s, -1); /* own rows of another group, as single slots */
    add_row(r, p, s, (int[]){12, 599, 104, 61}, 4);
    return s;
}

/* Every fourth row or so is held, in some heads, on some of its slots. */
static void hold_some(struct rig *r, const struct pool *p, const struct pass *s, struct holds *h) {
    for (int row = host_below(r, 3); row < s->rows && h->n < HOLDS; row += 1 + host_below(r, 8)) {
        int stride = 1 + host_below(r, 6), n = 0, room = HELD - h->n_slots;
        char is_held[SLOTS] = {0};
        for (int j = host_below(r, s->n_keys[row]); j < s->n_keys[row] && n < room;
             j += stride, n++)
            is_held[s->keys[row][j]] = 1;
        if (!n) return;
        uint32_t heads = 1 + (uint32_t)host_below(r, (1 << p->heads) - 1);
        h->hold[h->n++] = (struct kern_attn_hold){row, heads, h->n_slots, n,
                                                  0.1f + (float)host_below(r, 10) / 10};
        for (int slot = 0; slot < SLOTS; slot++)
            if (is_held[slot]) h->slot[h->n_slots++] = slot;
    }
}

/* ---- running ---- */

/* The tails the other way round. */
static void add_users(struct rig *r, const struct pass *s, struct kern_attn_tree_back *a) {
    int32_t *slot = host_take(SLOTS * 4), *off = host_take((SLOTS + 1) * 4);
    int32_t *user = host_take(TAILS * 4);
    int n = 0, at = 0;
    for (int i = 0; i < SLOTS; i++) {
        off[n] = at;
        for (int row = 0; row < s->rows; row++) {
            for (int t = s->tail_off[row]; t < s->tail_off[row + 1]; t++)
                if (s->tail[t] == i) user[at++] = row;
        }
        if (at > off[n]) slot[n++] = i;
    }
    off[n] = at;
    CHECK_EQ(at, s->n_tails);
    a->n_users = n;
    a->host_user_off = off;
    a->user_slot = rig_put(r, slot, SLOTS * 4);
    a->user_off = rig_put(r, off, (SLOTS + 1) * 4);
    a->user = rig_put(r, user, TAILS * 4);
}

/* There and back, twice back. dk and dv begin as `begin` (2, SLOTS, width); h may be NULL. */
static struct ran run_pass(struct rig *r, const struct pool *p, const struct pass *s,
                           const struct holds *h, const float *dy, const float *begin) {
    struct ran ran = {.y = tensor_out(r, s->rows, p->width, 1),
                      .lse = tensor_out(r, s->rows, p->heads, 0),
                      .dq = tensor_out(r, s->rows, p->width, 3),
                      .dk = tensor_in(r, begin, SLOTS, p->width, 0),
                      .dv = tensor_in(r, begin + SLOTS * p->width, SLOTS, p->width, 0),
                      .loss = tensor_out(r, h ? h->n : 0, 1, 0)};
    struct tensor tdy = tensor_in(r, dy, s->rows, p->width, 1);
    struct kern_attn_tree_back a = {.fwd = pass_args(r, p, s, &ran.y)};
    RUN_ON(r, attn_tree, &a.fwd);
    const float *without = tensor_get(r, &ran.y);
    a.fwd.lse = ran.lse.p;
    RUN_ON(r, attn_tree, &a.fwd);
    CHECK_MEM(tensor_get(r, &ran.y), without, (size_t)(s->rows * p->width) * sizeof(float));
    a.dy = tdy.p, a.lddy = tdy.ld;
    a.dq = ran.dq.p, a.lddq = ran.dq.ld;
    a.dk = ran.dk.p, a.dv = ran.dv.p;
    add_users(r, s, &a);
    if (h) {
        a.holds = h->hold, a.n_holds = h->n;
        a.dev_holds = rig_put(r, h->hold, sizeof h->hold);
        a.hold_slots = rig_put(r, h->slot, sizeof h->slot);
        a.hold_loss = ran.loss.p;
    }
    TRAIN_ON(r, attn_tree_back, &a);
    RUN_ON(r, train->attn_tree_back, &a);
    return ran;
}

/* ---- the truth ---- */
struct truths {
    struct truth lse, dq, dk, dv, loss;
};

static const struct kern_attn_hold *hold_of(const struct holds *h, int row, int head) {
    for (int i = 0; h && i < h->n; i++)
        if (h->hold[i].row == row && (h->hold[i].heads >> head & 1)) return &h->hold[i];
    return NULL;
}

/* One row and head into lse, dq (overwritten), dk, dv and loss (added to), in both types. */
#define TREE_TRUTH(bits, REAL)                                                                   \
    static void tree_truth_##bits(const struct pool *p, const struct pass *s,                    \
                                  const struct holds *h, const float *dy, int row, int head,     \
                                  REAL *lse, REAL *dq, REAL *all_dk, REAL *all_dv, REAL *loss) { \
        const struct kern_attn_hold *hold = hold_of(h, row, head);                               \
        const float *k[KEYS], *v[KEYS];                                                          \
        char is_held[KEYS] = {0};                                                                \
        REAL *dk[KEYS], *dv[KEYS], room[2 * KEYS], none = 0;                                     \
        int own = row * p->width + head * p->size;                                               \
        for (int j = 0; j < s->n_keys[row]; j++) {                                               \
            int slot = s->keys[row][j], at = slot * p->width + head * p->size;                   \
            k[j] = p->k + at, v[j] = p->v + at, dk[j] = all_dk + at, dv[j] = all_dv + at;        \
            for (int i = 0; hold && i < hold->n; i++)                                            \
                is_held[j] |= h->slot[hold->at + i] == slot;                                     \
        }                                                                                        \
        lse[row * p->heads + head] = plain_attend_back_##bits(                                   \
            s->q[row] + head * p->size, dy + own, k, v, hold ? is_held : NULL,                   \
            hold ? hold->weight : 0, s->n_keys[row], p->size, 1 / sqrtf((float)p->size), room,   \
            dq + own, dk, dv, hold ? &loss[hold - h->hold] : &none);                             \
    }
TREE_TRUTH(f64, double)
TREE_TRUTH(f32, float)

/* Of `times` calls: loss is that of one. */
static struct truths truths_of(const struct pool *p, const struct pass *s, const struct holds *h,
                               const float *dy, const float *begin, int times) {
    size_t rows = (size_t)s->rows, width = (size_t)p->width;
    struct truths t = {truth_from(NULL, rows * (size_t)p->heads), truth_from(NULL, rows * width),
                       truth_from(begin, SLOTS * width),
                       truth_from(begin ? begin + SLOTS * width : NULL, SLOTS * width),
                       truth_from(NULL, h ? (size_t)h->n : 0)};
    for (int time = 0; time < times; time++) {
        t.loss = truth_from(NULL, t.loss.n);
        for (int row = 0; row < s->rows; row++) {
            for (int head = 0; head < p->heads; head++) {
                tree_truth_f64(p, s, h, dy, row, head, t.lse.want, t.dq.want, t.dk.want, t.dv.want,
                               t.loss.want);
                tree_truth_f32(p, s, h, dy, row, head, t.lse.plain, t.dq.plain, t.dk.plain,
                               t.dv.plain, t.loss.plain);
            }
        }
    }
    return t;
}

static void check_pass(struct rig *r, const struct pool *p, const struct pass *s,
                       const struct holds *h) {
    size_t cells = (size_t)(s->rows * p->width), pool = (size_t)(SLOTS * p->width);
    const float *dy = host_random(r, cells, 1), *begin = host_random(r, 2 * pool, 1);
    struct ran ran = run_pass(r, p, s, h, dy, begin);
    struct truths t = truths_of(p, s, h, dy, begin, 2);
    const float *dk = tensor_get(r, &ran.dk), *dv = tensor_get(r, &ran.dv);
    truth_check("lse", &t.lse, tensor_get(r, &ran.lse));
    truth_check("dq", &t.dq, tensor_get(r, &ran.dq));
    truth_check("dk", &t.dk, dk);
    truth_check("dv", &t.dv, dv);
    if (h) truth_check("loss", &t.loss, tensor_get(r, &ran.loss));
    char seen[SLOTS];
    pass_seen(s, seen);
    for (size_t i = 0; i < pool; i++)
        if (!seen[i / (size_t)p->width]) CHECK(dk[i] == begin[i] && dv[i] == begin[pool + i]);
}

static const int shapes[][2] = {{2, 16}, {1, 32}, {3, 88}, {1, 128}, {3, 6}};

TRAIN_TEST(attn_tree_back_is_right_where_branches_are_nested) {
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        struct pool p;
        pool_make(r, &p, KERN_F32, shapes[i][0], shapes[i][1]);
        check_pass(r, &p, nested_pass(r, &p, 20, 4, 16), NULL);
        check_pass(r, &p, nested_pass(r, &p, 1, 1, 1), NULL);
    }
}

TRAIN_TEST(attn_tree_back_is_right_for_anything_that_a_pass_may_have) {
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        struct pool p;
        pool_make(r, &p, KERN_F32, shapes[i][0], shapes[i][1]);
        check_pass(r, &p, wild_pass(r, &p), NULL);
    }
}

/* More rows than one block behind a stem that is longer than any. */
TRAIN_TEST(attn_tree_back_adds_up_many_rows) {
    struct pool p;
    struct pass *s = host_take(sizeof *s);
    pool_make(r, &p, KERN_F32, 2, 24);
    group_begin(s, -1);
    group_span(s, 5, 270);
    for (int i = 0; i < 290; i++)
        add_row(r, &p, s, (int[]){300 + i % 7, 310 + i}, 2);
    check_pass(r, &p, s, NULL);
}

TRAIN_TEST(attn_tree_back_holds_attention) {
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        struct pool p;
        pool_make(r, &p, KERN_F32, shapes[i][0], shapes[i][1]);
        for (int is_wild = 0; is_wild < 2; is_wild++) {
            struct pass *s = is_wild ? wild_pass(r, &p) : nested_pass(r, &p, 20, 4, 16);
            struct holds *h = host_take(sizeof *h);
            hold_some(r, &p, s, h);
            CHECK(h->n > 5);
            check_pass(r, &p, s, h);
        }
    }
}

/* A row that looks everywhere but where it shall has a loss and a slope all the same. */
TRAIN_TEST(attn_tree_back_holds_what_has_no_weight) {
    struct pool p;
    struct pass *s = host_take(sizeof *s);
    struct holds *h = host_take(sizeof *h);
    pool_make(r, &p, KERN_F32, 1, 4);
    float *q = host_f32(4), dy[4] = {0};
    q[0] = 20;
    for (int i = 0; i < 2; i++)
        memcpy(p.k + (10 + i) * 4, (float[]){i ? -20 : 20, 0, 0, 0}, 16);
    group_begin(s, -1);
    group_row(s, q, (int[]){10, 11}, 2);
    *h = (struct holds){1, 1, {{0, 1, 0, 1, 0.5f}}, {11}};
    struct ran ran = run_pass(r, &p, s, h, dy, host_f32(2 * SLOTS * 4));
    CHECK_NEAR(*tensor_get(r, &ran.loss), 0.5 * 400, 1e-4); /* scores of 200 and -200 */
    CHECK_NEAR(*tensor_get(r, &ran.dq), 0.5 * 0.5 * 40, 1e-4);
}

TRAIN_TEST(attn_tree_back_takes_an_empty_pass) {
    struct pool p;
    pool_make(r, &p, KERN_F32, 1, 16);
    check_pass(r, &p, host_take(sizeof(struct pass)), NULL);
}

/* dq of a row goes by its list and nothing else, held or not. */
TRAIN_TEST(attn_tree_back_row_has_the_same_bits_alone) {
    struct pool p;
    pool_make(r, &p, KERN_F32, 2, 24);
    struct pass *s = wild_pass(r, &p), *one = host_take(sizeof *one);
    struct holds *h = host_take(sizeof *h);
    hold_some(r, &p, s, h);
    size_t width = (size_t)p.width;
    const float *dy = host_random(r, (size_t)s->rows * width, 1),
                *begin = host_f32(2 * SLOTS * width);
    struct ran ran = run_pass(r, &p, s, h, dy, begin);
    const float *all = tensor_get(r, &ran.dq);
    for (int g = 0; g < s->n_groups; g++) {
        const struct kern_attn_group *from = &s->groups[g];
        for (int row = from->row0; row < from->row0 + from->rows; row += 1 + host_below(r, 9)) {
            int n = s->n_keys[row], stem = 0;
            memset(one, 0, sizeof *one);
            group_begin(one, -1);
            for (int i = 0; i < from->spans; i++) {
                const struct kern_attn_span *span = &s->spans[from->span0 + i];
                group_span(one, span->slot, span->len);
                stem += span->len;
            }
            group_row(one, s->q[row], s->keys[row] + stem, n - stem);
            struct holds mine = *h;
            mine.n = 0;
            for (int i = 0; i < h->n; i++)
                if (h->hold[i].row == row) mine.hold[mine.n++] = h->hold[i];
            if (mine.n) mine.hold[0].row = 0;
            ran = run_pass(r, &p, one, &mine, dy + (size_t)row * width, begin);
            CHECK_MEM(tensor_get(r, &ran.dq), all + (size_t)row * width, width * sizeof *all);
        }
    }
}

/* ---- the slopes of sum dy * y + the losses of holding ---- */
struct attended {
    const struct pool *p;
    const struct pass *s;
    const struct holds *h;
    const float *dy;
    double *q, *k, *v; /* (rows, width), (SLOTS, width) */
};

static double row_loss(const struct attended *a, int row, int head) {
    const struct kern_attn_hold *hold = hold_of(a->h, row, head);
    const int *keys = a->s->keys[row], width = a->p->width, from = head * a->p->size;
    double sum = 0, held = 0, loss = 0, scale = (double)(1 / sqrtf((float)a->p->size));
    for (int j = 0; j < a->s->n_keys[row]; j++) {
        double s = 0, dy_v = 0;
        for (int c = from; c < from + a->p->size; c++) {
            s += scale * a->q[row * width + c] * a->k[keys[j] * width + c];
            dy_v += (double)a->dy[row * width + c] * a->v[keys[j] * width + c];
        }
        sum += exp(s);
        loss += exp(s) * dy_v;
        for (int i = 0; hold && i < hold->n; i++)
            if (a->h->slot[hold->at + i] == keys[j]) held += exp(s);
    }
    return loss / sum - (hold ? (double)hold->weight * log(held / sum) : 0);
}

static double attended_loss(void *ud) {
    const struct attended *a = ud;
    double loss = 0;
    for (int row = 0; row < a->s->rows; row++) {
        for (int head = 0; head < a->p->heads; head++)
            loss += row_loss(a, row, head);
    }
    return loss;
}

/* Of the slots that are seen, by every number of theirs. */
static void check_slopes(struct rig *r, const struct pool *p, const struct pass *s,
                         const struct holds *h) {
    size_t width = (size_t)p->width, cells = (size_t)s->rows * width, pool = SLOTS * width;
    struct attended a = {p,
                         s,
                         h,
                         host_random(r, cells, 1),
                         host_f64(cells),
                         host_widened(p->k, pool),
                         host_widened(p->v, pool)};
    for (size_t i = 0; i < cells; i++)
        a.q[i] = (double)s->q[i / width][i % width];
    struct truths t = truths_of(p, s, h, a.dy, NULL, 1);
    slope_check("dq", attended_loss, &a, a.q, t.dq.want, cells);
    char seen[SLOTS];
    pass_seen(s, seen);
    for (size_t i = 0; i < SLOTS; i++) {
        if (!seen[i]) continue;
        slope_check("dk", attended_loss, &a, a.k + i * width, t.dk.want + i * width, width);
        slope_check("dv", attended_loss, &a, a.v + i * width, t.dv.want + i * width, width);
    }
}

TRAIN_TEST(attn_tree_back_is_a_slope) {
    if (!train_is_ref(r)) skip("once is enough");
    struct pool p;
    pool_make(r, &p, KERN_F32, 2, 4);
    struct pass *s = nested_pass(r, &p, 5, 2, 3);
    struct holds *h = host_take(sizeof *h);
    hold_some(r, &p, s, h);
    CHECK(h->n > 0);
    check_slopes(r, &p, s, NULL);
    check_slopes(r, &p, s, h);
}
