/* test_recipe.c - a base recipe and what was asked, as one text. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "jobs/recipe.h"
#include "tests/check.h"

static const char base[] =
    "[run]\ncheckpoint_every = 100 # steps\njudge_every = 50\nresult = both\n"
    "[stage learn]\nsteps = 400\nsamples = 4\nwarmup = 20\nrate = 1e-3\n"
    "rate_end = 1e-5\nlora_r = 16\nlora_alpha = 32\nratio_refer = 1\n"
    "ratio_vqa = 2\n[data pairs]\npath = ${PAIRS}\njitter = 0.1\n"
    "[data more]\npath = x\n";

static struct recipe_ask ask_of(void) {
    return (struct recipe_ask){.how = {.recipe = "own"},
                               .seed = 7,
                               .model = "/m",
                               .device = "cpu",
                               .threads = 1,
                               .training = "train.tar"};
}

TEST(recipe_of_a_job) {
    struct recipe_ask ask = ask_of();
    struct jobs_how how;
    struct buf out;
    const char *param = NULL;
    buf_init(&out, 1 << 16);
    ask.pictures = 200;
    ask.validation = "check.jsonl";
    ask.how.multiplier = 0.5;
    snprintf(ask.how.tasks, sizeof(ask.how.tasks), "vqa");
    CHECK_EQ(recipe_make(base, sizeof(base) - 1, &ask, &how, &param, &out, NULL), 0);
    const char *text = (const char *)out.p;
    CHECK_EQ(how.steps, 400); /* 8 epochs of 200 pictures, 4 a step */
    CHECK_NEAR(how.epochs, 8, 1e-9);
    CHECK_EQ(how.lora_r, 16);
    CHECK_HAS(text, "seed = 7\n");
    CHECK_HAS(text, "result = adapter\n");
    CHECK_HAS(text, "rate = 0.0005\n");
    CHECK_HAS(text, "checkpoint_every = 40\n");
    CHECK_HAS(text, "judge_every = 50\n");
    CHECK_HAS(text, "validation = 0\n");
    CHECK_HAS(text, "[data train]\npath = train.tar\njitter = 0.1\ntasks = vqa\n");
    CHECK_HAS(text,
              "[data check]\npath = check.jsonl\njitter = 0.1\ntasks = vqa\nvalidation = yes\n");
    CHECK(!strstr(text, "ratio_refer") && strstr(text, "ratio_vqa = 2") && !strstr(text, "PAIRS"));
    CHECK(!strstr(text, "result = both") && !strstr(text, "more"));
    buf_clear(&out);
}

TEST(recipe_length) {
    static const struct {
        double epochs;
        int64_t steps, batch, pictures, want;
    } cases[] = {{0, 0, 0, 0, 0},    {0, 30, 0, 0, 30},    {2, 0, 0, 100, 50}, {2, 0, 10, 101, 21},
                 {0, 0, 0, 10, 100}, {0, 0, 0, 9999, 400}, {1, 0, 0, 1, 1}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct recipe_ask ask = ask_of();
        struct jobs_how how;
        struct buf out;
        const char *param;
        buf_init(&out, 1 << 16);
        ask.how.epochs = cases[i].epochs;
        ask.how.steps = cases[i].steps;
        ask.how.batch = cases[i].batch;
        ask.pictures = cases[i].pictures;
        CHECK_EQ(recipe_make(base, sizeof(base) - 1, &ask, &how, &param, &out, NULL), 0);
        CHECK_EQ(how.steps, cases[i].want);
        buf_clear(&out);
    }
}

/* `pack` is one word in the recipe and in the job: are the questions packed? */
TEST(recipe_packs_as_it_says) {
    static const struct {
        const char *base;
        int asked, want;
        const char *says;
    } cases[] = {
        {"[stage a]\nsteps = 3\n", 0, 1, "\npack = yes\n"},
        {"[stage a]\nsteps = 3\npack = no\n", 0, -1, "\npack = no\n"},
        {"[stage a]\nsteps = 3\npack = no\n", 1, 1, "\npack = yes\n"},
        {"[stage a]\nsteps = 3\n", -1, -1, "\npack = no\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct recipe_ask ask = ask_of();
        struct jobs_how how;
        struct buf out;
        const char *param, *text = cases[i].base;
        buf_init(&out, 1 << 16);
        ask.how.pack = cases[i].asked;
        CHECK_EQ(recipe_make(text, strlen(text), &ask, &how, &param, &out, NULL), 0);
        CHECK_EQ(how.pack, cases[i].want);
        CHECK_HAS((const char *)out.p, cases[i].says);
        buf_clear(&out);
    }
}

TEST(recipe_that_is_none_for_jobs) {
    static const char *const bad[] = {"",
                                      "[run]\n",
                                      "[stage a]\nsteps = 3\n[stage b]\nsteps = 3\n",
                                      "[stage a]\nsteps = 0\n",
                                      "steps = 3\n",
                                      "[stage a\n",
                                      "[stage a]\nsteps\n",
                                      "[stage a]\nsteps = 3\ntext = full\n"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct recipe_ask ask = ask_of();
        struct jobs_how how;
        struct buf out;
        struct err e = {0};
        const char *param;
        buf_init(&out, 1 << 16);
        ask.pictures = 3;
        CHECK_EQ(recipe_make(bad[i], strlen(bad[i]), &ask, &how, &param, &out, &e), E_FORMAT);
        CHECK_HAS(e.text, "not one for jobs");
        buf_clear(&out);
    }
}

/* A folder with one recipe; what it says of itself. */
static int look_at(const char *text, struct jobs_recipe *out, struct err *e) {
    char dir[] = "/tmp/lammd-recipe-XXXXXX", path[64];
    CHECK(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/own.ini", dir);
    FILE *f = fopen(path, "w");
    CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0);
    int rc = recipe_look(dir, "own", out, e);
    CHECK_EQ(recipe_look(dir, "../own", out + 1, NULL), E_INVALID);
    CHECK_EQ(recipe_look(dir, "none", out + 1, NULL), E_NOT_FOUND);
    unlink(path);
    rmdir(dir);
    return rc;
}

TEST(recipe_says_what_it_is) {
    static const char *const cases[][2] = {
        {"# own.ini - things of\n# your own. And more.\n", "things of your own."},
        {"# own.ini - one line\n#\n# another\n", "one line"},
        {"# no name: it teaches\n", "no name: it teaches"},
        {"# own.ini - \"quoted\" \x01\xff\xc3\n", "\"quoted\" "},
        {"#\n", ""},
        {"", ""},
        {"\n# behind\n", ""}};
    struct jobs_recipe r[2];
    struct err e = {0};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[1000];
        snprintf(text, sizeof(text), "%s%s", cases[i][0], base);
        CHECK_EQ(look_at(text, r, &e), 0);
        CHECK_STR(r->about, cases[i][1]);
        CHECK_STR(r->how.recipe, "own");
        CHECK_EQ(r->how.steps, 400);
        CHECK_NEAR(r->aside, 0.1, 1e-9);
    }
    CHECK_EQ(look_at("[stage a]\nsteps = 1\ntext = full\n", r, &e), E_FORMAT);
    CHECK_EQ(look_at("[stage a]\n[stage b]\n", r, NULL), E_FORMAT);
}
