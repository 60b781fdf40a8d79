/* test_mask.c - masks at the size of a picture: every pixel has the bit of the place its centre is
 * in. */
#include "media/mask.h"

#include "kernels/base/mem.h"
#include "media/coco.h"
#include "media/picture.h"
#include "tests/check.h"
#include "tests/unit/media/rig.h"

/* Which place pixel (x, y) lies in, said plainly: that of its centre. */
static int bit_at(const struct mask *m, int x, int y) {
    int gx = (int)(((double)x + 0.5) * m->grid / m->w),
        gy = (int)(((double)y + 0.5) * m->grid / m->h);
    return m->bits[gy * m->grid + gx];
}

static const int sizes[][3] = {{8, 8, 8}, {8, 96, 72}, {8, 13, 7}, {8, 5, 3},
                               {8, 1, 1}, {5, 17, 64}, {1, 4, 4},  {8, 8, 9}};

TEST(mask_rle_is_the_picture_column_by_column) {
    uint8_t bits[64];
    for (unsigned k = 0; k < 4 * ARRAY_LEN(sizes); k++) {
        const int *s = sizes[k / 4];
        struct mask m = {.bits = bits, .grid = s[0], .w = s[1], .h = s[2]};
        rig_bits(bits, s[0], test_seed() + k, k % 2);
        struct buf b;
        buf_init(&b, 1 << 20);
        CHECK_EQ(mask_rle(&m, &b), 0);
        static uint32_t runs[20000];
        size_t n, run = 0;
        CHECK_EQ(coco_counts((char *)b.p, runs, ARRAY_LEN(runs), &n, NULL), 0);
        uint32_t left = runs[0], area = 0;
        for (int x = 0; x < m.w; x++) {
            for (int y = 0; y < m.h; y++) {
                while (left == 0) {
                    CHECK(run + 1 < n);
                    left = runs[++run];
                }
                CHECK_EQ(run % 2, bit_at(&m, x, y));
                area += (uint32_t)bit_at(&m, x, y);
                left--;
            }
        }
        CHECK(left == 0 && run == n - 1);
        CHECK_EQ(mask_area(&m), area);
        buf_clear(&b);
    }
}

TEST(mask_bounds_hold_every_pixel) {
    uint8_t bits[64] = {0};
    struct mask m = {.bits = bits, .grid = 8, .w = 96, .h = 72};
    int box[4];
    CHECK_EQ(mask_bounds(&m, box), -1);
    bits[3 * 8 + 2] = bits[5 * 8 + 6] = 1;
    CHECK_EQ(mask_bounds(&m, box), 0);
    CHECK(box[0] == 24 && box[1] == 27 && box[2] == 60 && box[3] == 27);
    m.w = m.h = 2; /* so small that neither place has a pixel's centre */
    CHECK_EQ(mask_area(&m), 0);
    CHECK_EQ(mask_bounds(&m, box), -1);
}

TEST(mask_range_floors_and_ceils) {
    static const double cases[][5] = {{0, 100, 100, 0, 64},    {50, 50, 100, 32, 32},
                                      {49, 51, 100, 31, 33},   {25, 75, 100, 16, 48},
                                      {100, 100, 100, 64, 64}, {0, 1, 96, 0, 1}};
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        int lo, hi;
        mask_range(cases[i][0], cases[i][1], cases[i][2], 64, &lo, &hi);
        CHECK_EQ(lo, cases[i][3]);
        CHECK_EQ(hi, cases[i][4]);
    }
}

TEST(mask_png_shows_every_pixel) {
    uint8_t bits[64], grey[64];
    rig_bits(bits, 8, test_seed(), 0);
    for (int i = 0; i < 64; i++)
        grey[i] = (uint8_t)(bits[i] * 200 + i % 8);
    for (unsigned k = 0; k < ARRAY_LEN(sizes); k++) {
        const int *s = sizes[k];
        struct buf b;
        struct picture pic;
        buf_init(&b, 1 << 20);
        CHECK_EQ(mask_png(grey, s[0], s[1], s[2], &b), 0);
        CHECK_EQ(picture_decode(b.p, b.len, 1 << 20, &pic.rgb, &pic.w, &pic.h, NULL), 0);
        CHECK(pic.w == s[1] && pic.h == s[2]);
        struct mask m = {.bits = grey, .grid = s[0], .w = s[1], .h = s[2]};
        for (int y = 0; y < s[2]; y++) {
            for (int x = 0; x < s[1]; x++)
                CHECK_EQ(pic.rgb[3 * (y * s[1] + x)], bit_at(&m, x, y));
        }
        mem_free(pic.rgb);
        buf_clear(&b);
    }
}

static void check_json(const char *rows, int n, int size, const char *want) {
    uint8_t bits[64];
    for (int i = 0; i < n * n; i++)
        bits[i] = rows[i] == '#';
    struct mask m = {.bits = bits, .grid = n, .w = size, .h = size};
    struct buf b;
    buf_init(&b, 1000);
    mask_rings(&m, &b);
    CHECK_STR((char *)b.p, want);
    buf_clear(&b);
}

TEST(mask_rings_by_hand) {
    check_json("....", 2, 2, "[]");
    check_json("#...", 2, 2, "[[0,0,1,0,1,1,0,1]]");
    check_json("####", 2, 10, "[[0,0,10,0,10,10,0,10]]");
    check_json("#..#", 2, 2, "[[0,0,1,0,1,1,0,1],[1,1,2,1,2,2,1,2]]");      /* apart */
    check_json("####.####", 3, 3, "[[0,0,3,0,3,3,0,3],[1,2,2,2,2,1,1,1]]"); /* a hole */
}
