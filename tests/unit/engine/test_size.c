/* test_size.c - engines under a cap of device memory: what nobody chose shrinks and the answers stay the same;
 * what somebody chose is refused with the need; below the least, nothing opens and nothing stays. And the
 * shape without weights: its prompts have the spec's numbers of tokens. */
#include "engine/unit.h"
#include "kernels/base/mem.h"
#include "tests/check.h"
#include "tests/unit/engine/eng_rig.h"

static int open_with(struct eng_options o, uint64_t cap, struct eng **e, struct err *err) {
    *err = (struct err){0};
    o.backend = eng_rig_backend();
    o.threads = 1;
    o.memory_max = cap;
    return eng_open(&o, e, err);
}

/* The smallest cap, to 4 KiB, with which it opens. */
static uint64_t least_cap(const char *dir) {
    uint64_t low = 0, high = (uint64_t)1 << 30;
    while (high - low > 4096) {
        uint64_t middle = low + (high - low) / 2;
        struct eng *e = NULL;
        struct err err;
        struct mem_stats before, after;
        mem_stats(&before);
        int rc = open_with((struct eng_options){.model_dir = dir}, middle, &e, &err);
        CHECK(rc == 0 || rc == E_NOMEM);
        CHECK_EQ(rc == 0, e != NULL);
        CHECK_EQ(err.code, rc);
        eng_close(e);
        mem_stats(&after);
        CHECK_EQ(after.live_bytes, before.live_bytes);
        *(rc ? &low : &high) = middle;
    }
    return high;
}

/* Rows and slots are fewer under the cap, and it holds. */
static void check_smaller(const char *dir, uint64_t cap) {
    struct kern_choice c;
    struct unit *roomy, *tight;
    struct kern_stats s;
    struct eng_options o = {.model_dir = dir, .threads = 1};
    CHECK_EQ(kern_choose(eng_rig_backend(), NULL, &c, NULL), 0);
    CHECK_EQ(unit_open(&o, c.ops, &roomy, NULL), 0);
    o.memory_max = cap;
    CHECK_EQ(unit_open(&o, c.ops, &tight, NULL), 0);
    CHECK(tight->size.rows < roomy->size.rows);
    CHECK(tight->size.runs + tight->size.singles < roomy->size.runs + roomy->size.singles);
    tight->ops->stats(tight->kern, &s);
    CHECK(s.peak_bytes <= cap);
    unit_close(tight);
    unit_close(roomy);
}

TEST_LIMIT(size_shrinks_to_the_cap_and_answers_the_same, 120) {
    static const char *const dirs[] = {TINY, TINY_DIGITS};
    for (int m = 0; m < 2; m++) {
        uint64_t least = least_cap(dirs[m]);
        struct eng_answer want[ENG_RIG_ALL], got[ENG_RIG_ALL];
        struct eng *roomy = eng_rig_open(&(struct eng_options){.model_dir = dirs[m]}), *tight;
        struct err err;
        struct eng_image *picture = eng_rig_picture(roomy, 7);
        eng_rig_ask_all(roomy, picture, ENG_MODE, 1, want);
        eng_image_put(picture);
        CHECK_EQ(open_with((struct eng_options){.model_dir = dirs[m]}, least, &tight, &err), 0);
        check_smaller(dirs[m], least);
        for (int i = 0; i < 3; i++) { /* more pictures than the pool holds stems */
            picture = eng_rig_picture(tight, 7 + i);
            eng_rig_ask_all(tight, picture, ENG_MODE, 1, got);
            eng_image_put(picture);
        }
        picture = eng_rig_picture(tight, 7);
        eng_rig_ask_all(tight, picture, ENG_MODE, 1, got);
        CHECK(eng_rig_same(got, want, ENG_RIG_ALL));
        eng_image_put(picture);
        eng_close(tight);
        eng_close(roomy);
    }
}

static int likes_2048(const struct kern *k) { return (void)k, 2048; }

/* Rows that nobody chose are the device's own; they shrink by halves, and lanes with them. */
TEST(size_takes_the_rows_that_the_device_likes) {
    static const struct {
        int rows_max, width, rows, lanes;
    } cases[] = {{0, 0, 2048, 2048},
                 {0, 64, 2048, 64},
                 {0, 3000, 3000, 3000},
                 {600, 0, 600, 600},
                 {4096, 3000, 4096, 3000}};
    struct kern_choice c;
    struct unit *u;
    CHECK_EQ(kern_choose(eng_rig_backend(), NULL, &c, NULL), 0);
    struct kern_ops ops = *c.ops;
    ops.pass_rows = likes_2048;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct eng_options o = {.model_dir = TINY,
                                .threads = 1,
                                .rows_max = cases[i].rows_max,
                                .width = cases[i].width};
        CHECK_EQ(unit_open(&o, &ops, &u, NULL), 0);
        CHECK_EQ(u->size.rows, cases[i].rows);
        CHECK_EQ(u->size.lanes, cases[i].lanes);
        unit_close(u);
    }
    int last = 2048, halved = 0;
    for (uint64_t cap = least_cap(TINY) * 32; halved < 2; cap = cap / 8 * 7) {
        struct eng_options o = {.model_dir = TINY, .threads = 1, .memory_max = cap};
        CHECK_EQ(unit_open(&o, &ops, &u, NULL), 0);
        CHECK(u->size.lanes <= u->size.rows);
        CHECK(u->size.rows == last || u->size.rows == last / 2);
        halved += u->size.rows < last;
        last = u->size.rows;
        unit_close(u);
    }
}

TEST(size_says_how_much_is_needed) {
    struct eng *e = NULL;
    struct err err;
    CHECK_EQ(open_with((struct eng_options){.model_dir = TINY}, 1000, &e, &err), E_NOMEM);
    CHECK_HAS(err.text, "the weights take");
    uint64_t least = least_cap(TINY);
    CHECK_EQ(open_with((struct eng_options){.model_dir = TINY}, least - 8192, &e, &err), E_NOMEM);
    CHECK_HAS(err.text, "are needed in all");
    /* What was chosen is not cut down. */
    static const struct eng_options chosen[] = {{.model_dir = TINY, .rows_max = 4096},
                                                {.model_dir = TINY, .width = 4096},
                                                {.model_dir = TINY, .kv_tokens = 1 << 20}};
    for (size_t i = 0; i < ARRAY_LEN(chosen); i++) {
        CHECK_EQ(open_with(chosen[i], least + 8192, &e, &err), E_NOMEM);
        CHECK_HAS(err.text, i == 2 ? "1048576 KV slots" : "4096 rows");
    }
    CHECK(e == NULL);
}

/* The arithmetic of a whole picture at full scale: 273 tokens that all pixels share, 21 to 23 behind the picture in front of the
 * answer, a tree of 36,992 nodes, 10 tokens of an answer that are run. */
TEST(size_of_the_paper_s_prompts) {
    static const char dir[] = "models/shapes/pae-lamm-7b";
    struct model_config c;
    struct sptok *t;
    struct forms *f;
    struct pixels *p;
    CHECK_EQ(model_read_config(dir, &c, NULL), 0);
    CHECK_EQ(sptok_open("models/shapes/pae-lamm-7b/tokenizer.model", &t, NULL), 0);
    CHECK_EQ(forms_new(t, c.text.vocab_size, &f, NULL), 0);
    CHECK_EQ(pixels_new(&c, t, f->g[FORM_COLOUR], &p, NULL), 0);
    CHECK_EQ(c.n_image_tokens, 256);
    CHECK_EQ(p->form.stem_tokens, 273);
    CHECK_EQ(p->text_max,
             13 + 1); /* the answer's first token is forced, and stands with the text */
    CHECK_EQ(p->tree_tokens, 273 + 36992 + 4096);
    pixels_free(p);
    forms_free(f);
    sptok_close(t);
}

TEST(size_of_seeded_weights_runs) {
    struct eng *e = NULL;
    struct err err;
    struct eng_options o = {.model_dir = TINY, .is_seeded = 1, .seed = 4};
    struct eng_answer first[ENG_RIG_ALL], second[ENG_RIG_ALL];
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(open_with(o, 0, &e, &err), 0);
        struct eng_image *picture = eng_rig_picture(e, 1);
        eng_rig_ask_all(e, picture, ENG_MODE, 0, i ? second : first);
        eng_image_put(picture);
        eng_close(e);
    }
    CHECK(eng_rig_same(first, second, ENG_RIG_ALL));
}

/* Other answers, the same on each backend but for rounding; another digest; told in the log's line. */
TEST(fp8_decoder_is_another_model) {
    struct eng *plain, *fp8;
    struct err err;
    struct eng_answer a[ENG_RIG_ALL], b[ENG_RIG_ALL], c[ENG_RIG_ALL];
    CHECK_EQ(open_with((struct eng_options){.model_dir = TINY}, 0, &plain, &err), 0);
    CHECK_EQ(open_with((struct eng_options){.model_dir = TINY, .as_fp8 = 1}, 0, &fp8, &err), 0);
    CHECK(strcmp(eng_info(plain)->digest, eng_info(fp8)->digest) != 0);
    CHECK_EQ(strlen(eng_info(fp8)->digest), 64);
    CHECK_HAS(eng_info(fp8)->backend, "fp8");
    CHECK_EQ(eng_info(plain)->parameters, eng_info(fp8)->parameters);
    struct eng_image *picture = eng_rig_picture(fp8, 1);
    eng_rig_ask_all(plain, picture, ENG_MODE, 1, a);
    eng_rig_ask_all(fp8, picture, ENG_MODE, 1, b);
    CHECK(!eng_rig_same(a, b, ENG_RIG_ALL));
    eng_close(fp8);
    struct eng_options one = {.model_dir = TINY, .as_fp8 = 1, .width = 1};
    CHECK_EQ(open_with(one, 0, &fp8, &err), 0);
    eng_rig_ask_all(fp8, picture, ENG_MODE, 1, c); /* by itself or among others */
    CHECK(eng_rig_same(b, c, ENG_RIG_ALL));
    eng_image_put(picture);
    eng_close(fp8);
    eng_close(plain);
}
