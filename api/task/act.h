/* act.h - playing a game: what act.c (frames at once) and session.c (frame by frame) share.
 *
 * Thread: a worker.
 */
#ifndef API_TASK_ACT_H
#define API_TASK_ACT_H

#include "api/call.h"
#include "api/wire/input.h"

struct game {
    const char *name;
    enum eng_task task;
    uint32_t frames; /* of a prompt, oldest first */
};
/* "game" of the request -> *out; it has to be there. 0, or -1 with the problem. */
int game_read(struct input *in, const struct game **out);
const struct game *game_of(enum eng_task task); /* ENG_DRIVE or ENG_SHOOT */

struct act {
    const struct game *game;
    int deadline_ms; /* 0: none */
    int has_fallback, has_probability;
    double steering, gas, brake; /* the fallback's */
    int id;
};
/* Names of the fields that act_read takes, for lists of known ones. */
#define ACT_FIELDS "deadline_ms", "default", "probability"
int act_read(struct input *in, struct act *a); /* a->game is known */
/* Every frame must be as large as the first. `param`: the field that they came in. */
int act_check_sizes(struct api_call *c, const char *param);

/* Ask about c->images. API_WAIT or API_REPLY; *is_over says that the reply is an action. */
int act_ask(struct api_call *c, const struct act *a, int *is_over);
int act_go_on(struct api_call *c, const struct act *a, int *is_over);

#endif
