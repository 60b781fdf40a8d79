/* resize.h - resizing exactly as Pillow does it (Image.resize with BICUBIC on 8-bit RGB).
 *
 * a = -0.5, antialiased when shrinking, fixed-point weights of 22 bits, horizontal pass first with
 * its result rounded to 8 bits, a pass skipped where the size does not change (docs/model.md
 * section 1.3, after Pillow's Resample.c). Bit-equal to Pillow on every machine.
 *
 * A picture comes row by row, as it is stored, and only the rows that a result still needs are
 * kept. EXIF's orientation is part of the resizing: the result is that of the turned picture.
 *
 *     struct resize *r;
 *     resize_open(w, h, orientation, out, ow, oh, &r, &e);
 *     for each stored row: resize_row(r, rgb);
 *     resize_close(r);                          // `out` is whole after row h
 *
 * Thread: its owner's.
 */
#ifndef ENGINE_PICTURE_RESIZE_H
#define ENGINE_PICTURE_RESIZE_H

#include <stdint.h>

#include "kernels/base/err.h"

enum { RESIZE_SIDE_MAX = 65500 };

struct resize;
/* Stored (h, w, 3) -> out (oh, ow, 3) as shown, memory of the caller until the close. orientation:
 * 1 .. 8, EXIF's. E_INVALID for sides outside 1..RESIZE_SIDE_MAX, E_NOMEM; *r is NULL then. */
int resize_open(int w, int h, int orientation, uint8_t *out, int ow, int oh, struct resize **r,
                struct err *e);
/* The next stored row, (w, 3); at most h of them. */
void resize_row(struct resize *r, const uint8_t *rgb);
void resize_close(struct resize *r); /* NULL is legal */

/* rgb (h, w, 3) -> out (oh, ow, 3), all at once and as it is stored. Errors of resize_open. */
int resize_picture(const uint8_t *rgb, int w, int h, uint8_t *out, int ow, int oh, struct err *e);

#endif
