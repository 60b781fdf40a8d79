/* test_head.c - sizes and orientations out of first bytes, and pictures turned as Pillow turns
 * them. */
#include "media/head.h"

#include <string.h>

#include "media/picture.h"
#include "tests/check.h"

/* A JPEG as far as its frame, 7 x 5, with a TIFF block of `n` bytes in APP1. */
static size_t jpeg_with(const uint8_t *tiff, size_t n, uint8_t *to) {
    size_t at = 0, len = n + 8;
    const uint8_t begin[] = {0xff, 0xd8, 0xff, 0xe1, (uint8_t)(len >> 8), (uint8_t)len, 'E', 'x',
                             'i',  'f',  0,    0};
    const uint8_t frame[] = {0xff, 0xff, 0xc0, 0, 17, 8,  0, 5, 0,  7,
                             3,    1,    17,   0, 2,  17, 1, 3, 17, 1};
    memcpy(to, begin, sizeof(begin));
    at += sizeof(begin);
    memcpy(to + at, tiff, n);
    at += n;
    memcpy(to + at, frame, sizeof(frame));
    return at + sizeof(frame);
}

static const uint8_t little[] = {'I',  'I', 42, 0, 8, 0, 0, 0, 2, 0,       /* two entries */
                                 0x0f, 1,   2,  0, 1, 0, 0, 0, 9, 9, 9, 9, /* the maker */
                                 0x12, 1,   3,  0, 1, 0, 0, 0, 6, 0, 0, 0};
static const uint8_t big[] = {'M',  'M', 0, 42, 0, 0, 0, 8, 0, 1, 1,
                              0x12, 0,   3, 0,  0, 0, 1, 0, 8, 0, 0};

TEST(head_reads_size_and_orientation) {
    uint8_t bytes[200];
    struct head h;
    size_t n = jpeg_with(little, sizeof(little), bytes);
    CHECK_EQ(head_read(bytes, n, 1000, &h, NULL), 0);
    CHECK(h.w == 7 && h.h == 5);
    CHECK_EQ(h.orientation, 6);
    n = jpeg_with(big, sizeof(big), bytes);
    CHECK_EQ(head_read(bytes, n, 1000, &h, NULL), 0);
    CHECK_EQ(h.orientation, 8);
    struct buf png;
    buf_init(&png, 1000);
    static const uint8_t grey[6] = {0};
    CHECK_EQ(picture_png_grey(grey, 3, 2, &png), 0);
    CHECK_EQ(head_read(png.p, 24, 1000, &h, NULL), 0); /* no more of it is needed */
    CHECK(h.w == 3 && h.h == 2 && h.orientation == 1);
    buf_clear(&png);
}

TEST(head_takes_nothing_for_granted) {
    uint8_t bytes[200], tiff[sizeof(little)];
    struct head h = {0, 0, 0};
    struct err e = {0};
    size_t n = jpeg_with(little, sizeof(little), bytes);
    for (size_t k = 0; k < n - 13; k++) /* cut anywhere before the size */
        CHECK(head_read(bytes, k, 1000, &h, NULL) < 0);
    CHECK_EQ(head_read(bytes, n, 34, &h, &e), E_TOO_BIG);
    CHECK_HAS(e.text, "7 x 5");
    CHECK_EQ(h.w, 0);
    CHECK_EQ(head_read((const uint8_t *)"GIF89a", 6, 1000, &h, NULL), E_UNSUPPORTED);
    CHECK_EQ(head_read(NULL, 0, 1000, &h, NULL), E_UNSUPPORTED);
    /* Each byte of the block in turn says something else: never outside, always 1 .. 8. */
    for (size_t k = 0; k < sizeof(little); k++) {
        for (int v = 0; v < 256; v++) {
            memcpy(tiff, little, sizeof(little));
            tiff[k] = (uint8_t)v;
            for (size_t len = 0; len <= sizeof(tiff); len++) {
                int o = head_exif(tiff, len);
                CHECK(o >= 1 && o <= 8);
            }
        }
    }
    memcpy(tiff, little, sizeof(little));
    tiff[30] = 9; /* no such orientation */
    CHECK_EQ(head_exif(tiff, sizeof(tiff)), 1);
    tiff[24] = 4; /* not a short */
    CHECK_EQ(head_exif(tiff, sizeof(tiff)), 1);
}

/* What Pillow 9.4's ImageOps.exif_transpose makes of [[0, 1, 2], [3, 4, 5]]. */
TEST(head_turns_as_pillow_does) {
    static const uint8_t stored[6] = {0, 1, 2, 3, 4, 5};
    static const uint8_t shown[8][6] = {{0, 1, 2, 3, 4, 5}, {2, 1, 0, 5, 4, 3}, {5, 4, 3, 2, 1, 0},
                                        {3, 4, 5, 0, 1, 2}, {0, 3, 1, 4, 2, 5}, {3, 0, 4, 1, 5, 2},
                                        {5, 2, 4, 1, 3, 0}, {2, 5, 1, 4, 0, 3}};
    for (int o = 1; o <= 8; o++) {
        uint8_t out[6], rgb[18], turned[18];
        head_turn(stored, 3, 2, 1, o, out);
        CHECK_MEM(out, shown[o - 1], 6);
        for (int i = 0; i < 18; i++)
            rgb[i] = (uint8_t)(stored[i / 3] * 10 + i % 3);
        head_turn(rgb, 3, 2, 3, o, turned);
        for (int i = 0; i < 18; i++)
            CHECK_EQ(turned[i], shown[o - 1][i / 3] * 10 + i % 3);
    }
}
