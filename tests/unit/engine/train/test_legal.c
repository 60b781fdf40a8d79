/* test_legal.c - the loss among the answers that lammd allows: what is picked, from what, and that
 * it is a choice. Its gradient is held against differences in test_gradient.c. */
#include "engine/train/legal.h"
#include "engine/train/losses/teach.h"
#include "tests/unit/engine/train/teach_rig.h"

struct legal_built {
    struct train *t;
    struct arena *mem;
    struct mix x;
};

static struct legal_built legal_build(const struct train_options *o, const struct sample *s) {
    struct legal_built b = {.t = rig_open(o, 1), .mem = arena_new(1 << 26)};
    struct err e = {0};
    CHECK_EQ(mix_build(&b.x, b.mem, b.t, s, &e), 0);
    CHECK_EQ(mix_put(&b.x, b.t, &e), 0);
    if (o->teacher) CHECK_EQ(teach_answer(b.t, &b.x, b.mem, s, &e), 0);
    return b;
}

static void legal_drop(struct legal_built *b) {
    arena_free(b->mem);
    train_close(b->t);
}

/* How many tokens may stand at a pick. */
static int legal_many(const struct legal_built *b, int pick) {
    int n = 0;
    for (int c = 0; c < model_config(b->t->m)->text.vocab_size; c++)
        n += legal_has(b->t, b->x.legal[pick], c);
    return n;
}

/* One answer -> how many tokens may stand at each of its picks. */
static void check_picks(const char *model, enum sample_task task, const char *answer,
                        const int *many, int n) {
    struct rig_sample *r = mem_must(sizeof *r);
    struct train_options o = rig_lora("cpu");
    o.model = model;
    o.is_legal = 1;
    rig_empty(r, 1);
    rig_talk(r, task, 1, "what is it?", answer);
    struct legal_built b = legal_build(&o, &r->s);
    CHECK_EQ(b.x.picks, n);
    for (int i = 0; i < b.x.picks && i < n; i++)
        CHECK_EQ(legal_many(&b, i), many[i]);
    legal_drop(&b);
    mem_free(r);
}
#define PICKS(model, task, answer, ...)                          \
    check_picks(model, task, answer, (const int[]){__VA_ARGS__}, \
                (int)(sizeof((const int[]){__VA_ARGS__}) / sizeof(int)))

TEST(legal_picks_are_choices) {
    PICKS(RIG_TINY, SAMPLE_PIXELS, "[31,6,108]", 256, 256, 256);
    PICKS(RIG_TINY, SAMPLE_REFER, "{<12><3><100><99>}", 101, 101, 101, 101);
    PICKS(RIG_TINY, SAMPLE_DRIVE, "[8,10,20]", 21, 21, 21);
    PICKS(RIG_TINY, SAMPLE_SHOOT, "5", 6);
    PICKS(RIG_TINY, SAMPLE_MASK, "1", 2);
    /* By digits: behind 31 and 108 stands no other digit; 6 may be 60, and 10 may be 100. */
    PICKS(RIG_DIGITS, SAMPLE_PIXELS, "[31,6,108]", 10, 11, 10, 11, 10, 11, 11);
    PICKS(RIG_DIGITS, SAMPLE_SHOOT, "5", 6);
}

/* A text, a number too large, and one of another task have the whole vocabulary, EOS too. */
TEST(legal_leaves_texts_alone) {
    static const struct {
        enum sample_task task;
        const char *answer;
    } texts[] = {{SAMPLE_VQA, "[31,6,108]"},
                 {SAMPLE_PIXELS, "[31,6,256]"},
                 {SAMPLE_PIXELS, "[31,6"},
                 {SAMPLE_DRIVE, "[8,10,21]"},
                 {SAMPLE_MASK, "2"}};
    struct rig_sample *r = mem_must(sizeof *r);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct train_options o = rig_lora("cpu");
        struct train_loss plain, legal;
        rig_empty(r, 1);
        rig_talk(r, texts[i].task, 1, "what is it?", texts[i].answer);
        for (o.is_legal = 0; o.is_legal < 2; o.is_legal++) {
            struct train *t = rig_open(&o, 1);
            CHECK_EQ(train_judge(t, &r->s, o.is_legal ? &legal : &plain, NULL), 0);
            train_close(t);
        }
        CHECK_MEM(plain.sum, legal.sum, sizeof plain.sum);
        CHECK_MEM(plain.weight, legal.weight, sizeof plain.weight);
    }
    mem_free(r);
}

/* Where two talks ask the same, and one may answer in words, any token may stand. */
TEST(legal_is_any_where_talks_disagree) {
    struct rig_sample *r = mem_must(sizeof *r);
    struct train_options o = rig_lora("cpu");
    o.is_legal = 1;
    rig_empty(r, 1);
    rig_talk(r, SAMPLE_SHOOT, 1, "what is it?", "5");
    rig_talk(r, SAMPLE_VQA, 1, "what is it?", "5");
    struct legal_built b = legal_build(&o, &r->s);
    int vocab = model_config(b.t->m)->text.vocab_size;
    for (int i = 0; i < b.x.picks; i++)
        CHECK_EQ(legal_many(&b, i), vocab);
    legal_drop(&b);
    mem_free(r);
}

/* ---- the loss ---- */

static double loss_of(struct train *t, enum sample_task task, const char *answer) {
    static struct rig_sample r;
    struct train_loss loss;
    rig_empty(&r, 1);
    rig_talk(&r, task, 1, "what is it?", answer);
    CHECK_EQ(train_judge(t, &r.s, &loss, NULL), 0);
    return loss.sum[task];
}

/* All answers together have the probability 1. */
static void check_whole(const char *backend, const char *model, int is_legal, double *bits,
                        double *levels) {
    struct train_options o = rig_lora(backend);
    o.model = model;
    o.is_legal = is_legal;
    struct train *t = rig_open(&o, 1);
    *bits = *levels = 0;
    for (int v = 0; v < 2; v++)
        *bits += exp(-loss_of(t, SAMPLE_MASK, v ? "1" : "0"));
    for (int v = 0; v < 6; v++)
        *levels += exp(-loss_of(t, SAMPLE_SHOOT, (char[]){(char)('0' + v), 0}));
    train_close(t);
}

TEST(legal_answers_are_all_there_are) {
    double bits, levels;
    for (size_t i = 0; i < ARRAY_LEN(rig_backends); i++)
        for (int digits = 0; digits < 2; digits++) {
            check_whole(rig_backends[i], digits ? RIG_DIGITS : RIG_TINY, 1, &bits, &levels);
            CHECK_NEAR(bits, 1, 1e-5);
            CHECK_NEAR(levels, 1, 1e-5);
            check_whole(rig_backends[i], digits ? RIG_DIGITS : RIG_TINY, 0, &bits, &levels);
            CHECK(bits < 0.5 && levels < 0.5);
        }
}

/* Against the logits themselves: those of the family of the right number, in double. */
struct seen {
    struct train *t;
    const struct mix *plain, *legal;
    double loss;
    int n;
};

static void see(void *ud, const char *name, const float *v, int rows, int cols) {
    struct seen *s = ud;
    if (strcmp(name, "logits") != 0) return;
    for (int i = 0; i < s->legal->n_wants; i++) {
        const struct mix_want *w = &s->legal->wants[i];
        int at = 0;
        while (at < rows && s->plain->pick_row[at] != s->legal->pick_row[w->pick])
            at++;
        must(at < rows && rows == s->plain->picks);
        const float *row = v + (size_t)at * (size_t)cols;
        const struct train_numbers *n = &s->t->numbers;
        const int32_t *family = n->families[n->family[w->token]].token;
        double sum = 0;
        for (int c = 0; c < 256; c++)
            sum += exp((double)row[family[c]]);
        s->loss += log(sum) - (double)row[w->token];
        s->n++;
    }
}

TEST(legal_loss_is_that_of_the_numbers_alone) {
    struct rig_sample *r = mem_must(sizeof *r);
    rig_empty(r, 1);
    rig_talk(r, SAMPLE_PIXELS, 1, "[reconstruct] loc: [1,2] rgb:", "[31,6,108]");
    for (size_t i = 0; i < ARRAY_LEN(rig_backends); i++) {
        struct train_options o = rig_options(rig_backends[i]);
        struct train_loss loss;
        struct legal_built plain = legal_build(&o, &r->s);
        o.is_legal = 1;
        struct legal_built legal = legal_build(&o, &r->s);
        struct seen s = {plain.t, &plain.x, &legal.x, 0, 0};
        plain.t->tap = see;
        plain.t->tap_ud = &s;
        CHECK_EQ(train_judge(plain.t, &r->s, &loss, NULL), 0);
        CHECK_EQ(s.n, 3);
        CHECK_EQ(train_judge(legal.t, &r->s, &loss, NULL), 0);
        CHECK_NEAR(loss.weight[SAMPLE_PIXELS], 3, 0);
        CHECK_NEAR(loss.sum[SAMPLE_PIXELS], s.loss, 1e-4);
        legal_drop(&plain);
        legal_drop(&legal);
    }
    mem_free(r);
}

/* ---- with soft numbers and a teacher ---- */

TEST(legal_targets_are_legal) {
    struct rig_sample *r = mem_must(sizeof *r);
    struct rig_teacher teacher = rig_teacher_make();
    struct train_options o = rig_options("cpu");
    o.is_legal = 1;
    o.teacher = teacher.folder;
    o.teach_top = 7;
    o.soft[SAMPLE_PIXELS] = 1.5f;
    for (int i = 0; i < SAMPLE_TASKS; i++)
        o.teach[i] = 0.5f;
    rig_mixed(r, 5);
    struct legal_built b = legal_build(&o, &r->s);
    int limited = 0;
    for (int i = 0; i < b.x.picks; i++) {
        double sum = 0;
        for (int k = b.x.target_off[i]; k < b.x.target_off[i + 1]; k++) {
            CHECK(legal_has(b.t, b.x.legal[i], b.x.target[k]));
            sum += (double)b.x.share[k];
        }
        CHECK_NEAR(sum, 1, 1e-5);
        limited += b.x.legal[i] != b.t->legal->any;
        if (legal_many(&b, i) == 2) CHECK_EQ(b.x.target_off[i + 1] - b.x.target_off[i], 2);
    }
    CHECK(limited > 8 && limited < b.x.picks);
    struct train_loss loss;
    rig_add(b.t, &r->s, &loss);
    CHECK(isfinite(rig_mean(&loss)));
    CHECK(!rig_step(b.t).is_skipped);
    legal_drop(&b);
    rig_teacher_drop(&teacher);
    mem_free(r);
}
