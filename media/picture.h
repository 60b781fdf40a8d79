/* picture.h - the picture formats that are read and written: PNG, JPEG and WebP in, PNG out.
 *
 * A picture is read in three steps: its head (head.h), the limits, its rows. Every limit is checked
 * before memory is taken for pixels. Where the format allows it, a picture is decoded row by row
 * and nobody holds the whole. The others (head.is_costly) have a bound of their own. A lossy WebP
 * is between the two: libwebp holds its pixels, and nothing beside.
 *
 *     const struct picture_sink sink = {.begin = make_room, .row = take_row, .ud = me};
 *     picture_read(bytes, len, &limits, &sink, &e);
 *
 * Error texts are written for clients: sizes, and what to do. No library's text is in them. A file
 * that ends before its last row is refused; what else is odd about it, and leaves the pixels as
 * they are, is passed over. Thread: any.
 */
#ifndef MEDIA_PICTURE_H
#define MEDIA_PICTURE_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/err.h"
#include "media/head.h"

enum { PICTURE_SIDE_MAX = 32768, PICTURE_PIXELS_MAX = 64 * 1000 * 1000 };

struct picture {
    uint8_t *rgb; /* (h, w, 3), mem_free */
    int w, h;
};

struct picture_limits {
    uint64_t pixels_max; /* of any picture */
    uint64_t costly_max; /* of one whose head says is_costly */
};

/* Who gets the rows. `begin` comes once, before any of them: 0, or an error that ends the reading.
 * Then `row` comes head->h times from the top, with (w, 3) borrowed. After an error of
 * picture_read some of the rows may be missing. */
struct picture_sink {
    int (*begin)(void *ud, const struct head *head, struct err *e);
    void (*row)(void *ud, const uint8_t *rgb);
    void *ud;
};

/* Transparent pixels lie on white, rows are as they are stored. E_FORMAT, E_TOO_BIG, E_UNSUPPORTED,
 * E_NOMEM, and those of begin. */
int picture_read(const uint8_t *bytes, size_t len, const struct picture_limits *limits,
                 const struct picture_sink *sink, struct err *e);
/* All rows at once -> rgb (h, w, 3), mem_free; NULL on failure. Errors of picture_read. */
int picture_decode(const uint8_t *bytes, size_t len, uint64_t pixels_max, uint8_t **rgb, int *w,
                   int *h, struct err *e);
/* rgb (h, w, 3) -> PNG bytes appended to `out`: the same bytes for the same pixels, always. */
int picture_png(const uint8_t *rgb, int w, int h, struct buf *out);
/* grey (h, w) -> the same. */
int picture_png_grey(const uint8_t *grey, int w, int h, struct buf *out);

/* ---- one file each: picture_png.c, picture_jpeg.c, picture_webp.c ---- */
int picture_png_is(const uint8_t *bytes, size_t len);
int picture_jpeg_is(const uint8_t *bytes, size_t len);
int picture_webp_is(const uint8_t *bytes, size_t len);
/* The rows of the picture with this head; the sink has begun. */
int picture_png_rows(const uint8_t *bytes, size_t len, const struct head *head,
                     const struct picture_sink *sink, struct err *e);
int picture_jpeg_rows(const uint8_t *bytes, size_t len, const struct head *head,
                      const struct picture_limits *limits, const struct picture_sink *sink,
                      struct err *e);
int picture_webp_rows(const uint8_t *bytes, size_t len, const struct head *head,
                      const struct picture_sink *sink, struct err *e);
/* RGBA in every 4 bytes -> RGB in every 3, on white, in place: libpng's numbers. */
void picture_lay_on_white(uint8_t *px, size_t pixels);
/* 0, or E_TOO_BIG with a text. */
int picture_check_size(uint64_t w, uint64_t h, uint64_t pixels_max, struct err *e);

#endif
