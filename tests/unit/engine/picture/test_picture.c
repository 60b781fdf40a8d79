/* test_picture.c - pictures made ready: bounds, references, and a digest that differs whenever the
 * picture shows something else. */
#include "engine/picture/picture.h"

#include <string.h>

#include "engine/picture/resize.h"
#include "kernels/base/mem.h"
#include "tests/check.h"

static const struct picture_sizes SIZES = {32, 16};

static struct eng_picture *make(const struct picture_sizes *sizes, const uint8_t *rgb, int w,
                                int h) {
    struct eng_picture *i;
    CHECK_EQ(picture_new(sizes, rgb, w, h, &i, NULL), 0);
    return i;
}

TEST(picture_refuses_sizes) {
    static const uint8_t rgb[3];
    static const struct {
        int w, h, code;
    } cases[] = {{0, 5, E_INVALID},
                 {5, -1, E_INVALID},
                 {ENG_PICTURE_SIDE_MAX + 1, 1, E_TOO_BIG},
                 {1, ENG_PICTURE_SIDE_MAX + 1, E_TOO_BIG},
                 {20000, 20000, E_TOO_BIG}};
    struct eng_picture *i = (struct eng_picture *)1;
    for (size_t c = 0; c < ARRAY_LEN(cases); c++) {
        CHECK_EQ(picture_new(&SIZES, rgb, cases[c].w, cases[c].h, &i, NULL), cases[c].code);
        CHECK(!i);
    }
    CHECK_EQ(picture_new(&SIZES, NULL, 5, 5, &i, NULL), E_INVALID);
}

/* Shape and every byte count. The same again is the same. */
TEST(picture_digests_differ_when_pictures_do) {
    uint8_t rgb[3 * 3000] = {0}, changed[3 * 3000] = {0};
    changed[8999]++;
    struct eng_picture *all[] = {make(&SIZES, rgb, 30, 100), make(&SIZES, rgb, 100, 30),
                                 make(&SIZES, changed, 30, 100)};
    struct eng_picture *again = make(&SIZES, rgb, 30, 100);
    CHECK_EQ(strlen(eng_picture_digest(again)), 64);
    CHECK_STR(eng_picture_digest(again), eng_picture_digest(all[0]));
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        for (size_t k = 0; k < i; k++)
            CHECK(strcmp(eng_picture_digest(all[i]), eng_picture_digest(all[k])) != 0);
    int w, h;
    eng_picture_size(all[1], &w, &h);
    CHECK(w == 100 && h == 30);
    eng_picture_put(again);
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        eng_picture_put(all[i]);
}

/* Both from the original: the truth is not resized twice. */
TEST(picture_holds_both_sizes_of_the_original) {
    enum { W = 47, H = 61 };
    uint8_t rgb[3 * W * H], want[3 * 32 * 32], truth[3 * 16 * 16];
    for (int i = 0; i < 3 * W * H; i++)
        rgb[i] = (uint8_t)(i * 29 % 251);
    struct eng_picture *i = make(&SIZES, rgb, W, H);
    CHECK_EQ(resize_picture(rgb, W, H, want, 32, 32, NULL), 0);
    CHECK_EQ(resize_picture(rgb, W, H, truth, 16, 16, NULL), 0);
    CHECK_MEM(picture_rgb(i), want, sizeof want);
    CHECK_MEM(eng_picture_truth(i), truth, sizeof truth);
    eng_picture_put(i);
}

TEST(picture_goes_with_its_last_reference) {
    static const uint8_t rgb[3 * 64];
    struct mem_stats before, after;
    mem_stats(&before);
    struct eng_picture *i = make(&SIZES, rgb, 8, 8);
    CHECK(eng_picture_get(i) == i);
    eng_picture_put(i);
    CHECK_EQ(strlen(eng_picture_digest(i)), 64); /* still there */
    eng_picture_put(i);
    eng_picture_put(NULL);
    mem_stats(&after);
    CHECK_EQ(after.live_bytes, before.live_bytes);
    for (uint64_t n = 1, rc = 1; rc; n++) {
        mem_fail_at(n);
        int failed = picture_new(&SIZES, rgb, 8, 8, &i, NULL);
        mem_fail_at(0);
        rc = failed != 0;
        CHECK(!failed || (failed == E_NOMEM && !i));
    }
    eng_picture_put(i);
}
