/* input.h - one reader for the ways pictures and their parameters come.
 *
 *   raw         a picture in the body, parameters in the query
 *   multipart   a part named `image`, parameters as other parts or in the query
 *   JSON        {"image": "data:image/png;base64,..." | base64 | {"id": "..."}, "width": 64, ...}
 *               on the command line "file:a/1.jpg", too: see picture_file.h
 *
 * What a picture is its bytes decide. The type that a client declares for them is advice:
 * image/jpg, application/octet-stream or none will do. Whoever takes pictures takes `orient`, too:
 * shown, as EXIF says, or stored.
 *
 * In all three a parameter has the same name, bounds and error text; a name that is not known, or
 * that is given twice, is refused by name. Numbers in JSON have to be numbers; text is read as
 * strictly; what JSON has as a list or an object is JSON text elsewhere. A field that is null in
 * JSON is absent, as many clients write what they leave out.
 *
 *     struct input in = {.from = &request, .wants = &wants, .picture_max = 12 << 20,
 *                        .texts = arena, .problem = &problem};
 *     input_open(&in);
 *     input_int(&in, "width", 1, 64, &width);          // absent: width stays as it is
 *     if (!problem.code) ...                           // else the first fault
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
#include "kernels/base/mem.h"

/* What an endpoint takes. */
struct input_wants {
    const char *picture;  /* the field that is a picture: "image"; NULL: none. Exactly one */
    const char *pictures; /* in JSON, the field that is a list of them instead, or NULL. Then 0 to
                                 ENG_PICTURES_MAX may come, in a form as several `picture` */
    const char *const *known; /* the other fields, ends with NULL */
    uint64_t pixels_max;      /* of a picture, where the server's own limit is too much; or 0 */
    int only_json;            /* no form and no query */
    int has_model;            /* `model` is known, too: who is to answer */
};

struct input_picture {
    char name[40];        /* of its field: "frames[1]" */
    const uint8_t *bytes; /* encoded, borrowed from the request or from `decoded` */
    size_t len;
    const char *id; /* of a stored picture, instead of bytes; or NULL */
    uint8_t *decoded;
};

struct input {
    /* its owner's: borrowed until input_close */
    const struct api_input *from;
    const struct input_wants *wants;
    size_t picture_max;         /* bytes of an encoded picture */
    const char *picture_folder; /* of "file:" pictures; NULL: there are none */
    struct arena *texts;        /* gets the texts that are read: they outlive the input */
    struct problem *problem;    /* gets the first fault */
    /* what was found */
    struct input_picture pictures[ENG_PICTURES_MAX];
    int n_pictures;
    int is_stored; /* orient: pictures stay as they are stored */
    int truth;     /* side of their truths, as eng_intake_open has it. Its owner's to set */
    json_t *root;  /* of a JSON body, an object; or NULL */
};

/* 0, or -1 with the problem filled; to be closed either way. */
int input_open(struct input *in);
void input_close(struct input *in);

/* Each: 0, or -1 when the problem is filled (before or now). Absent: *out stays as it is. */
int input_int(struct input *in, const char *name, int lo, int hi, int *out);
int input_number(struct input *in, const char *name, double lo, double hi, double *out);
int input_seed(struct input *in, const char *name, uint64_t *out); /* 0 .. 2^63 - 1 */
int input_flag(struct input *in, const char *name, int *out);
/* Index of the value among `words`, which end with NULL. */
int input_word(struct input *in, const char *name, const char *const *words, int *out);
/* Exactly n of them: [1,2,3,4] or 1,2,3,4. */
int input_ints(struct input *in, const char *name, const char *form, int n, int *out);
int input_numbers(struct input *in, const char *name, const char *form, int n, double *out);
/* [[x,y],...] with 1 to `max` points inside grid x grid; given to the caller (mem_free). */
int input_points(struct input *in, const char *name, int max, int grid, struct eng_point **points,
                 uint32_t *n);
/* Plain text of 1 to `max` characters, kept among the texts: no control characters, not blank. */
int input_text(struct input *in, const char *name, size_t max, const char **out);
/* ["..",..] of 1 to max_n such texts, all different. */
int input_texts(struct input *in, const char *name, uint32_t max_n, size_t max,
                const char *const **out, uint32_t *n);
/* Any JSON value; given to the caller (json_decref), NULL when absent. */
int input_json(struct input *in, const char *name, json_t **out);
int input_has(const struct input *in, const char *name);

/* For values inside other values. `name`: how to call it, "messages[0].content". */
int input_check_text(struct input *in, const char *name, const char *text, size_t len, size_t max);
/* Tags of the model's own don't belong in it: the engine's word. NUL-terminated. */
int input_check_tags(struct input *in, const char *name, const char *text, int in_chat);
/* A picture by URL: data:image/png;base64,..., lammd:ID of a stored one, or where there is a folder
 * of pictures file:NAME. Others are refused. */
int input_take_url(struct input *in, const char *name, const char *url, size_t len);
/* Room among the texts, zeroed; a NUL-terminated copy there. NULL with the problem. */
void *input_take(struct input *in, size_t bytes);
char *input_keep(struct input *in, const char *text, size_t len);

#endif
