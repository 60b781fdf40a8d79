/* rig.h - pictures to test with. */
#ifndef TESTS_UNIT_MEDIA_RIG_H
#define TESTS_UNIT_MEDIA_RIG_H

#include <stdint.h>

#include "kernels/base/buf.h"

/* A picture of w x h with something to see in it: rgb (h, w, 3), and as PNG (buf_clear). */
void rig_rgb(uint8_t *rgb, int w, int h);
void rig_png(struct buf *out, int w, int h);
/* A random mask (n, n); with `blobs` in patches of 3 x 2. */
void rig_bits(uint8_t *bits, int n, uint64_t seed, int blobs);

#endif
