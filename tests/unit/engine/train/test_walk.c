/* test_walk.c - the walks of training compute what serving computes: the same taps, bit for bit.
 *
 * On ref what comes behind a GELU differs by its rounding, since ref rounds a product and its GELU
 * once where they are one operation. The cpu doesn't.
 */
#include "tests/unit/engine/train/train_rig.h"

enum { SHOWN_MAX = 24 };
struct shown {
    char name[32];
    float *data;
    int rows, cols;
};
struct recorder {
    struct shown at[SHOWN_MAX];
    int n;
};

static void keep(void *ud, const char *name, const float *data, int rows, int cols) {
    struct recorder *r = ud;
    size_t bytes = (size_t)rows * (size_t)cols * sizeof *data;
    must(r->n < SHOWN_MAX);
    struct shown *s = &r->at[r->n++];
    *s = (struct shown){.data = mem_must(bytes), .rows = rows, .cols = cols};
    snprintf(s->name, sizeof s->name, "%s", name);
    memcpy(s->data, data, bytes);
}

static void drop(struct recorder *r) {
    for (int i = 0; i < r->n; i++)
        mem_free(r->at[i].data);
    *r = (struct recorder){0};
}

static double far(const float *a, const float *b, size_t n) {
    double diff = 0, most = 0;
    for (size_t i = 0; i < n; i++) {
        diff = fmax(diff, fabs((double)a[i] - (double)b[i]));
        most = fmax(most, fabs((double)b[i]));
    }
    return diff / most;
}

/* The same tensors by the same names; of the last layer serving shows all rows, training picks. */
static void compare(const struct recorder *train, const struct recorder *serve, const struct mix *x,
                    double tolerance) {
    CHECK_EQ(train->n, serve->n);
    for (int i = 0; i < train->n; i++) {
        const struct shown *a = &train->at[i], *b = &serve->at[i];
        CHECK_STR(a->name, b->name);
        CHECK_EQ(a->cols, b->cols);
        size_t cols = (size_t)a->cols;
        int is_picked = a->rows != b->rows;
        if (is_picked) CHECK_EQ(a->rows, x->picks);
        for (size_t row = 0; row < (size_t)a->rows; row++) {
            size_t other = is_picked ? (size_t)x->pick_row[row] : row;
            const float *p = a->data + row * cols, *q = b->data + other * cols;
            if (tolerance > 0)
                CHECK(far(p, q, cols) <= tolerance);
            else
                CHECK_MEM(p, q, cols * sizeof *p);
        }
    }
}

/* What serving makes of the pass. */
static void serve(const struct train *t, const struct mix *x, struct recorder *r) {
    struct kern *k;
    struct model *m;
    struct model_head *head;
    struct err e = {0};
    const struct model_config *c = model_config(t->m);
    int vocab = c->text.vocab_size;
    int32_t *all = mem_must((size_t)vocab * sizeof *all), col_off[2] = {0, vocab};
    int32_t *none = mem_must((size_t)x->picks * sizeof *none);
    int32_t *best = mem_must((size_t)x->picks * sizeof *best);
    for (int i = 0; i < vocab; i++)
        all[i] = i;
    CHECK_EQ(t->ops->open(&(struct kern_config){.threads = 2}, &k, &e), 0);
    CHECK_EQ(model_open(RIG_TINY, NULL, t->ops, k, &m, &e), 0);
    CHECK_EQ(model_head_new(m, all, vocab, &head, &e), 0);
    CHECK_EQ(model_plan(m,
                        &(struct model_plan){.rows_max = x->rows,
                                             .picks_max = x->picks,
                                             .kv_slots = x->rows,
                                             .feats_max = 2,
                                             .spans_max = x->n_spans + 1,
                                             .tails_max = x->tail_off[x->rows] + 1},
                        &e),
             0);
    model_set_tap(m, keep, r);
    if (x->pictures) model_encode(m, MODEL_BASE, t->square, 0);
    struct model_pick_group group = {.head = head, .picks = x->picks};
    struct model_pass pass = {.rows = x->rows,
                              .src = x->src,
                              .pos = x->pos,
                              .slot = x->slot,
                              .groups = x->groups,
                              .n_groups = x->n_groups,
                              .spans = x->spans,
                              .n_spans = x->n_spans,
                              .tail_off = x->tail_off,
                              .tail = x->tail,
                              .picks = x->picks,
                              .pick_row = x->pick_row,
                              .pick_groups = &group,
                              .n_pick_groups = 1,
                              .pick_set = none,
                              .col_off = col_off,
                              .cols = all,
                              .n_sets = 1,
                              .best = best};
    CHECK_EQ(model_run(m, &pass, &e), 0);
    model_head_free(m, head);
    model_close(m);
    t->ops->close(k);
    mem_free(all);
    mem_free(none);
    mem_free(best);
}

static void compare_walks(const char *backend, const struct sample *s, double tolerance) {
    for (int recompute = 0; recompute <= 2; recompute++) {
        for (int tower = 0; tower < 2; tower++) {
            struct train_options o = rig_options(backend);
            struct recorder train = {0}, served = {0};
            struct train_loss loss;
            struct err e = {0};
            struct mix x;
            o.recompute = recompute;
            o.tower = tower;
            struct train *t = rig_open(&o, 1);
            struct arena *mem = arena_new(1 << 26);
            t->tap = keep;
            t->tap_ud = &train;
            CHECK_EQ(train_judge(t, s, &loss, &e), 0);
            CHECK_EQ(mix_build(&x, mem, t, s, &e), 0);
            serve(t, &x, &served);
            compare(&train, &served, &x, tolerance);
            CHECK(train.n >= (x.pictures ? 9 : 4));
            drop(&train);
            drop(&served);
            arena_free(mem);
            train_close(t);
        }
    }
}

TEST(walk_shows_what_serving_shows) {
    struct rig_sample *r = mem_must(sizeof *r);
    rig_mixed(r, 9);
    r->s.n_talks -= 2; /* those of two pictures and of none */
    compare_walks("cpu", &r->s, 0);
    compare_walks("ref", &r->s, 1e-6);
    mem_free(r);
}

TEST(walk_shows_the_same_of_text_on_ref) {
    struct rig_sample *r = mem_must(sizeof *r);
    rig_empty(r, 1);
    rig_talk(r, SAMPLE_CHAT, 0, "hello", "you too");
    rig_talk(r, SAMPLE_CHAT, 0, "hello", "who are you?");
    rig_talk(r, SAMPLE_CHAT, 0, "where is the dog?", "there");
    compare_walks("ref", &r->s, 0);
    mem_free(r);
}
