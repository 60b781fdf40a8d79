/* test_head.c - sizes and orientations out of first bytes, and pictures turned as Pillow turns
 * them. */
#include "media/head.h"

#include <string.h>

#include "kernels/base/mem.h"
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
    struct head h = {0};
    struct err e = {0};
    size_t n = jpeg_with(little, sizeof(little), bytes);
    for (size_t k = 0; k < n - 13; k++) /* cut anywhere before the size */
        CHECK(head_read(bytes, k, 1000, &h, NULL) < 0);
    CHECK_EQ(head_read(bytes, n, 34, &h, &e), E_TOO_BIG);
    CHECK_HAS(e.text, "7 x 5");
    CHECK_EQ(h.w, 0);
    CHECK_EQ(head_read((const uint8_t *)"GIF89a", 6, 1000, &h, NULL), E_UNSUPPORTED);
    CHECK_EQ(head_read(NULL, 0, 1000, &h, NULL), E_FORMAT);
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

/* A chunk with a wrong checksum, which nobody looks at here. */
static void png_chunk(struct buf *b, const char *name, const void *bytes, size_t n) {
    const uint8_t len[4] = {0, 0, (uint8_t)(n >> 8), (uint8_t)n};
    buf_add(b, len, 4);
    buf_add(b, name, 4);
    buf_add(b, bytes, n);
    buf_add(b, "abcd", 4);
}

TEST(head_png_orientation_stands_before_or_behind_the_pixels) {
    static const uint8_t ihdr[13] = {0, 0, 0, 3, 0, 0, 0, 2, 8, 2, 0, 0, 1};
    for (int k = 0; k < 2; k++) {
        struct buf png;
        struct head h;
        buf_init(&png, 1000);
        buf_add(&png, "\x89PNG\r\n\x1a\n", 8);
        png_chunk(&png, "IHDR", ihdr, sizeof(ihdr));
        png_chunk(&png, "tEXt", "a\0b", 3);
        if (k) png_chunk(&png, "IDAT", "x", 1);
        png_chunk(&png, "eXIf", big, sizeof(big));
        size_t end = png.len;
        png_chunk(&png, "IEND", "", 0);
        for (size_t n = 33; n <= png.len; n++) {
            CHECK_EQ(head_read(png.p, n, 1000, &h, NULL), 0);
            CHECK(h.kind == HEAD_PNG && h.w == 3 && h.h == 2 && h.is_costly);
            CHECK_EQ(h.orientation, n < end ? 1 : 8);
            CHECK_EQ(h.may_turn, n < end);
        }
        buf_clear(&png);
    }
}

/* What stands behind the end is no part of it; and without a word of it nothing more is awaited. */
TEST(head_png_ends_where_it_says) {
    static const uint8_t ihdr[13] = {0, 0, 0, 3, 0, 0, 0, 2, 8, 2, 0, 0, 0};
    struct buf png;
    struct head h;
    buf_init(&png, 1000);
    buf_add(&png, "\x89PNG\r\n\x1a\n", 8);
    png_chunk(&png, "IHDR", ihdr, sizeof(ihdr));
    png_chunk(&png, "IDAT", "x", 1);
    png_chunk(&png, "IEND", "", 0);
    png_chunk(&png, "eXIf", big, sizeof(big));
    CHECK_EQ(head_read(png.p, png.len, 1000, &h, NULL), 0);
    CHECK(h.orientation == 1 && !h.may_turn);
    png.p[8 + 25 + 3] = 200; /* the pixels' chunk claims more than there is */
    CHECK_EQ(head_read(png.p, png.len, 1000, &h, NULL), 0);
    CHECK(h.orientation == 1 && h.may_turn);
    buf_clear(&png);
}

TEST(head_names_what_is_not_taken) {
    static const struct {
        const char *bytes;
        size_t len;
        const char *name;
    } cases[] = {{"GIF89a", 6, "a GIF"},
                 {"BM123456", 8, "a BMP"},
                 {"II*\0abcd", 8, "a TIFF"},
                 {"MM\0*abcd", 8, "a TIFF"},
                 {"\xff\x0a\x00", 3, "a JPEG XL"},
                 {"\0\0\0\x0cJXL \r\n\x87\n", 12, "a JPEG XL"},
                 {"\0\0\0\x18"
                  "ftypheic\0\0\0\0mif1heic",
                  24, "a HEIC"},
                 {"\0\0\0\x1c"
                  "ftypmif1\0\0\0\0mif1avifmiaf",
                  28, "an AVIF"},
                 {"\0\0\0\x14"
                  "ftypisom\0\0\0\0mp41",
                  20, "a film"},
                 {"\x89PNG\r\n\x1a\n\0\0\0\4CgBI\x50\0\x20\2", 20, "CgBI"},
                 {"%PDF-1.4", 8, "a PDF"},
                 {"<html>", 6, "neither a PNG"}};
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct head h;
        struct err e = {0};
        CHECK_EQ(head_read((const uint8_t *)cases[i].bytes, cases[i].len, 1000, &h, &e),
                 E_UNSUPPORTED);
        CHECK_HAS(e.text, cases[i].name);
        for (size_t n = 1; n < cases[i].len; n++) { /* under ASan */
            uint8_t *exact = mem_must(n);
            memcpy(exact, cases[i].bytes, n);
            CHECK(head_read(exact, n, 1000, &h, NULL) < 0);
            mem_free(exact);
        }
    }
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
