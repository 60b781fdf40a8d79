/* wait.h - how long a job would wait for others, estimated when it comes.
 *
 * What a job may cost is known in token rows, with its pictures' way through the vision tower, and
 * how many rows' worth of jobs the device gets done in a second is measured (the pace): what was
 * computed, and what a job turned out not to need. What stands before a job in its class is all
 * that waits there of its owner, and as much of each of his running jobs as it has itself, since
 * running jobs share alike (sched.h). While his other classes have work, its class gets its share
 * only, but never waits for more than that work. Owners share alike, too: each other one gets as
 * many rows meanwhile as this one, and never more than he has work. So a long queue of one doesn't
 * keep another out. Nobody waits for what is of ENG_BATCH, so that counts nowhere, and for it
 * nothing is estimated. It is an estimate: jobs may cost less, and later ones may come. Pure
 * functions.
 */
#ifndef ENGINE_RUN_WAIT_H
#define ENGINE_RUN_WAIT_H

#include "engine/engine.h"

enum { WAIT_OWNERS = 256 }; /* that are told apart */

struct wait_owner {
    uint64_t waiting[ENG_CLASSES]; /* cost of the jobs that wait, in rows */
    uint64_t left[ENG_CLASSES];    /* what running jobs may still cost */
    uint32_t running[ENG_CLASSES]; /* jobs */
};

struct wait_load {
    struct wait_owner of[WAIT_OWNERS];
    double pace; /* rows a second; 0: not known */
};

/* Seconds until a job of the owner at that place, of that class and cost, would begin to have the
 * device to itself, as it were: its end, less what it takes alone. 0 when the pace isn't known. */
double wait_before(const struct wait_load *l, int place, enum eng_class class, uint64_t cost);
/* Seconds that the first picture of somebody would wait who owned all that waits and runs. */
double wait_of_all(const struct wait_load *l);
/* Nothing waits and nothing runs, but of ENG_BATCH. */
int wait_is_idle(const struct wait_load *l);

/* The pace, from what was done in turns of the step thread. Only when jobs had to wait, or passes
 * were full, does it say what the device can do; else it can only raise the pace. At first all
 * samples count alike: the first one alone may be a bad one. It follows a device that got slower
 * sooner than one that got faster. */
struct wait_pace {
    double rate, known;           /* from so many seconds */
    double seconds, busy_seconds; /* of this sample, and of it when jobs had to wait */
    uint64_t rows;
};
void wait_turn(struct wait_pace *p, double seconds, uint64_t rows, int is_full);

#endif
