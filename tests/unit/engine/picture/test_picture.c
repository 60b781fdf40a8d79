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

/* The shape counts, and every pixel that the model can see. The same again is the same. */
TEST(picture_digests_differ_when_pictures_do) {
    uint8_t rgb[3 * 3000] = {0}, changed[3 * 3000] = {0};
    changed[8999] = 255;
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

/* (h, w, 3) as stored -> out as shown: the plain words of EXIF's table, one pixel at a time. */
static void turn(const uint8_t *rgb, int w, int h, int orientation, uint8_t *out) {
    int ow = orientation >= 5 ? h : w, oh = orientation >= 5 ? w : h;
    for (int y = 0; y < oh; y++) {
        for (int x = 0; x < ow; x++) {
            int right = ow - 1 - x, bottom = oh - 1 - y;
            const int from[9][2] = {{0, 0},          {x, y},          {right, y},
                                    {right, bottom}, {x, bottom},     {y, x},
                                    {y, right},      {bottom, right}, {bottom, x}};
            const int *at = from[orientation];
            memcpy(out, rgb + 3 * (at[1] * w + at[0]), 3);
            out += 3;
        }
    }
}

/* Row by row and turned on the way is the same as turned first, to the bit. */
TEST(picture_turned_on_the_way_is_the_turned_picture) {
    static const int sides[][2] = {{47, 61}, {200, 9}, {9, 200}, {1, 50},   {50, 1},
                                   {32, 32}, {16, 40}, {1, 1},   {300, 170}};
    for (size_t s = 0; s < 8 * ARRAY_LEN(sides); s++) {
        int w = sides[s / 8][0], h = sides[s / 8][1], orientation = (int)(s % 8) + 1, cw, ch;
        size_t bytes = 3 * (size_t)w * (size_t)h;
        uint8_t *rgb = mem_must(bytes), *turned = mem_must(bytes);
        for (size_t i = 0; i < bytes; i++)
            rgb[i] = (uint8_t)(i * i * 31 + i * 7 % 253);
        turn(rgb, w, h, orientation, turned);
        struct eng_picture *want =
            orientation < 5 ? make(&SIZES, turned, w, h) : make(&SIZES, turned, h, w);
        struct eng_picture *got;
        struct eng_intake *in;
        CHECK_EQ(picture_open(&SIZES, w, h, orientation, &in, NULL), 0);
        for (int y = 0; y < h; y++)
            eng_intake_row(in, rgb + 3 * (size_t)y * (size_t)w);
        CHECK_EQ(eng_intake_close(in, &got, NULL), 0);
        CHECK_MEM(picture_rgb(got), picture_rgb(want), 32 * 32 * 3);
        CHECK_MEM(eng_picture_truth(got), eng_picture_truth(want), 16 * 16 * 3);
        eng_picture_size(got, &cw, &ch);
        CHECK(orientation < 5 ? cw == w && ch == h : cw == h && ch == w);
        CHECK_STR(eng_picture_digest(got), eng_picture_digest(want));
        eng_picture_put(got);
        eng_picture_put(want);
        mem_free(rgb);
        mem_free(turned);
    }
}

TEST(picture_half_come_is_thrown_away) {
    static const uint8_t row[3 * 8];
    struct mem_stats before, after;
    struct eng_intake *in = (struct eng_intake *)1;
    CHECK_EQ(picture_open(&SIZES, 8, 8, 9, &in, NULL), E_INVALID);
    CHECK(!in);
    mem_stats(&before);
    CHECK_EQ(picture_open(&SIZES, 8, 8, 6, &in, NULL), 0);
    eng_intake_row(in, row);
    CHECK_EQ(eng_intake_close(in, NULL, NULL), 0);
    mem_stats(&after);
    CHECK_EQ(after.live_bytes, before.live_bytes);
}

/* What is needed to make one doesn't grow with the picture but with its width. */
TEST(picture_of_many_pixels_takes_little_memory) {
    enum { SIDE = 4000 };
    uint8_t *row = mem_must(3 * SIDE);
    for (int orientation = 1; orientation <= 6; orientation += 5) {
        struct mem_stats before, after;
        struct eng_intake *in;
        struct eng_picture *picture;
        mem_stats(&before);
        CHECK_EQ(picture_open(&SIZES, SIDE, SIDE, orientation, &in, NULL), 0);
        mem_stats(&after);
        CHECK(after.live_bytes - before.live_bytes < 20 << 20);
        for (int y = 0; y < SIDE; y++)
            eng_intake_row(in, row);
        CHECK_EQ(eng_intake_close(in, &picture, NULL), 0);
        eng_picture_put(picture);
    }
    mem_free(row);
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
