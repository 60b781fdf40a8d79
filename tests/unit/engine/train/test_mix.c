/* test_mix.c - samples as passes: what is shared, what is wanted, and what is refused. */
#include "tests/unit/engine/train/train_rig.h"

struct built {
    struct train *t;
    struct arena *mem;
    struct mix x;
};

static struct built build(const struct train_options *o, const struct sample *s) {
    struct built b = {.t = rig_open(o, 1), .mem = arena_new(1 << 26)};
    struct err e = {0};
    int rc = mix_build(&b.x, b.mem, b.t, s, &e);
    if (rc) printf("%s\n", e.text);
    CHECK_EQ(rc, 0);
    return b;
}

static void drop(struct built *b) {
    arena_free(b->mem);
    train_close(b->t);
}

TEST(mix_shares_rows_and_adds_weights_up) {
    struct train_options o = rig_lora("cpu");
    struct rig_sample *r = mem_must(sizeof *r);
    rig_empty(r, 1);
    for (int i = 0; i < 3; i++)
        rig_talk(r, SAMPLE_MASK, 1, "[segmentation] dog loc: [3,4] mask:", i < 2 ? "1" : "0");
    r->talks[1].weight = 2;
    struct built b = build(&o, &r->s);
    CHECK_EQ(b.x.talks, 3);
    CHECK_EQ(b.x.tokens, 9);  /* a dummy space, the digit, EOS */
    CHECK_EQ(b.x.picks, 4);   /* the digit's row stands twice */
    CHECK_EQ(b.x.n_wants, 9); /* one of each talk and token */
    CHECK((uint64_t)b.x.rows < b.x.rows_plain);
    for (int i = 0; i < 4; i++) {
        float share = 0;
        CHECK_EQ(b.x.pick_row[i], b.x.rows - 4 + i);
        CHECK_EQ(b.x.target_off[i + 1] - b.x.target_off[i], i == 1 ? 2 : 1);
        for (int k = b.x.target_off[i]; k < b.x.target_off[i + 1]; k++)
            share += b.x.share[k];
        CHECK_NEAR(share, 1, 1e-6);
        if (i < 2) CHECK_NEAR(b.x.weight[i], 4, 1e-6);
    }
    CHECK_NEAR(b.x.weight[2] * b.x.weight[3], 3, 1e-6);    /* EOS behind 0 and behind 1 */
    CHECK_NEAR(b.x.share[1] * b.x.share[2], 0.1875, 1e-6); /* a quarter and three */
    drop(&b);
    mem_free(r);
}

TEST(mix_of_equal_talks_is_one_talk_of_their_weight) {
    struct rig_sample *r = mem_must(sizeof *r);
    struct train_options o = rig_options("cpu");
    struct train *t = rig_open(&o, 1);
    struct train_loss three, one;
    rig_empty(r, 1);
    for (int i = 0; i < 3; i++)
        rig_talk(r, SAMPLE_VQA, 1, "what is it?", "a dog");
    CHECK_EQ(train_judge(t, &r->s, &three, NULL), 0);
    r->s.n_talks = 1;
    r->talks[0].weight = 3;
    CHECK_EQ(train_judge(t, &r->s, &one, NULL), 0);
    CHECK_EQ(three.rows, one.rows);
    CHECK_NEAR(three.sum[SAMPLE_VQA], one.sum[SAMPLE_VQA], 1e-9);
    CHECK_NEAR(three.weight[SAMPLE_VQA], one.weight[SAMPLE_VQA], 1e-9);
    train_close(t);
    mem_free(r);
}

TEST(mix_tells_losses_by_task_where_rows_are_shared) {
    struct rig_sample *r = mem_must(sizeof *r);
    struct train_options o = rig_options("cpu");
    struct train *t = rig_open(&o, 1);
    struct train_loss both, one;
    rig_empty(r, 1);
    rig_talk(r, SAMPLE_VQA, 1, "what is it?", "a dog");
    rig_talk(r, SAMPLE_CHAT, 1, "what is it?", "a dog")->weight = 3;
    CHECK_EQ(train_judge(t, &r->s, &both, NULL), 0);
    CHECK_NEAR(both.sum[SAMPLE_CHAT], 3 * both.sum[SAMPLE_VQA], 1e-6);
    r->s.n_talks = 1;
    CHECK_EQ(train_judge(t, &r->s, &one, NULL), 0);
    CHECK_NEAR(both.sum[SAMPLE_VQA], one.sum[SAMPLE_VQA], 1e-5);
    train_close(t);
    mem_free(r);
}

/* A number is wanted as a bell, where there is a token for each; never beyond its ends. */
TEST(mix_wants_numbers_softly) {
    struct rig_sample *r = mem_must(sizeof *r);
    struct train_options o = rig_lora("cpu");
    o.soft[SAMPLE_PIXELS] = 1.5f;
    rig_empty(r, 1);
    rig_talk(r, SAMPLE_PIXELS, 1, "[reconstruct] loc: [1,2] rgb:", "[0,100,255]");
    for (int digits = 0; digits < 2; digits++) {
        if (digits) o.model = RIG_DIGITS;
        struct built b = build(&o, &r->s);
        int soft = 0;
        for (int i = 0; i < b.x.picks; i++) {
            int n = b.x.target_off[i + 1] - b.x.target_off[i];
            float sum = 0, most = 0;
            for (int k = b.x.target_off[i]; k < b.x.target_off[i + 1]; k++) {
                sum += b.x.share[k];
                most = fmaxf(most, b.x.share[k]);
            }
            CHECK_NEAR(sum, 1, 1e-5);
            CHECK(n == 1 || n == 7 || n == 13); /* 0 and 255 have six neighbours, 100 has twelve */
            soft += n > 1;
            if (n == 13) CHECK_NEAR(most, 1 / (1.5 * sqrt(2 * 3.14159265)), 1e-3);
        }
        CHECK_EQ(soft, digits ? 0 : 3);
        drop(&b);
    }
    mem_free(r);
}

/* ---- what is refused ---- */

static void refuse(struct train *t, const struct sample *s, int code, const char *why) {
    struct train_loss loss;
    struct err e = {0};
    int added = t->tree.added, rc = train_add(t, s, &loss, &e);
    if (rc != code || !strstr(e.text, why)) printf("%d: %s, not: %s\n", rc, e.text, why);
    CHECK_EQ(rc, code);
    CHECK_HAS(e.text, why);
    CHECK_EQ(t->tree.added, added);
}

TEST(mix_refuses_texts_and_talks_that_can_t_be) {
    struct rig_sample *r = mem_must(sizeof *r);
    struct train_options o = rig_lora("cpu");
    struct train *t = rig_open(&o, 1);
    static const struct {
        const char *question, *answer, *why;
    } bad[] = {{"a [/INST] b", "yes", "talk 1: a question contains [/INST]"},
               {"what?", "yes</s>", "talk 1: an answer contains </s>"},
               {"<Img>", "yes", "contains <Img>"},
               {"what?", "", "an answer is empty"},
               {"what?", "  ", "an answer is empty"},
               {"what?", NULL, "has its answer"},
               {NULL, "yes", "has its answer"},
               {"what\x01?", "yes", "control character"},
               {"what?", "\xff", "not UTF-8"}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        rig_empty(r, 1);
        rig_talk(r, SAMPLE_VQA, 1, "what is it?", "a dog");
        rig_talk(r, SAMPLE_VQA, 1, bad[i].question, bad[i].answer);
        refuse(t, &r->s, E_INVALID, bad[i].why);
    }
    rig_empty(r, 1);
    refuse(t, &r->s, E_INVALID, "0 talks");
    struct sample_talk *talk = rig_talk(r, SAMPLE_VQA, 3, "what?", "yes");
    refuse(t, &r->s, E_INVALID, "more pictures than the sample has");
    r->turns[0][0].n_pictures = 1;
    talk->weight = NAN;
    refuse(t, &r->s, E_INVALID, "weight");
    talk->weight = 0;
    refuse(t, &r->s, E_INVALID, "weight");
    talk->weight = 1;
    talk->n_turns = 0;
    refuse(t, &r->s, E_INVALID, "0 turns");
    talk->n_turns = 1;
    talk->task = SAMPLE_TASKS;
    refuse(t, &r->s, E_INVALID, "no task");
    talk->task = SAMPLE_VQA;
    r->pictures[0].rgb = NULL;
    refuse(t, &r->s, E_INVALID, "picture 0");
    train_close(t);
    mem_free(r);
}

TEST(mix_refuses_what_is_too_much) {
    struct rig_sample *r = mem_must(sizeof *r);
    struct train_options o = rig_lora("cpu");
    o.rows = 40;
    o.pictures = 1;
    struct train *t = rig_open(&o, 1);
    rig_empty(r, 1);
    rig_talk(r, SAMPLE_VQA, 1, "what is it?", "a dog");
    rig_add(t, &r->s, NULL);
    t->tree.added = t->tree.depth = 0;
    rig_talk(r, SAMPLE_VQA, 1, "and what is there, on the right of it?", "a cat");
    refuse(t, &r->s, E_TOO_BIG, "over 40 rows");
    rig_empty(r, 1);
    rig_talk(r, SAMPLE_DRIVE, 2, "go", "[1,2,3]");
    refuse(t, &r->s, E_TOO_BIG, "2 pictures, at most 1");
    rig_empty(r, 1);
    char *text = mem_must(600);
    memset(text, 'x', 500);
    rig_talk(r, SAMPLE_CHAT, 0, text, "yes");
    refuse(t, &r->s, E_TOO_BIG, "talk 0: it takes 5");
    mem_free(text);
    text = mem_must(20000);
    memset(text, 'x', 19000);
    r->turns[0][0].question = text;
    refuse(t, &r->s, E_TOO_BIG, "talk 0: ");
    mem_free(text);
    train_close(t);
    mem_free(r);
}

TEST(mix_refuses_attention_that_is_held_in_two_ways) {
    struct rig_sample *r = mem_must(sizeof *r);
    struct train_options o = rig_lora("cpu");
    uint8_t here[16] = {1}, there[16] = {0, 1};
    o.hold = 1;
    o.hold_heads = 1;
    struct train *t = rig_open(&o, 2);
    struct train_loss loss;
    rig_empty(r, 1);
    rig_talk(r, SAMPLE_VQA, 1, "what is it?", "a dog")->hold = here;
    rig_talk(r, SAMPLE_VQA, 1, "what is it?", "a cat")->hold = there;
    refuse(t, &r->s, E_INVALID, "holds the attention elsewhere");
    r->talks[1].hold = here;
    CHECK_EQ(train_add(t, &r->s, &loss, NULL), 0);
    CHECK(loss.hold > 0);
    double at_thing = loss.hold;
    memset(here, 0, sizeof here); /* it isn't there: the first token is looked at, not nothing */
    CHECK_EQ(train_add(t, &r->s, &loss, NULL), 0);
    CHECK(loss.hold > 0 && loss.hold != at_thing);
    train_close(t);
    o.hold_tasks = 1 << SAMPLE_REFER; /* questions are held no more */
    t = rig_open(&o, 1);
    CHECK_EQ(train_add(t, &r->s, &loss, NULL), 0);
    CHECK_NEAR(loss.hold, 0, 0);
    train_close(t);
    mem_free(r);
}
