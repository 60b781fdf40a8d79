/* test_ask.c - what becomes of an ask: its prompt cut into stem and texts, its kind of answer, its
 * sizes. */
#include "tests/unit/engine/ask/ask_rig.h"

#define TINY "tests/golden/tiny"

/* Everything but pixels and masks is one prompt: all but its last token is the stem. */
TEST(ask_cuts_one_prompt_before_its_last_token) {
    static const struct {
        struct eng_ask ask;
        uint32_t pictures;
        enum kind kind;
    } cases[] = {
        {{.task = ENG_REFER, .text = "the red ball"}, 1, KIND_BOX},
        {{.task = ENG_DRIVE}, 2, KIND_DRIVE},
        {{.task = ENG_SHOOT}, 4, KIND_SHOOT},
        {{.task = ENG_IDENTIFY, .box = {1, 2, 30, 40}}, 1, KIND_TEXT},
        {{.task = ENG_CAPTION}, 1, KIND_TEXT},
        {{.task = ENG_VQA, .text = "what is this?"}, 1, KIND_TEXT},
    };
    struct asking a;
    asking_open(&a, "models/lamm-mini");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct eng_ask ask = cases[i].ask;
        struct eng_job *j = asking_job(&a, ask, cases[i].pictures);
        const struct questions *q = j->questions;
        struct prompt p;
        ask.n_pictures = cases[i].pictures;
        CHECK_EQ(prompt_ask(&a.c, a.t, &ask, &p, NULL), 0);
        CHECK_EQ(q->kind, cases[i].kind);
        CHECK(q->grid == 0 && q->n_texts == 1 && q->texts[0].n == 1);
        asking_check(q, 0, &p);
        uint32_t tokens = (uint32_t)p.n + cases[i].pictures * (uint32_t)(a.c.n_image_tokens - 1);
        CHECK_EQ(eng_job_prompt_tokens(j), tokens);
        CHECK_EQ(q->stem_tokens, tokens - 1);
        CHECK_EQ(q->answer_max,
                 q->kind == KIND_TEXT ? 64 /* the default */ : a.k->g[q->kind]->feed_max);
        CHECK((j->text != NULL) == (q->kind == KIND_TEXT));
        asking_forget(j);
    }
    asking_close(&a);
}

TEST(ask_puts_choices_behind_the_last_token) {
    static const char *const choices[] = {"yes", "no", "not at all"};
    struct asking a;
    asking_open(&a, TINY);
    struct eng_ask ask = {
        .task = ENG_VQA, .text = "is it?", .n_pictures = 1, .choices = choices, .n_choices = 3};
    struct prompt p;
    CHECK_EQ(prompt_ask(&a.c, a.t, &ask, &p, NULL), 0);
    struct eng_job *j = asking_job(&a, ask, 1);
    const struct questions *q = j->questions;
    CHECK(q->kind == KIND_CHOICE && q->is_flat && q->n_texts == 3 && q->n_order == 3);
    for (int i = 0; i < 3; i++) {
        int32_t ids[LANE_CHOICE_MAX];
        size_t n;
        CHECK_EQ(sptok_encode(a.t, choices[i], strlen(choices[i]), SPTOK_PREFIX, ids,
                              ARRAY_LEN(ids), &n, NULL),
                 0);
        CHECK_EQ(q->texts[i].n, n + 1);
        CHECK_EQ(q->texts[i].ids[0], p.ids[p.n - 1]);
        CHECK_MEM(q->texts[i].ids + 1, ids, n * sizeof ids[0]);
    }
    asking_check_order(q);
    CHECK(!j->text);
    asking_forget(j);
    asking_close(&a);
}

/* The stem is what all places have in common, whichever are asked. */
TEST(ask_cuts_masks_alike_whichever_places_are_asked) {
    static const char sentence[] = "the red ball";
    struct asking a;
    asking_open(&a, "models/lamm-mini");
    const struct eng_point one[] = {{63, 1}}, some[] = {{0, 0}, {17, 40}, {63, 63}, {0, 9}, {0, 0}};
    const struct {
        const struct eng_point *points;
        uint32_t n, leaves;
    } cases[] = {{one, 1, 1}, {some, 5, 4}};
    int32_t stem[2];
    for (int i = 0; i < 2; i++) {
        struct eng_ask ask = {.task = ENG_SEGMENT,
                              .text = sentence,
                              .points = cases[i].points,
                              .n_points = cases[i].n};
        struct eng_job *j = asking_job(&a, ask, 1);
        const struct questions *q = j->questions;
        stem[i] = q->n_stem_ids;
        CHECK(q->kind == KIND_BIT && q->grid == 64 && j->distribution);
        CHECK_EQ(j->tree.n_leaves, cases[i].leaves);
        CHECK_EQ(q->n_order, cases[i].leaves);
        for (uint32_t k = 0; k < cases[i].n; k++) {
            int x = cases[i].points[k].x, y = cases[i].points[k].y;
            struct prompt p;
            CHECK_EQ(prompt_mask(&a.c, a.t, sentence, x, y, &p, NULL), 0);
            asking_check(q, y * 64 + x, &p);
        }
        asking_check_order(q);
        asking_forget(j);
    }
    CHECK_EQ(stem[0], stem[1]);
    asking_close(&a);
}

/* The most that a mask has behind its stem: lanes are made as long as that. */
TEST(ask_knows_the_longest_tail_of_a_mask) {
    static const char *const dirs[] = {TINY, "tests/golden/tiny-digits", "models/lamm-mini"};
    for (size_t d = 0; d < ARRAY_LEN(dirs); d++) {
        struct asking a;
        int32_t most, found = 0;
        asking_open(&a, dirs[d]);
        CHECK_EQ(ask_mask_tail(&a.c, a.t, &most, NULL), 0);
        int grid = a.c.pixel_grid;
        for (int i = 0; i < grid * grid; i += 7) {
            struct eng_point at = {(uint16_t)(i % grid), (uint16_t)(i / grid)};
            struct eng_ask ask = {.task = ENG_SEGMENT, .text = "a", .points = &at, .n_points = 1};
            struct eng_job *j = asking_job(&a, ask, 1);
            if (j->tree.tail_max > found) found = j->tree.tail_max;
            asking_forget(j);
        }
        CHECK(found > 0 && found <= most);
        asking_close(&a);
    }
}

static void refuse(const struct asking *a, struct eng_ask ask, int code, const char *text) {
    struct eng_picture *pictures[] = {a->picture, a->picture, a->picture, a->picture};
    struct eng_job *j = (struct eng_job *)1;
    struct err e = {0};
    struct mem_stats before, after;
    ask.pictures = pictures;
    mem_stats(&before);
    CHECK_EQ(ask_job(&a->asker, &ask, &j, &e), code);
    mem_stats(&after);
    CHECK(!j);
    CHECK_HAS(e.text, text);
    CHECK_EQ(after.live_bytes, before.live_bytes);
}

/* A long answer that may be shorter is as long as positions and slots allow. */
TEST(ask_makes_answers_fit) {
    struct asking a;
    asking_open(&a, "models/lamm-mini");
    struct eng_turn turn = {0, "what?", NULL};
    struct eng_ask ask = {.task = ENG_CHAT, .turns = &turn, .n_turns = 1};
    ask.generate = (struct eng_generate){.max_tokens = 1000, .may_be_shorter = 1};
    struct eng_job *j = asking_job(&a, ask, 0);
    int32_t tail = j->tree.tail_max, prompt = j->questions->stem_tokens + tail;
    CHECK_EQ(j->questions->answer_max, 1000);
    asking_forget(j);
    const int32_t rooms[][2] = {{100, 0}, {0, 60}, {100, 60}, {60, 100}, {100, 1}};
    for (size_t i = 0; i < ARRAY_LEN(rooms); i++) {
        int32_t most = rooms[i][0], slots = rooms[i][1];
        int32_t want = !most || (slots && slots < most) ? slots : most;
        a.c.text.max_positions = most ? prompt + most : 4000;
        a.asker.slots_max = slots ? tail + slots : 0;
        j = asking_job(&a, ask, 0);
        CHECK_EQ(j->questions->answer_max, want);
        CHECK_EQ(j->text->how.max_tokens, want);
        asking_forget(j);
    }
    asking_close(&a);
}

TEST(ask_refuses_and_leaves_nothing_behind) {
    struct asking a;
    asking_open(&a, TINY);
    static const char *const same[] = {"yes", "no", "yes"}, *const missing[] = {"yes", NULL};
    static char huge[4001];
    memset(huge, 'a', sizeof huge - 1);
    const struct eng_point outside = {16, 0};
    struct eng_ask vqa = {.task = ENG_VQA, .n_pictures = 1, .text = "what?"};
    struct eng_ask ask = vqa;
    refuse(&a, (struct eng_ask){.task = ENG_TASKS}, E_INVALID, "no such task");
    refuse(&a, (struct eng_ask){.task = ENG_DRIVE, .n_pictures = 1}, E_INVALID, "takes 2");
    refuse(&a, (struct eng_ask){.task = ENG_CAPTION, .n_pictures = 1, .n_choices = 1}, E_INVALID,
           "no choices");
    ask.choices = same, ask.n_choices = 3;
    refuse(&a, ask, E_INVALID, "choices 1 and 3 are the same");
    ask.choices = missing, ask.n_choices = 2;
    refuse(&a, ask, E_INVALID, "a choice is missing");
    ask = vqa, ask.generate.top_p = -1;
    refuse(&a, ask, E_INVALID, "top_p");
    ask = vqa, ask.generate.max_tokens = ENG_TOKENS_MAX;
    refuse(&a, ask, E_TOO_BIG, "positions"); /* of the prompt and its answer together */
    refuse(&a, (struct eng_ask){.task = ENG_SEGMENT, .n_pictures = 1, .text = huge}, E_TOO_BIG,
           "tokens");
    refuse(
        &a,
        (struct eng_ask){
            .task = ENG_SEGMENT, .n_pictures = 1, .text = "a", .points = &outside, .n_points = 1},
        E_INVALID, "outside");
    a.asker.tail_max = 2;
    static const char *const long_one[] = {"yes", "no, it is not at all"};
    ask = vqa, ask.choices = long_one, ask.n_choices = 2;
    refuse(&a, ask, E_TOO_BIG, "an answer of over 2 tokens");
    asking_close(&a);
}
