/* head.c - see head.h. Pure functions over bytes that nobody vouches for: every offset is held
 * against the length before it is followed, and no loop is longer than the bytes. */
#include "media/head.h"

#include <string.h>

#include "media/foreign.h"
#include "media/picture.h"

/* ---- EXIF ---- */

enum { TAG_ORIENTATION = 0x0112, TYPE_SHORT = 3, ENTRY = 12 };

struct tiff {
    const uint8_t *p;
    size_t len;
    int is_big; /* end first */
};

static uint32_t tiff_number(const struct tiff *t, size_t at, int bytes) {
    uint32_t v = 0;
    for (int i = 0; i < bytes; i++)
        v |= (uint32_t)t->p[at + (size_t)i] << 8 * (t->is_big ? bytes - 1 - i : i);
    return v;
}

int head_exif(const uint8_t *bytes, size_t len) {
    struct tiff t = {bytes, len, len > 0 && bytes[0] == 'M'};
    if (len < 10 || (memcmp(bytes, "II", 2) != 0 && memcmp(bytes, "MM", 2) != 0)) return 1;
    if (tiff_number(&t, 2, 2) != 42) return 1;
    size_t at = tiff_number(&t, 4, 4);
    if (at > len - 2) return 1;
    size_t n = tiff_number(&t, at, 2);
    for (at += 2; n > 0 && len - at >= ENTRY; n--, at += ENTRY) {
        if (tiff_number(&t, at, 2) != TAG_ORIENTATION) continue;
        uint32_t v = tiff_number(&t, at + 8, 2);
        int is_fine = tiff_number(&t, at + 2, 2) == TYPE_SHORT && v >= 1 && v <= 8;
        return is_fine ? (int)v : 1;
    }
    return 1;
}

/* ---- numbers ---- */

static uint32_t head_big(const uint8_t *p, int bytes) {
    uint32_t v = 0;
    for (int i = 0; i < bytes; i++)
        v = v << 8 | p[i];
    return v;
}

static uint32_t head_little(const uint8_t *p, int bytes) {
    uint32_t v = 0;
    for (int i = bytes - 1; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

static int head_set_size(struct head *out, uint32_t w, uint32_t h, const char *format,
                         struct err *e) {
    if (w == 0 || h == 0) return err_set(e, E_FORMAT, "the %s is damaged", format);
    int rc = picture_check_size(w, h, UINT64_MAX, e);
    if (rc) return rc;
    out->w = (int)w;
    out->h = (int)h;
    return 0;
}

static int head_cut(const char *format, struct err *e) {
    return err_set(e, E_FORMAT, "the %s is cut short; send the whole file", format);
}

/* ---- PNG ---- */

/* From chunk to chunk, over the pixels, too, as far as they are there. */
static void head_png_turn(const uint8_t *b, size_t len, struct head *out) {
    out->orientation = 1;
    out->may_turn = 1;
    for (size_t at = 33; at + 12 <= len;) {
        size_t n = head_big(b + at, 4);
        int is_exif = memcmp(b + at + 4, "eXIf", 4) == 0;
        if (n > len - at - 12) return;
        if (is_exif) out->orientation = head_exif(b + at + 8, n);
        if (is_exif || memcmp(b + at + 4, "IEND", 4) == 0) {
            out->may_turn = 0;
            return;
        }
        at += 12 + n;
    }
}

static int head_png(const uint8_t *b, size_t len, struct head *out, struct err *e) {
    if (len >= 16 && memcmp(b + 12, "CgBI", 4) == 0)
        return err_set(e, E_UNSUPPORTED,
                       "this is a PNG in Apple's own form (CgBI), which only Apple's programs "
                       "read; save it as an ordinary PNG");
    if (len < 24) return head_cut("PNG", e);
    if (memcmp(b + 12, "IHDR", 4) != 0) return err_set(e, E_FORMAT, "the PNG is damaged");
    *out = (struct head){.kind = HEAD_PNG};
    if (len > 28)
        out->is_costly = b[28] != 0 || (b[24] == 16 && (b[25] & 2)); /* colours of 16 bits */
    head_png_turn(b, len, out);
    return head_set_size(out, head_big(b + 16, 4), head_big(b + 20, 4), "PNG", e);
}

/* ---- JPEG ---- */

enum { M_SOF0 = 0xc0, M_SOF2 = 0xc2, M_EOI = 0xd9, M_SOS = 0xda, M_APP1 = 0xe1 };

static int is_frame(int marker) { /* SOF0 .. SOF15 without DHT, JPG and DAC */
    return marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
}

static int head_jpeg_frame(const uint8_t *seg, size_t n, int marker, struct head *out,
                           struct err *e) {
    if (marker > M_SOF2)
        return err_set(e, E_UNSUPPORTED,
                       "this kind of JPEG (lossless, hierarchical or arithmetic) is not supported; "
                       "send a baseline or progressive JPEG");
    if (n < 6) return err_set(e, E_FORMAT, "the JPEG is damaged");
    if (seg[0] != 8)
        return err_set(e, E_UNSUPPORTED, "only JPEGs with 8 bits a sample are supported");
    out->is_costly = marker == M_SOF2;
    return head_set_size(out, head_big(seg + 3, 2), head_big(seg + 1, 2), "JPEG", e);
}

size_t head_next_marker(const uint8_t *b, size_t len, size_t i) {
    while (i + 1 < len) {
        const uint8_t *ff = memchr(b + i, 0xff, len - 1 - i);
        if (!ff) return len;
        i = (size_t)(ff - b) + 1;
        if (b[i] != 0 && b[i] != 0xff) return i;
    }
    return len;
}

/* The segments before the first scan, as far as they are there. Of a frame with more components
 * than its first scan has, other scans follow, so it is decoded as a whole. */
static int head_jpeg(const uint8_t *b, size_t len, struct head *out, struct err *e) {
    int components = 0;
    *out = (struct head){.orientation = 1, .kind = HEAD_JPEG};
    for (size_t i = head_next_marker(b, len, 2); i < len; i = head_next_marker(b, len, i)) {
        int marker = b[i++];
        if (marker == M_EOI) return err_set(e, E_FORMAT, "the JPEG is damaged");
        if (marker == 0x01 || (marker >= 0xd0 && marker <= 0xd7)) continue; /* without length */
        size_t n = len - i < 2 ? 0 : head_big(b + i, 2);
        if (len - i >= 2 && n < 2) return err_set(e, E_FORMAT, "the JPEG is damaged");
        if (len - i < 2 || n > len - i) break;
        const uint8_t *seg = b + i + 2;
        if (marker == M_APP1 && n >= 8 && memcmp(seg, "Exif\0\0", 6) == 0)
            out->orientation = head_exif(seg + 6, n - 8);
        if (is_frame(marker)) {
            int rc = head_jpeg_frame(seg, n - 2, marker, out, e);
            if (rc) return rc;
            components = n > 7 ? seg[5] : 0;
        }
        if (marker == M_SOS && out->w == 0) return err_set(e, E_FORMAT, "the JPEG is damaged");
        if (marker == M_SOS) {
            out->is_costly |= n > 2 && seg[0] < components;
            return 0;
        }
        i += n;
    }
    return out->w ? 0 : head_cut("JPEG", e);
}

/* ---- WebP ---- */

/* The chunks behind VP8X: how the picture is coded, and its EXIF, which is the last but one and may
 * lie behind what is there of the file. */
static int head_webp_chunks(const uint8_t *b, size_t len, int has_exif, struct head *out,
                            struct err *e) {
    size_t end = 8 + (size_t)head_little(b + 4, 4);
    int is_found = 0;
    for (size_t at = 12; at + 8 <= len && at + 8 <= end;) {
        size_t n = head_little(b + at + 4, 4);
        const uint8_t *name = b + at, *seg = b + at + 8;
        int is_frame = memcmp(name, "VP8 ", 4) == 0, is_exif = memcmp(name, "EXIF", 4) == 0;
        if (is_frame && !is_found) out->is_costly = 0;
        is_found |= is_frame || memcmp(name, "VP8L", 4) == 0 || memcmp(name, "ALPH", 4) == 0;
        if (n > len - at - 8) break;
        if (is_exif && n >= 6 && memcmp(seg, "Exif\0\0", 6) == 0)
            out->orientation = head_exif(seg + 6, n - 6);
        else if (is_exif)
            out->orientation = head_exif(seg, n);
        if (is_exif) return 0;
        at += 8 + n + (n & 1);
    }
    return !has_exif || end <= len + 1 ? 0 : head_cut("WebP", e);
}

/* RIFF, then a frame of VP8, of VP8L, or VP8X, which says what else there is. */
static int head_webp(const uint8_t *b, size_t len, struct head *out, struct err *e) {
    enum { ANIMATION = 0x02, EXIF = 0x08, ALPHA = 0x10 };
    *out = (struct head){.orientation = 1, .kind = HEAD_WEBP, .is_costly = 1};
    if (len < 30) return head_cut("WebP", e);
    if (memcmp(b + 12, "VP8X", 4) == 0) {
        if (b[20] & ANIMATION)
            return err_set(e, E_UNSUPPORTED,
                           "this WebP is animated; send the one picture that is meant");
        int rc =
            head_set_size(out, head_little(b + 24, 3) + 1, head_little(b + 27, 3) + 1, "WebP", e);
        if (rc == 0) rc = head_webp_chunks(b, len, b[20] & EXIF, out, e);
        out->is_costly |= (b[20] & ALPHA) != 0; /* which libwebp believes */
        return rc;
    }
    if (memcmp(b + 12, "VP8L", 4) == 0 && b[20] == 0x2f) {
        uint32_t v = head_little(b + 21, 4);
        return head_set_size(out, (v & 0x3fff) + 1, (v >> 14 & 0x3fff) + 1, "WebP", e);
    }
    if (memcmp(b + 12, "VP8 ", 4) == 0 && memcmp(b + 23, "\x9d\x01\x2a", 3) == 0) {
        out->is_costly = 0;
        return head_set_size(out, head_little(b + 26, 2) & 0x3fff, head_little(b + 28, 2) & 0x3fff,
                             "WebP", e);
    }
    return err_set(e, E_FORMAT, "the WebP is damaged");
}

/* ---- any ---- */

static int head_of(const uint8_t *bytes, size_t len, struct head *out, struct err *e) {
    if (len == 0) return err_set(e, E_FORMAT, "the picture is empty (0 bytes)");
    if (picture_png_is(bytes, len)) return head_png(bytes, len, out, e);
    if (picture_jpeg_is(bytes, len)) return head_jpeg(bytes, len, out, e);
    if (picture_webp_is(bytes, len)) return head_webp(bytes, len, out, e);
    const char *name = foreign_name(bytes, len);
    return err_set(e, E_UNSUPPORTED, "this is %s; send it as PNG, JPEG or WebP",
                   name ? name : "neither a PNG, a JPEG nor a WebP picture");
}

int head_read(const uint8_t *bytes, size_t len, uint64_t pixels_max, struct head *out,
              struct err *e) {
    struct head h;
    int rc = head_of(bytes, len, &h, e);
    if (rc == 0) rc = picture_check_size((uint64_t)h.w, (uint64_t)h.h, pixels_max, e);
    if (rc == 0) *out = h;
    return rc;
}

/* ---- turning ---- */

void head_turn(const uint8_t *pixels, int w, int h, int n, int orientation, uint8_t *out) {
    int k = orientation - 1, is_crossed = k >= 4;
    int out_w = is_crossed ? h : w, out_h = is_crossed ? w : h;
    /* Is the stored row, and the stored column, counted from its far end? */
    int row_back = k == 2 || k == 3 || k == 5 || k == 6;
    int column_back = k == 1 || k == 2 || k == 6 || k == 7;
    for (int y = 0; y < out_h; y++) {
        for (int x = 0; x < out_w; x++) {
            int row = is_crossed ? x : y, column = is_crossed ? y : x;
            if (row_back) row = h - 1 - row;
            if (column_back) column = w - 1 - column;
            const uint8_t *from = pixels + ((size_t)row * (size_t)w + (size_t)column) * (size_t)n;
            memcpy(out, from, (size_t)n);
            out += n;
        }
    }
}
