/* head.c - see head.h. Pure functions over bytes that nobody vouches for: every offset is held
 * against the length before it is followed, and no loop is longer than the bytes. */
#include "media/head.h"

#include <string.h>

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

/* ---- sizes ---- */

static uint32_t head_big(const uint8_t *p, int bytes) {
    uint32_t v = 0;
    for (int i = 0; i < bytes; i++)
        v = v << 8 | p[i];
    return v;
}

static int head_png(const uint8_t *b, size_t len, struct head *out, struct err *e) {
    if (len < 24 || memcmp(b + 12, "IHDR", 4) != 0)
        return err_set(e, E_FORMAT, "the PNG is damaged or cut short");
    uint32_t w = head_big(b + 16, 4), h = head_big(b + 20, 4);
    if (w == 0 || h == 0 || w > INT32_MAX || h > INT32_MAX)
        return err_set(e, E_FORMAT, "the PNG is damaged");
    *out = (struct head){(int)w, (int)h, 1};
    return 0;
}

static int is_frame(int marker) { /* SOF0 .. SOF15 without DHT, JPG and DAC */
    return marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
}

/* The segments before the first scan. */
static int head_jpeg(const uint8_t *b, size_t len, struct head *out, struct err *e) {
    static const char cut[] = "the JPEG is damaged or cut short";
    int orientation = 1;
    for (size_t i = 2;;) {
        while (i + 1 < len && b[i] == 0xff && b[i + 1] == 0xff)
            i++; /* fill bytes */
        if (len - i < 4 || i >= len || b[i] != 0xff) return err_set(e, E_FORMAT, "%s", cut);
        int marker = b[i + 1];
        size_t n = head_big(b + i + 2, 2);
        const uint8_t *seg = b + i + 4;
        if (n < 2 || n > len - i - 2) return err_set(e, E_FORMAT, "%s", cut);
        if (marker == 0xe1 && n >= 8 && memcmp(seg, "Exif\0\0", 6) == 0)
            orientation = head_exif(seg + 6, n - 8);
        if (is_frame(marker)) {
            if (n < 8) return err_set(e, E_FORMAT, "%s", cut);
            *out = (struct head){(int)head_big(seg + 3, 2), (int)head_big(seg + 1, 2), orientation};
            return out->w && out->h ? 0 : err_set(e, E_FORMAT, "%s", cut);
        }
        i += 2 + n;
    }
}

int head_read(const uint8_t *bytes, size_t len, uint64_t pixels_max, struct head *out,
              struct err *e) {
    struct head h;
    int rc = len && picture_png_is(bytes, len)    ? head_png(bytes, len, &h, e)
             : len && picture_jpeg_is(bytes, len) ? head_jpeg(bytes, len, &h, e)
                                                  : err_set(e, E_UNSUPPORTED,
                                                            "this is neither a "
                                                            "PNG nor a JPEG");
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
