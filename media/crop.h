/* crop.h - parts of a picture that are shown to a model as pictures of their own.
 *
 * A crop is in pixels of the picture as people see it, and lies inside it. Pure functions.
 */
#ifndef MEDIA_CROP_H
#define MEDIA_CROP_H

struct crop {
    int x, y, w, h;
};

/* The part of a picture (w, h) to look at again for what lies in `box` (x1, y1, x2, y2): the box
 * and a margin on each side, a quarter of the box and 1/50 of the picture. It is at least an eighth
 * of the picture and 32 pixels a side, and at most twice as long as wide, as far as the picture
 * allows. 1; or 0: it would be nearly the whole picture, and *out is the whole. */
int crop_around(const double box[4], int w, int h, struct crop *out);
/* Tile i, row by row from the top left, of a picture (w, h) cut into tiles x tiles. Each pixel is
 * in one of them. Without pixels where a side is less than `tiles`. */
struct crop crop_tile(int tiles, int i, int w, int h);
/* Where the crop of a picture that is shown as (w, h) lies in the picture as stored; `orientation`
 * is 1 .. 8, EXIF's (head.h). */
struct crop crop_stored(struct crop c, int orientation, int w, int h);

#endif
