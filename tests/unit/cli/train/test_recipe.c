/* test_recipe.c - recipes: what is read, what is written again, and every way to be wrong. */
#include "cli/train/recipe.h"

#include <stdio.h>
#include <stdlib.h>

#include "cli/train/keys.h"
#include "tests/check.h"

#define LEAST "[stage a]\nsteps = 10\n[data d]\npath = p\n"

static int read_text(const char *text, struct recipe *out, struct err *e) {
    static const char *const at[] = {"PAIRS=/my/pairs", "EMPTY="};
    static const struct recipe_sets sets = {.at = at, .n = 2};
    return recipe_parse("own.ini", "/recipes", text, strlen(text), &sets, out, e);
}

TEST(recipe_reads) {
    struct recipe r;
    struct err e = {0};
    int rc = read_text("[run]\nmodel = ../m\nseed = 9\nexport = best\n"
                       "[stage one]\nsteps = 10\nlora_targets = q, down\nratio_pixels = 3\n"
                       "ratio_refer = 0\nsoft_refer = 1.5\nwarmup = 4\n"
                       "[stage two]\nsteps = 5\nlora_targets = down,q\ntower = yes\n"
                       "[data d]\npath = ${PAIRS}/a\ntasks = refer , pixels\n",
                       &r, &e);
    CHECK_STR(e.text, "");
    CHECK_EQ(rc, 0);
    CHECK_STR(r.run.model, "/recipes/../m");
    CHECK(!r.run.out);
    CHECK_EQ(r.run.seed, 9);
    CHECK_EQ(r.run.export_, RECIPE_BEST);
    CHECK_EQ(r.n_stages, 2);
    CHECK_STR(r.stages[1].name, "two");
    CHECK_EQ(r.stages[0].lora_targets, TRAIN_LORA_Q | TRAIN_LORA_DOWN);
    CHECK_NEAR(r.stages[0].ratio[SAMPLE_PIXELS], 3, 0);
    CHECK_NEAR(r.stages[0].ratio[SAMPLE_REFER], 0, 0);
    CHECK(r.stages[0].ratio[SAMPLE_VQA] < 0);
    CHECK_NEAR(r.stages[0].soft[SAMPLE_REFER], 1.5, 0);
    CHECK_STR(r.data[0].path, "/my/pairs/a");
    CHECK_EQ(r.data[0].tasks, 1 << SAMPLE_REFER | 1 << SAMPLE_PIXELS);
    CHECK_EQ(recipe_steps(&r), 15);
    recipe_shorten(&r, 5);
    CHECK_EQ(r.stages[0].steps, 5);
    CHECK_EQ(r.stages[0].warmup, 2);
    CHECK_EQ(r.stages[1].steps, 5);
    recipe_close(&r);
    recipe_close(&r);
}

TEST(recipe_has_defaults) {
    struct recipe r;
    CHECK_EQ(read_text(LEAST, &r, NULL), 0);
    CHECK_EQ(r.run.seed, 1);
    CHECK_EQ(r.run.checkpoint_every, 200);
    CHECK_EQ(r.data[0].tasks, -1);
    struct train_options o = recipe_train_options(&r, 0);
    CHECK_EQ(o.connector, 1);
    CHECK_EQ(o.tower, 0);
    CHECK_EQ(o.text, TRAIN_TEXT_LORA);
    CHECK_EQ(o.lora.targets, TRAIN_LORA_Q | TRAIN_LORA_V);
    CHECK_NEAR(o.lora.dropout, 0, 0);
    CHECK_NEAR(o.decay, 0.05, 1e-12);
    CHECK_EQ(o.rate.steps, 10);
    CHECK_EQ(recipe_samples(&r.stages[0]), 4);
    CHECK_EQ(recipe_questions(&r.stages[0]), 16);
    recipe_close(&r);
}

TEST(recipe_says_what_is_legal_and_how_it_is_asked) {
    struct recipe r;
    CHECK_EQ(read_text(LEAST, &r, NULL), 0);
    CHECK_EQ(recipe_train_options(&r, 0).is_legal, 0);
    CHECK_EQ(r.data[0].forms, 0);
    recipe_close(&r);
    CHECK_EQ(
        read_text("[stage a]\nsteps = 1\nlegal = yes\n[data d]\npath = p\nforms = one\n", &r, NULL),
        0);
    CHECK_EQ(recipe_train_options(&r, 0).is_legal, 1);
    CHECK_EQ(r.data[0].forms, 1);
    recipe_close(&r);
}

/* pack = no: as many questions, each of a picture of its own, and the paper's dropout. */
TEST(recipe_unpacks) {
    struct recipe r;
    CHECK_EQ(read_text("[stage a]\nsteps = 1\npack = no\n[data d]\npath = p\n", &r, NULL), 0);
    CHECK_EQ(recipe_samples(&r.stages[0]), 64);
    CHECK_EQ(recipe_questions(&r.stages[0]), 1);
    CHECK_NEAR(recipe_train_options(&r, 0).lora.dropout, 0.05, 1e-8);
    recipe_close(&r);
    CHECK_EQ(read_text("[stage a]\nsteps = 1\npack = no\nlora_dropout = 0\n[data d]\npath = p\n",
                       &r, NULL),
             0);
    CHECK_NEAR(recipe_train_options(&r, 0).lora.dropout, 0, 0);
    recipe_close(&r);
}

/* What is written is read again as the same recipe. */
TEST(recipe_writes_what_it_reads) {
    struct recipe a, b;
    struct buf text, again;
    char digest[2][65];
    CHECK_EQ(
        read_text("[run]\nvalidation = 0.3\n[stage a]\nsteps = 10\nrate = 0.1\nmix = steps\n"
                  "lora_targets = v\nratio_chat = 1e-3\n[data d]\npath = p\ntasks = chat, vqa\n"
                  "split = train\n",
                  &a, NULL),
        0);
    buf_init(&text, 1 << 20);
    buf_init(&again, 1 << 20);
    recipe_write(&a, 0, &text);
    struct err e = {0};
    int rc = read_text((const char *)text.p, &b, &e);
    CHECK_STR(e.text, "");
    CHECK_EQ(rc, 0);
    recipe_write(&b, 0, &again);
    CHECK_STR((const char *)again.p, (const char *)text.p);
    recipe_digest(&a, digest[0]);
    recipe_digest(&b, digest[1]);
    CHECK_STR(digest[0], digest[1]);
    buf_clear(&text);
    buf_clear(&again);
    recipe_close(&a);
    recipe_close(&b);
}

static void digest_of(const char *text, char hex[65]) {
    struct recipe r;
    CHECK_EQ(read_text(text, &r, NULL), 0);
    recipe_digest(&r, hex);
    recipe_close(&r);
}

/* The digest tells what changes the weights, and nothing else. */
TEST(recipe_digest_tells_weights) {
    char a[65], b[65];
    digest_of(LEAST, a);
    digest_of("[run]\nthreads = 2\ncheckpoint_every = 7\nout = x\n[stage a]\nsteps = 10\n"
              "recompute = 2\n[data d]\npath = elsewhere\n",
              b);
    CHECK_STR(a, b);
    digest_of("[stage a]\nsteps = 11\n[data d]\npath = p\n", b);
    CHECK(strcmp(a, b) != 0);
    digest_of("[run]\nseed = 2\n" LEAST, b);
    CHECK(strcmp(a, b) != 0);
}

static void check_bad(const char *text, const char *part) {
    struct recipe r;
    struct err e = {0};
    CHECK_EQ(read_text(text, &r, &e), E_FORMAT);
    CHECK_HAS(e.text, part);
}

TEST(recipe_refuses_sections) {
    check_bad("", "there is no [stage NAME]");
    check_bad("[stage a]\nsteps = 1\n", "there is no [data NAME]");
    check_bad("[stage a]\nsteps = 1\n[data d]\npath = p\nvalidation = yes\n",
              "there is no [data NAME] to learn from");
    check_bad("[stages a]\n", "own.ini:1: there is no section [stages]; there are [run]");
    check_bad("[stage]\nsteps = 1\n", "own.ini:1: [stage] needs a name: [stage NAME]");
    check_bad("[run x]\n", "own.ini:1: [run] takes no name");
    check_bad("[stage a]\n" LEAST, "stands here a second time");
    check_bad("[stage a]\n[data d]\npath = p\n", "own.ini:1: [stage a] needs a \"steps\"");
    check_bad("[stage a]\nsteps = 1\n[data d]\n", "own.ini:3: [data d] needs a \"path\"");
    char text[4000] = LEAST;
    for (int i = 0; i < RECIPE_STAGES_MAX; i++)
        snprintf(text + strlen(text), 40, "[stage s%d]\nsteps = 1\n", i);
    check_bad(text, "more [stage] than 32");
}

TEST(recipe_refuses_keys) {
    check_bad("[run]\nsede = 1\n" LEAST,
              "own.ini:2: [run] knows no \"sede\"; did you mean \"seed\"?");
    check_bad("[stage a]\nlora_targts = q\n", "did you mean \"lora_targets\"?");
    check_bad("[stage a]\nratio_pixel = 1\n", "did you mean \"ratio_pixels\"?");
    check_bad("[stage a]\nratio_ = 1\n", "[stage] knows no \"ratio_\"");
    check_bad("[data a]\nsteps = 1\n", "[data] knows no \"steps\"");
    check_bad("[run]\nxylophone_player = 1\n", "lammd train --keys lists all keys");
}

TEST(recipe_refuses_values) {
    check_bad("[stage a]\nsteps = 0\n", "own.ini:2: \"steps\": it takes a whole number from 1 on");
    check_bad("[stage a]\nsteps = 1.5\n", "not \"1.5\"");
    check_bad("[stage a]\nsteps = 0x10\n", "not \"0x10\"");
    check_bad("[stage a]\nsteps =\n", "not \"\"");
    check_bad("[stage a]\nrate = nan\n", "it takes a number from 0 to 1, not \"nan\"");
    check_bad("[stage a]\nrate = inf\n", "not \"inf\"");
    check_bad("[stage a]\nrate = 2\n", "not \"2\"");
    check_bad("[stage a]\nrate = 1e-5 1\n", "not \"1e-5 1\"");
    check_bad("[stage a]\ntower = true\n", "\"tower\": it takes one of no, yes, not \"true\"");
    check_bad("[stage a]\nlora_targets = q, x\n", "it takes some of q, k, v, o, gate, up, down");
    check_bad("[stage a]\nlora_targets = q v\n", "not \"q v\"");
    check_bad("[stage a]\nlora_targets =\n", "not \"\"");
    check_bad("[stage a]\nlora_targets = q,\n", "not \"q,\"");
    check_bad("[data d]\ntasks = pixel\n", "it takes some of pixels, mask");
    check_bad("[run]\ndevice =\n", "\"device\": a text is wanted");
    check_bad("[data d]\npath =\n", "\"path\": a path is wanted");
    check_bad("[data d]\npath = ${EMPTY}\n", "\"path\": a path is wanted");
    check_bad("[data d]\npath = ${PAIR}/x\n", "nothing is known of ${PAIR}: add --set PAIR=VALUE");
    check_bad("[data d]\npath = ${PAIRS\n", "${ without }");
    check_bad("[stage a]\nhold_heads = 4294967296\n", "from 0 to 4294967295");
}

static int read_with(const char *set, struct recipe *out, struct err *e) {
    static const char text[] = "[run]\nseed = 3\n[stage learn]\nsteps = 10\nrate = 0.5\n"
                               "[data d]\npath = ${PAIRS}/a\npictures = p\n";
    const char *const at[] = {"PAIRS=pairs", set};
    const struct recipe_sets sets = {at, 2, "/here"};
    return recipe_parse("own.ini", "/recipes", text, strlen(text), &sets, out, e);
}

/* Paths of the command line begin where it was typed, those of the recipe beside it. */
TEST(recipe_takes_keys_of_the_command_line) {
    struct recipe r;
    CHECK_EQ(read_with("learn.rate=0.25", &r, NULL), 0);
    CHECK_NEAR(r.stages[0].rate, 0.25, 0);
    CHECK_STR(r.data[0].path, "/here/pairs/a");
    CHECK_STR(r.data[0].pictures, "/recipes/p");
    recipe_close(&r);
    CHECK_EQ(read_with("run.seed=7", &r, NULL), 0);
    CHECK_EQ(r.run.seed, 7);
    recipe_close(&r);
    CHECK_EQ(read_with("d.path=b", &r, NULL), 0);
    CHECK_STR(r.data[0].path, "/here/b");
    recipe_close(&r);
    CHECK_EQ(read_with("FILE=a.b", &r, NULL), 0); /* no key: a name that nothing asks for */
    recipe_close(&r);

    const char *const bad[][2] = {
        {"lern.rate=1", "--set lern.rate=1: own.ini has no section \"lern\""},
        {"learn.rat=1", "[stage] knows no \"rat\"; did you mean \"rate\"?"},
        {"learn.rate=x", "--set learn.rate=x: own.ini:3: \"rate\": it takes a number"},
        {"learn.rate", "has no section"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err e = {0};
        CHECK(read_with(bad[i][0], &r, &e) != 0);
        CHECK(strstr(e.text, bad[i][1]));
        if (!strstr(e.text, bad[i][1])) puts(e.text);
    }
}

/* A tree of stages: whose result each begins with, and what it takes over. */
TEST(recipe_has_branches) {
    struct recipe r;
    struct err e = {0};
    CHECK_EQ(read_text("[stage a]\nsteps = 10\nwarmup = 3\ntext = full\nratio_refer = 2\n"
                       "[stage b]\nlike = a\nsteps = 7\n"
                       "[stage c]\nlike = b\nfrom = a\nratio_refer = 0\nratio_pixels = 1\n"
                       "[stage d]\nlike = c\n[data d]\npath = p\n",
                       &r, &e),
             0);
    CHECK_STR(e.text, "");
    static const int parents[] = {-1, 0, 0, 2}, steps[] = {10, 7, 7, 7};
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(r.stages[i].parent, parents[i]);
        CHECK_EQ(r.stages[i].steps, steps[i]);
        CHECK_EQ(r.stages[i].warmup, 3);
        CHECK_EQ(r.stages[i].text, TRAIN_TEXT_FULL);
        CHECK_NEAR(r.stages[i].ratio[SAMPLE_REFER], i < 2 ? 2 : 0, 0);
    }
    CHECK_STR(r.stages[3].name, "d");
    CHECK(!r.stages[3].from);
    struct buf text;
    buf_init(&text, 1 << 20);
    recipe_write(&r, 1, &text);
    CHECK(text.p && strstr((const char *)text.p, "from = a") &&
          !strstr((const char *)text.p, "like"));
    buf_clear(&text);
    recipe_close(&r);
}

TEST(recipe_refuses_what_cannot_be) {
    const char *data = "\n[data d]\npath = p\n";
    const struct {
        const char *stage, *text;
    } cases[] = {
        {"warmup = 10", "own.ini: [stage a]: \"warmup\" must be below \"steps\""},
        {"connector = no\ntext = frozen", "all frozen: nothing can learn"},
        {"ratio_pixels = 0", "every ratio is 0, so there is nothing to learn"},
        {"samples = 16384\npack = no", "samples * questions is over 16384"},
        {"dense_feature = 1", "\"dense_feature\" needs \"features\" in [run]"},
        {"text = lora\n[stage b]\nsteps = 1\ntext = full",
         "[stage b]: the stage it begins with has a LoRA"},
        {"[stage b]\nsteps = 1\nlora_r = 8", "needs the same lora_r"},
        {"[stage b]\nsteps = 1\nfrom = c", "[stage b]: \"from\" doesn't name a stage before it"},
        {"[stage b]\nsteps = 1\nfrom = b", "\"from\" doesn't name a stage before it"},
        {"from = a", "[stage a]: \"from\" doesn't name a stage before it"},
        {"[stage b]\nlike = b", "own.ini:4: \"like\": no stage before is \"b\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[400];
        snprintf(text, sizeof(text), "[stage a]\nsteps = 10\n%s%s", cases[i].stage, data);
        check_bad(text, cases[i].text);
    }
}

/* Each key's bounds and default are accepted, and what lies outside is not. */
TEST(recipe_keys_have_true_bounds) {
    size_t n;
    const struct key *all = keys_all(&n);
    union {
        struct recipe_run run;
        struct recipe_stage stage;
        struct recipe_data data;
    } fields;
    CHECK(n > 50);
    for (size_t i = 0; i < n; i++) {
        const struct key *k = &all[i];
        char value[40];
        int task;
        const char *name = k->kind == KEY_BY_TASK ? "ratio_refer" : k->name;
        if (k->kind != KEY_BY_TASK) CHECK(keys_find(k->in, name, &task) == k);
        if (k->kind != KEY_WHOLE && k->kind != KEY_REAL && k->kind != KEY_BY_TASK) continue;
        keys_start(k->in, &fields);
        snprintf(value, sizeof(value), "%.17g", k->least);
        CHECK_EQ(keys_read(k, 0, value, &fields, NULL), 0);
        snprintf(value, sizeof(value), "%.17g", k->least - 1);
        CHECK_EQ(keys_read(k, 0, value, &fields, NULL), E_INVALID);
        snprintf(value, sizeof(value), "%.0f", k->most * 2 + 1);
        CHECK_EQ(keys_read(k, 0, value, &fields, NULL), E_INVALID);
    }
}

/* The recipes that come with the program can be read. */
TEST(recipe_reads_those_that_ship) {
    static const char *const names[] = {
        "own", "pae-lamm", "segment", "car-racing", "space-invaders", "lamm-mini", "ablation"};
    static const char *const at[] = {"DATA=/data", "PAIRS=/pairs"};
    static const struct recipe_sets sets = {.at = at, .n = 2};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct recipe r;
        struct err e = {0};
        char path[80];
        snprintf(path, sizeof(path), "recipes/%s.ini", names[i]);
        (void)recipe_open(path, &sets, &r, &e);
        CHECK_STR(e.text, "");
        CHECK(r.data[0].path[0] == '/');
        recipe_close(&r);
    }
}

/* The paper's figures: docs/model.md section 6. */
TEST(recipe_of_the_paper) {
    static const char *const at[] = {"DATA=/data"};
    static const struct recipe_sets sets = {.at = at, .n = 1};
    struct recipe r;
    CHECK_EQ(recipe_open("recipes/pae-lamm.ini", &sets, &r, NULL), 0);
    double asked = 0;
    for (int i = 0; i < r.n_stages; i++) {
        const struct recipe_stage *s = &r.stages[i];
        double sum = 0;
        for (int t = 0; t < SAMPLE_TASKS; t++)
            sum += s->ratio[t] > 0 ? s->ratio[t] : 0;
        asked += s->ratio[SAMPLE_PIXELS] / sum * (double)(s->steps * s->samples * s->questions);
        CHECK_EQ(s->tower, i == 1);
        CHECK_EQ(s->lora_r, 64);
        CHECK_EQ(s->samples * s->questions, i == 1 ? 4 * 16 : 4 * 64); /* of four cards */
    }
    CHECK_EQ(r.n_stages, 3);
    CHECK_NEAR(asked, 3.6e6, 0.02e6);
    recipe_close(&r);
}
