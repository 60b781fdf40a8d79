/* figures.h - what every answer of a task says beside the answer itself, as JSON fields.
 * Thread: the call's. */
#ifndef API_TASK_FIGURES_H
#define API_TASK_FIGURES_H

#include "api/call.h"

/* "id":...,"model":... */
void figures_head(const struct api_call *c, struct buf *b);
/* "width":...,"height":... of the first picture, as it was turned: what boxes are in */
void figures_size(const struct api_call *c, struct buf *b);
/* "timing":{...},"usage":{...} of all the call's jobs together, when they are done */
void figures_tail(struct api_call *c, struct buf *b);
void figures_tail_pixels(struct api_call *c, uint32_t n, struct buf *b); /* the same of n pixels */
/* {"x1":..,"y1":..,"x2":..,"y2":..} in pixels of the picture, from percents of its sides */
void figures_box(const struct api_call *c, const int percent[4], struct buf *b);
/* A box in pixels that a client sent: corners in order, inside the first picture. 0, or -1 with the
 * problem. */
int figures_check_box(struct api_call *c, const double box[4]);
/* Put the corners of a box in order. */
void figures_order(int box[4]);

#endif
