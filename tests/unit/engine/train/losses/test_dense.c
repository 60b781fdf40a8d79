/* test_dense.c - dense questions: what a sample's things ask of which place, what they weigh, that
 * they learn, and that they stay at home. Gradients are held against PyTorch's in test_golden.c. */
#include "engine/files/safetensors.h"
#include "engine/train/losses/dense.h"
#include "tests/unit/engine/train/train_rig.h"

static struct train_options dense_options(const char *backend) {
    struct train_options o = rig_options(backend);
    o.dense[TRAIN_DENSE_INSIDE] = 1;
    o.dense[TRAIN_DENSE_BOX] = 1;
    o.dense[TRAIN_DENSE_COLOUR] = 10;
    o.dense[TRAIN_DENSE_FEATURE] = 3;
    return o;
}

/* New heads ask nothing: they get numbers. */
static void stir_heads(struct train *t) {
    for (int i = 0; i < t->params.n; i++) {
        const struct param *p = &t->params.at[i];
        for (size_t k = 0; k < p->n && p->is_dense; k++) {
            float v = 0.1f * rng_normal((uint64_t)i, k);
            t->ops->put(t->k, kern_at(t->params.value, (p->at + k) * sizeof v), &v, sizeof v);
        }
    }
    params_settle(t);
}

static double dense_sum(const struct train_loss *l) {
    double sum = 0;
    for (int i = 0; i < TRAIN_DENSE; i++)
        sum += l->dense[i];
    return sum;
}

/* ---- what is asked ---- */

/* The tiny model has 2 x 8 tokens of 8 x 2 places. */
TEST(dense_places_are_inside_of_what_is_named) {
    struct train_options o = dense_options("ref");
    struct train *t = rig_open(&o, 1);
    struct arena *mem = arena_new(1 << 24);
    struct dense_shape s = dense_shape_of(model_config(t->m));
    static uint8_t mask[16 * 16], none[16 * 16];
    mask[4 * 16 + 9] = mask[5 * 16 + 9] = mask[5 * 16 + 10] = 1;
    const struct sample_thing things[] = {
        {.text = "a dog", .box = {0, 0, 0.25f, 0.5f}},
        {.text = "the cup", .mask = mask},
        {.text = "a dog", .box = {0.99f, 0.99f, 0.995f, 0.995f}},
        {.text = "a hat", .mask = none},
        {.text = "all of it", .box = {0, 0, 1, 1}},
    };
    const struct sample sample = {.things = things, .n_things = ARRAY_LEN(things)};
    struct dense_ask a;
    CHECK(s.tokens_w == 2 && s.tokens_h == 8 && s.cell_w == 8 && s.cell_h == 2 && s.places == 256);
    CHECK_EQ(dense_read(&a, &s, mem, t, &sample, NULL), 0);
    CHECK_EQ(a.n_queries, 4);
    for (int p = 0; p < s.places; p++) {
        int token = p / s.cells, cell = p % s.cells;
        int x = token % 2 * 8 + cell % 8, y = token / 2 * 2 + cell / 8;
        const uint8_t *in = a.inside + p;
        CHECK_EQ(in[0], (x < 4 && y < 8) || (x == 15 && y == 15));
        CHECK_EQ(in[256], mask[y * 16 + x]);
        CHECK_EQ(in[2 * 256], 0);
        CHECK_EQ(in[3 * 256], 1);
    }
    CHECK_EQ(a.n_boxes, 16); /* all show the last, but where a smaller thing lies in front */
    for (int b = 0; b < a.n_boxes; b++) {
        CHECK_EQ(a.box_token[b], b);
        CHECK(a.box[4 * b + 2] == 1);
    }
    arena_free(mem);
    train_close(t);
}

TEST(dense_tokens_show_the_smaller_thing) {
    struct train_options o = dense_options("ref");
    struct train *t = rig_open(&o, 1);
    struct arena *mem = arena_new(1 << 24);
    struct dense_shape s = dense_shape_of(model_config(t->m));
    const struct sample_thing things[] = {{.text = "b", .box = {0, 0, 0.5f, 1}},
                                          {.text = "c", .box = {0, 0, 0.5f, 0.25f}},
                                          {.text = "d", .box = {0.5f, 0, 0.51f, 0.01f}}};
    const struct sample sample = {.things = things, .n_things = ARRAY_LEN(things)};
    struct dense_ask a;
    CHECK_EQ(dense_read(&a, &s, mem, t, &sample, NULL), 0);
    CHECK_EQ(a.n_boxes, 8); /* the column on the left; one place of 16 is too little */
    for (int b = 0; b < a.n_boxes; b++) {
        CHECK_EQ(a.box_token[b], 2 * b);
        CHECK(a.box[4 * b + 3] == (b < 2 ? 0.25f : 1));
    }
    arena_free(mem);
    train_close(t);
}

TEST(dense_refuses_things_that_are_none) {
    struct rig_sample *r = mem_must(sizeof *r);
    struct train_options o = dense_options("ref");
    struct train *t = rig_open(&o, 1);
    struct sample_thing bad[] = {{.text = "", .box = {0, 0, 1, 1}},
                                 {.text = "a", .box = {0, 0, NAN, 1}},
                                 {.text = "a", .box = {0.5f, 0, 0.4f, 1}}};
    rig_mixed(r, 3);
    for (size_t i = 0; i <= ARRAY_LEN(bad); i++) {
        struct train_loss loss;
        struct err e = {0};
        r->s.things = i < ARRAY_LEN(bad) ? &bad[i] : bad;
        r->s.n_things = i < ARRAY_LEN(bad) ? 1 : SAMPLE_THINGS_MAX + 1;
        CHECK_EQ(train_add(t, &r->s, &loss, &e), E_INVALID);
        CHECK_HAS(e.text, "thing");
    }
    CHECK_EQ(t->tree.added, 0);
    train_close(t);
    mem_free(r);
}

/* ---- what it weighs ---- */

/* A sample's questions packed, and one by one with the same things: the same loss and gradient. */
TEST(dense_weighs_as_the_answers_do) {
    struct rig_sample *r = mem_must(sizeof *r);
    struct train_options o = dense_options("cpu");
    struct train *t = rig_open(&o, 1);
    struct train_loss whole, loss;
    double sum = 0, worst = 0;
    rig_mixed(r, 5);
    rig_things(r);
    rig_features(r);
    r->s.n_talks = 9; /* all have a picture */
    stir_heads(t);
    rig_add(t, &r->s, &whole);
    float *packed = rig_grad(t), *plain = mem_must(t->params.floats * sizeof *plain);
    for (uint32_t i = 0; i < r->s.n_talks; i++) {
        struct sample one = r->s;
        one.talks = &r->talks[i];
        one.n_talks = 1;
        t->tree.added = t->tree.depth = 0;
        rig_add(t, &one, &loss);
        sum += dense_sum(&loss);
        float *g = rig_grad(t);
        for (size_t k = 0; k < t->params.floats; k++)
            plain[k] += g[k];
        mem_free(g);
    }
    CHECK_NEAR(sum, dense_sum(&whole), 1e-5 * sum);
    for (int i = 0; i < TRAIN_DENSE; i++)
        CHECK(whole.dense[i] > 0);
    for (int i = 0; i < t->params.n; i++) {
        double off = rig_off(&t->params.at[i], packed, plain);
        worst = off > worst ? off : worst;
    }
    CHECK(worst <= 1e-5);
    train_close(t);
    mem_free(packed);
    mem_free(plain);
    mem_free(r);
}

TEST(dense_has_the_same_bits_with_any_threads) {
    struct rig_sample *r = mem_must(sizeof *r);
    struct train_options o = dense_options("cpu");
    float *first = NULL;
    rig_mixed(r, 5);
    rig_things(r);
    rig_features(r);
    for (o.threads = 1; o.threads <= 3; o.threads++) {
        struct train *t = rig_open(&o, 1);
        stir_heads(t);
        rig_add(t, &r->s, NULL);
        float *g = rig_grad(t);
        if (first) CHECK_MEM(first, g, t->params.floats * sizeof *g);
        if (first) mem_free(g);
        if (!first) first = g;
        train_close(t);
    }
    mem_free(first);
    mem_free(r);
}

/* A new head sends nothing back: the model's own gradients are those without it. */
TEST(dense_leaves_a_model_alone_until_it_knows_something) {
    struct rig_sample *r = mem_must(sizeof *r);
    struct train_options o = rig_options("cpu");
    rig_mixed(r, 5);
    rig_things(r);
    rig_features(r);
    struct train *t = rig_open(&o, 1);
    rig_add(t, &r->s, NULL);
    float *plain = rig_grad(t);
    size_t n = t->params.floats;
    train_close(t);
    o = dense_options("cpu");
    t = rig_open(&o, 1);
    rig_add(t, &r->s, NULL);
    float *dense = rig_grad(t);
    CHECK(t->params.floats > n);
    CHECK_MEM(plain, dense, n * sizeof *plain);
    train_close(t);
    mem_free(plain);
    mem_free(dense);
    mem_free(r);
}

/* For the first steps the heads learn, and the model doesn't by them. */
TEST(dense_heads_learn_alone_at_first) {
    struct rig_sample *r = mem_must(sizeof *r);
    struct train_options o = rig_options("cpu");
    rig_mixed(r, 5);
    rig_things(r);
    rig_features(r);
    struct train *t = rig_open(&o, 1);
    rig_add(t, &r->s, NULL);
    float *plain = rig_grad(t);
    size_t n = t->params.floats;
    train_close(t);
    o = dense_options("cpu");
    o.dense_alone = 1;
    t = rig_open(&o, 1);
    stir_heads(t);
    rig_add(t, &r->s, NULL);
    float *alone = rig_grad(t);
    double heads = 0;
    for (size_t i = n; i < t->params.floats; i++)
        heads += fabs((double)alone[i]);
    CHECK(heads > 0);
    CHECK_MEM(plain, alone, n * sizeof *plain);
    t->steps = 1;
    t->tree.added = t->tree.depth = 0;
    rig_add(t, &r->s, NULL);
    float *both = rig_grad(t);
    CHECK(memcmp(plain, both, n * sizeof *plain) != 0);
    CHECK_MEM(alone + n, both + n, (t->params.floats - n) * sizeof *both);
    train_close(t);
    mem_free(plain);
    mem_free(alone);
    mem_free(both);
    mem_free(r);
}

/* ---- learning ---- */

TEST(dense_losses_fall) {
    struct rig_sample *r = mem_must(sizeof *r);
    struct train_options o = dense_options("cpu");
    struct train *t;
    struct train_loss before, behind;
    rig_mixed(r, 5);
    rig_things(r);
    rig_features(r);
    o.dense_rate = 4;
    t = rig_open(&o, 1);
    CHECK_EQ(train_judge(t, &r->s, &before, NULL), 0);
    for (int i = 0; i < 60; i++) {
        rig_add(t, &r->s, NULL);
        (void)rig_step(t);
    }
    CHECK_EQ(train_judge(t, &r->s, &behind, NULL), 0);
    for (int i = 0; i < TRAIN_DENSE; i++) {
        printf("%s: %g -> %g\n", train_dense_words[i], before.dense[i], behind.dense[i]);
        CHECK(behind.dense[i] < 0.6 * before.dense[i]);
    }
    train_close(t);
    mem_free(r);
}

/* Nothing is asked of text alone, or of a picture whose things nobody knows but its colours. */
TEST(dense_without_things_or_pictures) {
    struct rig_sample *r = mem_must(sizeof *r);
    struct train_options o = dense_options("ref");
    struct train *t = rig_open(&o, 2);
    struct train_loss loss;
    rig_mixed(r, 5);
    rig_add(t, &r->s, &loss);
    CHECK(loss.dense[TRAIN_DENSE_INSIDE] == 0 && loss.dense[TRAIN_DENSE_BOX] == 0);
    CHECK(loss.dense[TRAIN_DENSE_COLOUR] > 0);
    CHECK(loss.dense[TRAIN_DENSE_FEATURE] == 0);
    rig_empty(r, 5);
    rig_talk(r, SAMPLE_CHAT, 0, "hello", "you too");
    rig_things(r);
    rig_features(r);
    rig_add(t, &r->s, &loss);
    CHECK(dense_sum(&loss) == 0);
    CHECK(!rig_step(t).is_skipped);
    train_close(t);
    mem_free(r);
}

/* A new head says 0, so what it loses is the mean square of what was seen. */
TEST(dense_features_lose_their_mean_square) {
    struct rig_sample *r = mem_must(sizeof *r);
    for (size_t i = 0; i < ARRAY_LEN(rig_backends); i++) {
        struct train_options o = rig_options(rig_backends[i]);
        struct train_loss loss;
        double squares = 0, weight = 0;
        o.dense[TRAIN_DENSE_FEATURE] = 3;
        struct train *t = rig_open(&o, 1);
        rig_mixed(r, 5);
        rig_features(r);
        for (int k = 0; k < 16 * SAMPLE_FEATURES; k++)
            squares += (double)r->features[k] * (double)r->features[k];
        rig_add(t, &r->s, &loss);
        for (int k = 0; k < SAMPLE_TASKS; k++)
            weight += loss.weight[k];
        double want = 3 * weight * squares / (16 * SAMPLE_FEATURES);
        CHECK_NEAR(loss.dense[TRAIN_DENSE_FEATURE], want, 1e-5 * want);
        train_close(t);
    }
    mem_free(r);
}

/* ---- files ---- */

static void check_no_heads(const char *path, size_t want) {
    struct st *st;
    CHECK_EQ(st_open(path, &st, NULL), 0);
    CHECK_EQ(st_count(st), want);
    for (size_t i = 0; i < st_count(st); i++)
        CHECK(strncmp(st_at(st, i)->name, "dense.", 6) != 0);
    st_close(st);
}

TEST(dense_heads_are_not_exported) {
    char folder[] = "/tmp/dense-XXXXXX", path[160], command[160];
    struct st *base;
    CHECK(mkdtemp(folder) != NULL);
    CHECK_EQ(st_open(RIG_TINY "/model.safetensors", &base, NULL), 0);
    struct train_options o = dense_options("ref");
    struct train *t = rig_open(&o, 1);
    snprintf(path, sizeof path, "%s/model", folder);
    CHECK_EQ(train_export_model(t, path, NULL, NULL), 0);
    snprintf(path, sizeof path, "%s/model/model.safetensors", folder);
    check_no_heads(path, st_count(base));
    train_close(t);
    o.text = TRAIN_TEXT_FROZEN;
    t = rig_open(&o, 1);
    snprintf(path, sizeof path, "%s/adapter", folder);
    CHECK_EQ(train_export_adapter(t, path, NULL, NULL, NULL), 0);
    CHECK_EQ(train_import_adapter(t, path, NULL), 0);
    size_t heads = 0;
    for (int i = 0; i < t->params.n; i++)
        heads += (size_t)t->params.at[i].is_dense;
    CHECK_EQ(heads, 9);
    snprintf(path, sizeof path, "%s/adapter/overlay.safetensors", folder);
    check_no_heads(path, (size_t)t->params.n - heads);
    train_close(t);
    st_close(base);
    snprintf(command, sizeof command, "rm -r %s", folder);
    CHECK_EQ(system(command), 0);
}

/* ---- held attention, judged ---- */

TEST(judging_has_the_loss_of_held_attention) {
    struct rig_sample *r = mem_must(sizeof *r);
    static const uint8_t hold[16] = {0, 0, 1, 1, 1};
    rig_mixed(r, 5);
    r->talks[7].hold = hold;
    for (int i = 0; i < 3; i++) {
        struct train_options o = rig_options(rig_backends[i % 2]);
        struct train_loss learnt, judged;
        o.hold = 0.5f;
        o.hold_layer = i / 2;
        o.hold_heads = 3;
        o.recompute = i;
        struct train *t = rig_open(&o, 1);
        CHECK_EQ(train_judge(t, &r->s, &judged, NULL), 0);
        rig_add(t, &r->s, &learnt);
        CHECK(judged.hold > 0);
        CHECK_EQ(judged.hold == learnt.hold, 1);
        CHECK_EQ(judged.sum[SAMPLE_PIXELS] == learnt.sum[SAMPLE_PIXELS], 1);
        train_close(t);
    }
    mem_free(r);
}
