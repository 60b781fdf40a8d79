/* crop.c - see crop.h. */
#include "media/crop.h"

#include <math.h>

enum { LEAST = 32, LEAST_PART = 8 }; /* pixels; 1/8 of a side */
static const double MARGIN = 0.25, MARGIN_OF_ALL = 0.02, NEARLY_ALL = 0.8;

/* A stretch of `longest` pixels around the middle of from..to, moved into 0..side. */
static void crop_place(double from, double to, double longest, int side, int *at, int *n) {
    *n = (int)ceil(fmin(longest, side));
    int first = (int)floor((from + to - *n) / 2);
    *at = first < 0 ? 0 : first > side - *n ? side - *n : first;
}

/* How long a crop has to be along a side of the picture. */
static double crop_length(double from, double to, int side) {
    double length = (to - from) * (1 + 2 * MARGIN) + 2 * MARGIN_OF_ALL * side;
    return fmin(fmax(fmax(length, LEAST), (double)side / LEAST_PART), side);
}

int crop_around(const double box[4], int w, int h, struct crop *out) {
    double wide = crop_length(box[0], box[2], w), tall = crop_length(box[1], box[3], h);
    crop_place(box[0], box[2], fmax(wide, tall / 2), w, &out->x, &out->w);
    crop_place(box[1], box[3], fmax(tall, wide / 2), h, &out->y, &out->h);
    if (out->w < NEARLY_ALL * w || out->h < NEARLY_ALL * h) return 1;
    *out = (struct crop){0, 0, w, h};
    return 0;
}

static int crop_edge(int tiles, int i, int side) { return (int)((long long)side * i / tiles); }

struct crop crop_tile(int tiles, int i, int w, int h) {
    int column = i % tiles, row = i / tiles;
    int x = crop_edge(tiles, column, w), y = crop_edge(tiles, row, h);
    return (struct crop){x, y, crop_edge(tiles, column + 1, w) - x,
                         crop_edge(tiles, row + 1, h) - y};
}

struct crop crop_stored(struct crop c, int orientation, int w, int h) {
    int is_crossed = orientation >= 5;
    int x_back = orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7;
    int y_back = orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8;
    int x = x_back ? w - c.x - c.w : c.x, y = y_back ? h - c.y - c.h : c.y;
    return is_crossed ? (struct crop){y, x, c.h, c.w} : (struct crop){x, y, c.w, c.h};
}
