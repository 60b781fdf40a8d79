/* Pictures: every kind of PNG that there is, made here by the library's own writer, and every way
 * we know of to break one. JPEG and WebP: test_picture_jpeg.c, test_picture_webp.c. */
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "media/picture.h"
#include "tests/check.h"
#include "tests/unit/media/rig.h"

enum { W = 21, H = 13 };
static const uint64_t PIXELS_MAX = 40000000;

static int decode(const uint8_t *b, size_t len, struct picture *pic, struct err *e) {
    *e = (struct err){0};
    return picture_decode(b, len, PIXELS_MAX, &pic->rgb, &pic->w, &pic->h, e);
}

static void check_refused(const uint8_t *b, size_t len, int code, const char *piece) {
    struct picture pic;
    struct err e;
    CHECK_EQ(decode(b, len, &pic, &e), code);
    CHECK(pic.rgb == NULL);
    CHECK_HAS(e.text, piece);
    mem_free(pic.rgb);
}

/* ---- PNG of any kind ---- */

static void to_buf(png_structp png, png_bytep p, size_t n) { buf_add(png_get_io_ptr(png), p, n); }

static void no_flush(png_structp png) { (void)png; }

struct kind {
    int type, depth, interlaced, trns;
};

/* Rows of raw samples, the same for the same (kind, x, y): every bit of them is used. */
static void raw_row(const struct kind *k, int y, uint8_t *row, size_t bytes) {
    (void)k;
    for (size_t i = 0; i < bytes; i++)
        row[i] = (uint8_t)(i * 37 + (size_t)y * 11 + i * (size_t)y);
}

static void write_png(struct buf *out, const struct kind *k) {
    buf_init(out, 1 << 20);
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_set_write_fn(png, out, to_buf, no_flush);
    png_set_IHDR(png, info, W, H, k->depth, k->type,
                 k->interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, 0, 0);
    png_color palette[256];
    png_byte alpha[256];
    for (int i = 0; i < 256; i++) {
        palette[i] = (png_color){(png_byte)i, (png_byte)(255 - i), (png_byte)(i * 7)};
        alpha[i] = (png_byte)(i * 3);
    }
    if (k->type == PNG_COLOR_TYPE_PALETTE) png_set_PLTE(png, info, palette, 1 << k->depth);
    png_color_16 one = {0, 1, 2, 3, 0};
    if (k->trns && k->type == PNG_COLOR_TYPE_PALETTE)
        png_set_tRNS(png, info, alpha, 1 << k->depth, NULL);
    else if (k->trns)
        png_set_tRNS(png, info, NULL, 0, &one);
    png_set_gAMA(png, info, 0.9); /* must make no difference */
    png_write_info(png, info);
    size_t bytes = png_get_rowbytes(png, info);
    uint8_t *all = mem_must(bytes * H);
    png_bytep rows[H];
    for (int y = 0; y < H; y++) {
        rows[y] = all + (size_t)y * bytes;
        raw_row(k, y, rows[y], bytes);
    }
    png_write_image(png, rows);
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    mem_free(all);
}

/* What a sample row should become, by the book and one sample at a time. */
static unsigned sample(const uint8_t *row, int depth, int i) {
    if (depth == 16) return (unsigned)(row[2 * i] << 8 | row[2 * i + 1]);
    if (depth == 8) return row[i];
    int per = 8 / depth;
    return (unsigned)(row[i / per] >> (8 - depth * (i % per + 1))) & ((1u << depth) - 1);
}

static double on_white(double v, double a) { return v * a + 255 * (1 - a); }

static void expected_pixel(const struct kind *k, const uint8_t *row, int x, double rgb[3]) {
    double full = (double)((1u << k->depth) - 1), a = 1;
    int has_alpha = (k->type & PNG_COLOR_MASK_ALPHA) != 0;
    int colours = k->type & PNG_COLOR_MASK_COLOR ? 3 : 1, n = colours + has_alpha;
    if (k->type == PNG_COLOR_TYPE_PALETTE) {
        unsigned i = sample(row, k->depth, x);
        rgb[0] = i;
        rgb[1] = 255 - i;
        rgb[2] = (uint8_t)(i * 7);
        if (k->trns) a = (uint8_t)(i * 3) / 255.0;
    } else {
        unsigned v[3];
        for (int c = 0; c < 3; c++) {
            v[c] = sample(row, k->depth, x * n + (colours == 3 ? c : 0));
            rgb[c] = v[c] * 255.0 / full;
        }
        if (has_alpha) a = sample(row, k->depth, x * n + n - 1) / full;
        if (k->trns && colours == 3 && v[0] == 1 && v[1] == 2 && v[2] == 3) a = 0;
        if (k->trns && colours == 1 && v[0] == 0) a = 0;
    }
    for (int c = 0; c < 3; c++)
        rgb[c] = on_white(rgb[c], a);
}

static void check_kind(const struct kind *k) {
    struct buf png;
    write_png(&png, k);
    struct picture pic;
    struct err e;
    CHECK_EQ(decode(png.p, png.len, &pic, &e), 0);
    CHECK_EQ(pic.w, W);
    CHECK_EQ(pic.h, H);
    double worst = 0;
    for (int y = 0; y < H; y++) {
        uint8_t row[W * 8 + 8];
        raw_row(k, y, row, sizeof(row));
        for (int x = 0; x < W; x++) {
            double want[3];
            expected_pixel(k, row, x, want);
            for (int c = 0; c < 3; c++) {
                double off = want[c] - pic.rgb[3 * (y * W + x) + c];
                if (off < 0) off = -off;
                if (off > worst) worst = off;
            }
        }
    }
    if (worst > 0.51 + (k->depth == 16))
        test_failed(__FILE__, __LINE__, "off by %.2f: type %d depth %d interlaced %d trns %d",
                    worst, k->type, k->depth, k->interlaced, k->trns);
    mem_free(pic.rgb);
    buf_clear(&png);
}

TEST(picture_png_of_every_kind) {
    static const int kinds[][2] = {{0, 1}, {0, 2}, {0, 4}, {0, 8}, {0, 16}, {2, 8}, {2, 16}, {3, 1},
                                   {3, 2}, {3, 4}, {3, 8}, {4, 8}, {4, 16}, {6, 8}, {6, 16}};
    for (unsigned i = 0; i < ARRAY_LEN(kinds); i++) {
        for (int variant = 0; variant < 4; variant++) {
            struct kind k = {kinds[i][0], kinds[i][1], variant & 1, variant >> 1};
            if (k.trns && (k.type & PNG_COLOR_MASK_ALPHA)) continue;
            check_kind(&k);
        }
    }
}

TEST(picture_png_round_trip_and_same_bytes) {
    uint8_t rgb[W * H * 3];
    rig_rgb(rgb, W, H);
    struct buf a, b;
    buf_init(&a, 100000);
    buf_init(&b, 100000);
    CHECK_EQ(picture_png(rgb, W, H, &a), 0);
    CHECK_EQ(picture_png(rgb, W, H, &b), 0);
    CHECK_EQ(a.len, b.len);
    CHECK_MEM(a.p, b.p, a.len);
    struct picture pic;
    struct err e;
    CHECK_EQ(decode(a.p, a.len, &pic, &e), 0);
    CHECK_MEM(pic.rgb, rgb, sizeof(rgb));
    mem_free(pic.rgb);
    buf_clear(&a);
    buf_clear(&b);
}

TEST(picture_png_into_a_full_buffer) {
    uint8_t rgb[W * H * 3];
    rig_rgb(rgb, W, H);
    struct buf b;
    buf_init(&b, 50);
    CHECK_EQ(picture_png(rgb, W, H, &b), E_TOO_BIG);
    buf_clear(&b);
}

TEST(picture_1x1) {
    struct buf png;
    rig_png(&png, 1, 1);
    struct picture pic;
    struct err e;
    CHECK_EQ(decode(png.p, png.len, &pic, &e), 0);
    CHECK_EQ(pic.w * pic.h, 1);
    mem_free(pic.rgb);
    buf_clear(&png);
}

/* ---- sizes: refused by the header alone ---- */

static void put32(uint8_t *p, uint32_t v) {
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static void header_of(uint8_t out[45], uint32_t w, uint32_t h) {
    struct buf png;
    rig_png(&png, 1, 1);
    memcpy(out, png.p, 45);
    buf_clear(&png);
    put32(out + 16, w);
    put32(out + 20, h);
}

TEST(picture_too_large_is_refused_before_memory_is_taken) {
    static const struct {
        uint32_t w, h;
        int code;
        const char *piece;
    } cases[] = {{20000, 20000, E_TOO_BIG, "20000 x 20000"},
                 {1, 65535, E_TOO_BIG, "a side may have at most 32768"},
                 {65535, 1, E_TOO_BIG, "65535 x 1"},
                 {0x7fffffff, 0x7fffffff, E_TOO_BIG, "32768"},
                 {0xffffffff, 1, E_TOO_BIG, "32768"},
                 {0, 5, E_FORMAT, "damaged"},
                 {5, 0, E_FORMAT, "damaged"}};
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t png[45];
        header_of(png, cases[i].w, cases[i].h);
        struct mem_stats before, after;
        mem_stats(&before);
        check_refused(png, sizeof(png), cases[i].code, cases[i].piece);
        mem_stats(&after);
        CHECK_EQ(after.allocations, before.allocations);
    }
}

TEST(picture_png_with_side_of_the_limit_is_taken) {
    struct buf png;
    rig_png(&png, 1, PICTURE_SIDE_MAX);
    struct picture pic;
    struct err e;
    CHECK_EQ(decode(png.p, png.len, &pic, &e), 0);
    CHECK_EQ(pic.h, PICTURE_SIDE_MAX);
    mem_free(pic.rgb);
    CHECK_EQ(picture_decode(png.p, png.len, 1000, &pic.rgb, &pic.w, &pic.h, &e), E_TOO_BIG);
    buf_clear(&png);
}

/* ---- broken files ---- */

static void some_jpeg(struct buf *out, int is_progressive) {
    uint8_t rgb[48 * 32 * 3];
    rig_rgb(rgb, 48, 32);
    rig_jpeg(out, rgb, 48, 32,
             &(struct rig_jpeg){.sampling = {{2, 2}}, .is_progressive = is_progressive});
}

TEST(picture_that_is_none) {
    check_refused((const uint8_t *)"", 0, E_FORMAT, "empty");
    check_refused((const uint8_t *)"hello, world", 12, E_UNSUPPORTED, "neither");
    check_refused((const uint8_t *)"GIF89a\1\0\1\0", 10, E_UNSUPPORTED,
                  "this is a GIF; send it as");
    check_refused((const uint8_t *)"\x89PNG\r\n\x1a\n", 8, E_FORMAT, "cut short");
    check_refused((const uint8_t *)"\xff\xd8\xff", 3, E_FORMAT, "cut short");
    check_refused((const uint8_t *)"\xff\xd8\xff\xd9", 4, E_FORMAT, "damaged");
    check_refused((const uint8_t *)"\xff\xd8\xff\xe0\0\1", 6, E_FORMAT, "damaged");
}

TEST(picture_cut_anywhere_is_refused) {
    struct buf files[3];
    rig_png(&files[0], W, H);
    some_jpeg(&files[1], 0);
    some_jpeg(&files[2], 1);
    for (int f = 0; f < 3; f++) {
        for (size_t n = 0; n < files[f].len; n++) {
            struct picture pic;
            struct err e;
            uint8_t *exact = mem_must(n + 1); /* an over-read shows under ASan */
            memcpy(exact, files[f].p, n);
            int rc = decode(exact, n, &pic, &e);
            if (rc != E_FORMAT && !(n < 8 && rc == E_UNSUPPORTED))
                test_failed(__FILE__, __LINE__, "file %d, %zu bytes: %d", f, n, rc);
            CHECK(pic.rgb == NULL);
            mem_free(pic.rgb);
            mem_free(exact);
        }
        buf_clear(&files[f]);
    }
}

TEST(picture_with_flipped_bits_is_refused_or_decoded) {
    struct buf files[3];
    rig_png(&files[0], W, H);
    some_jpeg(&files[1], 0);
    some_jpeg(&files[2], 1);
    uint64_t seed = test_seed();
    for (int f = 0; f < 3; f++) {
        for (uint64_t i = 0; i < 1500; i++) {
            uint64_t at = (seed + i * 2654435761u + i * i * 40503u) % (files[f].len * 8);
            files[f].p[at / 8] ^= (uint8_t)(1u << at % 8);
            struct picture pic;
            struct err e;
            int rc = decode(files[f].p, files[f].len, &pic, &e);
            CHECK(rc == 0 ? pic.rgb != NULL : pic.rgb == NULL && e.text[0]);
            mem_free(pic.rgb);
            files[f].p[at / 8] ^= (uint8_t)(1u << at % 8);
        }
        buf_clear(&files[f]);
    }
}

TEST(picture_without_memory) {
    struct buf png, jpeg;
    rig_png(&png, W, H);
    some_jpeg(&jpeg, 0);
    int refused = 0;
    for (uint64_t n = 1; n < 30; n++) {
        struct picture pic;
        struct err e;
        mem_fail_at(n);
        int rc = decode(png.p, png.len, &pic, &e);
        mem_fail_at(0);
        CHECK(rc == 0 || rc == E_NOMEM || rc == E_FORMAT);
        refused += rc != 0;
        mem_free(pic.rgb);
    }
    CHECK(refused >= 3);
    mem_fail_at(1);
    check_refused(jpeg.p, jpeg.len, E_NOMEM, "memory");
    mem_fail_at(0);
    buf_clear(&png);
    buf_clear(&jpeg);
}
