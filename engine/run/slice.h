/* slice.h - one job whose questions several units answer.
 *
 * The places of a picture are cut into slices, and each slice is a job of its own in one unit. What
 * the slices find becomes the answers of one more job, the whole, which no unit runs. The asker
 * sees nothing else. A place has the same answer in any slice, since a lane's answer is the same in
 * any company; only the order in which places are found depends on the units.
 *
 *     slices_new(ask, grid, n, &whole, e);
 *     for each slice: one = slices_ask(whole, i, ask); a unit makes it a job;
 *                     slices_add(whole, i, job)
 *     slices_open(whole);                            or eng_job_put(whole), if one was refused
 *
 * Threads. The submitting thread has the whole until slices_open. Then the step threads of the
 * units write it, one at a time, from the `wake` of their slices. When one slice fails, the whole
 * has failed, and the others are cancelled.
 */
#ifndef ENGINE_RUN_SLICE_H
#define ENGINE_RUN_SLICE_H

#include "engine/run/job.h"

struct slices;

/* Cuts the ask's places between rows of the grid, into n slices of about as many places each, which
 * keep their order. *whole has one reference, the asker's. NULL, and 0, where that can't be done:
 * a place is outside the grid, or so few rows are asked that a slice would be empty. E_NOMEM. */
int slices_new(const struct eng_ask *ask, int32_t grid, int n, struct eng_job **whole,
               struct err *e);
/* What to ask slice i; the places are the whole's. */
struct eng_ask slices_ask(const struct eng_job *whole, int i, const struct eng_ask *ask);
/* The job that slice i became. Its asker's reference is the whole's from now on. */
void slices_add(struct eng_job *whole, int i, struct eng_job *job);
/* All are there: from now on the asker is woken. */
void slices_open(struct eng_job *whole);

/* For job.c. Any thread. */
void slices_cancel(struct slices *s);
/* Puts the slices' jobs. After it nobody writes the whole any more. */
void slices_put(struct slices *s);
/* Adds up what the slices' own statistics have. */
void slices_stats(const struct slices *s, struct eng_job_stats *out);

#endif
