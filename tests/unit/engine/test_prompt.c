/* test_prompt.c - the templates to the letter: what is joined, what is cut, where the spaces are. */
#include "engine/task/prompt.h"
#include "tests/unit/engine/text_rig.h"

static struct model_config config_of(const char *dir) {
    struct model_config c;
    struct err e = {0};
    if (model_read_config(dir, &c, &e)) test_failed(__FILE__, __LINE__, "%s", e.text);
    return c;
}

/* The pieces of a prompt with a bar between them, the picture as #. */
static const char *spelled(const struct prompt *p, const struct sptok *t) {
    static char text[4096];
    size_t n = 0;
    for (int i = 0; i < p->n; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", i ? "|" : "",
                              p->ids[i] == PROMPT_IMAGE ? "#" : sptok_piece(t, p->ids[i]));
    return text;
}
#define S "\xe2\x96\x81"

TEST(prompt_pixel_of_lamm_mini) {
    struct model_config c = config_of("models/lamm-mini");
    struct sptok *t = text_open(MINI_TOKENIZER);
    struct prompt p;
    struct err e = {0};
    CHECK_EQ(prompt_pixel(&c, t, 34, 12, &p, &e), 0); /* x is the column, and comes second */
    CHECK_STR(spelled(&p, t), "<s>|" S "[INST]" S "<Img>|#|" S "</Img>" S "[reconstruct]" S "loc:" S
                              "[|12,|34|]" S "rgb:" S "[/INST]");
    sptok_close(t);
}

/* Spec section 4.2: the cut LLaMA-2's tokenizer makes, as far as the digits model has its pieces. */
TEST(prompt_pixel_to_the_letter) {
    struct model_config c = config_of("tests/golden/tiny-digits");
    struct sptok *t = text_open(DIGITS_TOKENIZER);
    struct prompt p;
    struct err e = {0};
    c.bos_count = 1;
    c.inst_spaces = 1;
    c.coord_order = MODEL_COORD_YX;
    CHECK_EQ(prompt_pixel(&c, t, 3, 12, &p, &e), 0);
    CHECK_STR(spelled(&p, t),
              "<s>|" S "[|INST|]|" S "<|Img|>|#|" S "</|Img|>|" S "[|re|construct|]|" S "loc|:|" S
              "[|1|2|,|3|]|" S "r|g|b|:|" S "[|/|INST|]");
    int one = p.n;
    c.coord_order = MODEL_COORD_XY;
    CHECK_EQ(prompt_pixel(&c, t, 3, 12, &p, &e), 0);
    CHECK_HAS(spelled(&p, t), S "[|3|,|1|2|]");
    c.inst_spaces = 2; /* one token more: the space, which joins nothing */
    CHECK_EQ(prompt_pixel(&c, t, 3, 12, &p, &e), 0);
    CHECK_EQ(p.n, one + 1);
    CHECK_HAS(spelled(&p, t), "b|:|" S "|" S "[|/|INST|]");
    c.bos_count = 2;
    CHECK_EQ(prompt_pixel(&c, t, 3, 12, &p, &e), 0);
    CHECK_EQ(p.n, one + 2);
    CHECK_HAS(spelled(&p, t), "<s>|<s>|" S "[");
    sptok_close(t);
}

TEST(prompt_pixel_outside) {
    struct model_config c = config_of("models/lamm-mini");
    struct sptok *t = text_open(MINI_TOKENIZER);
    struct prompt p;
    static const int bad[][2] = {{-1, 0}, {0, -1}, {64, 0}, {0, 64}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err e = {0};
        CHECK_EQ(prompt_pixel(&c, t, bad[i][0], bad[i][1], &p, &e), E_INVALID);
        CHECK_HAS(e.text, "grid of 64");
    }
    struct err e = {0};
    CHECK_EQ(prompt_pixel(&c, t, 63, 63, &p, &e), 0);
    CHECK_EQ(prompt_pixel(&c, t, 0, 0, &p, &e), 0);
    sptok_close(t);
}

TEST(prompt_text_and_its_limits) {
    struct model_config c = config_of("models/lamm-mini");
    struct sptok *t = text_open(MINI_TOKENIZER);
    struct prompt p, before;
    struct err e = {0};
    CHECK_EQ(prompt_text(&c, t, "[vqa] what is this?", &p, &e), 0);
    CHECK_STR(spelled(&p, t), "<s>|" S "[INST]" S "<Img>|#|" S "</Img>|" S "[vqa]|" S "what|" S
                              "is|" S "this|?|" S "[/INST]");
    /* A tag in the user's text is text, and a control piece's name does not become one. */
    CHECK_EQ(prompt_text(&c, t, "<s>", &p, &e), 0);
    for (int i = 1; i < p.n; i++)
        CHECK(p.ids[i] != sptok_bos(t));
    before = p;
    static char huge[40000];
    memset(huge, '?', 5000);
    CHECK_EQ(prompt_text(&c, t, huge, &p, &e), E_TOO_BIG);
    memset(huge, '?', sizeof huge - 1);
    CHECK_EQ(prompt_text(&c, t, huge, &p, &e), E_TOO_BIG);
    CHECK_MEM(&p, &before, sizeof p); /* untouched when refused */
    sptok_close(t);
}
