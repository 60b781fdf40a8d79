/* rle.h - COCO's compressed run lengths, written as pycocotools reads them.
 *
 *     struct rle r;
 *     rle_begin(&r, out);
 *     rle_add(&r, bit, n);      // n more pixels of this bit, column by column
 *     rle_end(&r);              // `out` got the string
 *
 * Thread: its owner's.
 */
#ifndef MEDIA_RLE_H
#define MEDIA_RLE_H

#include <stdint.h>

#include "kernels/base/buf.h"

struct rle {
    struct buf *out;
    int bit;
    uint32_t run;
    uint32_t before[2]; /* the run before the last, the last */
    uint32_t n;         /* runs written */
};

void rle_begin(struct rle *r, struct buf *out);
void rle_add(struct rle *r, int bit, uint32_t n);
int rle_end(struct rle *r); /* buf's errors */

#endif
