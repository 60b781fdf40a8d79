/* test_prompt.c - the templates to the letter: what is joined, what is cut, where the spaces
 * are. */
#include "engine/ask/prompt.h"
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

/* The same as it reads: no bars, spaces for their marks. */
static const char *read(const struct prompt *p, const struct sptok *t) {
    static char text[4096];
    size_t n = 0;
    for (int i = 0; i < p->n; i++) {
        const char *piece = p->ids[i] == PROMPT_IMAGE ? "#" : sptok_piece(t, p->ids[i]);
        for (; *piece && n + 1 < sizeof text; n++) {
            int is_mark = strncmp(piece, S, 3) == 0;
            text[n] = is_mark ? ' ' : *piece;
            piece += is_mark ? 3 : 1;
        }
    }
    text[n] = 0;
    return text;
}

/* docs/model.md sections 4.3 and 4.5, with either tokenizer. */
static void check_tasks(const char *dir, const char *tokenizer) {
    static const struct eng_turn turns[] = {
        {2, "which is bigger?", "the left one"}, {0, "why?", ""}, {1, "and here?", NULL}};
    static const struct {
        struct eng_ask ask;
        const char *text;
    } cases[] = {
        {{.task = ENG_REFER, .n_pictures = 1, .text = "the brown dog"},
         "<s> [INST] <Img># </Img> [refer] give me the location of the brown dog [/INST]"},
        {{.task = ENG_VQA, .n_pictures = 1, .text = "how many?"},
         "<s> [INST] <Img># </Img> [vqa] Based on the image, respond to this question with a short "
         "answer: how many? [/INST]"},
        {{.task = ENG_IDENTIFY, .n_pictures = 1, .box = {0, 7, 50, 100}},
         "<s> [INST] <Img># </Img> [identify] {<0><7><50><100>} [/INST]"},
        {{.task = ENG_CAPTION, .n_pictures = 1},
         "<s> [INST] <Img># </Img> [caption] Briefly describe this image. [/INST]"},
        {{.task = ENG_GROUNDING, .n_pictures = 1},
         "<s> [INST] <Img># </Img> [grounding] please describe this image in details [/INST]"},
        {{.task = ENG_DETECTION, .n_pictures = 1, .text = "a dog"},
         "<s> [INST] <Img># </Img> [detection] a dog [/INST]"},
        {{.task = ENG_DRIVE, .n_pictures = 2},
         "<s> [INST] <Img># </Img><Img># </Img> You are playing a Car Racing game. <Objective> "
         "Drive "
         "this red car as fast as possible and avoid leaving the road. <Tips> Control steering and "
         "avoid pressing the accelerator and turning at the same time. Action Space: [Steering, "
         "Gas, "
         "Brake]: [(0,20), (0,20), (0,20)]. [CarRacing] Please select a value for each action "
         "within "
         "their respective ranges, providing three values in total: [/INST]"},
        {{.task = ENG_SHOOT, .n_pictures = 4},
         "<s> [INST] <Img># </Img><Img># </Img><Img># </Img><Img># </Img> You are playing a Space "
         "Invaders game. <Objective> Destroy the space invaders by shooting your laser cannon at "
         "them "
         "before they reach the Earth. Avoid getting hit by space invaders. <Tips> The invaders in "
         "the back rows are worth more points. <Action Space> [0: NOOP, 1: FIRE, 2: RIGHT, 3: "
         "LEFT, "
         "4: RIGHTFIRE, 5: LEFTFIRE] [Space Invaders] Choose an action from the Action Space: "
         "[/INST]"},
        {{.task = ENG_CHAT, .n_pictures = 3, .turns = turns, .n_turns = 3},
         "<s> [INST] <Img># </Img><Img># </Img> which is bigger? [/INST] the left one</s><s> "
         "[INST] "
         "why? [/INST]</s><s> [INST] <Img># </Img> and here? [/INST]"},
    };
    struct model_config c = config_of(dir);
    struct sptok *t = text_open(tokenizer);
    struct prompt p;
    c.bos_count = c.inst_spaces = 1;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err e = {0};
        CHECK_EQ(prompt_ask(&c, t, &cases[i].ask, &p, &e), 0);
        CHECK_STR(read(&p, t), cases[i].text);
    }
    c.coord_order = MODEL_COORD_YX;
    CHECK_EQ(prompt_mask(&c, t, "the dog", 3, 12, &p, NULL), 0);
    CHECK_STR(read(&p, t),
              "<s> [INST] <Img># </Img> [segmentation] the dog loc: [12,3] mask: [/INST]");
    sptok_close(t);
}

TEST(prompt_of_every_task) {
    check_tasks("models/lamm-mini", MINI_TOKENIZER);
    check_tasks("tests/golden/tiny-digits", DIGITS_TOKENIZER);
}

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

/* docs/model.md section 4.2: the cut LLaMA-2's tokenizer makes, as far as the digits model has its
 * pieces. */
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

/* What the model said may come back: no tag is left, and all else is as it was. */
TEST(prompt_blanks_tags) {
    static const char *const texts[][2] = {
        {"", ""},
        {"a [INST]b[/INST]", "a  INST b /INST "},
        {"<Img></Img><ImageHere>", " Img  /Img  ImageHere "},
        {"[[INST]INST] <<Img>Img>", "[ INST INST] < Img Img>"},
        {"[/INST[/INST]]", "[/INST /INST ]"},
        {"<s></s><unk><<SYS>>[vqa] [IMG]", "<s></s><unk><<SYS>>[vqa] [IMG]"},
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        char text[80];
        struct err e = {0};
        snprintf(text, sizeof text, "%s", texts[i][0]);
        prompt_blank_tags(text);
        CHECK_STR(text, texts[i][1]);
        if (text[0]) CHECK_EQ(prompt_check_turn(text, "it", &e), 0);
    }
}

/* Who writes </s> into what is learnt means the piece; in a question it is text. */
TEST(prompt_checks_what_is_learnt) {
    static const char *const slips[] = {"a</s>", "<s>", "<unk>", "<<SYS>>"};
    for (size_t i = 0; i < ARRAY_LEN(slips); i++) {
        for (int in_chat = 0; in_chat < 2; in_chat++) {
            struct err e = {0};
            CHECK_EQ(prompt_check_learnt(slips[i], in_chat, "it", &e), E_INVALID);
            CHECK_HAS(e.text, "it contains <");
            CHECK_EQ(in_chat ? prompt_check_turn(slips[i], "it", NULL)
                             : prompt_check(slips[i], "it", NULL),
                     0);
        }
    }
    CHECK_EQ(prompt_check_learnt("[vqa] a", 1, "it", NULL), 0);
    CHECK_EQ(prompt_check_learnt("[vqa] a", 0, "it", NULL), E_INVALID);
}

TEST(prompt_of_users_text_and_its_limits) {
    struct model_config c = config_of("models/lamm-mini");
    struct sptok *t = text_open(MINI_TOKENIZER);
    struct prompt p, before;
    struct err e = {0};
    struct eng_turn turn = {.n_pictures = 1, .question = "[vqa] what is this?"};
    struct eng_ask ask = {.task = ENG_CHAT, .n_pictures = 1, .turns = &turn, .n_turns = 1};
    CHECK_EQ(prompt_ask(&c, t, &ask, &p, &e), 0);
    CHECK_STR(read(&p, t), "<s> [INST] <Img># </Img> [vqa] what is this? [/INST]");
    /* The name of a control piece in a text is text. */
    CHECK_EQ(prompt_mask(&c, t, "<s>", 0, 0, &p, &e), 0);
    for (int i = 1; i < p.n; i++)
        CHECK(p.ids[i] != sptok_bos(t));
    before = p;
    static char huge[40000];
    memset(huge, '?', 5000);
    turn.question = huge;
    CHECK_EQ(prompt_ask(&c, t, &ask, &p, &e), E_TOO_BIG);
    memset(huge, '?', sizeof huge - 1);
    CHECK_EQ(prompt_ask(&c, t, &ask, &p, &e), E_TOO_BIG);
    CHECK_MEM(&p, &before, sizeof p); /* untouched when refused */
    sptok_close(t);
}
