/* rounds.h - recorded rounds of games: what was seen at each step, and what was done.
 *
 * rollout.json, beside its frames (or in a folder with images/):
 *     {"game": "car_racing" | "space_invaders",
 *      "steps": [{"frames": ["000.png", "001.png"], "action": [10, 15, 10]}, ...]}
 * Frames are oldest first, 2 of CarRacing and 4 of Space Invaders. An action is [steering, gas,
 * brake] of 0..20, or one of 0..5.
 */
#ifndef DATA_ROUNDS_H
#define DATA_ROUNDS_H

#include <jansson.h>
#include <stdint.h>

#include "kernels/base/err.h"

enum rounds_game { ROUNDS_CAR_RACING, ROUNDS_SPACE_INVADERS };
enum { ROUNDS_FRAMES_MAX = 4, ROUNDS_VALUES_MAX = 3 };

struct rounds_rules {
    const char *name;
    int frames, values; /* of a step */
    int most;           /* a value is 0 .. most */
};
struct rounds_step {
    const char *frames[ROUNDS_FRAMES_MAX]; /* files, borrowed from the tree */
    uint8_t action[ROUNDS_VALUES_MAX];
};
struct rounds {
    json_t *root;
    enum rounds_game game;
    const struct rounds_rules *rules;
    struct rounds_step *at; /* (n) */
    uint32_t n;
};

/* `path`: the file, or its folder. At most `limit` steps; 0: all. E_INVALID (a path that is too
 * long), E_IO, E_FORMAT, E_TOO_BIG; rounds_close after failure too. */
int rounds_open(const char *path, int64_t limit, struct rounds *out, struct err *e);
void rounds_close(struct rounds *r);

/* The rules of "car_racing" or "space_invaders"; NULL: no such game. */
const struct rounds_rules *rounds_find(const char *name, enum rounds_game *game);
/* An action's values -> to (values). E_FORMAT. */
int rounds_read_action(const struct rounds_rules *g, const json_t *v, uint8_t *to);

#endif
