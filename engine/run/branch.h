/* branch.h - the branches of a job's tree: rows that several of its lanes share, one slot per
 * token.
 *
 * A branch is fed in the same pass as the first lane below it. Its slots go back when the last lane
 * below it has finished. A branch that starts needs the branches above it, so these are fed, too.
 * Thread: step.
 */
#ifndef ENGINE_RUN_BRANCH_H
#define ENGINE_RUN_BRANCH_H

#include <stdint.h>

#include "engine/run/job.h"
#include "engine/run/kv.h"
#include "engine/run/rows.h"

/* Of the branches above the leaf that are not started, the one nearest to it; -1: all are. */
int32_t branch_missing(const struct eng_job *j, int32_t leaf);
/* Rows of all branches above the leaf that are not started. */
int32_t branch_missing_rows(const struct eng_job *j, int32_t leaf);
/* Start it: its slots, promised to the job, are taken. The caller puts its rows into the pass. */
void branch_start(struct eng_job *j, int32_t branch, struct kv *kv);
/* The leaf has finished. */
void branch_leave(struct eng_job *j, int32_t leaf, struct kv *kv);
/* The job ends early: whatever is held goes back. */
void branch_drop(struct eng_job *j, struct kv *kv);

/* Slots from the stem to the end of a branch (-1: none), in that order. Returns how many. */
int32_t branch_slots(const struct eng_job *j, int32_t branch, int32_t *slots);
/* Write the rows of a branch. */
void branch_put(const struct eng_job *j, int32_t branch, struct rows *r);

#endif
