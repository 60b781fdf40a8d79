/* test_looks.c - parts of pictures: what must be seen is seen, and pixels, boxes and masks agree.
 * */
#include "data/draw/looks.h"

#include <string.h>

#include "data/draw/places.h"
#include "kernels/base/mem.h"
#include "tests/check.h"

enum { W = 40, H = 30 };

TEST(looks_keep_what_is_asked) {
    struct dice d = dice_of(test_seed(), 1, 2);
    for (int round = 0; round < 2000; round++) {
        int x1 = (int)dice_below(&d, W), y1 = (int)dice_below(&d, H);
        int x2 = x1 + 1 + (int)dice_below(&d, (uint32_t)(W - x1));
        int y2 = y1 + 1 + (int)dice_below(&d, (uint32_t)(H - y1));
        const double keep[4] = {x1, y1, x2, y2};
        const struct looks_wants wants = {.crop = 0.3f, .flip = 0.5f};
        struct looks l = looks_draw(&wants, W, H, keep, &d);
        CHECK(l.x >= 0 && l.y >= 0 && l.x + l.w <= W && l.y + l.h <= H);
        CHECK(l.x <= x1 && l.y <= y1 && l.x + l.w >= x2 && l.y + l.h >= y2);
        CHECK(l.w * l.h >= 0.3 * W * H - W - H);
        /* The box is red in the picture, and set in the mask. */
        struct picture p = {mem_must(W * H * 3), W, H};
        uint8_t bits[W * H] = {0}, cut[W * H];
        for (int y = y1; y < y2; y++)
            for (int x = x1; x < x2; x++) {
                p.rgb[3 * (y * W + x)] = 255;
                bits[y * W + x] = 1;
            }
        double box[4];
        CHECK_EQ(looks_picture(&l, &p, NULL), 0);
        CHECK(p.w == l.w && p.h == l.h);
        looks_mask(&l, bits, W, cut);
        looks_box(&l, keep, box);
        for (int y = 0; y < p.h; y++)
            for (int x = 0; x < p.w; x++) {
                int is_in = x >= box[0] && x < box[2] && y >= box[1] && y < box[3];
                CHECK_EQ(p.rgb[3 * (y * p.w + x)], is_in ? 255 : 0);
                CHECK_EQ(cut[y * p.w + x], is_in);
            }
        mem_free(p.rgb);
    }
}

/* A place of what is shown lies in the picture where a box around it comes from. */
TEST(looks_places_are_those_of_boxes) {
    struct dice d = dice_of(test_seed(), 1, 2);
    const struct looks_wants wants = {.crop = 0.3f, .flip = 0.5f};
    int flipped = 0;
    for (int round = 0; round < 200; round++) {
        struct looks l = looks_draw(&wants, W, H, NULL, &d);
        double x = dice_between(&d, 0, 1), y = dice_between(&d, 0, 1), at[2], box[4];
        looks_place(&l, x, y, at);
        looks_box(&l, (const double[4]){at[0], at[1], at[0], at[1]}, box);
        CHECK_NEAR(box[0], x * l.w, 1e-9);
        CHECK_NEAR(box[1], y * l.h, 1e-9);
        flipped += l.is_flipped;
    }
    CHECK(flipped > 50 && flipped < 150);
}

TEST(looks_wander_over_the_picture) {
    struct dice d = dice_of(test_seed(), 1, 2);
    const struct looks_wants wants = {.crop = 0.35f};
    double sum = 0, least = 1;
    int left = 0, right = 0;
    for (int i = 0; i < 2000; i++) {
        struct looks l = looks_draw(&wants, 1000, 500, NULL, &d);
        double area = l.w * l.h / 500000.0;
        sum += area;
        if (area < least) least = area;
        left += l.x == 0;
        right += l.x + l.w == 1000;
    }
    CHECK_NEAR(sum / 2000, 0.675, 0.02);
    CHECK(least > 0.345 && least < 0.37);
    CHECK(left > 0 && right > 0);
    struct looks all = looks_draw(&(struct looks_wants){.crop = 1}, 10, 10, NULL, &d);
    CHECK(all.w == 10 && all.h == 10 && !all.is_flipped && !all.has_light);
}

TEST(looks_light_keeps_greys_grey) {
    struct dice d = dice_of(test_seed(), 1, 2);
    int moved = 0;
    for (int i = 0; i < 200; i++) {
        struct looks l =
            looks_draw(&(struct looks_wants){.jitter = 1, .may_turn_hue = 1}, 2, 1, NULL, &d);
        struct picture p = {mem_must(6), 2, 1};
        memcpy(p.rgb, (const uint8_t[6]){90, 90, 90, 200, 40, 40}, 6);
        CHECK_EQ(looks_picture(&l, &p, NULL), 0);
        CHECK(p.rgb[0] - p.rgb[1] <= 1 && p.rgb[1] - p.rgb[0] <= 1);
        CHECK(p.rgb[1] - p.rgb[2] <= 1 && p.rgb[2] - p.rgb[1] <= 1);
        moved += p.rgb[4] != p.rgb[5]; /* the hue turned */
        mem_free(p.rgb);
    }
    CHECK(moved > 150);
}

enum { GRID = 64, DRAWS = 4000 };

TEST(places_have_the_shares_of_the_lab) {
    uint8_t object[GRID * GRID] = {0}, others[GRID * GRID] = {0};
    for (int y = 20; y < 30; y++)
        memset(object + y * GRID + 20, 1, 10);
    memset(others + 60 * GRID, 1, GRID);
    for (int has_others = 0; has_others < 2; has_others++) {
        int in = 0, near = 0, other = 0;
        struct dice d = dice_of(test_seed(), 0, 0);
        for (int i = 0; i < DRAWS; i++) {
            struct places *p = places_new(object, has_others ? others : NULL, GRID);
            uint32_t at = places_draw(p, &d);
            int x = (int)at % GRID, y = (int)at / GRID;
            in += object[at];
            other += others[at];
            near += !object[at] && x >= 16 && x < 34 && y >= 16 && y < 34;
            places_free(p);
        }
        CHECK_NEAR(in / (double)DRAWS, 0.40, 0.03);
        CHECK_NEAR(other / (double)DRAWS, has_others ? 0.301 : 0.001, 0.03);
        CHECK_NEAR(near / (double)DRAWS, has_others ? 0.243 : 0.543, 0.03);
    }
}

TEST(places_need_no_ring) {
    uint8_t object[GRID * GRID];
    struct dice d = dice_of(test_seed(), 0, 0);
    for (int kind = 0; kind < 3; kind++) { /* none, all, all but one place */
        memset(object, kind > 0, sizeof(object));
        if (kind == 2) object[77] = 0;
        struct places *p = places_new(object, NULL, GRID);
        int out = 0;
        for (int i = 0; i < 1000; i++) {
            uint32_t at = places_draw(p, &d);
            CHECK(at < GRID * GRID);
            out += at == 77;
        }
        CHECK(kind != 2 || out > 0);
        places_free(p);
    }
}
