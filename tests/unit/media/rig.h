/* rig.h - pictures to test with. */
#ifndef TESTS_UNIT_MEDIA_RIG_H
#define TESTS_UNIT_MEDIA_RIG_H

#include <stdint.h>

#include "kernels/base/buf.h"

/* A picture of w x h with something to see in it: rgb (h, w, 3), and as PNG (buf_clear). */
void rig_rgb(uint8_t *rgb, int w, int h);
void rig_png(struct buf *out, int w, int h);
/* How a JPEG is written. Zeros: quality 95, baseline in one scan, YCbCr of full size, an end. */
struct rig_jpeg {
    int is_grey, is_cmyk;         /* 1 and 4 components instead of 3; CMYK is cmyk (h, w, 4) */
    int sampling[3][2];           /* horizontal and vertical factors */
    int is_progressive, is_apart; /* a scan for each component */
    int restart;                  /* MCUs between two restart markers */
    int no_adobe;
    int quality;
};
/* pixels (h, w, 3), of CMYK (h, w, 4) -> JPEG bytes (buf_clear). */
void rig_jpeg(struct buf *out, const uint8_t *pixels, int w, int h, const struct rig_jpeg *how);
/* The n-th (from 0) marker `ff m`: its index; dies when there is none. */
size_t rig_marker(const struct buf *jpeg, uint8_t m, int n);
/* Bytes between two others. */
void rig_insert(struct buf *b, size_t at, const void *bytes, size_t n);
/* A random mask (n, n); with `blobs` in patches of 3 x 2. */
void rig_bits(uint8_t *bits, int n, uint64_t seed, int blobs);

#endif
