/* resize.h - resizing exactly as Pillow does it (Image.resize with BICUBIC on 8-bit RGB).
 *
 * a = -0.5, antialiased when shrinking, fixed-point weights of 22 bits, horizontal pass first with
 * its result rounded to 8 bits, a pass skipped where the size does not change (docs/model.md
 * section 1.3, after Pillow's Resample.c). Bit-equal to Pillow on every machine. Thread: any.
 */
#ifndef ENGINE_PICTURE_RESIZE_H
#define ENGINE_PICTURE_RESIZE_H

#include <stdint.h>

#include "kernels/base/err.h"

enum { RESIZE_SIDE_MAX = 65500 };

/* rgb (h, w, 3) -> out (oh, ow, 3), memory of the caller. E_INVALID for sides outside
 * 1..RESIZE_SIDE_MAX, E_NOMEM. */
int resize_picture(const uint8_t *rgb, int w, int h, uint8_t *out, int ow, int oh, struct err *e);

#endif
