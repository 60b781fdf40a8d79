/* looks.h - how a picture is shown this time: which part of it, mirrored or not, in which light.
 *
 * Boxes and masks go the same way as pixels. Thread: any.
 */
#ifndef DATA_DRAW_LOOKS_H
#define DATA_DRAW_LOOKS_H

#include <stdint.h>

#include "data/draw/dice.h"
#include "kernels/base/err.h"
#include "media/picture.h"

struct looks {
    int x, y, w, h; /* the part that is shown, in pixels */
    int is_flipped;
    int has_light;
    float light[3][4]; /* rgb' = light * (r, g, b, 1) */
};
struct looks_wants {
    float crop, jitter, flip; /* as of a sampler_entry; 0: not */
    int may_turn_hue;
};

struct looks looks_plain(int w, int h); /* all of a picture, as it is */
/* `keep`: x1, y1, x2, y2 in pixels that must be shown, or NULL. */
struct looks looks_draw(const struct looks_wants *wants, int w, int h, const double keep[4],
                        struct dice *d);
/* p->rgb is taken, and replaced where anything changes. E_NOMEM: p is as it was. */
int looks_picture(const struct looks *l, struct picture *p, struct err *e);
/* A box of the picture -> of what is shown, cut at its edges. */
void looks_box(const struct looks *l, const double box[4], double out[4]);
/* The other way: x, y, shares of the sides of what is shown -> pixels of the picture. */
void looks_place(const struct looks *l, double x, double y, double out[2]);
/* bits (height, width) of the picture -> out (l->h, l->w). */
void looks_mask(const struct looks *l, const uint8_t *bits, int width, uint8_t *out);

#endif
