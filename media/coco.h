/* coco.h - masks as COCO writes them, and what metrics need of them. Pure functions.
 *
 * A mask is a byte for each pixel, 0 or 1, row by row. Run lengths go column by column and begin
 * with zeros. A polygon covers the pixels that pycocotools gives it: its outline is walked on a
 * grid five times as fine (COCO's maskApi.c, rleFrPoly), so that scores can be compared.
 */
#ifndef MEDIA_COCO_H
#define MEDIA_COCO_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"

/* Runs of COCO's compressed text -> counts; *n of at most `cap`. E_FORMAT, E_TOO_BIG. */
int coco_counts(const char *text, uint32_t *counts, size_t cap, size_t *n, struct err *e);
/* Counts -> bits (h, w), overwritten. E_FORMAT unless they sum to w*h. */
int coco_from_counts(const uint32_t *counts, size_t n, int w, int h, uint8_t *bits, struct err *e);
/* Polygon of n corners x, y -> or-ed into bits (h, w). `scratch`: w*h bytes. E_FORMAT for corners
 * far outside, E_TOO_BIG for an outline of over 100 million steps. */
int coco_add_polygon(const double *xy, size_t n, int w, int h, uint8_t *bits, uint8_t *scratch,
                     struct err *e);

/* The place among `of` in which the centre of place `i` of `n` lies. This is Pillow's NEAREST, but
 * for its rounding where a centre lies on an edge. */
static inline int coco_nearest(int i, int n, int of) {
    return (int)(((int64_t)2 * i + 1) * of / ((int64_t)2 * n));
}
void coco_resize(const uint8_t *bits, int w, int h, uint8_t *out, int out_w, int out_h);
size_t coco_area(const uint8_t *bits, size_t n);

/* Pixels in both and in either, at size (h, w); `small` (grid, grid) is enlarged by nearest. */
struct coco_overlap {
    uint64_t both, either;
};
struct coco_overlap coco_overlap(const uint8_t *a, const uint8_t *b, size_t n);
struct coco_overlap coco_overlap_full(const uint8_t *bits, int w, int h, const uint8_t *small,
                                      int grid);

#endif
