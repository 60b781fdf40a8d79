/* picture_jpeg.c - JPEG bytes to RGB. The only file that knows TurboJPEG.
 *
 * Before the library sees anything, our own walk over the markers finds out how large the picture
 * is, how many scans it has, and which process codes it. The number of scans alone can make a
 * decoder work for 19 seconds on a 132 KB file (4.6 s with the library's own limit). So scans are
 * bounded, and so is the product of scans and pixels. For the library a truncated file is only a
 * warning, and it paints grey; here warnings are errors.
 *
 * Orientation in EXIF is ignored (docs/model.md section 1.3: Pillow does not rotate on its own).
 * CMYK is turned into RGB as Pillow does it. Adobe's files hold it inverted, and say so by their
 * marker.
 *
 * Thread: any, one call each.
 */
#include <string.h>
#include <turbojpeg.h>

#include "kernels/base/mem.h"
#include "media/picture.h"

/* A photo's usual progressive script has ten scans. */
enum { SCANS_MAX = 64, SCANS_AT_PIXELS_MAX = 12 };

struct walk {
    uint32_t w, h;
    int scans, progressive, adobe;
};

enum {
    M_SOF0 = 0xc0,
    M_DHT = 0xc4,
    M_JPG = 0xc8,
    M_DAC = 0xcc,
    M_SOI = 0xd8,
    M_EOI = 0xd9,
    M_SOS = 0xda,
    M_APP14 = 0xee
};

int picture_jpeg_is(const uint8_t *bytes, size_t len) {
    return len >= 3 && bytes[0] == 0xff && bytes[1] == M_SOI && bytes[2] == 0xff;
}

static int picture_jpeg_read_frame(struct walk *k, int marker, const uint8_t *seg, size_t n,
                                   struct err *e) {
    if (marker > 0xc2)
        return err_set(e, E_UNSUPPORTED,
                       "this kind of JPEG (lossless, hierarchical or arithmetic) "
                       "is not supported; send a baseline or progressive JPEG");
    if (n < 6 || k->w) return err_set(e, E_FORMAT, "the JPEG is damaged");
    if (seg[0] != 8)
        return err_set(e, E_UNSUPPORTED, "only JPEGs with 8 bits a sample are supported");
    k->progressive = marker == 0xc2;
    k->h = (uint32_t)(seg[1] << 8 | seg[2]);
    k->w = (uint32_t)(seg[3] << 8 | seg[4]);
    if (k->w == 0 || k->h == 0) return err_set(e, E_FORMAT, "the JPEG is damaged");
    return 0;
}

/* Index of the next marker's code at or behind `i`, or len. Inside coded data FF 00 is a data byte
 * and D0..D7 are restarts. */
static size_t next_marker(const uint8_t *b, size_t len, size_t i) {
    while (i + 1 < len) {
        const uint8_t *ff = memchr(b + i, 0xff, len - 1 - i);
        if (!ff) return len;
        i = (size_t)(ff - b) + 1;
        if (b[i] != 0 && b[i] != 0xff && (b[i] < 0xd0 || b[i] > 0xd7)) return i;
    }
    return len;
}

static int walk_markers(const uint8_t *b, size_t len, struct walk *k, struct err *e) {
    size_t i = 2;
    for (;;) {
        i = next_marker(b, len, i);
        if (i >= len) return err_set(e, E_FORMAT, "the JPEG is cut short; send the whole file");
        int marker = b[i++];
        if (marker == M_EOI) break;
        if (len - i < 2) return err_set(e, E_FORMAT, "the JPEG is cut short; send the whole file");
        size_t n = (size_t)(b[i] << 8 | b[i + 1]);
        if (n < 2) return err_set(e, E_FORMAT, "the JPEG is damaged");
        if (n > len - i) return err_set(e, E_FORMAT, "the JPEG is cut short; send the whole file");
        const uint8_t *seg = b + i + 2;
        if (marker >= M_SOF0 && marker <= 0xcf && marker != M_DHT && marker != M_JPG &&
            marker != M_DAC) {
            int rc = picture_jpeg_read_frame(k, marker, seg, n - 2, e);
            if (rc) return rc;
        }
        if (marker == M_APP14 && n >= 14 && memcmp(seg, "Adobe", 5) == 0) k->adobe = 1;
        if (marker == M_SOS && ++k->scans > SCANS_MAX)
            return err_set(e, E_TOO_BIG,
                           "the JPEG has more than %d scans; save it again as a "
                           "baseline JPEG",
                           SCANS_MAX);
        i += n;
    }
    return k->w && k->scans ? 0 : err_set(e, E_FORMAT, "the JPEG is damaged");
}

/* CMYK in place of every 4 bytes -> RGB in every 3; to and from may be the same block. */
static void cmyk_to_rgb(const uint8_t *from, uint8_t *to, size_t pixels, int inverted) {
    for (size_t i = 0; i < pixels; i++) {
        unsigned k = inverted ? from[4 * i + 3] : 255u - from[4 * i + 3];
        for (size_t c = 0; c < 3; c++) {
            unsigned ink = inverted ? from[4 * i + c] : 255u - from[4 * i + c];
            to[3 * i + c] = (uint8_t)((ink * k + 127) / 255);
        }
    }
}

static int decode_walked(tjhandle tj, const uint8_t *bytes, size_t len, const struct walk *k,
                         struct picture *out, struct err *e) {
    int w = 0, h = 0, subsampling, space;
    int rc = tjDecompressHeader3(tj, bytes, (unsigned long)len, &w, &h, &subsampling, &space);
    if (rc || (uint32_t)w != k->w || (uint32_t)h != k->h)
        return err_set(e, E_FORMAT, "the JPEG is damaged");
    int four = space == TJCS_CMYK || space == TJCS_YCCK;
    size_t pixels = (size_t)w * (size_t)h;
    uint8_t *px = mem_try(pixels * (four ? 4 : 3));
    if (!px) return err_set(e, E_NOMEM, "no memory for the picture's pixels");
    rc = tjDecompress2(tj, bytes, (unsigned long)len, px, w, 0, h, four ? TJPF_CMYK : TJPF_RGB,
                       TJFLAG_STOPONWARNING | TJFLAG_LIMITSCANS | TJFLAG_ACCURATEDCT);
    if (rc) {
        mem_free(px);
        return err_set(e, E_FORMAT, "the JPEG is damaged or cut short");
    }
    if (four) cmyk_to_rgb(px, px, pixels, k->adobe);
    *out = (struct picture){.rgb = px, .w = w, .h = h};
    return 0;
}

int picture_jpeg_decode(const uint8_t *bytes, size_t len, uint64_t pixels_max, struct picture *out,
                        struct err *e) {
    struct walk k = {0};
    int rc = walk_markers(bytes, len, &k, e);
    if (!rc) rc = picture_check_size(k.w, k.h, pixels_max, e);
    if (rc) return rc;
    if (k.progressive && (uint64_t)k.w * k.h * (uint64_t)k.scans > pixels_max * SCANS_AT_PIXELS_MAX)
        return err_set(e, E_TOO_BIG,
                       "the JPEG has too many scans for its size; save it again as a "
                       "baseline JPEG");
    tjhandle tj = tjInitDecompress();
    if (!tj) return err_set(e, E_NOMEM, "no memory to read the picture");
    rc = decode_walked(tj, bytes, len, &k, out, e);
    tjDestroy(tj);
    return rc;
}

/* ---- the door: whichever of the two it is ---- */
