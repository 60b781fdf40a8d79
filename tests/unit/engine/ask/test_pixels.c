/* test_pixels.c - the prompts of all places, cut into a stem and a text each, put together
 * again. */
#include "tests/unit/engine/ask/ask_rig.h"

static void check_pixels(const char *dir) {
    struct asking a;
    asking_open(&a, dir);
    const struct pixels *p = a.p;
    const struct questions *q = &p->questions;
    int32_t grid = a.c.pixel_grid, most = 0, pictures = 0;
    CHECK(q->kind == KIND_COLOUR && q->grid == grid);
    CHECK_EQ(q->n_texts, grid * grid);
    CHECK_EQ(q->n_order, grid * grid);
    uint8_t *is_there = mem_must((size_t)q->n_texts);
    for (int32_t i = 0; i < q->n_texts; i++) {
        struct prompt prompt;
        CHECK_EQ(prompt_pixel(&a.c, a.t, i % grid, i / grid, &prompt, NULL), 0);
        asking_check(q, i, &prompt);
        CHECK(q->texts[i].n >= 1 && !is_there[q->order[i]]++);
        if (q->texts[i].n > most) most = q->texts[i].n;
    }
    asking_check_order(q);
    CHECK_EQ(p->text_max, most);
    for (int32_t i = 0; i < q->n_stem_ids; i++)
        pictures += q->stem_ids[i] == PROMPT_IMAGE;
    CHECK_EQ(pictures, 1);
    CHECK(q->stem_ids[q->n_stem_ids - 1] != PROMPT_IMAGE); /* a token behind it */
    CHECK_EQ(q->stem_tokens, q->n_stem_ids - 1 + a.c.n_image_tokens);
    CHECK_EQ(q->answer_max, a.k->g[KIND_COLOUR]->feed_max);
    mem_free(is_there);
    asking_close(&a);
}

TEST(pixels_put_together_are_the_prompts) {
    check_pixels("tests/golden/tiny");
    check_pixels("tests/golden/tiny-digits");
    check_pixels("models/lamm-mini");
}

/* Sizes of the tree of all places, held against one that is built anew. */
TEST(pixels_know_the_sizes_of_their_tree) {
    struct asking a;
    asking_open(&a, "tests/golden/tiny-digits");
    const struct questions *q = &a.p->questions;
    struct arena *mem = arena_new(1 << 24);
    struct tree t;
    CHECK_EQ(tree_build(&t, mem, q->texts, q->n_texts, q->order, 0), 0);
    CHECK(t.branch_tokens > 0);
    CHECK_EQ(a.p->branch_tokens, t.branch_tokens);
    CHECK_EQ(a.p->tail_max, t.tail_max);
    CHECK_EQ(a.p->tree_tokens, q->stem_tokens + t.branch_tokens + t.tail_tokens);
    arena_free(mem);
    asking_close(&a);
}

TEST(pixels_refuse_a_model_with_too_few_positions) {
    struct asking a;
    asking_open(&a, "tests/golden/tiny");
    const struct questions *q = &a.p->questions;
    const struct grammar *g = a.k->g[KIND_COLOUR];
    struct model_config c = a.c;
    struct pixels *p;
    struct err e = {0};
    c.text.max_positions = q->stem_tokens + a.p->text_max + q->answer_max;
    CHECK_EQ(pixels_new(&c, a.t, g, &p, &e), 0);
    pixels_free(p);
    c.text.max_positions--;
    CHECK_EQ(pixels_new(&c, a.t, g, &p, &e), E_UNSUPPORTED);
    CHECK(!p);
    CHECK_HAS(e.text, "positions");
    pixels_free(NULL);
    asking_close(&a);
}
