/* crops.h - parts of the request's picture, as pictures of their own.
 *
 * Nobody keeps a picture's pixels (design.md, "What a picture is"). So the request is read again
 * and its picture decoded again, once for all crops that are wanted at a time; of the rows only
 * what lies in a crop goes on. A crop is the picture that its pixels alone would be: it has the
 * same digest, and so the same answers. Thread: the worker that steps the call.
 */
#ifndef API_TASK_CROPS_H
#define API_TASK_CROPS_H

#include "api/call.h"
#include "api/wire/input.h"
#include "media/crop.h"

enum { CROPS_MAX = 8 };

/* May the request's only picture be cropped later? Not one that was stored before, of which there
 * are no pixels. `param`: the field that asks for it. 0, or -1 with the problem. */
int crops_check(struct input *in, const char *param);
/* Crops of the request's only picture, n of them, at most CROPS_MAX -> out (n), a reference each.
 * 0, or -1 with the problem, and all of them NULL. */
int crops_take(struct api_call *c, const struct crop *crops, int n, struct eng_picture **out);

#endif
