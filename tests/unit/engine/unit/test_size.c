/* test_size.c - engines under a cap of device memory: sizes that are 0 shrink and the answers
 * stay the same; given sizes are refused with the need; below the least, nothing opens and
 * nothing stays. And the paper's shape, without weights: its prompts have the numbers of tokens of
 * docs/model.md sections 4.2 and 8. */
#include <stdio.h>

#include "engine/picture/picture.h"
#include "engine/unit/unit.h"
#include "kernels/base/mem.h"
#include "tests/check.h"
#include "tests/unit/engine/eng_rig.h"

static int open_with(struct eng_options o, uint64_t cap, struct eng **e, struct err *err) {
    *err = (struct err){0};
    o.device = eng_rig_backend();
    o.threads = 1;
    o.memory = cap;
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
        int rc = open_with((struct eng_options){.model = dir}, middle, &e, &err);
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
    struct eng_options o = {.model = dir, .threads = 1};
    CHECK_EQ(kern_choose(eng_rig_backend(), NULL, &c, NULL), 0);
    CHECK_EQ(unit_open(&o, c.ops, &roomy, NULL), 0);
    o.memory = cap;
    CHECK_EQ(unit_open(&o, c.ops, &tight, NULL), 0);
    CHECK(tight->size.rows < roomy->size.rows);
    CHECK(tight->size.range_slots + tight->size.single_slots <
          roomy->size.range_slots + roomy->size.single_slots);
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
        struct eng *roomy = eng_rig_open(&(struct eng_options){.model = dirs[m]}), *tight;
        struct err err;
        struct eng_picture *picture = eng_rig_picture(roomy, 7);
        eng_rig_ask_all(roomy, picture, ENG_MODE, 1, want);
        eng_picture_put(picture);
        CHECK_EQ(open_with((struct eng_options){.model = dirs[m]}, least, &tight, &err), 0);
        check_smaller(dirs[m], least);
        for (int i = 0; i < 3; i++) { /* more pictures than the pool holds stems */
            picture = eng_rig_picture(tight, 7 + i);
            eng_rig_ask_all(tight, picture, ENG_MODE, 1, got);
            eng_picture_put(picture);
        }
        picture = eng_rig_picture(tight, 7);
        eng_rig_ask_all(tight, picture, ENG_MODE, 1, got);
        CHECK(eng_rig_same(got, want, ENG_RIG_ALL));
        eng_picture_put(picture);
        eng_close(tight);
        eng_close(roomy);
    }
}

TEST(size_says_how_much_is_needed) {
    struct eng *e = NULL;
    struct err err;
    CHECK_EQ(open_with((struct eng_options){.model = TINY}, 1000, &e, &err), E_NOMEM);
    CHECK_HAS(err.text, "the weights take");
    uint64_t least = least_cap(TINY);
    CHECK_EQ(open_with((struct eng_options){.model = TINY}, least - 8192, &e, &err), E_NOMEM);
    CHECK_HAS(err.text, "are needed in all");
    /* What was chosen is not cut down. */
    static const struct eng_options chosen[] = {{.model = TINY, .rows = 4096},
                                                {.model = TINY, .lanes = 4096},
                                                {.model = TINY, .kv_tokens = 1 << 20}};
    for (size_t i = 0; i < ARRAY_LEN(chosen); i++) {
        CHECK_EQ(open_with(chosen[i], least + 8192, &e, &err), E_NOMEM);
        CHECK_HAS(err.text, i == 2 ? "1048576 KV slots" : "4096 rows");
    }
    CHECK(e == NULL);
}

/* ---- the paper's shape ---- */

/* What asking takes of an engine, without one. */
struct paper {
    struct model_config c;
    struct sptok *t;
    struct kinds *f;
    struct pixels *p;
    struct asker asker;
    struct eng_picture *picture;
};

static void paper_open(struct paper *a) {
    static const char dir[] = "models/shapes/pae-lamm-7b";
    static const uint8_t rgb[3];
    CHECK_EQ(model_read_config(dir, &a->c, NULL), 0);
    CHECK_EQ(sptok_open("models/shapes/pae-lamm-7b/tokenizer.model", &a->t, NULL), 0);
    CHECK(sptok_size(a->t) <= a->c.text.vocab_size);
    CHECK_EQ(sptok_bos(a->t), a->c.text.bos_id);
    CHECK_EQ(sptok_eos(a->t), a->c.text.eos_id);
    CHECK_EQ(a->c.text.vocab_size, 32000);
    CHECK_EQ(a->c.n_image_tokens, 256);
    CHECK_EQ(kinds_new(a->t, a->c.text.vocab_size, &a->f, NULL), 0);
    for (int k = 0; k < KIND_NUMBERS; k++)
        CHECK(lane_can_walk(a->f->g[k]));
    CHECK_EQ(pixels_new(&a->c, a->t, a->f->g[KIND_COLOUR], &a->p, NULL), 0);
    const struct picture_sizes sizes = {a->c.vision.image_size, a->c.pixel_grid, "paper"};
    CHECK_EQ(picture_new(&sizes, rgb, 1, 1, &a->picture, NULL), 0);
    a->asker = (struct asker){&a->c, a->t, a->f, a->p, LANE_CHOICE_MAX + 1};
}

static void paper_close(struct paper *a) {
    eng_picture_put(a->picture);
    pixels_free(a->p);
    kinds_free(a->f);
    sptok_close(a->t);
}

/* A job about n pictures and, where its answers have places, the whole grid. */
static struct eng_job *paper_ask(const struct paper *a, enum eng_task task, uint32_t n,
                                 const char *text) {
    struct eng_picture *images[ENG_PICTURES_MAX];
    struct eng_point points[64 * 64];
    for (uint32_t i = 0; i < n; i++)
        images[i] = a->picture;
    for (uint16_t i = 0; i < ARRAY_LEN(points); i++)
        points[i] = (struct eng_point){i % 64, i / 64};
    struct eng_ask ask = {.task = task,
                          .pictures = images,
                          .n_pictures = n,
                          .text = text,
                          .points = points,
                          .n_points = ARRAY_LEN(points)};
    struct eng_job *j;
    struct err e = {0};
    if (ask_job(&a->asker, &ask, &j, &e)) test_failed(__FILE__, __LINE__, "%s", e.text);
    return j;
}

static void paper_forget(struct eng_job *j) {
    eng_job_put(j);
    job_put(j);
}

/* Rows behind the stem until each leaf has its first pick: the tree, and what its answers are
 * forced to begin with. */
static int32_t first_rows(const struct paper *a, const struct eng_job *j) {
    struct lanes ls = {.of = {[KIND_BIT].g = a->f->g[KIND_BIT],
                              [KIND_DRIVE].g = a->f->g[KIND_DRIVE],
                              [KIND_SHOOT].g = a->f->g[KIND_SHOOT]}};
    int32_t rows = j->tree.branch_tokens;
    for (int32_t i = 0; i < j->tree.n_leaves; i++)
        rows += lane_first_rows(&ls, j, i);
    return rows;
}

/* 273 tokens that all pixels share; behind them 11 to 13, which are 51,968 one by one and a tree of
 * 36,992. */
TEST(size_of_the_paper_s_pictures) {
    struct paper a;
    int32_t one_by_one = 0;
    paper_open(&a);
    CHECK_EQ(a.p->questions.stem_tokens, 273);
    CHECK_EQ(a.p->text_max, 13);
    for (int i = 0; i < a.p->questions.n_texts; i++)
        one_by_one += a.p->questions.texts[i].n;
    CHECK_EQ(one_by_one, 51968);
    CHECK_EQ(a.p->tree_tokens, 273 + 36992);
    paper_close(&a);
}

/* A sentence of three words, the one that `lammd bench pix4096` asks: 276 tokens, a tree of 32,896,
 * and the answer's forced space at each place: 36,992 rows behind the stem. The pick behind it is
 * the answer: no decode step. */
TEST(size_of_the_paper_s_masks) {
    struct paper a;
    paper_open(&a);
    struct eng_job *j = paper_ask(&a, ENG_SEGMENT, 1, "the red circle");
    CHECK_EQ(j->stem_tokens, 276);
    CHECK_EQ(j->tree.n_leaves, 4096);
    CHECK_EQ(j->tree.branch_tokens + j->tree.tail_tokens, 32896);
    CHECK_EQ(first_rows(&a, j), 36992);
    CHECK_EQ(a.f->g[KIND_BIT]->depth_max, 2);
    paper_forget(j);
    paper_close(&a);
}

/* Prompts with all their frames. The answer's forced first token, `[` or a space, is one row
 * more. */
TEST(size_of_the_paper_s_acts) {
    struct paper a;
    paper_open(&a);
    struct eng_job *drive = paper_ask(&a, ENG_DRIVE, ENG_DRIVE_FRAMES, NULL);
    struct eng_job *shoot = paper_ask(&a, ENG_SHOOT, ENG_SHOOT_FRAMES, NULL);
    CHECK_EQ(drive->prompt_tokens, 631);
    CHECK_EQ(shoot->prompt_tokens, 1168);
    CHECK_EQ((int32_t)drive->stem_tokens + first_rows(&a, drive), 631 + 1);
    CHECK_EQ((int32_t)shoot->stem_tokens + first_rows(&a, shoot), 1168 + 1);
    paper_forget(drive);
    paper_forget(shoot);
    paper_close(&a);
}

/* The pieces of a text with a bar between them; it reads as it was written. */
static const char *cut(const struct sptok *t, const char *text) {
    static char bars[1024];
    char back[256];
    int32_t ids[256];
    size_t n, len, at = 0;
    CHECK_EQ(sptok_encode(t, text, strlen(text), SPTOK_PREFIX, ids, ARRAY_LEN(ids), &n, NULL), 0);
    CHECK_EQ(sptok_decode(t, ids, n, back, sizeof back, &len, NULL), 0);
    CHECK_STR(back, text);
    for (size_t i = 0; i < n; i++)
        at += (size_t)snprintf(bars + at, sizeof bars - at, "%s%s", i ? "|" : "",
                               sptok_piece(t, ids[i]));
    return bars;
}

/* Piece by piece where docs/model.md section 4.2 lists the pieces; any other text in some way. */
TEST(size_of_the_paper_s_pieces) {
#define S "\xe2\x96\x81"
    static const char *const cases[][2] = {
        {"[INST] <Img>", S "[|INST|]|" S "<|Img|>"},
        {"</Img><Img>", S "</|Img|><|Img|>"},
        {"</Img> [reconstruct] loc: [12,34] rgb: [/INST]",
         S "</|Img|>|" S "[|re|construct|]|" S "loc|:|" S "[|1|2|,|3|4|]|" S "rg|b|:|" S
           "[|/|INST|]"},
        {"mask: [/INST]", S "mask|:|" S "[|/|INST|]"},
        {"mask:  [/INST]", S "mask|:|" S "|" S "[|/|INST|]"},
        {"mask:   [/INST]", S "mask|:|" S S "|" S "[|/|INST|]"},
        {"[31,6,108]", S "[|3|1|,|6|,|1|0|8|]"},
        {"0", S "|0"},
        {"{<12><3><100><99>}", S "{|<|1|2|><|3|><|1|0|0|><|9|9|>|}"},
        {"yes", S "yes"},
    };
#undef S
    struct paper a;
    paper_open(&a);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        CHECK_STR(cut(a.t, cases[i][0]), cases[i][1]);
    CHECK_HAS(cut(a.t, "Sch\xc3\xb6ne gr\xc3\xbc\xc3\x9f\x65, \xe7\x8c\xab!\t2 \xf0\x9f\x99\x82"),
              "<0xE7>|<0x8C>|<0xAB>|!|<0x09>|2|");
    paper_close(&a);
}

/* ---- weights that are not the file's ---- */

TEST(size_of_seeded_weights_runs) {
    struct eng *e = NULL;
    struct err err;
    struct eng_options o = {.model = TINY, .is_seeded = 1, .seed = 4};
    struct eng_answer first[ENG_RIG_ALL], second[ENG_RIG_ALL];
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(open_with(o, 0, &e, &err), 0);
        struct eng_picture *picture = eng_rig_picture(e, 1);
        eng_rig_ask_all(e, picture, ENG_MODE, 0, i ? second : first);
        eng_picture_put(picture);
        eng_close(e);
    }
    CHECK(eng_rig_same(first, second, ENG_RIG_ALL));
}

/* Other answers, the same on each backend but for rounding; another digest; named in the log's
 * line. */
TEST(fp8_decoder_is_another_model) {
    struct eng *plain, *fp8;
    struct err err;
    struct eng_answer a[ENG_RIG_ALL], b[ENG_RIG_ALL], c[ENG_RIG_ALL];
    CHECK_EQ(open_with((struct eng_options){.model = TINY}, 0, &plain, &err), 0);
    CHECK_EQ(open_with((struct eng_options){.model = TINY, .fp8 = 1}, 0, &fp8, &err), 0);
    CHECK(strcmp(eng_info(plain)->digest, eng_info(fp8)->digest) != 0);
    CHECK_EQ(strlen(eng_info(fp8)->digest), 64);
    CHECK_HAS(eng_info(fp8)->backend, "fp8");
    CHECK_EQ(eng_info(plain)->parameters, eng_info(fp8)->parameters);
    struct eng_picture *picture = eng_rig_picture(fp8, 1);
    eng_rig_ask_all(plain, picture, ENG_MODE, 1, a);
    eng_rig_ask_all(fp8, picture, ENG_MODE, 1, b);
    CHECK(!eng_rig_same(a, b, ENG_RIG_ALL));
    eng_close(fp8);
    struct eng_options one = {.model = TINY, .fp8 = 1, .lanes = 1};
    CHECK_EQ(open_with(one, 0, &fp8, &err), 0);
    eng_rig_ask_all(fp8, picture, ENG_MODE, 1, c); /* by itself or among others */
    CHECK(eng_rig_same(b, c, ENG_RIG_ALL));
    eng_picture_put(picture);
    eng_close(fp8);
    eng_close(plain);
}
