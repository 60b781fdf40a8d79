/* Masks at the size of a picture: run lengths against hand-made vectors, rings against a painter. */
#include <stdio.h>
#include <stdlib.h>

#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "media/mask.h"
#include "media/picture.h"
#include "media/polygon.h"
#include "media/rle.h"
#include "tests/check.h"

/* ---- run lengths ---- */

static void check_runs(const uint32_t *runs, int n, const char *want) {
    struct buf b;
    struct rle r;
    buf_init(&b, 1000);
    rle_begin(&r, &b);
    for (int i = 0; i < n; i++)
        rle_add(&r, i % 2, runs[i]);
    CHECK_EQ(rle_end(&r), 0);
    CHECK_STR((char *)b.p, want);
    buf_clear(&b);
}

/* Worked out on paper from rleToString's description: groups of 5 bits, low first, bit 6 for more,
 * from the fourth run on as the difference to the one two before. */
TEST(rle_by_hand) {
    check_runs((uint32_t[]){4}, 1, "4");   /* all zeros */
    check_runs((uint32_t[]){15}, 1, "?");  /* 15 still is one group: its sign bit is 0 */
    check_runs((uint32_t[]){16}, 1, "`0"); /* 16 would read as negative: one more group */
    check_runs((uint32_t[]){6, 1, 40, 4}, 4, "61X13"); /* the fourth: 4 - 1 = 3 */
    check_runs((uint32_t[]){5, 5, 5, 3}, 4, "555N");   /* 3 - 5 = -2: 11110, sign from bit 4 */
    check_runs((uint32_t[]){100, 1, 2, 40, 2}, 5, "T312W10"); /* 39, then 2 - 2 = 0 */
}

/* Zeros come first even when there are none: `0`. */
TEST(rle_that_begins_with_ones) {
    struct buf b;
    struct rle r;
    buf_init(&b, 1000);
    rle_begin(&r, &b);
    rle_add(&r, 1, 3);
    rle_add(&r, 1, 0);
    rle_add(&r, 1, 1);
    CHECK_EQ(rle_end(&r), 0);
    CHECK_STR((char *)b.p, "04");
    buf_clear(&b);
}

/* cocoapi's rleFrString, read off its description: the way back. */
static int decode(const char *s, uint32_t *runs, int cap) {
    int n = 0;
    while (*s && n < cap) {
        int64_t x = 0;
        int k = 0, more = 1;
        while (more) {
            int c = *s++ - 48;
            x |= (int64_t)(c & 0x1f) << 5 * k++;
            more = c & 0x20;
            if (!more && c & 0x10) x |= (int64_t)(~UINT64_C(0) << 5 * k);
        }
        if (n > 2) x += runs[n - 2];
        runs[n++] = (uint32_t)x;
    }
    return n;
}

/* ---- masks ---- */

static void random_bits(uint8_t *bits, int n, uint64_t seed, int blobs) {
    for (int i = 0; i < n * n; i++) {
        int x = i % n, y = i / n;
        bits[i] = rng_uniform(seed, (uint64_t)(blobs ? x / 3 * 100 + y / 2 : i)) < 0.5f;
    }
}

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
        random_bits(bits, s[0], test_seed() + k, k % 2);
        struct buf b;
        buf_init(&b, 1 << 20);
        CHECK_EQ(mask_rle(&m, &b), 0);
        static uint32_t runs[20000];
        int n = decode((char *)b.p, runs, ARRAY_LEN(runs)), run = 0;
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
    random_bits(bits, 8, test_seed(), 0);
    for (int i = 0; i < 64; i++)
        grey[i] = (uint8_t)(bits[i] * 200 + i % 8);
    for (unsigned k = 0; k < ARRAY_LEN(sizes); k++) {
        const int *s = sizes[k];
        struct buf b;
        struct picture pic;
        buf_init(&b, 1 << 20);
        CHECK_EQ(mask_png(grey, s[0], s[1], s[2], &b), 0);
        CHECK_EQ(picture_png_decode(b.p, b.len, 1 << 20, &pic, NULL), 0);
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

/* ---- rings ---- */

enum { CORNERS_MAX = 4096 };
struct traced {
    int x[CORNERS_MAX], y[CORNERS_MAX], begins[CORNERS_MAX], n;
};

static void note(void *ud, int x, int y, int is_first) {
    struct traced *t = ud;
    CHECK(t->n < CORNERS_MAX);
    t->x[t->n] = x;
    t->y[t->n] = y;
    t->begins[t->n++] = is_first;
}

/* How often all rings go round the middle of pixel (x, y), clockwise. */
static int winding(const struct traced *t, int x, int y) {
    int sum = 0, first = 0;
    for (int i = 0; i < t->n; i++) {
        if (t->begins[i]) first = i;
        int next = i + 1 == t->n || t->begins[i + 1] ? first : i + 1;
        /* vertical sides right of it: a ray to the east */
        if (t->x[i] != t->x[next] || t->x[i] <= x) continue;
        int lo = t->y[i] < t->y[next] ? t->y[i] : t->y[next];
        int hi = t->y[i] < t->y[next] ? t->y[next] : t->y[i];
        if (y >= lo && y < hi) sum += t->y[next] > t->y[i] ? 1 : -1;
    }
    return sum;
}

static void check_rings(const uint8_t *bits, int w, int h) {
    static struct traced t;
    t.n = 0;
    CHECK_EQ(polygon_trace(bits, w, h, note, &t), 0);
    for (int y = 0; y < h; y++) {
        for (int x = 0; x < w; x++)
            CHECK_EQ(winding(&t, x, y), bits[y * w + x]);
    }
    for (int i = 0; i + 2 < t.n; i++) { /* corners alone: no two sides in one line */
        if (t.begins[i + 1] || t.begins[i + 2]) continue;
        CHECK((t.x[i] == t.x[i + 1]) != (t.x[i + 1] == t.x[i + 2]));
    }
}

TEST(polygon_fills_to_the_mask) {
    uint8_t bits[144];
    for (unsigned k = 0; k < 40; k++) {
        random_bits(bits, 12, test_seed() + k, k % 2);
        check_rings(bits, 12, 12);
    }
    memset(bits, 1, sizeof(bits));
    check_rings(bits, 12, 12);
    memset(bits, 0, sizeof(bits));
    check_rings(bits, 12, 12);
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

TEST(polygon_by_hand) {
    check_json("....", 2, 2, "[]");
    check_json("#...", 2, 2, "[[0,0,1,0,1,1,0,1]]");
    check_json("####", 2, 10, "[[0,0,10,0,10,10,0,10]]");
    check_json("#..#", 2, 2, "[[0,0,1,0,1,1,0,1],[1,1,2,1,2,2,1,2]]");      /* apart */
    check_json("####.####", 3, 3, "[[0,0,3,0,3,3,0,3],[1,2,2,2,2,1,1,1]]"); /* a hole */
}

TEST(polygon_without_memory) {
    uint8_t bit = 1;
    mem_fail_at(1);
    CHECK_EQ(polygon_trace(&bit, 1, 1, note, NULL), E_NOMEM);
    mem_fail_at(0);
}
