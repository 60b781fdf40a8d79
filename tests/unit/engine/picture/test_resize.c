/* test_image.c - resizing equals Pillow 9.4's, byte for byte (tests/golden/text/resize.txt, made by
 * tools/oracle/make_text_golden.py). */
#include "engine/picture/resize.h"
#include "tests/unit/engine/text_rig.h"

/* The formula of the generator's picture(). */
static uint8_t *made_picture(int w, int h) {
    uint8_t *p = mem_must((size_t)w * (size_t)h * 3);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            for (int c = 0; c < 3; c++) {
                int v = ((x * 7 + y * 3 + c * 50) ^ (x * y >> 3)) & 255;
                p[((size_t)y * (size_t)w + (size_t)x) * 3 + (size_t)c] =
                    (uint8_t)((x + y) % 5 ? v : 255 * (c & 1));
            }
    return p;
}

TEST(image_resize_equals_pillow) {
    FILE *f = fopen("tests/golden/text/resize.txt", "r");
    CHECK(f != NULL);
    int w, h, ow, oh, cases = 0;
    unsigned want;
    while (fscanf(f, "%d %d %d %d %x", &w, &h, &ow, &oh, &want) == 5) {
        uint8_t *in = made_picture(w, h), *out = mem_must((size_t)ow * (size_t)oh * 3);
        struct err e = {0};
        CHECK_EQ(resize_picture(in, w, h, out, ow, oh, &e), 0);
        uint32_t got = text_fnv(out, (size_t)ow * (size_t)oh * 3);
        if (got != want)
            test_failed(__FILE__, __LINE__, "%dx%d to %dx%d is not Pillow's", w, h, ow, oh);
        mem_free(in);
        mem_free(out);
        cases++;
    }
    fclose(f);
    CHECK_EQ(cases, 17);
}

TEST(image_resize_refuses_sides) {
    uint8_t in[3] = {1, 2, 3}, out[3];
    static const int bad[][4] = {{0, 1, 1, 1},
                                 {1, 0, 1, 1},
                                 {1, 1, 0, 1},
                                 {1, 1, 1, -1},
                                 {RESIZE_SIDE_MAX + 1, 1, 1, 1},
                                 {1, 1, 1, RESIZE_SIDE_MAX + 1}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err e = {0};
        const int *b = bad[i];
        CHECK_EQ(resize_picture(in, b[0], b[1], out, b[2], b[3], &e), E_INVALID);
        CHECK_HAS(e.text, "side");
    }
}

/* Extreme shapes are in bounds (under ASan) and a flat picture stays flat. */
TEST(image_resize_long_strips) {
    enum { LONG = RESIZE_SIDE_MAX };
    uint8_t *in = mem_must(LONG * 3), *out = mem_must(64 * 64 * 3);
    memset(in, 77, LONG * 3);
    for (int k = 0; k < 2; k++) {
        struct err e = {0};
        memset(out, 0, 64 * 64 * 3);
        CHECK_EQ(resize_picture(in, k ? 1 : LONG, k ? LONG : 1, out, 64, 64, &e), 0);
        for (int i = 0; i < 64 * 64 * 3; i++)
            CHECK_EQ(out[i], 77);
    }
    mem_free(in);
    mem_free(out);
}

TEST(image_resize_out_of_memory) {
    uint8_t *in = made_picture(100, 90), out[30 * 20 * 3];
    uint64_t failures = 0;
    for (;; failures++) {
        struct err e = {0};
        mem_fail_at(failures + 1);
        int rc = resize_picture(in, 100, 90, out, 30, 20, &e);
        mem_fail_at(0);
        if (!rc) break;
        CHECK_EQ(rc, E_NOMEM);
    }
    CHECK(failures >= 4);
    mem_free(in);
}
