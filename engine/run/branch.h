/* branch.h - the rows of a job's tree that several of its lanes share: one slot per token of a run.
 *
 * A run is fed in the same pass as the first lane below it, and its slots go back when the last
 * thing below it has finished. A run that starts needs the runs above it, so these are fed too.
 * Thread: step.
 */
#ifndef ENGINE_RUN_BRANCH_H
#define ENGINE_RUN_BRANCH_H

#include <stdint.h>

#include "engine/run/job.h"
#include "engine/run/kv.h"

struct batch;

/* Rows that have to be fed before a lane of this leaf can be. */
int32_t branch_missing(const struct eng_job *j, int32_t leaf);
/* Start what is missing: promised slots are taken, the rows join the pass. */
void branch_start(struct eng_job *j, int32_t leaf, struct kv *kv, struct batch *b);
/* The leaf has finished. */
void branch_leave(struct eng_job *j, int32_t leaf, struct kv *kv);
/* The job ends early: whatever is held goes back. */
void branch_drop(struct eng_job *j, struct kv *kv);

/* Slots from the stem to the end of run `run` (-1: none), in that order; returns how many. */
int32_t branch_slots(const struct eng_job *j, int32_t run, int32_t *slots);
/* Write the rows of a run into the pass. */
void branch_put(const struct eng_job *j, int32_t run, struct batch *b);

#endif
