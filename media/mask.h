/* mask.h - a mask on the model's grid, and what it is at the size of a picture. Every pixel has the
 * bit of the grid place in which its centre lies (nearest). Nothing is smoothed. The grid may cover
 * a part of the picture alone: then the mask is empty outside.
 *
 * Thread: any.
 */
#ifndef MEDIA_MASK_H
#define MEDIA_MASK_H

#include <stdint.h>

#include "kernels/base/buf.h"
#include "media/crop.h"

enum { MASK_GRID_MAX = 1024 };

struct mask {
    const uint8_t *bits; /* (grid, grid) of 0 and 1, rows from the top */
    int grid, w, h;
    struct crop part; /* of w x h that the grid covers; zeros: all of it */
};

/* First pixel of place `i` along a side of `side` pixels; for i == grid: one behind the last. */
int mask_edge(int grid, int side, int i);
/* The places *lo .. *hi - 1 of the grid that are touched by the stretch from..to of 0..whole. */
void mask_range(double from, double to, double whole, int grid, int *lo, int *hi);

/* All at w x h: */
uint64_t mask_area(const struct mask *m);
/* x, y, width, height of the set pixels; 0, or -1 when there are none. */
int mask_bounds(const struct mask *m, int box[4]);
int mask_rle(const struct mask *m, struct buf *out); /* COCO's string, see rle.h */
/* JSON: [[x,y,x,y,...],...], a list for each ring; see polygon.h. */
int mask_rings(const struct mask *m, struct buf *out);
/* The same places with grey values (grid, grid) instead of bits -> an 8-bit PNG of w x h. */
int mask_png(const struct mask *m, const uint8_t *grey, struct buf *out);

#endif
