/* test_texts.c - questions and answers to the letter, cleaning, and orders without a list. */
#include "data/draw/texts.h"

#include <stdio.h>

#include "kernels/base/err.h"
#include "kernels/base/mem.h"
#include "tests/check.h"

static const char *text(struct buf *b) {
    CHECK_EQ(b->bad, 0);
    b->len = 0; /* the text stays where it is until the next one is written */
    return (const char *)b->p;
}

TEST(texts_are_spelled_as_lammd_asks) {
    struct buf b;
    struct texts_box box = {29, 10, 100, 57.99, 100, 58};
    buf_init(&b, 1 << 16);
    texts_pixel(&b, 34, 12, 1);
    CHECK_STR(text(&b), "[reconstruct] loc: [12,34] rgb:");
    texts_pixel(&b, 34, 12, 0);
    CHECK_STR(text(&b), "[reconstruct] loc: [34,12] rgb:");
    texts_mask(&b, "The Dog.", 5, 63, 1);
    CHECK_STR(text(&b), "[segmentation] The Dog. loc: [63,5] mask:");
    texts_box(&b, &box); /* cut off, and 0.29 is not 0.28 */
    CHECK_STR(text(&b), "{<29><17><100><99>}");
    texts_box(&b, &(struct texts_box){-1, 0, 101, 58, 100, 58});
    CHECK_STR(text(&b), "{<0><0><100><100>}");
    texts_refer(&b, "the dog", NULL);
    CHECK_STR(text(&b), "[refer] give me the location of the dog");
    texts_identify(&b, &box, NULL);
    CHECK_STR(text(&b), "[identify] {<29><17><100><99>}");
    texts_vqa(&b, "why?", NULL);
    CHECK_STR(text(&b), "[vqa] Based on the image, respond to this question with a short answer: "
                        "why?");
    texts_caption(&b, NULL);
    CHECK_STR(text(&b), "[caption] Briefly describe this image.");
    texts_grounding(&b, NULL);
    CHECK_STR(text(&b), "[grounding] please describe this image in details");
    texts_detection(&b, "dog");
    CHECK_STR(text(&b), "[detection] dog");
    buf_clear(&b);
}

/* Every way to ask comes, and none that isn't in docs/model.md. */
TEST(texts_draw_every_template) {
    static char page[1 << 20];
    FILE *f = fopen("docs/model.md", "rb");
    CHECK(f != NULL);
    page[fread(page, 1, sizeof(page) - 1, f)] = '\0';
    fclose(f);
    static const unsigned ways[5] = {7, 7, 17, 4, 2};
    struct buf b;
    buf_init(&b, 1 << 16);
    for (int kind = 0; kind < 5; kind++) {
        struct dice d = dice_of(test_seed(), 0, (uint64_t)kind);
        char seen[32][200];
        unsigned n = 0;
        for (int i = 0; i < 1000; i++) {
            if (kind == 0) texts_refer(&b, "{s}", &d);
            if (kind == 1) texts_identify(&b, &(struct texts_box){0, 0, 1, 1, 1, 1}, &d);
            if (kind == 2) texts_caption(&b, &d);
            if (kind == 3) texts_grounding(&b, &d);
            if (kind == 4) texts_vqa(&b, "{q}", &d);
            const char *now = text(&b);
            unsigned k = 0;
            while (k < n && strcmp(seen[k], now) != 0)
                k++;
            if (k < n) continue;
            CHECK(n < 32);
            snprintf(seen[n++], sizeof(seen[0]), "%s", now);
            char form[200], *box = NULL;
            snprintf(form, sizeof(form), "%s", kind == 2 ? now + 10 : kind == 3 ? now + 12 : now);
            if (kind == 1 && (box = strchr(form, '{'))) {
                char rest[100];
                snprintf(rest, sizeof(rest), "%s", strchr(box, '}') + 1);
                snprintf(box, 110, "{box}%s", rest);
            }
            size_t len = strlen(form);
            if (len && form[len - 1] == ' ') form[len - 1] = '\0'; /* the page says (blank) */
            CHECK_HAS(page, form);
        }
        CHECK_EQ(n, ways[kind]);
    }
    buf_clear(&b);
}

TEST(texts_are_cleaned) {
    static const char *const cases[][2] = {
        {"  A Dog, (left) of the CAT!! ", "a dog, left of the cat"},
        {"1.5 #x: ~\t\ny", "1 5 x y"},
        {"...", "..."}, /* nothing would be left */
        {"\xc3\x84pfel", "\xc3\x84pfel"}};
    struct buf b;
    buf_init(&b, 1 << 16);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        texts_clean(&b, cases[i][0]);
        CHECK_STR(text(&b), cases[i][1]);
    }
    char many[200] = "";
    for (int i = 0; i < 60; i++)
        snprintf(many + 2 * i, 4, "a ");
    texts_clean(&b, many);
    CHECK_EQ(strlen(text(&b)), 99); /* 50 words */
    buf_clear(&b);
}

TEST(dice_order_is_a_bijection) {
    static const uint32_t sizes[] = {1, 2, 3, 4, 5, 16, 17, 100, 4096, 70000};
    uint8_t *seen = mem_must(70000);
    for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
        uint32_t n = sizes[k], same = 0;
        memset(seen, 0, n);
        for (uint32_t i = 0; i < n; i++) {
            uint32_t at = dice_order(test_seed() + k, n, i);
            CHECK(at < n && !seen[at]);
            seen[at] = 1;
            same += at == dice_order(test_seed() + k + 1000, n, i);
        }
        CHECK(n < 100 || same < n / 4); /* another seed is another order */
    }
    mem_free(seen);
}
