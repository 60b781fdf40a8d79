/* polygon.h - the outline of a bit mask. Thread: any. */
#ifndef MEDIA_POLYGON_H
#define MEDIA_POLYGON_H

#include <stdint.h>

/* Corner (x, y) of a ring, between the pixels: 0 .. w, 0 .. h. `is_first`: a ring begins; it ends
 * where it began, and that corner is not repeated. */
typedef void polygon_fn(void *ud, int x, int y, int is_first);

/* Every ring of the mask (h, w) of zeros and ones: outlines clockwise as seen, holes the other way,
 * so that a point is inside by either fill rule. Pixels that meet at a corner alone are apart.
 * E_NOMEM. */
int polygon_trace(const uint8_t *bits, int w, int h, polygon_fn *corner, void *ud);

#endif
