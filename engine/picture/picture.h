/* picture.h - a picture made ready for the model: `struct eng_picture` of the door.
 *
 * Immutable once made. Reference counted. It knows no engine, so it may outlive one.
 */
#ifndef ENGINE_PICTURE_PICTURE_H
#define ENGINE_PICTURE_PICTURE_H

#include <stdint.h>

#include "engine/engine.h"

struct picture_sizes {
    int image_size; /* side of the picture for the vision tower */
    int grid;       /* side of the truth */
};

/* E_INVALID for a side below one, E_TOO_BIG, E_NOMEM. rgb (h, w, 3) is borrowed. */
int picture_new(const struct picture_sizes *sizes, const uint8_t *rgb, int w, int h,
                struct eng_picture **out, struct err *e);
/* See eng_intake_open. E_INVALID for a side below one or no such orientation, E_TOO_BIG, E_NOMEM;
 * *out is NULL then. sizes are borrowed during the call. */
int picture_open(const struct picture_sizes *sizes, int w, int h, int orientation,
                 struct eng_intake **out, struct err *e);
/* The picture for the vision tower: (image_size, image_size, 3), borrowed from the picture. */
const uint8_t *picture_rgb(const struct eng_picture *i);

#endif
