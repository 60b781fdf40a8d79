/* texts.h - how the tasks are asked and answered, to the letter (docs/model.md section 4.3).
 *
 * Each writer appends one whole text. Those with dice draw one of MiniGPT-v2's ways to ask; without
 * (NULL), it is the one by which lammd itself asks. Thread: any.
 */
#ifndef DATA_DRAW_TEXTS_H
#define DATA_DRAW_TEXTS_H

#include "data/draw/dice.h"
#include "kernels/base/buf.h"

/* A box in a picture of w x h. */
struct texts_box {
    double x1, y1, x2, y2; /* pixels */
    int w, h;
};

/* "{<12><3><100><99>}": hundredths, cut off and never outside 0 .. 100. */
void texts_box(struct buf *to, const struct texts_box *b);
void texts_pixel(struct buf *to, int x, int y, int is_yx);
void texts_mask(struct buf *to, const char *sentence, int x, int y, int is_yx);
void texts_refer(struct buf *to, const char *sentence, struct dice *d);
void texts_identify(struct buf *to, const struct texts_box *b, struct dice *d);
void texts_caption(struct buf *to, struct dice *d);
void texts_grounding(struct buf *to, struct dice *d);
void texts_detection(struct buf *to, const char *phrase);
void texts_vqa(struct buf *to, const char *question, struct dice *d);

/* A natural sentence as MiniGPT-v2 cleans it for training: lower case (of ASCII), each of
 * .!"()*#:;~ and white space a blank, single blanks, at most 50 words. What would be left empty
 * stays as it is. */
void texts_clean(struct buf *to, const char *text);

#endif
