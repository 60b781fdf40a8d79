/* neighbour.h - a run of `lammd train` beside what is measured, as a server starts one: a child of
 * its own, SCHED_IDLE, one thread. It learns pixels and boxes of scenes that are drawn for it, in a
 * folder of $TMPDIR that is deleted at the end. The child stays in this session: under autogroup
 * SCHED_IDLE counts among the processes of one session alone. Thread: main's. */
#ifndef CLI_NEIGHBOUR_H
#define CLI_NEIGHBOUR_H

#include "kernels/base/err.h"

struct neighbour;
/* Starts it and waits for its first step; then it is stopped (SIGSTOP). `data`: what it learns from
 * instead, as docs/training-data.md has it; NULL: the scenes. E_IO, E_TIMEOUT: it doesn't begin. */
int neighbour_start(const char *model, const char *data, struct neighbour **out, struct err *e);
void neighbour_go(struct neighbour *n);
void neighbour_pause(struct neighbour *n);
long neighbour_steps(const struct neighbour *n); /* that it has done so far */
void neighbour_end(struct neighbour *n);         /* NULL is legal */

#endif
