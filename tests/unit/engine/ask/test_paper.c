/* test_paper.c - the paper's shape, without weights: its prompts have the numbers of tokens of
 * docs/model.md sections 4.2 and 8. */
#include "tests/unit/engine/ask/ask_rig.h"

static void paper_open(struct asking *a) {
    asking_open(a, "models/shapes/pae-lamm-7b");
    CHECK(sptok_size(a->t) <= a->c.text.vocab_size);
    CHECK_EQ(sptok_bos(a->t), a->c.text.bos_id);
    CHECK_EQ(sptok_eos(a->t), a->c.text.eos_id);
    CHECK_EQ(a->c.text.vocab_size, 32000);
    CHECK_EQ(a->c.n_image_tokens, 256);
    for (int k = 0; k < KIND_NUMBERS; k++)
        CHECK(lane_can_walk(a->k->g[k]));
}

/* A job about n pictures and, where its answers have places, the whole grid. */
static struct eng_job *paper_ask(const struct asking *a, enum eng_task task, uint32_t n,
                                 const char *text) {
    struct eng_point points[64 * 64];
    for (uint16_t i = 0; i < ARRAY_LEN(points); i++)
        points[i] = (struct eng_point){i % 64, i / 64};
    struct eng_ask ask = {
        .task = task, .text = text, .points = points, .n_points = ARRAY_LEN(points)};
    return asking_job(a, ask, n);
}

/* Rows behind the stem until each leaf has its first pick: the tree, and what its answers are
 * forced to begin with. */
static int32_t first_rows(const struct asking *a, const struct eng_job *j) {
    struct lanes ls = {.of = {[KIND_BIT].g = a->k->g[KIND_BIT],
                              [KIND_DRIVE].g = a->k->g[KIND_DRIVE],
                              [KIND_SHOOT].g = a->k->g[KIND_SHOOT]}};
    int32_t rows = j->tree.branch_tokens;
    for (int32_t i = 0; i < j->tree.n_leaves; i++)
        rows += lane_first_rows(&ls, j, i);
    return rows;
}

/* 273 tokens that all pixels share; behind them 11 to 13, which are 51,968 one by one and a tree of
 * 36,992. */
TEST(paper_pictures) {
    struct asking a;
    int32_t one_by_one = 0;
    paper_open(&a);
    CHECK_EQ(a.p->questions.stem_tokens, 273);
    CHECK_EQ(a.p->text_max, 13);
    for (int i = 0; i < a.p->questions.n_texts; i++)
        one_by_one += a.p->questions.texts[i].n;
    CHECK_EQ(one_by_one, 51968);
    CHECK_EQ(a.p->tree_tokens, 273 + 36992);
    asking_close(&a);
}

/* A sentence of three words, the one that `lammd bench pix4096` asks: 276 tokens, a tree of 32,896,
 * and the answer's forced space at each place: 36,992 rows behind the stem. The pick behind it is
 * the answer: no decode step. */
TEST(paper_masks) {
    struct asking a;
    paper_open(&a);
    struct eng_job *j = paper_ask(&a, ENG_SEGMENT, 1, "the red circle");
    CHECK_EQ(j->stem_tokens, 276);
    CHECK_EQ(j->tree.n_leaves, 4096);
    CHECK_EQ(j->tree.branch_tokens + j->tree.tail_tokens, 32896);
    CHECK_EQ(first_rows(&a, j), 36992);
    CHECK_EQ(a.k->g[KIND_BIT]->depth_max, 2);
    asking_forget(j);
    asking_close(&a);
}

/* Prompts with all their frames. The answer's forced first token, `[` or a space, is one row
 * more. */
TEST(paper_acts) {
    struct asking a;
    paper_open(&a);
    struct eng_job *drive = paper_ask(&a, ENG_DRIVE, ENG_DRIVE_FRAMES, NULL);
    struct eng_job *shoot = paper_ask(&a, ENG_SHOOT, ENG_SHOOT_FRAMES, NULL);
    CHECK_EQ(drive->prompt_tokens, 631);
    CHECK_EQ(shoot->prompt_tokens, 1168);
    CHECK_EQ((int32_t)drive->stem_tokens + first_rows(&a, drive), 631 + 1);
    CHECK_EQ((int32_t)shoot->stem_tokens + first_rows(&a, shoot), 1168 + 1);
    asking_forget(drive);
    asking_forget(shoot);
    asking_close(&a);
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
TEST(paper_pieces) {
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
    struct asking a;
    paper_open(&a);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        CHECK_STR(cut(a.t, cases[i][0]), cases[i][1]);
    CHECK_HAS(cut(a.t, "Sch\xc3\xb6ne gr\xc3\xbc\xc3\x9f\x65, \xe7\x8c\xab!\t2 \xf0\x9f\x99\x82"),
              "<0xE7>|<0x8C>|<0xAB>|!|<0x09>|2|");
    asking_close(&a);
}
