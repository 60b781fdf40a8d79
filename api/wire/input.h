/* input.h - one reader for the ways a picture and its parameters come.
 *
 *   raw         image/png or image/jpeg in the body, parameters in the query
 *   multipart   a part named `image`, parameters as other parts or in the query
 *   JSON        {"image": "data:image/png;base64,..." | base64 | {"id": "..."}, "width": 64, ...}
 *
 * In all three a parameter has the same name, bounds and error text; a name that is not known, or
 * that is given twice, is refused by name. Numbers in JSON have to be numbers; text is read as
 * strictly.
 *
 *     input_open(&in, api, from, known, &problem);
 *     input_int(&in, "width", 1, 64, &width);          // absent: width stays as it is
 *     if (!problem.row) ...                            // the first fault, if any
 *     input_close(&in);
 *
 * Thread: its owner's.
 */
#ifndef API_WIRE_INPUT_H
#define API_WIRE_INPUT_H

#include <stddef.h>
#include <stdint.h>

#include "api/api.h"
#include "api/wire/json.h"
#include "api/wire/problem.h"

struct input {
    const uint8_t *picture; /* encoded bytes, borrowed from the request or from `decoded` */
    size_t picture_len;
    int has_picture;
    const char *image_id; /* of a stored picture, instead of bytes; or NULL */
    struct problem *problem;
    const struct api_input *from;
    json_t *root;
    uint8_t *decoded;
};

/* `known` ends with NULL and names the parameters besides `image`. 0 or -1 with *p filled; to be
 * closed either way. */
int input_open(struct input *in, const struct api *a, const struct api_input *from,
               const char *const *known, struct problem *p);
void input_close(struct input *in);

/* Each: 0, or -1 when the problem is filled (before or now). Absent: *out stays as it is. */
int input_int(struct input *in, const char *name, int lo, int hi, int *out);
int input_flag(struct input *in, const char *name, int *out);
/* Index of the value among `words`, which end with NULL. */
int input_word(struct input *in, const char *name, const char *const *words, int *out);
/* Exactly n integers: [1,2,3,4] or 1,2,3,4. */
int input_ints(struct input *in, const char *name, const char *form, int n, int *out);
/* [[x,y],...] with 1 to `max` points inside grid x grid; given to the caller (mem_free). */
int input_points(struct input *in, const char *name, int max, int grid, struct eng_point **points,
                 uint32_t *n);

#endif
