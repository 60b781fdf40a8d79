/* boxes.h - the boxes that a text of the model names: `<p>a dog</p>
 * {<10><20><30><40>}<delim>{...}`.
 *
 *     struct boxes at = {.text = text, .len = len};
 *     struct box_named found;
 *     while (boxes_next(&at, &found)) ...
 *
 * The model may write anything; what is no box is passed over. Thread: its owner's.
 */
#ifndef API_TASK_BOXES_H
#define API_TASK_BOXES_H

#include <stddef.h>

struct boxes {
    const char *text;
    size_t len, at;
    const char *phrase; /* what boxes that come now are about */
    size_t phrase_len;
};
struct box_named {
    const char *phrase; /* inside the text; NULL: the box stands alone */
    size_t phrase_len;
    int percent[4]; /* x1, y1, x2, y2 of 0 .. 100, in order */
};

int boxes_next(struct boxes *b, struct box_named *out); /* 1, or 0 at the end */

#endif
