/* tars.h - small tars for tests, made in memory. */
#ifndef TESTS_UNIT_DATA_TARS_H
#define TESTS_UNIT_DATA_TARS_H

#include "kernels/base/buf.h"

/* A header of this type ('0': a file) and its bytes, padded. */
void tars_add(struct buf *to, const char *name, char type, const void *bytes, size_t n);
void tars_end(struct buf *to);
/* The sum of the header that begins at `header`, made right again. */
void tars_sum(unsigned char *header);
/* A PNG of w x h, every pixel its own colour. Appended. */
void tars_png(struct buf *to, int w, int h, int seed);
/* The same as a file of the rig. */
struct rig;
void tars_put_png(struct rig *r, const char *name, int w, int h, int seed);

#endif
