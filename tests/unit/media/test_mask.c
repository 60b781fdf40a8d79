/* test_mask.c - masks at the size of a picture: every pixel has the bit of the place its centre is
 * in. */
#include "media/mask.h"

#include <stdio.h>
#include <string.h>

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

/* ---- whatever is told of a mask is told of its pixels ---- */

enum { GRID = 64, SIDE_MAX = 130 };

struct shown {
    uint8_t px[SIDE_MAX * SIDE_MAX]; /* (h, w) 0 or 1 */
    int w, h;
};

static void show(const struct mask *m, struct shown *s) {
    static uint8_t grey[GRID * GRID];
    struct buf png;
    struct picture pic;
    for (int i = 0; i < m->grid * m->grid; i++)
        grey[i] = m->bits[i] * 255;
    buf_init(&png, 1 << 20);
    CHECK_EQ(mask_png(m, grey, &png), 0);
    CHECK_EQ(picture_decode(png.p, png.len, 1 << 20, &pic.rgb, &pic.w, &pic.h, NULL), 0);
    CHECK(pic.w == m->w && pic.h == m->h);
    s->w = pic.w;
    s->h = pic.h;
    for (int i = 0; i < pic.w * pic.h; i++)
        s->px[i] = pic.rgb[3 * i] != 0;
    mem_free(pic.rgb);
    buf_clear(&png);
}

static void check_figures(const struct mask *m, const struct shown *s) {
    int box[4], x0 = s->w, y0 = s->h, x1 = 0, y1 = 0;
    uint64_t area = 0;
    for (int i = 0; i < s->w * s->h; i++) {
        if (!s->px[i]) continue;
        int x = i % s->w, y = i / s->w;
        x0 = x < x0 ? x : x0;
        y0 = y < y0 ? y : y0;
        x1 = x >= x1 ? x + 1 : x1;
        y1 = y >= y1 ? y + 1 : y1;
        area++;
    }
    CHECK_EQ(mask_area(m), area);
    CHECK_EQ(mask_bounds(m, box), area ? 0 : -1);
    if (area) CHECK(box[0] == x0 && box[1] == y0 && box[2] == x1 - x0 && box[3] == y1 - y0);
}

static void check_runs(const struct mask *m, const struct shown *s) {
    static uint32_t runs[SIDE_MAX * SIDE_MAX + 2];
    struct buf b;
    size_t n;
    int at = 0;
    buf_init(&b, 1 << 20);
    CHECK_EQ(mask_rle(m, &b), 0);
    CHECK_EQ(coco_counts((char *)b.p, runs, ARRAY_LEN(runs), &n, NULL), 0);
    for (size_t r = 0; r < n; r++) {
        for (uint32_t k = 0; k < runs[r]; k++, at++)
            CHECK_EQ(s->px[at % s->h * s->w + at / s->h], r % 2);
    }
    CHECK_EQ(at, s->w * s->h);
    buf_clear(&b);
}

/* Even-odd: pixels between an odd and an even vertical edge of the rings. */
static void check_rings(const struct mask *m, const struct shown *s) {
    static uint8_t flips[SIDE_MAX * (SIDE_MAX + 1)];
    struct buf b;
    buf_init(&b, 1 << 20);
    CHECK_EQ(mask_rings(m, &b), 0);
    memset(flips, 0, sizeof(flips));
    for (const char *p = (const char *)b.p + 1; *p == '[' || *p == ',';) {
        p = strchr(p, '[');
        int first[2] = {-1, -1}, last[2] = {0, 0}, at[2], used, corners = 0;
        for (; sscanf(p, "%*1[[,]%d,%d%n", &at[0], &at[1], &used) == 2; p += used, corners++) {
            if (corners == 0) memcpy(first, at, sizeof(at));
            if (corners) CHECK((at[0] == last[0]) != (at[1] == last[1])); /* no edge of length 0 */
            for (int y = at[1] < last[1] ? at[1] : last[1];
                 corners && at[0] == last[0] && y < (at[1] < last[1] ? last[1] : at[1]); y++)
                flips[y * (SIDE_MAX + 1) + at[0]] ^= 1;
            memcpy(last, at, sizeof(at));
        }
        CHECK(corners >= 4 && *p == ']');
        for (int y = first[1] < last[1] ? first[1] : last[1];
             first[0] == last[0] && y < (first[1] < last[1] ? last[1] : first[1]); y++)
            flips[y * (SIDE_MAX + 1) + first[0]] ^= 1;
        p++;
    }
    for (int y = 0; y < s->h; y++) {
        for (int x = 0, inside = 0; x < s->w; x++) {
            inside ^= flips[y * (SIDE_MAX + 1) + x];
            CHECK_EQ(inside, s->px[y * s->w + x]);
        }
    }
    buf_clear(&b);
}

TEST(mask_figures_are_those_of_its_pixels) {
    static uint8_t bits[GRID * GRID];
    static struct shown s;
    for (int side = 1; side <= SIDE_MAX; side++) {
        for (int k = 0; k < 4; k++) {
            int other = k & 1 ? side : 1 + (side * 37 + k * 11) % SIDE_MAX;
            struct mask m = {.bits = bits, .grid = GRID, .w = side, .h = other};
            rig_bits(bits, GRID, test_seed() + (uint64_t)(side * 4 + k), k >> 1);
            for (int i = 0; i < GRID * GRID; i++) /* now and then with room around it */
                if (k == 2 && (i % GRID < side % 30 || i / GRID > 40)) bits[i] = 0;
            show(&m, &s);
            check_figures(&m, &s);
            check_runs(&m, &s);
            check_rings(&m, &s);
        }
    }
}

/* The grid over a part of the picture: the same, and nothing outside. */
TEST(mask_of_a_part) {
    static const int parts[][6] = {{40, 30, 0, 0, 40, 30},
                                   {130, 97, 33, 12, 64, 64},
                                   {90, 130, 80, 1, 10, 5},
                                   {100, 100, 99, 99, 1, 1},
                                   {128, 64, 0, 32, 128, 32}};
    static uint8_t bits[GRID * GRID];
    static struct shown s, part;
    for (unsigned k = 0; k < ARRAY_LEN(parts); k++) {
        const int *p = parts[k];
        struct mask m = {.bits = bits, .grid = GRID, .w = p[0], .h = p[1]};
        m.part = (struct crop){p[2], p[3], p[4], p[5]};
        struct mask alone = {.bits = bits, .grid = GRID, .w = p[4], .h = p[5]};
        rig_bits(bits, GRID, test_seed() + k, (int)k & 1);
        show(&m, &s);
        show(&alone, &part);
        for (int y = 0; y < s.h; y++) {
            for (int x = 0; x < s.w; x++) {
                int px = x - p[2], py = y - p[3];
                int is_in = px >= 0 && py >= 0 && px < part.w && py < part.h;
                CHECK_EQ(s.px[y * s.w + x], is_in ? part.px[py * part.w + px] : 0);
            }
        }
        check_figures(&m, &s);
        check_runs(&m, &s);
        check_rings(&m, &s);
    }
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
        struct mask m = {.bits = grey, .grid = s[0], .w = s[1], .h = s[2]};
        CHECK_EQ(mask_png(&m, grey, &b), 0);
        CHECK_EQ(picture_decode(b.p, b.len, 1 << 20, &pic.rgb, &pic.w, &pic.h, NULL), 0);
        CHECK(pic.w == s[1] && pic.h == s[2]);
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
