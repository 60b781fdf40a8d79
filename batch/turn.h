/* turn.h - one batch of a server gets a turn: it is looked at, asked, and brought to its end.
 *
 * A batch may have any number of turns. Each goes on where its files end (record.h), so it doesn't
 * matter how the one before ended. Thread: its owner's.
 */
#ifndef BATCH_TURN_H
#define BATCH_TURN_H

#include "batch/work.h"
#include "jobs/batches.h"

struct turn_options {
    struct api *api;
    struct eng *eng;
    struct jobs *jobs;
    const struct api_visit *visit;    /* what all batches are counted against */
    uint64_t keep;                    /* bytes of the disk that stay free */
    enum work_wish (*wish)(void *ud); /* whether it is to end. Any moment */
    void *ud;
};

/* 0: the turn is over, whatever became of the batch. Else it can't go on at present, and *e says
 * why: E_IO (the disk), E_NOMEM, E_TIMEOUT, E_BUSY. */
int turn_take(const struct turn_options *o, const struct jobs_batch *batch, struct err *e);

#endif
