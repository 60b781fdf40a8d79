/* picture.h - the two picture formats, one file each; api.h has the door (api_picture_*).
 *
 * Both read the header first and check every limit before they take memory for pixels. Their error
 * texts are written for clients: sizes and what to do, no text of a library.
 */
#ifndef API_PICTURE_PICTURE_H
#define API_PICTURE_PICTURE_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/err.h"

struct picture {
    uint8_t *rgb; /* (h, w, 3), mem_free */
    int w, h;
};

int picture_png_is(const uint8_t *bytes, size_t len);
int picture_jpeg_is(const uint8_t *bytes, size_t len);
int picture_png_decode(const uint8_t *bytes, size_t len, uint64_t pixels_max, struct picture *out,
                       struct err *e);
int picture_jpeg_decode(const uint8_t *bytes, size_t len, uint64_t pixels_max, struct picture *out,
                        struct err *e);
/* grey (h, w) -> PNG bytes appended to `out`; api.h has the same for rgb. */
int picture_png_grey(const uint8_t *grey, int w, int h, struct buf *out);
/* 0, or E_TOO_BIG with a text. */
int picture_check_size(uint64_t w, uint64_t h, uint64_t pixels_max, struct err *e);

#endif
