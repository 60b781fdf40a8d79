/* say.h - the progress of a run, on standard error: a bar that is painted over on a terminal, a
 * line every ten seconds elsewhere. Thread: main's. */
#ifndef CLI_TRAIN_SAY_H
#define CLI_TRAIN_SAY_H

#include <stddef.h>
#include <stdint.h>

#include "cli/train/state.h"

struct say {
    int is_silent, is_terminal;
    uint64_t said_ns;  /* when the last line was written; 0: never */
    uint64_t start_ns; /* of the steps of this process */
    uint64_t steps, talks;
    struct losses recent; /* of the steps since the last line, or a running mean on a terminal */
    int is_open;          /* does the cursor stand behind a bar? */
};

void say_begin(struct say *s, int is_silent);
/* A step has ended: `done` of `all` steps. */
void say_step(struct say *s, uint64_t done, uint64_t all, const struct losses *l, uint64_t talks);
/* A sentence on a line of its own. */
void say_line(struct say *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The last state of the bar stays. */
void say_end(struct say *s, uint64_t done, uint64_t all);
/* "1h05m", "3m20s", "12s" */
void say_time(double seconds, char to[24]);
/* "1.234 (pixels 1.1, refer 2.0)" */
void say_losses(const struct losses *l, char *to, size_t cap);

#endif
