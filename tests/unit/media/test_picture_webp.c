/* WebP: lossy, lossless and transparent, the file's own limits, and every way to cut it. */
#include <stdlib.h>
#include <string.h>
#include <webp/encode.h>

#include "kernels/base/mem.h"
#include "media/picture.h"
#include "tests/check.h"
#include "tests/unit/media/rig.h"

enum { W = 37, H = 23, PIXELS_MAX = 1 << 20 };

static void to_buf(struct buf *out, uint8_t *bytes, size_t n) {
    CHECK(n > 0);
    buf_init(out, 1 << 20);
    buf_add(out, bytes, n);
    WebPFree(bytes);
}

static void write_webp(struct buf *out, int is_lossless) {
    uint8_t rgb[W * H * 3], *bytes = NULL;
    rig_rgb(rgb, W, H);
    size_t n = is_lossless ? WebPEncodeLosslessRGB(rgb, W, H, W * 3, &bytes)
                           : WebPEncodeRGB(rgb, W, H, W * 3, 95, &bytes);
    to_buf(out, bytes, n);
}

static int decode(const struct buf *webp, struct picture *pic, struct err *e) {
    *e = (struct err){0};
    return picture_decode(webp->p, webp->len, PIXELS_MAX, &pic->rgb, &pic->w, &pic->h, e);
}

/* A chunk as RIFF has it, `n` even. */
static void put_chunk(struct buf *b, const char *name, const void *bytes, size_t n) {
    buf_add(b, name, 4);
    for (int i = 0; i < 4; i++)
        buf_char(b, (char)(n >> 8 * i));
    buf_add(b, bytes, n);
}

/* `plain`'s frame inside an extended file with these flags and, perhaps, EXIF. */
static void extend(struct buf *out, const struct buf *plain, uint8_t flags, const void *exif,
                   size_t n) {
    const uint8_t x[10] = {flags, 0, 0, 0, W - 1, 0, 0, H - 1, 0, 0};
    buf_init(out, 1 << 20);
    buf_add(out, "RIFF\0\0\0\0WEBP", 12);
    put_chunk(out, "VP8X", x, sizeof(x));
    buf_add(out, plain->p + 12, plain->len - 12);
    if (n) put_chunk(out, "EXIF", exif, n);
    for (int i = 0; i < 4; i++)
        out->p[4 + i] = (uint8_t)((out->len - 8) >> 8 * i);
}

TEST(picture_webp_lossy_and_lossless) {
    uint8_t rgb[W * H * 3];
    rig_rgb(rgb, W, H);
    for (int k = 0; k < 2; k++) {
        struct buf webp;
        struct picture pic;
        struct err e;
        long sum = 0;
        write_webp(&webp, k);
        CHECK_EQ(decode(&webp, &pic, &e), 0);
        CHECK(pic.w == W && pic.h == H);
        for (int i = 0; i < W * H * 3; i++)
            sum += labs((long)pic.rgb[i] - rgb[i]);
        CHECK(sum <= (k ? 0 : 40) * W * H * 3);
        mem_free(pic.rgb);
        buf_clear(&webp);
    }
}

TEST(picture_webp_transparent_lies_on_white) {
    uint8_t rgba[W * H * 4], *bytes = NULL;
    for (int i = 0; i < W * H; i++)
        memcpy(rgba + 4 * i, ((uint8_t[]){200, 10, (uint8_t)i, (uint8_t)(i * 7)}), 4);
    struct buf webp;
    struct picture pic;
    struct err e;
    to_buf(&webp, bytes, WebPEncodeLosslessRGBA(rgba, W, H, W * 4, &bytes));
    CHECK_EQ(decode(&webp, &pic, &e), 0);
    for (int i = 0; i < W * H; i++) {
        double a = rgba[4 * i + 3] / 255.0;
        for (int c = 0; c < 3 && rgba[4 * i + 3]; c++)
            CHECK_NEAR(pic.rgb[3 * i + c], rgba[4 * i + c] * a + 255 * (1 - a), 0.51);
        if (!rgba[4 * i + 3]) CHECK_EQ(pic.rgb[3 * i], 255);
    }
    mem_free(pic.rgb);
    buf_clear(&webp);
}

TEST(picture_webp_head_tells_kind_and_orientation) {
    static const uint8_t tiff[] = {'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12,
                                   1,   3,   0,  1, 0, 0, 0, 6, 0, 0, 0};
    struct buf lossy, lossless, long_one;
    struct head h;
    write_webp(&lossy, 0);
    write_webp(&lossless, 1);
    CHECK_EQ(head_read(lossy.p, lossy.len, PIXELS_MAX, &h, NULL), 0);
    CHECK(h.kind == HEAD_WEBP && h.w == W && h.h == H && !h.is_costly && h.orientation == 1);
    CHECK_EQ(head_read(lossless.p, lossless.len, PIXELS_MAX, &h, NULL), 0);
    CHECK(h.w == W && h.h == H && h.is_costly);
    for (int k = 0; k < 2; k++) {
        struct picture pic;
        struct err e;
        extend(&long_one, k ? &lossless : &lossy, 0x08, tiff, sizeof(tiff));
        CHECK_EQ(head_read(long_one.p, long_one.len, PIXELS_MAX, &h, NULL), 0);
        CHECK(h.w == W && h.h == H && h.is_costly == k && h.orientation == 6);
        CHECK_EQ(decode(&long_one, &pic, &e), 0);
        CHECK(pic.w == W && pic.h == H); /* as stored */
        mem_free(pic.rgb);
        /* Where EXIF is promised, the size alone is not enough. */
        CHECK_EQ(head_read(long_one.p, 100, PIXELS_MAX, &h, NULL), E_FORMAT);
        buf_clear(&long_one);
    }
    extend(&long_one, &lossy, 0x10, NULL, 0); /* says that it is transparent */
    CHECK_EQ(head_read(long_one.p, long_one.len, PIXELS_MAX, &h, NULL), 0);
    CHECK(h.is_costly);
    buf_clear(&long_one);
    struct err e = {0};
    extend(&long_one, &lossy, 0x02, NULL, 0);
    CHECK_EQ(head_read(long_one.p, long_one.len, PIXELS_MAX, &h, &e), E_UNSUPPORTED);
    CHECK_HAS(e.text, "animated");
    buf_clear(&long_one);
    buf_clear(&lossy);
    buf_clear(&lossless);
}

TEST(picture_webp_cut_anywhere_is_refused) {
    for (int k = 0; k < 2; k++) {
        struct buf webp;
        write_webp(&webp, k);
        for (size_t n = 1; n < webp.len; n++) {
            struct picture pic;
            struct err e = {0};
            uint8_t *exact = mem_must(n); /* an over-read shows under ASan */
            memcpy(exact, webp.p, n);
            int rc = picture_decode(exact, n, PIXELS_MAX, &pic.rgb, &pic.w, &pic.h, &e);
            if (rc != E_FORMAT && !(n < 12 && rc == E_UNSUPPORTED))
                test_failed(__FILE__, __LINE__, "kind %d, %zu bytes: %d", k, n, rc);
            CHECK(!pic.rgb);
            mem_free(exact);
        }
        buf_clear(&webp);
    }
}

TEST(picture_webp_with_flipped_bits_is_refused_or_decoded) {
    for (int k = 0; k < 2; k++) {
        struct buf webp;
        write_webp(&webp, k);
        for (uint64_t i = 0; i < 1500; i++) {
            uint64_t at = (test_seed() + i * 2654435761u + i * i * 40503u) % (webp.len * 8);
            webp.p[at / 8] ^= (uint8_t)(1u << at % 8);
            struct picture pic;
            struct err e;
            int rc = decode(&webp, &pic, &e);
            CHECK(rc == 0 ? pic.rgb != NULL : pic.rgb == NULL && e.text[0]);
            mem_free(pic.rgb);
            webp.p[at / 8] ^= (uint8_t)(1u << at % 8);
        }
        buf_clear(&webp);
    }
}

TEST(picture_webp_limits_come_first) {
    struct buf webp;
    struct picture pic;
    struct mem_stats before, after;
    struct err e = {0};
    write_webp(&webp, 1);
    mem_stats(&before);
    CHECK_EQ(picture_decode(webp.p, webp.len, W * H - 1, &pic.rgb, &pic.w, &pic.h, &e), E_TOO_BIG);
    mem_stats(&after);
    CHECK_EQ(after.allocations, before.allocations);
    mem_fail_at(1);
    CHECK_EQ(decode(&webp, &pic, &e), E_NOMEM);
    mem_fail_at(2);
    CHECK_EQ(decode(&webp, &pic, &e), E_NOMEM);
    mem_fail_at(0);
    buf_clear(&webp);
}
