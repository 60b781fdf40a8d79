/* act.h - playing a game: what act.c (frames at once) and session.c (frame by frame) share.
 *
 * Thread: a worker.
 */
#ifndef API_TASK_ACT_H
#define API_TASK_ACT_H

#include "api/endpoint.h"

struct game {
    const char *name;
    enum eng_task task;
    uint32_t frames; /* of a prompt, oldest first */
};
/* "game" of the request -> *out; it has to be there. 0, or -1 with the problem. */
int game_read(struct input *in, const struct game **out);
const struct game *game_of(enum eng_task task); /* ENG_DRIVE or ENG_SHOOT */

/* A state that plays begins with this. */
struct act {
    const struct game *game;
    int deadline_ms; /* 0: none */
    int has_fallback, has_probability;
    int is_late;                 /* the fallback holds */
    double steering, gas, brake; /* the fallback's */
    int id;
};
/* Pixels of a frame: games are small, and must not wait for large pictures. */
enum { ACT_PIXELS_MAX = 2 * 1000 * 1000 };
/* Names of the fields that act_read takes, for lists of known ones. */
#define ACT_FIELDS "deadline_ms", "default", "probability"
int act_read(struct input *in, struct act *a); /* a->game is known */
/* Ask about c->pictures, which must all be as large as the first. `param`: the field that they came
 * in. 0, or -1 with the problem. */
int act_ask(struct api_call *c, const char *param);
/* Of the row: a missed deadline or a full queue is no fault where there is a fallback. */
int act_excuse(struct api_call *c);
int act_answer(struct api_call *c);

#endif
