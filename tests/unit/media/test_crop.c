/* test_crop.c - crops: inside the picture, around the box, as stored; tiles that cover it once. */
#include "media/crop.h"

#include <string.h>

#include "kernels/base/rng.h"
#include "media/head.h"
#include "tests/check.h"

static int crop_is_inside(struct crop c, int w, int h) {
    return c.x >= 0 && c.y >= 0 && c.w >= 1 && c.h >= 1 && c.x + c.w <= w && c.y + c.h <= h;
}

TEST(crop_around_by_hand) {
    struct crop c;
    /* 100 + a quarter on each side + 1/50 of 1000 on each side. */
    CHECK_EQ(crop_around((double[]){400, 400, 500, 500}, 1000, 1000, &c), 1);
    CHECK(c.w == 190 && c.h == 190 && c.x == 355 && c.y == 355);
    /* A point: an eighth of the picture. */
    CHECK_EQ(crop_around((double[]){700, 200, 700, 200}, 1000, 800, &c), 1);
    CHECK(c.w == 125 && c.h == 100 && c.x == 637 && c.y == 150);
    /* In the corner it is moved, not cut. */
    CHECK_EQ(crop_around((double[]){0, 0, 100, 100}, 1000, 1000, &c), 1);
    CHECK(c.w == 190 && c.h == 190 && c.x == 0 && c.y == 0);
    CHECK_EQ(crop_around((double[]){900, 900, 1000, 1000}, 1000, 1000, &c), 1);
    CHECK(c.x == 810 && c.y == 810);
    /* At most twice as long as wide. */
    CHECK_EQ(crop_around((double[]){100, 490, 500, 510}, 1000, 1000, &c), 1);
    CHECK(c.w == 640 && c.h == 320);
    /* A small picture has 32 pixels a side, or all that there are. */
    CHECK_EQ(crop_around((double[]){10, 10, 12, 12}, 100, 20, &c), 1);
    CHECK(c.w == 32 && c.h == 20 && c.y == 0);
}

TEST(crop_around_nearly_all_is_the_whole) {
    struct crop c;
    CHECK_EQ(crop_around((double[]){100, 100, 700, 700}, 800, 800, &c), 0);
    CHECK(c.x == 0 && c.y == 0 && c.w == 800 && c.h == 800);
    CHECK_EQ(crop_around((double[]){0, 0, 30, 30}, 32, 32, &c), 0);
    /* All of one side, a part of the other. */
    CHECK_EQ(crop_around((double[]){300, 0, 500, 800}, 800, 800, &c), 1);
    CHECK(c.h == 800 && c.w == 400);
}

TEST(crop_around_holds_the_box) {
    for (uint32_t i = 0; i < 2000; i++) {
        double r[6];
        for (uint32_t k = 0; k < ARRAY_LEN(r); k++)
            r[k] = (double)rng_uniform(test_seed(), 8 * i + k);
        int w = 1 + (int)(r[0] * 3000), h = 1 + (int)(r[1] * 3000);
        double x = r[2] * w, y = r[3] * h;
        double box[4] = {x, y, x + r[4] * (w - x), y + r[5] * (h - y)};
        struct crop c;
        (void)crop_around(box, w, h, &c);
        CHECK(crop_is_inside(c, w, h));
        CHECK(c.x <= box[0] && c.y <= box[1]);
        CHECK(c.x + c.w >= box[2] && c.y + c.h >= box[3]);
    }
}

TEST(crop_tiles_cover_a_picture_once) {
    static const int sizes[][2] = {{64, 64}, {8, 8}, {9, 31}, {1000, 37}, {32768, 1000}};
    for (unsigned k = 0; k < ARRAY_LEN(sizes); k++) {
        for (int tiles = 1; tiles <= 8; tiles++) {
            int w = sizes[k][0], h = sizes[k][1];
            long area = 0;
            for (int i = 0; i < tiles * tiles; i++) {
                struct crop c = crop_tile(tiles, i, w, h);
                CHECK(crop_is_inside(c, w, h));
                area += (long)c.w * c.h;
                struct crop left = i % tiles ? crop_tile(tiles, i - 1, w, h) : (struct crop){0};
                CHECK_EQ(c.x, left.x + left.w);
                struct crop above =
                    i >= tiles ? crop_tile(tiles, i - tiles, w, h) : (struct crop){0};
                CHECK_EQ(c.y, above.y + above.h);
            }
            CHECK_EQ(area, (long)w * h);
        }
    }
}

/* The crop of the turned picture is the turned crop of the stored one. */
TEST(crop_stored_in_every_orientation) {
    enum { W = 7, H = 5 };
    uint8_t stored[W * H], shown[W * H], part[W * H], turned[W * H];
    for (int i = 0; i < W * H; i++)
        stored[i] = (uint8_t)i;
    for (int orientation = 1; orientation <= 8; orientation++) {
        int w = orientation >= 5 ? H : W, h = orientation >= 5 ? W : H;
        head_turn(stored, W, H, 1, orientation, shown);
        struct crop c = {1, 2, 3, 2}, s = crop_stored(c, orientation, w, h);
        CHECK(crop_is_inside(s, W, H));
        for (int y = 0; y < s.h; y++)
            memcpy(part + y * s.w, stored + (s.y + y) * W + s.x, (size_t)s.w);
        head_turn(part, s.w, s.h, 1, orientation, turned);
        for (int y = 0; y < c.h; y++)
            CHECK(!memcmp(turned + y * c.w, shown + (c.y + y) * w + c.x, (size_t)c.w));
    }
}
