/* picture.h - the picture formats that are read and written: PNG and JPEG in, PNG out.
 *
 * Both decoders read the header first and check every limit before they take memory for pixels.
 * Their error texts are written for clients: sizes, and what to do. No library's text is in them.
 * Thread: any.
 */
#ifndef MEDIA_PICTURE_H
#define MEDIA_PICTURE_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/err.h"

enum { PICTURE_SIDE_MAX = 32768, PICTURE_PIXELS_MAX = 64 * 1000 * 1000 };

struct picture {
    uint8_t *rgb; /* (h, w, 3), mem_free */
    int w, h;
};

/* PNG or JPEG bytes -> rgb (h, w, 3), mem_free. Every limit is checked before memory is taken:
 * E_FORMAT, E_TOO_BIG, E_UNSUPPORTED, E_NOMEM. Transparent pixels lie on white. */
int picture_decode(const uint8_t *bytes, size_t len, uint64_t pixels_max, uint8_t **rgb, int *w,
                   int *h, struct err *e);
/* rgb (h, w, 3) -> PNG bytes appended to `out`: the same bytes for the same pixels, always. */
int picture_png(const uint8_t *rgb, int w, int h, struct buf *out);
/* grey (h, w) -> the same. */
int picture_png_grey(const uint8_t *grey, int w, int h, struct buf *out);

/* ---- one file each: picture_png.c, picture_jpeg.c ---- */
int picture_png_is(const uint8_t *bytes, size_t len);
int picture_jpeg_is(const uint8_t *bytes, size_t len);
int picture_png_decode(const uint8_t *bytes, size_t len, uint64_t pixels_max, struct picture *out,
                       struct err *e);
int picture_jpeg_decode(const uint8_t *bytes, size_t len, uint64_t pixels_max, struct picture *out,
                        struct err *e);
/* 0, or E_TOO_BIG with a text. */
int picture_check_size(uint64_t w, uint64_t h, uint64_t pixels_max, struct err *e);

#endif
