/* bench_photo.h - the picture that is measured with: a photo, or one that is drawn. */
#ifndef CLI_BENCH_PHOTO_H
#define CLI_BENCH_PHOTO_H

#include "engine/engine.h"

struct bench_photo {
    uint8_t *rgb; /* (h, w, 3); mem_free */
    int w, h;
    uint32_t made; /* pictures so far */
};

/* path NULL: it is drawn. The errors of file_picture. */
int bench_photo_open(struct bench_photo *p, const char *path, struct err *e);
/* The picture with another colour in its corner, which resizing leaves to be seen, so that nothing
 * of it is known: 4,096 of them differ. Errors: eng_picture_new's. */
int bench_photo_new(struct bench_photo *p, struct eng *eng, struct eng_picture **out,
                    struct err *e);

#endif
